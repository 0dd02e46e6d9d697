//! LMDB through heed: one database of bytes, one write transaction per commit.

use std::{path::Path, sync::Arc};

use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, types::Bytes};

use super::{Result, Rival};
use crate::workload::{Op, World};

const MAP_BYTES: usize = 8 << 30;

pub struct Lmdb {
    env: Env,
    rows: Database<'static, Bytes, Bytes>,
    world: Arc<World>,
    relaxed: bool,
}

impl Lmdb {
    pub fn open(dir: &Path, world: Arc<World>, relaxed: bool) -> Result<Self> {
        let path = dir.join("lmdb");
        std::fs::create_dir_all(&path)?;
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES);
        // SAFETY: the folder is ours alone, and no other process maps its files.
        let env = unsafe {
            if relaxed {
                options.flags(EnvFlags::NO_SYNC);
            }
            options.open(&path)?
        };
        let transaction = env.write_txn()?;
        let rows = env
            .create_databases_and_commit(transaction, |opener, transaction| {
                let database = opener.create_database::<Bytes, Bytes>(transaction, None)?;
                Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(database))
            })?
            .unwrap_commit();
        Ok(Self { env, rows, world, relaxed })
    }
}

impl Rival for Lmdb {
    fn commit(&self, ops: &[Op], sync: bool) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        let rows = self.world.rows();
        for op in ops {
            self.rows.put(&mut transaction, rows.key(op), rows.row(op))?;
        }
        drop(rows);
        transaction.commit()?;
        if sync && self.relaxed {
            self.env.force_sync()?;
        }
        Ok(())
    }
}
