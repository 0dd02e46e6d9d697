//! See `peer_journal::testing::fuzz::read_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(why) = peer_journal::testing::fuzz::read_header(input) {
        panic!("{why}");
    }
});
