//! Lists of addresses: as text, in chain specifications, of kubo and of reth.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    address,
    format::Format,
    found::{Found, Place, Row},
    place::{Lines, parse},
};

/// What addresses become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Target {
    /// Addresses of peers that were heard of
    Peers,
    /// Bootstrap nodes
    Bootstrap,
}

impl Target {
    fn row(self, text: &str) -> Result<Row, String> {
        match self {
            Self::Peers => address::of_peer(text),
            Self::Bootstrap => address::bootstrap(text),
        }
    }
}

/// What makes an address out of a text.
type Maker<'a> = &'a dyn Fn(&str) -> Result<Row, String>;

/// One address on each line, or a JSON array of them.
pub(super) fn multiaddrs(text: &str, target: Target) -> Result<Found, String> {
    let mut found = Found::new(Format::Multiaddrs);
    if text.trim_start().starts_with('[') {
        let nodes: Vec<&RawValue> = serde_json::from_str(text).map_err(no_json)?;
        strings(&mut found, &Lines::of(text), "", &nodes, &|text| target.row(text));
    } else {
        words(&mut found, text, &|text| target.row(text));
    }
    Ok(found)
}

/// The first word of each line; lines that are indented tell more of the one before.
pub(super) fn kubo_peers(text: &str) -> Result<Found, String> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow, rename = "Peers")]
        peers: Option<Vec<&'a RawValue>>,
    }
    #[derive(Deserialize)]
    struct Peer {
        #[serde(rename = "Addr")]
        addr: String,
        #[serde(rename = "Peer")]
        peer: String,
    }
    let mut found = Found::new(Format::KuboPeers);
    if !text.trim_start().starts_with('{') {
        words(&mut found, text, &address::of_peer);
        return Ok(found);
    }
    let answer: Answer<'_> = serde_json::from_str(text).map_err(no_json)?;
    let lines = Lines::of(text);
    for (index, entry) in answer.peers.unwrap_or_default().into_iter().enumerate() {
        let line = lines.line(entry);
        match parse(entry) {
            Ok(Peer { addr, peer }) => {
                let place = Place::new(line, format!("{addr}/p2p/{peer}"));
                found.take(place, address::with_id(&peer, &addr));
            }
            Err(error) => found.take(Place::new(line, format!("Peers[{index}]")), Err(error)),
        }
    }
    Ok(found)
}

pub(super) fn chain_spec(text: &str, target: Target) -> Result<Found, String> {
    #[derive(Deserialize)]
    struct Spec<'a> {
        #[serde(borrow, rename = "bootNodes")]
        boot_nodes: Option<Vec<&'a RawValue>>,
    }
    let spec: Spec<'_> = serde_json::from_str(text).map_err(no_json)?;
    let nodes = spec.boot_nodes.ok_or("it has no `bootNodes`")?;
    let mut found = Found::new(Format::ChainSpec);
    strings(&mut found, &Lines::of(text), "bootNodes", &nodes, &|text| target.row(text));
    Ok(found)
}

pub(super) fn kubo_config(text: &str) -> Result<Found, String> {
    #[derive(Deserialize)]
    struct Config<'a> {
        #[serde(borrow, rename = "Peering")]
        peering: Option<Peering<'a>>,
        #[serde(borrow, rename = "Bootstrap")]
        bootstrap: Option<Vec<&'a RawValue>>,
    }
    #[derive(Deserialize)]
    struct Peering<'a> {
        #[serde(borrow, rename = "Peers")]
        peers: Option<Vec<&'a RawValue>>,
    }
    #[derive(Deserialize)]
    struct Peer {
        #[serde(rename = "ID")]
        id: String,
    }
    #[derive(Deserialize)]
    struct Addresses<'a> {
        #[serde(borrow, rename = "Addrs")]
        addrs: Option<Vec<&'a RawValue>>,
    }
    let config: Config<'_> = serde_json::from_str(text).map_err(no_json)?;
    if config.peering.is_none() && config.bootstrap.is_none() {
        return Err("it has neither `Peering` nor `Bootstrap`".to_owned());
    }
    let mut found = Found::new(Format::KuboConfig);
    let lines = Lines::of(text);
    let peers = config.peering.and_then(|peering| peering.peers).unwrap_or_default();
    for (index, entry) in peers.into_iter().enumerate() {
        let at = format!("Peering.Peers[{index}]");
        let addresses = serde_json::from_str::<Addresses<'_>>(entry.get())
            .map_err(|_| "`Addrs` is no list".to_owned());
        match parse(entry).and_then(|Peer { id }| Ok((id, addresses?))) {
            Ok((id, Addresses { addrs })) => {
                let at = format!("{at}.Addrs");
                let addrs = addrs.unwrap_or_default();
                strings(&mut found, &lines, &at, &addrs, &|text| address::with_id(&id, text));
            }
            Err(error) => found.take(Place::new(lines.line(entry), at), Err(error)),
        }
    }
    let nodes = config.bootstrap.unwrap_or_default();
    strings(&mut found, &lines, "Bootstrap", &nodes, &address::bootstrap);
    Ok(found)
}

/// An array of enode URLs, or of objects with one each; or one URL on each line.
pub(super) fn reth(text: &str) -> Result<Found, String> {
    #[derive(Deserialize)]
    struct Known {
        record: String,
    }
    let mut found = Found::new(Format::Reth);
    found.notes.push(
        "these are nodes of an Ethereum network: their ids are those of the same keys in libp2p, \
         but they speak RLPx, and a libp2p node that dials them is refused",
    );
    if !text.trim_start().starts_with('[') {
        words(&mut found, text, &address::enode);
        return Ok(found);
    }
    let known: Vec<&RawValue> = serde_json::from_str(text).map_err(no_json)?;
    let lines = Lines::of(text);
    for (index, entry) in known.into_iter().enumerate() {
        let url = parse(entry).or_else(|error| match parse(entry) {
            Ok(Known { record }) => Ok(record),
            Err(_) => Err(error),
        });
        one(&mut found, lines.line(entry), &format!("[{index}]"), url, &address::enode);
    }
    Ok(found)
}

/// The entries of a JSON array, which should be strings.
fn strings<'a>(
    found: &mut Found,
    lines: &Lines<'a>,
    array: &str,
    entries: &[&'a RawValue],
    make: Maker<'_>,
) {
    for (index, entry) in entries.iter().enumerate() {
        one(found, lines.line(entry), &format!("{array}[{index}]"), parse(entry), make);
    }
}

/// An entry of an array, which should be a string.
fn one(
    found: &mut Found,
    line: Option<u64>,
    at: &str,
    entry: Result<String, String>,
    make: Maker<'_>,
) {
    match entry {
        Ok(text) => found.take(Place::new(line, &text), make(&text)),
        Err(_) => found.take(Place::new(line, at), Err("this is no text".to_owned())),
    }
}

/// The first word of each line that is neither empty, nor a comment, nor indented below another.
fn words(found: &mut Found, text: &str, make: Maker<'_>) {
    let mut has_head = false;
    for (line, number) in text.lines().zip(1_u64..) {
        let is_detail = has_head && line.starts_with([' ', '\t']);
        match line.split_whitespace().next() {
            Some(word) if !is_detail && !word.starts_with('#') => {
                has_head |= !line.starts_with([' ', '\t']);
                found.take(Place::new(Some(number), word), make(word));
            }
            _ => {}
        }
    }
}

fn no_json(error: serde_json::Error) -> String {
    format!("cannot read it as JSON of this format: {error}")
}
