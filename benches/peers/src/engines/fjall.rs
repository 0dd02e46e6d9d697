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
        let (mut key, mut row) = (Vec::new(), Vec::new());
        if let [op] = ops {
            self.world.row(*op, &mut key, &mut row);
            self.rows.insert(&*key, &*row)?;
        } else if !ops.is_empty() {
            let mut batch = self.database.batch();
            for &op in ops {
                self.world.row(op, &mut key, &mut row);
                batch.insert(&self.rows, &*key, &*row);
            }
            batch.commit()?;
        }
        if sync {
            self.database.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }
}
