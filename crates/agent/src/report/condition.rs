//! Conditions: what is new is compared with what was there, so that the time of the last change is one.

use flatroute_api::objects::MAX_STATUS_TEXT;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Whether something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    True,
    False,
    Unknown,
}

impl From<bool> for Truth {
    fn from(is_true: bool) -> Self {
        if is_true { Self::True } else { Self::False }
    }
}

impl Truth {
    fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition of this type. It has changed now when its status differs from the one before.
pub(super) fn condition(
    kind: &str,
    truth: impl Into<Truth>,
    reason: &str,
    message: &str,
    before: &[Condition],
    now: Timestamp,
) -> Condition {
    let status = truth.into().as_str();
    let before = before.iter().find(|c| c.type_ == kind && c.status == status);
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: word(reason),
        message: bounded(message),
        observed_generation: None,
        last_transition_time: before.map_or_else(|| Time(seconds(now)), |c| c.last_transition_time.clone()),
    }
}

/// A time without what is below seconds, as objects have it.
pub(super) fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// A text that fits.
pub(super) fn bounded(text: &str) -> String {
    if text.len() <= MAX_STATUS_TEXT {
        return text.to_owned();
    }
    let room = MAX_STATUS_TEXT - '…'.len_utf8();
    let end = (0..=room)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    let mut text = text.get(..end).unwrap_or_default().to_owned();
    text.push('…');
    text
}

/// What the API server takes for a reason: a letter, then letters, digits, `_`; else something went wrong in our words.
fn word(reason: &str) -> String {
    let starts = reason.starts_with(|c: char| c.is_ascii_alphabetic());
    if starts && reason.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return reason.to_owned();
    }
    "Invalid".to_owned()
}

/// The word before a colon, and the sentence after it: how the parts of the agent give a reason.
pub(super) fn split(reason: &str) -> (&str, &str) {
    reason.split_once(": ").unwrap_or(("Waiting", reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_last_change_stays_while_the_status_does() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = condition("A", true, "R", "m", &[], at(1));
        let same = condition("A", true, "Other", "n", std::slice::from_ref(&first), at(2));
        assert_eq!(
            (same.last_transition_time.0, same.reason.as_str()),
            (at(1), "Other")
        );
        let changed = condition("A", false, "R", "m", &[same], at(3));
        assert_eq!(
            (changed.last_transition_time.0, changed.status.as_str()),
            (at(3), "False")
        );
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let long = "ü".repeat(MAX_STATUS_TEXT);
        let cut = bounded(&long);
        assert!(
            cut.len() <= MAX_STATUS_TEXT && cut.ends_with("ü…"),
            "{}",
            cut.len()
        );
        assert_eq!(bounded("short"), "short");
    }

    #[test]
    fn reasons_are_words() {
        assert_eq!(
            split("SecretNotFound: no Secret"),
            ("SecretNotFound", "no Secret")
        );
        assert_eq!(split("no word"), ("Waiting", "no word"));
        assert_eq!(
            (word("Good1"), word("no good")),
            ("Good1".to_owned(), "Invalid".to_owned())
        );
    }
}
