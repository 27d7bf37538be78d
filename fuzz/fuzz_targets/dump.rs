#![no_main]

#[path = "../dump.rs"]
mod dump;

libfuzzer_sys::fuzz_target!(|input: &[u8]| dump::dump(input));
