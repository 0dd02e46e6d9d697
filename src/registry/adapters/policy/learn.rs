//! Addresses and profiles: what of all that is told is kept.

use libp2p::{Multiaddr, PeerId};

use super::{Added, Informant, Note, Now, Policy, Source, is_banned, row_of};
use crate::{
    registry::addresses::{Network, cut, network, scope},
    state::{Profile, State},
};

impl Policy {
    pub(super) fn dialled(&mut self, peer: &PeerId, address: &Multiaddr, now: Now, state: &State) {
        let (normal, most) = (self.normal(peer, address), self.config.addresses_per_peer);
        let Some(known) = self.meet(peer, None, now, state) else { return };
        known.see(now.wall);
        if known.verify() {
            known.harden();
            let informant = known.informant.clone();
            self.leave_crowd(peer, &informant);
        }
        if let Some(address) = normal {
            self.add(peer, address.clone(), Source::Proven, most, (now, state));
            self.touch(peer, now, |known| known.prove(&address));
        }
    }

    pub(super) fn heard(
        &mut self,
        peer: &PeerId,
        address: &Multiaddr,
        by: Option<&PeerId>,
        is_hard: bool,
        (now, state): (Now, &State),
    ) {
        let Some(normal) = self.normal(peer, address) else { return };
        // Without a name it may have been the peer itself.
        let teller = by.unwrap_or(peer);
        let is_banned = is_banned(peer, now, state) || is_banned(teller, now, state);
        if is_banned || !self.can_tell(teller, &normal) {
            return;
        }
        let informant = match by {
            Some(by) => Informant::Peer(*by),
            None => Informant::Network(network(&normal)),
        };
        let Some(known) = self.meet(peer, Some(informant), now, state) else { return };
        let is_verified = known.verified;
        let most = self.config.most_addresses(is_verified);
        let is_news = self.add(peer, normal, Source::Heard, most, (now, state));
        self.harden_if(peer, is_news && is_hard);
    }

    pub(super) fn identified(
        &mut self,
        peer: &PeerId,
        addresses: &[Multiaddr],
        record: Option<u64>,
        profile: Profile,
        (now, state): (Now, &State),
    ) {
        if is_banned(peer, now, state) {
            return;
        }
        let network = self.connected.get(peer).map_or(Network::Other, |link| link.network.clone());
        let informant = Informant::Network(network);
        let Some(known) = self.meet(peer, Some(informant), now, state) else { return };
        known.see(now.wall);
        let entry = state.peer(&peer.into());
        let is_news = known.set_profile(profile, entry);
        let is_old = matches!((record, known.record), (Some(new), Some(old)) if new < old);
        known.record = known.record.max(record);
        let is_verified = known.verified;
        let most = self.config.most_addresses(is_verified);
        self.harden_if(peer, is_news);
        let says = if is_old { Vec::new() } else { self.sayable(peer, addresses, most) };
        // Who names no address that can be used takes none back either.
        if says.is_empty() {
            return;
        }
        let row = row_of(entry);
        let Some(known) = self.book.get_mut(peer) else { return };
        let retracted = known.retract(&says, row, now);
        self.harden_if(peer, !retracted.is_empty());
        for address in retracted {
            self.tell(Note::AddressRemoved { peer: *peer, address });
        }
        for address in says {
            let is_news = self.add(peer, address, Source::Identify, most, (now, state));
            self.harden_if(peer, is_news);
        }
    }

    /// What of a peer's own list of addresses is worth keeping.
    fn sayable(&self, peer: &PeerId, addresses: &[Multiaddr], most: usize) -> Vec<Multiaddr> {
        let mut says: Vec<Multiaddr> = Vec::new();
        // A list of thousands is not even looked through.
        for address in addresses.iter().take(most.saturating_mul(4)) {
            let normal = self.normal(peer, address).filter(|normal| !says.contains(normal));
            let normal = normal.filter(|normal| says.len() < most && self.can_tell(peer, normal));
            says.extend(normal);
        }
        says
    }

    /// Who reaches us over the internet can tell of no private address, and who does so over a
    /// private network of none on this machine.
    fn can_tell(&self, teller: &PeerId, address: &Multiaddr) -> bool {
        self.connected.get(teller).is_none_or(|link| scope(address) >= link.reach)
    }

    /// True if the address is new.
    fn add(
        &mut self,
        peer: &PeerId,
        address: Multiaddr,
        source: Source,
        most: usize,
        (now, state): (Now, &State),
    ) -> bool {
        let row = row_of(state.peer(&peer.into()));
        let Some(known) = self.book.get_mut(peer) else { return false };
        let added = known.add(address.clone(), source, most, now.age, row);
        let is_news = !matches!(added, Added::Known | Added::Refused);
        self.note(peer, address, added);
        is_news
    }

    /// What a peer says of itself, within the limits.
    pub(super) fn cut(&self, agent: &str, protocols: &[&str]) -> Profile {
        let agent = Some(cut(agent, self.config.agent_bytes)).filter(|agent| !agent.is_empty());
        let fits = |name: &&&str| name.len() <= self.config.protocol_bytes;
        let protocols = protocols.iter().filter(fits).take(self.config.protocols);
        let mut protocols: Vec<Box<str>> = protocols.map(|name| (*name).into()).collect();
        // Some implementations list them in another order each time.
        protocols.sort_unstable();
        protocols.dedup();
        Profile { agent: agent.map(Into::into), protocols: protocols.into() }
    }
}
