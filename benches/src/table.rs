//! The table that is printed.

use std::io::{self, Write};

/// One line of it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// What it should come to.
    pub(crate) aim: String,
    /// What it came to: a median.
    pub(crate) measured: String,
    /// `None` where there is no aim of its own.
    pub(crate) met: Option<bool>,
    /// What it was compared with, and how the rounds spread.
    pub(crate) beside: String,
}

const HEAD: [&str; 5] = ["What", "Aim", "Median", "Met", "Beside it"];

/// Markdown, with its columns aligned.
pub(crate) fn render(rows: &[Row]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| {
        lines
            .iter()
            .map(|cells| cells[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for (index, cells) in lines.iter().enumerate() {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(&format!("| {} |\n", padded.join(" | ")));
        if index == 0 {
            text.push_str(&format!(
                "|{}|\n",
                widths.map(|width| "-".repeat(width + 2)).join("|")
            ));
        }
    }
    text
}

fn cells(row: &Row) -> [String; 5] {
    let met = match row.met {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    };
    [
        row.what.clone(),
        row.aim.clone(),
        row.measured.clone(),
        met.to_owned(),
        row.beside.clone(),
    ]
}

/// Data: to stdout.
pub(crate) fn print(text: &str) {
    // Nobody reads it any more.
    let _closed = io::stdout().lock().write_all(text.as_bytes());
}

/// Progress: to stderr.
pub(crate) fn say(text: &str) {
    let _closed = writeln!(io::stderr().lock(), "{text}");
}
