//! Shards as a table for people.

use crate::csv::{number_names, number_of};
use petctl_proto::v1::{ShardRow, ShardState};
use petctl_ui::terminal::{
    Output, Table, count, number, seconds, shard_state, show_table, verdict,
};

/// Most columns of numbers in a table for people; JSON and CSV have all.
const MAX_NUMBERS: usize = 6;
/// Most characters of a reason in a table for people.
const MAX_REASON: usize = 100;

/// A table of shards for people.
pub fn show_shards(out: &Output, rows: &[ShardRow]) {
    let names = number_names(rows);
    let shown = telling(rows, &names);
    let verdicts = rows.iter().any(|row| !verdict(row.verdict()).is_empty());
    let notes = rows.iter().any(|row| !note(row).is_empty());
    let mut headings = vec!["STAGE".to_owned(), "SHARD".to_owned(), "STATE".to_owned()];
    headings.extend(verdicts.then(|| "VERDICT".to_owned()));
    headings.extend([">ATTEMPTS".to_owned(), ">SECONDS".to_owned()]);
    headings.extend(shown.iter().map(|name| format!(">{name}")));
    headings.extend(notes.then(|| "NOTE".to_owned()));
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut table = Table::new(&headings);
    for row in rows {
        let mut cells = vec![
            row.stage_name.clone(),
            row.key.clone(),
            shard_state(row.state()).to_owned(),
        ];
        cells.extend(verdicts.then(|| verdict(row.verdict()).to_owned()));
        cells.push(row.attempts.to_string());
        cells.push(if has_run(row) {
            seconds(row.duration_ms)
        } else {
            "-".to_owned()
        });
        cells.extend(
            shown
                .iter()
                .map(|name| number_of(row, name).map_or_else(|| "-".to_owned(), number)),
        );
        cells.extend(notes.then(|| note(row)));
        table.row(cells);
    }
    show_table(out, &table);
    if names.len() > shown.len() {
        out.say(&format!(
            "{}: petctl report -o csv or -o json has them all",
            count(
                (names.len() - shown.len()) as u64,
                "more number",
                "more numbers"
            )
        ));
    }
}

/// The numbers that a table has room for: first those that tell shards apart, in alphabetical order.
fn telling<'a>(rows: &[ShardRow], names: &'a [String]) -> Vec<&'a String> {
    let is_telling = |name: &&String| {
        let mut values = rows.iter().filter_map(|row| number_of(row, name));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    let (telling, same): (Vec<&String>, Vec<&String>) = names.iter().partition(is_telling);
    let mut shown: Vec<&String> = telling.into_iter().chain(same).take(MAX_NUMBERS).collect();
    shown.sort();
    shown
}

/// Whether an attempt at it has ended.
pub(crate) fn has_run(row: &ShardRow) -> bool {
    row.duration_ms > 0 || row.state() == ShardState::Done
}

fn note(row: &ShardRow) -> String {
    let text = match row.state() {
        ShardState::Done if row.reused && row.reasons.is_empty() => "reused".to_owned(),
        ShardState::Done | ShardState::Skipped => row.reasons.join("; "),
        ShardState::Unspecified
        | ShardState::Blocked
        | ShardState::Ready
        | ShardState::Running
        | ShardState::Backoff
        | ShardState::Failed
        | ShardState::Cancelled => row.message.clone(),
    };
    if text.chars().count() <= MAX_REASON {
        return text;
    }
    text.chars().take(MAX_REASON - 1).chain(['…']).collect()
}
