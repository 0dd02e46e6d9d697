//! One change, in words and as JSON.

use chrono::{DateTime, Utc};
use peer_journal::state::{Address, Change};
use serde::Serialize;

use super::rows::{LocationJson, ReputationJson};
use crate::{json, show};

/// Addresses that are told before it says how many more there are.
const ADDRESSES: usize = 2;

/// What a change says, without the peer it is about. Safe to print.
pub(crate) fn describe(change: &Change) -> String {
    match change {
        Change::PeerSeen { addresses, .. } if addresses.is_empty() => "seen".into(),
        Change::PeerSeen { addresses, .. } => format!("seen at {}", places(addresses)),
        Change::AddressesAdded { addresses, .. } => format!("heard of {}", places(addresses)),
        Change::AddressesReplaced { addresses, .. } => {
            format!("is at {} and nowhere else", places(addresses))
        }
        Change::AddressesRemoved { addresses, .. } => format!("is not at {}", places(addresses)),
        Change::PeerProfiled { agent: None, protocols, .. } if protocols.is_empty() => {
            "says nothing of itself".into()
        }
        Change::PeerProfiled { agent, protocols, .. } => {
            let agent = agent.as_deref().map_or_else(|| "no agent".to_owned(), show::text);
            format!("says it is {agent}, {}", show::count(protocols.len(), "protocol"))
        }
        Change::PeerVerified { verified: true, .. } => "spoken to".into(),
        Change::PeerVerified { verified: false, .. } => "only heard of".into(),
        Change::PeerForgotten { .. } => "forgotten".into(),
        Change::Evicted { .. } => "forgotten to make room".into(),
        Change::PeerRemoved { .. } => "row removed, reputation kept".into(),
        Change::PeerSet { last_seen, addresses, .. } => {
            let seen = show::time((*last_seen).into());
            format!("row set: seen {seen}, at {}", places(addresses))
        }
        Change::RetrievalSucceeded { response_ms, .. } => {
            format!("retrieval succeeded in {response_ms} ms")
        }
        Change::RetrievalFailed { .. } => "retrieval failed".into(),
        Change::PackagesProvided { count, .. } => {
            format!("provides {}", show::count(*count, "package"))
        }
        Change::LocationSet { location: None, .. } => "its place is not known".into(),
        Change::LocationSet { location: Some(place), .. } => {
            let region = place.region.as_deref().map(|region| format!(" {}", show::text(region)));
            let region = region.unwrap_or_default();
            format!("is at {:.2},{:.2}{region}", place.latitude, place.longitude)
        }
        Change::ReputationSet { reputation, .. } => format!(
            "reputation set: {} ok, {} failed",
            show::number(reputation.successful_retrievals),
            show::number(reputation.failed_retrievals)
        ),
        Change::ReputationRemoved { .. } => "reputation removed".into(),
        Change::Banned { at, until, reason, source, .. } => {
            let span = show::ban_span((*until).into(), (*at).into());
            let colon = if reason.is_empty() { "" } else { ": " };
            let (reason, source) = (show::text(reason), show::text(source));
            format!("banned {span}{colon}{reason} (by {source})")
        }
        Change::Unbanned { .. } => "ban lifted".into(),
        other => describe_rest(other),
    }
}

/// Changes that are about no peer.
fn describe_rest(change: &Change) -> String {
    match change {
        Change::DhtPut { key, value, .. } => {
            format!("{} = {}", show::text(key), show::bytes(value.len()))
        }
        Change::DhtRemoved { key } => format!("{} removed", show::text(key)),
        Change::PackageCached { id, data, .. } => {
            format!("{} cached, {}", show::text(id), show::bytes(data.len()))
        }
        Change::PackageDropped { id } => format!("{} dropped", show::text(id)),
        Change::BootstrapAdded { node } => format!("{} added", show::text(node)),
        Change::BootstrapRemoved { node } => format!("{} removed", show::text(node)),
        Change::BootstrapReplaced { nodes } => {
            format!("replaced by {}", show::count(nodes.len(), "node"))
        }
        Change::Expired { at } => format!("what had run out by {} went", show::time((*at).into())),
        other => other.kind().to_owned(),
    }
}

fn places(addresses: &[Address]) -> String {
    if addresses.is_empty() {
        return "no address".into();
    }
    let shown = addresses.iter().take(ADDRESSES).map(|one| show::text(&one.to_string()));
    let shown = show::list(shown);
    match addresses.len().saturating_sub(ADDRESSES) {
        0 => shown,
        more => format!("{shown} +{more}"),
    }
}

/// A change as JSON: its kind, and the fields that it has.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ChangeJson {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocols: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_time_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packages_provided: Option<u64>,
    /// The outer one tells whether the change is about a place at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Option<LocationJson>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reputation: Option<ReputationJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Vec<String>>,
}

impl ChangeJson {
    pub(crate) fn new(change: &Change) -> Self {
        let mut json = Self {
            kind: change.kind(),
            peer_id: change.peer().map(ToString::to_string),
            at: time_of(change).map(json::time),
            ..Self::default()
        };
        match change {
            Change::PeerSeen { addresses, .. }
            | Change::AddressesAdded { addresses, .. }
            | Change::AddressesReplaced { addresses, .. }
            | Change::AddressesRemoved { addresses, .. } => json.addresses = Some(texts(addresses)),
            Change::PeerSet { addresses, last_seen, .. } => {
                json.addresses = Some(texts(addresses));
                json.last_seen = json::seen((*last_seen).into());
            }
            Change::PeerProfiled { agent, protocols, .. } => {
                json.agent = agent.as_deref().map(str::to_owned);
                json.protocols = Some(texts(protocols));
            }
            Change::PeerVerified { verified, .. } => json.verified = Some(*verified),
            Change::RetrievalSucceeded { response_ms, .. } => {
                json.response_time_ms = Some(*response_ms);
            }
            Change::PackagesProvided { count, .. } => json.packages_provided = Some(*count),
            Change::LocationSet { location, .. } => {
                json.location = Some(location.as_ref().map(LocationJson::new));
            }
            Change::ReputationSet { reputation, .. } => {
                json.reputation = Some(ReputationJson::new(reputation));
            }
            Change::Banned { until, reason, source, .. } => {
                json.until = Some(json::time((*until).into()));
                json.reason = Some(reason.to_string());
                json.source = Some(source.to_string());
            }
            _ => json.rest(change),
        }
        json
    }

    fn rest(&mut self, change: &Change) {
        match change {
            Change::DhtPut { key, value, .. } => {
                self.key = Some(key.to_string());
                self.value_bytes = Some(value.len());
            }
            Change::DhtRemoved { key } => self.key = Some(key.to_string()),
            Change::PackageCached { id, data, .. } => {
                self.package_id = Some(id.to_string());
                self.value_bytes = Some(data.len());
            }
            Change::PackageDropped { id } => self.package_id = Some(id.to_string()),
            Change::BootstrapAdded { node } | Change::BootstrapRemoved { node } => {
                self.nodes = Some(vec![node.to_string()]);
            }
            Change::BootstrapReplaced { nodes } => self.nodes = Some(texts(nodes)),
            _ => {}
        }
    }
}

fn texts(items: &[impl ToString]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

/// The time that a change itself carries.
fn time_of(change: &Change) -> Option<DateTime<Utc>> {
    match change {
        Change::PeerSeen { at, .. }
        | Change::RetrievalSucceeded { at, .. }
        | Change::RetrievalFailed { at, .. }
        | Change::DhtPut { at, .. }
        | Change::PackageCached { at, .. }
        | Change::Banned { at, .. }
        | Change::Expired { at } => Some((*at).into()),
        _ => None,
    }
}
