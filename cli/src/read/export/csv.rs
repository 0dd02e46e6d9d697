//! Tables for spreadsheets.
//!
//! A cell that a spreadsheet would take for a formula gets an apostrophe before it, and control
//! characters are spelled out: these texts come from strangers. So a table is for looking at;
//! what `import` takes back is JSON.

use chrono::{DateTime, Utc};
use peer_journal::{View, state::PeerEntry};

use crate::{
    console::Console,
    document::{Kind, PlaceRow, Rows},
    failure::Failure,
    json, show,
};

/// One row, as text that is not escaped yet.
type Cells = Vec<Cell>;

/// A cell of a table.
#[derive(Debug, PartialEq)]
enum Cell {
    /// Text, maybe of a stranger.
    Text(String),
    /// What this program made: a number or a time.
    Plain(String),
}

pub(super) fn print(view: &View, kind: Kind, console: &mut Console) -> Result<(), Failure> {
    let rows = Rows::of(view, &[kind]);
    let heads: &[&str] = match kind {
        Kind::Peer => {
            &["peer_id", "last_seen", "verified", "agent", "addresses", "protocols", "ban_until"]
        }
        Kind::Reputation => &[
            "peer_id",
            "successful_retrievals",
            "failed_retrievals",
            "last_seen",
            "avg_response_time_ms",
            "packages_provided",
            "latitude",
            "longitude",
            "region",
        ],
        Kind::Dht => &["key", "stored_at", "value_bytes", "value_base64"],
        Kind::Package => &["package_id", "cached_at", "data_bytes", "data_base64"],
        Kind::Bootstrap => &["node"],
        Kind::Ban => &["peer_id", "banned_at", "until", "reason", "source"],
        Kind::Profile => &["peer_id", "verified", "agent", "protocols"],
    };
    console.line(heads.join(","))?;
    table(rows, view).try_for_each(|row| console.line(line(&row)))
}

fn table(rows: Rows, view: &View) -> impl Iterator<Item = Cells> {
    let peers = rows.peers.into_iter().flatten().map(|row| peer(row, view));
    let reputation = rows.reputation.into_iter().flatten().map(|row| {
        let place = |get: fn(&PlaceRow) -> String| row.location.as_ref().map(get);
        vec![
            Cell::Text(row.peer_id.clone()),
            Cell::Plain(row.successful_retrievals.to_string()),
            Cell::Plain(row.failed_retrievals.to_string()),
            seen(row.last_seen),
            Cell::Plain(row.avg_response_time_ms.to_string()),
            Cell::Plain(row.packages_provided.to_string()),
            Cell::Plain(place(|place| place.latitude.to_string()).unwrap_or_default()),
            Cell::Plain(place(|place| place.longitude.to_string()).unwrap_or_default()),
            Cell::Text(place(|place| place.region.clone().unwrap_or_default()).unwrap_or_default()),
        ]
    });
    let dht = rows.dht_entries.into_iter().flatten().map(|row| {
        vec![Cell::Text(row.key), time(row.stored_at), size(&row.value), base64(&row.value)]
    });
    let packages = rows.package_cache.into_iter().flatten().map(|row| {
        let data = &row.package_data;
        vec![Cell::Text(row.package_id), time(row.cached_at), size(data), base64(data)]
    });
    let bootstrap = rows.bootstrap_nodes.into_iter().flatten().map(|node| vec![Cell::Text(node)]);
    let bans = rows.bans.into_iter().flatten().map(|row| {
        let (at, until) = (time(row.banned_at), time(row.until));
        vec![Cell::Text(row.peer_id), at, until, Cell::Text(row.reason), Cell::Text(row.source)]
    });
    let profiles = rows.profiles.into_iter().flatten().map(|row| {
        vec![
            Cell::Text(row.peer_id),
            Cell::Plain(row.verified.to_string()),
            Cell::Text(row.agent.unwrap_or_default()),
            Cell::Text(row.protocols.join(" ")),
        ]
    });
    peers.chain(reputation).chain(dht).chain(packages).chain(bootstrap).chain(bans).chain(profiles)
}

/// With what the peer says of itself, and its ban.
fn peer(row: crate::document::PeerRow, view: &View) -> Cells {
    let key = peer_journal::state::PeerKey::from_text(&row.peer_id);
    let entry = view.state().peer(&key);
    let profile = entry.and_then(|entry| entry.profile.as_deref());
    let verified = |entry: &PeerEntry| entry.seen.as_ref().is_some_and(|seen| seen.verified);
    let ban = view.state().ban(&key).map(|ban| json::time(ban.until.into()));
    vec![
        Cell::Text(row.peer_id),
        seen(row.last_seen),
        Cell::Plain(entry.is_some_and(verified).to_string()),
        Cell::Text(profile.and_then(|told| told.agent.as_deref()).unwrap_or_default().to_owned()),
        Cell::Text(row.addresses.join(" ")),
        Cell::Text(profile.map(|told| told.protocols.join(" ")).unwrap_or_default()),
        Cell::Plain(ban.unwrap_or_default()),
    ]
}

fn time(at: DateTime<Utc>) -> Cell {
    Cell::Plain(json::time(at))
}

/// Empty for "never".
fn seen(at: DateTime<Utc>) -> Cell {
    Cell::Plain(json::seen(at).unwrap_or_default())
}

fn size(bytes: &[u8]) -> Cell {
    Cell::Plain(bytes.len().to_string())
}

/// Base64 may begin with a plus, so it is text.
fn base64(bytes: &[u8]) -> Cell {
    Cell::Text(data_encoding::BASE64.encode(bytes))
}

fn line(row: &[Cell]) -> String {
    row.iter().map(cell).collect::<Vec<_>>().join(",")
}

/// What spreadsheets take for the beginning of a formula, in ASCII and in full width.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

fn cell(cell: &Cell) -> String {
    let mut safe = match cell {
        Cell::Plain(text) => return text.clone(),
        // Tabs and line ends are spelled out by it.
        Cell::Text(text) => show::text(text),
    };
    if safe.starts_with(FORMULA) {
        safe.insert(0, '\'');
    }
    if safe.contains(['"', ',', ';']) || safe.starts_with([' ', '\'']) {
        return format!("\"{}\"", safe.replace('"', "\"\""));
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_or_breaks_out_of_its_place() {
        let shown = |text: &str| cell(&Cell::Text(text.to_owned()));
        for (text, expected) in [
            ("kubo/0.41", "kubo/0.41"),
            ("", ""),
            ("=1+1", "\"'=1+1\""),
            ("+49", "\"'+49\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\u{ff1d}1", "\"'\u{ff1d}1\""),
            ("\t=1", "<U+0009>=1"),
            ("\r=1", "<U+000D>=1"),
            ("a\nb", "a<U+000A>b"),
            ("a,b", "\"a,b\""),
            ("a;b", "\"a;b\""),
            ("a\"b", "\"a\"\"b\""),
            ("=HYPERLINK(\"http://x\",1)", "\"'=HYPERLINK(\"\"http://x\"\",1)\""),
            ("\u{1b}[2J", "<U+001B>[2J"),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
        assert_eq!(cell(&Cell::Plain("-12.5".to_owned())), "-12.5", "a number is a number");
    }
}
