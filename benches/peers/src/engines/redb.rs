//! redb: one table of bytes, one write transaction per commit.

use std::{path::Path, sync::Arc};

use redb::{Database, Durability, TableDefinition};

use super::{Result, Rival};
use crate::workload::{Op, World};

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

pub struct Redb {
    database: Database,
    world: Arc<World>,
}

impl Redb {
    pub fn open(dir: &Path, world: Arc<World>) -> Result<Self> {
        Ok(Self { database: Database::create(dir.join("state.redb"))?, world })
    }
}

impl Rival for Redb {
    fn commit(&self, ops: &[Op], sync: bool) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(if sync { Durability::Immediate } else { Durability::None })?;
        {
            let mut table = transaction.open_table(ROWS)?;
            let rows = self.world.rows();
            for op in ops {
                table.insert(rows.key(op), rows.row(op))?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}
