//! What reaches the disk, in which order, on a disk that keeps watch.

use std::{
    sync::{Mutex, MutexGuard},
    thread,
};

use super::*;
use crate::{
    Lsn, StoreId,
    state::{Address, Change, PeerKey, Time},
};

/// Enough for a part and more.
const PEERS: usize = 40_000;

#[derive(Debug, Default)]
struct Disk {
    bytes: Vec<u8>,
    synced: usize,
    read: usize,
    syncs: Vec<Option<String>>,
    /// This sync fails, counted from 1.
    failing: Option<usize>,
    /// This byte reads back as another one.
    rotten: Option<usize>,
    /// A byte that nobody wrote comes in behind all others.
    grows: bool,
}

#[derive(Debug, Default)]
struct File(Mutex<Disk>);

impl File {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }
}

impl VfsFile for File {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut disk = self.disk();
        let start = usize::try_from(offset).unwrap();
        assert_eq!(start, disk.read, "one byte after the other");
        let end = (start + buf.len()).min(disk.bytes.len());
        assert!(end <= disk.synced, "{end} is read before it is durable");
        buf[..end - start].copy_from_slice(&disk.bytes[start..end]);
        if let Some(rotten) = disk.rotten.filter(|at| (start..end).contains(at)) {
            buf[rotten - start] ^= 1;
        }
        disk.read = end;
        Ok(end - start)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        assert_eq!(usize::try_from(offset).unwrap(), disk.bytes.len());
        disk.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.syncs.push(thread::current().name().map(str::to_owned));
        if disk.failing == Some(disk.syncs.len()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.synced = disk.bytes.len();
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn len(&self) -> io::Result<u64> {
        let disk = self.disk();
        Ok((disk.bytes.len() + usize::from(disk.grows)) as u64)
    }
}

fn state(peers: usize) -> State {
    let mut state = State::default();
    for peer in 0..peers {
        let change = Change::PeerSeen {
            peer: PeerKey::from_text(&format!("peer-{peer:08}")),
            at: Time::EPOCH,
            addresses: vec![Address::from_text("/ip4/10.1.2.3/tcp/4001")],
        };
        state.apply(&change).unwrap();
    }
    state
}

fn meta() -> Meta {
    Meta {
        store_id: StoreId::from_bytes([7; 16]),
        lsn: Lsn::new(9),
        segment: 2,
        saved_at: Time::EPOCH.get(),
    }
}

fn filled(disk: Disk, state: &State) -> (io::Result<u64>, Disk) {
    let file = File(Mutex::new(disk));
    let len = fill(&file, state, &meta(), &|| false);
    (len, file.0.into_inner().unwrap())
}

fn document(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut sink = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    write(state, &meta(), &mut sink).unwrap();
    bytes
}

fn is_beside(name: &Option<String>) -> bool {
    name.as_deref() == Some("peer-journal-check")
}

#[test]
fn all_is_synced_and_then_read_back_however_large() {
    for peers in [0, 1, LARGE_PEERS - 1, LARGE_PEERS, PEERS] {
        let state = state(peers);
        let (len, disk) = filled(Disk::default(), &state);
        assert!(disk.bytes == document(&state), "{peers}");
        let all = disk.bytes.len();
        assert_eq!((len.unwrap(), disk.synced, disk.read), (all as u64, all, all), "{peers}");
        let (last, parts) = disk.syncs.split_last().unwrap();
        assert!(!is_beside(last), "{peers}");
        assert!(parts.iter().all(is_beside), "{peers}");
        assert_eq!(parts.is_empty(), (all as u64) < PART_BYTES, "{peers}: {all}");
    }
}

#[test]
fn a_sync_that_failed_once_is_final() {
    let state = state(PEERS);
    for failing in [1, 2] {
        let disk = Disk { failing: Some(failing), ..Disk::default() };
        let (len, disk) = filled(disk, &state);
        assert_eq!(len.unwrap_err().kind(), io::ErrorKind::StorageFull, "{failing}");
        assert_eq!(disk.syncs.len(), failing, "no sync is tried again");
    }
}

#[test]
fn a_byte_that_reads_back_as_another_is_noticed_wherever_it_is() {
    let state = state(PEERS);
    let all = document(&state).len();
    let part = usize::try_from(PART_BYTES).unwrap();
    for rotten in [0, part - 1, part, part + PIECE_BYTES, all - 1] {
        let (len, _) = filled(Disk { rotten: Some(rotten), ..Disk::default() }, &state);
        assert_eq!(len.unwrap_err().kind(), io::ErrorKind::InvalidData, "{rotten}");
    }
    let (len, _) = filled(Disk { grows: true, ..Disk::default() }, &state);
    assert_eq!(len.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn it_stops_when_it_is_asked_to() {
    for peers in [1, PEERS] {
        let file = File::default();
        let len = fill(&file, &state(peers), &meta(), &|| true);
        assert_eq!(len.unwrap_err().kind(), io::ErrorKind::Interrupted, "{peers}");
        assert_eq!(file.disk().bytes.len(), 0, "{peers}");
    }
}
