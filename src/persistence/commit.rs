//! The commit thread: take what gathered, one write, one sync, publish; rotate when full.
//!
//! A failed write or sync is final for its file. The records since `durable_through` are still in
//! memory: they go to a fresh segment, again and again with growing pauses, until the disk takes
//! them.

use std::{sync::Arc, time::Duration};

use super::{
    batch::Batch,
    folders::Folders,
    preparer::Preparer,
    progress::Progress,
    queue::{Expected, Queue, RotateReply, Work},
    sync::{Instant, mpsc, thread},
};
use crate::{
    Error, ErrorKind, Lsn, StoreId,
    journal::{
        format::{Previous, RecordKind, SegmentHeader, encode_record},
        segment::SegmentWriter,
    },
    snapshot::publish::Places,
};

const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);
/// Attempts to write what is left when the store is closed while the disk refuses writes.
const CLOSING_ATTEMPTS: u32 = 3;
/// Longest time for which a commit waits for others to join it; half the time of the last one if
/// that is less, so that nobody waits much longer than without.
const GATHER_LONGEST: Duration = Duration::from_micros(200);
/// Where nobody comes back, one commit in 64 waits.
const GATHER_FAILURES_MAX: u32 = 6;
/// A batch's frames are kept in one buffer; a larger one gives its memory back.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// However the thread ends, nobody waits for it for ever.
impl Drop for Committer {
    fn drop(&mut self) {
        self.queue.close();
        while self.queue.take_more().is_some() {}
        self.progress.close();
    }
}

/// Whether a commit waits for others to join it.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// Whom the last commit woke.
    expected: Option<Expected>,
    /// Times in a row that they did not come back in time.
    failures: u32,
    /// Commits until it is tried again.
    skips: u32,
}

/// Milliseconds since the UNIX epoch, for segment headers.
pub(super) type NowMs = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Everything the commit thread owns.
pub(super) struct Committer {
    pub(super) queue: Arc<Queue>,
    pub(super) progress: Arc<Progress>,
    pub(super) folders: Arc<Folders>,
    pub(super) places: Places,
    pub(super) store_id: StoreId,
    pub(super) now_ms: NowMs,
    pub(super) preparer: Preparer,
    /// The open segment; `None` between a seal or a failure and the next one.
    pub(super) segment: Option<SegmentWriter>,
    /// What the next segment's header cites.
    pub(super) previous: Previous,
    pub(super) last_segment: u64,
    /// Records that are not durable yet, oldest first.
    pub(super) pending: Vec<Batch>,
    pub(super) buffer: Vec<u8>,
    pub(super) gathering: Gathering,
    /// Called when more than `journal_bytes_max` bytes of journal have gathered.
    pub(super) on_growth: Box<dyn Fn() + Send>,
    /// Has the compaction thread, whose file it is, make the name of a large update durable.
    pub(super) settle: Box<dyn Fn() -> Result<(), Error> + Send>,
    pub(super) journal_bytes_max: u64,
}

impl Committer {
    /// Runs until the queue is closed and drained; then ends the journal with a seal that vouches
    /// for everything.
    pub(super) fn run(mut self) -> Result<(), Error> {
        let queue = Arc::clone(&self.queue);
        loop {
            self.gather();
            let Some(work) = queue.next_work() else { break };
            // An error means that the store is closed and this was the last attempt. To ask the
            // queue again would never end: what could not be settled stays unsettled.
            self.commit(work)?;
        }
        self.finish()
    }

    /// Waits for those whom the last commit woke. Where most of them do not come back at once it is
    /// tried less and less often.
    fn gather(&mut self) {
        let gathering = &mut self.gathering;
        let Some(expected) = gathering.expected.take() else { return };
        if gathering.skips > 0 {
            gathering.skips = gathering.skips.saturating_sub(1);
        } else if self.queue.gather(expected) {
            gathering.failures = 0;
        } else {
            gathering.failures = gathering.failures.saturating_add(1).min(GATHER_FAILURES_MAX);
            gathering.skips = (1 << gathering.failures) - 1;
        }
    }

    /// Makes the work durable, however often that takes. An error only when the store is closed and
    /// the disk still refuses.
    fn commit(&mut self, work: Work) -> Result<(), Error> {
        let mut rotate: Vec<RotateReply> = Vec::new();
        self.add(work, &mut rotate);
        let mut pause = PAUSE_FIRST;
        let mut failed = false;
        let mut attempts_when_closing: u32 = 0;
        loop {
            let error = match self.attempt(!rotate.is_empty()) {
                Ok(()) => {
                    if failed {
                        // Even if nothing was left to write: the disk takes writes again.
                        self.progress.publish(self.progress.durable_through());
                        tracing::info!("the journal is written again");
                    }
                    for reply in rotate {
                        // Nobody may be listening any more; that is theirs to decide.
                        let _sent: Result<(), mpsc::SendError<_>> = reply.send(Ok(()));
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            failed = true;
            for reply in rotate.drain(..) {
                let _sent: Result<(), mpsc::SendError<_>> = reply.send(Err(error.clone()));
            }
            if self.queue.is_closing() {
                attempts_when_closing = attempts_when_closing.saturating_add(1);
                if attempts_when_closing >= CLOSING_ATTEMPTS {
                    return Err(self.given_up(error));
                }
            }
            if !self.queue.is_closing() {
                thread::park_timeout(pause);
                pause = pause.saturating_mul(2).min(PAUSE_LONGEST);
            }
            self.progress.clear_demand();
            while let Some(work) = self.queue.take_more() {
                self.add(work, &mut rotate);
            }
        }
    }

    fn given_up(&self, cause: Error) -> Error {
        let durable = self.progress.durable_through();
        let what =
            format!("closed while the disk refused writes: what came after lsn={durable} is lost");
        Error::new(ErrorKind::Io, what)
            .at(&self.places.journal_dir)
            .next("before the next close, wait until status() is not degraded")
            .because(cause)
    }

    fn add(&mut self, work: Work, rotate: &mut Vec<RotateReply>) {
        if !work.batch.is_empty() {
            self.pending.push(work.batch);
        }
        rotate.extend(work.rotate);
    }

    /// One attempt. When it fails every waiter has been told.
    fn attempt(&mut self, rotate: bool) -> Result<(), Error> {
        if self.progress.is_unsettled()
            && let Err(error) = (self.settle)()
        {
            // The segment was not touched. It stays, even if it is empty: without it the journal
            // would end with a seal, and a kill would look like a close, which leaves no doubt.
            tracing::warn!(%error, "the snapshot with a large update may lose its name");
            self.progress.fail(&error);
            return Err(error);
        }
        let committed = self.try_commit(rotate);
        if let Err(error) = &committed {
            self.abandon_segment(error);
        }
        committed
    }

    /// A segment if there is none, one write, one sync, publish, a new segment if due.
    fn try_commit(&mut self, rotate: bool) -> Result<(), Error> {
        let bytes = self.pending.iter().map(Batch::framed_bytes).fold(0, usize::saturating_add);
        if self.segment.as_ref().is_some_and(|segment| !segment.has_room_for(bytes)) {
            self.write_batches(true, 0)?;
        }
        self.ensure_segment()?;
        let count = self.pending.len();
        let empty = count == 0 && self.segment.as_ref().is_some_and(SegmentWriter::is_empty);
        if empty {
            return Ok(()); // nothing to write, and nothing to seal
        }
        // If another batch like this one would not fit, the seal goes along with this one: one sync
        // less.
        let is_last = |segment: &SegmentWriter| !segment.has_room_for(bytes.saturating_mul(2));
        let seal = rotate || self.segment.as_ref().is_some_and(is_last);
        let started = Instant::now();
        self.write_batches(seal, count)?;
        let took = started.elapsed();
        let durable = self.pending.last().map(Batch::last_lsn);
        for batch in self.pending.drain(..) {
            self.queue.release(batch);
        }
        if let Some(durable) = durable {
            let records = self.progress.publish(durable) as u64;
            let until = Instant::now().checked_add((took / 2).min(GATHER_LONGEST));
            self.gathering.expected = until.map(|until| Expected { records, until });
        }
        self.ensure_segment()?;
        if self.segment.as_ref().is_some_and(SegmentWriter::is_half_full) {
            self.preparer.request();
        }
        if self.progress.journal_bytes() > self.journal_bytes_max {
            (self.on_growth)();
        }
        Ok(())
    }

    /// Writes the first `count` pending batches, and a seal behind them, in one write and one sync.
    fn write_batches(&mut self, seal: bool, count: usize) -> Result<(), Error> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        let durable = self.progress.durable_through();
        self.buffer.clear();
        let mut records: u64 = 0;
        let mut last = segment.last_lsn();
        for batch in self.pending.iter().take(count) {
            for (lsn, payload) in batch.payloads() {
                let kind = RecordKind::Changes;
                encode_record(&mut self.buffer, segment.seed(), kind, lsn, durable, payload);
            }
            records = records.saturating_add(batch.count());
            last = batch.last_lsn();
        }
        let crc = seal.then(|| segment.encode_seal(&mut self.buffer, records, last, durable));
        segment.write(&self.buffer, records, last)?;
        segment.sync()?;
        self.progress.add_journal_bytes(self.buffer.len() as u64);
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        }
        if let Some(crc) = crc {
            self.previous = Previous {
                segment: segment.header().segment,
                last_lsn: last,
                seal: Some(crc),
                superseded: false,
            };
            self.segment = None;
        }
        Ok(())
    }

    /// Starts the next segment if none is open. Only then may anything be acknowledged into it.
    fn ensure_segment(&mut self) -> Result<(), Error> {
        if self.segment.is_some() {
            return Ok(());
        }
        let prepared = self.preparer.take()?;
        let number = self.last_segment.saturating_add(1);
        // Used up even if the start fails: a number is never used twice.
        self.last_segment = number;
        let header = SegmentHeader {
            store_id: self.store_id,
            segment: number,
            first_lsn: self.previous.last_lsn.next(),
            created_ms: (self.now_ms)(),
            previous: self.previous,
        };
        let failed_syncs = self.folders.failed_syncs();
        let dir = &self.places.journal_dir;
        let segment = prepared.start(self.folders.as_ref(), dir, header)?;
        if let Err(error) = self.folders.check(failed_syncs, segment.path()) {
            segment.discard(self.folders.as_ref());
            return Err(error);
        }
        self.segment = Some(segment);
        self.progress.set_segment(number);
        Ok(())
    }

    /// Gives up the open segment after a failure: what it holds past `durable_through` counts no
    /// more.
    fn abandon_segment(&mut self, error: &Error) {
        let durable = self.progress.durable_through();
        if let Some(segment) = self.segment.take() {
            self.previous = Previous {
                segment: segment.header().segment,
                last_lsn: durable,
                seal: None,
                superseded: true,
            };
            tracing::warn!(
                %error, durable_through = %durable, segment = %segment.path().display(),
                "the journal could not be written; it goes on in a fresh segment"
            );
            if durable < segment.header().first_lsn {
                // Nothing in it was ever acknowledged: a disk in trouble need not keep it.
                segment.discard(self.folders.as_ref());
            }
        }
        self.progress.fail(error);
    }

    /// A seal that vouches for everything: all before it is durable by now.
    fn finish(&mut self) -> Result<(), Error> {
        let durable: Lsn = self.progress.durable_through();
        let Some(segment) = &mut self.segment else { return Ok(()) };
        self.buffer.clear();
        let last = segment.last_lsn().max(durable);
        segment.encode_seal(&mut self.buffer, 0, last, last);
        segment.write(&self.buffer, 0, last)?;
        segment.sync()
    }
}
