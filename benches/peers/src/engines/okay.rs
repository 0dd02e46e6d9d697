//! okaywal: one entry per commit, one chunk per change, which is the key and the row. It keeps no
//! state, so a map stands beside it, as in any program that wants to read what it wrote.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use okaywal::{Configuration, Entry, LogManager, LogVoid, WriteAheadLog};
use peer_journal::{
    Change,
    state::{Limits, State, decode, encode},
};

use super::{Result, Rival};
use crate::workload::{Op, World};

pub struct Okay {
    log: Option<WriteAheadLog>,
    world: Arc<World>,
}

impl Okay {
    pub fn open(dir: &Path, world: Arc<World>) -> Result<Self> {
        let log = WriteAheadLog::recover(dir.join("okaywal"), LogVoid)?;
        Ok(Self { log: Some(log), world })
    }
}

impl Rival for Okay {
    fn commit(&self, ops: &[Op], _sync: bool) -> Result<()> {
        let log = self.log.as_ref().ok_or("the log is closed")?;
        let ready = self.world.rows();
        let mut entry = log.begin_entry()?;
        let mut payload = Vec::new();
        for op in ops {
            payload.clear();
            payload.extend_from_slice(ready.key(op));
            payload.extend_from_slice(ready.row(op));
            entry.write_chunk(&payload)?;
        }
        entry.commit()?;
        Ok(())
    }
}

impl Drop for Okay {
    fn drop(&mut self) {
        if let Some(log) = self.log.take() {
            log.shutdown().expect("okaywal shuts down");
        }
    }
}

fn write(log: &WriteAheadLog, records: impl Iterator<Item = Vec<Change>>) -> Result<()> {
    let mut entry = log.begin_entry()?;
    let mut payload = Vec::new();
    for changes in records {
        payload.clear();
        encode(&changes, &mut payload)?;
        entry.write_chunk(&payload)?;
    }
    entry.commit()?;
    Ok(())
}

/// Writes the records as chunks, then gives a function that reads them all back into a state.
pub fn replay<I: Iterator<Item = Vec<Change>>>(
    dir: &Path,
    records: I,
) -> Result<impl Fn() -> Result<usize> + use<I>> {
    let dir = dir.join("okaywal");
    let configure = |dir: &Path| {
        // No checkpoint: all of it is to be read back.
        Configuration::default_for(dir).checkpoint_after_bytes(u64::MAX)
    };
    let log = configure(&dir).open(LogVoid)?;
    // A commit syncs, so several changes share an entry here; they are chunks of their own.
    let mut records = records.peekable();
    while records.peek().is_some() {
        write(&log, records.by_ref().take(1000))?;
    }
    log.shutdown()?;
    Ok(move || {
        let state = Arc::new(Mutex::new((State::new(Limits::default()), 0)));
        let log = configure(&dir).open(Replay(Arc::clone(&state)))?;
        log.shutdown()?;
        let count = state.lock().unwrap().1;
        Ok(count)
    })
}

struct Replay(Arc<Mutex<(State, usize)>>);

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Replay")
    }
}

impl LogManager for Replay {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        for chunk in entry.read_all_chunks()?.unwrap_or_default() {
            for change in decode(&chunk) {
                state.0.apply(&change.map_err(io::Error::other)?).map_err(io::Error::other)?;
            }
            state.1 += 1;
        }
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _: okaywal::EntryId,
        _: &mut okaywal::SegmentReader,
        _: &WriteAheadLog,
    ) -> io::Result<()> {
        Ok(())
    }
}
