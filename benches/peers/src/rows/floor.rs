//! What memory alone costs: one row is found and changed in a hash map of the standard library,
//! whose rows are as large as those of peer-journal. No lock, no check, no journal, no copies.

use std::{
    collections::HashMap,
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use peer_journal::state::PeerKey;

use super::append::{BURST, PAUSE};
use crate::{stats::Calls, workload::World};

pub const TITLE: &str = "a hash map of the standard library";

type Row = [u64; 12];

pub struct Floor<'a> {
    world: &'a World,
    rows: HashMap<PeerKey, Row>,
}

impl<'a> Floor<'a> {
    pub fn new(world: &'a World) -> Self {
        let rows = world.peers.iter().map(|peer| (peer.key.clone(), Row::default())).collect();
        Self { world, rows }
    }

    /// As many calls as one thread can make.
    pub fn busy_calls(&mut self, count: usize) -> Calls {
        let mut calls = Calls::default();
        while calls.len() < count {
            self.call(&mut calls);
        }
        calls
    }

    /// A burst, then a pause, as of appends.
    pub fn paced_calls(&mut self, time: Duration) -> Calls {
        let mut calls = Calls::default();
        let started = Instant::now();
        while started.elapsed() < time {
            for _ in 0..BURST {
                self.call(&mut calls);
            }
            thread::sleep(PAUSE);
        }
        calls
    }

    fn call(&mut self, calls: &mut Calls) {
        let op = self.world.reputation_op();
        let key = self.world.peer(op).key.clone();
        let started = Instant::now();
        if let Some(row) = self.rows.get_mut(black_box(&key)) {
            row[0] += 1;
            row[11] = op.at_ms() as u64;
        }
        calls.add(started.elapsed());
    }
}
