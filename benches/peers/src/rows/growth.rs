//! What grows with the number of peers, and what must not.

use std::{path::Path, sync::Arc};

use tokio::runtime::Runtime;

use super::{
    append::busy_calls,
    child,
    floor::{self, Floor},
};
use crate::{
    args::Args,
    engines::Result,
    ours,
    report::Row,
    stats::{median, timed},
    workload::World,
};

const SIZES: [usize; 4] = [1000, 10_000, 100_000, 1_000_000];
const CALLS: usize = 100_000;
const COMMITS: usize = 200;

pub fn run(args: &Args, _: &Arc<World>, dir: &Path) -> Result<Vec<Row>> {
    let mut rows = vec![
        Row::new("growth-append", "append call, p50, by number of peers", "ns", false),
        Row::new(
            "growth-floor",
            &format!("{}, p50, by number of peers", floor::TITLE),
            "ns",
            false,
        ),
        Row::new("growth-append-tail", "append call, p99.9, by number of peers", "ns", false),
        Row::new("growth-commit", "durable change, one task, p50, by number of peers", "us", false),
        Row::new("growth-open", "open from the snapshot, by number of peers", "ms", false),
        Row::new("growth-snapshot", "snapshot, by number of peers", "ms", false),
    ];
    for _ in 0..args.rounds {
        for peers in SIZES {
            let place = dir.join(format!("growth-{peers}"));
            let numbers = child(&["growth"], peers, &place, 0.0)?;
            std::fs::remove_dir_all(&place)?;
            for (row, number) in rows.iter_mut().zip(numbers) {
                row.add(&peers.to_string(), number);
            }
        }
    }
    Ok(rows)
}

/// In a fresh process: one number for each row.
pub fn measure(args: &Args) -> Result<Vec<f64>> {
    let runtime = Runtime::new()?;
    let world = World::new(args.peers);
    let store = ours::fill(ours::open_roomy(&args.dir, args.peers)?, &world)?;
    runtime.block_on(store.sync())?;
    let (snapshot, written) = timed(|| runtime.block_on(store.compact()));
    written?;
    runtime.block_on(store.close())?;
    drop(store);
    let (open, store) = timed(|| ours::open_roomy(&args.dir, args.peers));
    let store = store?;
    // Once before it counts: the first change of each page after an opening copies it.
    drop(busy_calls(&store, &world, CALLS)?);
    let mut calls = busy_calls(&store, &world, CALLS)?;
    runtime.block_on(store.sync())?;
    let mut commits = Vec::new();
    for _ in 0..COMMITS {
        let (took, durable) = timed(|| store.append(world.change(world.op()))?.wait());
        durable?;
        commits.push(took * 1e6);
    }
    drop(store);
    let mut map = Floor::new(&world);
    drop(map.busy_calls(CALLS));
    Ok(vec![
        calls.within(0.5),
        map.busy_calls(CALLS).within(0.5),
        calls.within(0.999),
        median(&commits),
        open * 1000.0,
        snapshot * 1000.0,
    ])
}
