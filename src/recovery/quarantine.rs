//! Where damaged bytes are put, each with a note. Nothing is ever thrown away.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};

use super::{inventory::read_segment, verdict::Verdict};
use crate::{Error, journal::name::SegmentName, snapshot::publish::Places, vfs::Vfs};

/// Folder for damaged bytes, inside the journal folder.
pub(crate) const QUARANTINE: &str = "quarantine";

/// The quarantine of a store.
pub(crate) struct Quarantine<'a> {
    pub(crate) vfs: &'a dyn Vfs,
    pub(crate) places: &'a Places,
    pub(crate) now: DateTime<Utc>,
}

impl Quarantine<'_> {
    /// Writes these ranges of a segment, each with a note, durably; says where the last one is.
    pub(crate) fn keep(
        &self,
        segment: SegmentName,
        path: &Path,
        bytes: &[u8],
        ranges: &[Range<usize>],
        verdict: Verdict,
    ) -> Result<Option<PathBuf>, Error> {
        let mut last = None;
        for Range { start, end } in ranges {
            let piece = bytes.get(*start..*end).unwrap_or_default();
            if piece.is_empty() {
                continue;
            }
            let name = format!("{segment}.{start}-{end}");
            let (dir, kept) = self.path(&name, crc32fast::hash(piece))?;
            self.put(&kept, piece)?;
            let origin = format!("bytes {start}..{end} of {}", path.display());
            self.put_note(&kept, verdict, &origin)?;
            self.sync_dir(&dir)?;
            last = Some(kept);
        }
        Ok(last)
    }

    /// Moves a whole file here.
    pub(crate) fn move_whole(&self, path: &Path, verdict: Verdict) -> Result<PathBuf, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Named after its content, so that an earlier one of the same name stays.
        let crc = read_segment(self.vfs, path).map_or(0, |bytes| crc32fast::hash(&bytes));
        let (dir, kept) = self.path(&name, crc)?;
        self.put_note(&kept, verdict, &format!("the whole of {}", path.display()))?;
        self.vfs
            .rename(path, &kept)
            .map_err(|error| Error::io("cannot move a file to quarantine", path, error))?;
        self.sync_dir(&dir)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))?;
        Ok(kept)
    }

    fn path(&self, name: &str, crc: u32) -> Result<(PathBuf, PathBuf), Error> {
        let dir = self.places.journal_dir.join(QUARANTINE);
        self.vfs
            .create_dir_all(&dir)
            .map_err(|error| Error::io("cannot create the quarantine folder", &dir, error))?;
        let path = dir.join(format!("{name}.{crc:08x}"));
        Ok((dir, path))
    }

    fn put_note(&self, kept: &Path, verdict: Verdict, origin: &str) -> Result<(), Error> {
        let mut name = kept.file_name().unwrap_or_default().to_owned();
        name.push(".note");
        let note = format!(
            "{origin}\nlabel: {verdict}\nset aside: {}\n",
            self.now.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
        );
        self.put(&kept.with_file_name(name), note.as_bytes())
    }

    /// The name carries the content's checksum, so a file of this name is an earlier run's own work
    /// and is written again.
    fn put(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let failed = |error| Error::io("cannot write to quarantine", path, error);
        let file = match self.vfs.create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.vfs.open(path),
            created => created,
        }
        .map_err(failed)?;
        file.set_len(bytes.len() as u64)
            .and_then(|()| file.write_at(0, bytes))
            .and_then(|()| file.sync())
            .map_err(failed)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        self.vfs.sync_dir(dir).map_err(|error| Error::io("cannot sync the folder", dir, error))
    }
}
