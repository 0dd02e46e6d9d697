//! The samples of docs/tool.md are what the tool prints: each is run on the store of these tests.
//!
//! After a change of the output: `TRYCMD=overwrite cargo test -p peer-journal-cli --test samples`,
//! and read the difference.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Fixture, NOW, copy_folder, peer};

#[test]
fn every_sample_of_the_page_prints_what_it_says() {
    let fixture = Fixture::market();
    let damaged = fixture.folder.path().join("damaged");
    copy_folder(&fixture.journal(), &damaged.join("p2p-state.journal"));
    std::fs::copy(&fixture.state_file, damaged.join("p2p-state.json")).unwrap();
    common::break_record(&damaged, 15);
    let address = |number: u64| format!("/ip4/192.0.2.{number}/tcp/4001/p2p/{}", peer(number + 20));
    let nodes = format!("# mine\n{}\n{}\n/ip4/192.0.2.3/tcp/4001\n", address(1), address(2));
    std::fs::write(fixture.folder.path().join("nodes.txt"), nodes).unwrap();
    // The samples name stores as a person in that folder would.
    std::env::set_current_dir(fixture.folder.path()).unwrap();
    let cases = trycmd::TestCases::new();
    cases
        .env("PEER_JOURNAL_NOW", NOW)
        .env("PEER_JOURNAL_STORE", "p2p-state.json")
        .env("COLUMNS", "100")
        .default_bin_path(env!("CARGO_BIN_EXE_peer-journal"))
        .register_bin("peer-journal", std::path::Path::new(env!("CARGO_BIN_EXE_peer-journal")));
    cases.case(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tool.md"));
    cases.run();
}
