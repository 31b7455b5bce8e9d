//! Shards for spreadsheets: CSV.

use petctl_proto::v1::ShardRow;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::terminal::{shard_state, verdict};
use std::collections::BTreeSet;

/// Names of all numbers in the rows, in alphabetical order.
pub fn number_names(rows: &[ShardRow]) -> Vec<String> {
    let names: BTreeSet<&str> = rows
        .iter()
        .flat_map(|row| &row.numbers)
        .map(|number| number.name.as_str())
        .collect();
    names.into_iter().map(str::to_owned).collect()
}

/// A shard's number of that name.
pub fn number_of(row: &ShardRow, name: &str) -> Option<f64> {
    row.numbers
        .iter()
        .find(|number| number.name == name)
        .map(|number| number.value)
}

/// One line per shard, one column per number.
pub fn shards_csv(rows: &[ShardRow]) -> Result<Vec<u8>> {
    let names = number_names(rows);
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    let fixed = [
        "stage", "shard", "state", "verdict", "attempts", "seconds", "worker", "code", "reasons",
    ];
    let mut head: Vec<String> = fixed.map(str::to_owned).to_vec();
    head.extend(names.iter().cloned());
    writer.write_record(&head).map_err(|error| bug(&error))?;
    for row in rows {
        let mut cells = vec![
            row.stage_name.clone(),
            row.key.clone(),
            shard_state(row.state()).to_owned(),
            verdict(row.verdict()).to_owned(),
            row.attempts.to_string(),
            seconds(row.duration_ms),
            row.worker.clone(),
            row.code.clone(),
            row.reasons.join("; "),
        ];
        cells.extend(
            names.iter().map(|name| {
                number_of(row, name).map_or_else(String::new, |value| value.to_string())
            }),
        );
        writer.write_record(&cells).map_err(|error| bug(&error))?;
    }
    writer.into_inner().map_err(|error| bug(error.error()))
}

fn seconds(duration_ms: u64) -> String {
    format!("{}.{:03}", duration_ms / 1_000, duration_ms % 1_000)
}

fn bug(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::new(Code::Bug, "can't write the report").because(error)
}
