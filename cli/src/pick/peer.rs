//! A peer by its id, or by a beginning or end that no other known peer has.

use std::{fmt, str::FromStr};

use peer_journal::state::PeerKey;

use crate::{failure::Failure, show};

/// Most ids that an ambiguity error lists.
const LISTED: usize = 5;

/// What somebody typed for a peer: a full id, or its beginning or end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerQuery(String);

impl PeerQuery {
    /// The peer if the query is a full id, known or not.
    #[must_use]
    pub fn full(&self) -> Option<PeerKey> {
        let key = PeerKey::from_text(&self.0);
        key.to_peer_id().is_some().then_some(key)
    }

    fn matches(&self, id: &str) -> bool {
        id.ends_with(&self.0) || id.starts_with(&self.0)
    }
}

impl FromStr for PeerQuery {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // As the tables print it.
        let part = text.trim().trim_start_matches('\u{2026}').trim_start_matches("..");
        if part.is_empty() {
            return Err("give an id, or its last characters");
        }
        Ok(Self(part.to_owned()))
    }
}

impl fmt::Display for PeerQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show::text(&self.0))
    }
}

/// The one peer among these that the query means. A key may come several times. A full id is
/// itself, known or not.
///
/// # Errors
/// If there is none, or if there are several; the message lists them.
pub fn find_peer<'a>(
    query: &PeerQuery,
    known: impl IntoIterator<Item = &'a PeerKey>,
) -> Result<PeerKey, Failure> {
    if let Some(key) = query.full() {
        return Ok(key);
    }
    let mut found: Vec<(String, &PeerKey)> = Vec::new();
    for key in known {
        let id = key.to_string();
        if id == query.0 {
            return Ok(key.clone());
        }
        if query.matches(&id) {
            found.push((id, key));
        }
    }
    found.sort();
    found.dedup();
    match found.as_slice() {
        [] => Err(Failure::negative(format!(
            "no known peer has an id that begins or ends with {query}; `peer-journal peers --wide` lists them"
        ))),
        [(_, key)] => Ok((*key).clone()),
        several => {
            let listed = several.iter().take(LISTED).map(|(id, _)| show::text(id));
            let more = if several.len() > LISTED { ", ..." } else { "" };
            Err(Failure::usage(format!(
                "{query} may be any of {} peers: {}{more}; give more of the id",
                several.len(),
                show::list(listed)
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "12D3KooWHsGHvXtTZydW3VgrM8iPe6Nok7W3jzRy9cvWUKdinK5V";
    const OTHER: &str = "12D3KooWR7Biy6nPgQFhk2eYP62pAkcFA6he9RUFURTDh7ewTjpo";

    fn find(text: &str, known: &[&str]) -> Result<String, (u8, String)> {
        let known: Vec<PeerKey> = known.iter().map(|text| PeerKey::from_text(text)).collect();
        let query: PeerQuery = text.parse().map_err(|why: &str| (2, why.to_owned()))?;
        let found = find_peer(&query, &known);
        found.map(|key| key.to_string()).map_err(|f| (f.number(), f.to_string()))
    }

    #[test]
    fn a_peer_is_found_by_its_id_its_end_or_its_beginning() {
        let known = [ONE, OTHER, ONE, "odd one"];
        for text in [ONE, "K5V", "\u{2026}UKdinK5V", "..UKdinK5V", "12D3KooWH"] {
            assert_eq!(find(text, &known), Ok(ONE.to_owned()), "{text}");
        }
        assert_eq!(find("odd", &known), Ok("odd one".to_owned()));
        assert_eq!(find(ONE, &[]), Ok(ONE.to_owned()), "a full id needs no list");
    }

    #[test]
    fn what_is_meant_must_be_clear() {
        let (code, text) = find("12D3KooW", &[ONE, OTHER]).unwrap_err();
        assert_eq!(code, 2);
        assert!(text.contains("any of 2 peers") && text.contains(ONE), "{text}");
        let (code, text) = find("nobody", &[ONE]).unwrap_err();
        assert_eq!((code, text.contains("no known peer")), (1, true), "{text}");
        assert_eq!(find("a", &["a", "aa"]), Ok("a".to_owned()), "the whole id wins");
        assert_eq!(find(" \u{2026} ", &[ONE]).unwrap_err().0, 2);
        let (_, text) = find("\u{1b}[2J", &[ONE]).unwrap_err();
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
