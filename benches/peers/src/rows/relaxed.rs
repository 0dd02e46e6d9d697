//! Producers that do not wait for the disk: the state is applied and readable, and at most 100 ms
//! of changes would be lost in a power cut. The last change is synced before the time is taken.

use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use peer_journal::P2PStatePersistence;
use tokio::runtime::Runtime;

use crate::{
    args::Args,
    engines::{self, OURS, Result},
    group::Group,
    ours,
    report::Row,
    workload::World,
};

const PRODUCERS: [usize; 2] = [1, 2];
const RIVALS: &[&str] = &["SQLite FULL", "redb", "fjall", "okaywal", "raft-engine", "LMDB"];
/// Appends between two looks at the clock.
const BURST: usize = 64;

enum Contestant {
    Ours(P2PStatePersistence),
    Batched(Group),
}

pub fn run(args: &Args, world: &Arc<World>, dir: &Path) -> Result<Vec<Row>> {
    let mut contestants = Vec::new();
    if args.wants(OURS) {
        let store = ours::open_filled(&dir.join("relaxed-peer-journal"), world)?;
        Runtime::new()?.block_on(store.compact())?;
        contestants.push((OURS.to_owned(), Contestant::Ours(store)));
    }
    for name in RIVALS.iter().filter(|name| args.wants(name)) {
        let place = dir.join(format!("relaxed-{}", name.replace(' ', "-")));
        let group = Group::start(engines::open(name, &place, world, true)?, true);
        let name = name.trim_end_matches(" FULL");
        contestants.push((format!("{name}, batched"), Contestant::Batched(group)));
    }
    let runtime = Runtime::new()?;
    let mut rows: Vec<Row> = PRODUCERS
        .iter()
        .map(|producers| {
            let plural = if *producers == 1 { "" } else { "s" };
            let title = format!("relaxed, {producers} producer{plural}");
            Row::new(&format!("relaxed-{producers}"), &title, "changes/s", true)
        })
        .collect();
    for _ in 0..args.rounds {
        for (row, producers) in rows.iter_mut().zip(PRODUCERS) {
            for (name, contestant) in &contestants {
                let rate = measure(contestant, world, producers, args.time, &runtime)?;
                row.add(name, rate);
            }
        }
    }
    for row in &mut rows {
        row.note(
            "Rivals behind the batching writer thread, synced at least every 100 ms (okaywal at \
             every batch, since it knows nothing else; a map stands beside it, since it keeps no \
             state).",
        );
    }
    Ok(rows)
}

fn measure(
    contestant: &Contestant,
    world: &World,
    producers: usize,
    time: Duration,
    runtime: &Runtime,
) -> Result<f64> {
    let started = Instant::now();
    let produce = || -> Result<usize> {
        let mut count = 0;
        while started.elapsed() < time {
            for _ in 0..BURST {
                match contestant {
                    Contestant::Ours(store) => ours::append_relaxed(store, world, world.op())?,
                    Contestant::Batched(group) => drop(group.append(world.op())),
                }
            }
            count += BURST;
        }
        Ok(count)
    };
    let counts = thread::scope(|scope| {
        let threads: Vec<_> = (0..producers).map(|_| scope.spawn(produce)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a producer"))
            .collect::<Result<Vec<usize>>>()
    })?;
    match contestant {
        Contestant::Ours(store) => drop(runtime.block_on(store.sync())?),
        Contestant::Batched(group) => runtime.block_on(group.append_synced(world.op())),
    }
    Ok(counts.iter().sum::<usize>() as f64 / started.elapsed().as_secs_f64())
}
