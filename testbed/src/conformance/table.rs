//! A run's verdicts, as a table for people and as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::verdict::{Item, Verdict};
use super::world::Suite;
use crate::paint;

/// What a run found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// By number.
    pub verdicts: Vec<(u8, Verdict)>,
}

/// How many of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Items that hold.
    pub passed: usize,
    /// Items that do not.
    pub failed: usize,
    /// Items that nobody brought about.
    pub not_provoked: usize,
    /// Items that are not for this plugin or configuration.
    pub not_applicable: usize,
}

impl Report {
    /// How an item came out.
    #[must_use]
    pub fn verdict(&self, number: u8) -> Option<&Verdict> {
        self.verdicts
            .iter()
            .find(|(of, _)| *of == number)
            .map(|(_, verdict)| verdict)
    }

    /// How many of each.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (_, verdict) in &self.verdicts {
            match verdict {
                Verdict::Pass => counts.passed += 1,
                Verdict::Fail(_) => counts.failed += 1,
                Verdict::NotProvoked(_) => counts.not_provoked += 1,
                Verdict::NotApplicable(_) => counts.not_applicable += 1,
            }
        }
        counts
    }

    /// The last line.
    #[must_use]
    pub fn summary(&self) -> String {
        let Counts {
            passed,
            failed,
            not_provoked,
            not_applicable,
        } = self.counts();
        format!(
            "{passed} passed, {failed} failed, {not_provoked} not provoked, {not_applicable} not applicable"
        )
    }

    /// For programs.
    #[must_use]
    pub fn json(&self, suite: &Suite) -> Value {
        let words = |number: u8| {
            super::items::all()
                .find(|item| item.number == number)
                .map_or("", |item| item.words)
        };
        let items: Vec<Value> = self
            .verdicts
            .iter()
            .map(|(number, verdict)| {
                json!({"number": number, "item": words(*number), "verdict": verdict.word(), "detail": verdict.detail()})
            })
            .collect();
        let counts = self.counts();
        json!({
            "plugins": (0..suite.network.plugins.len()).map(|index| suite.network.kind(index)).collect::<Vec<_>>(),
            "cniVersion": suite.network.version,
            "supportedVersions": suite.supported,
            "items": items,
            "passed": counts.passed,
            "failed": counts.failed,
            "notProvoked": counts.not_provoked,
            "notApplicable": counts.not_applicable,
        })
    }
}

/// One line of the table, printed as soon as it is known.
#[must_use]
pub(super) fn line(item: &Item, verdict: &Verdict) -> String {
    let word = match verdict {
        Verdict::Pass => paint::good(verdict.word()),
        Verdict::Fail(_) => paint::bad(verdict.word()),
        Verdict::NotProvoked(_) | Verdict::NotApplicable(_) => verdict.word().to_owned(),
    };
    let mut text = format!("{:>3}  {}\n     {word}", item.number, item.words);
    if !verdict.detail().is_empty() {
        let _ = write!(text, ": {}", verdict.detail());
    }
    text
}
