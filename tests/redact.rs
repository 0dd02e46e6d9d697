//! Guards what a person may ask for: that nothing of a peer is left in any file. And what nobody
//! asked for: a record about others that is lost, a store that a crash in the middle breaks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

mod common;

use std::{path::Path, time::Duration};

use chrono::TimeDelta;
use common::{
    made::{JOURNAL, Picture, STATE, builder, data_files, noon, picture},
    peer,
};
use data_encoding::BASE64;
use peer_journal::{
    Builder, Change, ErrorKind, History, Lsn, P2PState, P2PStatePersistence, Reader, Redaction,
    RedactionAction, Verdict,
    state::{Address, Limits, PeerKey, Reputation, State},
    testing::{Fault, Op, Outcome, SimDisk},
};

/// The peer that has to go.
const WHO: u64 = 7;

fn who() -> PeerKey {
    peer(WHO).into()
}

fn key(number: u64) -> PeerKey {
    peer(number).into()
}

fn addresses(texts: &[&str]) -> Vec<Address> {
    texts.iter().map(|text| Address::from_text(text)).collect()
}

fn seen(peer: PeerKey, texts: &[&str]) -> Change {
    Change::PeerSeen { peer, at: noon().into(), addresses: addresses(texts) }
}

fn banned(peer: PeerKey, reason: &str) -> Change {
    let (at, until) = (noon().into(), (noon() + TimeDelta::days(9)).into());
    Change::Banned { peer, at, until, reason: reason.into(), source: "test".into() }
}

fn put(key: &str, value: &[u8]) -> Change {
    Change::DhtPut { key: key.into(), value: value.into(), at: noon().into() }
}

fn named_value() -> String {
    format!("provided by {}", peer(WHO))
}

/// Each record, and what of it is left when the peer has gone.
fn records() -> Vec<(Vec<Change>, Vec<Change>)> {
    let kept = |change: Change| (vec![change.clone()], vec![change]);
    let gone = |change: Change| (vec![change], Vec::new());
    let circuit = format!("/ip4/192.0.2.9/tcp/1/p2p/{}/p2p-circuit", peer(WHO));
    let node = format!("/dnsaddr/example.org/p2p/{}", peer(WHO));
    let all: &[&str] = &["/ip4/192.0.2.2/tcp/4001", &circuit, "/ip4/192.0.2.3/tcp/4001"];
    let protocols = vec!["/ipfs/ping/1.0.0".into()];
    let bulk = |n: u8| kept(put(&format!("bulk {n}"), &[n; 900]));
    vec![
        kept(seen(key(1), &["/ip4/192.0.2.1/tcp/4001"])),
        gone(seen(who(), &["/ip4/203.0.113.77/tcp/4001", "no multiaddr of 203.0.113.77"])),
        gone(Change::PeerProfiled { peer: who(), agent: Some("secretive/1".into()), protocols }),
        (vec![seen(key(2), all)], vec![seen(key(2), &[all[0], all[2]])]),
        bulk(1),
        gone(Change::RetrievalFailed { peer: who(), at: noon().into() }),
        (
            vec![put("a", b"1"), put(&format!("kad/provider/x/{}", peer(WHO)), b"2")],
            vec![put("a", b"1")],
        ),
        bulk(2),
        bulk(3),
        gone(banned(who(), "for what it did")),
        (vec![put("named", named_value().as_bytes())], vec![]),
        gone(Change::BootstrapAdded { node: node.into() }),
        kept(Change::BootstrapAdded { node: "/ip4/192.0.2.1/tcp/1".into() }),
        bulk(4),
        kept(banned(key(3), "spam")),
        (
            vec![banned(key(4), &format!("a friend of {}", peer(WHO)))],
            vec![banned(key(4), "[redacted]")],
        ),
        gone(Change::ReputationSet { peer: who(), reputation: Reputation::default() }),
        bulk(5),
        // Somebody else at the same address.
        kept(seen(key(5), &["/ip4/198.51.100.1/tcp/1"])),
        gone(Change::AddressesAdded {
            peer: who(),
            addresses: addresses(&["/ip4/198.51.100.1/tcp/1"]),
        }),
        kept(Change::RetrievalSucceeded { peer: key(1), at: noon().into(), response_ms: 9 }),
    ]
}

/// The state after each record, by its number: as it was, and without the peer.
fn models() -> Vec<(Picture, Picture)> {
    let (mut whole, mut without) = (State::default(), State::default());
    let mut models = vec![(picture(&whole), picture(&without))];
    for (changes, left) in records() {
        whole.apply_all(&changes).unwrap();
        without.apply_all(&left).unwrap();
        models.push((picture(&whole), picture(&without)));
    }
    models
}

/// What must not stand in any file.
fn needles() -> Vec<Vec<u8>> {
    let id = peer(WHO).to_bytes();
    vec![
        id[6..].to_vec(),
        peer(WHO).to_base58().into_bytes(),
        b"203.0.113.77".to_vec(),
        vec![4, 203, 0, 113, 77],
        b"secretive".to_vec(),
        b"for what it did".to_vec(),
        BASE64.encode(named_value().as_bytes()).into_bytes(),
        named_value().into_bytes(),
    ]
}

/// The files that hold one of the needles.
fn found(disk: &SimDisk) -> Vec<String> {
    let holds = |bytes: &[u8]| {
        needles().iter().any(|needle| bytes.windows(needle.len()).any(|part| part == needle))
    };
    let files = data_files(disk).into_iter().filter(|(_, bytes)| holds(bytes));
    files.map(|(path, _)| path.display().to_string()).collect()
}

fn all() -> History {
    History { bytes_max: u64::MAX, age_max: Duration::from_secs(u64::MAX) }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A closed store with all records, two of them behind the last snapshot; things in quarantine; the
/// original of a migration.
fn store(with_history: bool) -> SimDisk {
    let disk = SimDisk::new(1);
    let options = builder(&disk);
    let options = if with_history { options.keep_history(all()) } else { options };
    let store = options.open().unwrap();
    let count = records().len();
    for ((changes, _), number) in records().into_iter().zip(1..) {
        store.append_batch(changes).unwrap().wait().unwrap();
        if number % 4 == 0 && number < count - 1 {
            block_on(store.compact()).unwrap();
        }
    }
    drop(store);
    let quarantine = format!("{JOURNAL}/quarantine/x.wal.1-2.00000000");
    disk.write(&quarantine, peer(WHO).to_base58().as_bytes()).unwrap();
    let mut rows = P2PState { version: 1, ..P2PState::default() };
    rows.bootstrap_nodes.push(format!("/dns/x/p2p/{}", peer(WHO)));
    let original = serde_json::to_string_pretty(&rows).unwrap();
    disk.write(format!("{JOURNAL}/snapshot-version-1.json"), original.as_bytes()).unwrap();
    disk.kill();
    disk
}

fn redaction(disk: &SimDisk) -> Redaction {
    Redaction::new(builder(disk), who())
}

fn reader(disk: &SimDisk) -> Reader {
    Reader::options(STATE).vfs(std::sync::Arc::new(disk.mount())).attempts(1).open().unwrap()
}

/// Nothing of the peer is left, everything of the others is, in the present and in the past.
fn is_redacted(disk: &SimDisk, story: &str) {
    assert_eq!(found(disk), [] as [String; 0], "{story}");
    let reader = reader(disk);
    assert!(!reader.report().is_damaged(), "{story}: {}", reader.report());
    let models = models();
    let last = models.len() as u64 - 1;
    assert_eq!(picture(reader.view().state()), models[models.len() - 1].1, "{story}");
    for file in reader.files().unwrap() {
        let sound = [Verdict::Whole, Verdict::Covered, Verdict::Unborn].contains(&file.verdict);
        assert!(sound && file.damage.is_empty(), "{story}: {file:?}");
    }
    let oldest = reader.oldest_restorable().unwrap();
    let mut lsn = oldest;
    while lsn <= reader.view().lsn() {
        let state = reader.state_at(lsn).unwrap_or_else(|error| panic!("{story}: {error:#}"));
        let model = &models[lsn.get().min(last) as usize].1;
        assert_eq!(&picture(state.state()), model, "{story}: lsn {lsn}");
        lsn = lsn.next();
    }
    // Every number is in the log, and a record about others says what it said.
    let mut expected = oldest.next();
    for record in reader.log(oldest.next()..).unwrap() {
        let record = record.unwrap_or_else(|error| panic!("{story}: {error:#}"));
        assert_eq!(record.lsn, expected, "{story}");
        expected = record.lsn.next();
        if let Some((_, left)) = records().get(record.lsn.get() as usize - 1) {
            let told: Vec<Change> = record.changes.into_iter().filter(is_no_filler).collect();
            assert_eq!(&told, left, "{story}: lsn {}", record.lsn);
        }
    }
    assert!(redaction(disk).plan().unwrap().is_empty(), "{story}");
}

fn is_no_filler(change: &Change) -> bool {
    let text = change.peer().map(ToString::to_string).unwrap_or_default();
    // What stood under a key that is about nobody goes; here nothing stood there.
    let is_empty = matches!(change, Change::DhtRemoved { .. });
    !text.ends_with("-redacted") && !is_empty
}

#[test]
fn nothing_of_a_peer_is_left_and_nothing_of_others_is_lost() {
    for with_history in [false, true] {
        let disk = store(with_history);
        let before = reader(&disk).view().lsn();
        assert!(found(&disk).len() > 4, "{:?}", found(&disk));
        let plan = redaction(&disk).plan().unwrap();
        let planned: Vec<String> =
            plan.steps.iter().map(|step| step.path.display().to_string()).collect();
        for path in found(&disk) {
            assert!(planned.contains(&path), "{path} is not in {planned:?}");
        }
        let acts = |action| plan.steps.iter().any(|step| step.action == action);
        assert!(acts(RedactionAction::Replace) && acts(RedactionAction::Remove));
        assert_eq!(acts(RedactionAction::Rewrite), with_history);
        assert_eq!(plan.shared_addresses, 1);
        let kinds: Vec<&str> = plan.changes.iter().map(Change::kind).collect();
        let mut sorted = kinds.clone();
        sorted.sort_unstable();
        let expected = [
            "addresses_removed",
            "banned",
            "bootstrap_removed",
            "dht_removed",
            "dht_removed",
            "peer_forgotten",
            "unbanned",
        ];
        assert_eq!(sorted, expected);
        let done = redaction(&disk).apply().unwrap();
        assert_eq!((&done.steps, &done.changes), (&plan.steps, &plan.changes));
        let story = format!("history: {with_history}");
        is_redacted(&disk, &story);
        let oldest = reader(&disk).oldest_restorable().unwrap();
        assert!(with_history == (oldest == Lsn::ZERO), "{story}: from {oldest}");
        // Nothing comes back with a power cut, and the numbers go on.
        disk.power_cut(Outcome::DropUnsynced);
        is_redacted(&disk, &story);
        let lsn = reader(&disk).view().lsn();
        assert!(lsn > before);
        let again = redaction(&disk).apply().unwrap();
        assert!(again.is_empty() && again.lsn == lsn, "{story}: {again:?}");
        let store = builder(&disk).open().unwrap();
        assert_eq!(store.dht_put("next", b"1").unwrap().wait().unwrap(), lsn.next(), "{story}");
    }
}

/// Cut the power before every third call, in a long run before each: either nothing has happened to
/// the state, or the peer is out of it; and another run finishes.
#[test]
fn a_crash_at_any_call_leaves_a_whole_store_and_another_run_finishes() {
    let is_long = std::env::var_os("PEER_JOURNAL_LONG").is_some();
    for with_history in [false, true] {
        let disk = store(with_history);
        disk.record_images();
        redaction(&disk).apply().unwrap();
        let images = disk.take_images();
        assert!(images.len() > 40, "{}", images.len());
        let models = models();
        let (whole, without) = models.last().unwrap();
        for (number, image) in images.iter().enumerate() {
            let seed = number as u64;
            let outcomes = [Outcome::DropUnsynced, Outcome::KeepAll, Outcome::Random(seed)];
            for (index, outcome) in outcomes.into_iter().enumerate() {
                if !is_long && (number % 3 != 0 || index != number / 3 % 3) {
                    continue;
                }
                let crashed = image.fork();
                crashed.power_cut(outcome);
                let last = image.trace().last().map(ToString::to_string);
                let story = format!("history: {with_history}, cut after {last:?}, {outcome:?}");
                let reader = reader(&crashed);
                assert!(!reader.report().is_damaged(), "{story}: {}", reader.report());
                let now = picture(reader.view().state());
                assert!(now == *whole || now == *without, "{story}");
                redaction(&crashed).apply().unwrap_or_else(|error| panic!("{story}: {error:#}"));
                // `apply` has looked at every file again; now and then so does the test.
                if is_long || number % 24 == 0 {
                    is_redacted(&crashed, &story);
                } else {
                    assert_eq!(found(&crashed), [] as [String; 0], "{story}");
                }
            }
        }
    }
}

/// A disk that refuses: an error, a whole store, and another run finishes.
#[test]
fn a_refusing_disk_is_an_error_and_another_run_finishes() {
    let mut failed = 0;
    for op in [Op::Write, Op::Sync, Op::Rename, Op::SyncDir, Op::Remove, Op::Create] {
        for skip in [0, 7] {
            let disk = store(true);
            let story = format!("{op:?} number {skip}");
            disk.fail(Fault::new(op).path("history").after(skip));
            let refused = redaction(&disk).apply();
            failed += u32::from(refused.is_err());
            disk.clear_faults();
            assert!(!reader(&disk).report().is_damaged(), "{story}");
            redaction(&disk).apply().unwrap_or_else(|error| panic!("{story}: {error:#}"));
            is_redacted(&disk, &story);
        }
    }
    assert!(failed >= 6, "{failed}");
}

#[test]
fn damage_in_the_history_hides_nothing_and_what_is_whole_in_it_stays() {
    let disk = store(true);
    let in_history = |end: &str| {
        let files = disk.files().into_iter().map(|(path, _)| path);
        let mut files = files.filter(|path| path.starts_with(format!("{JOURNAL}/history")));
        files.find(|path| path.to_string_lossy().ends_with(end)).unwrap()
    };
    // A bit of the record that says where the peer is, and of a snapshot.
    let segment = in_history(".wal");
    let bytes = disk.read(&segment).unwrap();
    let id = &needles()[0];
    let at = bytes.windows(id.len()).position(|part| part == id).unwrap();
    disk.flip_bit(&segment, (at as u64 + 40) * 8).unwrap();
    let snapshot = disk
        .files()
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| path.starts_with(format!("{JOURNAL}/history")))
        .rfind(|path| path.to_string_lossy().ends_with(".json"))
        .unwrap();
    disk.flip_bit(&snapshot, 5000).unwrap();
    let plan = redaction(&disk).plan().unwrap();
    let step = |path: &Path| plan.steps.iter().find(|step| step.path == path).unwrap().action;
    assert_eq!(step(&segment), RedactionAction::Rewrite);
    assert_eq!(step(&snapshot), RedactionAction::Remove);
    redaction(&disk).apply().unwrap();
    assert_eq!(found(&disk), [] as [String; 0]);
    assert!(redaction(&disk).plan().unwrap().is_empty());
    let reader = reader(&disk);
    let read = reader.log(..).unwrap().filter(Result::is_ok).count();
    assert_eq!(read, records().len() - 1, "one record was damaged");
}

#[test]
fn a_store_that_is_held_damaged_newer_or_absent_is_not_touched() {
    let disk = store(true);
    let held = builder(&disk).keep_history(all()).open().unwrap();
    assert_eq!(redaction(&disk).apply().unwrap_err().kind(), ErrorKind::Locked);
    assert!(!redaction(&disk).plan().unwrap().is_empty(), "a plan needs no lock");
    drop(held);
    let refused = |disk: &SimDisk, kind: ErrorKind| {
        let before = data_files(disk);
        let error = redaction(disk).apply().unwrap_err();
        assert_eq!(error.kind(), kind, "{error:#}");
        let after = data_files(disk);
        let same = before.iter().all(|(path, bytes)| after.get(path) == Some(bytes));
        assert!(same, "{kind}");
    };
    let damaged = disk.fork();
    damaged.flip_bit(STATE, 9000).unwrap();
    refused(&damaged, ErrorKind::Corrupt);
    let newer = disk.fork();
    let path = format!("{JOURNAL}/history/snapshot-00000000000000000004.json");
    newer.write(path, b"{\"version\": 9}").unwrap();
    refused(&newer, ErrorKind::NewerVersion);
    refused(&SimDisk::new(3), ErrorKind::NoStore);
}

/// An id of an old program that is no peer id: its rows go, and no text that happens to hold it.
#[test]
fn an_odd_id_is_taken_out_as_a_whole() {
    let disk = SimDisk::new(2);
    let odd = PeerKey::from_text("node");
    let open = |options: Builder| -> P2PStatePersistence { options.open().unwrap() };
    let store = open(builder(&disk));
    let both = [seen(odd.clone(), &["/ip4/203.0.113.77/tcp/1"]), seen(key(1), &["no node"])];
    store.append_batch(both).unwrap().wait().unwrap();
    drop(store);
    Redaction::new(builder(&disk), odd.clone()).apply().unwrap();
    let store = open(builder(&disk).limits(Limits::UNBOUNDED));
    let view = store.view().unwrap();
    assert!(view.state().peer(&odd).is_none());
    assert_eq!(view.state().peer(&key(1)).unwrap().seen.as_ref().unwrap().addresses.len(), 1);
    assert_eq!(found(&disk), [] as [String; 0]);
}
