//! The workload: 100,000 peers with three addresses and a reputation each; then 70 % reputation
//! updates on zipf-chosen peers, 25 % peer seen, 5 % DHT and cache entries.

use std::{
    ops::Range,
    sync::{
        Arc, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use chrono::DateTime;
use peer_journal::{
    Change, P2PState, PeerId, SerializedPeer, SerializedReputation,
    state::{Address, PeerKey, Reputation, State, Time},
};

/// Choices of peers that are drawn ahead of time, so that the draw costs no engine anything.
const DRAWS: usize = 1 << 20;
const DHT_KEYS: u32 = 10_000;
const PACKAGES: u32 = 1_000;
const DHT_VALUE_BYTES: usize = 64;
const PACKAGE_BYTES: usize = 256;
/// 2026-01-01T00:00:00Z in milliseconds since the UNIX epoch.
pub const START_MS: i64 = 1_767_225_600_000;

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Reputation,
    Seen,
    Dht,
    Package,
}

/// One change, before any engine has put it into its own form.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub kind: Kind,
    /// Index of the peer, the DHT key or the package.
    pub index: u32,
    /// Different for every change, and growing.
    pub number: u64,
    /// Where [`World::ready`] put its key and its row.
    start: usize,
    key: usize,
    row: usize,
}

impl Op {
    fn new(kind: Kind, index: u32, number: u64) -> Self {
        Self { kind, index, number, start: 0, key: 0, row: 0 }
    }

    pub fn at_ms(self) -> i64 {
        START_MS + i64::try_from(self.number).unwrap_or(0)
    }

    pub fn response_ms(self) -> u64 {
        20 + self.number % 200
    }
}

/// One peer in each form that an engine may want.
#[derive(Debug)]
pub struct PeerForms {
    pub key: PeerKey,
    pub id_bytes: Vec<u8>,
    pub id_text: String,
    pub addresses: Vec<Address>,
    /// The three addresses as bytes, each behind its length.
    pub packed_addresses: Vec<u8>,
}

/// All peers, and the order in which they are chosen.
#[derive(Debug)]
pub struct World {
    pub peers: Vec<PeerForms>,
    draws: Vec<u32>,
    next: AtomicU64,
    rows: RwLock<Vec<u8>>,
}

impl World {
    pub fn new(peers: usize) -> Arc<Self> {
        let peers: Vec<PeerForms> = (0..peers as u64).map(peer).collect();
        let draws = zipf(peers.len(), DRAWS);
        Arc::new(Self { peers, draws, next: AtomicU64::new(1), rows: RwLock::default() })
    }

    /// The next change.
    pub fn op(&self) -> Op {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mixed = mix(number);
        let drawn = self.draws[(mixed >> 32) as usize % DRAWS];
        let (kind, index) = match mixed % 1000 {
            0..700 => (Kind::Reputation, drawn),
            700..950 => (Kind::Seen, drawn),
            950..975 => (Kind::Dht, drawn % DHT_KEYS),
            _ => (Kind::Package, drawn % PACKAGES),
        };
        Op::new(kind, index, number)
    }

    /// Goes on behind the latest time at which a peer of this state was seen: what a program tells
    /// a store that it opens again is news.
    pub fn go_on_after(&self, state: &State) {
        let times = state.peers().filter_map(|(_, row)| Some(row.seen.as_ref()?.last_seen));
        let latest = times.max().map_or(0, |latest| latest.get().timestamp_millis() - START_MS);
        self.next.fetch_max(u64::try_from(latest).unwrap_or(0) + 1, Ordering::Relaxed);
    }

    /// The next reputation update.
    pub fn reputation_op(&self) -> Op {
        let op = self.op();
        Op { kind: Kind::Reputation, index: self.draws[op.number as usize % DRAWS], ..op }
    }

    pub fn peer(&self, op: Op) -> &PeerForms {
        &self.peers[op.index as usize]
    }

    /// The change for peer-journal, and for engines that keep a log of changes.
    pub fn change(&self, op: Op) -> Change {
        let at = time(op.at_ms());
        match op.kind {
            Kind::Reputation => Change::RetrievalSucceeded {
                peer: self.peer(op).key.clone(),
                at,
                response_ms: op.response_ms(),
            },
            Kind::Seen => {
                let peer = self.peer(op);
                let addresses = peer.addresses[..1].to_vec();
                Change::PeerSeen { peer: peer.key.clone(), at, addresses }
            }
            Kind::Dht => Change::DhtPut {
                key: dht_key(op.index).into(),
                value: value(op, DHT_VALUE_BYTES).into(),
                at,
            },
            Kind::Package => Change::PackageCached {
                id: package_id(op.index).into(),
                data: value(op, PACKAGE_BYTES).into(),
                at,
            },
        }
    }

    /// Makes key and whole new row of each change ahead of time, for engines that keep rows under
    /// keys. They are spared the making of it, and the read of the old row that a real program
    /// would need. What was ready before is gone.
    pub fn ready(&self, ops: impl Iterator<Item = Op>) -> Vec<Op> {
        let mut rows = self.rows.write().unwrap();
        rows.clear();
        let (mut key, mut row) = (Vec::new(), Vec::new());
        ops.map(|op| {
            self.row(op, &mut key, &mut row);
            let ready = Op { start: rows.len(), key: key.len(), row: row.len(), ..op };
            rows.extend_from_slice(&key);
            rows.extend_from_slice(&row);
            ready
        })
        .collect()
    }

    /// As many changes from the workload, ready.
    pub fn ready_ops(&self, count: usize) -> Vec<Op> {
        self.ready((0..count).map(|_| self.op()))
    }

    /// The keys and rows that are ready.
    pub fn rows(&self) -> Rows<'_> {
        Rows(self.rows.read().unwrap())
    }

    fn row(&self, op: Op, key: &mut Vec<u8>, row: &mut Vec<u8>) {
        key.clear();
        row.clear();
        row.extend_from_slice(&op.at_ms().to_le_bytes());
        match op.kind {
            Kind::Reputation => {
                key.push(b'r');
                key.extend_from_slice(&self.peer(op).id_bytes);
                for field in [op.number, op.number / 7, op.response_ms(), 3] {
                    row.extend_from_slice(&field.to_le_bytes());
                }
            }
            Kind::Seen => {
                key.push(b'p');
                key.extend_from_slice(&self.peer(op).id_bytes);
                row.extend_from_slice(&self.peer(op).packed_addresses);
            }
            Kind::Dht => {
                key.push(b'd');
                key.extend_from_slice(dht_key(op.index).as_bytes());
                row.extend_from_slice(&value(op, DHT_VALUE_BYTES));
            }
            Kind::Package => {
                key.push(b'c');
                key.extend_from_slice(package_id(op.index).as_bytes());
                row.extend_from_slice(&value(op, PACKAGE_BYTES));
            }
        }
    }

    /// A row and a reputation for each peer: what every engine holds before anything is measured.
    pub fn base_ops(&self) -> impl Iterator<Item = Op> {
        let count = u32::try_from(self.peers.len()).expect("fewer than 2^32 peers");
        (0..count).flat_map(move |index| {
            [Kind::Seen, Kind::Reputation].map(|kind| {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                Op::new(kind, index, number)
            })
        })
    }

    /// The changes that make the base.
    pub fn base_changes(&self) -> impl Iterator<Item = [Change; 2]> {
        self.peers.iter().enumerate().map(|(index, peer)| {
            let at = time(START_MS - 1 - index as i64);
            [
                Change::PeerSet {
                    peer: peer.key.clone(),
                    last_seen: at,
                    addresses: peer.addresses.clone(),
                },
                Change::ReputationSet { peer: peer.key.clone(), reputation: reputation(index, at) },
            ]
        })
    }

    /// The base as plain rows.
    pub fn base_rows(&self) -> P2PState {
        let mut state = P2PState::default();
        for (index, peer) in self.peers.iter().enumerate() {
            let at = time(START_MS - 1 - index as i64);
            state.peers.push(SerializedPeer {
                peer_id: peer.id_text.clone(),
                addresses: peer.addresses.iter().map(ToString::to_string).collect(),
                last_seen: at.get(),
            });
            let row = reputation(index, at);
            state.reputation.push(SerializedReputation {
                peer_id: peer.id_text.clone(),
                successful_retrievals: row.successful_retrievals,
                failed_retrievals: row.failed_retrievals,
                last_seen: at.get(),
                avg_response_time_ms: row.avg_response_time_ms,
                location: None,
                packages_provided: 3,
            });
        }
        state
    }
}

/// See [`World::ready`].
pub struct Rows<'a>(RwLockReadGuard<'a, Vec<u8>>);

impl Rows<'_> {
    pub fn key(&self, op: &Op) -> &[u8] {
        self.bytes(op.start..op.start + op.key)
    }

    pub fn row(&self, op: &Op) -> &[u8] {
        self.bytes(op.start + op.key..op.start + op.key + op.row)
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        debug_assert!(!range.is_empty(), "the change was not made ready");
        &self.0[range]
    }
}

/// Changes that were made before the clock ran, for whoever asks next.
pub struct Pool<T> {
    items: Vec<T>,
    next: AtomicUsize,
}

impl<T> Pool<T> {
    pub fn new(items: Vec<T>) -> Self {
        Self { items, next: AtomicUsize::new(0) }
    }

    /// The next one; `None` when they are used up.
    pub fn next(&self) -> Option<&T> {
        self.items.get(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

pub fn time(ms: i64) -> Time {
    DateTime::from_timestamp_millis(ms).unwrap_or_default().into()
}

fn reputation(index: usize, at: Time) -> Reputation {
    Reputation {
        successful_retrievals: 1 + index as u64 % 50,
        failed_retrievals: index as u64 % 7,
        last_seen: at,
        avg_response_time_ms: 20 + index as u64 % 300,
        location: None,
        packages_provided: 3,
    }
}

pub fn dht_key(index: u32) -> String {
    format!("/ggen/package/{index:032}")
}

pub fn package_id(index: u32) -> String {
    format!("package-{index:05}@1.0.0")
}

pub fn value(op: Op, bytes: usize) -> Vec<u8> {
    let word = mix(op.number).to_le_bytes();
    word.iter().copied().cycle().take(bytes).collect()
}

fn peer(number: u64) -> PeerForms {
    let mut id_bytes = vec![0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
    for part in 0..4 {
        id_bytes.extend_from_slice(&mix(number * 4 + part).to_be_bytes());
    }
    let id = PeerId::from_bytes(&id_bytes).expect("the bytes of an Ed25519 id");
    let host = mix(number).to_be_bytes();
    let quic =
        format!("/ip4/{}.{}.{}.{}/udp/4001/quic-v1", 20 + host[0] % 150, host[1], host[2], host[3]);
    let tcp = format!("/ip4/{}.{}.{}.{}/tcp/4001", 20 + host[0] % 150, host[1], host[2], host[3]);
    let local = format!("/ip4/10.0.{}.{}/tcp/4001", host[4], host[5]);
    let addresses: Vec<Address> =
        [tcp, quic, local].iter().map(|text| Address::from_text(text)).collect();
    let mut packed_addresses = Vec::new();
    for address in &addresses {
        let bytes = address.to_multiaddr().expect("a multiaddr").to_vec();
        packed_addresses.push(u8::try_from(bytes.len()).expect("a short address"));
        packed_addresses.extend_from_slice(&bytes);
    }
    let id_text = id.to_base58();
    PeerForms { key: id.into(), id_bytes, id_text, addresses, packed_addresses }
}

/// Indices below `count`, the first ones most often (exponent 1), spread over the whole range by
/// the peers' random ids.
fn zipf(count: usize, draws: usize) -> Vec<u32> {
    let mut sums = Vec::with_capacity(count);
    let mut sum = 0.0;
    for rank in 1..=count {
        sum += 1.0 / rank as f64;
        sums.push(sum);
    }
    (0..draws as u64)
        .map(|draw| {
            let point = (mix(draw ^ 0x5eed) >> 11) as f64 / (1_u64 << 53) as f64 * sum;
            let index = sums.partition_point(|&upto| upto < point).min(count - 1);
            u32::try_from(index).expect("fewer than 2^32 peers")
        })
        .collect()
}

/// A bijective mix of 64 bits (splitmix64).
pub fn mix(number: u64) -> u64 {
    let mut word = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
