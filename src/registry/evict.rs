//! Who goes when there is no room for another peer.

use libp2p_identity::PeerId;

use super::{RegistryLimits, score::score};
use crate::state::{PeerEntry, PeerKey, State, Time};

/// Peers evicted at once: looking through all of them for each new one would be slow.
const AT_ONCE: usize = 64;

/// The peers that make room for `new` more: none while there is room, else those never spoken to,
/// the oldest first, then those of the lowest score. Never a banned one, nor one to `keep`.
pub(super) fn victims(
    state: &State,
    limits: &RegistryLimits,
    new: usize,
    now: Time,
    keep: impl Fn(&PeerId) -> bool,
) -> Vec<PeerKey> {
    let counts = state.counts();
    let rows = counts.peers.max(counts.reputation).max(counts.profiles);
    if rows + new <= limits.peers.min(limits.peers_unverified) {
        return Vec::new();
    }
    let mut heard = Vec::new();
    let mut spoken = Vec::new();
    let mut total = 0_usize;
    let mut unverified = 0_usize;
    for (key, entry) in state.peers() {
        total += 1;
        let verified = entry.seen.as_ref().is_some_and(|seen| seen.verified);
        unverified += usize::from(!verified);
        let banned = state.ban(key).is_some_and(|ban| ban.is_active(now));
        if banned || key.to_peer_id().is_some_and(|peer| keep(&peer)) {
            continue;
        }
        if verified {
            spoken.push((key, entry));
        } else {
            heard.push((key, entry));
        }
    }
    let over = (total + new).saturating_sub(limits.peers);
    let over = over.max((unverified + new).saturating_sub(limits.peers_unverified));
    if over == 0 {
        return Vec::new();
    }
    // A share of the whole, so that a small limit is not emptied at once.
    let wanted = over.max(AT_ONCE.min(limits.peers / 64));
    heard.sort_by_cached_key(|(key, entry)| (last_seen(entry), (*key).clone()));
    let mut victims: Vec<PeerKey> =
        heard.into_iter().take(wanted).map(|(key, _)| key.clone()).collect();
    let missing = (total + new).saturating_sub(limits.peers).saturating_sub(victims.len());
    if missing > 0 {
        let rank = |entry: &PeerEntry| {
            let reputation = entry.reputation.clone().unwrap_or_default();
            score(&reputation, last_seen(entry), now, None)
        };
        let mut ranked: Vec<_> = spoken.iter().map(|(key, entry)| (rank(entry), *key)).collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)));
        victims.extend(ranked.into_iter().take(missing).map(|(_, key)| key.clone()));
    }
    victims
}

/// When the peer was last seen or last answered.
pub(super) fn last_seen(entry: &PeerEntry) -> Time {
    let seen = entry.seen.as_ref().map_or(Time::EPOCH, |seen| seen.last_seen);
    seen.max(entry.reputation.as_ref().map_or(Time::EPOCH, |reputation| reputation.last_seen))
}
