//! Threads that apply the records of a long journal beside the one that reads and decodes them.
//!
//! Each hand of the crew owns some parts of the peers for as long as it works, so that nothing is
//! shared but the blocks, which nobody changes. What is no peer is applied by the caller.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use super::block::{Block, Refused};
use crate::state::{Ledger, Limits, PARTS, PeersPart, Shares, State};

/// Blocks that wait for a hand: so many that none waits for the next one.
const WAITING_MAX: usize = 2;

/// The threads, while they hold the peers of a state.
pub(super) struct Crew {
    hands: Vec<Hand>,
    ledger: Ledger,
}

struct Hand {
    work: SyncSender<Work>,
    thread: JoinHandle<Held>,
}

enum Work {
    /// A part of the peers is this hand's now.
    Hold(usize, PeersPart),
    /// Records to apply.
    Apply(Arc<(Block, Shares)>),
}

/// What a hand has, and gives back.
#[derive(Default)]
struct Held {
    parts: Vec<(usize, PeersPart)>,
    refused: Refused,
}

impl Crew {
    /// How many threads are worth having on this machine.
    pub(super) fn size() -> usize {
        thread::available_parallelism().map_or(1, usize::from).min(PARTS)
    }

    /// A crew of so many threads, to which the state gives its peers; `None` if there are no
    /// threads to be had. `ledger` is what the limits still let into the state.
    pub(super) fn hire(threads: usize, ledger: Ledger, state: &mut State) -> Option<Self> {
        let limits = *state.limits();
        let hands: Vec<Hand> = (0..threads).map_while(|_| Hand::hire(limits)).collect();
        if hands.is_empty() {
            return None;
        }
        let parts = state.lend_peers().into_iter().enumerate();
        for ((index, part), hand) in parts.zip(hands.iter().cycle()) {
            hand.give(Work::Hold(index, part));
        }
        Some(Self { hands, ledger })
    }

    /// Shares out the records of a block. `None` if they have to be applied one after the other,
    /// or if there may be no room for all of them: each change before was taken to need some.
    pub(super) fn share(&mut self, block: &Block) -> Option<Shares> {
        block.share(&mut self.ledger)
    }

    /// Has a block applied, all but what is no peer, which `state` takes now.
    pub(super) fn apply(
        &self,
        block: Block,
        shares: Shares,
        state: &mut State,
        refused: &mut Refused,
    ) {
        let work = Arc::new((block, shares));
        for hand in &self.hands {
            hand.give(Work::Apply(Arc::clone(&work)));
        }
        let (block, shares) = work.as_ref();
        for piece in &shares.rest {
            if let Err(error) = state.apply_all(piece.of(&block.changes)) {
                refused.add(block.lsn(piece.record), &error);
            }
        }
    }

    /// Waits for the crew, and gives the peers back to the state.
    pub(super) fn dismiss(self, state: &mut State, refused: &mut Refused) {
        let mut parts: [PeersPart; PARTS] = Default::default();
        for Hand { work, thread } in self.hands {
            drop(work);
            let held = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            for (index, part) in held.parts {
                if let Some(place) = parts.get_mut(index) {
                    *place = part;
                }
            }
            refused.add_all(held.refused);
        }
        state.take_back(parts);
    }
}

impl Hand {
    fn hire(limits: Limits) -> Option<Self> {
        let (work, waiting) = sync_channel(WAITING_MAX);
        let thread = thread::Builder::new().name("peer-journal-replay".to_owned());
        let thread = thread.spawn(move || run(&waiting, &limits)).ok()?;
        Some(Self { work, thread })
    }

    /// A hand takes what it is given until it is dismissed; one that panicked is told of then.
    fn give(&self, work: Work) {
        self.work.send(work).unwrap_or_default();
    }
}

fn run(waiting: &Receiver<Work>, limits: &Limits) -> Held {
    let mut held = Held::default();
    for work in waiting {
        match work {
            Work::Hold(index, part) => held.parts.push((index, part)),
            Work::Apply(work) => {
                let (block, shares) = work.as_ref();
                let Held { parts, refused } = &mut held;
                for (index, part) in parts {
                    let Some(pieces) = shares.parts.get(*index) else { continue };
                    let records = pieces.iter().map(|piece| piece.of(&block.changes));
                    part.apply_records(records, limits, |number, error| {
                        let record = pieces.get(number).map_or(0, |piece| piece.record);
                        refused.add(block.lsn(record), &error);
                    });
                }
            }
        }
    }
    held
}
