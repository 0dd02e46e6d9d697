//! A store, open for writing: under its lock, sound, and with nothing of it trimmed.

use std::{future::Future, path::Path};

use peer_journal::{
    Builder, Change, Error, ErrorKind, Lsn, OnDamage, Outcome, P2PStatePersistence, Reader, View,
    state::{Limits, PeerKey},
};
use tokio::runtime::Runtime;

use crate::{
    console::Console,
    failure::Failure,
    pick::{self, PeerQuery},
    progress,
    read::{
        Source,
        health::{Health, Word},
    },
    reads::Files,
};

/// A store that this process holds.
pub(super) struct Open {
    store: P2PStatePersistence,
    runtime: Runtime,
}

impl Open {
    /// Opens the store. It must be there, must not be damaged, and nobody else may hold it.
    pub(super) fn new(source: &Source, console: &mut Console) -> Result<Self, Failure> {
        Self::with(source, Absent::IsRefused, console)
    }

    /// The same, but makes the store if there is none.
    pub(super) fn or_create(source: &Source, console: &mut Console) -> Result<Self, Failure> {
        Self::with(source, Absent::IsMade, console)
    }

    fn with(source: &Source, absent: Absent, console: &mut Console) -> Result<Self, Failure> {
        let path = source.path()?;
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|error| Failure::io("cannot start the runtime", error))?;
        let builder = builder(&path, absent, console);
        let files = Files::Opened(&path);
        let opened = progress::reading(console, "opening the store:", &files, || builder.open());
        let store = opened.map_err(|error| match error.kind() {
            ErrorKind::Corrupt => damaged(&path, error, console),
            _ => error.into(),
        })?;
        match store.recovery()?.outcome {
            Outcome::Migrated => console.note(
                "note: this was a version 1 file; it was taken over, and the original is kept as \
                 snapshot-version-1.json in the journal folder",
            ),
            Outcome::TornTail => console.note(
                "note: the end of a write that was cut off by a crash went to the folder quarantine",
            ),
            _ => {}
        }
        Ok(Self { store, runtime })
    }

    pub(super) fn store(&self) -> &P2PStatePersistence {
        &self.store
    }

    pub(super) fn view(&self) -> Result<View, Failure> {
        Ok(self.store.view()?)
    }

    /// Journals the changes as one record, and closes the store. They are durable then.
    pub(super) fn journal(self, changes: Vec<Change>) -> Result<Lsn, Failure> {
        let lsn = self.store.append_batch(changes)?.wait()?;
        self.close()?;
        Ok(lsn)
    }

    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(super) fn close(self) -> Result<(), Failure> {
        Ok(self.wait(self.store.close())?)
    }
}

/// What becomes of a store that is not there.
#[derive(Clone, Copy)]
enum Absent {
    IsRefused,
    IsMade,
}

fn builder(path: &Path, absent: Absent, console: &Console) -> Builder {
    let now = console.now;
    let builder = P2PStatePersistence::builder(path).vfs(console.disk());
    let builder = match absent {
        Absent::IsRefused => builder.must_exist(),
        Absent::IsMade => builder,
    };
    builder.on_damage(OnDamage::Refuse).limits(Limits::UNBOUNDED).clock(move || now)
}

/// A command that does one thing does not mend on the side.
pub(super) fn damaged(path: &Path, error: Error, console: &Console) -> Failure {
    let health = health(path, console);
    match health {
        Ok(health) if health.word == Word::Unrecoverable => Failure::unrecoverable(format!(
            "{} (path={}); {}",
            health.sentence,
            path.display(),
            health.next
        )),
        Ok(_) => Failure::negative(format!(
            "the store is damaged, and nothing was changed (path={}); `peer-journal verify` says \
             where, `peer-journal repair` how it can be mended",
            path.display()
        )),
        Err(_) => error.into(),
    }
}

/// The store, read with nothing of it trimmed.
pub(super) fn unbounded(path: &Path, console: &Console) -> Result<Reader, Error> {
    let options = Reader::options(path).limits(Limits::UNBOUNDED).vfs(console.disk());
    progress::reading(console, "reading the store:", &Files::Opened(path), || options.open())
}

/// How the store is.
pub(super) fn health(path: &Path, console: &Console) -> Result<Health, Failure> {
    let options = Reader::options(path).limits(Limits::UNBOUNDED).vfs(console.disk());
    progress::reading(console, "checking the files:", &Files::All(path), || {
        let reader = options.open()?;
        let files = reader.files()?;
        Health::of(&reader, &files)
    })
}

/// The peers that are meant, each once, in the order given.
pub(super) fn find_all<'a, I: Iterator<Item = &'a PeerKey>>(
    queries: &[PeerQuery],
    known: impl Fn() -> I,
) -> Result<Vec<PeerKey>, Failure> {
    let mut found: Vec<PeerKey> = Vec::new();
    for query in queries {
        let peer = pick::find_peer(query, known())?;
        if !found.contains(&peer) {
            found.push(peer);
        }
    }
    Ok(found)
}
