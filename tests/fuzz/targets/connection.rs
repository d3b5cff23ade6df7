//! See [`chat_fuzz::connection`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| chat_fuzz::connection::check(bytes));
