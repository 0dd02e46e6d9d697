//! What was found in an input: rows to merge, each with the place where it stood, and what cannot
//! be taken.

use peer_journal::state::{Address, Change, PeerKey, Reputation, Time};
use serde::Serialize;

use super::format::Format;
use crate::show;

/// Where something stood in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The line where it begins; none for another store.
    pub(super) line: Option<u64>,
    /// The text itself, or where it stands in a JSON document.
    pub(super) item: String,
}

impl Place {
    pub(super) fn new(line: Option<u64>, item: impl Into<String>) -> Self {
        Self { line, item: item.into() }
    }
}

/// Something to merge into the store.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Row {
    /// One address, of a list.
    Address {
        peer: PeerKey,
        address: Address,
    },
    /// A peer's row; a time that is the UNIX epoch means heard of, never seen.
    Peer {
        peer: PeerKey,
        addresses: Vec<Address>,
        last_seen: Time,
    },
    Reputation {
        peer: PeerKey,
        reputation: Reputation,
    },
    Dht {
        key: Box<str>,
        value: Box<[u8]>,
        at: Time,
    },
    Package {
        id: Box<str>,
        data: Box<[u8]>,
        at: Time,
    },
    Bootstrap {
        node: Box<str>,
    },
    Ban {
        peer: PeerKey,
        at: Time,
        until: Time,
        reason: Box<str>,
        source: Box<str>,
    },
    Profile {
        peer: PeerKey,
        verified: bool,
        agent: Option<Box<str>>,
        protocols: Vec<Box<str>>,
    },
}

impl Row {
    /// What rows of this kind are called in counts.
    pub(super) const fn noun(&self) -> &'static str {
        match self {
            Self::Address { .. } => "address",
            Self::Peer { .. } => "peer",
            Self::Reputation { .. } => "reputation",
            Self::Dht { .. } => "DHT entry",
            Self::Package { .. } => "package",
            Self::Bootstrap { .. } => "bootstrap node",
            Self::Ban { .. } => "ban",
            Self::Profile { .. } => "profile",
        }
    }

    /// The change that a row is where nothing has to be weighed against what the store knows.
    pub(super) fn into_change(self) -> Change {
        match self {
            Self::Address { peer, address } => {
                Change::AddressesAdded { peer, addresses: vec![address] }
            }
            Self::Peer { peer, addresses, last_seen } if last_seen == Time::EPOCH => {
                Change::AddressesAdded { peer, addresses }
            }
            Self::Peer { peer, addresses, last_seen } => {
                Change::PeerSeen { peer, at: last_seen, addresses }
            }
            Self::Reputation { peer, reputation } => Change::ReputationSet { peer, reputation },
            Self::Dht { key, value, at } => Change::DhtPut { key, value, at },
            Self::Package { id, data, at } => Change::PackageCached { id, data, at },
            Self::Bootstrap { node } => Change::BootstrapAdded { node },
            Self::Ban { peer, at, until, reason, source } => {
                Change::Banned { peer, at, until, reason, source }
            }
            Self::Profile { peer, agent, protocols, .. } => {
                Change::PeerProfiled { peer, agent, protocols }
            }
        }
    }
}

/// Something that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Skip {
    /// The line where it begins; none for another store.
    pub(super) line: Option<u64>,
    /// The text, or where it stands in a JSON document.
    pub(super) item: String,
    pub(super) reason: String,
    /// False if that is as it should be, such as a ban that has run out.
    pub(super) fault: bool,
}

impl Skip {
    /// Something that is wrong with the input, or that the store cannot take.
    pub(super) fn fault(place: Place, reason: impl Into<String>) -> Self {
        Self { line: place.line, item: place.item, reason: reason.into(), fault: true }
    }

    /// Something that no longer matters.
    pub(super) fn over(place: Place, reason: impl Into<String>) -> Self {
        Self { fault: false, ..Self::fault(place, reason) }
    }

    /// `line 3: /ip4/192.0.2.1: why`, safe to print.
    pub(super) fn told(&self) -> String {
        let item = show::head(&self.item, 100);
        let place = match self.line {
            Some(line) => format!("line {}: {item}", show::number(line)),
            None => item,
        };
        format!("{place}: {}", show::text(&self.reason))
    }
}

/// Everything that an input holds.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) format: Format,
    pub(super) rows: Vec<(Place, Row)>,
    pub(super) skips: Vec<Skip>,
    /// What the person should know of this input as a whole.
    pub(super) notes: Vec<&'static str>,
}

impl Found {
    pub(super) const fn new(format: Format) -> Self {
        Self { format, rows: Vec::new(), skips: Vec::new(), notes: Vec::new() }
    }

    /// Takes what was made of a place: a row, or why there is none.
    pub(super) fn take(&mut self, place: Place, made: Result<Row, String>) {
        match made {
            Ok(row) => self.rows.push((place, row)),
            Err(reason) => self.skips.push(Skip::fault(place, reason)),
        }
    }
}
