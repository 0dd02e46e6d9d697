//! The append call itself, without waiting.

use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use peer_journal::P2PStatePersistence;

use super::floor::{self, Floor};
use crate::{args::Args, engines::Result, ours, report::Row, stats::Calls, workload::World};

/// Calls in a round.
const CALLS: usize = 400_000;
/// Calls behind each other before a pause, in the paced row.
pub const BURST: usize = 16;
pub const PAUSE: Duration = Duration::from_micros(50);

pub fn run(args: &Args, world: &Arc<World>, dir: &Path) -> Result<Vec<Row>> {
    let store = ours::open_filled(&dir.join("append"), world)?;
    let mut busy = Row::new("append-busy", "append call, one busy producer", "ns", false);
    let mut paced =
        Row::new("append-paced", "append call, 16 at a time, then a pause", "ns", false);
    let mut map = Floor::new(world);
    for _ in 0..args.rounds {
        let mut calls = busy_calls(&store, world, CALLS)?;
        add(&mut busy, &mut calls);
        busy.add(&format!("{}, p50", floor::TITLE), map.busy_calls(CALLS).within(0.5));
        settle(&store)?;
        let mut calls = paced_calls(&store, world, args.time)?;
        add(&mut paced, &mut calls);
        paced.add(&format!("{}, p50", floor::TITLE), map.paced_calls(args.time).within(0.5));
        settle(&store)?;
    }
    for row in [&mut busy, &mut paced] {
        row.note(
            "Includes one read of the clock. The change is made before the call. The hash map has \
             rows as large, finds one and changes it, and does nothing else.",
        );
    }
    Ok(vec![busy, paced])
}

fn add(row: &mut Row, calls: &mut Calls) {
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        row.add(name, calls.within(share));
    }
}

/// As many calls as one thread can make.
pub fn busy_calls(store: &P2PStatePersistence, world: &World, count: usize) -> Result<Calls> {
    let mut calls = Calls::default();
    while calls.len() < count {
        call(store, world, &mut calls)?;
    }
    Ok(calls)
}

/// A burst, then a pause of 50 us, for as long as it is told.
pub fn paced_calls(store: &P2PStatePersistence, world: &World, time: Duration) -> Result<Calls> {
    let mut calls = Calls::default();
    let started = Instant::now();
    while started.elapsed() < time {
        for _ in 0..BURST {
            call(store, world, &mut calls)?;
        }
        thread::sleep(PAUSE);
    }
    Ok(calls)
}

fn call(store: &P2PStatePersistence, world: &World, calls: &mut Calls) -> Result<()> {
    let change = world.change(world.op());
    let started = Instant::now();
    let ack = store.append(change);
    calls.add(started.elapsed());
    drop(ack?);
    Ok(())
}

/// Lets the disk catch up, so that no round pays for the one before it.
pub fn settle(store: &P2PStatePersistence) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(store.sync())?;
    Ok(())
}
