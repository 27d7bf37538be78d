//! `docs/conformance.md`: the verdicts for flatroute-cni between two marks, written and compared by the test.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::table::Report;

/// The command that repairs the page.
pub const REPAIR: &str = "WRITE=1 cargo test -p flatroute-testbed --test conformance -- our_plugin";
const BEGIN: &str = "<!-- begin of the table: made by the test, do not edit -->";
const END: &str = "<!-- end of the table -->";

/// Where the page is.
#[must_use]
pub fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conformance.md"))
}

/// The page with the table of a run.
///
/// # Errors
/// The page has no marks.
pub fn with_table(page: &str, report: &Report) -> Result<String> {
    let (before, rest) = page
        .split_once(BEGIN)
        .context("docs/conformance.md has no mark where the table begins")?;
    let (_, after) = rest
        .split_once(END)
        .context("docs/conformance.md has no mark where the table ends")?;
    Ok(format!("{before}{BEGIN}\n\n{}\n{END}{after}", report.markdown()))
}

#[cfg(test)]
mod tests {
    use super::super::{Report, Verdict};
    use super::{BEGIN, END, with_table};

    #[test]
    fn a_table_is_replaced_and_nothing_else() {
        let mut report = Report::default();
        report.verdicts.push((1, Verdict::Pass));
        let page = with_table(&format!("# Page\n{BEGIN}\nformer rows\n{END}\nafter\n"), &report)
            .expect("it has marks");
        assert!(
            page.starts_with("# Page\n") && page.ends_with("after\n") && !page.contains("former rows"),
            "{page}"
        );
        assert_eq!(with_table(&page, &report).expect("it has marks"), page);
        assert!(with_table("# Page\n", &report).is_err());
    }
}
