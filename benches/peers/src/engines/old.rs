//! The design that peer-journal replaces: the whole state as pretty JSON at every save. It never
//! synced; here it does, since a change must be durable before it counts.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use peer_journal::{P2PState, SerializedCacheEntry, SerializedDHTEntry};

use super::{Result, Rival};
use crate::workload::{Kind, Op, World, dht_key, package_id, time, value};

pub struct Old {
    state: Mutex<P2PState>,
    dir: PathBuf,
}

impl Old {
    pub fn open(dir: &Path, world: Arc<World>) -> Result<Self> {
        Ok(Self { state: Mutex::new(world.base_rows()), dir: dir.to_owned() })
    }
}

impl Rival for Old {
    fn commit(&self, ops: &[Op], sync: bool) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        for &op in ops {
            apply(&mut state, op);
        }
        save(&state, &self.dir, sync)
    }
}

/// Writes the document beside the old one, syncs it and puts it into place.
pub fn save(state: &P2PState, dir: &Path, sync: bool) -> Result<()> {
    let (temporary, path) = (dir.join("state.tmp"), dir.join("state.json"));
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&temporary)?);
    serde_json::to_writer_pretty(&mut file, state)?;
    file.flush()?;
    if sync {
        file.get_ref().sync_all()?;
    }
    fs::rename(&temporary, &path)?;
    if sync {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

fn apply(state: &mut P2PState, op: Op) {
    let at = time(op.at_ms()).get();
    match op.kind {
        Kind::Reputation => {
            let row = &mut state.reputation[op.index as usize];
            row.successful_retrievals += 1;
            row.last_seen = at;
            row.avg_response_time_ms = (7 * row.avg_response_time_ms + 3 * op.response_ms()) / 10;
        }
        Kind::Seen => state.peers[op.index as usize].last_seen = at,
        Kind::Dht => {
            let key = dht_key(op.index);
            let entry = SerializedDHTEntry { key, value: value(op, 64), stored_at: at };
            match state.dht_entries.iter_mut().find(|known| known.key == entry.key) {
                Some(known) => *known = entry,
                None => state.dht_entries.push(entry),
            }
        }
        Kind::Package => {
            let id = package_id(op.index);
            let data = value(op, 256);
            let entry = SerializedCacheEntry { package_id: id, package_data: data, cached_at: at };
            match state.package_cache.iter_mut().find(|known| known.package_id == entry.package_id)
            {
                Some(known) => *known = entry,
                None => state.package_cache.push(entry),
            }
        }
    }
}
