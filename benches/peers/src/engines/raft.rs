//! raft-engine: keys and rows of one raft group, which it also keeps in memory.

use std::{collections::HashMap, path::Path, sync::Arc};

use raft_engine::{Config, Engine, LogBatch};

use super::{Result, Rival};
use crate::workload::{Op, World};

const GROUP: u64 = 1;

pub struct Raft {
    engine: Engine,
    world: Arc<World>,
}

impl Raft {
    pub fn open(dir: &Path, world: Arc<World>) -> Result<Self> {
        Ok(Self { engine: engine(dir)?, world })
    }
}

impl Rival for Raft {
    fn commit(&self, ops: &[Op], sync: bool) -> Result<()> {
        if ops.is_empty() {
            return Ok(self.engine.sync()?);
        }
        let mut batch = LogBatch::with_capacity(ops.len());
        let rows = self.world.rows();
        for op in ops {
            batch.put(GROUP, rows.key(op).to_vec(), rows.row(op).to_vec())?;
        }
        drop(rows);
        self.engine.write(&mut batch, sync)?;
        Ok(())
    }
}

/// Opens the store and reads all rows into a map.
pub fn scan(dir: &Path) -> Result<usize> {
    let engine = engine(dir)?;
    let mut rows: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    engine.scan_raw_messages(GROUP, None, None, false, |key, row| {
        rows.insert(key.to_vec(), row.to_vec());
        true
    })?;
    Ok(rows.len())
}

fn engine(dir: &Path) -> Result<Engine> {
    let dir = dir.join("raft").to_str().ok_or("a folder with a plain name")?.to_owned();
    Ok(Engine::open(Config { dir, ..Config::default() })?)
}
