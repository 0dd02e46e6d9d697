//! Producers that do not wait for the disk: the state is applied and readable, and at most 100 ms
//! of changes would be lost in a power cut. The last change is synced before the time is taken.

use std::{
    path::Path,
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use peer_journal::P2PStatePersistence;
use tokio::runtime::Runtime;

use crate::{
    args::Args,
    engines::{self, LIMIT, LIMIT_MAP, LIMITS, OURS, Result},
    group::Group,
    ours,
    report::Row,
    workload::{Pool, World},
};

const PRODUCERS: [usize; 2] = [1, 2];
const RIVALS: &[&str] =
    &[LIMIT, "SQLite FULL", "redb", "fjall", "okaywal", "raft-engine", "LMDB", LIMIT_MAP];
/// Appends between two looks at the clock.
const BURST: usize = 64;
/// Changes that are made for each second; nobody is so fast.
const MOST: f64 = 4_000_000.0;

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
        let title = match *name {
            name if LIMITS.contains(&name) => name.to_owned(),
            name => format!("{}, batched", name.trim_end_matches(" FULL")),
        };
        contestants.push((title, Contestant::Batched(group)));
    }
    let runtime = Runtime::new()?;
    let wanted = |producers: &usize| args.asks_for(&format!("relaxed-{producers}"));
    let producers: Vec<usize> = PRODUCERS.into_iter().filter(wanted).collect();
    let mut rows: Vec<Row> = producers
        .iter()
        .map(|producers| {
            let plural = if *producers == 1 { "" } else { "s" };
            let title = format!("relaxed, {producers} producer{plural}");
            Row::new(&format!("relaxed-{producers}"), &title, "changes/s", true)
        })
        .collect();
    for _ in 0..args.rounds {
        for (row, &producers) in rows.iter_mut().zip(&producers) {
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
             state). The limit writes as many bytes and keeps no state, or such a map.",
        );
    }
    Ok(rows)
}

/// Changes per second, until the time is over or the changes are used up that were made before the
/// clock ran. All producers take from one pool: as in any program, what one of them tells is not
/// long before what another does.
fn measure(
    contestant: &Contestant,
    world: &World,
    producers: usize,
    time: Duration,
    runtime: &Runtime,
) -> Result<f64> {
    let count = (MOST * time.as_secs_f64()) as usize;
    let (made, started) = match contestant {
        Contestant::Ours(store) => {
            let pool = Pool::new((0..count).map(|_| ours::slot(world)).collect());
            let made = produce(producers, time, &pool, |slot| match ours::take(slot) {
                Some(change) => ours::append_relaxed(store, change),
                None => Ok(()),
            });
            runtime.block_on(store.sync())?;
            made?
        }
        Contestant::Batched(group) => {
            // One more, which is synced at the end.
            let mut ready = world.ready_ops(count + 1);
            let last = ready.pop().ok_or("no change is ready")?;
            let made = produce(producers, time, &Pool::new(ready), |op| {
                group.append(*op);
                Ok(())
            });
            runtime.block_on(group.append_synced(last));
            made?
        }
    };
    Ok(made as f64 / started.elapsed().as_secs_f64())
}

/// Appends from as many threads; gives how many they appended, and when they began.
fn produce<T: Sync>(
    producers: usize,
    time: Duration,
    pool: &Pool<T>,
    append: impl Fn(&T) -> Result<()> + Sync,
) -> Result<(usize, Instant)> {
    let start = Barrier::new(producers + 1);
    let one = || -> Result<usize> {
        start.wait();
        let started = Instant::now();
        let mut count = 0;
        while let Some(item) = pool.next() {
            append(item)?;
            count += 1;
            if count % BURST == 0 && started.elapsed() >= time {
                break;
            }
        }
        Ok(count)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..producers).map(|_| scope.spawn(one)).collect();
        start.wait();
        let started = Instant::now();
        let joined = threads.into_iter().map(|thread| thread.join().expect("a producer"));
        let counts = joined.collect::<Result<Vec<usize>>>()?;
        Ok((counts.iter().sum(), started))
    })
}
