//! Makes a large store, to see how long the tool takes: `make_store FILE PEERS RECORDS
//! [SNAPSHOT_AT]`.
//!
//! The same arguments give the same rows. `SNAPSHOT_AT` compacts behind that record.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::{env, error::Error, process::ExitCode};

use chrono::{DateTime, TimeDelta, Utc};
use peer_journal::{
    Change, ErrorKind, P2PStatePersistence, PeerId,
    state::{Address, PeerKey},
};

fn main() -> ExitCode {
    match make() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn make() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [file, peers, records, rest @ ..] = args.as_slice() else {
        return Err("usage: make_store FILE PEERS RECORDS [SNAPSHOT_AT]".into());
    };
    let (peers, records): (u64, u64) = (peers.parse()?, records.parse()?);
    let snapshot_at: u64 = rest.first().map_or(Ok(0), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let store = P2PStatePersistence::open(file)?;
    let keys = (0..peers).map(key).collect::<Result<Vec<PeerKey>, _>>()?;
    for number in 0..records {
        let index = usize::try_from(number % peers)?;
        let Some(peer) = keys.get(index) else { break };
        let changes = changes(number, peers, peer);
        while let Err(error) = store.append_batch(changes.clone()) {
            if error.kind() != ErrorKind::Full {
                return Err(error.into());
            }
            store.status()?; // the disk is behind
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        if number + 1 == snapshot_at {
            runtime.block_on(store.compact())?;
        }
    }
    let view = store.view()?;
    println!("{:?} as of lsn {}", view.state().counts(), view.lsn());
    runtime.block_on(store.close())?;
    Ok(())
}

/// The first round makes the rows, the others are retrievals, and now and then a ban.
fn changes(number: u64, peers: u64, peer: &PeerKey) -> Vec<Change> {
    let at = at(number).into();
    let peer = peer.clone();
    if number < peers {
        let port = 1024 + number % 60_000;
        let addresses = ["192.0.2.1", "198.51.100.2", "203.0.113.3"]
            .map(|ip| Address::from_text(&format!("/ip4/{ip}/tcp/{port}")));
        return vec![
            Change::PeerSeen { peer: peer.clone(), at, addresses: addresses.to_vec() },
            Change::PeerVerified { peer, verified: true },
        ];
    }
    vec![match number % 97 {
        0 => Change::Banned {
            peer,
            at,
            until: (at.get() + TimeDelta::days(30)).into(),
            reason: "3 failures in a row".into(),
            source: "make_store".into(),
        },
        1..20 => Change::RetrievalFailed { peer, at },
        rest => Change::RetrievalSucceeded { peer, at, response_ms: rest },
    }]
}

/// 10 ms between two records.
fn at(number: u64) -> DateTime<Utc> {
    let ms = i64::try_from(number).unwrap_or(i64::MAX).saturating_mul(10);
    DateTime::from_timestamp(1_772_000_000, 0).unwrap_or_default() + TimeDelta::milliseconds(ms)
}

fn key(number: u64) -> Result<PeerKey, Box<dyn Error>> {
    let mut bytes = vec![0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
    for part in 1..=4_u64 {
        let mixed = (number + part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        bytes.extend_from_slice(&mixed.wrapping_mul(2 * part + 1).to_be_bytes());
    }
    Ok(PeerKey::from(PeerId::from_bytes(&bytes)?))
}
