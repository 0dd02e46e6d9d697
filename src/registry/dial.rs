//! The dial queue: remembered peers and bootstrap nodes, a few at a time.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use libp2p::swarm::{
    ConnectionId,
    dial_opts::{DialOpts, PeerCondition},
};
use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

use super::{addresses::named_peer, seed::Candidate};

/// After so many remembered peers a bootstrap node is dialled.
const BOOTSTRAP_EVERY: usize = 3;
/// Wait before the queue is filled again while the node has few connections.
const REFILL_FIRST: Duration = Duration::from_secs(15);
const REFILL_LAST: Duration = Duration::from_secs(300);
/// A dial that is not settled by then does not hold up others any more.
const DIAL_TIMEOUT: Duration = Duration::from_secs(20);

/// What waits to be dialled, and what is under way.
#[derive(Debug)]
pub(super) struct DialQueue {
    waiting: VecDeque<Target>,
    under_way: Vec<(ConnectionId, Instant)>,
    at_once: usize,
    refilled: Option<Instant>,
    wait: Duration,
}

/// One thing to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Remembered(Candidate),
    Bootstrap(Multiaddr),
}

impl Target {
    pub(super) fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Remembered(candidate) => Some(candidate.peer),
            Self::Bootstrap(address) => named_peer(address),
        }
    }

    pub(super) fn options(&self) -> DialOpts {
        let (peer, addresses) = match self {
            Self::Remembered(candidate) => (Some(candidate.peer), candidate.addresses.clone()),
            Self::Bootstrap(address) => (named_peer(address), vec![address.clone()]),
        };
        match peer {
            Some(peer) => DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(addresses)
                .build(),
            None => {
                let address = addresses.into_iter().next().unwrap_or_else(Multiaddr::empty);
                DialOpts::unknown_peer_id().address(address).build()
            }
        }
    }
}

impl DialQueue {
    pub(super) fn new(at_once: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            under_way: Vec::new(),
            at_once,
            refilled: None,
            wait: REFILL_FIRST,
        }
    }

    /// Replaces what waits by these peers with bootstrap nodes in between.
    pub(super) fn fill(&mut self, mut remembered: Vec<Candidate>, bootstrap: Vec<Multiaddr>) {
        self.waiting.clear();
        let mut alone = Vec::new();
        for node in bootstrap.into_iter().filter(|node| dial_fault(node).is_none()) {
            let peer = named_peer(&node);
            match remembered.iter_mut().find(|candidate| Some(candidate.peer) == peer) {
                // It may have moved from where it is remembered.
                Some(candidate) => candidate.addresses.insert(0, node),
                None => alone.push(Target::Bootstrap(node)),
            }
        }
        let mut bootstrap = alone.into_iter();
        for (at, candidate) in remembered.into_iter().enumerate() {
            if at % BOOTSTRAP_EVERY == 0 {
                self.waiting.extend(bootstrap.next());
            }
            self.waiting.push_back(Target::Remembered(candidate));
        }
        self.waiting.extend(bootstrap);
    }

    /// The next one, if not too many are under way.
    pub(super) fn next(&mut self, now: Instant) -> Option<Target> {
        self.under_way.retain(|(_, since)| now.saturating_duration_since(*since) < DIAL_TIMEOUT);
        if self.under_way.len() < self.at_once { self.waiting.pop_front() } else { None }
    }

    pub(super) fn started(&mut self, dial: ConnectionId, now: Instant) {
        self.under_way.push((dial, now));
    }

    pub(super) fn settled(&mut self, dial: ConnectionId) {
        self.under_way.retain(|(id, _)| *id != dial);
    }

    /// True if it is time to fill the queue again; the wait doubles each time until [`reset`].
    ///
    /// [`reset`]: Self::reset
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if !self.waiting.is_empty() || !self.under_way.is_empty() {
            return false;
        }
        let since = *self.refilled.get_or_insert(now);
        if now.saturating_duration_since(since) < self.wait {
            return false;
        }
        self.refilled = Some(now);
        self.wait = (self.wait * 2).min(REFILL_LAST);
        true
    }

    /// The node has company: the next time it loses it, it starts to look early again.
    pub(super) fn reset(&mut self) {
        self.refilled = None;
        self.wait = REFILL_FIRST;
    }
}

/// Why no node can dial the address, if that is so.
pub(super) fn shape_fault(address: &Multiaddr) -> Option<&'static str> {
    let mut protocols = address.iter();
    let has_host = match protocols.next() {
        Some(Protocol::Ip4(ip)) => !ip.is_unspecified(),
        Some(Protocol::Ip6(ip)) => !ip.is_unspecified(),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)) => true,
        // The port is in the text records of the name.
        Some(Protocol::Dnsaddr(_)) => return None,
        _ => false,
    };
    if !has_host {
        return Some("it has no host to dial; expected for example /ip4/192.0.2.1/tcp/4001");
    }
    if !matches!(protocols.next(), Some(Protocol::Tcp(1..))) {
        return Some("it has no TCP port; expected for example /ip4/192.0.2.1/tcp/4001");
    }
    match (protocols.next(), protocols.next()) {
        (None, None) | (Some(Protocol::P2p(_)), None) => None,
        _ => Some("only /p2p/<peer id> may stand behind the port: this node speaks plain TCP"),
    }
}

/// Why this node cannot dial the address, if it cannot.
pub(super) fn dial_fault(address: &Multiaddr) -> Option<&'static str> {
    shape_fault(address).or_else(|| lookup_fault(address, cfg!(feature = "dns")))
}

fn lookup_fault(address: &Multiaddr, has_lookup: bool) -> Option<&'static str> {
    let named = matches!(
        address.iter().next(),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_))
    );
    (named && !has_lookup).then_some(
        "built without name lookup: give an /ip4 or /ip6 address or build with the feature `dns`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_nodes_come_in_between_and_only_a_few_dials_run_at_once() {
        let remembered: Vec<Candidate> = (0..5)
            .map(|_| PeerId::random())
            .map(|peer| Candidate { peer, addresses: Vec::new(), verified: true })
            .collect();
        let nodes: Vec<Multiaddr> =
            (1..4).map(|n| format!("/ip4/192.0.2.{n}/tcp/1").parse().unwrap()).collect();
        let mut queue = DialQueue::new(2);
        queue.fill(remembered, nodes);
        let now = Instant::now();
        let shape: String = queue
            .waiting
            .iter()
            .map(|target| if matches!(target, Target::Bootstrap(_)) { 'b' } else { 'r' })
            .collect();
        assert_eq!(shape, "brrrbrrb");
        let ids = [1, 2].map(ConnectionId::new_unchecked);
        for id in ids {
            assert!(queue.next(now).is_some());
            queue.started(id, now);
        }
        assert!(queue.next(now).is_none());
        queue.settled(ids[0]);
        assert!(queue.next(now).is_some());
        queue.started(ids[0], now);
        assert!(queue.next(now + DIAL_TIMEOUT).is_some(), "stuck dials do not hold it up");
    }

    #[test]
    fn what_cannot_be_dialled_is_told_with_the_reason() {
        let id = PeerId::random();
        let fault = |text: &str| shape_fault(&text.parse().unwrap()).unwrap_or_default();
        for good in ["/ip4/192.0.2.1/tcp/1", "/ip6/::1/tcp/1", "/dns6/a.example/tcp/1"] {
            assert_eq!(fault(good), "");
            assert_eq!(fault(&format!("{good}/p2p/{id}")), "");
            assert!(fault(&format!("{good}/ws")).contains("plain TCP"));
            assert!(fault(&format!("{good}/p2p/{id}/p2p-circuit")).contains("plain TCP"));
        }
        assert_eq!(fault("/dnsaddr/a.example"), "");
        assert_eq!(fault(&format!("/dnsaddr/a.example/p2p/{id}")), "");
        for bad in ["/ip4/192.0.2.1", "/ip4/192.0.2.1/tcp/0", "/ip4/192.0.2.1/udp/1/quic-v1"] {
            assert!(fault(bad).contains("no TCP port"), "{bad}");
        }
        for bad in ["/ip4/0.0.0.0/tcp/1", "/ip6/::/tcp/1", "/tcp/1", "/memory/1"] {
            assert!(fault(bad).contains("no host"), "{bad}");
        }
    }

    #[test]
    fn names_need_a_build_that_looks_them_up() {
        let fault = |text: &str, lookup| lookup_fault(&text.parse().unwrap(), lookup);
        for name in ["dns", "dns4", "dns6"].map(|name| format!("/{name}/a.example/tcp/1")) {
            assert!(fault(&name, false).unwrap().contains("feature `dns`"), "{name}");
            assert_eq!(fault(&name, true), None);
        }
        assert!(fault("/dnsaddr/a.example", false).is_some());
        assert_eq!(fault("/ip4/192.0.2.1/tcp/1", false), None);
    }

    #[test]
    fn a_remembered_bootstrap_node_is_dialled_where_the_list_says_too() {
        let at = |n: u8| -> Multiaddr { format!("/ip4/192.0.2.{n}/tcp/1").parse().unwrap() };
        let peer = PeerId::random();
        let old = Candidate { peer, addresses: vec![at(1)], verified: true };
        let moved = at(2).with_p2p(peer).unwrap();
        let mut queue = DialQueue::new(2);
        queue.fill(vec![old], vec![moved.clone()]);
        assert_eq!(queue.waiting.len(), 1, "one dial for both");
        let Some(Target::Remembered(candidate)) = queue.next(Instant::now()) else { panic!() };
        assert_eq!(candidate.addresses, [moved, at(1)]);
    }

    #[test]
    fn it_looks_for_company_ever_more_rarely() {
        let mut queue = DialQueue::new(1);
        let start = Instant::now();
        let due: Vec<u64> =
            (0..1000).filter(|s| queue.is_due(start + Duration::from_secs(*s))).collect();
        assert_eq!(due, [15, 45, 105, 225, 465, 765]);
        queue.reset();
        assert!(!queue.is_due(start));
        assert!(queue.is_due(start + REFILL_FIRST));
    }
}
