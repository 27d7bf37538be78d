//! The committed corpora of the fuzz targets, replayed.

use std::fs;
use std::path::Path;

use crate::targets::TARGETS;

#[test]
fn committed_corpora_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in TARGETS {
        let inputs: Vec<_> = fs::read_dir(root.join(name))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(inputs.len() >= 5, "the corpus of {name} is missing: {inputs:?}");
        for path in inputs {
            target(&fs::read(&path).unwrap());
        }
    }
}
