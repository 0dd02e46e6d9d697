//! Guards the simulated disk: a crash test proves nothing if the disk forgives a missing sync, and
//! cries wolf if it loses what was synced.

#![allow(clippy::unwrap_used, reason = "a failed call on the disk is a failed test")]

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use peer_journal::{
    testing::{Effect, Fault, Op, Outcome, Prng, SimDisk},
    vfs::{EntryKind, Vfs, VfsFile, read_file},
};

const SECTOR: usize = 512;

fn path(text: &str) -> &Path {
    Path::new(text)
}

/// A disk with the directory `/d`.
fn disk() -> SimDisk {
    let disk = SimDisk::new(7);
    disk.create_dir_all(path("/d")).unwrap();
    disk
}

/// A disk with a durable file `/d/a` of these bytes, and a handle to it.
fn disk_with(bytes: &[u8]) -> (SimDisk, Box<dyn VfsFile>) {
    let disk = disk();
    disk.write("/d/a", bytes).unwrap();
    let file = disk.open(path("/d/a")).unwrap();
    (disk, file)
}

/// What a file holds after a power cut with this outcome; the disk itself stays as it is.
fn after(disk: &SimDisk, outcome: Outcome, file: &str) -> Option<Vec<u8>> {
    let disk = disk.fork();
    disk.power_cut(outcome);
    disk.read(file).ok()
}

/// All that a file may hold after a power cut, as far as 200 seeds show.
fn outcomes(disk: &SimDisk, file: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..200).map(|seed| after(disk, Outcome::Random(seed), file)).collect()
}

fn kind<T>(result: std::io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn unsynced_data_is_lost() {
    let (disk, file) = disk_with(b"old");
    file.write_at(0, b"newer").unwrap();
    assert_eq!(disk.read("/d/a").unwrap(), b"newer");
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/a").unwrap(), b"old");
    assert_eq!(after(&disk, Outcome::KeepAll, "/d/a").unwrap(), b"newer");
    file.sync().unwrap();
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/a").unwrap(), b"newer");
}

#[test]
fn unsynced_length_is_lost() {
    let (disk, file) = disk_with(&[1; 700]);
    file.set_len(100).unwrap();
    assert_eq!(file.len().unwrap(), 100);
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/a").unwrap().len(), 700);
    file.sync().unwrap();
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/a").unwrap(), [1; 100]);
    file.set_len(2000).unwrap();
    file.sync().unwrap();
    let mut grown = vec![1; 100];
    grown.resize(2000, 0);
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/a").unwrap(), grown);
}

#[test]
fn a_cut_file_that_grows_again_holds_zeros() {
    let (disk, file) = disk_with(&[1; 3000]);
    file.set_len(10).unwrap();
    file.write_at(2500, b"x").unwrap();
    let mut expected = vec![0; 2501];
    expected[..10].fill(1);
    expected[2500] = b'x';
    assert_eq!(disk.read("/d/a").unwrap(), expected);
    assert_eq!(after(&disk, Outcome::KeepAll, "/d/a").unwrap(), expected);
    file.sync().unwrap();
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/a").unwrap(), expected);
}

#[test]
fn a_file_that_is_grown_after_a_cut_holds_zeros() {
    let (disk, file) = disk_with(&[1; 3000]);
    file.set_len(10).unwrap();
    file.set_len(3000).unwrap();
    file.sync().unwrap();
    let survived = after(&disk, Outcome::DropUnsynced, "/d/a").unwrap();
    assert_eq!(survived, disk.read("/d/a").unwrap());
    assert_eq!(survived[10..], [0; 2990]);
}

#[test]
fn syncing_a_file_does_not_make_its_name_durable() {
    let disk = disk();
    let file = disk.create(path("/d/a")).unwrap();
    file.write_at(0, b"data").unwrap();
    file.sync().unwrap();
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/a"), None);
    disk.sync_dir(path("/d")).unwrap();
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/a").unwrap(), b"data");
}

#[test]
fn syncing_a_directory_does_not_make_data_durable() {
    let disk = disk();
    disk.create(path("/d/a")).unwrap().write_at(0, b"data").unwrap();
    disk.sync_dir(path("/d")).unwrap();
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/a").unwrap(), b"");
}

#[test]
fn a_directory_is_durable_at_once() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(path("/x/y/z")).unwrap();
    disk.power_cut(Outcome::DropUnsynced);
    assert_eq!(disk.metadata(path("/x/y/z")).unwrap().kind, EntryKind::Directory);
    assert_eq!(disk.list(path("/x")).unwrap().len(), 1);
}

#[test]
fn a_rename_survives_as_a_whole_or_not_at_all() {
    let disk = disk();
    disk.write("/d/saved", b"old").unwrap();
    disk.write("/d/new", b"new").unwrap();
    disk.rename(path("/d/new"), path("/d/saved")).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let disk = disk.fork();
        disk.power_cut(Outcome::Random(seed));
        seen.insert((disk.read("/d/saved").unwrap(), disk.read("/d/new").ok()));
    }
    let before = (b"old".to_vec(), Some(b"new".to_vec()));
    assert_eq!(seen, BTreeSet::from([before, (b"new".to_vec(), None)]));
    disk.sync_dir(path("/d")).unwrap();
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/saved").unwrap(), b"new");
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/new"), None);
}

#[test]
fn a_rename_between_directories_needs_both_synced() {
    let disk = disk();
    disk.create_dir_all(path("/e")).unwrap();
    disk.write("/d/a", b"a").unwrap();
    disk.rename(path("/d/a"), path("/e/a")).unwrap();
    disk.sync_dir(path("/e")).unwrap();
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/a").unwrap(), b"a");
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/e/a"), None);
    for seed in 0..50 {
        let disk = disk.fork();
        disk.power_cut(Outcome::Random(seed));
        assert_eq!(disk.files().len(), 1, "seed {seed}: one name of the file, never none or two");
    }
    disk.sync_dir(path("/d")).unwrap();
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/a"), None);
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/e/a").unwrap(), b"a");
}

#[test]
fn a_name_is_not_used_again_before_it_was_given_up() {
    let disk = disk();
    disk.write("/d/a", b"first").unwrap();
    disk.rename(path("/d/a"), path("/d/b")).unwrap();
    disk.create(path("/d/a")).unwrap();
    for seed in 0..200 {
        let disk = disk.fork();
        disk.power_cut(Outcome::Random(seed));
        let kept = ["/d/a", "/d/b"].map(|name| disk.read(name).is_ok_and(|b| b == b"first"));
        assert!(kept != [false, false], "seed {seed}: a file that was never removed is gone");
    }
}

#[test]
fn what_was_built_on_a_rename_makes_it_durable() {
    let disk = disk();
    disk.create_dir_all(path("/e")).unwrap();
    disk.write("/d/a", b"first").unwrap();
    disk.rename(path("/d/a"), path("/e/a")).unwrap();
    disk.create(path("/d/a")).unwrap();
    disk.sync_dir(path("/d")).unwrap();
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/a").unwrap(), b"");
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/e/a").unwrap(), b"first");
}

#[test]
fn unsynced_removals_and_links_may_survive_or_not() {
    let (disk, _file) = disk_with(b"a");
    disk.link(path("/d/a"), path("/d/b")).unwrap();
    disk.remove(path("/d/a")).unwrap();
    assert_eq!(disk.files(), [(PathBuf::from("/d/b"), 1)]);
    let names: BTreeSet<Vec<PathBuf>> = (0..200)
        .map(|seed| {
            let disk = disk.fork();
            disk.power_cut(Outcome::Random(seed));
            disk.files().into_iter().map(|(path, _)| path).collect()
        })
        .collect();
    let (a, b) = (PathBuf::from("/d/a"), PathBuf::from("/d/b"));
    let all = [vec![], vec![a.clone()], vec![b.clone()], vec![a, b]];
    assert_eq!(names, BTreeSet::from(all), "the two operations are independent");
}

#[test]
fn names_of_one_file_share_its_bytes() {
    let (disk, file) = disk_with(b"a");
    disk.link(path("/d/a"), path("/d/b")).unwrap();
    file.write_at(1, b"!").unwrap();
    assert_eq!(disk.read("/d/b").unwrap(), b"a!");
    disk.rename(path("/d/a"), path("/d/b")).unwrap();
    assert_eq!(disk.files().len(), 2, "POSIX leaves two names of one file alone");
}

#[test]
fn handles_outlive_the_name_of_their_file() {
    let (disk, file) = disk_with(b"a");
    disk.rename(path("/d/a"), path("/d/b")).unwrap();
    file.write_at(0, b"b").unwrap();
    assert_eq!(disk.read("/d/b").unwrap(), b"b");
    disk.remove(path("/d/b")).unwrap();
    disk.sync_dir(path("/d")).unwrap();
    let mut byte = [0];
    assert_eq!(file.read_at(0, &mut byte).unwrap(), 1);
    assert_eq!(byte, *b"b");
}

#[test]
fn each_sector_survives_in_a_version_since_the_last_sync() {
    let mut mixed = 0;
    for seed in 0..200 {
        let mut prng = Prng::new(seed);
        let sectors = usize::try_from(2 + prng.below(6)).unwrap();
        let (disk, file) = disk_with(&[]);
        let mut content = vec![0; sectors * SECTOR];
        prng.fill(&mut content);
        file.write_at(0, &content).unwrap();
        file.sync().unwrap();
        let mut versions: Vec<BTreeSet<Vec<u8>>> =
            content.chunks(SECTOR).map(|sector| BTreeSet::from([sector.to_vec()])).collect();
        let mut lengths = BTreeSet::from([content.len()]);
        for _ in 0..prng.below(8) {
            let start = usize::try_from(prng.below(content.len() as u64)).unwrap();
            let mut bytes = vec![0; usize::try_from(1 + prng.below(1500)).unwrap()];
            prng.fill(&mut bytes);
            file.write_at(start as u64, &bytes).unwrap();
            content.resize(content.len().max(start + bytes.len()), 0);
            content[start..start + bytes.len()].copy_from_slice(&bytes);
            lengths.insert(content.len());
            versions.resize(content.len().div_ceil(SECTOR), BTreeSet::from([vec![0; SECTOR]]));
            for (known, sector) in versions.iter_mut().zip(content.chunks(SECTOR)) {
                let mut sector = sector.to_vec();
                sector.resize(SECTOR, 0);
                known.insert(sector);
            }
        }
        let survived = after(&disk, Outcome::Random(seed), "/d/a").unwrap();
        assert!(lengths.contains(&survived.len()), "seed {seed}: length {}", survived.len());
        for (number, sector) in survived.chunks(SECTOR).enumerate() {
            let legal = versions[number].iter().any(|version| version.starts_with(sector));
            assert!(legal, "seed {seed}: sector {number} was never so");
        }
        let ends = [Outcome::DropUnsynced, Outcome::KeepAll];
        mixed += u32::from(!ends.iter().any(|end| after(&disk, *end, "/d/a").unwrap() == survived));
    }
    assert!(mixed > 50, "only {mixed} of 200 cuts left a real mixture");
}

#[test]
fn versions_between_the_first_and_the_last_survive_too() {
    let (disk, file) = disk_with(b"0");
    for version in [b"1", b"2", b"3"] {
        file.write_at(0, version).unwrap();
    }
    let seen = outcomes(&disk, "/d/a");
    assert_eq!(seen, (b'0'..=b'3').map(|version| Some(vec![version])).collect());
}

#[test]
fn length_and_bytes_survive_apart() {
    let (disk, file) = disk_with(b"");
    file.write_at(0, &[1; 600]).unwrap();
    let seen = outcomes(&disk, "/d/a");
    assert!(seen.contains(&Some(vec![0; 600])), "the length without the bytes");
    assert!(seen.contains(&Some(vec![])), "the bytes without the length");
}

#[test]
fn torn_sectors_leave_the_bytes_around_the_write_intact() {
    let (disk, file) = disk_with(&[1; 4 * SECTOR]);
    file.write_at(700, &[2; 600]).unwrap();
    let mut shredded = 0;
    for seed in 0..200 {
        let bytes = after(&disk, Outcome::Torn(seed), "/d/a").unwrap();
        assert_eq!(bytes[..700], [1; 700], "seed {seed}");
        assert_eq!(bytes[1300..], [1; 4 * SECTOR - 1300], "seed {seed}");
        shredded += u32::from(bytes[700..1300].iter().any(|byte| *byte > 2));
    }
    assert!((50..200).contains(&shredded), "{shredded} of 200 cuts tore the write");
    file.sync().unwrap();
    let synced = disk.read("/d/a").unwrap();
    for seed in 0..50 {
        assert_eq!(after(&disk, Outcome::Torn(seed), "/d/a").unwrap(), synced);
    }
}

#[test]
fn the_same_seed_gives_the_same_result() {
    let image = |seed| {
        let (disk, file) = disk_with(&[1; 3000]);
        file.write_at(100, &[2; 2000]).unwrap();
        disk.crash_at(disk.calls() + 1);
        file.write_at(50, &[3; 2500]).unwrap_err();
        disk.power_cut(Outcome::Torn(seed));
        disk.read("/d/a").unwrap()
    };
    assert_eq!(image(5), image(5));
    assert_ne!(image(5), image(6));
}

#[test]
fn a_killed_program_loses_nothing_and_has_synced_nothing() {
    let (disk, file) = disk_with(b"old");
    file.write_at(0, b"new").unwrap();
    disk.kill();
    file.len().unwrap_err();
    assert_eq!(disk.read("/d/a").unwrap(), b"new");
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/a").unwrap(), b"old");
    // Syncing through a new handle makes the dead program's bytes durable.
    disk.open_read_only(path("/d/a")).unwrap().sync().unwrap();
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/a").unwrap(), b"new");
}

#[test]
fn handles_are_dead_after_a_power_cut() {
    let (disk, file) = disk_with(b"a");
    let run = disk.mount();
    run.metadata(path("/d/a")).unwrap();
    disk.power_cut(Outcome::KeepAll);
    let calls = disk.calls();
    for _ in 0..2 {
        file.write_at(0, b"b").unwrap_err();
        file.sync().unwrap_err();
        file.set_len(0).unwrap_err();
        file.len().unwrap_err();
        file.read_at(0, &mut [0]).unwrap_err();
        run.create(path("/d/b")).unwrap_err();
        run.metadata(path("/d/a")).unwrap_err();
    }
    assert_eq!(disk.calls(), calls);
    assert_eq!(disk.read("/d/a").unwrap(), b"a");
    disk.mount().open(path("/d/a")).unwrap().write_at(0, b"c").unwrap();
}

#[test]
fn locks_exclude_and_end_with_their_guard_or_the_power() {
    let disk = disk();
    let guard = disk.lock(path("/d/LOCK")).unwrap();
    assert_eq!(kind(disk.lock(path("/d/LOCK"))), Some(ErrorKind::WouldBlock));
    guard.write_holder("somebody with a long name").unwrap();
    guard.write_holder("pid 1").unwrap();
    assert_eq!(disk.read("/d/LOCK").unwrap(), b"pid 1");
    drop(guard);
    let guard = disk.lock(path("/d/LOCK")).unwrap();
    disk.lock(path("/d/OTHER")).unwrap();
    assert!(disk.fork().lock(path("/d/LOCK")).is_ok(), "a copy holds no locks");
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/LOCK"), None, "its name was not synced");
    disk.sync_dir(path("/d")).unwrap();
    disk.power_cut(Outcome::DropUnsynced);
    let fresh = disk.lock(path("/d/LOCK")).unwrap();
    drop(guard);
    assert_eq!(kind(disk.lock(path("/d/LOCK"))), Some(ErrorKind::WouldBlock), "a dead guard");
    drop(fresh);
}

#[test]
fn a_crash_hits_the_call_of_that_number() {
    let (disk, file) = disk_with(b"");
    file.write_at(0, b"one").unwrap();
    let two = disk.calls() + 1;
    disk.crash_at(two);
    let error = file.sync().unwrap_err();
    assert!(error.to_string().contains("machine is off"), "{error}");
    assert!(!disk.is_on());
    disk.metadata(path("/d/a")).unwrap_err();
    file.write_at(0, b"three").unwrap_err();
    assert_eq!(disk.calls(), two, "calls on a machine that is off have no number");
    assert_eq!(disk.trace().last().unwrap().to_string(), format!("#{two} sync /d/a"));
    disk.power_on();
    file.write_at(3, b"!").unwrap();
    assert_eq!(disk.read("/d/a").unwrap(), b"one!");
}

#[test]
fn a_crash_in_a_write_leaves_any_beginning_of_it() {
    let lengths: BTreeSet<usize> = (0..200)
        .map(|seed| {
            let disk = SimDisk::new(seed);
            let file = disk.create(path("/a")).unwrap();
            disk.sync_dir(path("/")).unwrap();
            disk.crash_at(3);
            file.write_at(0, b"abc").unwrap_err();
            disk.power_cut(Outcome::KeepAll);
            let bytes = disk.read("/a").unwrap();
            assert!(b"abc".starts_with(&bytes));
            bytes.len()
        })
        .collect();
    assert_eq!(lengths, (0..=3).collect());
}

#[test]
fn the_trace_names_every_step() {
    let disk = disk();
    let file = disk.create(path("/d/a")).unwrap();
    file.write_at(512, &[0; 100]).unwrap();
    file.set_len(5).unwrap();
    file.sync().unwrap();
    file.len().unwrap();
    disk.create_dir_all(path("/d")).unwrap();
    disk.rename(path("/d/a"), path("/d/b")).unwrap();
    disk.sync_dir(path("/d")).unwrap();
    let trace: Vec<String> = disk.trace().iter().map(ToString::to_string).collect();
    let expected = [
        "#1 create_dir /d",
        "#2 create /d/a",
        "#3 write /d/a [512..612]",
        "#4 set_len /d/a 5",
        "#5 sync /d/a",
        "#6 rename /d/a -> /d/b",
        "#7 sync_dir /d",
    ];
    assert_eq!(trace, expected);
    assert_eq!(disk.calls(), 7);
    assert_eq!(disk.count(Op::Write), 1);
    assert_eq!(disk.count(Op::Metadata), 2, "one look at the length, one at the directory");
}

#[test]
fn a_failed_sync_may_forget_the_data() {
    let (disk, file) = disk_with(&[0; 2 * SECTOR]);
    file.write_at(0, &[1; 2 * SECTOR]).unwrap();
    file.write_at(2 * SECTOR as u64, &[1; SECTOR]).unwrap();
    disk.fail(Fault::new(Op::Sync).effect(Effect::MarkClean));
    file.sync().unwrap_err();
    assert_eq!(disk.faults_hit(), 1);
    file.sync().unwrap();
    assert_eq!(disk.read("/d/a").unwrap(), [1; 3 * SECTOR], "reads still see it");
    for outcome in [Outcome::DropUnsynced, Outcome::KeepAll, Outcome::Random(3)] {
        assert_eq!(after(&disk, outcome, "/d/a").unwrap(), [0; 2 * SECTOR], "{outcome:?}");
    }
    // What is written again reaches the disk, sector by sector, and the length with it.
    file.write_at(SECTOR as u64, &[1]).unwrap();
    file.sync().unwrap();
    let mut half = [0; 2 * SECTOR];
    half[SECTOR..].fill(1);
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/a").unwrap(), half);
    file.write_at(2 * SECTOR as u64, &[1]).unwrap();
    file.sync().unwrap();
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/d/a").unwrap()[SECTOR..], [1; 2 * SECTOR]);
}

#[test]
fn a_failed_sync_of_a_directory_may_forget_its_names() {
    let disk = disk();
    disk.create(path("/d/a")).unwrap();
    disk.fail(Fault::new(Op::SyncDir).effect(Effect::MarkClean));
    disk.sync_dir(path("/d")).unwrap_err();
    disk.sync_dir(path("/d")).unwrap();
    assert_eq!(disk.files().len(), 1);
    assert_eq!(after(&disk, Outcome::KeepAll, "/d/a"), None);
}

#[test]
fn faults_hit_the_calls_they_are_meant_for() {
    let (disk, file) = disk_with(b"abc");
    let denied = ErrorKind::PermissionDenied;
    disk.fail(Fault::new(Op::Sync).path("other"));
    disk.fail(Fault::new(Op::Sync).path("/d/").after(1).times(2).error(denied));
    file.sync().unwrap();
    assert_eq!(kind(file.sync()), Some(denied));
    assert_eq!(kind(file.sync()), Some(denied));
    file.sync().unwrap();
    disk.fail(Fault::new(Op::Read).forever());
    for _ in 0..3 {
        assert_eq!(kind(file.read_at(0, &mut [0])), Some(ErrorKind::Other));
    }
    disk.fail(Fault::new(Op::Rename).path("/d/b"));
    disk.rename(path("/d/a"), path("/d/b")).unwrap_err();
    assert_eq!(disk.faults_hit(), 6);
    disk.clear_faults();
    file.read_at(0, &mut [0]).unwrap();
    file.write_at(0, b"x").unwrap();
    disk.fail(Fault::new(Op::Sync));
    file.sync().unwrap_err();
    file.sync().unwrap();
    let durable = after(&disk, Outcome::DropUnsynced, "/d/a").unwrap();
    assert_eq!(durable, b"xbc", "a plain error does not forget the data");
}

#[test]
fn a_short_write_writes_its_first_bytes() {
    let (disk, file) = disk_with(b"");
    disk.fail(Fault::new(Op::Write).error(ErrorKind::StorageFull).effect(Effect::Short(2)));
    assert_eq!(kind(file.write_at(0, b"abc")), Some(ErrorKind::StorageFull));
    assert_eq!(disk.read("/d/a").unwrap(), b"ab");
    disk.fail(Fault::new(Op::Write).effect(Effect::Short(9)));
    file.write_at(0, b"xyz").unwrap_err();
    assert_eq!(disk.read("/d/a").unwrap(), b"xyz", "all its bytes, and an error all the same");
}

#[test]
fn a_full_disk_takes_what_fits() {
    let (disk, file) = disk_with(b"abc");
    let full = Some(ErrorKind::StorageFull);
    disk.set_capacity(Some(5));
    assert_eq!(kind(file.write_at(3, b"defg")), full);
    assert_eq!(disk.read("/d/a").unwrap(), b"abcde");
    file.write_at(0, b"xxxxx").unwrap();
    assert_eq!(kind(file.set_len(6)), full);
    assert_eq!(kind(disk.create(path("/d/b"))), full);
    assert_eq!(kind(disk.lock(path("/d/LOCK"))), full);
    // A removed file takes space until it is closed.
    disk.remove(path("/d/a")).unwrap();
    assert_eq!(kind(disk.create(path("/d/b"))), full);
    drop(file);
    disk.create(path("/d/b")).unwrap().write_at(0, b"12345").unwrap();
    disk.set_capacity(None);
    disk.open(path("/d/b")).unwrap().write_at(5, b"6").unwrap();
}

#[test]
fn a_read_only_disk_refuses_changes() {
    let (disk, file) = disk_with(b"abc");
    disk.set_read_only(true);
    let refused = Some(ErrorKind::ReadOnlyFilesystem);
    assert_eq!(kind(file.write_at(0, b"x")), refused);
    assert_eq!(kind(disk.create(path("/d/b"))), refused);
    assert_eq!(kind(disk.open(path("/d/a"))), refused);
    assert_eq!(kind(disk.lock(path("/d/a"))), refused);
    assert_eq!(kind(disk.lock(path("/d/LOCK"))), refused);
    assert_eq!(kind(disk.create_dir_all(path("/e"))), refused);
    disk.create_dir_all(path("/d")).unwrap();
    assert_eq!(read_file(&disk, path("/d/a"), 10).unwrap(), b"abc");
    disk.set_read_only(false);
    file.write_at(0, b"x").unwrap();
}

#[test]
fn errors_are_those_of_a_real_disk() {
    let (disk, _file) = disk_with(b"abc");
    let (file, dir) = (path("/d/a"), path("/d"));
    assert_eq!(kind(disk.open(path("/d/b"))), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.create(path("/e/a"))), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.list(path("/e"))), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.remove(path("/d/b"))), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.create(file)), Some(ErrorKind::AlreadyExists));
    assert_eq!(kind(disk.link(file, file)), Some(ErrorKind::AlreadyExists));
    assert_eq!(kind(disk.open(dir)), Some(ErrorKind::IsADirectory));
    assert_eq!(kind(disk.remove(dir)), Some(ErrorKind::IsADirectory));
    assert_eq!(kind(disk.rename(file, dir)), Some(ErrorKind::IsADirectory));
    assert_eq!(kind(disk.create(path("/d/a/b"))), Some(ErrorKind::NotADirectory));
    assert_eq!(kind(disk.list(file)), Some(ErrorKind::NotADirectory));
    assert_eq!(kind(disk.create_dir_all(file)), Some(ErrorKind::NotADirectory));
    let reader = disk.open_read_only(file).unwrap();
    assert_eq!(kind(reader.write_at(0, b"x")), Some(ErrorKind::PermissionDenied));
    let writer = disk.open(file).unwrap();
    assert_eq!(kind(writer.set_len(u64::MAX)), Some(ErrorKind::FileTooLarge));
}

#[test]
fn paths_are_the_same_however_they_are_written() {
    let (disk, _file) = disk_with(b"abc");
    for same in ["/d/a", "d/a", "./d/a", "/d/../d/./a"] {
        assert_eq!(disk.metadata(path(same)).unwrap().len, 3, "{same}");
    }
    assert_eq!(disk.list(path("")).unwrap().len(), 1);
}

#[test]
fn damage_by_hand_is_durable_and_not_counted() {
    let disk = SimDisk::new(1);
    disk.write("/new/folder/a", [0; 4]).unwrap();
    disk.corrupt("/new/folder/a", 1, &[7, 7]).unwrap();
    disk.flip_bit("/new/folder/a", 9).unwrap();
    disk.truncate("/new/folder/a", 3).unwrap();
    assert_eq!(after(&disk, Outcome::DropUnsynced, "/new/folder/a").unwrap(), [0, 5, 7]);
    let outside = Some(ErrorKind::InvalidInput);
    assert_eq!(kind(disk.corrupt("/new/folder/a", 2, &[1, 1])), outside);
    assert_eq!(kind(disk.flip_bit("/new/folder/a", 24)), outside);
    disk.erase("/new/folder/a").unwrap();
    assert_eq!(kind(disk.erase("/new/folder/a")), Some(ErrorKind::NotFound));
    assert_eq!(after(&disk, Outcome::KeepAll, "/new/folder/a"), None);
    assert_eq!(disk.calls(), 0);
}

/// All files with their bytes, after a power cut with this outcome.
fn image(disk: &SimDisk, outcome: Outcome) -> Vec<(PathBuf, Vec<u8>)> {
    let disk = disk.fork();
    disk.power_cut(outcome);
    let files = disk.files().into_iter();
    files.map(|(path, _)| (path.clone(), disk.read(path).unwrap())).collect()
}

/// Every numbered outcome; they must be as many as counted, and no two the same.
fn numbered(disk: &SimDisk) -> BTreeSet<Vec<(PathBuf, Vec<u8>)>> {
    let count = disk.outcome_count().unwrap();
    let images: BTreeSet<_> = (0..count).map(|number| image(disk, Outcome::Nth(number))).collect();
    assert_eq!(images.len() as u64, count, "some outcomes are the same");
    assert_eq!(image(disk, Outcome::Nth(0)), image(disk, Outcome::DropUnsynced));
    assert!(images.contains(&image(disk, Outcome::KeepAll)));
    let last = image(disk, Outcome::Nth(count - 1));
    assert_eq!(image(disk, Outcome::Nth(count + 7)), last, "past the end");
    images
}

#[test]
fn outcomes_are_counted_and_numbered() {
    let (disk, file) = disk_with(&[0; 4 * SECTOR]);
    assert_eq!(numbered(&disk).len(), 1, "everything is durable");
    file.write_at(0, &[1; 2 * SECTOR]).unwrap();
    assert_eq!(numbered(&disk).len(), 4, "each of two sectors");
    file.write_at(SECTOR as u64, &[2; SECTOR]).unwrap();
    assert_eq!(numbered(&disk).len(), 6, "one of them in three versions");
    file.write_at(3 * SECTOR as u64, &[0; SECTOR]).unwrap();
    assert_eq!(numbered(&disk).len(), 6, "what was there already makes no difference");
    file.set_len(SECTOR as u64).unwrap();
    assert_eq!(numbered(&disk).len(), 6 + 2, "what is cut off makes none either");
    file.sync().unwrap();
    disk.create(path("/d/b")).unwrap().write_at(0, &[1; 10]).unwrap();
    assert_eq!(numbered(&disk).len(), 1 + 3, "no name; else empty, zeros, or the bytes");
    disk.sync_dir(path("/d")).unwrap();
    assert_eq!(numbered(&disk).len(), 3);
    disk.rename(path("/d/b"), path("/d/a")).unwrap();
    assert_eq!(numbered(&disk).len(), 6, "under either name");
    disk.remove(path("/d/a")).unwrap();
    assert_eq!(numbered(&disk).len(), 7, "the removal only after the rename");
}

/// What chance may leave is among what is numbered, and of little there is to leave it leaves all.
#[test]
fn numbered_outcomes_are_all_that_chance_may_leave() {
    let mut small = 0;
    for seed in 0..150 {
        let mut prng = Prng::new(seed);
        let disk = disk();
        disk.create_dir_all(path("/e")).unwrap();
        for name in ["/d/a", "/d/b", "/e/a"] {
            disk.write(name, name.as_bytes().repeat(200)).unwrap();
        }
        let names = ["/d/a", "/d/b", "/d/c", "/e/a", "/e/b"].map(path);
        for step in 0..6_u8 {
            let (one, other) = (*prng.pick(&names).unwrap(), *prng.pick(&names).unwrap());
            // Calls on what is not there are errors, and change nothing.
            let _done = match prng.below(8) {
                0 => disk.create(one).map(drop),
                1 => disk.rename(one, other),
                2 => disk.link(one, other),
                3 => disk.remove(one),
                4 => disk.sync_dir(path(if step % 2 == 0 { "/d" } else { "/e" })),
                5 => disk.open(one).and_then(|file| file.set_len(prng.below(1200))),
                6 => disk.open(one).and_then(|file| file.sync()),
                _ => disk.open(one).and_then(|file| file.write_at(prng.below(900), &[step; 300])),
            };
        }
        let numbered = numbered(&disk);
        let random: BTreeSet<_> =
            (0..300).map(|seed| image(&disk, Outcome::Random(seed))).collect();
        assert!(random.is_subset(&numbered), "seed {seed}: chance left what has no number");
        if numbered.len() <= 6 {
            assert_eq!(random, numbered, "seed {seed}: a number that chance never leaves");
            small += 1;
        }
    }
    assert!(small > 50, "{small} disks with few outcomes");
}

#[test]
fn outcomes_that_are_too_many_are_left_to_chance() {
    let (disk, file) = disk_with(&[0; 40 * SECTOR]);
    file.write_at(0, &[1; 16 * SECTOR]).unwrap();
    assert_eq!(disk.outcome_count(), Some(1 << 16));
    assert_eq!(disk.outcomes(1 << 16, 0).last(), Some(&Outcome::Nth((1 << 16) - 1)));
    assert_eq!(disk.outcomes(100, 3).len(), 100);
    assert_eq!(disk.outcomes(100, 3), disk.outcomes(100, 3), "the seed tells them");
    assert_ne!(disk.outcomes(100, 3), disk.outcomes(100, 4));
    assert_eq!(disk.outcomes(100, 3)[..2], [Outcome::DropUnsynced, Outcome::KeepAll]);
    file.write_at(16 * SECTOR as u64, &[1; SECTOR]).unwrap();
    assert_eq!(disk.outcome_count(), None);
    assert_eq!(image(&disk, Outcome::Nth(5)), image(&disk, Outcome::Random(5)));
    for number in 0..20 {
        disk.create(&Path::new("/d").join(number.to_string())).unwrap();
    }
    assert_eq!(disk.outcome_count(), None, "names alone may be too many");
}

#[test]
fn images_show_the_disk_before_each_call() {
    let (disk, file) = disk_with(b"0");
    file.write_at(0, b"1").unwrap();
    disk.record_images();
    file.write_at(0, b"2").unwrap();
    file.sync().unwrap();
    file.len().unwrap();
    disk.remove(path("/d/a")).unwrap();
    let images = disk.take_images();
    disk.sync_dir(path("/d")).unwrap();
    assert!(disk.take_images().is_empty(), "taking them ends the recording");
    let calls: Vec<u64> = images.iter().map(SimDisk::calls).collect();
    assert_eq!(calls, [2, 3, 4]);
    let seen: Vec<_> = images.iter().map(|image| image.read("/d/a").unwrap()).collect();
    assert_eq!(seen, [b"1", b"2", b"2"]);
    let durable: Vec<_> =
        images.iter().map(|image| after(image, Outcome::DropUnsynced, "/d/a").unwrap()).collect();
    assert_eq!(durable, [b"0", b"0", b"2"]);
}

#[test]
fn rot_flips_one_bit_that_the_seed_tells() {
    let disk = disk();
    disk.write("/d/a.wal", [0; 40]).unwrap();
    disk.write("/d/b.wal", [0; 40]).unwrap();
    disk.write("/d/empty.wal", []).unwrap();
    disk.write("/d/other", [0; 40]).unwrap();
    let mut hit = BTreeSet::new();
    for seed in 0..300 {
        let rotten = disk.fork();
        let (file, bit) = rotten.rot(".wal", seed).unwrap();
        let mut expected = [0; 40];
        expected[usize::try_from(bit / 8).unwrap()] = 1 << (bit % 8);
        assert_eq!(rotten.read(&file).unwrap(), expected, "seed {seed}");
        assert_eq!(disk.fork().rot(".wal", seed), Some((file.clone(), bit)));
        let flipped =
            |(path, _): &(PathBuf, u64)| rotten.read(path).unwrap().iter().any(|b| *b > 0);
        assert_eq!(rotten.files().iter().filter(|file| flipped(file)).count(), 1);
        hit.insert((file, bit));
    }
    assert!(hit.len() > 150, "different seeds, different bits: {}", hit.len());
    assert_eq!(disk.rot("empty", 1), None);
    assert_eq!(disk.rot("nothing", 1), None);
    assert_eq!(SimDisk::new(77).seed(), 77);
}

#[test]
fn a_fork_shares_nothing() {
    let (disk, file) = disk_with(b"abc");
    let fork = disk.fork();
    file.write_at(0, b"x").unwrap();
    fork.erase("/d/a").unwrap();
    assert_eq!(disk.read("/d/a").unwrap(), b"xbc");
    assert!(fork.files().is_empty());
    assert_eq!(fork.calls() + 1, disk.calls());
}
