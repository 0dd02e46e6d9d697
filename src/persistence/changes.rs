//! The stream for followers: records from the segment files, as they become durable.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_core::Stream;

use super::{
    engine::Engine,
    offload,
    progress::{Progress, Reached},
};
use crate::{
    Error, ErrorKind, Lsn, StoreId,
    journal::{
        format::{
            HEADER_BYTES, PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES, RecordKind, Seed, decode_record,
        },
        name::SegmentName,
    },
    state::{self, Change},
    vfs::{Vfs, VfsFile, read_full},
};

/// Read at once; a larger record is read whole.
const CHUNK_BYTES: usize = 64 << 10;

/// One record of the journal: its number and its changes, which stand together.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recorded {
    /// The record's number.
    pub lsn: Lsn,
    /// Its changes, in order.
    pub changes: Vec<Change>,
}

type Step = Pin<Box<dyn Future<Output = Result<(Reader, Vec<Recorded>), Error>> + Send>>;

/// Every record after an LSN, in order and without a gap, as it becomes durable: a [`Stream`], and
/// [`next`](Changes::next) for those who have no stream library at hand.
///
/// It ends when the store is closed and everything durable was delivered. It never shows a record
/// that a crash could still take back. If its owner is slow, records wait on disk, not in memory;
/// when compaction deletes them first it yields one [`ErrorKind::Compacted`] and ends: take a view
/// and follow from there.
///
/// # Cancel safety
/// Dropping the future of `next` loses no record.
pub struct Changes {
    read: VecDeque<Recorded>,
    step: Option<Step>,
    reader: Option<Reader>,
}

impl Changes {
    pub(super) fn new(engine: &Engine, after: Lsn) -> Self {
        let reader = Reader {
            vfs: Arc::clone(&engine.vfs),
            dir: engine.places.journal_dir.clone(),
            store_id: engine.store_id,
            progress: Arc::clone(&engine.progress),
            next: after.next(),
            at: None,
        };
        Self { read: VecDeque::new(), step: None, reader: Some(reader) }
    }

    /// The next record; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Recorded, Error>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Changes {
    type Item = Result<Recorded, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(record) = self.read.pop_front() {
                return Poll::Ready(Some(Ok(record)));
            }
            if let Some(step) = &mut self.step {
                let result = ready!(step.as_mut().poll(context));
                self.step = None;
                match result {
                    // Nothing more: the store is closed.
                    Ok((_, records)) if records.is_empty() => return Poll::Ready(None),
                    Ok((reader, records)) => {
                        self.read.extend(records);
                        self.reader = Some(reader);
                    }
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            } else if let Some(reader) = self.reader.take() {
                self.step = Some(Box::pin(reader.step()));
            } else {
                return Poll::Ready(None);
            }
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("waiting", &self.read.len()).finish_non_exhaustive()
    }
}

/// A place in the journal.
struct Reader {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    store_id: StoreId,
    progress: Arc<Progress>,
    /// Number of the record to deliver next.
    next: Lsn,
    at: Option<Position>,
}

struct Position {
    name: SegmentName,
    file: Box<dyn VfsFile>,
    offset: u64,
    /// Later records stand in a later segment, even if this one has some of these numbers: a sync
    /// of it failed then.
    limit: Lsn,
}

impl Reader {
    /// Waits until the next record is durable, then reads as many as one chunk holds. None at all
    /// means that the store is closed.
    async fn step(mut self) -> Result<(Self, Vec<Recorded>), Error> {
        if !Reached::new(self.next, &self.progress).await {
            return Ok((self, Vec::new()));
        }
        offload(move || {
            let records = self.read()?;
            Ok((self, records))
        })
        .await?
    }

    fn read(&mut self) -> Result<Vec<Recorded>, Error> {
        let durable = self.progress.durable_through();
        loop {
            let mut position = match self.at.take() {
                Some(position) => position,
                None => self.find()?,
            };
            let records = self.read_chunk(&mut position, durable)?;
            if !records.is_empty() {
                self.at = Some(position);
                return Ok(records);
            }
            // This segment has no more: the record is in a later one.
            let later = self.names()?.into_iter().any(|name| name.segment > position.name.segment);
            if !later {
                return Err(self.compacted());
            }
            let before = position.name;
            let found = self.find()?;
            if found.name == before {
                return Err(self.compacted());
            }
            self.at = Some(found);
        }
    }

    fn names(&self) -> Result<Vec<SegmentName>, Error> {
        let entries = self
            .vfs
            .list(&self.dir)
            .map_err(|error| Error::io("cannot list the journal folder", &self.dir, error))?;
        let name = |entry: crate::vfs::Entry| entry.name.to_str().and_then(SegmentName::parse);
        let mut names: Vec<_> = entries.into_iter().filter_map(name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The segment that holds the next record: the latest one that starts at or before it. A later
    /// segment counts where it repeats what an earlier one failed to sync.
    fn find(&self) -> Result<Position, Error> {
        let mut limit = Lsn::new(u64::MAX);
        let mut found = None;
        for name in self.names()?.into_iter().rev() {
            if name.first_lsn <= self.next {
                found = Some(name);
                break;
            }
            limit = limit.min(name.first_lsn.previous());
        }
        let Some(name) = found else { return Err(self.compacted()) };
        let path = self.dir.join(name.to_string());
        match self.vfs.open_read_only(&path) {
            Ok(file) => Ok(Position { name, file, offset: HEADER_BYTES as u64, limit }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.compacted()),
            Err(error) => Err(Error::io("cannot read a journal segment", &path, error)),
        }
    }

    fn read_chunk(
        &mut self,
        position: &mut Position,
        durable: Lsn,
    ) -> Result<Vec<Recorded>, Error> {
        let seed = Seed::new(&self.store_id, position.name.segment);
        let mut records = Vec::new();
        let mut chunk_bytes = CHUNK_BYTES;
        loop {
            let mut chunk = vec![0; chunk_bytes];
            let path = self.dir.join(position.name.to_string());
            let filled = read_full(position.file.as_ref(), position.offset, &mut chunk)
                .map_err(|error| Error::io("cannot read a journal segment", &path, error))?;
            chunk.truncate(filled);
            let mut rest = chunk.as_slice();
            while let Some(record) = decode_record(rest, seed) {
                let last = durable.min(position.limit);
                if record.kind != RecordKind::Changes || record.lsn > last {
                    return Ok(records);
                }
                position.offset = position.offset.saturating_add(record.bytes() as u64);
                rest = rest.get(record.bytes()..).unwrap_or_default();
                if record.lsn < self.next {
                    continue;
                }
                if record.lsn > self.next {
                    return Err(self.compacted());
                }
                records.push(recorded(record.lsn, record.payload)?);
                self.next = record.lsn.next();
            }
            let whole = filled < chunk_bytes;
            if !records.is_empty() || whole || chunk_bytes > PAYLOAD_BYTES_MAX {
                return Ok(records);
            }
            if rest.len() == chunk.len() {
                // Not even one record fits into the chunk: read the longest one whole.
                chunk_bytes =
                    PAYLOAD_BYTES_MAX.saturating_add(RECORD_HEADER_BYTES).saturating_add(1);
            }
        }
    }

    fn compacted(&self) -> Error {
        Error::new(
            ErrorKind::Compacted,
            format!("record lsn={} is not in the journal any more", self.next),
        )
        .next("take a view and follow from its lsn")
    }
}

fn recorded(lsn: Lsn, payload: &[u8]) -> Result<Recorded, Error> {
    let mut changes = Vec::new();
    for change in state::decode(payload) {
        changes.push(change.map_err(|error| {
            Error::new(ErrorKind::NewerVersion, format!("record lsn={lsn}: {error}"))
        })?);
    }
    Ok(Recorded { lsn, changes })
}
