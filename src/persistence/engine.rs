//! One open store: recovery, the lock, and the threads from start to close.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use chrono::{DateTime, Utc};

use super::{
    commit::{Committer, Gathering},
    compact::Compactor,
    ending::Ending,
    folders::Folders,
    holder,
    jobs::{Job, Jobs},
    options::{Builder, no_store},
    preparer::{FIRST_SEGMENT_BYTES, Preparer},
    progress::Progress,
    queue::Queue,
    sync::{AtomicBool, Instant, mpsc::Receiver, thread},
};
use crate::{
    Error, ErrorKind, Lsn, StoreId,
    history::keep::Keeper,
    ids::NUMBER_MAX,
    journal::{
        format::{Previous, SegmentHeader},
        name::prepared_name,
        segment::{Prepared, SegmentWriter},
    },
    recovery::{
        self, Base, Recovered,
        report::{Outcome, RecoveryReport},
    },
    snapshot::{
        Meta,
        name::{VERSION_1_NAME, fallback_name},
        publish::{Demote, Places, Publication},
    },
    state::{Change, State},
    vfs::{Vfs, VfsLock},
};

/// See the module.
pub(super) struct Engine {
    pub(super) queue: Arc<Queue>,
    pub(super) progress: Arc<Progress>,
    pub(super) vfs: Arc<dyn Vfs>,
    pub(super) places: Places,
    pub(super) store_id: StoreId,
    pub(super) report: RecoveryReport,
    pub(super) jobs: Jobs,
    ending: Arc<Ending>,
}

impl Engine {
    /// Locks, recovers, repairs, starts a new segment, and starts the threads.
    pub(super) fn open(options: &Builder) -> Result<Self, Error> {
        let vfs = Arc::clone(&options.vfs);
        let places = Places::new(&options.state_file);
        let lock = holder::acquire(vfs.as_ref(), &places, (options.clock)())?;
        recovery::sync_before_reading(vfs.as_ref(), &places)?;
        let mut recovered = recovery::examine(
            vfs.as_ref(),
            &places,
            options.limits,
            options.on_damage,
            Base::Taken,
        )?;
        if options.must_exist && recovered.report.outcome == Outcome::FirstRun {
            return Err(no_store(&places));
        }
        refuse_absurd_numbers(&recovered, &places)?;
        let previous = recovered.repair(vfs.as_ref(), &places, (options.clock)())?;
        let store_id = match recovered.store_id {
            Some(store_id) => store_id,
            None => new_store_id()?,
        };
        let mut published = recovered.snapshot_lsn.filter(|_| recovered.snapshot_in_place);
        if recovered.starts_from_nothing() {
            published = publish_first(options, &places, &recovered, store_id)?;
        }
        let segment = start_first_segment(options, &places, store_id, previous, &recovered)?;
        recovered.remove_unborn(vfs.as_ref())?;
        log_report(&recovered.report);
        Self::start(options, places, lock, recovered, store_id, segment, published)
    }

    fn start(
        options: &Builder,
        places: Places,
        lock: Box<dyn VfsLock>,
        recovered: Recovered,
        store_id: StoreId,
        segment: SegmentWriter,
        published: Option<Lsn>,
    ) -> Result<Self, Error> {
        let progress = Arc::new(Progress::new(recovered.last_lsn, recovered.journal_bytes));
        let mut queue = Queue::new(
            recovered.state.clone(),
            recovered.last_lsn,
            &progress,
            options.sync_within,
            options.unsynced_bytes_max,
        );
        queue.update_bytes_max = options.update_bytes_max;
        let queue = Arc::new(queue);
        let (jobs, job_queue) = Jobs::new();
        let snapshot = options.vfs.metadata(&places.state_file);
        let snapshot_bytes = snapshot.map(|entry| entry.len).unwrap_or_default();
        jobs.status.snapshot_bytes.store(snapshot_bytes, Ordering::Relaxed);
        jobs.status.snapshot_lsn.store(published.unwrap_or(Lsn::ZERO).get(), Ordering::Relaxed);
        jobs.status.set_saved_at(recovered.saved_at);
        let wants_snapshot = recovered.wants_snapshot();
        let names_in_doubt = recovered.names_in_doubt;
        let engine = Self {
            queue,
            progress,
            vfs: Arc::clone(&options.vfs),
            places,
            store_id,
            report: recovered.report,
            jobs,
            ending: Arc::new(Ending::new(lock)),
        };
        let started = engine
            .start_threads(options, segment, published, names_in_doubt, job_queue)
            .map_err(|error| {
                Error::io("cannot start a thread for the store", &engine.places.state_file, error)
            })
            .and_then(|()| engine.drop_expired(&recovered.state, (options.clock)()));
        if let Err(error) = started {
            // What runs by now must end before the lock is released.
            if let Err(closing) = engine.close() {
                tracing::warn!(error = format!("{closing:#}"), "the store was not closed cleanly");
            }
            return Err(error);
        }
        if wants_snapshot {
            engine.jobs.wish();
        }
        Ok(engine)
    }

    fn drop_expired(&self, state: &State, now: DateTime<Utc>) -> Result<(), Error> {
        if state.has_expired(now.into()) {
            self.queue.append(&[Change::Expired { at: now.into() }])?;
        }
        Ok(())
    }

    fn start_threads(
        &self,
        options: &Builder,
        segment: SegmentWriter,
        published: Option<Lsn>,
        names_in_doubt: bool,
        jobs: Receiver<Job>,
    ) -> std::io::Result<()> {
        let clock = Arc::clone(&options.clock);
        let (wishes, jobs_to_settle) = (self.jobs.clone(), self.jobs.clone());
        let progress = Arc::clone(&self.progress);
        let folders = Arc::new(Folders::new(Arc::clone(&self.vfs)));
        let vfs: Arc<dyn Vfs> = Arc::clone(&folders) as Arc<dyn Vfs>;
        self.progress.set_segment(segment.header().segment);
        let committer = Committer {
            queue: Arc::clone(&self.queue),
            progress: Arc::clone(&self.progress),
            folders: Arc::clone(&folders),
            places: self.places.clone(),
            store_id: self.store_id,
            now_ms: Arc::new(move || clock().timestamp_millis()),
            preparer: Preparer::new(&vfs, &self.places.journal_dir, options.segment_bytes),
            previous: Previous::default(),
            last_segment: segment.header().segment,
            segment: Some(segment),
            pending: Vec::new(),
            buffer: Vec::new(),
            gathering: Gathering::default(),
            on_growth: Box::new(move || wishes.wish()),
            settle: Box::new(move || jobs_to_settle.settle(&progress)),
            journal_bytes_max: options.journal_bytes_max,
        };
        let compactor = Compactor {
            folders,
            places: self.places.clone(),
            store_id: self.store_id,
            queue: Arc::clone(&self.queue),
            progress: Arc::clone(&self.progress),
            status: Arc::clone(&self.jobs.status),
            clock: Arc::clone(&options.clock),
            amortise_above_bytes: options.amortise_above_bytes,
            published,
            // A number that is not reached stands for the failures before this opening.
            failed_syncs: if names_in_doubt { u64::MAX } else { 0 },
            not_before: None,
            keeper: Keeper::new(vfs, self.places.clone(), self.store_id, options.history),
            opened: ((options.clock)(), Instant::now()),
        };
        let named = |name: &str| thread::Builder::new().name(name.into());
        let committer = named("peer-journal-commit").spawn(move || committer.run())?;
        self.progress.set_committer(committer.thread().clone());
        self.ending.add_committer(committer);
        let compactor = named("peer-journal-compact").spawn(move || compactor.run(&jobs))?;
        self.ending.add_compactor(compactor);
        Ok(())
    }

    /// A snapshot now; returns its LSN. Blocks.
    pub(super) fn compact(&self) -> Result<Lsn, Error> {
        self.jobs.ask(|reply| Job::Compact(Some(reply)))
    }

    /// An auto-save: does nothing if nothing changed, or if `stopped` by then. Blocks.
    pub(super) fn tick(&self, stopped: Arc<AtomicBool>) -> Result<Lsn, Error> {
        self.jobs.ask(|reply| Job::Tick(stopped, reply))
    }

    /// Waits until the compaction thread has done all that was asked before. Blocks.
    pub(super) fn barrier(&self) -> Result<Lsn, Error> {
        self.jobs.ask(Job::Barrier)
    }

    /// Makes what `derive` gives the state, by a snapshot. Blocks.
    pub(super) fn replace(
        &self,
        derive: impl Fn(&State) -> Result<State, Error> + Send + 'static,
    ) -> Result<Lsn, Error> {
        self.jobs.ask(|reply| Job::Replace(Box::new(derive), reply))
    }

    /// Syncs what is unsynced, ends the journal with a seal, stops the threads and releases the
    /// lock. A second call gives the first one's result.
    pub(super) fn close(&self) -> Result<(), Error> {
        self.ending.close(&self.jobs, &self.queue)
    }
}

/// Numbers that no store reaches come from files that somebody made. Nothing is altered.
fn refuse_absurd_numbers(recovered: &Recovered, places: &Places) -> Result<(), Error> {
    let number = recovered.last_segment.max(recovered.last_lsn.get());
    if number <= NUMBER_MAX / 2 {
        return Ok(());
    }
    Err(Error::limit(format!("the files state a number that no store reaches: {number}"))
        .at(&places.state_file)
        .next("restore a backup, or move the files away and start anew"))
}

fn new_store_id() -> Result<StoreId, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Io, "the operating system gives no random bytes").because(error)
    })?;
    Ok(StoreId::from_bytes(bytes))
}

/// The first snapshot of a store, before its first segment exists. Gives the LSN of what is in
/// place then.
///
/// That of an empty store goes to the fallback's place: the store's id, without which no record
/// verifies, is then never in one file only. A version 1 file is kept and taken over by two
/// snapshots, because no record holds what it said.
fn publish_first(
    options: &Builder,
    places: &Places,
    recovered: &Recovered,
    store_id: StoreId,
) -> Result<Option<Lsn>, Error> {
    let meta = Meta { store_id, lsn: Lsn::ZERO, segment: 0, saved_at: (options.clock)() };
    let publish = |places: &Places, demote: Demote| {
        let (vfs, state) = (options.vfs.as_ref(), &recovered.state);
        let (meta, demote, stop) = (&meta, &demote, &|| false);
        Publication { vfs, places, state, meta, demote, stop }.publish()
    };
    if recovered.migrate {
        publish(places, Demote::Keep(VERSION_1_NAME.into()))?;
        publish(places, Demote::fallback(Lsn::ZERO))?;
        return Ok(Some(Lsn::ZERO));
    }
    let state_file = places.journal_dir.join(fallback_name(Lsn::ZERO));
    publish(&Places { state_file, ..places.clone() }, Demote::Nothing)?;
    Ok(None)
}

fn start_first_segment(
    options: &Builder,
    places: &Places,
    store_id: StoreId,
    previous: Previous,
    recovered: &Recovered,
) -> Result<SegmentWriter, Error> {
    let vfs = options.vfs.as_ref();
    let dir = &places.journal_dir;
    let path: PathBuf = dir.join(prepared_name(0));
    // Small, so that opening does not wait for megabytes of zeros.
    let capacity = FIRST_SEGMENT_BYTES.min(options.segment_bytes);
    let header = SegmentHeader {
        store_id,
        segment: recovered.last_segment.saturating_add(1),
        first_lsn: recovered.last_lsn.next(),
        created_ms: (options.clock)().timestamp_millis(),
        previous,
    };
    Prepared::create(vfs, &path, capacity, &|| false)?.start(vfs, dir, header)
}

fn log_report(report: &RecoveryReport) {
    if report.is_damaged() {
        tracing::warn!("{report}");
    } else {
        tracing::info!("{report}");
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("places", &self.places)
            .field("store_id", &self.store_id)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}
