//! The compaction thread: a snapshot of a pinned view, then the deletion of what two snapshots
//! cover, or its move into the history.
//!
//! It never touches the open segment and never fails an append. Whatever step fails, the old files
//! stay in charge, and the next attempt comes after a growing pause.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    folders::Folders,
    jobs::{CompactionStatus, Derive, Job},
    options::Clock,
    progress::Progress,
    queue::{Applier, Queue},
    sync::{
        APPLIER_PEERS, Instant,
        mpsc::{Receiver, sync_channel},
    },
};
use crate::{
    Error, ErrorKind, Lsn, StoreId,
    history::keep::{Covered, Keeper},
    journal::{
        format::{HEADER_BYTES, SegmentHeader},
        name::{SegmentName, deletable},
    },
    snapshot::{
        Meta,
        name::parse_fallback,
        publish::{Demote, Places, Publication, remove_older_fallbacks, renew, settle},
    },
    state::{Change, State},
    vfs::{Vfs, read_full},
};

const PAUSE_FIRST: Duration = Duration::from_secs(60);
const PAUSE_LONGEST: Duration = Duration::from_secs(3600);
/// Attempts to make the name of a large update durable when the store is closed.
const CLOSING_ATTEMPTS: u32 = 3;
/// Attempts to swap in a large state between two appends.
const REPLACE_ATTEMPTS: u32 = 100;

/// Everything the compaction thread owns.
pub(super) struct Compactor {
    pub(super) folders: Arc<Folders>,
    pub(super) places: Places,
    pub(super) store_id: StoreId,
    pub(super) queue: Arc<Queue>,
    pub(super) progress: Arc<Progress>,
    pub(super) status: Arc<CompactionStatus>,
    pub(super) clock: Clock,
    pub(super) amortise_above_bytes: u64,
    /// LSN of the sound snapshot in place.
    pub(super) published: Option<Lsn>,
    /// Failed syncs of folders when its name, and that of the fallback, became durable.
    pub(super) failed_syncs: u64,
    pub(super) not_before: Option<Instant>,
    pub(super) keeper: Keeper,
    /// When the store was opened, by the wall clock and by the one that never jumps.
    pub(super) opened: (DateTime<Utc>, Instant),
}

impl Compactor {
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        if let Err(error) = self.keeper.look() {
            tracing::warn!(error = format!("{error:#}"), "the history cannot be read");
        }
        self.status.set_history(self.keeper.status());
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Compact(None) => {
                    self.status.wished.store(false, Ordering::Release);
                    if !self.is_pausing() {
                        self.told(Self::compact).ok();
                    }
                }
                Job::Compact(Some(reply)) => {
                    let result = self.told(Self::compact);
                    reply.send(result).ok();
                }
                Job::Barrier(reply) => {
                    reply.send(Ok(self.lsn())).ok();
                }
                Job::Tick(stopped, reply) => {
                    let stopped = stopped.load(Ordering::Acquire);
                    let unused = self.published.is_none() && self.queue.last_lsn() == Lsn::ZERO;
                    let idle = stopped || unused || self.is_pausing() || self.is_amortised();
                    let result = if idle { Ok(self.lsn()) } else { self.told(Self::compact) };
                    reply.send(result).ok();
                }
                Job::Replace(derive, reply) => {
                    let result = self.told(|compactor| compactor.replace(derive.as_ref()));
                    reply.send(result).ok();
                }
                Job::Settle(reply) => {
                    let settled = if self.is_in_doubt() { self.settle() } else { Ok(()) };
                    reply.send(settled.map(|()| self.lsn())).ok();
                }
                Job::Stop => return self.settle_before_the_end(),
            }
        }
    }

    /// Runs a compaction and keeps count of failures.
    fn told(
        &mut self,
        compact: impl FnOnce(&mut Self) -> Result<Lsn, Error>,
    ) -> Result<Lsn, Error> {
        let result = compact(self);
        match &result {
            Ok(_) => {
                self.status.failures.store(0, Ordering::Relaxed);
                self.not_before = None;
            }
            Err(_) if self.status.stop.load(Ordering::Relaxed) => {}
            Err(error) => {
                let before = self.status.failures.fetch_add(1, Ordering::Relaxed);
                let doublings = u32::try_from(before).unwrap_or(u32::MAX).min(6);
                let pause = PAUSE_FIRST.saturating_mul(1 << doublings).min(PAUSE_LONGEST);
                self.not_before = Instant::now().checked_add(pause);
                tracing::warn!(
                    error = format!("{error:#}"),
                    failures = before.saturating_add(1),
                    "compaction failed; the journal keeps everything"
                );
            }
        }
        result
    }

    fn is_pausing(&self) -> bool {
        self.not_before.is_some_and(|instant| Instant::now() < instant)
    }

    /// True if the snapshot is large and the journal has not grown to a tenth of it.
    fn is_amortised(&self) -> bool {
        let snapshot_bytes = self.status.snapshot_bytes.load(Ordering::Relaxed);
        snapshot_bytes > self.amortise_above_bytes
            && self.progress.journal_bytes() < snapshot_bytes / 10
    }

    /// False if somebody removed the snapshot.
    fn is_in_place(&self) -> bool {
        self.folders.metadata(&self.places.state_file).is_ok()
    }

    fn lsn(&self) -> Lsn {
        self.published.unwrap_or(Lsn::ZERO)
    }

    /// Does nothing if there is no record since the last snapshot and nothing has expired.
    fn compact(&mut self) -> Result<Lsn, Error> {
        let now = (self.clock)();
        let (state, lsn) = self.queue.view();
        if state.has_expired(now.into()) {
            match self.queue.append(&[Change::Expired { at: now.into() }]) {
                // No room for it now: what has expired goes with the next save.
                Err(error) if error.kind() == ErrorKind::Full => {}
                appended => drop(appended?),
            }
        } else if self.published == Some(lsn) && self.is_in_place() {
            if self.is_in_doubt() {
                self.settle()?;
            }
            return Ok(lsn);
        }
        // Until the view is gone that is pinned below.
        let _applier = self.applier_beside(&state);
        drop(state);
        let covered = self.progress.journal_bytes();
        let (state, lsn) = self.seal_behind_view()?;
        let demote = self.demote(lsn);
        self.publish(&state, lsn, &demote)?;
        self.progress.forget_journal_bytes(covered);
        self.clear_covered()?;
        Ok(lsn)
    }

    /// Spares those who append the copies of what the snapshot of a large state shares.
    fn applier_beside(&self, state: &State) -> Option<Applier> {
        if state.known_peers() < APPLIER_PEERS {
            return None;
        }
        let started = Applier::start(&self.queue);
        // Without it they make the copies themselves.
        started.inspect_err(|error| tracing::warn!(%error, "cannot start the applying thread")).ok()
    }

    /// Pins a view and waits until the segment behind it is sealed and durable.
    fn seal_behind_view(&mut self) -> Result<(State, Lsn), Error> {
        if self.is_in_doubt() {
            // Before the snapshot in place becomes a fallback. And the commit thread, which waits
            // for this thread to settle a large update, seals nothing before.
            self.settle()?;
        }
        let (reply, sealed) = sync_channel(1);
        let pinned = self.queue.rotate(reply)?;
        sealed.recv().map_err(|_| super::progress::closed())??;
        Ok(pinned)
    }

    fn demote(&self, lsn: Lsn) -> Demote {
        match self.published {
            Some(published) if published < lsn => Demote::fallback(published),
            _ => Demote::Nothing,
        }
    }

    fn publish(&mut self, state: &State, lsn: Lsn, demote: &Demote) -> Result<(), Error> {
        self.put_in_place(state, lsn, demote)?;
        self.settle()
    }

    /// True if a power cut could take the name of a snapshot back, as far as this thread knows.
    fn is_in_doubt(&self) -> bool {
        self.failed_syncs != self.folders.failed_syncs()
    }

    /// Makes the names of the snapshots durable: by a sync of the folder, or if any such sync has
    /// failed since they last were, by new files under the same names.
    fn settle(&mut self) -> Result<(), Error> {
        let before = self.folders.failed_syncs();
        if before == self.failed_syncs {
            settle(self.folders.as_ref(), &self.places)?;
        } else if !renew(self.folders.as_ref(), &self.places)? && self.progress.is_unsettled() {
            let what = "the snapshot with the large update cannot be read";
            return Err(Error::new(ErrorKind::Io, what)
                .at(&self.places.state_file)
                .next("make the update again, or look at the disk"));
        }
        self.folders.check(before, &self.places.state_file)?;
        self.failed_syncs = before;
        self.progress.settled();
        Ok(())
    }

    /// Nobody asks this thread any more, and the commit thread has nobody else to ask.
    fn settle_before_the_end(&mut self) {
        let mut attempts = 0;
        while self.is_in_doubt() && attempts < CLOSING_ATTEMPTS {
            if let Err(error) = self.settle() {
                tracing::warn!(error = format!("{error:#}"), "a snapshot's name is in doubt");
            }
            attempts += 1;
        }
    }

    fn put_in_place(&mut self, state: &State, lsn: Lsn, demote: &Demote) -> Result<(), Error> {
        let meta = Meta {
            store_id: self.store_id,
            lsn,
            segment: self.progress.segment(),
            saved_at: (self.clock)(),
        };
        let status = Arc::clone(&self.status);
        let stop = move || status.stop.load(Ordering::Relaxed);
        let (vfs, places) = (self.folders.as_ref(), &self.places);
        let publication = Publication { vfs, places, state, meta: &meta, demote, stop: &stop };
        let bytes = publication.put_in_place()?;
        self.published = Some(lsn);
        self.status.set_saved_at(meta.saved_at);
        self.status.snapshot_lsn.store(lsn.get(), Ordering::Relaxed);
        self.status.snapshot_bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Deletes the segments and snapshots that are not needed any more, or moves them into the
    /// history: what two published snapshots cover, the newest and the fallback.
    fn clear_covered(&mut self) -> Result<(), Error> {
        let dir = &self.places.journal_dir;
        let failed = |path: &Path, error| Error::io("cannot clean the journal folder", path, error);
        let mut segments = Vec::new();
        // From the folder, not from memory: what is deleted must be in two files that are there.
        let mut fallbacks = Vec::new();
        for entry in self.folders.list(dir).map_err(|error| failed(dir, error))? {
            let Some(name) = entry.name.to_str() else { continue };
            if let Some(called) = SegmentName::parse(name) {
                let path = dir.join(name);
                let (name, made) = self.true_name(&path, called);
                segments.push((name, path, made));
            }
            fallbacks.extend(parse_fallback(name).filter(|lsn| *lsn < self.lsn()));
        }
        fallbacks.sort_unstable();
        let Some(fallback) = fallbacks.pop() else { return Ok(()) };
        segments.sort_unstable();
        let names: Vec<_> = segments.iter().map(|(name, ..)| *name).collect();
        let deletable = deletable(&names, fallback);
        let (covered, others): (Vec<_>, Vec<_>) =
            segments.into_iter().partition(|(name, ..)| deletable.contains(name));
        let covered = Covered {
            segments: covered.into_iter().map(|(name, path, _)| (name, path)).collect(),
            snapshots: fallbacks,
            behind: others.first().and_then(|(.., made)| *made),
        };
        let kept = self.keeper.keep(&covered, self.now_without_jumps());
        self.status.set_history(self.keeper.status());
        match kept {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => {
                // What is covered stays where it is, and is tried again next time.
                let error = format!("{error:#}");
                tracing::warn!(error, "files were not moved into the history");
                return Ok(());
            }
        }
        let dir = &self.places.journal_dir;
        // One file that cannot be removed must not keep the others.
        let mut result = Ok(());
        for (_, path) in &covered.segments {
            result = result.and(self.folders.remove(path).map_err(|error| failed(path, error)));
        }
        result.and(remove_older_fallbacks(self.folders.as_ref(), dir, fallback))
    }

    /// The wall clock, but for steps ahead since the store was opened: a wrong clock must not make
    /// the history old.
    fn now_without_jumps(&self) -> DateTime<Utc> {
        let (wall, steady) = self.opened;
        let passed = TimeDelta::from_std(steady.elapsed()).unwrap_or(TimeDelta::MAX);
        let latest = wall.checked_add_signed(passed).unwrap_or(DateTime::<Utc>::MAX_UTC);
        (self.clock)().min(latest)
    }

    /// What a segment's header says it is: a file that somebody renamed must not be taken for
    /// another. And when it was made.
    /// Where that cannot be read the name has to do.
    fn true_name(&self, path: &Path, called: SegmentName) -> (SegmentName, Option<DateTime<Utc>>) {
        let mut bytes = [0; HEADER_BYTES];
        let read = self.folders.open_read_only(path);
        if let Err(error) = read.and_then(|file| read_full(file.as_ref(), 0, &mut bytes)) {
            tracing::warn!(%error, path = %path.display(), "a segment header cannot be read");
        }
        match SegmentHeader::decode(&bytes) {
            Ok(header) if header.store_id == self.store_id => {
                let SegmentHeader { segment, first_lsn, created_ms, .. } = header;
                let made = DateTime::from_timestamp_millis(created_ms);
                (SegmentName { segment, first_lsn }, made)
            }
            _ => (called, None),
        }
    }

    /// Publishes a new state as of the next LSN, twice, so that two snapshots hold it: no record
    /// does.
    fn replace(&mut self, derive: &Derive) -> Result<Lsn, Error> {
        for _ in 0..REPLACE_ATTEMPTS {
            let (current, lsn) = self.seal_behind_view()?;
            let next = derive(&current)?;
            let demote = self.demote(lsn.next());
            let queue = Arc::clone(&self.queue);
            let replaced = queue
                .replace(lsn, next.clone(), |state, lsn| self.put_in_place(state, lsn, &demote))?;
            let Some(lsn) = replaced else { continue };
            self.progress.forget_journal_bytes(u64::MAX);
            // It has its name, so the state in memory follows it whatever comes now: else the next
            // record would get a number that a snapshot covers.
            if let Err(error) = self.settle() {
                // Whoever waits for this or a later change makes the commit thread try again.
                self.progress.fail(&error);
                return Err(error);
            }
            // Without its twin the next snapshot gives the update its second home.
            if let Err(error) = self.publish(&next, lsn, &Demote::fallback(lsn)) {
                tracing::warn!(error = format!("{error:#}"), "the second snapshot was not written");
            } else if let Err(error) = self.clear_covered() {
                tracing::warn!(error = format!("{error:#}"), "old files were not removed");
            }
            return Ok(lsn);
        }
        Err(Error::new(
            ErrorKind::Full,
            "other changes kept coming in between; the large update was not made",
        )
        .next("pause the other writers, or make the update in smaller parts"))
    }
}
