//! Whether shards that ask for many different things cost more than shards that all ask for the same.

use super::dispatch::to_f64;
use crate::coordinator::Coordinator;
use crate::figure::{Rounds, per_s, whole};
use crate::fleet::Fleet;
use crate::jobs;
use crate::options::Options;
use crate::table::Row;
use anyhow::Result;

const STAGES: u64 = 200;
const SHARDS_EACH: u64 = 1_000;

/// In turn: as many stages that ask for the same, and stages that each ask for another amount of memory.
pub(crate) async fn classes(options: &Options) -> Result<Vec<Row>> {
    let (mut same, mut distinct) = (Vec::new(), Vec::new());
    for _ in 0..options.quick_or(1, 3) {
        same.push(rate(options, false).await?);
        distinct.push(rate(options, true).await?);
    }
    let ratio = Rounds::ratios(&distinct, &same).median();
    let (same, distinct) = (Rounds::new(same), Rounds::new(distinct));
    Ok(vec![Row {
        what: "200 resource classes in one job, 200,000 shards".to_owned(),
        aim: "within 20 % of one class".to_owned(),
        measured: format!("{}, {ratio:.2} of it", per_s(distinct.median())),
        met: Some(ratio >= 0.8),
        beside: format!(
            "the same 200 stages in one class: {}; {}",
            per_s(same.median()),
            distinct.spread(whole)
        ),
    }])
}

async fn rate(options: &Options, distinct: bool) -> Result<f64> {
    let coordinator = Coordinator::start(options)?;
    let mut client = coordinator.client().await?;
    let fleet = Fleet::join(&coordinator, &mut client, 8, 256).await?;
    let shards = STAGES * SHARDS_EACH;
    let job = jobs::asking(
        fleet.job("classes", &coordinator),
        STAGES,
        SHARDS_EACH,
        distinct,
    );
    let took = client.run(&job, shards).await?;
    Ok(to_f64(shards) / took.as_secs_f64())
}
