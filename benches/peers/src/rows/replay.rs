//! Replay of 1,000,000 records into 100,000 peers, beside the floor: the checksum, decoding and
//! application of the very same bytes from memory.

use std::{fs, path::Path, sync::Arc};

use peer_journal::state::{Limits, State, decode};

use crate::{
    args::Args,
    engines::{self, OURS, Result, Rival},
    ours,
    report::Row,
    stats::timed,
    workload::{Op, World},
};

const RECORDS: usize = 1_000_000;
const HEADER_BYTES: usize = 96;
const RECORD_HEADER_BYTES: usize = 20;
const FLOOR: &str = "crc + decode + apply";

pub fn run(args: &Args, world: &Arc<World>, dir: &Path) -> Result<Vec<Row>> {
    let ops: Vec<Op> = (0..RECORDS).map(|_| world.op()).collect();
    let place = dir.join("replay");
    let (okay_place, raft) = (dir.join("okaywal"), dir.join("raft-engine"));
    for folder in [&place, &okay_place, &raft] {
        fs::create_dir_all(folder)?;
    }
    let store = ours::open_filled(&place, world)?;
    for op in &ops {
        ours::append_relaxed(&store, world.change(*op))?;
    }
    drop(store);
    let segments = segments(&place)?;
    let records = || ours::base_records(world).chain(ops.iter().map(|op| vec![world.change(*op)]));
    let okaywal = match args.wants("okaywal") {
        true => Some(engines::replay_okaywal(&okay_place, records())?),
        false => None,
    };
    if args.wants("raft-engine") {
        let store = engines::Raft::open(&raft, Arc::clone(world))?;
        for op in world.ready(world.base_ops().chain(ops.iter().copied())) {
            store.commit(&[op], false)?;
        }
        store.commit(&[], true)?;
    }
    let mut row = Row::new("replay", "replay of 1,000,000 records", "s", false);
    for _ in 0..args.rounds {
        let (took, count) = timed(|| floor(&segments));
        row.add(FLOOR, took);
        let (took, store) = timed(|| ours::open(&place));
        row.add(OURS, took);
        let replayed = usize::try_from(store?.recovery()?.replayed)?;
        // An opening journals what has expired, and the next one replays that too.
        if replayed < count? || replayed < RECORDS {
            return Err(format!("{replayed} records were replayed").into());
        }
        if let Some(okaywal) = &okaywal {
            let (took, replayed) = timed(okaywal);
            row.add("okaywal", took);
            if replayed? < RECORDS {
                return Err("okaywal lost records".into());
            }
        }
        if args.wants("raft-engine") {
            let (took, rows) = timed(|| engines::scan_raft(&raft));
            row.add("raft-engine", took);
            rows?;
        }
    }
    row.note(
        "peer-journal: all of opening, from the lock to a store that takes changes. okaywal \
         decodes and applies the same payloads; raft-engine reads the same rows into a map.",
    );
    Ok(vec![row])
}

/// The bytes of all segments, in order.
fn segments(dir: &Path) -> Result<Vec<Vec<u8>>> {
    let mut paths: Vec<_> = fs::read_dir(dir.join("p2p-state.journal"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    paths.sort();
    paths.iter().map(|path| Ok(fs::read(path)?)).collect()
}

/// What no reader of these bytes can do without. The format is in `docs/format.md`.
fn floor(segments: &[Vec<u8>]) -> Result<usize> {
    let mut state = State::new(Limits::default());
    let mut count = 0;
    for bytes in segments {
        let seed = crc32fast::hash(&bytes[16..40]);
        let mut rest = &bytes[HEADER_BYTES..];
        while rest.len() >= RECORD_HEADER_BYTES && rest[7] == 1 {
            let len = usize::from(rest[4]) | usize::from(rest[5]) << 8 | usize::from(rest[6]) << 16;
            let (record, behind) = rest.split_at(RECORD_HEADER_BYTES + len);
            let mut hasher = crc32fast::Hasher::new_with_initial(seed);
            hasher.update(&record[4..]);
            if hasher.finalize().to_le_bytes() != record[..4] {
                return Err("a checksum does not hold".into());
            }
            for change in decode(&record[RECORD_HEADER_BYTES..]) {
                state.apply(&change?)?;
            }
            count += 1;
            rest = behind;
        }
    }
    Ok(count)
}
