//! See `peer_journal::testing::fuzz::scan_segment`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(why) = peer_journal::testing::fuzz::scan_segment(input) {
        panic!("{why}");
    }
});
