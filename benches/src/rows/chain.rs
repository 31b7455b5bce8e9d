//! How long it takes from a shard's end to the next one's, where that one waits for it and nothing else runs.

use crate::coordinator::Coordinator;
use crate::figure::Rounds;
use crate::fleet::Fleet;
use crate::jobs;
use crate::options::Options;
use crate::table::Row;
use anyhow::{Result, bail};

const AIM_MS: f64 = 2.0;

/// Over the real stream, to a worker that answers at once, with every result durable before the next lease goes out.
pub(crate) async fn chain(options: &Options) -> Result<Vec<Row>> {
    let mut rounds = Vec::new();
    // A job has at most 1,000 stages.
    let hops = options.quick_or(200, 999);
    for _ in 0..options.quick_or(3, 5) {
        rounds.push(hop_ms(options, hops).await?);
    }
    let rounds = Rounds::new(rounds);
    Ok(vec![Row {
        what: "shard to dependent shard, idle system".to_owned(),
        aim: "2 ms".to_owned(),
        measured: format!("{:.2} ms", rounds.median()),
        met: Some(rounds.median() <= AIM_MS),
        beside: format!(
            "per-shard needs, mean of {hops} hops; {}",
            rounds.spread(|ms| format!("{ms:.2}"))
        ),
    }])
}

async fn hop_ms(options: &Options, hops: u32) -> Result<f64> {
    let coordinator = Coordinator::start(options)?;
    let mut client = coordinator.client().await?;
    let fleet = Fleet::join(&coordinator, &mut client, 1, 2).await?;
    let job = jobs::chain(fleet.job("chain", &coordinator), hops + 1);
    client.run(&job, u64::from(hops) + 1).await?;
    let times = client.commit_times_ms("chain").await?;
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        bail!("no shard was committed")
    };
    if times.len() != usize::try_from(hops)? + 1 {
        bail!(
            "WRONG: {} commits in the log, {} expected",
            times.len(),
            hops + 1
        );
    }
    Ok(f64::from(u32::try_from(last.saturating_sub(*first))?) / f64::from(hops))
}
