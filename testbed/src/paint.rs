//! Text for people: colours on a terminal, none elsewhere, and tables whose columns stand under one another.
//!
//! Colours follow the usual manners: none when standard output is no terminal or when `NO_COLOR` is set.

use std::env;
use std::io::IsTerminal as _;
use std::sync::OnceLock;

fn is_colourful() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        std::io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    })
}

fn paint(code: &str, text: &str) -> String {
    if is_colourful() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// A heading.
#[must_use]
pub fn bold(text: &str) -> String {
    paint("1", text)
}

/// Something that is as it should be.
#[must_use]
pub fn good(text: &str) -> String {
    paint("32", text)
}

/// Something that is not.
#[must_use]
pub fn bad(text: &str) -> String {
    paint("31", text)
}

/// Something beside the point.
#[must_use]
pub fn dim(text: &str) -> String {
    paint("2", text)
}

/// Rows with their columns aligned left, two blanks between them, each line indented by two.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("  {}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_stand_under_one_another() {
        let rows = [
            vec!["a".into(), "ä".into(), "x".into()],
            vec!["long".into(), "b".into()],
        ];
        assert_eq!(table(&rows), "  a     ä  x\n  long  b\n");
    }
}
