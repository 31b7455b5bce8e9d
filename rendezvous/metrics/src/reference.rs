//! The tables of docs/metrics.md.

use super::declared::{ALL, Metric, Values};

/// What is declared, as tables in Markdown: the metrics, then what their labels may be.
#[must_use]
pub fn reference() -> String {
    let (keeper, own): (Vec<&Metric>, Vec<&Metric>) =
        ALL.iter().copied().partition(|metric| metric.of_keeper);
    let mut text = table(&own);
    text.push_str("\nOnly where it keeps the pods of its jobs:\n\n");
    text.push_str(&table(&keeper));
    text.push_str("\n| Label of | Is | May be |\n|---|---|---|\n");
    for metric in ALL {
        let Some(label) = metric.label else { continue };
        let values = match label.values {
            Values::These(values) => values.join(", "),
            Values::Codes => "a code of [errors](errors/README.md), once it was met".to_owned(),
            Values::Version => "the version of petctl".to_owned(),
        };
        let (name, label) = (metric.name, label.name);
        text.push_str(&format!("| `{name}` | `{label}` | {values} |\n"));
    }
    text
}

fn table(metrics: &[&Metric]) -> String {
    let mut text = "| Metric | Type | Label | What it says |\n|---|---|---|---|\n".to_owned();
    for metric in metrics {
        let label = metric
            .label
            .map_or(String::new(), |l| format!("`{}`", l.name));
        let (name, kind, help) = (metric.name, metric.kind.as_str(), metric.help);
        text.push_str(&format!("| `{name}` | {kind} | {label} | {help} |\n"));
    }
    text
}
