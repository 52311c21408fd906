//! Any query string, put to the lists and objects of the Acronis dialect.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| server::dialects::acronis::fuzz::query(data));
