//! A real file system that is full, or turns read-only: clear errors, everything stays in memory,
//! and when there is room again nothing is missing.
//!
//! The failure this guards against is one that a simulation cannot show: what a real kernel does to
//! writes, syncs, renames and preallocated segments when the last block is gone. Each test mounts a
//! tiny file system in a mount namespace of its own, in a child process: the kernel takes the mount
//! away with the process, however that ends. Where the machine does not allow it the test says why
//! and does nothing.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use common::sim::block_on;
use peer_journal::{
    Ack, ErrorKind, Lsn, MarketplaceError, P2PStatePersistence,
    testing::{Step, Workload, difference},
};

/// The mount point, for the child; the parent has none.
const MOUNT: &str = "PEER_JOURNAL_FULL_DISK_MOUNT";
const MEBIBYTES: u64 = 7;
/// Left free by the ballast, which goes when the disk is to be freed.
const ROOM_BYTES: u64 = 3 << 19;
/// Far more records than fit, so that only a disk that never fills up reaches it.
const RECORDS_MAX: u64 = 50_000;
const WATCHDOG: Duration = Duration::from_secs(60);

fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let ran = Command::new(program).args(args).output();
    let ran = ran.map_err(|error| format!("{program}: {error}"))?;
    if ran.status.success() {
        return Ok(String::from_utf8_lossy(&ran.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    Err(format!("{program} {}: {}", args.join(" "), said.trim()))
}

/// Namespaces in which this user may mount.
fn namespaces() -> &'static [&'static str] {
    let id = run("id", &["-u"]).unwrap_or_default();
    if id.trim() == "0" {
        &["--mount", "--propagation", "private"]
    } else {
        &["--map-root-user", "--mount", "--propagation", "private"]
    }
}

/// Runs `inner`, a function of this file, in a child with a tiny file system of this kind, or says
/// why it cannot.
fn in_a_tiny_file_system(kind: &str, inner: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let (mount, image) = (mount.to_str().unwrap(), folder.path().join("image"));
    let image = image.to_str().unwrap();
    let mounting = match kind {
        "tmpfs" => format!("mount -t tmpfs -o size={MEBIBYTES}m tmpfs '{mount}'"),
        _ => {
            let made = fs::File::create(image).and_then(|file| file.set_len(MEBIBYTES << 20));
            made.unwrap();
            if let Err(why) = run("mkfs.ext4", &["-q", "-F", "-m", "0", image]) {
                println!("skipped: no ext4 image can be made here: {why}");
                return;
            }
            format!("mount -o loop '{image}' '{mount}'")
        }
    };
    let mut try_it = namespaces().to_vec();
    try_it.extend(["sh", "-c", mounting.as_str()]);
    if let Err(why) = run("unshare", &try_it) {
        println!("skipped: this machine does not let us mount {kind}: {why}");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let again = format!("{mounting} && exec '{}' --exact {inner} --nocapture", program.display());
    let ran = Command::new("unshare")
        .args(namespaces())
        .args(["sh", "-c", &again])
        .env(MOUNT, mount)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    println!("{out}");
    assert!(ran.status.success(), "in {kind}: {err}");
    assert!(out.contains("1 passed"), "it ran no test: {out}");
    assert_eq!(fs::read_dir(mount).unwrap().count(), 0, "the mount went with its process");
}

/// The mount point, if this is the child.
fn mounted() -> Option<PathBuf> {
    std::env::var_os(MOUNT).map(PathBuf::from)
}

#[test]
fn a_full_tmpfs_loses_nothing() {
    if mounted().is_none() {
        in_a_tiny_file_system("tmpfs", "inner_full");
    }
}

#[test]
fn a_full_ext4_loses_nothing() {
    if mounted().is_none() {
        in_a_tiny_file_system("ext4", "inner_full");
    }
}

#[test]
fn a_read_only_ext4_can_be_read_and_loses_nothing() {
    if mounted().is_none() {
        in_a_tiny_file_system("ext4", "inner_read_only");
    }
}

fn open(dir: &Path) -> P2PStatePersistence {
    let builder = P2PStatePersistence::builder(dir.join("p2p-state.json"));
    builder.segment_bytes(256 << 10).clock(Workload::clock).open().unwrap()
}

/// The next record of the workload. `None` for an update, which waits by itself.
fn append(store: &P2PStatePersistence, workload: &mut Workload) -> Option<Ack> {
    let lsn = workload.lsn().next();
    let ack = match workload.step() {
        Step::Append(changes) => Some(store.append_batch(changes).unwrap()),
        Step::Update(rows) => {
            // An error does not mean undone.
            if let Err(error) = block_on(store.update_state(rows)) {
                says_what_to_do(&error);
            }
            None
        }
        other => panic!("{other:?}"),
    };
    workload.advance().unwrap();
    assert_eq!(store.view().unwrap().lsn(), lsn);
    ack
}

fn says_what_to_do(error: &MarketplaceError) {
    assert!(error.to_string().contains("mend or free the disk"), "{error}");
}

fn is_full(error: &peer_journal::Error) {
    assert_eq!(error.kind(), ErrorKind::Degraded, "{error:#}");
    assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull), "{error:#}");
    assert!(error.to_string().contains("mend or free the disk"), "{error:#}");
}

fn wait_until_healthy(store: &P2PStatePersistence) {
    let begun = std::time::Instant::now();
    while block_on(store.sync()).is_err() || store.status().unwrap().degraded.is_some() {
        assert!(begun.elapsed() < WATCHDOG, "it stays degraded: {:?}", store.status());
    }
}

fn holds(dir: &Path, workload: &Workload) {
    let store = open(dir);
    let (view, report) = (store.view().unwrap(), store.recovery().unwrap());
    assert_eq!(view.lsn(), workload.lsn(), "{report}");
    assert_eq!(difference(workload.state(), view.state()), None, "{report}");
    assert!(report.lost.is_empty() && !report.is_damaged(), "{report}");
}

/// Not a test by itself: what the tests above run with a file system mounted.
#[test]
fn inner_full() {
    let Some(dir) = mounted() else { return };
    let ballast = dir.join("ballast");
    let bytes = fs4::available_space(&dir).unwrap() - ROOM_BYTES;
    fs::write(&ballast, vec![1; usize::try_from(bytes).unwrap()]).unwrap();
    let store = open(&dir);
    let mut workload = Workload::new(11);
    let mut acknowledged = Lsn::ZERO;
    let first = loop {
        assert!(workload.lsn().get() < RECORDS_MAX, "it does not fill up");
        let ack = append(&store, &mut workload);
        if !workload.lsn().get().is_multiple_of(50) {
            continue;
        }
        match ack.map(Ack::wait) {
            Some(Ok(lsn)) => acknowledged = lsn,
            Some(Err(error)) => break error,
            None => {}
        }
    };
    is_full(&first);
    let fill = fs::File::create(dir.join("rest")).and_then(|mut rest| {
        // Whatever a segment that was given up has left free.
        while rest.write_all(&[1; 4096]).is_ok() {}
        rest.sync_all()
    });
    println!("full at {acknowledged}; the rest was filled: {fill:?}");
    let mut refused: u64 = 0;
    for _ in 0..30 {
        if let Some(Err(error)) = append(&store, &mut workload).map(Ack::wait) {
            is_full(&error);
            refused += 1;
        }
    }
    let status = store.status().unwrap();
    assert!(refused > 15, "the disk was full: {refused}");
    assert!(status.degraded.is_some(), "{status:?}");
    assert!(status.durable_through >= acknowledged && status.unsynced_changes > 0, "{status:?}");
    let error = block_on(store.compact()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::Degraded), "{error:#}");
    assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull), "{error:#}");
    let view = store.view().unwrap();
    assert_eq!(difference(workload.state(), view.state()), None, "readers see everything");
    // What is on disk now is what was durable, also for a reader.
    let read = peer_journal::inspect(dir.join("p2p-state.json")).unwrap();
    assert!(read.view.lsn() >= acknowledged && !read.report.is_damaged(), "{}", read.report);

    fs::remove_file(dir.join("rest")).unwrap();
    fs::remove_file(&ballast).unwrap();
    wait_until_healthy(&store);
    assert_eq!(store.durable_through().unwrap(), workload.lsn());
    block_on(store.compact()).unwrap();
    append(&store, &mut workload);
    block_on(store.close()).unwrap();
    drop(store);
    holds(&dir, &workload);
    println!("{acknowledged} acknowledged, {refused} refused, {} there", workload.lsn());
}

/// Not a test by itself, as above.
#[test]
fn inner_read_only() {
    let Some(dir) = mounted() else { return };
    let remount =
        |how: &str| run("mount", &["-o", &format!("remount,{how}"), dir.to_str().unwrap()]);
    let store = open(&dir);
    let mut workload = Workload::new(12);
    for _ in 0..200 {
        append(&store, &mut workload);
    }
    block_on(store.close()).unwrap();
    drop(store);
    if let Err(why) = remount("ro") {
        println!("skipped: it cannot be remounted: {why}");
        return;
    }
    let path = dir.join("p2p-state.json");
    let error = P2PStatePersistence::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error:#}");
    assert_eq!(error.io_kind(), Some(io::ErrorKind::ReadOnlyFilesystem), "{error:#}");
    assert!(error.to_string().contains("mount the file system for writing"), "{error}");
    let read = peer_journal::inspect(&path).unwrap();
    assert_eq!(read.view.lsn(), workload.lsn(), "{}", read.report);
    let handle = P2PStatePersistence::new_with_path(path).unwrap();
    let rows = block_on(handle.load_state()).unwrap();
    assert_eq!(rows.peers.len(), workload.state().counts().peers, "it can be read");
    assert!(block_on(handle.save_state()).is_err(), "and not be saved");
    drop(handle);
    remount("rw").unwrap();
    holds(&dir, &workload);
    let store = open(&dir);
    append(&store, &mut workload);
    drop(store);
    holds(&dir, &workload);
    turn_read_only_while_open(&dir, &mut workload);
}

/// The kernel itself makes an ext4 read-only when it finds it broken. Nothing can be written then
/// until it is mounted anew; what was acknowledged before is there.
fn turn_read_only_while_open(dir: &Path, workload: &mut Workload) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts.lines().rfind(|line| line.split(' ').nth(4) == dir.to_str());
    let device = line.and_then(|line| line.split(" - ").nth(1)?.split(' ').nth(1));
    let device = device.and_then(|device| device.strip_prefix("/dev/")).unwrap();
    let trigger = format!("/sys/fs/ext4/{device}/trigger_fs_error");
    if let Err(why) = run("mount", &["-o", "remount,errors=remount-ro", dir.to_str().unwrap()]) {
        println!("the second half is skipped: {why}");
        return;
    }
    let store = open(dir);
    let mut acknowledged = workload.lsn();
    for _ in 0..50 {
        if let Some(ack) = append(&store, workload) {
            acknowledged = ack.wait().unwrap();
        }
    }
    if let Err(why) = fs::write(&trigger, "a test") {
        println!("the second half is skipped: {trigger}: {why}");
        return;
    }
    let durable = workload.clone();
    let mut refused = 0;
    // What fits into the open segment may still be written, as far as this file system lets us.
    while refused == 0 && workload.lsn().get() < RECORDS_MAX {
        if let Some(Err(error)) = append(&store, workload).map(Ack::wait) {
            assert_eq!(error.kind(), ErrorKind::Degraded, "{error:#}");
            refused += 1;
        }
    }
    assert_eq!(refused, 1, "the file system is read-only");
    assert!(store.status().unwrap().degraded.is_some());
    assert_eq!(difference(workload.state(), store.view().unwrap().state()), None);
    let error = block_on(store.close()).unwrap_err();
    assert!(error.to_string().contains("is lost"), "{error:#}");
    drop(store);
    let read = peer_journal::inspect(dir.join("p2p-state.json")).unwrap();
    assert!(read.view.lsn() >= acknowledged && !read.report.is_damaged(), "{}", read.report);
    let mut expected = durable;
    expected.advance_to(read.view.lsn()).unwrap();
    assert_eq!(difference(expected.state(), read.view.state()), None, "{}", read.report);
    println!("read-only while open: {acknowledged} acknowledged, {} there", read.view.lsn());
}
