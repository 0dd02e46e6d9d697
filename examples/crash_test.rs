//! A crash test of a program of yours: a ledger of peers that must never forget a ban or a credit
//! it has told somebody about.
//!
//! The program runs once on a simulated disk, which keeps a copy of itself from before each of its
//! calls. The power is then cut on every copy, in every way there is where those are few, and the
//! program starts again on what is left. Whatever it had promised by then must hold.
//!
//! The same test runs on a careless ledger, which tells of a ban before it is durable: a crash test
//! that finds nothing there would find nothing anywhere.
//!
//! `cargo run --example crash_test --features testing [SEED]`
#![allow(clippy::print_stdout)]

use std::{error::Error, sync::Arc, time::Duration};

use peer_journal::{
    P2PStatePersistence, PeerId,
    testing::{Outcome, SimDisk},
    vfs::Vfs,
};

/// The program under test.
struct Ledger {
    store: P2PStatePersistence,
    /// Wait until a ban is durable before telling of it.
    careful: bool,
}

impl Ledger {
    /// A program that is tested like this takes its disk as an argument; in earnest that is the
    /// default of the builder, `OsVfs`.
    fn open(disk: Arc<dyn Vfs>, careful: bool) -> Result<Self, peer_journal::Error> {
        // Small segments: what the simulated disk holds is copied for every power cut.
        let options = P2PStatePersistence::builder("/ledger/peers.json").segment_bytes(8 << 10);
        Ok(Self { store: options.vfs(disk).open()?, careful })
    }

    /// The peer has served so many packages.
    fn credit(&self, peer: &PeerId, packages: u64) -> Result<Promise, peer_journal::Error> {
        self.store.packages_provided(peer, packages)?.wait()?;
        Ok(Promise::Credit(*peer, packages))
    }

    /// The peer has cheated: nobody shall deal with it for a year.
    fn cheated(&self, peer: &PeerId) -> Result<Promise, peer_journal::Error> {
        let year = Duration::from_secs(365 * 24 * 3600);
        let ack = self.store.ban(peer, year, "served other bytes than it promised", "ledger")?;
        if self.careful {
            ack.wait()?;
        }
        Ok(Promise::Ban(*peer))
    }

    fn is_kept(&self, promise: &Promise) -> Result<bool, peer_journal::Error> {
        let view = self.store.view()?;
        Ok(match promise {
            Promise::Ban(peer) => view.ban(peer, chrono::Utc::now()).is_some(),
            Promise::Credit(peer, packages) => {
                let reputation = view.peer(peer).and_then(|entry| entry.reputation.as_ref());
                reputation.is_some_and(|found| found.packages_provided >= *packages)
            }
        })
    }
}

/// What the program has told the world.
#[derive(Debug)]
enum Promise {
    Ban(PeerId),
    Credit(PeerId, u64),
}

/// A day of the ledger. Gives its promises, each with the number of calls on the disk by then.
fn day(disk: &SimDisk, careful: bool) -> Result<Vec<(u64, Promise)>, Box<dyn Error>> {
    let mut promises = Vec::new();
    let ledger = Ledger::open(Arc::new(disk.mount()), careful)?;
    for number in 0..4 {
        let peer = peer(number)?;
        let promise = ledger.credit(&peer, u64::from(number) + 1)?;
        promises.push((disk.calls(), promise));
        if number % 2 == 0 {
            let promise = ledger.cheated(&peer)?;
            promises.push((disk.calls(), promise));
        }
    }
    drop(ledger);
    let ledger = Ledger::open(Arc::new(disk.mount()), careful)?;
    let promise = ledger.credit(&peer(1)?, 10)?;
    promises.push((disk.calls(), promise));
    Ok(promises)
}

/// How many power cuts there were, and the first of them after which a promise was broken.
fn crash_test(seed: u64, careful: bool) -> Result<(usize, Option<String>), Box<dyn Error>> {
    let disk = SimDisk::new(seed);
    disk.record_images();
    let promises = day(&disk, careful)?;
    let mut cuts = 0;
    for image in disk.take_images() {
        // All ways to lose power here, or sixteen of them; and one that tears the last write.
        let mut outcomes = image.outcomes(16, seed);
        outcomes.push(Outcome::Torn(seed));
        for outcome in outcomes {
            let left = image.fork();
            left.power_cut(outcome);
            cuts += 1;
            let ledger = Ledger::open(Arc::new(left.mount()), careful)?;
            for (calls, promise) in &promises {
                // A crash in the next call comes after everything told by now.
                if *calls <= image.calls() && !ledger.is_kept(promise)? {
                    let report = ledger.store.recovery()?;
                    let crash = format!("call {} and {outcome:?}", image.calls() + 1);
                    let broken = format!("{promise:?} was broken by a crash in {crash}: {report}");
                    return Ok((cuts, Some(broken)));
                }
            }
        }
    }
    Ok((cuts, None))
}

/// A made-up peer, the same in every run.
fn peer(number: u8) -> Result<PeerId, Box<dyn Error>> {
    let mut multihash = vec![0x12, 0x20];
    multihash.extend([number + 1; 32]);
    Ok(PeerId::from_bytes(&multihash)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let seed = std::env::args().nth(1).map_or(Ok(1), |seed| seed.parse())?;
    println!("seed {seed}");
    let (cuts, broken) = crash_test(seed, true)?;
    if let Some(broken) = broken {
        return Err(broken.into());
    }
    println!("the ledger kept every promise through {cuts} power cuts");
    let (cuts, broken) = crash_test(seed, false)?;
    let broken = broken.ok_or("the crash test does not find the careless ledger out")?;
    println!("the careless one broke one after {cuts}: {broken}");
    Ok(())
}

/// So that `cargo test` runs it, too.
#[test]
fn the_ledger_keeps_its_promises_and_the_careless_one_is_found_out() {
    let (_, broken) = crash_test(7, true).unwrap_or_else(|error| (0, Some(error.to_string())));
    assert_eq!(broken, None);
    let (_, broken) = crash_test(7, false).unwrap_or_default();
    assert!(broken.is_some());
}
