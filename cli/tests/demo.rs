//! The demo is the first thing that a visitor runs: it must end well and lose nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

#[test]
fn the_demo_kills_a_node_and_keeps_everything_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let ran = Command::new(env!("CARGO_BIN_EXE_peer-journal"))
        .args(["demo", "--kill-after", "2"])
        .env("TMPDIR", folder.path())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{out}\n{err}");
    assert!(err.is_empty(), "progress shows on a terminal only: {err}");
    let acknowledged = out
        .split_once("It had acknowledged ")
        .and_then(|(_, rest)| rest.split_once(' '))
        .map(|(count, _)| count.to_owned())
        .expect("it says how many changes were acknowledged");
    assert_ne!(acknowledged, "0");
    let row = out.lines().find(|line| line.starts_with("peer-journal")).unwrap();
    let kept: Vec<&str> = row.split_whitespace().skip(1).collect();
    assert_eq!(kept, [acknowledged.as_str(), acknowledged.as_str()], "{out}");
    assert!(out.contains("without a bootstrap node"), "{out}");
}
