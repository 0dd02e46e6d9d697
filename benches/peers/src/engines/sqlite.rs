//! SQLite through rusqlite: WAL, prepared statements, one upsert per change.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use rusqlite::{Connection, params};

use super::{Result, Rival};
use crate::workload::{Kind, Op, World, dht_key, package_id, value};

const SEEN: &str = "INSERT INTO peers VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET \
    last_seen = max(last_seen, ?2)";
const REPUTATION: &str = "INSERT INTO reputation VALUES (?1, 1, 0, ?2, ?3, 0) ON CONFLICT DO \
    UPDATE SET successful = successful + 1, last_seen = max(last_seen, ?2), \
    response_ms = (7 * response_ms + 3 * ?3) / 10";
const DHT: &str = "INSERT OR REPLACE INTO dht VALUES (?1, ?2, ?3)";
const PACKAGE: &str = "INSERT OR REPLACE INTO packages VALUES (?1, ?2, ?3)";

/// When SQLite syncs its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// At every commit.
    Full,
    /// Only at checkpoints: commits do not survive a power cut.
    Normal,
    /// At the commits that ask for it.
    Both,
}

pub struct Sqlite {
    connection: Mutex<Connection>,
    world: Arc<World>,
    mode: Mode,
    is_full: AtomicBool,
}

/// What is read back of one peer.
#[derive(Default)]
pub struct Row {
    pub last_seen: i64,
    pub addresses: Vec<Vec<u8>>,
    pub reputation: Option<[i64; 5]>,
}

impl Row {
    /// True if everything about the peer was read.
    pub fn is_whole(&self) -> bool {
        self.last_seen > 0 && self.addresses.len() == 3 && self.reputation.is_some()
    }
}

impl Sqlite {
    pub fn open(dir: &Path, world: Arc<World>, mode: Mode) -> Result<Self> {
        let connection = Connection::open(dir.join("state.sqlite"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", if mode == Mode::Full { 2 } else { 1 })?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS peers (id BLOB PRIMARY KEY, last_seen INTEGER NOT NULL, \
                addresses BLOB NOT NULL) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS reputation (id BLOB PRIMARY KEY, \
                successful INTEGER NOT NULL, failed INTEGER NOT NULL, \
                last_seen INTEGER NOT NULL, response_ms INTEGER NOT NULL, \
                packages INTEGER NOT NULL) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS dht (key TEXT PRIMARY KEY, value BLOB NOT NULL, \
                stored_at INTEGER NOT NULL) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS packages (id TEXT PRIMARY KEY, data BLOB NOT NULL, \
                cached_at INTEGER NOT NULL) WITHOUT ROWID;",
        )?;
        connection.set_prepared_statement_cache_capacity(16);
        let is_full = AtomicBool::new(mode == Mode::Full);
        Ok(Self { connection: Mutex::new(connection), world, mode, is_full })
    }

    /// Everything about every peer, in a map: what a program does at start.
    pub fn scan(&self) -> Result<HashMap<Vec<u8>, Row>> {
        let connection = self.connection.lock().unwrap();
        let mut rows = HashMap::new();
        let mut peers = connection.prepare("SELECT id, last_seen, addresses FROM peers")?;
        let mut found = peers.query([])?;
        while let Some(row) = found.next()? {
            let mut packed = row.get_ref(2)?.as_blob()?;
            let mut addresses = Vec::new();
            while let Some((len, rest)) = packed.split_first() {
                let (address, rest) = rest.split_at(usize::from(*len));
                addresses.push(address.to_vec());
                packed = rest;
            }
            let peer = Row { last_seen: row.get(1)?, addresses, reputation: None };
            rows.insert(row.get_ref(0)?.as_blob()?.to_vec(), peer);
        }
        let mut reputations = connection.prepare(
            "SELECT id, successful, failed, last_seen, response_ms, packages FROM reputation",
        )?;
        let mut found = reputations.query([])?;
        while let Some(row) = found.next()? {
            let id = row.get_ref(0)?.as_blob()?;
            let fields = [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
            match rows.get_mut(id) {
                Some(peer) => peer.reputation = Some(fields),
                None => {
                    rows.insert(id.to_vec(), Row { reputation: Some(fields), ..Row::default() });
                }
            }
        }
        Ok(rows)
    }
}

impl Rival for Sqlite {
    fn commit(&self, ops: &[Op], sync: bool) -> Result<()> {
        let mut connection = self.connection.lock().unwrap();
        if self.mode == Mode::Both && self.is_full.swap(sync, Ordering::Relaxed) != sync {
            connection.pragma_update(None, "synchronous", if sync { 2 } else { 1 })?;
        }
        let transaction = connection.transaction()?;
        for &op in ops {
            let at = op.at_ms();
            match op.kind {
                Kind::Reputation => {
                    let id = &self.world.peer(op).id_bytes;
                    let mut statement = transaction.prepare_cached(REPUTATION)?;
                    statement.execute(params![id, at, op.response_ms() as i64])?;
                }
                Kind::Seen => {
                    let peer = self.world.peer(op);
                    let mut statement = transaction.prepare_cached(SEEN)?;
                    statement.execute(params![peer.id_bytes, at, peer.packed_addresses])?;
                }
                Kind::Dht => {
                    let mut statement = transaction.prepare_cached(DHT)?;
                    statement.execute(params![dht_key(op.index), value(op, 64), at])?;
                }
                Kind::Package => {
                    let mut statement = transaction.prepare_cached(PACKAGE)?;
                    statement.execute(params![package_id(op.index), value(op, 256), at])?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn is_durable(&self) -> bool {
        self.mode != Mode::Normal
    }
}
