//! See `peer_journal::testing::fuzz::operations`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(why) = peer_journal::testing::fuzz::operations(input) {
        panic!("{why}");
    }
});
