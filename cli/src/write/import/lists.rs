//! Lists of addresses: as text, in chain specifications, of kubo and of reth.

use serde::Deserialize;
use serde_json::Value;

use super::{
    address,
    format::Format,
    found::{Found, Place, Row},
    place::Lines,
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
        let nodes: Vec<Value> = serde_json::from_str(text).map_err(no_json)?;
        strings(&mut found, &mut Lines::of(text), "", &nodes, &|text| target.row(text));
    } else {
        words(&mut found, text, &|text| target.row(text));
    }
    Ok(found)
}

/// The first word of each line; lines that are indented tell more of the one before.
pub(super) fn kubo_peers(text: &str) -> Result<Found, String> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "Peers")]
        peers: Option<Vec<Value>>,
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
    let answer: Answer = serde_json::from_str(text).map_err(no_json)?;
    let mut lines = Lines::of(text);
    for (index, value) in answer.peers.unwrap_or_default().into_iter().enumerate() {
        match serde_json::from_value::<Peer>(value) {
            Ok(Peer { addr, peer }) => {
                let place = Place::new(lines.find_text(&peer), format!("{addr}/p2p/{peer}"));
                found.take(place, address::with_id(&peer, &addr));
            }
            Err(error) => {
                found.take(Place::new(None, format!("Peers[{index}]")), Err(error.to_string()));
            }
        }
    }
    Ok(found)
}

pub(super) fn chain_spec(text: &str, target: Target) -> Result<Found, String> {
    #[derive(Deserialize)]
    struct Spec {
        #[serde(rename = "bootNodes")]
        boot_nodes: Option<Vec<Value>>,
    }
    let spec: Spec = serde_json::from_str(text).map_err(no_json)?;
    let nodes = spec.boot_nodes.ok_or("it has no `bootNodes`")?;
    let mut found = Found::new(Format::ChainSpec);
    let mut lines = Lines::of(text);
    lines.enter("bootNodes");
    strings(&mut found, &mut lines, "bootNodes", &nodes, &|text| target.row(text));
    Ok(found)
}

pub(super) fn kubo_config(text: &str) -> Result<Found, String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "Peering")]
        peering: Option<Peering>,
        #[serde(rename = "Bootstrap")]
        bootstrap: Option<Vec<Value>>,
    }
    #[derive(Deserialize)]
    struct Peering {
        #[serde(rename = "Peers")]
        peers: Option<Vec<Value>>,
    }
    #[derive(Deserialize)]
    struct Peer {
        #[serde(rename = "ID")]
        id: String,
        #[serde(rename = "Addrs")]
        addrs: Option<Vec<Value>>,
    }
    let config: Config = serde_json::from_str(text).map_err(no_json)?;
    if config.peering.is_none() && config.bootstrap.is_none() {
        return Err("it has neither `Peering` nor `Bootstrap`".to_owned());
    }
    let mut found = Found::new(Format::KuboConfig);
    let mut lines = Lines::of(text);
    lines.enter("Peering");
    let peers = config.peering.and_then(|peering| peering.peers).unwrap_or_default();
    for (index, value) in peers.into_iter().enumerate() {
        let at = format!("Peering.Peers[{index}]");
        match serde_json::from_value::<Peer>(value) {
            Ok(Peer { id, addrs }) => {
                lines.find_text(&id);
                let at = format!("{at}.Addrs");
                let addrs = addrs.unwrap_or_default();
                strings(&mut found, &mut lines, &at, &addrs, &|text| address::with_id(&id, text));
            }
            Err(error) => found.take(Place::new(None, at), Err(error.to_string())),
        }
    }
    lines.enter("Bootstrap");
    let nodes = config.bootstrap.unwrap_or_default();
    strings(&mut found, &mut lines, "Bootstrap", &nodes, &address::bootstrap);
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
    let known: Vec<Value> = serde_json::from_str(text).map_err(no_json)?;
    let record = |value: Value| match value {
        Value::Object(_) => serde_json::from_value(value.clone())
            .map_or(value, |known: Known| Value::String(known.record)),
        other => other,
    };
    let urls: Vec<Value> = known.into_iter().map(record).collect();
    strings(&mut found, &mut Lines::of(text), "", &urls, &address::enode);
    Ok(found)
}

/// The entries of a JSON array, which should be strings.
fn strings(
    found: &mut Found,
    lines: &mut Lines<'_>,
    array: &str,
    entries: &[Value],
    make: Maker<'_>,
) {
    for (index, entry) in entries.iter().enumerate() {
        match entry {
            Value::String(text) => {
                found.take(Place::new(lines.find_text(text), text), make(text));
            }
            _ => {
                let place = Place::new(None, format!("{array}[{index}]"));
                found.take(place, Err("this is no text".to_owned()));
            }
        }
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
