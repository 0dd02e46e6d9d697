//! Kinds of changes, one by one or in groups.

use std::str::FromStr;

use peer_journal::state::Change;

/// The kinds of changes, by the group they belong to.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "peer",
        &[
            "peer_seen",
            "addresses_added",
            "addresses_replaced",
            "addresses_removed",
            "peer_profiled",
            "peer_verified",
            "peer_forgotten",
            "evicted",
            "peer_removed",
            "peer_set",
        ],
    ),
    (
        "reputation",
        &[
            "retrieval_succeeded",
            "retrieval_failed",
            "packages_provided",
            "location_set",
            "reputation_set",
            "reputation_removed",
        ],
    ),
    ("dht", &["dht_put", "dht_removed"]),
    ("package", &["package_cached", "package_dropped"]),
    ("bootstrap", &["bootstrap_added", "bootstrap_removed", "bootstrap_replaced"]),
    ("ban", &["banned", "unbanned"]),
    ("expiry", &["expired"]),
];

/// A kind of change, or a group of kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinds(Vec<&'static str>);

impl Kinds {
    /// True if the change is of one of these kinds.
    #[must_use]
    pub fn matches(&self, change: &Change) -> bool {
        self.0.contains(&change.kind())
    }
}

impl FromStr for Kinds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.trim().replace('-', "_");
        if let Some((_, kinds)) = GROUPS.iter().find(|(group, _)| *group == wanted) {
            return Ok(Self(kinds.to_vec()));
        }
        let all = GROUPS.iter().flat_map(|(_, kinds)| kinds.iter());
        match all.clone().find(|kind| **kind == wanted) {
            Some(kind) => Ok(Self(vec![kind])),
            None => {
                let groups = GROUPS.iter().map(|(group, _)| *group).collect::<Vec<_>>().join(", ");
                let all = all.copied().collect::<Vec<_>>().join(", ");
                Err(format!("no kind of change is called that; groups: {groups}; kinds: {all}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_change_can_be_asked_for() {
        let change = Change::Expired { at: chrono::DateTime::UNIX_EPOCH.into() };
        for (group, kinds) in GROUPS {
            let Ok(found) = group.parse::<Kinds>() else { panic!("{group}") };
            assert_eq!(found.0, *kinds);
            assert_eq!(found.matches(&change), *group == "expiry");
            for kind in *kinds {
                let dashed = kind.replace('_', "-");
                assert_eq!(dashed.parse::<Kinds>(), Ok(Kinds(vec![kind])));
            }
        }
        let wrong = "nonsense".parse::<Kinds>().unwrap_err();
        assert!(wrong.contains("reputation") && wrong.contains("dht_put"), "{wrong}");
    }
}
