//! Records that count, in order, into the state.

#[cfg(test)]
mod tests;

use super::{
    block::{Block, Refused},
    crew::Crew,
    inventory::{Inventory, read_segment},
    plan::Plan,
};
use crate::{
    Error, ErrorKind, Lsn,
    journal::{format::Seed, scan::records},
    snapshot::read::Skipped,
    state::{DecodeError, Ledger, Shares, State},
    vfs::Vfs,
};

/// Changes in a block: the smaller, the better it stays in the cache; the larger, the fewer are the
/// hand-overs between threads. Shorter journals are replayed by one thread.
const BLOCK: usize = 4096;
/// Bytes of payload that end a block with fewer changes: some are megabytes long.
const BLOCK_BYTES: usize = 1 << 20;

/// Applies every piece of the plan and returns the number of records. A record that a limit keeps
/// out is counted, not an error.
pub(super) fn replay(
    vfs: &dyn Vfs,
    inventory: &mut Inventory,
    plan: &Plan,
    state: &mut State,
    skipped: &mut Skipped,
) -> Result<u64, Error> {
    let mut stream = Stream::into(state, Size::of_machine());
    let read = feed(vfs, inventory, plan, &mut stream);
    // Also after an error: no thread is left behind.
    let (replayed, refused) = stream.finish();
    read?;
    skipped.add_records(refused.count, refused.first);
    Ok(replayed)
}

/// Reads and decodes every piece of the plan.
fn feed(
    vfs: &dyn Vfs,
    inventory: &mut Inventory,
    plan: &Plan,
    stream: &mut Stream<'_>,
) -> Result<(), Error> {
    let mut loaded: Option<(usize, Vec<u8>, Option<Seed>)> = None;
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
            stream.add(record.lsn, record.payload).map_err(|error| {
                let what = format!("record lsn={} is of a newer version: {error}", record.lsn);
                Error::new(ErrorKind::NewerVersion, what)
                    .at(&segment.path)
                    .next("upgrade peer-journal; nothing was altered")
            })?;
        }
        loaded = Some((piece.segment, bytes, seed));
    }
    Ok(())
}

/// Records on their way into the state.
pub(super) struct Stream<'a> {
    state: &'a mut State,
    block: Block,
    replayed: u64,
    refused: Refused,
    size: Size,
    crew: Option<Crew>,
}

/// How records are applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Changes that are decoded before the first of them is applied.
    pub(super) block: usize,
    /// Threads that apply blocks; one or none for the caller's alone. `None` for as many as the
    /// machine is good for: to ask takes longer than a short journal.
    pub(super) threads: Option<usize>,
}

impl Size {
    fn of_machine() -> Self {
        Self { block: BLOCK, threads: None }
    }
}

impl<'a> Stream<'a> {
    pub(super) fn into(state: &'a mut State, size: Size) -> Self {
        let (block, refused) = (Block::default(), Refused::default());
        Self { state, block, replayed: 0, refused, size, crew: None }
    }

    pub(super) fn add(&mut self, lsn: Lsn, payload: &[u8]) -> Result<(), DecodeError> {
        self.block.add(lsn, payload)?;
        self.replayed = self.replayed.saturating_add(1);
        if self.is_long() || self.block.bytes >= BLOCK_BYTES {
            self.apply();
        }
        Ok(())
    }

    fn is_long(&self) -> bool {
        self.block.changes.len() >= self.size.block
    }

    /// Applies a full block: beside the next one if its records can be shared out.
    fn apply(&mut self) {
        // A few large values are no reason to hire.
        let is_worth_it = self.is_long() || self.crew.is_some();
        let block = std::mem::take(&mut self.block);
        let shares = if is_worth_it { self.share(&block) } else { None };
        match shares.zip(self.crew.as_ref()) {
            Some((shares, crew)) => crew.apply(block, shares, self.state, &mut self.refused),
            None => block.apply(self.state, &mut self.refused),
        }
    }

    /// Shares out a block's records. There is a crew for them then, if there are threads; where
    /// they have to be applied one after the other, there is none.
    fn share(&mut self, block: &Block) -> Option<Shares> {
        if let Some(crew) = &mut self.crew {
            if let Some(shares) = crew.share(block) {
                return Some(shares);
            }
            self.dismiss();
        }
        let threads = *self.size.threads.get_or_insert_with(Crew::size);
        if threads < 2 {
            return None;
        }
        let mut ledger = Ledger::of(self.state);
        let shares = block.share(&mut ledger)?;
        self.crew = Crew::hire(threads, ledger, self.state);
        Some(shares)
    }

    fn dismiss(&mut self) {
        if let Some(crew) = self.crew.take() {
            crew.dismiss(self.state, &mut self.refused);
        }
    }

    /// Applies what is left; the number of records, and those that were refused.
    pub(super) fn finish(mut self) -> (u64, Refused) {
        self.dismiss();
        self.block.apply(self.state, &mut self.refused);
        (self.replayed, self.refused)
    }
}
