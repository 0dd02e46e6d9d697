//! Records that count, in order, into the state.

use super::{
    inventory::{Inventory, read_segment},
    plan::Plan,
};
use crate::{
    Error, ErrorKind, Lsn,
    journal::{format::Seed, scan::records},
    snapshot::read::Skipped,
    state::{self, Change, DecodeError, State},
    vfs::Vfs,
};

/// Changes that are decoded before the first of them is applied.
const AHEAD: usize = 16;

/// Applies every piece of the plan and returns the number of records. A record that a limit keeps
/// out is counted, not an error.
pub(super) fn replay(
    vfs: &dyn Vfs,
    inventory: &mut Inventory,
    plan: &Plan,
    state: &mut State,
    skipped: &mut Skipped,
) -> Result<u64, Error> {
    let mut loaded: Option<(usize, Vec<u8>, Option<Seed>)> = None;
    let mut ahead = Ahead { state, skipped, replayed: 0, changes: Vec::new(), ends: Vec::new() };
    for piece in &plan.pieces {
        let Some(segment) = inventory.segments.get_mut(piece.segment) else { continue };
        let kept = segment.take_bytes();
        let failed = |error| Error::io("cannot read a journal segment", &segment.path, error);
        let (bytes, seed) = match loaded.take() {
            Some((index, bytes, seed)) if index == piece.segment => (bytes, seed),
            _ => match kept {
                Some(bytes) => (bytes, None),
                None => (read_segment(vfs, &segment.path).map_err(failed)?, Some(segment.seed)),
            },
        };
        for record in records(&bytes, piece.run, seed) {
            let record = record.ok_or_else(|| {
                Error::new(ErrorKind::Io, "a record that was sound a moment ago is not any more")
                    .at(&segment.path)
                    .next("check the disk and the memory of this machine, then open again")
            })?;
            if record.lsn < piece.range.first || record.lsn > piece.range.last {
                continue;
            }
            ahead.add(record.lsn, record.payload).map_err(|error| {
                let what = format!("record lsn={} is of a newer version: {error}", record.lsn);
                Error::new(ErrorKind::NewerVersion, what)
                    .at(&segment.path)
                    .next("upgrade peer-journal; nothing was altered")
            })?;
        }
        loaded = Some((piece.segment, bytes, seed));
    }
    ahead.apply();
    Ok(ahead.replayed)
}

/// Records that are decoded and not applied yet.
struct Ahead<'a> {
    state: &'a mut State,
    skipped: &'a mut Skipped,
    replayed: u64,
    changes: Vec<Change>,
    /// Each record's number, and how many changes there are up to its end.
    ends: Vec<(Lsn, usize)>,
}

impl Ahead<'_> {
    fn add(&mut self, lsn: Lsn, payload: &[u8]) -> Result<(), DecodeError> {
        for change in state::decode(payload) {
            self.changes.push(change?);
        }
        self.ends.push((lsn, self.changes.len()));
        if self.changes.len() >= AHEAD {
            self.apply();
        }
        Ok(())
    }

    fn apply(&mut self) {
        self.state.fetch(&self.changes);
        let mut start = 0;
        for (lsn, end) in self.ends.drain(..) {
            let changes = self.changes.get(start..end).unwrap_or_default();
            if let Err(error) = self.state.apply_all(changes) {
                self.skipped.add(format_args!("lsn {lsn}: {error}"));
            }
            self.replayed = self.replayed.saturating_add(1);
            start = end;
        }
        self.changes.clear();
    }
}
