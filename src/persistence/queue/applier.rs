//! Who applies what is deferred: whoever appends, or a thread beside a snapshot.
//!
//! While a snapshot is written, what it shares has to be copied before it is changed, which takes
//! longer than all else that an append does. A thread does it then, and those who append only if it
//! does not keep up.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use super::{
    super::sync::{
        APPLIER_LOOKS, Apart, AtomicBool, AtomicUsize, Bell, LEFT_MAX, MutexGuard, lock_short,
        thread::{self, JoinHandle},
        try_lock,
    },
    Inner, Queue,
};
use crate::state::{FETCHED_MAX, LivePeers};

/// Changes that are deferred while the commit thread waits for others to join its commit: they are
/// applied while the disk syncs.
const DEFERRED_WHILE_GATHERING: usize = 64;
/// Changes that are deferred before an append waits for somebody else who applies earlier ones.
const DEFERRED_MAX: usize = 256;
/// Leaves that an append copies where the thread does not keep up: more than it brings.
const COPIES_MAX: usize = 2;

/// What those who append know of others who apply.
#[derive(Debug, Default)]
pub(super) struct Applying {
    /// Without the thread each change is to be passed on to the peers by itself.
    one_by_one: AtomicBool,
    /// The thread looks for what is deferred. Changes under the queue's lock, as does the next.
    is_awake: AtomicBool,
    /// The thread sleeps until enough is deferred.
    is_asleep: AtomicBool,
    /// No more changes wait that the peers received.
    waiting: AtomicUsize,
    /// So many wait for the peers' lock: the thread lets them have it.
    wanted: AtomicUsize,
    thread: Bell,
}

/// What an append does behind its change, without the queue's lock.
pub(super) enum Task<'a> {
    Nothing,
    /// Applies what the peers received.
    Apply(MutexGuard<'a, Apart<LivePeers>>),
    /// Applies a little of it.
    Help(MutexGuard<'a, Apart<LivePeers>>),
    /// Wakes the thread.
    Wake,
}

impl Queue {
    /// What is to be done now that one more change may be deferred.
    pub(super) fn task(&self, inner: &mut Inner) -> Task<'_> {
        let deferred = inner.state.deferred();
        let applying = &self.applying;
        if applying.is_awake.load(Ordering::Relaxed) {
            let waiting = deferred.saturating_add(applying.waiting.load(Ordering::Relaxed));
            if waiting < LEFT_MAX {
                return Task::Nothing;
            }
            return Task::Help(self.receive(inner, self.peers()));
        }
        let is_asleep = applying.is_asleep.load(Ordering::Relaxed);
        let enough = if applying.one_by_one.load(Ordering::Relaxed) && !is_asleep {
            1
        } else if inner.is_gathering() {
            DEFERRED_WHILE_GATHERING
        } else {
            FETCHED_MAX
        };
        if deferred < enough {
            return Task::Nothing;
        }
        if is_asleep {
            applying.is_asleep.store(false, Ordering::Relaxed);
            applying.is_awake.store(true, Ordering::Relaxed);
            return Task::Wake;
        }
        let peers =
            if deferred < DEFERRED_MAX { try_lock(&self.peers) } else { Some(self.peers()) };
        peers.map_or(Task::Nothing, |peers| Task::Apply(self.receive(inner, peers)))
    }

    /// The peers, as soon as nobody else has them.
    pub(super) fn peers(&self) -> MutexGuard<'_, Apart<LivePeers>> {
        self.applying.wanted.fetch_add(1, Ordering::Relaxed);
        let peers = lock_short(&self.peers);
        self.applying.wanted.fetch_sub(1, Ordering::Relaxed);
        peers
    }

    /// Has the peers receive what is deferred.
    fn receive<'a>(
        &self,
        inner: &mut Inner,
        mut peers: MutexGuard<'a, Apart<LivePeers>>,
    ) -> MutexGuard<'a, Apart<LivePeers>> {
        peers.receive(&mut inner.state);
        self.applying.waiting.store(peers.waiting(), Ordering::Relaxed);
        peers
    }

    pub(super) fn carry_out(&self, task: Task<'_>) {
        match task {
            Task::Nothing => {}
            Task::Apply(mut peers) => {
                let is_copying = peers.work();
                self.pass_one_by_one(is_copying);
            }
            Task::Help(peers) => self.work_on(peers, COPIES_MAX),
            Task::Wake => self.applying.thread.ring(),
        }
    }

    fn work_on(&self, mut peers: MutexGuard<'_, Apart<LivePeers>>, copies_max: usize) {
        let is_copying = peers.work_on(copies_max);
        self.applying.waiting.store(peers.waiting(), Ordering::Relaxed);
        self.pass_one_by_one(is_copying);
    }

    fn pass_one_by_one(&self, one_by_one: bool) {
        // Looked at first: a store would take the line away from all who look.
        if self.applying.one_by_one.load(Ordering::Relaxed) != one_by_one {
            self.applying.one_by_one.store(one_by_one, Ordering::Relaxed);
        }
    }

    /// Applies what is deferred until it is to stop.
    fn apply_until(&self, stop: &AtomicBool) {
        self.applying.thread.set(thread::current());
        let mut looks: u32 = 0;
        loop {
            self.work_off(usize::MAX);
            let mut inner = self.lock();
            let stops = stop.load(Ordering::Acquire);
            let is_enough = inner.state.deferred() >= FETCHED_MAX;
            let rests = looks >= APPLIER_LOOKS && !is_enough;
            // Under the lock: whoever appends next knows whether to wake this thread.
            self.applying.is_awake.store(!stops && !rests, Ordering::Relaxed);
            self.applying.is_asleep.store(!stops && rests, Ordering::Relaxed);
            if stops {
                let peers = self.receive(&mut inner, lock_short(&self.peers));
                let left = peers.waiting();
                drop(peers);
                drop(inner);
                // What is appended meanwhile is for those who append it.
                return self.work_off(left);
            }
            if is_enough {
                drop(self.receive(&mut inner, lock_short(&self.peers)));
                looks = 0;
            } else {
                drop(inner);
                looks = looks.saturating_add(1);
                if rests {
                    thread::park();
                    looks = 0;
                } else {
                    thread::yield_now();
                }
            }
        }
    }

    /// Applies what the peers received, a few changes at a time, and so many times at most.
    fn work_off(&self, times: usize) {
        for _ in 0..times {
            // Whoever wants them has them first.
            while self.applying.wanted.load(Ordering::Relaxed) > 0 {
                thread::yield_now();
            }
            let peers = lock_short(&self.peers);
            if peers.waiting() == 0 {
                self.applying.waiting.store(0, Ordering::Relaxed);
                return;
            }
            self.work_on(peers, usize::MAX);
        }
    }
}

/// The thread; one at a time. It ends when this is dropped.
#[derive(Debug)]
pub(in crate::persistence) struct Applier {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Applier {
    pub(in crate::persistence) fn start(queue: &Arc<Queue>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (queue, stopped) = (Arc::clone(queue), Arc::clone(&stop));
        let named = thread::Builder::new().name("peer-journal-apply".into());
        let thread = named.spawn(move || queue.apply_until(&stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Applier {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        if thread.join().is_err() {
            tracing::error!("the applying thread panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::queue, *};
    use crate::state::{Change, Limits, PeerKey, Time};

    fn failed(peer: usize) -> Option<Change> {
        let peer = PeerKey::from_text(&peer.to_string());
        Some(Change::RetrievalFailed { peer, at: Time::EPOCH })
    }

    /// Appends a retrieval of this peer; tells how many changes are deferred then.
    fn append(queue: &Queue, peer: usize) -> usize {
        queue.append_one(&mut failed(peer)).unwrap();
        queue.lock().state.deferred()
    }

    fn counted(queue: &Queue) -> u64 {
        let (state, _) = queue.view();
        let rows = state.peers().filter_map(|(_, row)| row.reputation.as_ref());
        rows.map(|row| row.failed_retrievals).sum()
    }

    /// Changes that nobody has applied.
    fn pending(queue: &Queue) -> usize {
        let deferred = queue.lock().state.deferred();
        deferred + lock_short(&queue.peers).waiting()
    }

    fn until(what: &str, is_so: impl Fn() -> bool) {
        let started = std::time::Instant::now();
        while !is_so() {
            assert!(started.elapsed().as_secs() < 60, "{what}");
            thread::yield_now();
        }
    }

    #[test]
    fn while_somebody_is_at_work_changes_are_deferred_to_a_point() {
        let queue = queue(Limits::default());
        let at_work = lock_short(&queue.peers);
        for deferred in 1..DEFERRED_MAX {
            assert_eq!(append(&queue, 1), deferred);
        }
        thread::scope(|scope| {
            // This one waits until the other is done.
            let last = scope.spawn(|| append(&queue, 1));
            drop(at_work);
            assert_eq!(last.join().unwrap(), 0);
        });
        assert_eq!(counted(&queue), DEFERRED_MAX as u64);
    }

    #[test]
    fn the_thread_applies_what_others_append_and_is_woken_for_it() {
        let queue = Arc::new(queue(Limits::default()));
        let applier = Applier::start(&queue).unwrap();
        let is_asleep = || queue.applying.is_asleep.load(Ordering::Relaxed);
        for _ in 0..3 {
            until("it falls asleep", is_asleep);
            // With a view, so that there is something to copy.
            let view = queue.view();
            for peer in 1..FETCHED_MAX {
                assert_eq!(append(&queue, peer), peer, "nobody is to apply so few");
            }
            assert!(is_asleep());
            append(&queue, 99);
            until("all is applied", || pending(&queue) == 0);
            drop(view);
        }
        assert_eq!(counted(&queue), 3 * FETCHED_MAX as u64);
        drop(applier);
        assert!(!is_asleep() && !queue.applying.is_awake.load(Ordering::Relaxed));
        // Without it those who append apply: one, since something was copied last, then sixteen.
        assert_eq!(append(&queue, 5), 0);
        for deferred in (1..FETCHED_MAX).chain([0]) {
            assert_eq!(append(&queue, 5), deferred);
        }
    }

    #[test]
    fn it_applies_what_is_there_before_it_ends() {
        let queue = Arc::new(queue(Limits::default()));
        // Left to the thread.
        queue.applying.is_awake.store(true, Ordering::Relaxed);
        for peer in 0..FETCHED_MAX + 3 {
            append(&queue, peer);
        }
        drop(Applier::start(&queue).unwrap());
        assert_eq!(pending(&queue), 0);
        assert!(!queue.applying.is_awake.load(Ordering::Relaxed));
    }

    #[test]
    fn it_ends_though_others_append_without_a_pause() {
        let queue = Arc::new(queue(Limits::default()));
        let ends = AtomicBool::new(false);
        let appended = thread::scope(|scope| {
            let append_all = || {
                let mut views = Vec::new();
                let mut count: usize = 0;
                while !ends.load(Ordering::Relaxed) {
                    append(&queue, count % 500);
                    count += 1;
                    if count.is_multiple_of(200) {
                        views.push(queue.view());
                    }
                }
                count
            };
            let others = [scope.spawn(append_all), scope.spawn(append_all)];
            for _ in 0..100 {
                drop(Applier::start(&queue).unwrap());
                thread::yield_now();
            }
            ends.store(true, Ordering::Relaxed);
            others.map(|other| other.join().unwrap()).iter().sum::<usize>()
        });
        assert_eq!(counted(&queue), appended as u64);
    }

    #[test]
    fn it_and_those_who_append_apply_every_change_once() {
        let queue = Arc::new(queue(Limits::default()));
        let applier = Applier::start(&queue).unwrap();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for number in 0..4000 {
                        append(&queue, number);
                        if number % 1000 == 999 {
                            // So that leaves have to be copied.
                            drop(queue.view());
                        }
                    }
                });
            }
        });
        drop(applier);
        assert_eq!(counted(&queue), 8000);
    }

    #[test]
    fn an_append_helps_a_thread_that_does_not_keep_up() {
        let queue = queue(Limits::default());
        for peer in 0..1000 {
            append(&queue, peer);
        }
        // It gets no processor at all.
        queue.applying.is_awake.store(true, Ordering::Relaxed);
        let mut views = Vec::new();
        for number in 0..3000 {
            append(&queue, number);
            assert!(pending(&queue) <= LEFT_MAX, "{number}: {}", pending(&queue));
            if number % 1000 == 0 {
                views.push(queue.view());
            }
        }
        assert!(pending(&queue) > FETCHED_MAX, "it is left to the thread as far as possible");
        assert_eq!(counted(&queue), 4000);
    }
}
