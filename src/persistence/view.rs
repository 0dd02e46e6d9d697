//! A consistent view of the state.

use chrono::{DateTime, Utc};
use libp2p_identity::PeerId;

use crate::{
    Lsn,
    state::{Ban, P2PState, PeerEntry, PeerKey, State},
};

/// The state as of one LSN. It shares its memory with the store and never changes.
#[derive(Clone, Debug)]
pub struct View {
    state: State,
    lsn: Lsn,
}

impl View {
    pub(crate) fn new(state: State, lsn: Lsn) -> Self {
        Self { state, lsn }
    }

    /// Number of the last record that it holds. The record may not be durable yet.
    #[must_use]
    pub const fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// All rows.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// What is known of one peer.
    #[must_use]
    pub fn peer(&self, peer: &PeerId) -> Option<&PeerEntry> {
        self.state.peer(&PeerKey::from(peer))
    }

    /// The ban on a peer, if one is in force at `now`.
    #[must_use]
    pub fn ban(&self, peer: &PeerId, now: DateTime<Utc>) -> Option<&Ban> {
        self.state.ban(&PeerKey::from(peer)).filter(|ban| ban.is_active(now.into()))
    }

    /// The rows as the plain structs of version 1, sorted by their ids.
    #[must_use]
    pub fn to_rows(&self, saved_at: DateTime<Utc>) -> P2PState {
        self.state.to_rows(saved_at)
    }
}
