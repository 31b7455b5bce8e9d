//! The page that is scraped.

use super::counts::{Latency, Tally};
use super::declared::{self, Kind, Metric};
use super::{Counts, KeeperNumbers, Refusals};
use petctl_core::Totals;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// What the core's thread hands out.
#[derive(Clone, Debug)]
pub struct Looked {
    /// How things stand.
    pub totals: Totals,
    /// What has happened.
    pub counts: Counts,
}

/// What all metrics come to.
#[derive(Debug)]
pub struct Page(BTreeMap<&'static str, Value>);

#[derive(Debug)]
enum Value {
    Whole(u64),
    Seconds(f64),
    By(Tally),
    Of(String),
    Took(Latency),
}

impl Page {
    /// From what was looked up and counted, with what the keeper of pods has to tell, the program's version and how long it runs.
    pub fn new(
        looked: Looked,
        refusals: &Refusals,
        keeper: Option<KeeperNumbers>,
        (version, uptime): (&str, Duration),
    ) -> Self {
        let Looked { totals, counts } = looked;
        let mut page = Self(BTreeMap::new());
        page.put_totals(&totals);
        page.put(&declared::JOBS_SUBMITTED, Value::Whole(counts.submitted));
        page.put(&declared::JOBS_ENDED, Value::By(counts.ended));
        page.put(&declared::ATTEMPTS, Value::By(counts.attempts));
        page.put(&declared::LEASES_GRANTED, Value::Whole(counts.granted));
        page.put(&declared::WORKERS_LEFT, Value::By(counts.left));
        page.put(&declared::EPOCHS, Value::Whole(counts.epochs));
        let starts = counts.training_starts;
        page.put(&declared::TRAINING_STARTS, Value::Whole(starts));
        let restarts = counts.training_restarts;
        page.put(&declared::TRAINING_RESTARTS, Value::By(restarts));
        page.put(&declared::CHECKPOINTS, Value::Whole(counts.checkpoints));
        page.put(&declared::BUILD_INFO, Value::Of(version.to_owned()));
        page.put(&declared::UPTIME, Value::Seconds(uptime.as_secs_f64()));
        page.put(&declared::LOG_COMMIT, Value::Took(counts.commits));
        page.put(&declared::LOG_RECORDS, Value::Whole(counts.records));
        let mut refused = refusals.tally();
        refused.add_all(&counts.ended_streams);
        page.put(&declared::REFUSALS, Value::By(refused));
        if let Some(keeper) = keeper {
            page.put_keeper(&keeper);
        }
        page
    }

    fn put(&mut self, metric: &'static Metric, value: Value) {
        self.0.insert(metric.name, value);
    }

    fn put_by<'v>(
        &mut self,
        metric: &'static Metric,
        values: impl IntoIterator<Item = (&'static str, &'v u64)>,
    ) {
        let mut tally = Tally::of(metric);
        for (value, count) in values {
            tally.add_many(value, *count);
        }
        self.put(metric, Value::By(tally));
    }

    fn put_totals(&mut self, totals: &Totals) {
        let jobs = totals.jobs.iter();
        self.put_by(
            &declared::JOBS,
            jobs.map(|(state, count)| (state.as_str(), count)),
        );
        let shards = &totals.shards;
        self.put_by(
            &declared::SHARDS,
            [
                ("blocked", &shards.blocked),
                ("ready", &shards.ready),
                ("running", &shards.running),
                ("backoff", &shards.backoff),
                ("done", &shards.done),
                ("failed", &shards.failed),
                ("cancelled", &shards.cancelled),
                ("skipped", &shards.skipped),
            ],
        );
        let workers = &totals.workers;
        self.put_by(
            &declared::WORKERS,
            [
                ("member", &workers.members),
                ("draining", &workers.draining),
                ("free", &workers.free),
                ("local", &workers.local),
                ("silent", &workers.silent),
            ],
        );
        let wanted = totals.workers_wanted;
        self.put(&declared::WORKERS_WANTED, Value::Whole(wanted));
        self.put(&declared::LEASES, Value::Whole(totals.leases));
        self.put(&declared::STARTS, Value::Whole(totals.starts.into()));
    }

    fn put_keeper(&mut self, keeper: &KeeperNumbers) {
        let requests = keeper.requests.iter();
        self.put_by(
            &declared::KEEPER_REQUESTS,
            requests.map(|(verb, count)| (*verb, count)),
        );
        let wanted = keeper.pods_wanted;
        self.put(&declared::KEEPER_PODS_WANTED, Value::Whole(wanted));
        let pods = keeper.pods.iter();
        self.put_by(
            &declared::KEEPER_PODS,
            pods.map(|(state, count)| (*state, count)),
        );
    }

    /// As Prometheus reads it.
    pub fn text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Text in memory takes all that is written.
        let _always = prometheus_text::encode(&mut text, &registry);
        text
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in declared::ALL {
            let Some(value) = self.0.get(metric.name) else {
                continue;
            };
            // The encoder puts it there again.
            let name = metric.name.strip_suffix("_total").unwrap_or(metric.name);
            let kind = match metric.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut encoder = encoder.encode_descriptor(name, metric.help, None, kind)?;
            value.encode(metric, &mut encoder)?;
        }
        Ok(())
    }
}

impl Value {
    fn encode(&self, metric: &Metric, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        let label = metric.label.map_or("", |label| label.name);
        match self {
            Self::Whole(count) => number(metric, encoder, *count),
            Self::Seconds(seconds) => encoder.encode_gauge(seconds),
            Self::By(tally) => tally.iter().try_for_each(|(value, count)| {
                let set = [(label, value)];
                number(metric, &mut encoder.encode_family(&set)?, count)
            }),
            Self::Of(value) => {
                let set = [(label, value.as_str())];
                number(metric, &mut encoder.encode_family(&set)?, 1)
            }
            Self::Took(latency) => encoder.encode_histogram::<NoLabelSet>(
                latency.sum_s,
                latency.count,
                &latency.buckets(),
                None,
            ),
        }
    }
}

fn number(metric: &Metric, encoder: &mut MetricEncoder<'_>, count: u64) -> fmt::Result {
    match metric.kind {
        Kind::Counter => encoder.encode_counter(&count, None::<&Exemplar<NoLabelSet, f64>>),
        Kind::Gauge | Kind::Histogram => encoder.encode_gauge(&count),
    }
}
