//! A store whose every row is known, and the command run on it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]
#![allow(clippy::indexing_slicing, clippy::string_slice, clippy::panic)]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use chrono::{DateTime, TimeDelta, Utc};
use peer_journal::{
    Change, P2PStatePersistence, PeerId,
    state::{Address, GeoLocation, PeerKey, Reputation, Time},
};
use tempfile::TempDir;

/// The time that ages are told from in these tests.
pub(crate) const NOW: &str = "2026-03-01T12:00:00Z";

pub(crate) fn now() -> DateTime<Utc> {
    NOW.parse().unwrap()
}

/// The peer with this number: a valid Ed25519 id, the same in every run.
pub(crate) fn peer(number: u64) -> PeerKey {
    let mut bytes = vec![0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
    for part in 1..=4_u32 {
        let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(part * 11);
        bytes.extend_from_slice(&mixed.wrapping_mul(u64::from(part)).to_be_bytes());
    }
    PeerKey::from(PeerId::from_bytes(&bytes).unwrap())
}

/// How its id ends, as tables show it.
pub(crate) fn end(number: u64) -> String {
    let id = peer(number).to_string();
    id[id.len() - 8..].to_owned()
}

pub(crate) fn address(text: &str) -> Address {
    Address::from_text(text)
}

/// Minutes before [`now`].
pub(crate) fn ago(minutes: i64) -> Time {
    (now() - TimeDelta::minutes(minutes)).into()
}

/// A store in a folder of its own, which goes with it.
pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    pub(crate) state_file: PathBuf,
}

impl Fixture {
    /// A folder without a store.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state_file = folder.path().join("p2p-state.json");
        Self { folder, state_file }
    }

    /// The store of [`history`]: snapshots after records 8 and 12, the rest in the journal, closed.
    pub(crate) fn market() -> Self {
        let fixture = Self::empty();
        fixture.write(&history(), &[8, 12]);
        fixture
    }

    /// A closed store with these records, and a snapshot behind each of these LSNs.
    pub(crate) fn write(&self, history: &[(i64, Vec<Change>)], snapshots: &[u64]) {
        let minutes = Arc::new(AtomicI64::new(history.first().map_or(0, |(at, _)| *at)));
        let clock = Arc::clone(&minutes);
        let store = P2PStatePersistence::builder(&self.state_file)
            .clock(move || ago(clock.load(Ordering::Relaxed)).into())
            .open()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for ((at, changes), lsn) in history.iter().zip(1_u64..) {
            minutes.store(*at, Ordering::Relaxed);
            let ack = store.append_batch(changes.clone()).unwrap();
            assert_eq!(ack.wait().unwrap().get(), lsn, "each record says something new");
            if snapshots.contains(&lsn) {
                assert_eq!(runtime.block_on(store.compact()).unwrap().get(), lsn);
            }
        }
        runtime.block_on(store.close()).unwrap();
    }

    /// A closed store with these records, made durable together.
    pub(crate) fn write_at_once(&self, history: &[(i64, Vec<Change>)]) {
        let store = P2PStatePersistence::builder(&self.state_file).clock(now).open().unwrap();
        for (_, changes) in history {
            store.append_batch(changes.clone()).unwrap();
        }
        drop(store);
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.state_file.with_extension("journal")
    }

    /// Runs the command on this store.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        run(&[&["--store", self.state_file.to_str().unwrap()], args].concat())
    }
}

/// The segments of a journal folder in the order of their names.
pub(crate) fn segments(journal: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(journal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
        .collect();
    found.sort();
    found
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// What it printed, if it ended well and had nothing to note.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        let parsed = serde_json::from_str(&self.out);
        assert!(parsed.is_ok(), "{parsed:?}: {self:?}");
        parsed.unwrap()
    }
}

/// The command, with nothing of the tester's environment that it would look at.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peer-journal"));
    for name in ["COLUMNS", "NO_COLOR", "CLICOLOR_FORCE", "PEER_JOURNAL_STORE", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.env("PEER_JOURNAL_NOW", NOW);
    command
}

pub(crate) fn run(args: &[&str]) -> Ran {
    ended(command().args(args))
}

pub(crate) fn ended(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran {
        code: output.status.code().expect("it was not killed"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Flips a bit in the payload of one record.
pub(crate) fn break_record(folder: &Path, lsn: u64) {
    for path in segments(&folder.join("p2p-state.journal")) {
        let mut bytes = std::fs::read(&path).unwrap();
        let mut start = 96;
        // The lengths lead from record to record; a byte of zero is no kind.
        while let Some(head) = bytes.get(start..start + 16).filter(|head| head[7] != 0) {
            let len = u32::from_le_bytes([head[4], head[5], head[6], 0]) as usize;
            let is_seal = head[7] == 2;
            if u64::from_le_bytes(head[8..16].try_into().unwrap()) == lsn && !is_seal {
                bytes[start + 20] ^= 1;
                std::fs::write(&path, bytes).unwrap();
                return;
            }
            start += 20 + len;
        }
    }
    panic!("no segment has a record {lsn}");
}

/// Makes the header of a segment one of a format that only a newer version knows.
pub(crate) fn make_newer(segment: &mut [u8]) {
    segment[8] = 9;
    let checksum = {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&segment[..12]);
        hasher.update(&segment[16..96]);
        hasher.finalize()
    };
    segment[12..16].copy_from_slice(&checksum.to_le_bytes());
}

fn seen(number: u64, minutes: i64, addresses: &[&str]) -> Change {
    Change::PeerSeen {
        peer: peer(number),
        at: ago(minutes),
        addresses: addresses.iter().map(|text| address(text)).collect(),
    }
}

fn succeeded(number: u64, minutes: i64, response_ms: u64) -> Change {
    Change::RetrievalSucceeded { peer: peer(number), at: ago(minutes), response_ms }
}

fn failed(number: u64, minutes: i64) -> Change {
    Change::RetrievalFailed { peer: peer(number), at: ago(minutes) }
}

/// Two hours in the life of a small market: each record with the minutes before [`now`].
pub(crate) fn history() -> Vec<(i64, Vec<Change>)> {
    let mut history = early_history();
    history.extend(late_history());
    history
}

fn early_history() -> Vec<(i64, Vec<Change>)> {
    let profiled = |number: u64, agent: &str| Change::PeerProfiled {
        peer: peer(number),
        agent: Some(agent.into()),
        protocols: vec!["/ipfs/ping/1.0.0".into(), "/ggen/kad/1.0.0".into()],
    };
    let verified = |number| Change::PeerVerified { peer: peer(number), verified: true };
    vec![
        (
            120,
            vec![Change::BootstrapReplaced {
                nodes: vec![
                    "/dnsaddr/bootstrap.example.org".into(),
                    "/ip4/192.0.2.1/tcp/4001".into(),
                ],
            }],
        ),
        (118, vec![seen(1, 118, &["/ip4/192.0.2.7/tcp/4001"]), verified(1)]),
        (118, vec![profiled(1, "kubo/0.41.0")]),
        (
            115,
            vec![
                seen(2, 115, &["/ip6/2001:db8::5/tcp/4001", "/ip4/192.0.2.8/tcp/4001"]),
                verified(2),
                profiled(2, "marketd/2.3"),
            ],
        ),
        (110, vec![succeeded(1, 110, 38)]),
        (108, vec![failed(2, 108)]),
        (
            100,
            vec![Change::AddressesAdded {
                peer: peer(3),
                addresses: vec![address("/dns4/n3.example/tcp/443/wss")],
            }],
        ),
        // A snapshot comes here.
        (
            95,
            vec![Change::DhtPut {
                key: "/pkg/web-rust".into(),
                value: (0_u8..200).collect(),
                at: ago(95),
            }],
        ),
        (90, vec![Change::PackagesProvided { peer: peer(1), count: 4 }, succeeded(1, 90, 44)]),
        (80, vec![failed(2, 80), failed(2, 80)]),
    ]
}

fn late_history() -> Vec<(i64, Vec<Change>)> {
    vec![
        (
            79,
            vec![Change::Banned {
                peer: peer(2),
                at: ago(79),
                until: ago(-600),
                reason: "3 failures in a row".into(),
                source: "registry".into(),
            }],
        ),
        // A stranger who tries to take over the terminal. A snapshot comes behind it.
        (
            60,
            vec![
                seen(4, 60, &["/ip4/203.0.113.9/udp/4001/quic-v1"]),
                Change::PeerVerified { peer: peer(4), verified: true },
                Change::PeerProfiled {
                    peer: peer(4),
                    agent: Some("\u{1b}[2J\u{202e}evil\u{9b}31m".into()),
                    protocols: Vec::new(),
                },
            ],
        ),
        (
            40,
            vec![Change::Banned {
                peer: peer(5),
                at: ago(40),
                until: ago(10),
                reason: "=spam\u{7}".into(),
                source: "operator".into(),
            }],
        ),
        (
            30,
            vec![Change::LocationSet {
                peer: peer(1),
                location: Some(GeoLocation {
                    latitude: 48.25,
                    longitude: 11.5,
                    region: Some("Bavaria".into()),
                }),
            }],
        ),
        (
            4,
            vec![Change::PackageCached {
                id: "web/rust".into(),
                data: vec![7; 5000].into(),
                at: ago(4),
            }],
        ),
        (
            3,
            vec![Change::ReputationSet {
                peer: peer(6),
                reputation: Reputation {
                    successful_retrievals: 812,
                    failed_retrievals: 9,
                    last_seen: ago(3),
                    avg_response_time_ms: 61,
                    location: None,
                    packages_provided: 12,
                },
            }],
        ),
        (2, vec![succeeded(1, 2, 35), seen(1, 2, &["/ip4/192.0.2.70/tcp/4001"])]),
        (1, vec![Change::Unbanned { peer: peer(2) }]),
    ]
}
