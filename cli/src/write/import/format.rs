//! What an input is: told by its content, unless the command line says so.

use serde::{Deserialize, Serialize, de::IgnoredAny};

/// A format that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Format {
    /// Another store, with its journal, or a snapshot file
    Store,
    /// A version 1 state file, or what `export` and `cat` print
    State,
    /// What `export -o jsonl` prints: a row on each line
    Jsonl,
    /// Multiaddrs that end in /p2p/<peer id>, one on each line or as a JSON array
    Multiaddrs,
    /// `bootNodes` of a chain specification
    ChainSpec,
    /// `Peering.Peers` and `Bootstrap` of a kubo configuration
    KuboConfig,
    /// What `ipfs swarm peers` prints, with any of its options, or with --enc=json
    KuboPeers,
    /// known-peers.json of reth, or enode URLs, one on each line
    Reth,
}

/// The members that tell documents apart; all others are passed over, however large they are.
#[derive(Deserialize)]
struct Probe {
    version: Option<IgnoredAny>,
    schema: Option<IgnoredAny>,
    store_id: Option<IgnoredAny>,
    kind: Option<IgnoredAny>,
    #[serde(rename = "bootNodes")]
    boot_nodes: Option<IgnoredAny>,
    #[serde(rename = "Peering")]
    peering: Option<IgnoredAny>,
    #[serde(rename = "Bootstrap")]
    bootstrap: Option<IgnoredAny>,
    #[serde(rename = "Peers")]
    peers: Option<IgnoredAny>,
}

/// The format of a text.
///
/// # Errors
/// Why it is none of them.
pub(super) fn detect(text: &str) -> Result<Format, String> {
    let text = text.trim_start();
    match text.chars().next() {
        None => Err("there is nothing in it".to_owned()),
        Some('{') => object(text),
        Some('[') => Ok(array(text)),
        Some(_) => lines(text),
    }
}

fn object(text: &str) -> Result<Format, String> {
    let mut documents = serde_json::Deserializer::from_str(text).into_iter::<Probe>();
    let probe = match documents.next() {
        Some(Ok(probe)) => probe,
        Some(Err(error)) => return Err(format!("this is no JSON document: {error}")),
        None => return Err("there is nothing in it".to_owned()),
    };
    let format = if probe.boot_nodes.is_some() {
        Format::ChainSpec
    } else if probe.peering.is_some() || probe.bootstrap.is_some() {
        Format::KuboConfig
    } else if probe.peers.is_some() {
        Format::KuboPeers
    } else if probe.kind.is_some() {
        Format::Jsonl
    } else if probe.store_id.is_some() {
        Format::Store
    } else if probe.version.is_some() || probe.schema.is_some() {
        Format::State
    } else {
        return Err("it is a JSON document of none of the known formats".to_owned());
    };
    Ok(format)
}

fn array(text: &str) -> Format {
    let inner = text.get(1..).unwrap_or_default().trim_start();
    if inner.starts_with("\"enode:") || inner.starts_with('{') {
        Format::Reth
    } else {
        Format::Multiaddrs
    }
}

fn lines(text: &str) -> Result<Format, String> {
    let mut lines = text.lines().map(str::trim_start);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    match first {
        Some(line) if line.starts_with("enode:") => Ok(Format::Reth),
        Some(line) if line.starts_with('/') => Ok(Format::Multiaddrs),
        Some(_) => Err("it is neither JSON nor a list of addresses".to_owned()),
        None => Err("there is nothing in it but comments".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_tells_the_format() {
        for (text, format) in [
            ("/ip4/192.0.2.1/tcp/1/p2p/x", Format::Multiaddrs),
            ("# mine\n\n  /ip4/192.0.2.1/tcp/1/p2p/x", Format::Multiaddrs),
            ("[\"/ip4/192.0.2.1/tcp/1\"]", Format::Multiaddrs),
            ("[]", Format::Multiaddrs),
            ("enode://00@192.0.2.1:1", Format::Reth),
            ("[\n \"enode://00@192.0.2.1:1\"]", Format::Reth),
            ("[{\"record\": \"enode://00@192.0.2.1:1\"}]", Format::Reth),
            ("{\"id\":\"x\",\"bootNodes\":[],\"genesis\":{}}", Format::ChainSpec),
            ("{\"Peering\":{\"Peers\":[]},\"Bootstrap\":[]}", Format::KuboConfig),
            ("{\"Bootstrap\":null,\"Peering\":{}}", Format::KuboConfig),
            ("{\"Peers\":[]}", Format::KuboPeers),
            ("{\"version\":1,\"peers\":[]}", Format::State),
            ("{\"schema\":\"peer-journal/export/1\",\"peers\":[]}", Format::State),
            ("{\"version\":2,\"store_id\":\"x\",\"peers\":[]}", Format::Store),
            ("{\"schema\":\"x\",\"kind\":\"ban\"}\n{\"kind\":\"peer\"}", Format::Jsonl),
        ] {
            assert_eq!(detect(text), Ok(format), "{text}");
        }
    }

    #[test]
    fn what_is_no_known_format_is_said_so() {
        for (text, part) in [
            ("", "nothing in it"),
            (" \n", "nothing in it"),
            ("# a\n#b", "but comments"),
            ("peers = 1", "neither JSON"),
            ("{\"a\": 1}", "none of the known"),
            ("{\"a\": ", "no JSON document: EOF"),
            ("{]", "no JSON document"),
        ] {
            let why = detect(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
