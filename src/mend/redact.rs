//! Taking a peer out of every file of a store.
//!
//! First the present: two fresh snapshots without the peer cover every record, so that compaction
//! deletes the segments and snapshots that name it, or moves them into the history. Then the past:
//! each file of the history is written anew beside itself and renamed into its place. Recovery
//! never looks there. Whatever is cut off, the next run finds what is left to do.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::rewrite::{Anew, Rewriter, What, is_temporary, put};
use crate::{
    Builder, Change, Error, ErrorKind, Lsn, OnDamage, Reader, StoreId, history,
    recovery::quarantine::QUARANTINE,
    snapshot::{name::VERSION_1_NAME, publish::Places},
    state::{AddressList, Limits, PeerKey, Redactor, State},
    vfs::{EntryKind, Vfs},
};

/// What becomes of a file from which a peer is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RedactionAction {
    /// Two fresh snapshots take its place. With a history the file moves there, rewritten.
    Replace,
    /// It is written anew without the peer.
    Rewrite,
    /// It goes.
    Remove,
}

impl RedactionAction {
    /// The action as one lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Rewrite => "rewrite",
            Self::Remove => "remove",
        }
    }
}

/// One file from which a peer is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedactionStep {
    /// What is done.
    pub action: RedactionAction,
    /// To which file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What taking a peer out of a store comes to. Made by [`Redaction::plan`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RedactionPlan {
    /// The last record of the state that the plan is about.
    pub lsn: Lsn,
    /// What changes in the present state: rows of the peer that go, and what names it elsewhere.
    /// They are not journaled: that record would name the peer.
    pub changes: Vec<Change>,
    /// Addresses of the peer that other peers have too. They stay there.
    pub shared_addresses: usize,
    /// Every file that is touched, in order.
    pub steps: Vec<RedactionStep>,
}

impl RedactionPlan {
    /// True if no file of the store has anything of the peer, and nothing is in quarantine.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// Takes one peer out of every file of a store: its rows, its addresses, its bans, and its id
/// wherever else it stands. For that is what a person may ask for: addresses are personal data.
///
/// Records about others keep their numbers and their content; those about the peer give way to
/// [`PeerForgotten`](Change::PeerForgotten) of a peer that is called `redacted`. What is in
/// quarantine goes, because damaged bytes cannot be searched. Backups, files that are not the
/// store's, and the blocks of the disk that held what was deleted are out of reach.
///
/// # Example
/// ```
/// # fn main() -> Result<(), peer_journal::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("p2p-state.json");
/// # let peer = "12D3KooWR7Biy6nPgQFhk2eYP62pAkcFA6he9RUFURTDh7ewTjpo".parse().unwrap();
/// # let store = peer_journal::P2PStatePersistence::open(&path)?;
/// # store.peer_seen(&peer, &[])?.wait()?;
/// # drop(store);
/// use peer_journal::{P2PStatePersistence, Redaction, state::PeerKey};
///
/// let redaction =
///     Redaction::new(P2PStatePersistence::builder(&path), PeerKey::from(peer));
/// for step in redaction.plan()?.steps {
///     println!("{} {}", step.action.as_str(), step.path.display());
/// }
/// redaction.apply()?;
/// assert!(redaction.plan()?.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Redaction {
    builder: Builder,
    vfs: Arc<dyn Vfs>,
    places: Places,
    redactor: Redactor,
    peer: PeerKey,
}

impl Redaction {
    /// Of this peer, from the store that the builder would open. Of its options those count that
    /// say where and how to write; limits do not, since nothing of others may be trimmed.
    #[must_use]
    pub fn new(builder: Builder, peer: PeerKey) -> Self {
        let builder = builder.must_exist().on_damage(OnDamage::Refuse).limits(Limits::UNBOUNDED);
        let (vfs, places) = builder.disk();
        Self { redactor: Redactor::new(&peer), builder, vfs, places, peer }
    }

    /// What [`apply`](Self::apply) would do. Takes no lock and changes nothing.
    ///
    /// # Errors
    /// As for [`Reader::open`]; [`NewerVersion`](ErrorKind::NewerVersion) also for a file of the
    /// history.
    pub fn plan(&self) -> Result<RedactionPlan, Error> {
        Ok(self.look()?.0)
    }

    /// Takes the peer out, and gives what was done. When this returns, no file of the store holds
    /// anything of it, and that survives a power cut. After an error or a crash the rest of the
    /// store is whole, and another run does what is left.
    ///
    /// # Errors
    /// As for [`plan`](Self::plan), and [`Locked`](ErrorKind::Locked) while somebody has the store
    /// open, [`Corrupt`](ErrorKind::Corrupt) if it is damaged: [`repair`](crate::repair) comes
    /// first. [`Limit`](ErrorKind::Limit) if a row breaks a fixed limit, since it would be dropped.
    /// Nothing is altered then. `Io` if the disk refuses.
    pub fn apply(&self) -> Result<RedactionPlan, Error> {
        // What cannot be done is told before anything is altered.
        self.look()?;
        let store = self.builder.clone().open()?;
        if let Some(first) = &store.recovery()?.first_skipped {
            let what = format!("a row that breaks a limit would be dropped: {first}");
            return Err(Error::limit(what).at(&self.places.state_file).next("restore a backup"));
        }
        let (plan, store_id) = self.look()?;
        if plan.steps.iter().any(|step| step.action == RedactionAction::Replace) {
            // A snapshot covers what is older than itself only once a second one has followed it.
            for _ in 0..2 {
                let redactor = self.redactor.clone();
                store.replace_now(move |state| {
                    let mut next = state.clone();
                    next.apply_all(&redactor.changes(state))?;
                    Ok(next)
                })?;
            }
        }
        self.rewrite_past(&self.rewriter(store_id))?;
        self.remove_others(&self.rewriter(store_id))?;
        // Before the lock goes: a node that starts then may meet the peer again.
        let left = self.plan()?;
        store.close_now()?;
        match left.steps.first() {
            None => Ok(RedactionPlan { lsn: left.lsn, ..plan }),
            Some(step) => {
                Err(Error::new(ErrorKind::Io, "a file still holds something of the peer")
                    .at(&step.path)
                    .next("look at the disk and the log, then run it again"))
            }
        }
    }

    fn look(&self) -> Result<(RedactionPlan, Option<StoreId>), Error> {
        let reader = Reader::options(&self.places.state_file)
            .limits(Limits::UNBOUNDED)
            .vfs(Arc::clone(&self.vfs))
            .open()?;
        let rewriter = self.rewriter(reader.store_id());
        let state = reader.view().state();
        let mut steps = self.present(&rewriter)?;
        steps.extend(self.past(&rewriter)?);
        steps.extend(self.others(&rewriter)?);
        let plan = RedactionPlan {
            lsn: reader.view().lsn(),
            changes: self.redactor.changes(state),
            shared_addresses: shared(state, &self.peer),
            steps,
        };
        Ok((plan, reader.store_id()))
    }

    fn rewriter(&self, store_id: Option<StoreId>) -> Rewriter<'_> {
        Rewriter { vfs: self.vfs.as_ref(), redactor: &self.redactor, store_id }
    }

    /// The files that recovery reads.
    fn present(&self, rewriter: &Rewriter<'_>) -> Result<Vec<RedactionStep>, Error> {
        let dir = &self.places.journal_dir;
        let mut files = vec![(self.places.state_file.clone(), What::Snapshot)];
        let names = self.names(dir)?;
        files.extend(names.iter().filter_map(|name| Some((dir.join(name), What::of(name)?))));
        let mut steps = Vec::new();
        for (path, what) in files {
            match rewriter.anew(&path, what)? {
                None | Some(Anew::Same) => {}
                Some(_) => steps.extend(self.step(RedactionAction::Replace, path)?),
            }
        }
        Ok(steps)
    }

    /// The files of the history.
    fn past(&self, rewriter: &Rewriter<'_>) -> Result<Vec<RedactionStep>, Error> {
        let dir = history::dir(&self.places);
        let mut steps = Vec::new();
        for name in self.names(&dir)? {
            let path = dir.join(&name);
            let action = match What::of(&name) {
                Some(what) => match rewriter.anew(&path, what)? {
                    None | Some(Anew::Same) => continue,
                    Some(Anew::Nothing) => RedactionAction::Remove,
                    Some(_) => RedactionAction::Rewrite,
                },
                None if is_temporary(&name) => RedactionAction::Remove,
                None => continue,
            };
            steps.extend(self.step(action, path)?);
        }
        Ok(steps)
    }

    /// What is kept and never read: the original of a migration if it names the peer, and all that
    /// is in quarantine.
    fn others(&self, rewriter: &Rewriter<'_>) -> Result<Vec<RedactionStep>, Error> {
        let mut steps = Vec::new();
        let original = self.places.journal_dir.join(VERSION_1_NAME);
        match rewriter.anew(&original, What::Snapshot)? {
            None | Some(Anew::Same) => {}
            Some(_) => steps.extend(self.step(RedactionAction::Remove, original)?),
        }
        let quarantine = self.places.journal_dir.join(QUARANTINE);
        for name in self.names(&quarantine)? {
            steps.extend(self.step(RedactionAction::Remove, quarantine.join(name))?);
        }
        Ok(steps)
    }

    fn rewrite_past(&self, rewriter: &Rewriter<'_>) -> Result<(), Error> {
        for step in self.past(rewriter)? {
            let name = step.path.file_name().and_then(|name| name.to_str());
            let anew = match name.and_then(What::of) {
                Some(what) => rewriter.anew(&step.path, what)?,
                None => None,
            };
            match anew {
                Some(Anew::Segment(bytes)) => put(rewriter.vfs, &step.path, &bytes)?,
                Some(Anew::Snapshot(state, meta)) => {
                    rewriter.put_snapshot(&step.path, &state, &meta)?;
                }
                Some(Anew::Same) => {}
                Some(Anew::Nothing) | None => self.remove(&step.path)?,
            }
        }
        self.sync_dir(&history::dir(&self.places))
    }

    fn remove_others(&self, rewriter: &Rewriter<'_>) -> Result<(), Error> {
        for step in self.others(rewriter)? {
            self.remove(&step.path)?;
        }
        self.sync_dir(&self.places.journal_dir.join(QUARANTINE))?;
        // Compaction does not wait for what it deletes to be gone for good.
        self.sync_dir(&self.places.journal_dir)
    }

    fn step(&self, action: RedactionAction, path: PathBuf) -> Result<Option<RedactionStep>, Error> {
        match self.vfs.metadata(&path) {
            Ok(entry) => Ok(Some(RedactionStep { action, path, bytes: entry.len })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("cannot look at a file", &path, error)),
        }
    }

    /// The names of the files in a folder, sorted; none if there is no folder.
    fn names(&self, dir: &Path) -> Result<Vec<String>, Error> {
        let entries = match self.vfs.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| Error::io("cannot list a folder", dir, error))?,
        };
        let files = entries.into_iter().filter(|entry| entry.kind == EntryKind::File);
        let mut names: Vec<String> =
            files.filter_map(|entry| entry.name.into_string().ok()).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        match self.vfs.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("cannot remove a file", path, error))
            }
            _ => Ok(()),
        }
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        match self.vfs.sync_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("cannot sync the folder", dir, error))
            }
            _ => Ok(()),
        }
    }
}

/// How many addresses of the peer others have too.
fn shared(state: &State, peer: &PeerKey) -> usize {
    let seen = |key| state.peer(key).and_then(|entry| entry.seen.as_ref());
    let Some(own) = seen(peer).map(|seen| &seen.addresses) else { return 0 };
    let others: Vec<&AddressList> = state
        .peers()
        .filter(|(key, _)| *key != peer)
        .filter_map(|(_, entry)| Some(&entry.seen.as_ref()?.addresses))
        .collect();
    own.iter().filter(|address| others.iter().any(|list| list.contains(*address))).count()
}
