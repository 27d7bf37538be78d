#![no_main]

#[path = "../router.rs"]
mod router;

libfuzzer_sys::fuzz_target!(|input: &[u8]| router::router(input));
