//! Puts a snapshot into place: write it beside, keep the old one, rename, sync the folder.
//!
//! Whatever step fails, the old files stay in charge.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    Meta, name,
    read::{Reading, SNAPSHOT_BYTES_MAX, read},
    temporary::{Stop, fill},
};
use crate::{
    Error, Lsn, StoreId,
    state::{Limits, State},
    vfs::{Vfs, read_file, read_full},
};

/// Files are copied in pieces of this size.
const PIECE_BYTES: usize = 256 << 10;

/// Where the snapshots of a store live.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The newest snapshot: what people open and read.
    pub(crate) state_file: PathBuf,
    /// The folder with the journal and the fallback snapshot.
    pub(crate) journal_dir: PathBuf,
}

impl Places {
    pub(crate) fn new(state_file: &Path) -> Self {
        Self { state_file: state_file.to_owned(), journal_dir: name::journal_dir(state_file) }
    }

    /// The folder that holds the state file.
    pub(crate) fn parent(&self) -> &Path {
        match self.state_file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }
}

/// What becomes of the snapshot that is in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Demote {
    /// There is none, or it is not to be kept.
    Nothing,
    /// It keeps this name in the journal folder.
    Keep(String),
}

impl Demote {
    /// Keeps a snapshot of `lsn` as the fallback of a newer one.
    pub(crate) fn fallback(lsn: Lsn) -> Self {
        Self::Keep(name::fallback_name(lsn))
    }
}

/// A snapshot that is to become the newest one.
pub(crate) struct Publication<'a> {
    pub(crate) vfs: &'a dyn Vfs,
    pub(crate) places: &'a Places,
    pub(crate) state: &'a State,
    pub(crate) meta: &'a Meta,
    pub(crate) demote: &'a Demote,
    /// Asked between pieces; when it says true nothing is published.
    pub(crate) stop: &'a Stop<'a>,
}

impl Publication<'_> {
    /// Puts the snapshot into place and returns its size in bytes. When this returns it is durable.
    pub(crate) fn publish(&self) -> Result<u64, Error> {
        let bytes = self.put_in_place()?;
        settle(self.vfs, self.places)?;
        Ok(bytes)
    }

    /// All of [`publish`](Self::publish) up to the rename: after it the snapshot has its name, and
    /// after an error it has not. A power cut may still take the name back until [`settle`]
    /// returns.
    pub(crate) fn put_in_place(&self) -> Result<u64, Error> {
        let Self { vfs, places, .. } = *self;
        let temporary = name::temporary(&places.state_file);
        let bytes = match self.write_temporary(&temporary) {
            Ok(bytes) => bytes,
            Err(error) => {
                if let Err(error) = remove_if_there(vfs, &temporary) {
                    tracing::debug!(%error, "recovery removes the temporary snapshot");
                }
                return Err(Error::io("cannot write the snapshot", &temporary, error));
            }
        };
        if let Demote::Keep(name) = self.demote {
            keep_old(vfs, places, name, self.meta.store_id)?;
        }
        vfs.rename(&temporary, &places.state_file).map_err(|error| {
            Error::io("cannot rename the snapshot into place", &places.state_file, error)
        })?;
        Ok(bytes)
    }

    fn write_temporary(&self, path: &Path) -> io::Result<u64> {
        match self.vfs.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.vfs.create(path)?;
        fill(file.as_ref(), self.state, self.meta, self.stop)
    }
}

/// Makes the name of the snapshot durable.
pub(crate) fn settle(vfs: &dyn Vfs, places: &Places) -> Result<(), Error> {
    vfs.sync_dir(places.parent())
        .map_err(|error| Error::io("cannot sync the snapshot's folder", places.parent(), error))
}

/// Gives each snapshot a new file under its name, and makes the names durable.
///
/// After a failed sync of their folder another sync proves nothing about names that were there
/// before it: the system may have marked them clean although they never reached the disk. What
/// cannot be read is no snapshot, durable or not, and stays as it is. False if that is the newest.
pub(crate) fn renew(vfs: &dyn Vfs, places: &Places) -> Result<bool, Error> {
    let renewed = renew_file(vfs, &places.state_file)?;
    settle(vfs, places)?;
    let dir = &places.journal_dir;
    let listed =
        vfs.list(dir).map_err(|error| Error::io("cannot list the journal folder", dir, error))?;
    for entry in listed {
        if entry.name.to_str().and_then(name::parse_fallback).is_some() {
            renew_file(vfs, &dir.join(&entry.name))?;
        }
    }
    sync_journal_dir(vfs, places)?;
    Ok(renewed)
}

/// False if the file cannot be read, or is not there.
fn renew_file(vfs: &dyn Vfs, path: &Path) -> Result<bool, Error> {
    let failed = |error| Error::io("cannot make the name of a snapshot durable", path, error);
    let temporary = name::temporary(path);
    remove_if_there(vfs, &temporary)?;
    match copy(vfs, path, &temporary) {
        Ok(()) => {}
        Err(Broken { side: Side::Read, error }) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, path = %path.display(), "a snapshot cannot be read");
            }
            remove_if_there(vfs, &temporary)?;
            return Ok(false);
        }
        Err(Broken { side: Side::Write, error }) => {
            // On a full disk half a copy would take the room that the journal needs.
            if let Err(error) = remove_if_there(vfs, &temporary) {
                tracing::debug!(%error, "recovery removes the temporary snapshot");
            }
            return Err(failed(error));
        }
    }
    vfs.rename(&temporary, path).map_err(failed)?;
    Ok(true)
}

/// Removes every fallback but `keep`. Run only when `keep` and a newer snapshot are published.
pub(crate) fn remove_older_fallbacks(vfs: &dyn Vfs, dir: &Path, keep: Lsn) -> Result<(), Error> {
    let failed = |error| Error::io("cannot remove an old snapshot", dir, error);
    let mut result = Ok(());
    for entry in vfs.list(dir).map_err(failed)? {
        let lsn = entry.name.to_str().and_then(name::parse_fallback);
        if lsn.is_some_and(|lsn| lsn < keep) {
            result = result.and(vfs.remove(&dir.join(&entry.name)).map_err(failed));
        }
    }
    result
}

/// Gives the snapshot in place a second name, or where there are no hard links a copy, so that
/// there is no moment without one.
fn keep_old(vfs: &dyn Vfs, places: &Places, name: &str, store_id: StoreId) -> Result<(), Error> {
    let fallback = places.journal_dir.join(name);
    match vfs.metadata(&places.state_file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found
            .map_err(|error| Error::io("cannot look at the snapshot", &places.state_file, error))?,
    };
    // Of what no record holds there is a second file already, which must not give way to a second
    // name of the first one.
    if !is_fallback(vfs, &fallback, name, store_id) {
        // Left by a crash in the middle of this.
        remove_if_there(vfs, &fallback)?;
        let kept = match vfs.link(&places.state_file, &fallback) {
            Err(_) => {
                copy(vfs, &places.state_file, &fallback).map_err(|Broken { error, .. }| error)
            }
            Ok(()) => Ok(()),
        };
        kept.map_err(|error| Error::io("cannot keep the previous snapshot", &fallback, error))?;
    }
    sync_journal_dir(vfs, places)
}

fn sync_journal_dir(vfs: &dyn Vfs, places: &Places) -> Result<(), Error> {
    vfs.sync_dir(&places.journal_dir)
        .map_err(|error| Error::io("cannot sync the journal folder", &places.journal_dir, error))
}

/// True if the file is a whole snapshot of this store and of the LSN in its name.
fn is_fallback(vfs: &dyn Vfs, path: &Path, name: &str, store_id: StoreId) -> bool {
    let (Some(lsn), Ok(bytes)) =
        (name::parse_fallback(name), read_file(vfs, path, SNAPSHOT_BYTES_MAX))
    else {
        return false;
    };
    match read(&bytes, Limits::default()) {
        Reading::Whole(loaded) => (loaded.meta.lsn, loaded.meta.store_id) == (lsn, store_id),
        _ => false,
    }
}

/// Which file of a copy failed.
enum Side {
    Read,
    Write,
}

struct Broken<E> {
    side: Side,
    error: E,
}

fn copy(vfs: &dyn Vfs, from: &Path, to: &Path) -> Result<(), Broken<io::Error>> {
    let read = |error| Broken { side: Side::Read, error };
    let write = |error| Broken { side: Side::Write, error };
    let from = vfs.open_read_only(from).map_err(read)?;
    let to = vfs.create(to).map_err(write)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut offset = 0;
    loop {
        let count = read_full(from.as_ref(), offset, &mut piece).map_err(read)?;
        to.write_at(offset, piece.get(..count).unwrap_or_default()).map_err(write)?;
        offset = offset.saturating_add(count as u64);
        if count < piece.len() {
            return to.sync().map_err(write);
        }
    }
}

fn remove_if_there(vfs: &dyn Vfs, path: &Path) -> Result<(), Error> {
    match vfs.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("cannot remove a leftover file", path, error))
        }
        _ => Ok(()),
    }
}
