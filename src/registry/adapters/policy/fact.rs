//! What a program learns of peers.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};

/// One thing that a program learns of a peer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant says what its fields are for")]
pub enum Fact<'a> {
    /// We dialled the address and the peer was there: hard the first time, soft after.
    Dialled { peer: &'a PeerId, address: &'a Multiaddr },
    /// The peer dialled us from this address: soft. The port says nothing of where it listens, so
    /// that the address is not kept; it tells how near the peer is, and whose network it is in.
    Accepted { peer: &'a PeerId, address: &'a Multiaddr },
    /// A connection ended: soft.
    Closed { peer: &'a PeerId },
    /// The peer did something: soft.
    Alive { peer: &'a PeerId },
    /// It took a ping this long to come back: kept in memory only, but for that the peer was seen,
    /// at most once in ten minutes.
    Latency { peer: &'a PeerId, rtt: Duration },
    /// Somebody says that the peer is there: hard at first sight.
    Heard { peer: &'a PeerId, address: &'a Multiaddr },
    /// The peer `by` says that the peer is there: hard at first sight. How many peers one peer can
    /// make known this way is limited.
    Told { peer: &'a PeerId, address: &'a Multiaddr, by: &'a PeerId },
    /// The same as heard, but a mere candidate: soft.
    Candidate { peer: &'a PeerId, address: &'a Multiaddr },
    /// The peer says of itself where it listens (instead of what it said before), what it runs and
    /// what it speaks: hard where it changed. `record` is the number of the signed record that the
    /// addresses are from, if they are: those of an older record than the newest one since the
    /// start of the program are passed over.
    Identified {
        peer: &'a PeerId,
        addresses: &'a [Multiaddr],
        agent: &'a str,
        protocols: &'a [&'a str],
        record: Option<u64>,
    },
    /// Nobody answered there: counted, and after some the address goes.
    Unreachable { peer: &'a PeerId, address: &'a Multiaddr },
    /// Somebody else is there: hard.
    SomebodyElse { peer: &'a PeerId, address: &'a Multiaddr },
}

impl<'a> Fact<'a> {
    /// Whom it is about.
    #[must_use]
    pub const fn peer(&self) -> &'a PeerId {
        match self {
            Self::Dialled { peer, .. }
            | Self::Accepted { peer, .. }
            | Self::Closed { peer }
            | Self::Alive { peer }
            | Self::Latency { peer, .. }
            | Self::Heard { peer, .. }
            | Self::Told { peer, .. }
            | Self::Candidate { peer, .. }
            | Self::Identified { peer, .. }
            | Self::Unreachable { peer, .. }
            | Self::SomebodyElse { peer, .. } => peer,
        }
    }
}
