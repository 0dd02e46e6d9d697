//! The batching writer thread behind which every rival is put a second time: while one commit
//! runs, the next batch gathers. It has the limit's group commit too, so it is as lean as it gets:
//! one lock for the queue, one for the waiters, nothing allocated per change.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant},
};

use crate::{engines::Rival, workload::Op};

/// Relaxed changes are synced at the latest after this time, as in peer-journal.
const SYNC_WITHIN: Duration = Duration::from_millis(100);
/// Longest time for which a commit waits for others to join it, as in peer-journal.
const GATHER_LONGEST: Duration = Duration::from_micros(200);
/// Relaxed changes that may wait; past it the producer sleeps.
const QUEUED_MAX: usize = 1 << 16;

pub struct Group {
    shared: Arc<Shared>,
    committer: Thread,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    durable: AtomicU64,
    waiters: Mutex<Vec<(u64, Waker)>>,
    idle: AtomicBool,
    /// All whom the writer thread waits for have appended.
    gathered: AtomicBool,
    /// The next commit is to be synced, relaxed or not.
    demand: AtomicBool,
    relaxed: bool,
}

#[derive(Default)]
struct Queue {
    ops: Vec<Op>,
    last: u64,
    gather_until: u64,
    closing: bool,
}

impl Group {
    /// Starts the writer thread. `relaxed` commits without a sync most of the time.
    pub fn start(rival: Arc<dyn Rival>, relaxed: bool) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            durable: AtomicU64::new(0),
            waiters: Mutex::default(),
            idle: AtomicBool::new(false),
            gathered: AtomicBool::new(false),
            demand: AtomicBool::new(false),
            relaxed,
        });
        let of_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || of_thread.run(rival.as_ref()));
        Self { shared, committer: thread.thread().clone(), thread: Some(thread) }
    }

    /// Queues the change and returns its number.
    pub fn append(&self, op: Op) -> u64 {
        let (number, queued, gathered) = {
            let mut queue = self.shared.queue.lock().unwrap();
            queue.ops.push(op);
            queue.last += 1;
            (queue.last, queue.ops.len(), queue.gather_until == queue.last)
        };
        if gathered {
            self.shared.gathered.store(true, Ordering::Release);
        }
        if self.shared.idle.load(Ordering::SeqCst) {
            self.committer.unpark();
        }
        if queued > QUEUED_MAX {
            thread::sleep(Duration::from_millis(1));
        }
        number
    }

    /// Queues the change and has it synced, and with it all before it.
    pub fn append_synced(&self, op: Op) -> Durable<'_> {
        self.shared.demand.store(true, Ordering::SeqCst);
        let number = self.append(op);
        self.durable(number)
    }

    /// Resolves when the change of this number is durable.
    pub fn durable(&self, number: u64) -> Durable<'_> {
        Durable { shared: &self.shared, number }
    }
}

/// Ends when all that was queued is committed.
impl Drop for Group {
    fn drop(&mut self) {
        self.shared.queue.lock().unwrap().closing = true;
        self.committer.unpark();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the writer thread");
        }
    }
}

impl Shared {
    fn run(&self, rival: &dyn Rival) {
        let mut spare = Vec::new();
        let mut synced = Instant::now();
        let (mut failures, mut skips) = (0_u32, 0_u32);
        let mut expected = None;
        loop {
            match expected.take() {
                Some(_) if skips > 0 => skips -= 1,
                Some((count, until)) if !self.gather(count, until) => {
                    failures = (failures + 1).min(6);
                    skips = (1 << failures) - 1;
                }
                Some(_) => failures = 0,
                None => {}
            }
            let (ops, last, closing) = {
                let mut queue = self.queue.lock().unwrap();
                let ops = std::mem::replace(&mut queue.ops, std::mem::take(&mut spare));
                (ops, queue.last, queue.closing)
            };
            if ops.is_empty() {
                if closing {
                    return;
                }
                spare = ops;
                self.sleep();
                continue;
            }
            let demanded = self.demand.swap(false, Ordering::SeqCst);
            let sync = !self.relaxed || demanded || synced.elapsed() >= SYNC_WITHIN;
            let started = Instant::now();
            rival.commit(&ops, sync).expect("a commit");
            if sync {
                synced = Instant::now();
                let most = (started.elapsed() / 2).min(GATHER_LONGEST);
                let count = self.publish(last);
                expected = (!self.relaxed).then(|| (count, Instant::now() + most));
            }
            spare = ops;
            spare.clear();
        }
    }

    /// As peer-journal does: those who were woken are given a moment to come back, so that one
    /// commit covers them all. False if too few did.
    fn gather(&self, count: usize, until: Instant) -> bool {
        {
            let mut queue = self.queue.lock().unwrap();
            let missing = count.saturating_sub(queue.ops.len());
            if missing == 0 || queue.closing {
                return true;
            }
            queue.gather_until = queue.last + missing as u64;
            self.gathered.store(false, Ordering::Release);
        }
        while !self.gathered.load(Ordering::Acquire) {
            if Instant::now() >= until {
                return self.queue.lock().unwrap().ops.len() >= count / 4 * 3;
            }
            thread::yield_now();
        }
        true
    }

    /// Says so first, looks again, and only then sleeps: no append is missed.
    fn sleep(&self) {
        self.idle.store(true, Ordering::SeqCst);
        let is_empty = {
            let queue = self.queue.lock().unwrap();
            queue.ops.is_empty() && !queue.closing
        };
        if is_empty {
            thread::park_timeout(SYNC_WITHIN);
        }
        self.idle.store(false, Ordering::SeqCst);
    }

    /// Returns how many waited.
    fn publish(&self, last: u64) -> usize {
        self.durable.store(last, Ordering::Release);
        let mut woken = Vec::new();
        let count = {
            let mut waiters = self.waiters.lock().unwrap();
            let count = waiters.len();
            if waiters.iter().all(|(number, _)| *number <= last) {
                std::mem::swap(&mut *waiters, &mut woken);
            } else {
                woken.extend(waiters.extract_if(.., |(number, _)| *number <= last));
            }
            count
        };
        woken.into_iter().for_each(|(_, waker)| waker.wake());
        count
    }
}

pub struct Durable<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Future for Durable<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.shared.durable.load(Ordering::Acquire) >= self.number {
            return Poll::Ready(());
        }
        let mut waiters = self.shared.waiters.lock().unwrap();
        if self.shared.durable.load(Ordering::Acquire) >= self.number {
            return Poll::Ready(());
        }
        waiters.push((self.number, context.waker().clone()));
        Poll::Pending
    }
}
