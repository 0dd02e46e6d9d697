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

/// Who has, or had, a store open: what stands in its `LOCK` file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its process.
    pub pid: Option<u32>,
    /// Its machine. Text from a file: escape it before you show it.
    pub host: Option<String>,
    /// When it opened the store.
    pub since: Option<DateTime<Utc>>,
    /// True if the lock is held now, false if this text was left behind, `None` if that cannot be
    /// told without touching the lock: off Linux, or if the text names another machine and the
    /// lock table of this one does not show the lock.
    pub is_held: Option<bool>,
}

/// Reads the `LOCK` file; `None` if there is none. Never touches the lock.
pub(crate) fn look(vfs: &dyn Vfs, places: &Places) -> Result<Option<Holder>, Error> {
    let path = places.journal_dir.join(LOCK);
    let text = match read_file(vfs, &path, HOLDER_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| Error::io("cannot read the lock file", &path, error))?,
    };
    let text = String::from_utf8_lossy(&text);
    let field = |name: &str| text.split_whitespace().find_map(|word| word.strip_prefix(name));
    let pid = field("pid=").and_then(|pid| pid.parse().ok());
    let host = field("host=").map(str::to_owned);
    let since = field("since=").and_then(|since| since.parse().ok());
    let here = gethostname::gethostname();
    let is_here = host.as_deref().is_none_or(|host| here.to_string_lossy() == host);
    let is_held = match vfs.is_locked(&path, pid).unwrap_or_default() {
        // The table of this machine says nothing about another one.
        Some(false) if !is_here => None,
        told => told,
    };
    Ok(Some(Holder { pid, host, since, is_held }))
}

fn held(vfs: &dyn Vfs, places: &Places, path: &Path) -> Error {
    let holder = named(&read_file(vfs, path, HOLDER_BYTES_MAX).unwrap_or_default());
    Error::new(ErrorKind::Locked, format!("the store is locked by another handle: {holder}"))
        .at(&places.state_file)
        .next("stop that process, or open another path")
}

/// What an error says of a holder. Behind its line may stand what is left of a longer one.
fn named(text: &[u8]) -> String {
    match String::from_utf8_lossy(text).lines().next().unwrap_or_default().trim() {
        "" => "which left no name".to_owned(),
        line => line.escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn a_holder_is_named_by_the_first_line() {
        assert_eq!(named(b"pid=9 host=a since=b\nold since=c\n"), "pid=9 host=a since=b");
        assert_eq!(named(b"\x1b[2J\n"), "\\u{1b}[2J");
        assert_eq!(named(b""), "which left no name");
    }
}
