//! The rivals, each set up as its own documentation recommends.

mod fjall;
mod limit;
mod lmdb;
mod map;
mod okay;
mod old;
mod raft;
mod redb;
mod sqlite;

use std::{error::Error, path::Path, sync::Arc};

use self::map::{RowMap, WithMap};
use crate::workload::World;

pub use limit::{DirectFile, RawFile};
pub use okay::replay as replay_okaywal;
pub use raft::{Raft, scan as scan_raft};
pub use sqlite::{Mode, Sqlite};

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A store that takes changes, one or many at a time.
pub trait Rival: Send + Sync {
    /// Makes all of the changes readable, and with `sync` durable, in one transaction. Called by
    /// many threads at once when the rival is measured as it comes ("native").
    fn commit(&self, ops: &[crate::workload::Op], sync: bool) -> Result<()>;

    /// True if a commit with `sync` survives a power cut.
    fn is_durable(&self) -> bool {
        true
    }
}

/// The rivals of the durable rows.
pub const DURABLE: &[&str] = &[
    "SQLite FULL",
    "SQLite NORMAL",
    "redb",
    "fjall",
    "okaywal",
    "raft-engine",
    "LMDB",
    "old design",
];

/// What takes the place of peer-journal's own files when only the disk is measured.
pub const LIMIT: &str = "limit";
/// The same around the system's cache.
pub const LIMIT_DIRECT: &str = "limit around the cache";
/// The limit, and the least that can be read: what a state costs.
pub const LIMIT_MAP: &str = "limit with a map";
pub const LIMITS: [&str; 3] = [LIMIT, LIMIT_DIRECT, LIMIT_MAP];
pub const OURS: &str = "peer-journal";

/// Opens a rival in a folder of its own and fills it with the base.
pub fn open(name: &str, dir: &Path, world: &Arc<World>, relaxed: bool) -> Result<Arc<dyn Rival>> {
    std::fs::create_dir_all(dir)?;
    let world = Arc::clone(world);
    let rival: Arc<dyn Rival> = match name {
        LIMIT => Arc::new(RawFile::open(dir)?),
        LIMIT_DIRECT => Arc::new(DirectFile::open(dir)?),
        LIMIT_MAP => {
            Arc::new(WithMap { log: RawFile::open(dir)?, rows: RowMap::new(world.clone()) })
        }
        "SQLite FULL" if relaxed => Arc::new(Sqlite::open(dir, world.clone(), Mode::Both)?),
        "SQLite FULL" => Arc::new(Sqlite::open(dir, world.clone(), Mode::Full)?),
        "SQLite NORMAL" => Arc::new(Sqlite::open(dir, world.clone(), Mode::Normal)?),
        "redb" => Arc::new(redb::Redb::open(dir, world.clone())?),
        "fjall" => Arc::new(fjall::Fjall::open(dir, world.clone())?),
        "okaywal" => {
            let log = okay::Okay::open(dir, world.clone())?;
            Arc::new(WithMap { log, rows: RowMap::new(world.clone()) })
        }
        "raft-engine" => Arc::new(Raft::open(dir, world.clone())?),
        "LMDB" => Arc::new(lmdb::Lmdb::open(dir, world.clone(), relaxed)?),
        "old design" => Arc::new(old::Old::open(dir, world.clone())?),
        other => return Err(format!("there is no rival called {other}").into()),
    };
    let keeps_rows = !LIMITS.contains(&name) && !matches!(name, "okaywal" | "old design");
    if keeps_rows {
        let ops = world.ready(world.base_ops());
        let (last, before) = ops.split_last().ok_or("a world without peers")?;
        for piece in before.chunks(10_000) {
            rival.commit(piece, false)?;
        }
        rival.commit(&[*last], true)?;
    }
    Ok(rival)
}
