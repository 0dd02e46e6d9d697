//! A sync of a folder that failed may have marked its names clean: they are there to see, later
//! syncs return `Ok`, and a power cut takes them. Nothing may rest on a name that was made before
//! such a failure, whichever thread met it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use common::{
    doubt::{append_durably, folder_sync_fails, large, survives},
    hooked::{Hooked, Hooks},
    sim::{STATE_FILE, block_on, builder, open},
};
use peer_journal::{
    Lsn,
    testing::{Fault, Op, Outcome, SimDisk},
};

const JOURNAL: &str = "/node/p2p-state.journal";
/// Far longer than any of it takes, so that only a hang reaches it.
const WATCHDOG: Duration = Duration::from_secs(60);

/// What `peer-journal torture --simulate --seed 347 --cases 1` found.
#[test]
fn a_large_update_is_not_durable_before_its_name_is() {
    for times in 1..4 {
        let disk = SimDisk::new(1);
        let store = builder(&disk).max_update_record_bytes(1024).open().unwrap();
        append_durably(&store, "small");
        // The first sync is that of the next segment, the second that of the snapshot's name.
        disk.fail(folder_sync_fails(1).times(times));
        block_on(store.update_state(large())).unwrap_err();
        let lsn = append_durably(&store, "after");
        assert!(store.durable_through().unwrap() >= lsn);
        assert_eq!(disk.faults_hit(), times);
        survives(&disk, &["large1", "large2", "after"], &format!("{times} failures"));
    }
}

#[test]
fn a_close_that_succeeds_has_made_a_large_update_durable() {
    let disk = SimDisk::new(1);
    let store = builder(&disk).max_update_record_bytes(1024).open().unwrap();
    append_durably(&store, "small");
    disk.fail(folder_sync_fails(1).times(2));
    block_on(store.update_state(large())).unwrap_err();
    block_on(store.close()).unwrap();
    survives(&disk, &["large1", "large2"], "closed");
}

/// The next process sees the name, syncs the folder, and nothing tells it that a sync failed.
#[test]
fn names_that_a_killed_process_left_in_doubt_are_made_again() {
    let disk = SimDisk::new(1);
    let store = builder(&disk).max_update_record_bytes(1024).open().unwrap();
    append_durably(&store, "small");
    disk.fail(folder_sync_fails(1));
    block_on(store.update_state(large())).unwrap_err();
    disk.kill();
    drop(store);
    let store = open(&disk).unwrap();
    assert!(store.view().unwrap().state().dht_entry("large1").is_some(), "it is there to see");
    append_durably(&store, "after");
    survives(&disk, &["large1", "large2", "after"], "killed");
}

#[test]
fn the_first_snapshot_of_a_store_is_named_again_after_a_failed_opening() {
    let disk = SimDisk::new(1);
    open(&disk).unwrap();
    let synced = disk.trace().iter().filter(|call| call.op == Op::SyncDir).count();
    for after in 0..synced as u64 {
        let disk = SimDisk::new(1);
        disk.fail(folder_sync_fails(after));
        open(&disk).unwrap_err();
        disk.kill();
        let store = open(&disk).unwrap();
        append_durably(&store, "first");
        survives(&disk, &["first"], &format!("the failing one comes after {after} others"));
    }
}

#[test]
fn a_save_that_succeeds_after_a_failed_one_has_its_name() {
    let mut hit = 0;
    for after in 0.. {
        let story = format!("the failing one comes after {after} others");
        let disk = SimDisk::new(1);
        let store = open(&disk).unwrap();
        for key in ["first", "second"] {
            append_durably(&store, key);
            block_on(store.compact()).unwrap();
        }
        append_durably(&store, "third");
        disk.fail(folder_sync_fails(after));
        let mut saved = block_on(store.compact());
        if disk.faults_hit() == 0 {
            break;
        }
        hit += 1;
        if saved.is_err() {
            saved = block_on(store.compact());
        }
        saved.unwrap();
        survives(&disk, &["first", "second", "third"], &story);
        // The next segment's name takes the removals of the compaction along to the disk.
        let segment = store.status().unwrap().segment;
        let mut lsn = Lsn::ZERO;
        while store.status().unwrap().segment == segment {
            lsn = append_durably(&store, "many");
        }
        // Two snapshots cover what was deleted: each alone is enough.
        let image = disk.fork();
        image.power_cut(Outcome::DropUnsynced);
        image.rot(STATE_FILE, 1).unwrap();
        let store = open(&image).unwrap();
        let report = store.recovery().unwrap();
        assert_eq!(report.lost, [], "{story}: {report}");
        assert_eq!(store.view().unwrap().lsn(), lsn, "{story}: {report}");
    }
    assert!(hit >= 3, "a segment, the fallback, the snapshot: {hit}");
}

/// The disk, with a meeting point: the compaction thread syncs the journal's folder, and fails,
/// between the rename of a new segment and the commit thread's own sync of that folder.
#[derive(Debug)]
struct Meeting {
    stage: Mutex<Stage>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Calls go through.
    Off,
    /// The compaction thread shall come.
    Armed,
    /// It wants to sync the folder.
    Compacting,
    /// The commit thread has renamed a segment.
    Renamed,
    /// The sync has failed.
    Failed,
}

impl Meeting {
    fn new() -> Self {
        Self { stage: Mutex::new(Stage::Off), changed: Condvar::new() }
    }

    fn reach(&self, stage: Stage) {
        *self.stage.lock().unwrap() = stage;
        self.changed.notify_all();
    }

    fn stage(&self) -> Stage {
        *self.stage.lock().unwrap()
    }

    fn await_stage(&self, stage: Stage) {
        let guard = self.stage.lock().unwrap();
        let early = |now: &mut Stage| *now < stage;
        let waited = self.changed.wait_timeout_while(guard, WATCHDOG, early).unwrap();
        assert!(!waited.1.timed_out(), "nobody came as far as {stage:?}");
    }
}

fn is_thread(name: &str) -> bool {
    std::thread::current().name() == Some(name)
}

impl Hooks for Meeting {
    fn renamed(&self, _to: &Path) {
        if is_thread("peer-journal-commit") && self.stage() == Stage::Compacting {
            self.reach(Stage::Renamed);
            self.await_stage(Stage::Failed);
        }
    }

    fn before_sync_dir(&self, disk: &SimDisk, path: &Path) {
        let is_journal = path.ends_with("p2p-state.journal");
        if is_journal && is_thread("peer-journal-compact") && self.stage() == Stage::Armed {
            self.reach(Stage::Compacting);
            self.await_stage(Stage::Renamed);
            disk.fail(folder_sync_fails(0));
        }
    }

    fn after_sync_dir(&self) {
        if is_thread("peer-journal-compact") && self.stage() == Stage::Renamed {
            self.reach(Stage::Failed);
        }
    }
}

#[test]
fn a_segment_whose_name_another_thread_s_sync_forgot_acknowledges_nothing() {
    let disk = SimDisk::new(1);
    let meeting = Arc::new(Meeting::new());
    let hooks = Arc::clone(&meeting) as Arc<dyn Hooks>;
    let store = builder(&disk).vfs(Arc::new(Hooked::new(&disk, hooks))).open().unwrap();
    append_durably(&store, "first");
    block_on(store.compact()).unwrap();
    append_durably(&store, "second");
    meeting.reach(Stage::Armed);
    let compacting = {
        let store = store.clone();
        std::thread::spawn(move || block_on(store.compact()))
    };
    meeting.await_stage(Stage::Compacting);
    // Fills segments until the commit thread starts a new one; then one record goes into that.
    let mut keys = vec!["first".to_owned(), "second".to_owned()];
    while meeting.stage() < Stage::Failed {
        assert!(keys.len() < 10_000, "no segment was renamed: {:?}", meeting.stage());
        let key = format!("key{}", keys.len());
        append_durably(&store, &key);
        keys.push(key);
    }
    append_durably(&store, "behind");
    keys.push("behind".to_owned());
    compacting.join().unwrap().unwrap_err();
    assert_eq!(disk.faults_hit(), 1);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    survives(&disk, &keys, "all of it was acknowledged");
    let left = disk.files().into_iter().filter(|(path, _)| path.starts_with(JOURNAL)).count();
    assert!(left < 40, "{left} files");
}

/// Else the power cut leaves a fallback that is newer than what is in place, which looks like
/// damage.
#[test]
fn a_snapshot_whose_name_is_in_doubt_does_not_become_a_fallback() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    append_durably(&store, "first");
    block_on(store.compact()).unwrap();
    append_durably(&store, "second");
    // The syncs of the next segment's name and of the fallback's come before.
    disk.fail(folder_sync_fails(2));
    block_on(store.compact()).unwrap_err();
    assert_eq!(disk.faults_hit(), 1);
    append_durably(&store, "third");
    disk.fail(Fault::new(Op::Rename).path("p2p-state.json.tmp").forever());
    block_on(store.compact()).unwrap_err();
    assert_eq!(disk.faults_hit(), 2);
    survives(&disk, &["first", "second", "third"], "the next compaction got as far as its rename");
}
