//! fjall: one keyspace; a commit is a batch, made durable with fdatasync.

use std::{path::Path, sync::Arc};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Result, Rival};
use crate::workload::{Op, World};

pub struct Fjall {
    database: Database,
    rows: Keyspace,
    world: Arc<World>,
}

impl Fjall {
    pub fn open(dir: &Path, world: Arc<World>) -> Result<Self> {
        let database = Database::builder(dir.join("fjall")).open()?;
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default)?;
        Ok(Self { database, rows, world })
    }
}

impl Rival for Fjall {
    fn commit(&self, ops: &[Op], sync: bool) -> Result<()> {
        let rows = self.world.rows();
        if let [op] = ops {
            self.rows.insert(rows.key(op), rows.row(op))?;
        } else if !ops.is_empty() {
            let mut batch = self.database.batch();
            for op in ops {
                batch.insert(&self.rows, rows.key(op), rows.row(op));
            }
            batch.commit()?;
        }
        drop(rows);
        if sync {
            self.database.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }
}
