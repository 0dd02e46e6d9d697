//! The state as it was: from the best snapshot at or before an LSN, and the records up to it.

use std::io;

use chrono::{DateTime, Utc};

use super::{
    Reader,
    index::{Index, SegmentRef, Span},
    segment::Times,
};
use crate::{
    Error, ErrorKind, Lsn, LsnRange, View,
    journal::format::{HEADER_BYTES, RECORD_HEADER_BYTES, RecordKind, SEAL_BYTES, decode_record},
    snapshot::read::{Reading, SNAPSHOT_BYTES_MAX, read},
    state::State,
    vfs::{read_file, read_full},
};

impl Reader {
    /// The oldest LSN whose state can be had: every one from here to that of
    /// [`view`](Self::view) is restorable. Reads no record.
    ///
    /// # Errors
    /// `Io` if the folders cannot be read, `NewerVersion`.
    pub fn oldest_restorable(&self) -> Result<Lsn, Error> {
        Ok(oldest(&self.index()?, self.base()))
    }

    /// The state as of a record: with it and all before it, and nothing after it.
    ///
    /// Where records were lost, the state is what recovery made of the rest.
    ///
    /// # Errors
    /// [`Compacted`](ErrorKind::Compacted) if the records before it are gone; the message names the
    /// oldest restorable point. [`Invalid`](ErrorKind::Invalid) if there is no such record yet.
    /// `Io`, `NewerVersion`.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), peer_journal::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("p2p-state.json");
    /// # let store = peer_journal::P2PStatePersistence::open(&path)?;
    /// let lsn = store.dht_put("key", b"old")?.wait()?;
    /// store.dht_put("key", b"new")?.wait()?;
    /// let view = peer_journal::Reader::open(&path)?.state_at(lsn)?;
    /// assert_eq!(&*view.state().dht_entry("key").unwrap().value, b"old");
    /// # Ok(())
    /// # }
    /// ```
    pub fn state_at(&self, lsn: Lsn) -> Result<View, Error> {
        let last = self.view().lsn();
        if lsn > last {
            let what = format!("there is no record lsn={lsn}; the last is lsn={last}");
            return Err(Error::invalid(what).at(self.state_file()).next("name an earlier one"));
        }
        if lsn == last {
            return Ok(self.view().clone());
        }
        let index = self.index()?;
        let oldest = oldest(&index, self.base());
        if lsn < oldest {
            return Err(gone(lsn, oldest).at(self.state_file()));
        }
        let (mut state, from) = self.start(&index, lsn, oldest)?;
        let mut reached = from;
        for entry in self.log(from.next()..=lsn)? {
            match entry {
                Ok(record) if record.is_large_update => return Err(gone(lsn, record.lsn)),
                Ok(record) => {
                    self.excuse(LsnRange { first: reached.next(), last: record.lsn.previous() })?;
                    reached = record.lsn;
                    // As in recovery, a record that a limit keeps out is left out.
                    drop(state.apply_all(&record.changes));
                }
                // Whether it matters is told by the next record's number.
                Err(error) if error.kind() == ErrorKind::Corrupt => {}
                Err(error) => return Err(error),
            }
        }
        self.excuse(LsnRange { first: reached.next(), last: lsn })?;
        Ok(View::new(state, lsn))
    }

    /// The last record that was written at or before a time, as far as the files tell: see
    /// [`LogRecord::at`](super::LogRecord::at).
    ///
    /// # Errors
    /// [`Compacted`](ErrorKind::Compacted) if the time lies before the oldest restorable point.
    /// `Io`, `NewerVersion`.
    pub fn lsn_at(&self, time: DateTime<Utc>) -> Result<Lsn, Error> {
        let index = self.index()?;
        let oldest = oldest(&index, self.base());
        let in_reach = |segment: &&SegmentRef| segment.limit >= oldest;
        let segments: Vec<&SegmentRef> = index.segments.iter().filter(in_reach).collect();
        let made_by = |segment: &&&SegmentRef| segment.created().is_some_and(|at| at <= time);
        let Some(segment) = segments.iter().rev().find(made_by) else {
            if segments.is_empty() && time >= self.saved_at() {
                return Ok(self.view().lsn());
            }
            let since = segments.iter().find_map(|segment| segment.created());
            let what = match since {
                Some(since) => format!("the journal begins at {since}, lsn={oldest}"),
                None => format!("the journal begins at lsn={oldest}"),
            };
            return Err(Error::new(ErrorKind::Compacted, what)
                .at(self.state_file())
                .next("name a later time; `keep_history` keeps more"));
        };
        let mut found = segment.name.first_lsn.previous().max(oldest);
        let mut times = Times::of(segment);
        let range = segment.name.first_lsn..=segment.limit;
        for record in
            self.journal().source().entries(&index, segment, &range)?.into_iter().flatten()
        {
            times.tell(&record.changes);
            if times.latest().is_some_and(|latest| latest > time) {
                break;
            }
            found = found.max(record.lsn);
        }
        Ok(found.min(self.view().lsn()))
    }

    /// Records may be missing only where recovery goes on without them.
    fn excuse(&self, missing: LsnRange) -> Result<(), Error> {
        let lost = &self.report().lost;
        let excused = |range: &LsnRange| range.first <= missing.first && missing.last <= range.last;
        if missing.first > missing.last || lost.iter().any(excused) {
            return Ok(());
        }
        let what = format!("{missing} cannot be read, and with it no state from there on");
        Err(Error::new(ErrorKind::Corrupt, what)
            .at(self.journal_dir())
            .next("name an LSN before it, or the one of a later snapshot"))
    }

    /// The files there are now, with what is known of the records in them.
    fn index(&self) -> Result<Index, Error> {
        let mut index = self.journal().source().index()?;
        index.read_heads(self.vfs())?;
        for segment in &mut index.segments {
            segment.span = if segment.is_history {
                self.sealed_span(segment)
            } else {
                let mut seen = self.recovered().inventory.segments.iter();
                let seen = seen.find(|seen| seen.name.segment == segment.name.segment);
                seen.map_or(Span::Unknown, |seen| {
                    let first = seen.scan.runs.first().map(|run| run.first);
                    match first.zip(seen.scan.last_lsn()) {
                        Some((first, last)) => Span::Records(first, last),
                        None => Span::Empty,
                    }
                })
            };
        }
        Ok(index)
    }

    /// A segment of the history ends with its seal, which counts the records.
    fn sealed_span(&self, segment: &SegmentRef) -> Span {
        let span = || {
            let header = segment.header?;
            let file = self.vfs().open_read_only(&segment.path).ok()?;
            let mut bytes = [0; SEAL_BYTES];
            let offset = file.len().ok()?.checked_sub(SEAL_BYTES as u64)?;
            read_full(file.as_ref(), offset, &mut bytes).ok()?;
            let seal = decode_record(&bytes, header.seed())?;
            let count = u64::from_le_bytes(*seal.payload.first_chunk::<8>()?);
            let mut head = [0; RECORD_HEADER_BYTES];
            read_full(file.as_ref(), HEADER_BYTES as u64, &mut head).ok()?;
            let first = Lsn::new(u64::from_le_bytes(*head.get(8..)?.first_chunk::<8>()?));
            Some(match (seal.kind, count) {
                (RecordKind::Seal, 0) => Span::Empty,
                (RecordKind::Seal, count) => {
                    let last = first.get().saturating_add(count).saturating_sub(1);
                    Span::Records(first, Lsn::new(last))
                }
                _ => Span::Unknown,
            })
        };
        span().unwrap_or(Span::Unknown)
    }

    /// LSN of the snapshot that the view starts from.
    fn base(&self) -> Lsn {
        self.recovered().snapshot_lsn.unwrap_or(Lsn::ZERO)
    }

    /// The state of the best snapshot at or before `lsn`.
    fn start(&self, index: &Index, lsn: Lsn, oldest: Lsn) -> Result<(State, Lsn), Error> {
        let inventory = &self.recovered().inventory;
        let loaded = inventory.snapshot.loaded().filter(|loaded| loaded.meta.lsn <= lsn);
        let named = index.snapshots.iter().rev().filter(|snapshot| {
            (oldest..=lsn).contains(&snapshot.lsn)
                && loaded.is_none_or(|loaded| snapshot.lsn > loaded.meta.lsn)
        });
        let mut removed = None;
        for snapshot in named {
            let bytes = match read_file(self.vfs(), &snapshot.path, SNAPSHOT_BYTES_MAX) {
                Ok(bytes) => bytes,
                Err(error) => {
                    if error.kind() == io::ErrorKind::NotFound {
                        removed = Some(&snapshot.path);
                    }
                    continue;
                }
            };
            match read(&bytes, self.limits) {
                Reading::Whole(found) if Some(found.meta.store_id) == index.store_id => {
                    return Ok((found.state, found.meta.lsn));
                }
                // A damaged one costs a longer way from the one before it.
                _ => {}
            }
        }
        if let Some(loaded) = loaded {
            return Ok((loaded.state.clone(), loaded.meta.lsn));
        }
        if oldest == Lsn::ZERO {
            return Ok((State::new(self.limits), Lsn::ZERO));
        }
        if let Some(path) = removed {
            // By a compaction, since the folder was listed.
            let what = format!("the snapshot that lsn={lsn} is reached from was removed meanwhile");
            let gone = Error::new(ErrorKind::Compacted, what).at(path);
            return Err(gone.next("read the store again"));
        }
        let what = format!("the snapshot that lsn={lsn} is reached from cannot be read");
        Err(Error::new(ErrorKind::Corrupt, what)
            .at(&self.places().journal_dir)
            .next("look at `files()` for what is wrong with it"))
    }
}

fn gone(lsn: Lsn, oldest: Lsn) -> Error {
    let what =
        format!("lsn={lsn} cannot be restored any more; the oldest that can is lsn={oldest}");
    Error::new(ErrorKind::Compacted, what).next("name a later one; `keep_history` keeps more")
}

/// The oldest LSN from which on every state can be had. `base` is the newest snapshot.
fn oldest(index: &Index, base: Lsn) -> Lsn {
    let reach = chain_start(&index.segments);
    // What no record holds can only be had from a snapshot of that very LSN.
    let holes: Vec<LsnRange> = index.segments.iter().flat_map(holes).collect();
    let joins = |older: Lsn, newer: Lsn| {
        let between = LsnRange { first: older.next(), last: newer.previous() };
        let missing =
            |hole: &LsnRange| hole.first.max(between.first) <= hole.last.min(between.last);
        reach <= older.next() && !holes.iter().any(missing)
    };
    let mut oldest = base;
    let lsns = index.snapshots.iter().map(|snapshot| snapshot.lsn);
    for lsn in lsns.rev().chain([Lsn::ZERO]) {
        if lsn >= oldest {
            continue;
        }
        if !joins(lsn, oldest) {
            break;
        }
        oldest = lsn;
    }
    oldest
}

/// The numbers that belong to a segment and that none of its records has.
fn holes(segment: &SegmentRef) -> impl Iterator<Item = LsnRange> {
    let (from, to) = (segment.name.first_lsn, segment.limit);
    let is_newest = to == Lsn::new(u64::MAX);
    let (before, behind) = match segment.span {
        Span::Unknown => (None, None),
        Span::Empty => (None, Some(LsnRange { first: from, last: to })),
        Span::Records(first, last) => (
            Some(LsnRange { first: from, last: first.previous() }),
            Some(LsnRange { first: last.next(), last: to }),
        ),
    };
    let behind = behind.filter(|_| !is_newest);
    [before, behind].into_iter().flatten().filter(|hole| hole.first <= hole.last)
}

/// The first LSN from which on the segments follow each other without one missing.
fn chain_start(segments: &[SegmentRef]) -> Lsn {
    let mut start = Lsn::new(u64::MAX);
    let mut later: Option<&SegmentRef> = None;
    for segment in segments.iter().rev() {
        let follows = later.and_then(|later| later.header).is_none_or(|header| {
            let cited = header.previous.segment == segment.name.segment;
            // One in which nothing became durable was removed: nothing is missing with it.
            let empty = header.first_lsn == segment.name.first_lsn;
            cited
                || empty
                || header.previous.segment == 0
                || matches!(segment.span, Span::Records(_, last) if last.next() >= header.first_lsn)
        });
        if !follows {
            break;
        }
        start = segment.name.first_lsn;
        later = Some(segment);
    }
    start
}
