//! Any text, read as a time and as a duration of the Acronis dialect.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| server::dialects::acronis::fuzz::time(data));
