//! Following a journal from another process: the caller polls at a pace of its own.

use std::{collections::VecDeque, fmt, io, sync::Arc};

use super::{
    index::{Index, SegmentRef},
    segment::{Entry, LogRecord, Source, Times, entry},
};
use crate::{
    Error, ErrorKind, Lsn, StoreId, history,
    journal::format::{
        HEADER_BYTES, PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES, RecordKind, Seed, decode_record,
    },
    vfs::{VfsFile, read_full},
};

/// Read at once; a larger record is read whole.
const CHUNK_BYTES: usize = 64 << 10;

/// Every record after an LSN, as it is written; made by [`follow`](super::Journal::follow).
///
/// It keeps its place when segments are rotated, moved into the history or deleted. It shows
/// records that are written but perhaps not synced yet: after a power cut their numbers may be
/// given to others. [`changes_since`](crate::P2PStatePersistence::changes_since) shows only durable
/// ones.
pub struct Follow {
    source: Source,
    /// Number of the record to deliver next.
    next: Lsn,
    at: Option<Position>,
    waiting: VecDeque<Entry>,
}

struct Position {
    segment: SegmentRef,
    file: Box<dyn VfsFile>,
    seed: Seed,
    offset: u64,
    times: Times,
}

impl Follow {
    pub(super) fn new(source: Source, after: Lsn) -> Self {
        Self { source, next: after.next(), at: None, waiting: VecDeque::new() }
    }

    /// The records written since the last call; none if there are none yet. After a long pause the
    /// first call may not give all of them: call again until it gives none, then wait.
    ///
    /// # Errors
    /// `Compacted` if the next records have been deleted, `Corrupt` if they cannot be read; each
    /// once: the following call goes on with what there is. `Io` if the disk refuses,
    /// `NewerVersion`.
    pub fn poll(&mut self) -> Result<Vec<LogRecord>, Error> {
        if self.waiting.is_empty() {
            self.read()?;
        }
        let mut records = Vec::new();
        while let Some(entry) = self.waiting.pop_front() {
            match entry {
                Ok(record) => records.push(record),
                Err(error) if records.is_empty() => return Err(error),
                Err(error) => {
                    self.waiting.push_front(Err(error));
                    break;
                }
            }
        }
        Ok(records)
    }

    fn read(&mut self) -> Result<(), Error> {
        loop {
            let mut position = match self.at.take() {
                Some(position) => position,
                None => match self.find()? {
                    Some(position) => position,
                    None => return Ok(()),
                },
            };
            self.read_chunk(&mut position)?;
            if !self.waiting.is_empty() {
                self.at = Some(position);
                return Ok(());
            }
            let index = self.source.index()?;
            let Some(later) = index.after(&position.segment) else {
                self.skip_damage(&index, &mut position)?;
                self.at = Some(position);
                return Ok(());
            };
            // It is finished. What came between the last look and the rotation comes first.
            self.read_chunk(&mut position)?;
            if !self.waiting.is_empty() {
                self.at = Some(position);
                return Ok(());
            }
            let mut finished = position.segment;
            finished.limit = finished.limit.min(later.name.first_lsn.previous());
            if self.next <= finished.limit {
                let range = self.next..=finished.limit;
                self.waiting = self.source.entries(&index, &finished, &range)?;
                self.next = finished.limit.next();
            }
            if !self.waiting.is_empty() {
                return Ok(());
            }
        }
    }

    /// The segment that holds the next record: the latest that starts at or before it. `None` if
    /// there is none yet.
    fn find(&mut self) -> Result<Option<Position>, Error> {
        let index = self.source.index()?;
        let Some(oldest) = index.segments.first() else { return Ok(None) };
        if oldest.name.first_lsn > self.next {
            let gone = Error::new(
                ErrorKind::Compacted,
                format!("record lsn={} is not in the journal any more", self.next),
            );
            self.next = oldest.name.first_lsn;
            return Err(gone.next("take a view, or go on from the oldest record there is"));
        }
        let segment = index.segments.iter().rev().find(|s| s.name.first_lsn <= self.next);
        let Some(mut segment) = segment.cloned() else { return Ok(None) };
        if segment.header.is_none() {
            segment.read_head(self.source.vfs.as_ref())?;
        }
        let moved = history::dir(&self.source.places).join(segment.name.to_string());
        let listed = Arc::clone(&segment.path);
        for path in [&*listed, &*moved] {
            match self.source.vfs.open_read_only(path) {
                Ok(file) => {
                    let id = index.store_id.unwrap_or(StoreId::from_bytes([0; 16]));
                    let seed = Seed::new(&id, segment.name.segment);
                    let (offset, times) = (HEADER_BYTES as u64, Times::of(&segment));
                    return Ok(Some(Position { segment, file, seed, offset, times }));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("cannot read a journal segment", path, error)),
            }
        }
        // Deleted since it was listed: the next look finds what is left.
        Ok(None)
    }

    /// Reads on in the open segment; stops at the first bytes that are no record yet.
    fn read_chunk(&mut self, position: &mut Position) -> Result<(), Error> {
        let mut chunk_bytes = CHUNK_BYTES;
        loop {
            let mut chunk = vec![0; chunk_bytes];
            let filled = read_full(position.file.as_ref(), position.offset, &mut chunk).map_err(
                |error| Error::io("cannot read a journal segment", &position.segment.path, error),
            )?;
            chunk.truncate(filled);
            let mut rest = chunk.as_slice();
            while let Some(record) = decode_record(rest, position.seed) {
                let seals = record.kind == RecordKind::Seal;
                if seals || record.lsn > position.segment.limit || record.lsn > self.next {
                    // A hole is judged with the whole segment at hand.
                    return self.judge_hole(position, record.lsn, seals);
                }
                if record.lsn == self.next {
                    let (segment, times) = (&position.segment, &mut position.times);
                    self.waiting.extend(entry(segment, times, &record, position.offset, None));
                    self.next = record.lsn.next();
                }
                position.offset = position.offset.saturating_add(record.bytes() as u64);
                rest = rest.get(record.bytes()..).unwrap_or_default();
            }
            if !self.waiting.is_empty() || filled < chunk_bytes || chunk_bytes > PAYLOAD_BYTES_MAX {
                return Ok(());
            }
            if rest.len() == chunk.len() {
                chunk_bytes =
                    PAYLOAD_BYTES_MAX.saturating_add(RECORD_HEADER_BYTES).saturating_add(1);
            }
        }
    }

    /// A record that is further on than the next: what lies between has no record here.
    fn judge_hole(&mut self, position: &Position, lsn: Lsn, seals: bool) -> Result<(), Error> {
        if seals || lsn > position.segment.limit || !self.waiting.is_empty() {
            return Ok(());
        }
        let index = self.source.index()?;
        let range = self.next..=lsn.previous();
        self.waiting = self.source.entries(&index, &position.segment, &range)?;
        self.next = lsn;
        Ok(())
    }

    /// Damage inside the newest segment must not hide what is written behind it. A write in flight
    /// is no damage: nothing vouches for it.
    fn skip_damage(&mut self, index: &Index, position: &mut Position) -> Result<(), Error> {
        let mut first = [0; RECORD_HEADER_BYTES];
        let path = Arc::clone(&position.segment.path);
        read_full(position.file.as_ref(), position.offset, &mut first)
            .map_err(|error| Error::io("cannot read a journal segment", &path, error))?;
        if first.iter().all(|&byte| byte == 0) {
            return Ok(());
        }
        let Some(loaded) = self.source.load(&position.segment, index.store_id)? else {
            return Ok(());
        };
        let next = self.next;
        let behind = loaded.scan.runs.iter().find(|run| run.first > next);
        let Some(run) = behind.filter(|_| loaded.scan.vouched >= next) else { return Ok(()) };
        let range = next..=run.first.previous();
        self.waiting = self.source.entries(index, &position.segment, &range)?;
        self.next = run.first;
        position.offset = run.start as u64;
        Ok(())
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("next", &self.next).finish_non_exhaustive()
    }
}
