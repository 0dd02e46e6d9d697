//! Guards the pages against the code: `docs/format.md` must describe the bytes that are really on
//! disk, and the golden store of format version 1 must stay readable, and writable, for ever.
//!
//! The golden files are read twice: by the crate, and by a small parser here that takes its offsets
//! from the tables of the page and shares no code with the crate.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use chrono::{DateTime, TimeDelta, Utc};
use common::peer;
use peer_journal::{
    Lsn, Outcome, P2PState, P2PStatePersistence, PeerId, Verdict,
    state::{Address, Change, GeoLocation, Limits, PeerKey, Reputation, Time, limits},
};

const FIRST: &str = "0000000001-00000000000000000001.wal";
/// The one of the annotated dump.
const SECOND: &str = "0000000002-00000000000000000032.wal";
/// Records in the first segment, all of them in the snapshot.
const SNAPSHOT_LSN: u64 = 31;

#[test]
fn the_golden_store_opens_and_holds_what_was_written() {
    let (_dir, state_file) = copy_of_golden();
    let store = open(&state_file);
    let report = store.recovery().unwrap();
    assert_eq!(report.outcome, Outcome::Clean, "{report}");
    assert_eq!(report.snapshot_lsn, Some(Lsn::new(SNAPSHOT_LSN)));
    assert_eq!((report.replayed, report.skipped), (1, 0));
    let view = store.view().unwrap();
    assert_eq!(view.lsn(), Lsn::new(SNAPSHOT_LSN + 1));

    let rows = view.to_rows(now());
    let ids: Vec<_> = rows.peers.iter().map(|row| row.peer_id.as_str()).collect();
    let first = one().to_base58();
    assert_eq!(ids, [first.as_str(), &two().to_base58(), "not a peer id"]);
    assert_eq!(rows.peers[0].addresses, ["/ip4/192.0.2.1/tcp/4001", "/ip4/192.0.2.1/tcp/4002"]);
    assert_eq!(rows.peers[0].last_seen, now() + TimeDelta::seconds(1));
    assert_eq!(rows.peers[2].addresses, ["not an address"]);
    assert_eq!(rows.peers[2].last_seen, now() + TimeDelta::nanoseconds(1));
    let [reputation] = &rows.reputation[..] else { panic!("{:?}", rows.reputation) };
    assert_eq!(reputation.peer_id, first);
    assert_eq!((reputation.successful_retrievals, reputation.failed_retrievals), (1, 1));
    assert_eq!((reputation.avg_response_time_ms, reputation.packages_provided), (38, 7));
    assert_eq!(reputation.location.as_ref().unwrap().latitude.to_bits(), 48.25_f64.to_bits());
    assert_eq!(rows.dht_entries.len(), 1);
    assert_eq!(rows.dht_entries[0].value, [0, 1, 2, 255]);
    assert_eq!(rows.package_cache.len(), 1);
    assert_eq!(rows.package_cache[0].package_id, "kept@1.0.0");
    assert_eq!(rows.bootstrap_nodes, ["/dnsaddr/b.example"]);
    assert_eq!(view.ban(&two(), now()).unwrap().reason.as_ref(), "spam");
    assert!(view.ban(&three(), now()).is_none());
    let entry = view.peer(&one()).unwrap();
    assert!(entry.seen.as_ref().unwrap().verified);
    assert_eq!(entry.profile.as_ref().unwrap().agent.as_deref(), Some("node/1.0"));
}

#[test]
fn the_golden_journal_alone_gives_the_same_state() {
    let (_dir, state_file) = copy_of_golden();
    let with_snapshot = whole_state(&open(&state_file));
    let (_dir, state_file) = copy_of_golden();
    fs::remove_file(&state_file).unwrap();
    let store = open(&state_file);
    let report = store.recovery().unwrap();
    assert_eq!((report.snapshot_lsn, report.replayed), (None, SNAPSHOT_LSN + 1), "{report}");
    assert_eq!(whole_state(&store), with_snapshot);
}

#[test]
fn this_version_still_writes_the_golden_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let state_file = dir.path().join("p2p-state.json");
    make_store(&state_file);
    for name in [FIRST, SECOND] {
        let ours = fs::read(dir.path().join("p2p-state.journal").join(name)).unwrap();
        let golden = fs::read(golden().join("p2p-state.journal").join(name)).unwrap();
        assert_eq!(without_store(&ours), without_store(&golden), "{name}");
    }
    let ours = fs::read_to_string(&state_file).unwrap();
    let golden = fs::read_to_string(golden().join("p2p-state.json")).unwrap();
    let masked = |text: &str| -> Vec<String> {
        let bare = |line: &&str| !line.contains("\"store_id\"") && !line.contains("\"checksum\"");
        text.lines().filter(bare).map(ToOwned::to_owned).collect()
    };
    assert_eq!(masked(&ours), masked(&golden));
}

#[test]
fn every_golden_byte_is_what_the_page_says() {
    let page = page("docs/format.md");
    let header = Layout::of(&page, "### Segment header");
    let record = Layout::of(&page, "### Record");
    let seal = Layout::of(&page, "### Seal");
    assert_eq!((header.len, record.len, seal.len), (96, 20, 16));
    assert!(page.contains("36 bytes"), "the whole seal");
    let numbers = kinds(&page);
    let mut previous_seal = 0;
    let mut tags = Vec::new();
    for (number, (name, first_lsn)) in
        [(FIRST, 1), (SECOND, SNAPSHOT_LSN + 1)].into_iter().enumerate()
    {
        let bytes = fs::read(golden().join("p2p-state.journal").join(name)).unwrap();
        let segment = u64::try_from(number + 1).unwrap();
        assert_eq!(header.bytes(&bytes, "magic"), b"\x89PJWAL\r\n");
        assert_eq!(header.number(&bytes, "format version"), 1);
        assert_eq!(header.number(&bytes, "header checksum"), u64::from(header_crc(&bytes)));
        assert_eq!(header.bytes(&bytes, "store id"), store_id());
        assert_eq!(header.number(&bytes, "segment number"), segment);
        assert_eq!(header.number(&bytes, "first LSN"), first_lsn);
        assert_eq!(
            header.number(&bytes, "created"),
            u64::try_from(now().timestamp_millis()).unwrap()
        );
        assert_eq!(header.number(&bytes, "previous segment"), segment - 1);
        assert_eq!(header.number(&bytes, "previous last LSN"), first_lsn - 1);
        assert_eq!(header.number(&bytes, "previous seal"), previous_seal);
        assert_eq!(header.number(&bytes, "flags"), u64::from(number > 0));
        assert_eq!(name, format!("{segment:010}-{first_lsn:020}.wal"));

        let mut at = 96;
        let mut lsn = first_lsn;
        loop {
            let frame = &bytes[at..];
            let len = usize::try_from(record.number(frame, "length")).unwrap();
            let kind = record.number(frame, "kind");
            let payload = &frame[20..20 + len];
            let crc = record_crc(segment, &frame[4..20 + len]);
            assert_eq!(record.number(frame, "checksum"), u64::from(crc), "{name} at {at}");
            if kind == numbers["seal"] {
                assert_eq!(record.number(frame, "LSN"), lsn - 1);
                assert_eq!(seal.number(payload, "record count"), lsn - first_lsn);
                assert_eq!(seal.number(payload, "offset"), u64::try_from(at).unwrap());
                assert_eq!(20 + len, 36);
                previous_seal = u64::from(crc);
                at += 36;
                break;
            }
            assert_eq!(kind, numbers["changes"]);
            assert_eq!(record.number(frame, "LSN"), lsn);
            assert_eq!(record.number(frame, "distance"), 1, "each was awaited");
            tags.push(payload[0]);
            at += 20 + len;
            lsn += 1;
        }
        assert!(bytes[at..].iter().all(|&byte| byte == 0), "{name}: zeros to the end");
        assert_eq!(bytes.len(), 4096);
    }
    let records = records();
    let written: Vec<_> = records.iter().map(|changes| changes[0].kind()).collect();
    let rows = variant_rows(&page);
    let read: Vec<_> = tags.iter().map(|&tag| snake_case(&rows[usize::from(tag)].0)).collect();
    assert_eq!(read, written);
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), rows.len(), "the golden store holds every kind of change");
}

#[test]
fn the_annotated_dump_is_the_golden_segment() {
    let page = page("docs/format.md");
    let (_, rest) = page.split_once("```hexdump\n").expect("a block marked hexdump");
    let (dump, _) = rest.split_once("```").unwrap();
    let golden = fs::read(golden().join("p2p-state.journal").join(SECOND)).unwrap();
    let mut bytes = Vec::new();
    for line in dump.lines() {
        let mut columns = line.split("  ").filter(|column| !column.is_empty());
        let offset = usize::from_str_radix(columns.next().unwrap(), 16).unwrap();
        assert_eq!(offset, bytes.len(), "{line}");
        let hex = columns.next().unwrap().trim();
        if hex == "00 ..." {
            bytes.resize(golden.len(), 0);
        } else {
            bytes.extend(hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()));
        }
        assert!(columns.next().is_some(), "no annotation: {line}");
    }
    assert_eq!(bytes, golden);
}

#[test]
fn every_kind_of_change_is_listed_with_its_number_and_fields() {
    let source = page("src/state/change.rs");
    let (_, rest) = source.split_once("pub enum Change {\n").unwrap();
    let (body, _) = rest.split_once("\n}\n").unwrap();
    let code: String = body
        .lines()
        .filter(|line| !line.trim_start().starts_with("//") && !line.contains("#[serde"))
        .collect();
    let variants: Vec<(String, Vec<String>)> = code
        .split('}')
        .filter_map(|variant| variant.split_once('{'))
        .map(|(name, fields)| {
            let fields = fields.split(',').filter_map(|field| field.split_once(':'));
            let names = fields.map(|(name, _)| name.trim().to_owned()).collect();
            (name.trim_matches([' ', ',']).to_owned(), names)
        })
        .collect();
    assert_eq!(variants.len(), 26, "{variants:?}");
    assert_eq!(variant_rows(&page("docs/format.md")), variants);
}

#[test]
fn the_recovery_table_says_what_refuse_refuses() {
    let page = page("docs/durability.md");
    let table: BTreeMap<String, bool> = rows_of(&page, "## The recovery table")
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), row.last().unwrap() == "refuses"))
        .collect();
    let verdicts: BTreeMap<String, bool> =
        Verdict::ALL.iter().map(|v| (v.as_str().to_owned(), v.is_damage())).collect();
    assert_eq!(table, verdicts);
}

#[test]
fn the_readme_states_the_limits_of_the_code() {
    let rows = rows_of(&page("README.md"), "## Limits");
    let stated: BTreeMap<&str, &str> =
        rows.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
    let most = Limits::default();
    let number = |text: &str| text.replace(',', "").parse::<usize>().unwrap();
    for (row, limit) in [
        ("Peers", most.peers),
        ("Addresses of one peer", most.addresses_per_peer),
        ("DHT entries", most.dht_entries),
        ("Cached packages", most.packages),
        ("Bootstrap nodes", most.bootstrap_nodes),
        ("Bans", most.bans),
        ("Protocols of one peer", limits::PROTOCOLS_MAX),
    ] {
        assert_eq!(number(stated[row]), limit, "{row}");
    }
    for (row, bytes) in [
        ("Text of a peer id", limits::PEER_ID_BYTES_MAX),
        ("Text of an address or bootstrap node", limits::ADDRESS_BYTES_MAX),
        ("A DHT key or package id", limits::KEY_BYTES_MAX),
        ("Reason of a ban", limits::REASON_BYTES_MAX),
        ("Source of a ban", limits::SOURCE_BYTES_MAX),
    ] {
        assert_eq!(number(stated[row].trim_end_matches(" bytes")), bytes, "{row}");
    }
    assert_eq!(
        stated["One DHT value or package"],
        format!("{} MiB", limits::VALUE_BYTES_MAX >> 20)
    );
    assert_eq!(stated["All values and packages"], format!("{} GiB", most.value_bytes >> 30));
}

/// The records of the golden store, in order. Each has an effect, so each is journaled.
#[expect(clippy::too_many_lines, reason = "one list, a line for each change")]
fn records() -> Vec<Vec<Change>> {
    let at = Time::from(now());
    let later = |delta: TimeDelta| Time::from(now() + delta);
    let odd = || PeerKey::from_text("not a peer id");
    let one = || PeerKey::from(one());
    let two = || PeerKey::from(two());
    let three = || PeerKey::from(three());
    let (tcp, quic) = ("/ip4/192.0.2.1/tcp/4001", "/ip6/2001:db8::1/udp/4001/quic-v1");
    let to = |texts: &[&str]| texts.iter().map(|text| Address::from_text(text)).collect();
    let package =
        |id: &str, at| Change::PackageCached { id: id.into(), data: (*b"data").into(), at };
    let value = |key: &str| Change::DhtPut { key: key.into(), value: [0, 1, 2, 255].into(), at };
    let place = GeoLocation { latitude: 48.25, longitude: 11.5, region: Some("Bavaria".into()) };
    let reputation = Reputation { failed_retrievals: 3, last_seen: at, ..Reputation::default() };
    let ban = |peer| Change::Banned {
        peer,
        at,
        until: later(TimeDelta::days(1)),
        reason: "spam".into(),
        source: "operator".into(),
    };
    let mut records: Vec<Vec<Change>> = [
        Change::PeerSeen { peer: one(), at, addresses: to(&[tcp, quic]) },
        Change::PeerSeen { peer: two(), at, addresses: to(&[]) },
        Change::AddressesAdded { peer: three(), addresses: to(&["/dns4/c.example/tcp/4001"]) },
        Change::AddressesReplaced { peer: two(), addresses: to(&["/ip4/198.51.100.2/tcp/1"]) },
        Change::AddressesRemoved { peer: one(), addresses: to(&[quic]) },
        Change::PeerProfiled {
            peer: one(),
            agent: Some("node/1.0".into()),
            protocols: vec!["/ipfs/id/1.0.0".into()],
        },
        Change::PeerVerified { peer: one(), verified: true },
        Change::PeerForgotten { peer: two() },
        Change::Evicted { peer: three() },
        Change::PeerSet {
            peer: odd(),
            last_seen: later(TimeDelta::nanoseconds(1)),
            addresses: to(&["not an address"]),
        },
        Change::RetrievalSucceeded { peer: one(), at, response_ms: 38 },
        Change::RetrievalFailed { peer: one(), at },
        Change::PackagesProvided { peer: one(), count: 7 },
        Change::LocationSet { peer: one(), location: Some(place) },
        Change::ReputationSet { peer: odd(), reputation },
        Change::ReputationRemoved { peer: odd() },
    ]
    .map(|change| vec![change])
    .into();
    let seen = |peer| Change::PeerSeen { peer, at, addresses: Vec::new() };
    records.push(vec![seen(two()), seen(three())]);
    let rest = [
        Change::PeerRemoved { peer: three() },
        value("kept"),
        value("removed"),
        Change::DhtRemoved { key: "removed".into() },
        package("kept@1.0.0", at),
        package("dropped@1.0.0", at),
        Change::PackageDropped { id: "dropped@1.0.0".into() },
        Change::BootstrapAdded { node: "/dnsaddr/a.example".into() },
        Change::BootstrapReplaced {
            nodes: vec!["/dnsaddr/a.example".into(), "/dnsaddr/b.example".into()],
        },
        Change::BootstrapRemoved { node: "/dnsaddr/a.example".into() },
        ban(two()),
        ban(three()),
        Change::Unbanned { peer: three() },
        Change::Expired { at: later(TimeDelta::hours(-1)) },
        Change::PeerSeen {
            peer: one(),
            at: later(TimeDelta::seconds(1)),
            addresses: to(&["/ip4/192.0.2.1/tcp/4002"]),
        },
    ];
    records.extend(rest.map(|change| vec![change]));
    // Something must have expired for `Expired` to be journaled.
    let expired = records.iter().position(|changes| changes[0].kind() == "expired").unwrap();
    records[expired - 1].push(package("old@0.1.0", later(TimeDelta::hours(-2))));
    records
}

/// Writes the golden store: all records but the last, a snapshot, the last record, a clean close.
fn make_store(state_file: &Path) {
    let store = open(state_file);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (index, changes) in records().into_iter().enumerate() {
        let lsn = u64::try_from(index + 1).unwrap();
        if lsn == SNAPSHOT_LSN + 1 {
            assert_eq!(runtime.block_on(store.compact()).unwrap(), Lsn::new(SNAPSHOT_LSN));
        }
        assert_eq!(store.append_batch(changes).unwrap().wait().unwrap(), Lsn::new(lsn));
    }
    runtime.block_on(store.close()).unwrap();
}

fn open(state_file: &Path) -> P2PStatePersistence {
    P2PStatePersistence::builder(state_file).segment_bytes(4096).clock(now).open().unwrap()
}

/// Everything that a state holds, comparable.
fn whole_state(store: &P2PStatePersistence) -> (P2PState, Vec<String>) {
    let view = store.view().unwrap();
    let state = view.state();
    let bans = state.bans().map(|row| format!("{row:?}"));
    let peers = state.peers().map(|(key, entry)| format!("{key:?} {:?}", entry.profile));
    let seen = state.peers().map(|(key, entry)| format!("{key:?} {:?}", entry.seen));
    let mut rest: Vec<_> = bans.chain(peers).chain(seen).collect();
    rest.sort_unstable();
    (view.to_rows(now()), rest)
}

/// What the clock of the golden store says.
fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap()
}

/// An Ed25519 key.
fn one() -> PeerId {
    peer(1)
}

/// The SHA-256 digest of a key.
fn two() -> PeerId {
    "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse().unwrap()
}

/// A secp256k1 key.
fn three() -> PeerId {
    let mut bytes = vec![0x00, 0x25, 0x08, 0x02, 0x12, 0x21, 0x02];
    bytes.extend([0x33; 32]);
    PeerId::from_bytes(&bytes).unwrap()
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

fn copy_of_golden() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("p2p-state.journal")).unwrap();
    for name in ["p2p-state.json".into(), Path::new("p2p-state.journal").join("LOCK")]
        .into_iter()
        .chain([FIRST, SECOND].map(|name| Path::new("p2p-state.journal").join(name)))
    {
        fs::copy(golden().join(&name), dir.path().join(&name)).unwrap();
    }
    let state_file = dir.path().join("p2p-state.json");
    (dir, state_file)
}

fn store_id() -> Vec<u8> {
    let text = fs::read_to_string(golden().join("p2p-state.json")).unwrap();
    let (_, rest) = text.split_once("\"store_id\": \"").unwrap();
    let digits = rest.as_bytes()[..32].chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn header_crc(segment: &[u8]) -> u32 {
    crc32fast::hash(&[&segment[..12], &segment[16..96]].concat())
}

fn record_crc(segment: u64, covered: &[u8]) -> u32 {
    let seed = crc32fast::hash(&[store_id().as_slice(), &segment.to_le_bytes()].concat());
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(covered);
    hasher.finalize()
}

/// A segment with everything blanked that depends on the random store id: the id and the checksums.
fn without_store(segment: &[u8]) -> Vec<u8> {
    let mut bytes = segment.to_vec();
    bytes[12..32].fill(0);
    bytes[72..76].fill(0);
    let mut at = 96;
    while bytes[at..at + 20].iter().any(|&byte| byte != 0) {
        bytes[at..at + 4].fill(0);
        at += 20 + usize::from(bytes[at + 4]) + 256 * usize::from(bytes[at + 5]);
    }
    bytes
}

/// The table of fields under a heading of the page: where each begins, and how long it is.
struct Layout {
    fields: BTreeMap<String, (usize, usize)>,
    len: usize,
}

impl Layout {
    fn of(page: &str, heading: &str) -> Self {
        let mut layout = Self { fields: BTreeMap::new(), len: 0 };
        for row in rows_of(page, heading) {
            let (offset, size) = (row[0].parse().unwrap(), row[1].parse().unwrap());
            assert_eq!(layout.len, offset, "{heading}: {} follows what is above it", row[2]);
            layout.len += size;
            layout.fields.insert(row[2].clone(), (offset, size));
        }
        layout
    }

    fn bytes<'a>(&self, from: &'a [u8], field: &str) -> &'a [u8] {
        let (offset, size) = self.fields[field];
        &from[offset..offset + size]
    }

    /// A little-endian number.
    fn number(&self, from: &[u8], field: &str) -> u64 {
        let bytes = self.bytes(from, field);
        bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
    }
}

fn kinds(page: &str) -> BTreeMap<String, u64> {
    let rows = rows_of(page, "### Kinds of records");
    rows.into_iter().map(|row| (row[1].clone(), row[0].parse().unwrap())).collect()
}

/// Names and fields of the table of changes; the numbers must count from 0.
fn variant_rows(page: &str) -> Vec<(String, Vec<String>)> {
    let rows = rows_of(page, "### Changes").into_iter().enumerate();
    rows.map(|(index, row)| {
        assert_eq!(row[0], index.to_string(), "{}", row[1]);
        let fields = row[2].split(", ").map(|field| field.split_once(": ").unwrap().0);
        (row[1].trim_matches('`').to_owned(), fields.map(ToOwned::to_owned).collect())
    })
    .collect()
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

/// The cells of the first table under a heading, without its head.
fn rows_of(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, section) = page.split_once(&format!("\n{heading}\n")).expect(heading);
    let lines = section.lines().skip_while(|line| !line.starts_with('|'));
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect();
    lines.take_while(|line| line.starts_with('|')).skip(2).map(cells).collect()
}

fn page(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.replace("\r\n", "\n")
}
