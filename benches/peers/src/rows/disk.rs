//! Opening, snapshots, and bytes on disk.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::Arc,
};

use tokio::runtime::Runtime;

use crate::{
    args::Args,
    engines::{self, Mode, OURS, Result, Sqlite},
    ours,
    report::Row,
    stats::timed,
    workload::World,
};

const SMALL: usize = 1000;
/// Openings in a round; the median of a round counts.
const OPENINGS: usize = 5;

/// The store from its snapshot, an empty journal behind it; SQLite's tables into a map.
pub fn open(args: &Args, world: &Arc<World>, dir: &Path) -> Result<Vec<Row>> {
    let runtime = Runtime::new()?;
    let (large, small) = (dir.join("open"), dir.join("open-small"));
    let small_world = World::new(SMALL);
    for (place, world) in [(&large, world.as_ref()), (&small, small_world.as_ref())] {
        let store = ours::open_filled(place, world)?;
        // Segments go once two snapshots cover them; after the second the journal is empty.
        for _ in 0..2 {
            drop(store.append(world.change(world.reputation_op()))?);
            runtime.block_on(store.compact())?;
        }
        runtime.block_on(store.close())?;
    }
    let sqlite = dir.join("open-sqlite");
    drop(engines::open("SQLite FULL", &sqlite, world, false)?);
    let small_sqlite = dir.join("open-small-sqlite");
    drop(engines::open("SQLite FULL", &small_sqlite, &small_world, false)?);
    let mut of_large = Row::new("open", &format!("open: {} peers", args.peers), "ms", false);
    let mut of_small = Row::new("open-small", "open: 1,000 peers", "ms", false);
    for _ in 0..args.rounds {
        for (row, ours_place, sqlite_place, world) in [
            (&mut of_large, &large, &sqlite, world),
            (&mut of_small, &small, &small_sqlite, &small_world),
        ] {
            let mut opened = [Vec::new(), Vec::new()];
            for _ in 0..OPENINGS {
                let (took, store) = timed(|| ours::open(ours_place));
                let peers = store?.view()?.state().counts().peers;
                opened[0].push(took * 1000.0);
                let (took, rows) = timed(|| -> Result<_> {
                    let sqlite = Sqlite::open(sqlite_place, Arc::clone(world), Mode::Full)?;
                    let rows = sqlite.scan()?;
                    Ok((sqlite, rows))
                });
                opened[1].push(took * 1000.0);
                let (_, rows) = rows?;
                let read = rows.values().filter(|row| row.is_whole()).count();
                if peers != world.peers.len() || read != peers {
                    return Err(format!("{peers} and {read} peers were read").into());
                }
            }
            row.add(OURS, crate::stats::median(&opened[0]));
            row.add("SQLite, open and scan", crate::stats::median(&opened[1]));
        }
    }
    Ok(vec![of_large, of_small])
}

/// A snapshot after one change, beside serde_json's pretty writer on a document that is ready.
pub fn snapshot(args: &Args, world: &Arc<World>, dir: &Path) -> Result<Vec<Row>> {
    let runtime = Runtime::new()?;
    let place = dir.join("snapshot");
    let store = ours::open_filled(&place, world)?;
    runtime.block_on(store.compact())?;
    let document = world.base_rows();
    let title = format!("snapshot of {} peers, written durably", args.peers);
    let mut row = Row::new("snapshot", &title, "ms", false);
    for _ in 0..args.rounds {
        drop(store.append(world.change(world.reputation_op()))?);
        let (took, written) = timed(|| runtime.block_on(store.compact()));
        written?;
        row.add(OURS, took * 1000.0);
        let path = dir.join("document.json");
        let (took, written) = timed(|| -> Result<()> {
            let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
            serde_json::to_writer_pretty(&mut file, &document)?;
            file.flush()?;
            file.get_ref().sync_all()?;
            Ok(())
        });
        written?;
        row.add("serde_json, pretty, fsync", took * 1000.0);
    }
    row.note(
        "peer-journal: seal the segment, sort, write, sync, read back, rename, sync the folders, \
         delete what is covered. serde_json: write and sync alone.",
    );
    Ok(vec![row])
}

/// Bytes of journal per reputation change.
pub fn bytes(_: &Args, world: &Arc<World>, dir: &Path) -> Result<Vec<Row>> {
    const CHANGES: u32 = 100_000;
    let store = ours::open_filled(&dir.join("bytes"), world)?;
    let runtime = Runtime::new()?;
    runtime.block_on(store.sync())?;
    let before = store.status()?.journal_bytes;
    for _ in 0..CHANGES {
        ours::append_relaxed(&store, world.change(world.reputation_op()))?;
    }
    runtime.block_on(store.sync())?;
    let written = store.status()?.journal_bytes - before;
    let mut row = Row::new("bytes", "bytes on disk per reputation change", "bytes", false);
    row.add(OURS, written as f64 / f64::from(CHANGES));
    Ok(vec![row])
}
