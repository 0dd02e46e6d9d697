//! Appends while a snapshot is written, and the memory that it takes.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::runtime::Runtime;

use super::{
    append::{paced_calls, settle},
    child,
    memory::trim,
};
use crate::{
    args::Args,
    engines::Result,
    ours,
    report::Row,
    stats::{Calls, forget_peak, process_bytes},
    workload::World,
};

const LARGE: usize = 1_000_000;

pub fn run(args: &Args, _: &Arc<World>, dir: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for peers in [args.peers, LARGE] {
        let place = dir.join(format!("compaction-{peers}"));
        child(&["fill"], peers, &place, 0.0)?;
        let title = format!("appends beside a snapshot of {peers} peers, p99.9");
        let mut stall = Row::new(&format!("stall-{peers}"), &title, "ns", false);
        let title = format!("memory while a snapshot of {peers} peers is written");
        let mut peak = Row::new(&format!("peak-{peers}"), &title, "MiB", false);
        for _ in 0..args.rounds {
            let numbers = child(&["stall"], peers, &place, args.time.as_secs_f64())?;
            let [without, with] = numbers[..] else { return Err("two numbers".into()) };
            stall.add("without", without);
            stall.add("with", with);
            let numbers = child(&["peak"], peers, &place, 0.0)?;
            let [steady, highest] = numbers[..] else { return Err("two numbers".into()) };
            peak.add("steady", steady);
            peak.add("peak", highest);
        }
        stall.note(
            "16 appends, then a pause of 50 us. The store has room for twice the peers, and each \
             round goes on where the one before it ended.",
        );
        rows.extend([stall, peak]);
        std::fs::remove_dir_all(&place)?;
    }
    Ok(rows)
}

/// In a process of its own, so that the peers' other forms take no room in the ones that measure.
pub fn fill(args: &Args) -> Result<Vec<f64>> {
    let store = ours::open_filled(&args.dir, &World::new(args.peers))?;
    let runtime = Runtime::new()?;
    runtime.block_on(store.compact())?;
    runtime.block_on(store.close())?;
    Ok(Vec::new())
}

/// In a fresh process: p99.9 of an append without and with snapshots being written.
pub fn stall(args: &Args) -> Result<Vec<f64>> {
    let world = World::new(args.peers);
    let store = ours::open_roomy(&args.dir, args.peers)?;
    world.go_on_after(store.view()?.state());
    let runtime = Runtime::new()?;
    let (mut without, mut with) = (Calls::default(), Calls::default());
    // Once before anything counts: what was just opened is still cold.
    drop(paced_calls(&store, &world, args.time / 4)?);
    for _ in 0..2 {
        settle(&store)?;
        without.extend(paced_calls(&store, &world, args.time / 2)?);
        settle(&store)?;
        let is_written = AtomicBool::new(false);
        with.extend(thread::scope(|scope| -> Result<Calls> {
            let compaction = scope.spawn(|| {
                let written = runtime.block_on(store.compact());
                is_written.store(true, Ordering::Release);
                written
            });
            let mut calls = Calls::default();
            while !is_written.load(Ordering::Acquire) {
                calls.extend(paced_calls(&store, &world, Duration::from_millis(5))?);
            }
            compaction.join().expect("the compaction")?;
            Ok(calls)
        })?);
    }
    Ok(vec![without.within(0.999), with.within(0.999)])
}

/// In a fresh process: MiB resident in steady state, and at most while a snapshot is written.
pub fn peak(args: &Args) -> Result<Vec<f64>> {
    let store = ours::open(&args.dir)?;
    let runtime = Runtime::new()?;
    // Something to write, of a peer that is there: with a million there is no room for another.
    let view = store.view()?;
    let (peer, _) = view.state().peers().next().ok_or("a store without peers")?;
    let peer = peer.to_peer_id().ok_or("a peer that has an id")?;
    drop(view);
    store.retrieval_succeeded(&peer, Duration::from_millis(9))?;
    runtime.block_on(store.sync())?;
    trim();
    let steady = process_bytes("VmRSS");
    forget_peak()?;
    runtime.block_on(store.compact())?;
    let highest = process_bytes("VmHWM");
    Ok([steady, highest].map(|bytes| bytes / f64::from(1 << 20)).to_vec())
}
