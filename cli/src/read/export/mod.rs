//! `export`: what a store knows, for other programs.

mod csv;

use peer_journal::{View, state::PeerKey};
use serde::Serialize;

use super::{Exit, Source, cat::view_at, rows::ban_now};
use crate::{
    console::Console,
    document::{BanRow, DhtRow, Kind, PackageRow, PeerRow, ProfileRow, ReputationRow, Rows},
    failure::Failure,
    json, progress, show,
};

/// Options of `export`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Form of the output
    #[arg(short, long, visible_alias = "format", value_name = "FORM", default_value = "json")]
    output: Output,
    /// Only rows of this kind; repeatable [default: all, and peers in CSV and lists of multiaddrs]
    #[arg(long, value_name = "KIND")]
    kind: Vec<Kind>,
    /// As of this record or time, for example 1234, 2h or 2026-03-01T12:00:00Z
    #[arg(long, value_name = "LSN|TIME")]
    at: Option<String>,
    /// The same as `-o json`
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

/// Form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// One document; `import` takes it back whole
    Json,
    /// A row on each line; `import` takes it back whole
    Jsonl,
    /// A table for spreadsheets, of one kind
    Csv,
    /// Addresses that end in /p2p/<peer id>, without those of banned peers; a list of bootstrap
    /// nodes for others
    #[value(alias = "bootstrap")]
    Multiaddrs,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    lsn: u64,
    kinds: &'a [Kind],
    #[serde(flatten)]
    rows: Rows,
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let output = if args.json { Output::Json } else { args.output };
    let kinds = kinds(args, output)?;
    let reader = source.reader(console)?;
    let view = match &args.at {
        Some(at) => view_at(&reader, at, console)?,
        None => reader.view().clone(),
    };
    match output {
        Output::Json => {
            let lsn = view.lsn().get();
            let rows = progress::during(console, "exporting:", || Rows::of(&view, &kinds));
            json::document(console, "export", &Document { lsn, kinds: &kinds, rows })?;
        }
        Output::Jsonl => {
            for kind in kinds {
                lines(Rows::of(&view, &[kind]), console)?;
            }
        }
        Output::Csv => kinds.iter().try_for_each(|kind| csv::print(&view, *kind, console))?,
        Output::Multiaddrs if kinds.contains(&Kind::Bootstrap) => {
            let nodes = view.state().bootstrap_nodes();
            nodes.iter().try_for_each(|node| console.line(show::text(node)))?;
        }
        Output::Multiaddrs => multiaddrs(&view, console)?,
    }
    Ok(Exit::Done)
}

/// The kinds that are wanted, each once, in the order of a document.
fn kinds(args: &Args, output: Output) -> Result<Vec<Kind>, Failure> {
    let wanted = |kind: &&Kind| args.kind.contains(kind);
    let kinds: Vec<Kind> = match (output, args.kind.is_empty()) {
        (Output::Json | Output::Jsonl, true) => Kind::ALL.to_vec(),
        (Output::Csv | Output::Multiaddrs, true) => vec![Kind::Peer],
        (_, false) => Kind::ALL.iter().filter(wanted).copied().collect(),
    };
    match (output, kinds.as_slice()) {
        (Output::Csv, [_, _, ..]) => {
            Err(Failure::usage("a table holds rows of one kind; name one --kind for each table"))
        }
        (Output::Multiaddrs, [Kind::Peer] | [Kind::Bootstrap])
        | (Output::Json | Output::Jsonl | Output::Csv, _) => Ok(kinds),
        (Output::Multiaddrs, _) => Err(Failure::usage(
            "only peers and bootstrap nodes have addresses; name one of them as --kind",
        )),
    }
}

/// A row with its kind.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    Peer(PeerRow),
    Reputation(ReputationRow),
    Dht(DhtRow),
    Package(PackageRow),
    Bootstrap { node: String },
    Ban(BanRow),
    Profile(ProfileRow),
}

fn lines(rows: Rows, console: &mut Console) -> Result<(), Failure> {
    let lines = rows
        .peers
        .into_iter()
        .flatten()
        .map(Line::Peer)
        .chain(rows.reputation.into_iter().flatten().map(Line::Reputation))
        .chain(rows.dht_entries.into_iter().flatten().map(Line::Dht))
        .chain(rows.package_cache.into_iter().flatten().map(Line::Package))
        .chain(rows.bootstrap_nodes.into_iter().flatten().map(|node| Line::Bootstrap { node }))
        .chain(rows.bans.into_iter().flatten().map(Line::Ban))
        .chain(rows.profiles.into_iter().flatten().map(Line::Profile));
    lines.into_iter().try_for_each(|line| json::line(console, "export-line", &line))
}

/// Every address of every peer, with the peer behind it. A list of bootstrap nodes should hold no
/// peer that was banned here, and no text that is no address.
fn multiaddrs(view: &View, console: &mut Console) -> Result<(), Failure> {
    let state = view.state();
    let mut peers: Vec<(String, &PeerKey)> =
        state.peers().map(|(key, _)| (key.to_string(), key)).collect();
    peers.sort();
    let (mut banned, mut odd) = (0_u64, 0_u64);
    for (id, key) in peers {
        if ban_now(state, key, console.now).is_some() {
            banned += 1;
            continue;
        }
        let Some(seen) = state.peer(key).and_then(|entry| entry.seen.as_ref()) else { continue };
        for address in seen.addresses.iter() {
            if key.to_peer_id().is_none() || address.to_multiaddr().is_none() {
                odd += 1;
                continue;
            }
            let address = address.to_string();
            let suffix = format!("/p2p/{id}");
            let plain = address.strip_suffix(&suffix).unwrap_or(&address);
            console.line(show::text(&format!("{plain}{suffix}")))?;
        }
    }
    if banned > 0 {
        console.note(format_args!("note: left out {}", show::count(banned, "banned peer")));
    }
    if odd > 0 {
        let odd = show::count(odd, "text");
        console.note(format_args!("note: left out {odd} that no other program would take"));
    }
    Ok(())
}
