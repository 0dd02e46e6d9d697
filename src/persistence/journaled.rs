//! The journaled calls: append, batches, views, how far the journal is durable.

use super::{Ack, Changes, P2PStatePersistence, Status, View, offload, progress::Reached};
use crate::{Error, ErrorKind, Lsn, recovery::report::RecoveryReport, state::Change};

impl P2PStatePersistence {
    /// Appends one change: checks it, numbers it, applies it and queues it. Never touches the disk.
    ///
    /// The change is in every later [`view`](Self::view). Await the [`Ack`] to know that it
    /// survives a power cut; without that it is durable after at most
    /// [`sync_within`](super::Builder::sync_within). A change that changes nothing is not journaled
    /// again; its ack is that of the last record.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] or [`ErrorKind::Invalid`] if the change breaks a limit,
    /// [`ErrorKind::Full`] if too many bytes wait for the disk, [`ErrorKind::Closed`] after a
    /// close. In each case nothing changed. On a handle that opens on first use, also the errors of
    /// opening.
    pub fn append(&self, change: Change) -> Result<Ack, Error> {
        self.engine()?.queue.append_one(&mut Some(change))
    }

    /// Appends several changes as one record: after a crash all of them are there, or none.
    ///
    /// # Errors
    /// As for [`append`](Self::append); and [`ErrorKind::Limit`] if they need more than 16 MiB
    /// together.
    pub fn append_batch(&self, changes: impl IntoIterator<Item = Change>) -> Result<Ack, Error> {
        let changes: Vec<Change> = changes.into_iter().collect();
        self.engine()?.queue.append(&changes)
    }

    /// Appends one change, waiting for room if too many bytes wait for the disk. It does not wait
    /// for the change to be durable: that is what the [`Ack`] is for.
    ///
    /// # Errors
    /// As for [`append`](Self::append), but never [`ErrorKind::Full`].
    ///
    /// # Cancel safety
    /// Dropped before it resolves, it has appended nothing.
    pub async fn append_async(&self, change: Change) -> Result<Ack, Error> {
        let engine = self.engine()?;
        let mut change = Some(change);
        loop {
            // Read before the attempt: if that finds no room, something after this is on its way.
            let durable = engine.progress.durable_through();
            match engine.queue.append_one(&mut change) {
                Err(error) if error.kind() == ErrorKind::Full => {
                    engine.progress.demand();
                    Reached::new(durable.next(), &engine.progress).await;
                }
                result => return result,
            }
        }
    }

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// As for awaiting an [`Ack`].
    ///
    /// # Cancel safety
    /// Dropping it cancels nothing that was appended.
    pub async fn sync(&self) -> Result<Lsn, Error> {
        self.engine()?.queue.ack().await
    }

    /// A consistent view of the state, pinned at an LSN. Takes a few microseconds, blocks no
    /// append, and does not change while you hold it.
    ///
    /// # Errors
    /// Only on a handle that opens on first use: the errors of opening.
    pub fn view(&self) -> Result<View, Error> {
        let (state, lsn) = self.engine()?.queue.view();
        Ok(View::new(state, lsn))
    }

    /// Every change up to this number survives a power cut. It only grows.
    ///
    /// # Errors
    /// Only on a handle that opens on first use: the errors of opening.
    pub fn durable_through(&self) -> Result<Lsn, Error> {
        Ok(self.engine()?.progress.durable_through())
    }

    /// What recovery found and did when the store was opened.
    ///
    /// # Errors
    /// Only on a handle that opens on first use: the errors of opening.
    pub fn recovery(&self) -> Result<&RecoveryReport, Error> {
        Ok(&self.engine()?.report)
    }

    /// How the store is right now.
    ///
    /// # Errors
    /// Only on a handle that opens on first use: the errors of opening.
    pub fn status(&self) -> Result<Status, Error> {
        Ok(Status::of(self.engine()?))
    }

    /// Writes a snapshot now and deletes what it makes superfluous. Durable when it returns; does
    /// nothing if nothing changed since the last one. Gives the snapshot's LSN.
    ///
    /// # Errors
    /// If the disk refuses; the journal still has everything.
    ///
    /// # Cancel safety
    /// Once polled, the compaction goes on even if the future is dropped.
    pub async fn compact(&self) -> Result<Lsn, Error> {
        let engine = self.engine()?.clone();
        offload(move || engine.compact()).await?
    }

    /// Follows the journal: every record after `lsn`, in order, without a gap, as it becomes
    /// durable.
    ///
    /// To start from now, take a [`view`](Self::view) and follow from its LSN.
    ///
    /// # Errors
    /// Only on a handle that opens on first use: the errors of opening. The stream itself yields
    /// [`ErrorKind::Compacted`] if the records asked for are gone.
    pub fn changes_since(&self, lsn: Lsn) -> Result<Changes, Error> {
        Ok(Changes::new(self.engine()?, lsn))
    }
}
