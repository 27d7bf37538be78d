//! The codec from outside: hostile messages with their exact answers, laws that hold for all messages, limits,
//! and the committed corpora of the fuzz targets.

// Tables of cases are long, and what a test builds for itself may be unwrapped.
#![allow(clippy::unwrap_used, clippy::too_many_lines)]

mod wire {
    mod bytes;
    mod capabilities;
    mod corpus;
    mod hostile;
    mod laws;
    mod limits;
    mod merge;
    mod notification;
    mod open;
}

#[path = "../../../fuzz/targets.rs"]
mod targets;
