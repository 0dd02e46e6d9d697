//! What recovery has set aside.

use std::{
    io,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};

use super::Reader;
use crate::{
    Error,
    recovery::quarantine::QUARANTINE,
    vfs::{EntryKind, Vfs, read_file},
};

/// Longest note that is read, in bytes.
const NOTE_BYTES_MAX: u64 = 64 << 10;
const NOTE_SUFFIX: &str = ".note";

/// A file in quarantine: damaged bytes that recovery copied or moved there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quarantined {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Where the bytes come from, for people; `None` if there is no note.
    pub origin: Option<String>,
    /// The label of the recovery table, as it was written down.
    pub label: Option<String>,
    /// When the bytes were set aside.
    pub set_aside: Option<DateTime<Utc>>,
    /// The note.
    pub note: Option<PathBuf>,
}

impl Reader {
    /// The files in quarantine with what their notes say, sorted by name.
    ///
    /// # Errors
    /// `Io` if the folder cannot be read.
    pub fn quarantine(&self) -> Result<Vec<Quarantined>, Error> {
        list(self.vfs(), &self.places().journal_dir)
    }
}

/// The files in the quarantine of a journal folder.
pub(crate) fn list(vfs: &dyn Vfs, journal_dir: &Path) -> Result<Vec<Quarantined>, Error> {
    let dir = journal_dir.join(QUARANTINE);
    let entries = match vfs.list(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => {
            entries.map_err(|error| Error::io("cannot list the quarantine folder", &dir, error))?
        }
    };
    let mut found: Vec<Quarantined> = entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::File)
        .filter(|entry| !entry.name.to_string_lossy().ends_with(NOTE_SUFFIX))
        .map(|entry| {
            let path = dir.join(&entry.name);
            let mut name = entry.name.clone();
            name.push(NOTE_SUFFIX);
            with_note(vfs, path, entry.len, dir.join(name))
        })
        .collect();
    found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn with_note(vfs: &dyn Vfs, path: PathBuf, bytes: u64, note: PathBuf) -> Quarantined {
    let text = read_file(vfs, &note, NOTE_BYTES_MAX).ok();
    let text = text.map(|text| String::from_utf8_lossy(&text).into_owned());
    let line = |head: &str| {
        let rest = text.as_ref()?.lines().find_map(|line| line.strip_prefix(head))?;
        Some(rest.trim().to_owned())
    };
    Quarantined {
        origin: text.as_ref().and_then(|text| text.lines().next()).map(str::to_owned),
        label: line("label:"),
        set_aside: line("set aside:").and_then(|time| time.parse().ok()),
        note: text.is_some().then_some(note),
        path,
        bytes,
    }
}
