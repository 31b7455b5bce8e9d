//! How long it takes from a shard's end to the next one's, where that one waits for it and nothing else runs.

use crate::coordinator::Coordinator;
use crate::figure::Rounds;
use crate::fleet::Fleet;
use crate::jobs;
use crate::options::Options;
use crate::table::Row;
use anyhow::{Result, bail};

const HOPS: u32 = 200;
const AIM_MS: f64 = 2.0;

/// Over the real stream, to a worker that answers at once, with every result durable before the next lease goes out.
pub(crate) async fn chain(options: &Options) -> Result<Vec<Row>> {
    let mut rounds = Vec::new();
    for _ in 0..options.quick_or(3, 9) {
        rounds.push(hop_ms(options).await?);
    }
    let rounds = Rounds::new(rounds);
    Ok(vec![Row {
        what: "shard to dependent shard, idle system".to_owned(),
        aim: "2 ms".to_owned(),
        measured: format!("{:.2} ms", rounds.median()),
        met: Some(rounds.median() <= AIM_MS),
        beside: format!(
            "mean of {HOPS} hops; {}",
            rounds.spread(|ms| format!("{ms:.2}"))
        ),
    }])
}

async fn hop_ms(options: &Options) -> Result<f64> {
    let coordinator = Coordinator::start(options)?;
    let mut client = coordinator.client().await?;
    let fleet = Fleet::join(&coordinator, &mut client, 1, 2).await?;
    let job = jobs::chain(fleet.job("chain", &coordinator), HOPS + 1);
    client.run(&job, u64::from(HOPS) + 1).await?;
    let times = client.commit_times_ms("chain").await?;
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        bail!("no shard was committed")
    };
    if times.len() != usize::try_from(HOPS)? + 1 {
        bail!(
            "WRONG: {} commits in the log, {} expected",
            times.len(),
            HOPS + 1
        );
    }
    Ok(f64::from(u32::try_from(last.saturating_sub(*first))?) / f64::from(HOPS))
}
