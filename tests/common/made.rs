//! A small store on the simulated disk, whose every record is known, for tests that damage files.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::{DateTime, TimeZone, Utc};
use peer_journal::{
    Builder, P2PState, P2PStatePersistence, RecoveryReport,
    state::{Address, Change, Limits, PeerKey, State},
    testing::{Fault, Op, SimDisk},
};

pub(crate) const STATE: &str = "/data/p2p-state.json";
pub(crate) const JOURNAL: &str = "/data/p2p-state.journal";
pub(crate) const HEADER_BYTES: usize = 96;
pub(crate) const SEGMENT_BYTES: u64 = 4096;

/// The time of every test store: nothing expires unless a test wants it.
pub(crate) fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap()
}

/// Options for the store of a simulated disk, for one run of the program.
pub(crate) fn builder(disk: &SimDisk) -> Builder {
    P2PStatePersistence::builder(STATE)
        .vfs(Arc::new(disk.mount()))
        .segment_bytes(SEGMENT_BYTES)
        .clock(noon)
}

/// Everything that a state holds, comparable and readable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Picture {
    pub(crate) rows: P2PState,
    pub(crate) bans: Vec<String>,
    pub(crate) profiles: Vec<String>,
}

pub(crate) fn picture(state: &State) -> Picture {
    let sorted = |mut rows: Vec<String>| {
        rows.sort();
        rows
    };
    Picture {
        rows: state.to_rows(DateTime::UNIX_EPOCH),
        bans: sorted(state.bans().map(|(key, ban)| format!("{key} {ban:?}")).collect()),
        profiles: sorted(
            state
                .peers()
                .map(|(key, entry)| {
                    let verified = entry.seen.as_ref().is_some_and(|seen| seen.verified);
                    format!("{key} {verified} {:?}", entry.profile)
                })
                .collect(),
        ),
    }
}

/// Every file of the disk with its bytes.
pub(crate) fn files(disk: &SimDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    disk.files().into_iter().map(|(path, _)| (path.clone(), disk.read(&path).unwrap())).collect()
}

/// As [`files`], without the lock file: opening writes its holder's name into it.
pub(crate) fn data_files(disk: &SimDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = files(disk);
    files.retain(|path, _| path.file_name().is_none_or(|name| name != "LOCK"));
    files
}

/// The segment files in the order of their names.
pub(crate) fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = disk.files().into_iter().map(|(path, _)| path).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    found.sort();
    found
}

/// The snapshots that are kept as fallback.
pub(crate) fn fallbacks(disk: &SimDisk) -> Vec<PathBuf> {
    let is_fallback = |path: &PathBuf| {
        path.parent() == Some(Path::new(JOURNAL))
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snapshot-"))
    };
    disk.files().into_iter().map(|(path, _)| path).filter(is_fallback).collect()
}

/// All bytes that were set aside.
pub(crate) fn quarantined(disk: &SimDisk) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for (path, bytes) in files(disk) {
        let text = path.to_string_lossy();
        if text.contains("/quarantine/") && !text.ends_with(".note") {
            found.push(bytes);
        }
    }
    found
}

/// One record of an undamaged segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) lsn: u64,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) is_seal: bool,
}

/// Follows the lengths from record to record. Only for files that are known to be sound.
pub(crate) fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut start = HEADER_BYTES;
    while let Some(head) = bytes.get(start..start + 16).filter(|head| head[7] != 0) {
        let len = u32::from_le_bytes([head[4], head[5], head[6], 0]) as usize;
        let end = start + 20 + len;
        let lsn = u64::from_le_bytes(head[8..16].try_into().unwrap());
        frames.push(Frame { lsn, start, end, is_seal: head[7] == 2 });
        start = end;
    }
    frames
}

/// A store whose history is known: record `n` holds `history[n - 1]`.
pub(crate) struct Known {
    pub(crate) disk: SimDisk,
    pub(crate) history: Vec<Vec<Change>>,
}

impl Known {
    pub(crate) fn last(&self) -> u64 {
        self.history.len() as u64
    }

    /// The state that the report claims: everything up to its last number but what it calls lost.
    pub(crate) fn claimed(&self, report: &RecoveryReport) -> Picture {
        let lost = |lsn: u64| {
            report.lost.iter().any(|range| (range.first.get()..=range.last.get()).contains(&lsn))
        };
        self.state_of(|lsn| lsn <= report.last_lsn.get() && !lost(lsn))
    }

    pub(crate) fn full(&self) -> Picture {
        self.state_of(|_| true)
    }

    pub(crate) fn state_of(&self, counts: impl Fn(u64) -> bool) -> Picture {
        let mut state = State::new(Limits::default());
        for (changes, lsn) in self.history.iter().zip(1..) {
            if counts(lsn) {
                state.apply_all(changes).expect("no limit is near");
            }
        }
        picture(&state)
    }
}

/// Opens the store, reads what it holds and closes it.
pub(crate) fn look(disk: &SimDisk) -> (Picture, RecoveryReport) {
    let store = builder(disk).open().expect("a damaged store opens");
    let picture = picture(store.view().unwrap().state());
    (picture, store.recovery().unwrap().clone())
}

fn key(number: u64) -> PeerKey {
    PeerKey::from(crate::common::peer(number))
}

fn put(name: &str, bytes: usize) -> Change {
    let value = (0..bytes).map(|index| (index * 31 + name.len()) as u8).collect::<Vec<u8>>();
    Change::DhtPut { key: name.into(), value: value.into(), at: noon().into() }
}

fn history() -> Vec<Vec<Change>> {
    let seen = |number: u64, port: u16| Change::PeerSeen {
        peer: key(number),
        at: noon().into(),
        addresses: vec![Address::from(crate::common::address(port))],
    };
    let succeeded = |number: u64| Change::RetrievalSucceeded {
        peer: key(number),
        at: noon().into(),
        response_ms: 10 * number,
    };
    let odd = |text: &str| PeerKey::from_text(text);
    vec![
        vec![seen(1, 4001)],
        vec![seen(2, 4002), Change::PeerVerified { peer: key(2), verified: true }],
        vec![succeeded(1)],
        vec![Change::BootstrapAdded { node: "/dnsaddr/bootstrap.libp2p.io".into() }],
        vec![put("first", 40)],
        // A snapshot of 5 comes here.
        vec![succeeded(2)],
        vec![Change::Banned {
            peer: key(3),
            at: noon().into(),
            until: (noon() + chrono::TimeDelta::days(30)).into(),
            reason: "spam".into(),
            source: "test".into(),
        }],
        vec![seen(1, 4003), succeeded(1)],
        // A snapshot of 8 comes here.
        vec![Change::PeerSet {
            peer: odd("12D3KooWTest"),
            last_seen: noon().into(),
            addresses: vec![Address::from_text("not an address")],
        }],
        vec![put("second", 150)],
        vec![put("third", 90)],
        vec![succeeded(1)],
        vec![Change::PeerProfiled {
            peer: key(1),
            agent: Some("kubo/0.1".into()),
            protocols: vec!["/ping".into()],
        }],
        vec![Change::DhtRemoved { key: "first".into() }, succeeded(2)],
        vec![succeeded(1)],
    ]
}

/// Snapshot as of 8, fallback as of 5, segments from 6 on. Every change was acknowledged by itself.
pub(crate) fn known(is_closed: bool) -> Known {
    let disk = SimDisk::new(7);
    let store = builder(&disk).open().unwrap();
    let history = history();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (changes, lsn) in history.iter().zip(1_u64..) {
        let ack = store.append_batch(changes.clone()).unwrap();
        assert_eq!(ack.wait().unwrap().get(), lsn);
        match lsn {
            5 | 8 => assert_eq!(runtime.block_on(store.compact()).unwrap().get(), lsn),
            10 | 12 => {
                // A snapshot that cannot be written still ends the segment behind it.
                disk.fail(Fault::new(Op::Create).path("json.tmp"));
                runtime.block_on(store.compact()).unwrap_err();
            }
            _ => {}
        }
    }
    if is_closed {
        runtime.block_on(store.close()).unwrap();
    }
    let copy = disk.fork();
    drop(store);
    Known { disk: copy, history }
}
