//! The LOCK file: one writer at a time, and a word about who it is.

use std::{io, path::Path};

use chrono::{DateTime, SecondsFormat, Utc};

use crate::{
    Error, ErrorKind,
    snapshot::publish::Places,
    vfs::{Vfs, VfsLock, read_file},
};

/// Name of the lock file in the journal folder. It is never renamed or removed.
const LOCK: &str = "LOCK";
/// Most that is read of another holder's text.
const HOLDER_BYTES_MAX: u64 = 4096;

/// Takes the lock and writes down who holds it.
pub(super) fn acquire(
    vfs: &dyn Vfs,
    places: &Places,
    now: DateTime<Utc>,
) -> Result<Box<dyn VfsLock>, Error> {
    vfs.create_dir_all(&places.journal_dir).map_err(|error| {
        Error::io("cannot create the journal folder", &places.journal_dir, error)
    })?;
    let path = places.journal_dir.join(LOCK);
    let lock = vfs.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => held(vfs, places, &path),
        _ => Error::io("cannot lock the store", &path, error),
    })?;
    let host = gethostname::gethostname();
    let text = format!(
        "pid={} host={} since={}\n",
        std::process::id(),
        host.to_string_lossy(),
        now.to_rfc3339_opts(SecondsFormat::Secs, true)
    );
    lock.write_holder(&text)
        .map_err(|error| Error::io("cannot write the lock file", &path, error))?;
    Ok(lock)
}

fn held(vfs: &dyn Vfs, places: &Places, path: &Path) -> Error {
    let text = read_file(vfs, path, HOLDER_BYTES_MAX).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let holder = match text.trim() {
        "" => "which left no name".to_owned(),
        text => text.escape_debug().to_string(),
    };
    Error::new(ErrorKind::Locked, format!("the store is locked by another handle: {holder}"))
        .at(&places.state_file)
        .next("stop that process, or open another path")
}
