//! The snapshot reader.

use super::{Checked, MEND, ensure, mend, split_mode};
use crate::{
    Lsn, StoreId,
    snapshot::{
        Meta,
        read::{Loaded, Reading, read, read_in_general, read_unsealed},
        write::write,
    },
    state::{Limits, State},
};

/// Any bytes as a snapshot file. Accepted: a document of version 1, or one whose checksum holds.
///
/// # Errors
/// What does not hold.
pub fn read_snapshot(input: &[u8]) -> Checked {
    let (mode, rest) = split_mode(input);
    let mut bytes = rest.to_vec();
    if mode & MEND != 0 {
        mend::snapshot(&mut bytes);
    }
    let limits = Limits::default();
    let unsealed = read_unsealed(&bytes, limits);
    match read(&bytes, limits) {
        Reading::Whole(loaded) => {
            let unsealed = unsealed.map_err(|why| format!("sealed, but cannot be: {why}"))?;
            ensure!(unsealed.meta == loaded.meta, "sealing it would alter its head");
            check_general(&bytes, &loaded, limits)?;
            check_loaded(&loaded)?;
            check_tight(&bytes)?;
            Ok(1)
        }
        Reading::Version1(loaded) => {
            check_loaded(&loaded)?;
            check_tight(&bytes)?;
            Ok(1)
        }
        Reading::Newer(_) | Reading::Unsealed(_) | Reading::Broken(_) => Ok(0),
    }
}

/// A document that stands as this crate writes it reads the same in general.
fn check_general(bytes: &[u8], loaded: &Loaded, limits: Limits) -> Result<(), String> {
    let Reading::Whole(general) = read_in_general(bytes, limits) else {
        return Err("in general it is another kind of document".to_owned());
    };
    ensure!(general.meta == loaded.meta, "{:?}, in general {:?}", loaded.meta, general.meta);
    ensure!(general.skipped == loaded.skipped, "other rows are kept out in general");
    ensure!(general.state.counts() == loaded.state.counts(), "other counts in general");
    ensure!(general.state.value_bytes() == loaded.state.value_bytes(), "other values in general");
    let same = fingerprint(&general.state)? == fingerprint(&loaded.state)?;
    ensure!(same, "in general it reads as something else");
    Ok(())
}

/// What was read is written as a snapshot that reads the same, and is written as the same bytes.
fn check_loaded(loaded: &Loaded) -> Result<(), String> {
    let written = document(&loaded.state, &loaded.meta)?;
    let again = match read(&written, Limits::default()) {
        Reading::Whole(again) => again,
        other => {
            let text = String::from_utf8_lossy(&written);
            return Err(format!("a snapshot reads back as {other:?}:\n{text}"));
        }
    };
    ensure!(again.meta == loaded.meta, "{:?} reads back as {:?}", loaded.meta, again.meta);
    ensure!(again.skipped.count == 0, "its own row is refused: {:?}", again.skipped.first);
    ensure!(again.state.counts() == loaded.state.counts(), "rows are gone: {:?}", again.state);
    let twice = document(&again.state, &again.meta)?;
    ensure!(
        twice == written,
        "it is written otherwise after reading:\n{}\n{}",
        String::from_utf8_lossy(&written),
        String::from_utf8_lossy(&twice)
    );
    Ok(())
}

/// Limits that keep nearly everything out hold here too.
fn check_tight(bytes: &[u8]) -> Result<(), String> {
    let tight = Limits {
        peers: 1,
        addresses_per_peer: 1,
        dht_entries: 1,
        packages: 1,
        bootstrap_nodes: 1,
        bans: 1,
        value_bytes: 8,
    };
    let reading = read(bytes, tight);
    if let Reading::Whole(loaded) = &reading {
        check_general(bytes, loaded, tight)?;
    }
    let (Reading::Whole(loaded) | Reading::Version1(loaded)) = reading else {
        return Err("other limits make it another kind of document".to_owned());
    };
    let state = &loaded.state;
    let rows = [state.peers().count(), state.bans().count(), state.bootstrap_nodes().len()];
    ensure!(rows.iter().all(|&count| count <= 1), "limits of one give {rows:?}");
    let values = [state.dht_entries().count(), state.packages().count()];
    ensure!(values.iter().all(|&count| count <= 1), "limits of one give {values:?} values");
    ensure!(state.value_bytes() <= 8, "{} bytes of values", state.value_bytes());
    Ok(())
}

/// Everything in a state, as bytes that can be compared.
pub(super) fn fingerprint(state: &State) -> Result<Vec<u8>, String> {
    let meta = Meta {
        store_id: StoreId::from_bytes([0; 16]),
        lsn: Lsn::ZERO,
        segment: 0,
        saved_at: chrono::DateTime::UNIX_EPOCH,
    };
    document(state, &meta)
}

fn document(state: &State, meta: &Meta) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let sink = &mut |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    write(state, meta, sink).map_err(|error| format!("a state cannot be written: {error}"))?;
    Ok(bytes)
}
