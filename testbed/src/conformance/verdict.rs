//! What is asked, and how the answer is judged.

use anyhow::Result;

use super::world::World;

/// How an item came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not: what was seen.
    Fail(String),
    /// It was not brought about, for this reason.
    NotProvoked(String),
    /// The plugin or the configuration promises nothing of the kind, for this reason.
    NotApplicable(String),
}

impl Verdict {
    /// In one word or two.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail(_) => "FAIL",
            Self::NotProvoked(_) => "not provoked",
            Self::NotApplicable(_) => "not applicable",
        }
    }

    /// What was seen, or why.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Pass => "",
            Self::Fail(detail) | Self::NotProvoked(detail) | Self::NotApplicable(detail) => detail,
        }
    }
}

/// [`Verdict::NotApplicable`], as the end of a proof.
pub(super) fn not_applicable(why: impl Into<String>) -> Result<Verdict> {
    Ok(Verdict::NotApplicable(why.into()))
}

/// [`Verdict::NotProvoked`], as the end of a proof.
pub(super) fn not_provoked(why: impl Into<String>) -> Result<Verdict> {
    Ok(Verdict::NotProvoked(why.into()))
}

/// How an item is judged.
#[derive(Debug, Clone, Copy)]
pub enum Proof {
    /// In a world of its own; an error is a FAIL with its words.
    Run(fn(&World<'_>) -> Result<Verdict>),
    /// Nobody can bring it about from outside, for this reason.
    Never(&'static str),
}

/// One item of the list. Its number never changes.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    /// From 1.
    pub number: u8,
    /// What has to hold.
    pub words: &'static str,
    /// How it is judged.
    pub proof: Proof,
}

pub(super) const fn item(number: u8, words: &'static str, run: fn(&World<'_>) -> Result<Verdict>) -> Item {
    Item {
        number,
        words,
        proof: Proof::Run(run),
    }
}

pub(super) const fn never(number: u8, words: &'static str, why: &'static str) -> Item {
    Item {
        number,
        words,
        proof: Proof::Never(why),
    }
}
