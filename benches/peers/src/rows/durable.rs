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
    engines::{self, LIMIT, OURS, Result, Rival},
    group::Group,
    ours,
    report::Row,
    workload::World,
};

pub const TASKS: [usize; 3] = [1, 64, 1024];

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
    let mut rows: Vec<Row> = TASKS
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
        for (row, tasks) in rows.iter_mut().zip(TASKS) {
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
            "The limit writes as many bytes with the same group commit, and does nothing else. \
             Batched: behind that same writer thread. Native: one transaction per change, from as \
             many threads as there are tasks. SQLite NORMAL does not sync its commits, so it is \
             shown and not compared.",
        );
    }
    Ok(rows)
}

fn contestants(args: &Args, world: &Arc<World>, dir: &Path) -> Result<Vec<(String, Contestant)>> {
    let mut contestants = Vec::new();
    if args.wants(LIMIT) {
        let limit = engines::open(LIMIT, &dir.join(LIMIT), world, false)?;
        let group = Arc::new(Group::start(limit, false));
        contestants.push((LIMIT.to_owned(), Contestant::Batched(group)));
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

/// Changes per second.
fn measure(
    contestant: &Contestant,
    world: &Arc<World>,
    tasks: usize,
    time: Duration,
    runtime: &Runtime,
) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let changes = match contestant {
        Contestant::Ours(store) => {
            let step = |store: P2PStatePersistence, world: Arc<World>| async move {
                let ack = store.append(world.change(world.op())).expect("an append");
                ack.await.expect("a durable change");
            };
            tasks_of(runtime, tasks, time, &stop, world, store, step)
        }
        Contestant::Batched(group) => {
            let step = |group: Arc<Group>, world: Arc<World>| async move {
                let number = group.append(world.op());
                group.durable(number).await;
            };
            tasks_of(runtime, tasks, time, &stop, world, group, step)
        }
        Contestant::Native(rival) => threads(rival, world, tasks, time, &stop),
    };
    changes as f64 / started.elapsed().as_secs_f64()
}

/// Runs the step again and again in each task until the time is over; returns how often in all.
fn tasks_of<S, F>(
    runtime: &Runtime,
    tasks: usize,
    time: Duration,
    stop: &Arc<AtomicBool>,
    world: &Arc<World>,
    store: &S,
    step: impl Fn(S, Arc<World>) -> F + Copy + Send + 'static,
) -> usize
where
    S: Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let handles: Vec<_> = (0..tasks)
        .map(|_| {
            let (stop, world, store) = (Arc::clone(stop), Arc::clone(world), store.clone());
            runtime.spawn(async move {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    step(store.clone(), Arc::clone(&world)).await;
                    count += 1;
                }
                count
            })
        })
        .collect();
    thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        let mut total = 0;
        for handle in handles {
            total += handle.await.expect("a task");
        }
        total
    })
}

fn threads(
    rival: &Arc<dyn Rival>,
    world: &Arc<World>,
    tasks: usize,
    time: Duration,
    stop: &AtomicBool,
) -> usize {
    thread::scope(|scope| {
        let handles: Vec<_> = (0..tasks)
            .map(|_| {
                thread::Builder::new()
                    .stack_size(256 << 10)
                    .spawn_scoped(scope, || {
                        let mut count = 0;
                        while !stop.load(Ordering::Relaxed) {
                            rival.commit(&[world.op()], true).expect("a commit");
                            count += 1;
                        }
                        count
                    })
                    .expect("a thread")
            })
            .collect();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        handles.into_iter().map(|handle| handle.join().expect("a thread")).sum()
    })
}
