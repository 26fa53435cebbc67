//! See the law of this name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbbackup_fuzz::check("delta", data));
