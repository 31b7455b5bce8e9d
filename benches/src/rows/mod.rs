//! The rows of the table, and how they are measured.

mod chain;
mod classes;
mod cold;
mod dispatch;
mod form;
mod idle;
mod launch;
mod metrics;
mod recover;
mod rest;
mod resume;
mod reuse;
mod spawn;
mod stage;
mod upload;

use crate::machine;
use crate::options::Options;
use crate::table::{self, Row};
use anyhow::{Context, Result};
use std::fs;

/// In the order of the table.
const NAMES: [&str; 18] = [
    "dispatch",
    "two-slots",
    "tls",
    "spawn",
    "million",
    "classes",
    "cold",
    "chain",
    "idle",
    "metrics",
    "upload",
    "resume",
    "stage",
    "reuse",
    "form",
    "recover",
    "launch",
    "rest",
];

/// What can be chosen on the command line.
pub(crate) fn names() -> &'static [&'static str] {
    &NAMES
}

pub(crate) fn is_name(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Measures what was asked for and prints the table. `false` where something is broken; being slow is not.
pub(crate) fn measure(options: &Options) -> Result<bool> {
    fs::create_dir_all(&options.folder)
        .with_context(|| format!("make {}", options.folder.display()))?;
    let head = machine::describe(&options.commit, &options.folder);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start tokio")?;
    let (mut rows, mut broken) = (Vec::new(), Vec::new());
    for name in NAMES {
        if !options.names.is_empty() && !options.names.iter().any(|chosen| chosen == name) {
            continue;
        }
        table::say(&format!("measures {name}"));
        match runtime.block_on(row(name, options)) {
            Ok(measured) => rows.extend(measured),
            Err(error) => broken.push(format!("BROKEN {name}: {error:#}\n")),
        }
    }
    table::print(&format!(
        "{head}\n{}\n{}",
        table::render(&rows),
        broken.concat()
    ));
    table::print(NOTES);
    Ok(broken.is_empty())
}

const NOTES: &str = "\
Do-nothing shards: petctl's own workers, which answer every lease at once, all in one process beside the
coordinator's; the real protocol, the real log on disk, and a client that watches. Rates are shards over the time
from the submission to the job's end. Both sides share the cores named above. 'of it': the median of the ratios of
rounds that were measured in turn. Groups: simulated workers over real gRPC streams, all in one process, from the
first one's connection on; torchrun's own are measured by its rendezvous alone, with PyTorch loaded before.
Blobs: Azurite on this machine, one process of node; it is the slower side of every transfer. Bytes sent again are
counted on the wire, heads of requests too.
";

async fn row(name: &str, options: &Options) -> Result<Vec<Row>> {
    match name {
        "dispatch" => dispatch::dispatch(options).await,
        "two-slots" => dispatch::two_slots(options).await,
        "tls" => dispatch::tls(options).await,
        "million" => dispatch::million(options).await,
        "spawn" => spawn::spawn(options),
        "classes" => classes::classes(options).await,
        "cold" => cold::cold(options),
        "chain" => chain::chain(options).await,
        "idle" => idle::idle(options).await,
        "metrics" => metrics::metrics(options).await,
        "upload" => upload::upload(options),
        "resume" => resume::resume(options),
        "stage" => stage::stage(options),
        "reuse" => reuse::reuse(options),
        "form" => form::form(options).await,
        "recover" => recover::recover(options).await,
        "launch" => launch::launch(options),
        "rest" => rest::rest(options).await,
        _ => Ok(Vec::new()),
    }
}
