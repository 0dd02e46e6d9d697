//! A simulated disk, to prove that a program loses nothing when the power fails.
//!
//! Beside it: [`FaultVfs`] injects errors into calls on a real disk, and [`Workload`] is a seeded
//! stream of changes that knows what the store must hold after each of them.
//!
//! [`SimDisk`] is a whole disk in memory behind the [`Vfs`](crate::vfs::Vfs) trait. It does what
//! disks do to programs that forget a sync, and it does it the same way each time: everything
//! random comes from seeds.
//!
//! # What it simulates
//!
//! - A write or `set_len` is volatile until `sync` on that file has returned. A name that is
//!   created, renamed, linked or removed is volatile until `sync_dir` on its directory has; for a
//!   rename between two directories, on both. Syncing a file does not make its name durable.
//! - [`SimDisk::power_cut`] keeps what is durable and any legal part of the rest. Of each unsynced
//!   sector of 512 bytes any version since the last sync may survive, of a file's lengths any, of
//!   the operations on names any; a rename survives as a whole or not at all, and an operation on a
//!   name only with the earlier ones on the same name. [`Outcome::Torn`] also shreds bytes of the
//!   last write. [`SimDisk::outcome_count`] and [`Outcome::Nth`] go through all that may survive,
//!   where that is little enough.
//! - [`SimDisk::kill`] ends the program and not the machine: nothing is lost, and nothing has
//!   become durable either.
//! - [`SimDisk::fail`] injects errors: short writes, syncs that fail and forget the data as those
//!   of Linux do, reads that fail. [`SimDisk::set_capacity`] fills the disk up,
//!   [`SimDisk::set_read_only`] mounts it for reading only, [`SimDisk::rot`],
//!   [`SimDisk::corrupt`], [`SimDisk::flip_bit`] and [`SimDisk::truncate`] damage files.
//! - Locks belong to files and end with the session. Handles survive the rename and removal of
//!   their file, and are dead after a kill or a power cut.
//!
//! # What it does not
//!
//! - A disk that breaks the bytes beside the ones being written, or lies about a sync that
//!   succeeded.
//! - Time: every call returns at once. Other programs: nobody changes a file behind the program's
//!   back.
//! - Permissions, symbolic links, removal or renaming of directories. A directory is durable as
//!   soon as it is created, as [`Vfs::create_dir_all`](crate::vfs::Vfs::create_dir_all) promises.
//!   Relative paths start at the root.
//!
//! # How to test a program with it
//!
//! Run the program once to count its calls on the disk. Then run it again for each of them, crash
//! the machine there, cut the power in several ways, and look at what a restart finds:
//!
//! ```
//! use std::{io, path::Path};
//!
//! use peer_journal::testing::{Outcome, SimDisk};
//! use peer_journal::vfs::Vfs;
//!
//! /// The program under test: replaces a file as a whole.
//! fn save(disk: &dyn Vfs, text: &[u8]) -> io::Result<()> {
//!     let (folder, new) = (Path::new("/data"), Path::new("/data/new"));
//!     if disk.metadata(new).is_ok() {
//!         disk.remove(new)?;
//!     }
//!     let file = disk.create(new)?;
//!     file.write_at(0, text)?;
//!     file.sync()?;
//!     disk.rename(new, &folder.join("saved"))?;
//!     disk.sync_dir(folder)
//! }
//!
//! let start = SimDisk::new(1);
//! start.write("/data/saved", b"old").unwrap();
//!
//! let whole_run = start.fork();
//! save(&whole_run.mount(), b"new").unwrap();
//!
//! for call in start.calls() + 1..=whole_run.calls() {
//!     let crashed = start.fork();
//!     crashed.crash_at(call);
//!     save(&crashed.mount(), b"new").unwrap_err();
//!     for seed in 0..20 {
//!         let disk = crashed.fork();
//!         disk.power_cut(Outcome::Random(seed));
//!         let saved = disk.read("/data/saved").unwrap();
//!         let story = disk.trace();
//!         assert!(saved == b"old" || saved == b"new", "seed {seed}, crash in {:?}", story.last());
//!         // The next start must work whatever was left behind.
//!         save(&disk.mount(), b"newer").unwrap();
//!         disk.power_cut(Outcome::DropUnsynced);
//!         assert_eq!(disk.read("/data/saved").unwrap(), b"newer");
//!     }
//! }
//! ```
//!
//! One recorded run gives all crash points at once: see [`SimDisk::record_images`], and
//! `examples/crash_test.rs` in the repository for a whole test.
//!
//! Give the program a [`mount`](SimDisk::mount) rather than the disk itself: then threads that
//! outlive their crash cannot touch the files of the next run.

mod content;
mod disk;
mod fault;
mod fault_vfs;
#[doc(hidden)]
pub mod fuzz;
mod names;
mod outcomes;
mod power;
mod prng;
mod vfs_impl;
mod workload;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use fault::{Call, Effect, Fault, Op};
pub use fault_vfs::FaultVfs;
pub use prng::Prng;
pub use workload::{Step, Workload, difference};

use disk::Disk;

/// What a power cut leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing.
    DropUnsynced,
    /// Everything but what a failed sync forgot ([`Effect::MarkClean`]).
    KeepAll,
    /// Any legal part, chosen by this seed.
    Random(u64),
    /// As [`Outcome::Random`], and bytes of the last write to a file may be rubbish.
    Torn(u64),
    /// The legal part of this number, from 0, which is nothing, up to
    /// [`SimDisk::outcome_count`]; past it the last one. Where there are too many to count, as
    /// [`Outcome::Random`] with this seed.
    Nth(u64),
}

/// A disk in memory that can lose power. A clone is another handle to the same disk.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Mutex<Disk>>,
    /// The one session that the handle is good for; `None` is any.
    session: Option<u64>,
}

impl SimDisk {
    /// An empty disk that is switched on. The seed decides what a crash leaves of the write it
    /// hits, and the order of directory listings.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::around(Disk::new(seed))
    }

    /// A copy of the whole disk, counters and faults included, that shares nothing with this one.
    /// No handle is open on it and no lock is held.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::around(self.disk().fork())
    }

    /// A handle for one run of the program: after the next [`kill`](Self::kill) or
    /// [`power_cut`](Self::power_cut) all its calls on files fail.
    #[must_use]
    pub fn mount(&self) -> Self {
        let session = Some(self.disk().session);
        Self { shared: Arc::clone(&self.shared), session }
    }

    /// The seed it was made with; print it when a test fails.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.disk().seed
    }

    /// The number of the last mutating call; the first one is 1.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.disk().calls
    }

    /// How many calls of one kind were made, mutating or not.
    #[must_use]
    pub fn count(&self, op: Op) -> u64 {
        self.disk().counts.get(&op).copied().unwrap_or_default()
    }

    /// All mutating calls so far, in order.
    #[must_use]
    pub fn trace(&self) -> Vec<Call> {
        self.disk().trace.clone()
    }

    /// Switches the machine off in the mutating call of this number, or in the next one if that
    /// number is past. The call has no effect, except that a write may have written its first
    /// bytes.
    pub fn crash_at(&self, call: u64) {
        self.disk().crash_at = Some(call);
    }

    /// Switches the machine off: every call on files fails.
    pub fn power_off(&self) {
        self.disk().on = false;
    }

    /// Switches the machine on as if it had never been off: nothing is lost, handles work again.
    pub fn power_on(&self) {
        let mut disk = self.disk();
        disk.on = true;
        disk.crash_at = None;
    }

    /// True unless the machine is off.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.disk().on
    }

    /// Cuts the power and switches the machine on again: what survives is durable, all open handles
    /// are dead, all locks released. Faults and limits stay.
    pub fn power_cut(&self, outcome: Outcome) {
        self.disk().cut(outcome);
    }

    /// Ends the program, not the machine, as `kill -9` does: all open handles are dead, all locks
    /// released; what was volatile is still there and still volatile.
    pub fn kill(&self) {
        self.disk().begin_session();
    }

    /// Arms a fault. Of several that match a call, the first armed one that is due fails it.
    pub fn fail(&self, fault: Fault) {
        self.disk().faults.arm(fault);
    }

    /// Disarms all faults.
    pub fn clear_faults(&self) {
        self.disk().faults.clear();
    }

    /// How many calls faults have failed so far: a test that arms one looks whether it was met.
    #[must_use]
    pub fn faults_hit(&self) -> u64 {
        self.disk().faults.hits
    }

    /// Limits the sum of all file lengths, or lifts the limit. A write past it writes what fits.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// Makes all mutating calls, opening for writing and locking fail, or work again.
    pub fn set_read_only(&self, read_only: bool) {
        self.disk().read_only = read_only;
    }

    /// All files that a program sees, with their lengths, sorted by path.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.disk().files()
    }

    /// The bytes of a file as a program sees them. This and the calls below work by hand: they are
    /// not counted, no fault, limit or lost power stops them, and what they leave is durable.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, `IsADirectory` if it is no file.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        self.disk().look(path.as_ref()).map(<[u8]>::to_vec)
    }

    /// Replaces a file's bytes, or creates it and the directories above it.
    ///
    /// # Errors
    /// `IsADirectory` or `NotADirectory` if the path cannot name a file.
    pub fn write(&self, path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) -> io::Result<()> {
        self.disk().settle(path.as_ref(), bytes.into())
    }

    /// Takes a name away.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, `IsADirectory` if it is no file.
    pub fn erase(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.disk().erase(path.as_ref())
    }

    /// Cuts a file to a length, or grows it with zeros.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, `IsADirectory` if it is no file.
    pub fn truncate(&self, path: impl AsRef<Path>, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.edit(path.as_ref(), |bytes| {
            bytes.resize(len, 0);
            Some(())
        })
    }

    /// Overwrites bytes inside a file.
    ///
    /// # Errors
    /// `InvalidInput` if they do not lie inside; otherwise as [`truncate`](Self::truncate).
    pub fn corrupt(&self, path: impl AsRef<Path>, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.edit(path.as_ref(), |content| {
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(bytes.len())?;
            content.get_mut(start..end)?.copy_from_slice(bytes);
            Some(())
        })
    }

    /// Flips one bit of a file; bit 0 is the lowest of the first byte.
    ///
    /// # Errors
    /// `InvalidInput` if the file is shorter; otherwise as [`truncate`](Self::truncate).
    pub fn flip_bit(&self, path: impl AsRef<Path>, bit_offset: u64) -> io::Result<()> {
        self.edit(path.as_ref(), |content| {
            let byte = content.get_mut(usize::try_from(bit_offset / 8).ok()?)?;
            *byte ^= 1 << (bit_offset % 8);
            Some(())
        })
    }

    /// Lets one bit rot at rest: the seed picks a file whose path contains this text, and a bit of
    /// it. Tells which, or `None` if no such file holds a byte.
    #[must_use]
    pub fn rot(&self, path_contains: &str, seed: u64) -> Option<(PathBuf, u64)> {
        let mut files = self.files();
        files.retain(|(path, len)| *len > 0 && path.to_string_lossy().contains(path_contains));
        let mut random = Prng::new(seed);
        let (path, len) = random.pick(&files)?.clone();
        let bit = random.below(len.saturating_mul(8));
        self.flip_bit(&path, bit).ok()?;
        Some((path, bit))
    }

    fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> io::Result<()> {
        let mut disk = self.disk();
        let mut bytes = disk.look(path)?.to_vec();
        change(&mut bytes).ok_or_else(|| {
            let why = format!("{} ends before that ({} bytes)", path.display(), bytes.len());
            io::Error::new(io::ErrorKind::InvalidInput, why)
        })?;
        disk.settle(path, bytes)
    }

    fn around(disk: Disk) -> Self {
        Self { shared: Arc::new(Mutex::new(disk)), session: None }
    }

    /// A panic of another thread is that thread's matter: the disk is whole between any two calls.
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A summary; the bytes are in [`SimDisk::read`].
impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.disk();
        f.debug_struct("SimDisk")
            .field("seed", &disk.seed)
            .field("on", &disk.on)
            .field("calls", &disk.calls)
            .field("files", &disk.files())
            .finish_non_exhaustive()
    }
}
