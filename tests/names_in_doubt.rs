//! Between the failed sync of a folder and the moment when its names are sure again: the threads of
//! the store, a kill, and a disk that is nearly full. See also `folder_syncs.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use common::{
    doubt::{append_durably, folder_sync_fails, large, noon, put, survives},
    sim::{STATE_FILE, block_on, builder, open},
};
use peer_journal::{ErrorKind, state::Change, testing::SimDisk};

/// Far longer than any of it takes, so that only a hang reaches it.
const WATCHDOG: Duration = Duration::from_secs(60);

/// What all files take.
fn bytes(disk: &SimDisk) -> u64 {
    disk.files().into_iter().map(|(_, bytes)| bytes).sum()
}

fn is_compacting() -> bool {
    std::thread::current().name() == Some("peer-journal-compact")
}

/// Here somebody waits meanwhile. The commit thread then gave up the open segment, though nothing
/// was wrong with it, and what was left ended with a seal, as a close leaves it.
#[test]
fn a_kill_while_a_name_is_in_doubt_is_not_taken_for_a_close() {
    let disk = SimDisk::new(1);
    let store = builder(&disk).max_update_record_bytes(1024).open().unwrap();
    append_durably(&store, "small");
    disk.fail(folder_sync_fails(1).times(u64::MAX));
    block_on(store.update_state(large())).unwrap_err();
    let refused = store.append(put("lost")).unwrap().wait().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Degraded, "{refused:#}");
    disk.kill();
    drop(store);
    disk.clear_faults();
    let store = open(&disk).unwrap();
    assert!(store.view().unwrap().state().dht_entry("large1").is_some(), "it is there to see");
    append_durably(&store, "after");
    survives(&disk, &["large1", "large2", "after"], "killed");
}

/// A compaction settled the update and waited for a seal, while the commit thread had asked for the
/// former, and waited for an answer that was to come after the compaction.
#[test]
fn two_threads_settle_a_large_update_at_once() {
    let disk = SimDisk::new(1);
    let (arrived, at_clock) = channel();
    let (go, gone) = channel();
    // Where the compaction thread stops when it next asks for the time.
    let stop = Arc::new(Mutex::new(None::<(Sender<()>, Receiver<()>)>));
    let stop_in_clock = Arc::clone(&stop);
    let clock = move || {
        let stop = is_compacting().then(|| stop_in_clock.lock().unwrap().take());
        if let Some((arrived, gone)) = stop.flatten() {
            arrived.send(()).unwrap();
            gone.recv_timeout(WATCHDOG).unwrap();
        }
        noon()
    };
    let never = Duration::from_secs(3600);
    let options = builder(&disk).max_update_record_bytes(1024).sync_within(never).clock(clock);
    let store = options.open().unwrap();
    append_durably(&store, "small");
    disk.fail(folder_sync_fails(1));
    block_on(store.update_state(large())).unwrap_err();
    let ack = store.append(put("after")).unwrap();
    *stop.lock().unwrap() = Some((arrived, gone));
    let (done, all_done) = channel();
    let saved = done.clone();
    let saving = store.clone();
    std::thread::spawn(move || saved.send(block_on(saving.compact())).unwrap());
    at_clock.recv_timeout(WATCHDOG).unwrap();
    std::thread::spawn(move || done.send(ack.wait()).unwrap());
    // Time for the commit thread to ask. If it is slower nothing is tested, and nothing fails.
    std::thread::sleep(Duration::from_millis(100));
    go.send(()).unwrap();
    for _ in 0..2 {
        all_done.recv_timeout(WATCHDOG).expect("they wait for each other").unwrap();
    }
    survives(&disk, &["large1", "large2", "after"], "settled");
}

/// The copy that makes a name again finds no room. What it has taken by then the journal needs.
#[test]
fn half_a_copy_does_not_fill_the_disk() {
    let disk = SimDisk::new(1);
    let store = builder(&disk).open().unwrap();
    for key in ["first", "second"] {
        let value = vec![7; 64 << 10].into();
        store.append(Change::DhtPut { key: key.into(), value, at: noon().into() }).unwrap();
        block_on(store.compact()).unwrap();
    }
    append_durably(&store, "third");
    disk.fail(folder_sync_fails(1));
    block_on(store.compact()).unwrap_err();
    // The snapshot has two names by now.
    let snapshot = disk.read(STATE_FILE).unwrap().len() as u64;
    disk.set_capacity(Some(bytes(&disk) - snapshot + (64 << 10)));
    block_on(store.compact()).unwrap_err();
    let files = disk.files();
    let left: Vec<_> =
        files.iter().filter(|(path, _)| path.to_string_lossy().ends_with(".json.tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
    store.append(put("fourth")).unwrap().wait().expect("there is room for a record");
    disk.set_capacity(None);
    block_on(store.compact()).unwrap();
    survives(&disk, &["first", "second", "third", "fourth"], "the disk has room again");
}

/// A node must start, though there is no room for the copies that make the names sure.
#[test]
fn a_store_opens_where_copies_find_no_room() {
    let disk = SimDisk::new(1);
    let store = builder(&disk).max_update_record_bytes(1024).open().unwrap();
    append_durably(&store, "small");
    disk.fail(folder_sync_fails(1));
    let mut larger = large();
    larger.dht_entries[0].value = vec![7; 64 << 10];
    block_on(store.update_state(larger)).unwrap_err();
    disk.kill();
    drop(store);
    disk.set_capacity(Some(bytes(&disk) + (32 << 10)));
    let store = open(&disk).expect("there is room for a journal");
    append_durably(&store, "after");
    disk.set_capacity(None);
    block_on(store.compact()).unwrap();
    survives(&disk, &["large1", "large2", "after"], "the disk has room again");
}
