//! Tables without lines: they can be read, and cut by `awk`.

use comfy_table::{CellAlignment, ContentArrangement};

/// A table for people.
pub struct Table {
    table: comfy_table::Table,
}

impl Table {
    /// A table with these headings; those that start with `>` hold numbers and are set to the right.
    pub fn new(headings: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(
            headings
                .iter()
                .map(|heading| heading.trim_start_matches('>').to_owned()),
        );
        for (index, heading) in headings.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, 2));
                if heading.starts_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Self { table }
    }

    /// One more row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.table
            .add_row(cells.into_iter().map(|cell| printable(&cell)));
    }

    /// The lines, without spaces at their ends.
    pub fn lines(&self) -> Vec<String> {
        self.table
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }
}

/// What a terminal may be shown: names and messages come from files and from the network.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
