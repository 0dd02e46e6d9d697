//! One file of a store without a peer, and putting it into the place of the old one.

use std::{io, path::Path};

use crate::{
    Error, ErrorKind, StoreId,
    journal::{
        format::{HEADER_BYTES, HeaderError, RecordKind, Seed, SegmentHeader, encode_record},
        name::SegmentName,
        scan::{records, scan},
    },
    recovery::inventory::read_segment,
    snapshot::{
        Meta,
        name::parse_fallback,
        publish::{Demote, Places, Publication},
        read::{Loaded, Reading, SNAPSHOT_BYTES_MAX, read},
    },
    state::{Limits, Redactor, State},
    vfs::{Vfs, read_file},
};

/// Stands where bytes were damaged: such bytes never verify, and tell nothing.
const BLANK: u8 = u8::MAX;
const TEMPORARY: &str = ".tmp";

/// What a file is, by its name.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Segment(SegmentName),
    Snapshot,
}

impl What {
    /// `None` if the name is not the store's.
    pub(super) fn of(name: &str) -> Option<Self> {
        let snapshot = parse_fallback(name).map(|_| Self::Snapshot);
        SegmentName::parse(name).map(Self::Segment).or(snapshot)
    }
}

/// True for a file of ours that a crash has left beside the one that it was to replace.
pub(super) fn is_temporary(name: &str) -> bool {
    name.strip_suffix(TEMPORARY).and_then(What::of).is_some()
}

/// What a file is without the peer.
#[derive(Debug)]
pub(super) enum Anew {
    /// What it was: it has nothing of the peer.
    Same,
    /// A segment with these bytes.
    Segment(Vec<u8>),
    /// A snapshot of this state.
    Snapshot(Box<State>, Meta),
    /// Nothing can be made of it.
    Nothing,
}

/// Takes a peer out of files.
#[derive(Debug)]
pub(super) struct Rewriter<'a> {
    pub(super) vfs: &'a dyn Vfs,
    pub(super) redactor: &'a Redactor,
    pub(super) store_id: Option<StoreId>,
}

impl Rewriter<'_> {
    /// What a file is without the peer; `None` if it is not there.
    pub(super) fn anew(&self, path: &Path, what: What) -> Result<Option<Anew>, Error> {
        let read = match what {
            What::Segment(_) => read_segment(self.vfs, path),
            What::Snapshot => read_file(self.vfs, path, SNAPSHOT_BYTES_MAX),
        };
        let bytes = match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(|error| Error::io("cannot read a file", path, error))?,
        };
        let anew = match what {
            What::Segment(called) => self.segment(path, called, bytes),
            What::Snapshot => self.snapshot(path, &bytes),
        };
        anew.map(Some)
    }

    /// Each record keeps its number, its place and its length, so that the seal, and what the next
    /// segment says of it, still hold.
    fn segment(&self, path: &Path, called: SegmentName, bytes: Vec<u8>) -> Result<Anew, Error> {
        let (seed, first_lsn, is_bad) = match SegmentHeader::decode(&bytes) {
            Ok(header) => (header.seed(), header.first_lsn, false),
            Err(HeaderError::Newer(version)) => return Err(newer(path, version)),
            Err(HeaderError::Bad) => {
                let id = self.store_id.unwrap_or(StoreId::from_bytes([0; 16]));
                (Seed::new(&id, called.segment), called.first_lsn, true)
            }
        };
        let found = scan(&bytes, HEADER_BYTES, seed, first_lsn);
        if is_bad && found.runs.is_empty() {
            return Ok(Anew::Nothing);
        }
        let mut new = bytes.clone();
        let mut encoded = Vec::new();
        for run in &found.runs {
            let mut offset = run.start;
            for record in records(&bytes, *run, None).flatten() {
                let start = offset;
                offset = offset.saturating_add(record.bytes());
                if record.kind == RecordKind::Unknown {
                    return Err(Error::new(ErrorKind::NewerVersion, "a record of an unknown kind")
                        .at(path)
                        .next("upgrade peer-journal; nothing was altered"));
                }
                let payload = self.redactor.payload(record.payload);
                let Some(payload) = payload.map_err(|error| error.at(path))? else { continue };
                encoded.clear();
                let (kind, lsn, vouched) = (record.kind, record.lsn, record.durable_through);
                encode_record(&mut encoded, seed, kind, lsn, vouched, &payload);
                copy(&encoded, new.get_mut(start..offset));
            }
        }
        for damage in &found.damage {
            new.get_mut(damage.clone()).unwrap_or_default().fill(BLANK);
        }
        if is_bad {
            new.get_mut(..HEADER_BYTES).unwrap_or_default().fill(BLANK);
        }
        Ok(if new == bytes { Anew::Same } else { Anew::Segment(new) })
    }

    fn snapshot(&self, path: &Path, bytes: &[u8]) -> Result<Anew, Error> {
        // What a reader ignores may name the peer, too.
        let is_named =
            |state: &State| !self.redactor.changes(state).is_empty() || self.redactor.finds(bytes);
        let loaded: Loaded = match read(bytes, Limits::UNBOUNDED) {
            Reading::Newer(version) => return Err(newer(path, version)),
            Reading::Version1(loaded) if !is_named(&loaded.state) => return Ok(Anew::Same),
            Reading::Version1(_) | Reading::Unsealed(_) | Reading::Broken(_) => {
                return Ok(Anew::Nothing);
            }
            Reading::Whole(loaded) if !is_named(&loaded.state) => return Ok(Anew::Same),
            Reading::Whole(loaded) => *loaded,
        };
        if let Some(reason) = loaded.skipped.first {
            let what = format!("a row that breaks a limit would be dropped: {reason}");
            return Err(Error::limit(what).at(path).next("remove the file, or restore a backup"));
        }
        let mut state = loaded.state;
        state.apply_all(&self.redactor.changes(&state))?;
        Ok(Anew::Snapshot(Box::new(state), loaded.meta))
    }

    /// Puts a state into the place of a snapshot, durably.
    pub(super) fn put_snapshot(
        &self,
        path: &Path,
        state: &State,
        meta: &Meta,
    ) -> Result<(), Error> {
        let places = Places {
            state_file: path.to_owned(),
            journal_dir: path.parent().unwrap_or(Path::new(".")).to_owned(),
        };
        let (vfs, demote, stop) = (self.vfs, &Demote::Nothing, &|| false);
        Publication { vfs, places: &places, state, meta, demote, stop }.publish()?;
        Ok(())
    }
}

/// Puts the bytes into the place of a segment, durably.
pub(super) fn put(vfs: &dyn Vfs, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |error| Error::io("cannot write a segment anew", path, error);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(TEMPORARY);
    let temporary = path.with_file_name(name);
    match vfs.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let file = vfs.create(&temporary).map_err(failed)?;
    file.write_at(0, bytes)
        .and_then(|()| file.sync())
        .and_then(|()| vfs.rename(&temporary, path))
        .and_then(|()| vfs.sync_dir(path.parent().unwrap_or(Path::new("."))))
        .map_err(failed)
}

fn newer(path: &Path, version: u32) -> Error {
    Error::new(ErrorKind::NewerVersion, format!("written by a newer version: version={version}"))
        .at(path)
        .next("upgrade peer-journal; nothing was altered")
}

fn copy(from: &[u8], to: Option<&mut [u8]>) {
    for (to, from) in to.unwrap_or_default().iter_mut().zip(from) {
        *to = *from;
    }
}
