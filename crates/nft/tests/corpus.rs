//! The committed corpus of the fuzz target, replayed on stable Rust.

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/dump.rs"]
mod dump;

#[test]
fn the_corpus_passes() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/dump");
    let mut count = 0;
    for entry in fs::read_dir(&dir).expect("a corpus") {
        let path = entry.expect("an entry").path();
        dump::dump(&fs::read(&path).expect("a file"));
        count += 1;
    }
    assert!(count >= 20, "{count} inputs in {}", dir.display());
}
