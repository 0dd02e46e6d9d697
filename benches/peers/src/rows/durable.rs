//! Every change durable before it counts: 1, 64 and 1024 tasks, each with one change on its way.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use peer_journal::P2PStatePersistence;
use tokio::runtime::Runtime;

use crate::{
    args::Args,
    engines::{self, LIMITS, OURS, Result, Rival},
    group::Group,
    ours::{self, Slot},
    report::Row,
    workload::{Op, Pool, World},
};

const TASKS: [usize; 3] = [1, 64, 1024];

enum Contestant {
    Ours(P2PStatePersistence),
    /// Behind the batching writer thread.
    Batched(Arc<Group>),
    /// As it comes, called from as many threads as there are tasks.
    Native(Arc<dyn Rival>),
}

pub fn run(args: &Args, world: &Arc<World>, dir: &Path) -> Result<Vec<Row>> {
    let contestants = contestants(args, world, dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let wanted = |tasks: &usize| args.asks_for(&format!("durable-{tasks}"));
    let tasks: Vec<usize> = TASKS.into_iter().filter(wanted).collect();
    let mut rows: Vec<Row> = tasks
        .iter()
        .map(|tasks| {
            let title = match tasks {
                1 => "durable, 1 task".to_owned(),
                tasks => format!("durable, {tasks} tasks"),
            };
            Row::new(&format!("durable-{tasks}"), &title, "changes/s", true)
        })
        .collect();
    for _ in 0..args.rounds {
        for (row, &tasks) in rows.iter_mut().zip(&tasks) {
            for (name, contestant) in &contestants {
                // A save of everything per change: with more threads it is as slow, and its queue
                // takes minutes to drain.
                if name == "old design, native" && tasks > 1 {
                    continue;
                }
                row.add(name, measure(contestant, world, tasks, args.time, &runtime));
            }
        }
    }
    for row in &mut rows {
        row.note(
            "The limit writes as many bytes with the same group commit, and does nothing else; \
             as usual, around the system's cache as peer-journal does, and with a hash map \
             of rows, which is what a state costs at least. \
             Batched: behind that same writer thread. Native: one transaction per change, from as \
             many threads as there are tasks. All changes are made before the clock runs. SQLite \
             NORMAL does not sync its commits, so it is shown and not compared. okaywal keeps no \
             state, so a map stands beside it.",
        );
    }
    Ok(rows)
}

fn contestants(args: &Args, world: &Arc<World>, dir: &Path) -> Result<Vec<(String, Contestant)>> {
    let mut contestants = Vec::new();
    for name in LIMITS.into_iter().filter(|name| args.wants(name)) {
        let limit = engines::open(name, &dir.join(name), world, false)?;
        let group = Arc::new(Group::start(limit, false));
        contestants.push((name.to_owned(), Contestant::Batched(group)));
    }
    if args.wants(OURS) {
        let store = ours::open_filled(&dir.join(OURS), world)?;
        Runtime::new()?.block_on(store.compact())?;
        contestants.push((OURS.to_owned(), Contestant::Ours(store)));
    }
    let mut natives = Vec::new();
    for name in engines::DURABLE.iter().filter(|name| args.wants(name)) {
        let rival = engines::open(name, &dir.join(name.replace(' ', "-")), world, false)?;
        let mark = if rival.is_durable() { "" } else { " (not durable)" };
        natives.push((format!("{name}, native{mark}"), Contestant::Native(Arc::clone(&rival))));
        if rival.is_durable() {
            let group = Arc::new(Group::start(rival, false));
            contestants.push((format!("{name}, batched"), Contestant::Batched(group)));
        }
    }
    contestants.extend(natives);
    Ok(contestants)
}

/// Changes per second. The changes are made before the clock runs, whoever takes them.
fn measure(
    contestant: &Contestant,
    world: &Arc<World>,
    tasks: usize,
    time: Duration,
    runtime: &Runtime,
) -> f64 {
    let most = if tasks == 1 { 100_000.0 } else { 3_000_000.0 };
    let count = (most * time.as_secs_f64()) as usize;
    let stop = Arc::new(AtomicBool::new(false));
    let (changes, took) = match contestant {
        Contestant::Ours(store) => {
            let pool = Pool::new((0..count).map(|_| ours::slot(world)).collect());
            let one = |pool: Arc<Pool<Slot>>, store: P2PStatePersistence, stop: Stop| async move {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    let Some(change) = pool.next().and_then(ours::take) else { break };
                    store.append(change).expect("an append").await.expect("a durable change");
                    count += 1;
                }
                (count, Instant::now())
            };
            tasks_of(runtime, tasks, time, stop, pool, store, one)
        }
        Contestant::Batched(group) => {
            let pool = Pool::new(world.ready_ops(count));
            let one = |pool: Arc<Pool<Op>>, group: Arc<Group>, stop: Stop| async move {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    let Some(op) = pool.next() else { break };
                    group.durable(group.append(*op)).await;
                    count += 1;
                }
                (count, Instant::now())
            };
            tasks_of(runtime, tasks, time, stop, pool, group, one)
        }
        Contestant::Native(rival) => {
            threads(rival, &Pool::new(world.ready_ops(count)), tasks, time, &stop)
        }
    };
    changes as f64 / took.as_secs_f64()
}

type Stop = Arc<AtomicBool>;

/// Runs as many tasks until the time is over, or the changes are used up; returns how many they
/// made, and the time.
fn tasks_of<P, S, F>(
    runtime: &Runtime,
    tasks: usize,
    time: Duration,
    stop: Stop,
    pool: Pool<P>,
    store: &S,
    task: impl Fn(Arc<Pool<P>>, S, Stop) -> F,
) -> (usize, Duration)
where
    S: Clone,
    F: Future<Output = (usize, Instant)> + Send + 'static,
{
    let pool = Arc::new(pool);
    let started = Instant::now();
    let handles: Vec<_> = (0..tasks)
        .map(|_| runtime.spawn(task(Arc::clone(&pool), store.clone(), Arc::clone(&stop))))
        .collect();
    thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    let ends = runtime.block_on(async {
        let mut ends = Vec::new();
        for handle in handles {
            ends.push(handle.await.expect("a task"));
        }
        ends
    });
    total(ends, started)
}

fn total(ends: Vec<(usize, Instant)>, started: Instant) -> (usize, Duration) {
    let last = ends.iter().map(|(_, end)| *end).max().unwrap_or(started);
    (ends.iter().map(|(count, _)| count).sum(), last - started)
}

fn threads(
    rival: &Arc<dyn Rival>,
    pool: &Pool<Op>,
    tasks: usize,
    time: Duration,
    stop: &AtomicBool,
) -> (usize, Duration) {
    let started = Instant::now();
    let ends = thread::scope(|scope| {
        let one = || {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let Some(op) = pool.next() else { break };
                rival.commit(std::slice::from_ref(op), true).expect("a commit");
                count += 1;
            }
            (count, Instant::now())
        };
        let spawned = (0..tasks).map(|_| {
            let thread = thread::Builder::new().stack_size(256 << 10);
            thread.spawn_scoped(scope, one).expect("a thread")
        });
        let handles: Vec<_> = spawned.collect();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        handles.into_iter().map(|handle| handle.join().expect("a thread")).collect()
    });
    total(ends, started)
}
