//! Peers by reputation: ranking, and where they are.

use chrono::Utc;
use libp2p_identity::PeerId;

use std::time::Duration;

use super::{
    P2PRegistry,
    score::{last_seen, score},
};
use crate::{
    Error,
    state::{GeoLocation, PeerEntry, Reputation, Time},
};

/// A peer with its score and what the score rests on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RankedPeer {
    /// The peer.
    pub peer: PeerId,
    /// Its [`score`](crate::registry::score), from 0 to 1.
    pub score: f64,
    /// What is remembered of how it behaved.
    pub reputation: Reputation,
    /// Moving average of its ping time, if it was pinged since the start.
    pub ping: Option<Duration>,
}

impl P2PRegistry {
    /// The peers with at least `min_reputation`, the best first, at most `limit`. Only those that
    /// we spoke to or fetched from count: of the others nothing is known. `my_location` stands in
    /// for the node's own; with `None` the own one is used, if it was set.
    ///
    /// # Errors
    /// `Invalid` for a location that is not on earth.
    pub fn select_best_peers(
        &self,
        min_reputation: f64,
        limit: usize,
        my_location: Option<&GeoLocation>,
    ) -> Result<Vec<RankedPeer>, Error> {
        if let Some(location) = my_location {
            check(location)?;
        }
        let view = self.store.view()?;
        let (state, now) = (view.state(), Time::from(Utc::now()));
        let here = my_location.cloned().or_else(|| self.own_location(&view));
        let mut ranked = Vec::new();
        for (key, entry) in state.peers() {
            let Some(peer) = key.to_peer_id().filter(|peer| *peer != self.local) else { continue };
            let banned = state.ban(key).is_some_and(|ban| ban.is_active(now));
            if banned || !is_known(entry) {
                continue;
            }
            let found = self.rank(peer, entry, now, here.as_ref());
            if found.score >= min_reputation {
                ranked.push(found);
            }
        }
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.peer.cmp(&b.peer)));
        ranked.truncate(limit);
        Ok(ranked)
    }

    /// The score of a peer and what it rests on; `None` if nothing is known of it.
    ///
    /// # Errors
    /// `Closed` if the store cannot be read any more.
    pub fn reputation(&self, peer: &PeerId) -> Result<Option<RankedPeer>, Error> {
        let view = self.store.view()?;
        let here = self.own_location(&view);
        let entry = view.peer(peer);
        Ok(entry.map(|entry| self.rank(*peer, entry, Utc::now().into(), here.as_ref())))
    }

    /// Where this node is; `None` takes it back. Remembered. Durable when it returns.
    ///
    /// # Errors
    /// `Invalid` for a location that is not on earth.
    pub async fn set_location(&self, location: Option<GeoLocation>) -> Result<(), Error> {
        self.store.set_location(&self.local, location)?.await?;
        Ok(())
    }

    /// Where a peer is; `None` takes it back. Durable when it returns.
    ///
    /// # Errors
    /// `Invalid` for a location that is not on earth.
    pub async fn set_peer_location(
        &self,
        peer: &PeerId,
        location: Option<GeoLocation>,
    ) -> Result<(), Error> {
        self.store.set_location(peer, location)?.await?;
        Ok(())
    }

    fn rank(
        &self,
        peer: PeerId,
        entry: &PeerEntry,
        now: Time,
        here: Option<&GeoLocation>,
    ) -> RankedPeer {
        let reputation = entry.reputation.clone().unwrap_or_default();
        let score = score(&reputation, last_seen(entry), now, here);
        RankedPeer { peer, score, reputation, ping: self.memory.latency(&peer) }
    }

    fn own_location(&self, view: &crate::View) -> Option<GeoLocation> {
        Some(view.peer(&self.local)?.reputation.as_ref()?.location.as_deref()?.clone())
    }
}

fn is_known(entry: &PeerEntry) -> bool {
    let spoken = entry.seen.as_ref().is_some_and(|seen| seen.verified);
    let asked = |known: &Reputation| known.successful_retrievals > 0 || known.failed_retrievals > 0;
    spoken || entry.reputation.as_ref().is_some_and(asked)
}

fn check(location: &GeoLocation) -> Result<(), Error> {
    let good = (-90.0..=90.0).contains(&location.latitude)
        && (-180.0..=180.0).contains(&location.longitude);
    if good {
        return Ok(());
    }
    Err(Error::invalid("a location that is not on earth")
        .next("give degrees from -90 to 90 and from -180 to 180"))
}
