//! A hash map of rows, for what keeps no state: any program wants to read what it wrote.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::{Result, Rival};
use crate::workload::{Op, World};

pub struct RowMap {
    world: Arc<World>,
    rows: Mutex<HashMap<Box<[u8]>, Vec<u8>>>,
}

impl RowMap {
    /// Holds the base.
    pub fn new(world: Arc<World>) -> Self {
        let base = world.ready(world.base_ops());
        let rows = {
            let rows = world.rows();
            base.iter().map(|op| (rows.key(op).into(), rows.row(op).into())).collect()
        };
        Self { world, rows: Mutex::new(rows) }
    }

    pub fn put(&self, ops: &[Op]) {
        let ready = self.world.rows();
        let mut rows = self.rows.lock().unwrap();
        for op in ops {
            let (key, row) = (ready.key(op), ready.row(op));
            match rows.get_mut(key) {
                Some(known) => {
                    known.clear();
                    known.extend_from_slice(row);
                }
                None => drop(rows.insert(key.into(), row.into())),
            }
        }
    }
}

/// What keeps no state, with a map beside it.
pub struct WithMap<R> {
    pub log: R,
    pub rows: RowMap,
}

impl<R: Rival> Rival for WithMap<R> {
    fn commit(&self, ops: &[Op], sync: bool) -> Result<()> {
        self.log.commit(ops, sync)?;
        self.rows.put(ops);
        Ok(())
    }

    fn is_durable(&self) -> bool {
        self.log.is_durable()
    }
}
