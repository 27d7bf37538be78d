use std::env;
use std::fs::OpenOptions;
use std::io::{self, Write as _};

/// Says that a test was skipped for want of a network namespace.
pub fn note_skip(test: &str, error: &io::Error) {
    note_skip_of(
        test,
        &format!("no network namespace of our own: {error}; run as root, or under `unshare -rn`"),
    );
}

/// Says that a test was skipped, and why: at once, past the test runner, and in the summary over all test programs that is
/// kept in the file `FLATROUTE_SKIPPED`.
pub fn note_skip_of(test: &str, reason: &str) {
    // Whole lines at a time: tests run side by side.
    let line = format!("{test}: {reason}\n");
    let _ = io::stderr().write_all(format!("SKIPPED {line}").as_bytes());
    let summary =
        env::var_os("FLATROUTE_SKIPPED").map(|path| OpenOptions::new().create(true).append(true).open(path));
    if let Some(Ok(mut file)) = summary {
        let _ = file.write_all(line.as_bytes());
    }
}
