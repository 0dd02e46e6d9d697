//! The two usual answers, fed with the very changes that our store journals: one JSON file
//! rewritten every 60 seconds, and one written on a clean exit.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use peer_journal::{
    Lsn, Recorded,
    state::{Limits, State},
    vfs::Vfs,
};
use serde_json::{Value, json};

/// Time between two saves of the rewritten file.
pub(crate) const REWRITE_EVERY: Duration = Duration::from_secs(60);

/// When a rival writes its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// The whole state, every [`REWRITE_EVERY`].
    EverySixtySeconds,
    /// The whole state, when the program ends as it should.
    OnCleanExit,
}

/// A store that is one JSON file.
pub(crate) struct Rival<'a> {
    disk: &'a dyn Vfs,
    path: PathBuf,
    state: State,
    lsn: Lsn,
    habit: Habit,
    unsaved_for: Duration,
}

impl<'a> Rival<'a> {
    pub(crate) fn new(disk: &'a dyn Vfs, dir: &Path, habit: Habit) -> Self {
        let path = dir.join(file_name(habit));
        let state = State::new(Limits::default());
        Self { disk, path, state, lsn: Lsn::ZERO, habit, unsaved_for: Duration::ZERO }
    }

    /// Applies one record, as our store did.
    pub(crate) fn apply(&mut self, recorded: &Recorded) {
        // Our store took the same changes under the same limits.
        if self.state.apply_all(&recorded.changes).is_ok() {
            self.lsn = recorded.lsn;
        }
    }

    /// Time goes by.
    pub(crate) fn tick(&mut self, elapsed: Duration) -> io::Result<()> {
        self.unsaved_for = self.unsaved_for.saturating_add(elapsed);
        if self.habit == Habit::EverySixtySeconds && self.unsaved_for >= REWRITE_EVERY {
            self.unsaved_for = Duration::ZERO;
            self.rewrite()?;
        }
        Ok(())
    }

    /// The program ends as it should: both habits save then.
    pub(crate) fn exit(&self) -> io::Result<()> {
        self.rewrite()
    }

    /// Rewrites the file in place, without a sync, as such savers do.
    fn rewrite(&self) -> io::Result<()> {
        let rows = self.state.to_rows(chrono::Utc::now());
        let document = json!({ "lsn": self.lsn.get(), "state": rows });
        let bytes = serde_json::to_vec_pretty(&document)?;
        let file = match self.disk.open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.disk.create(&self.path)?
            }
            opened => opened?,
        };
        file.set_len(0)?;
        file.write_at(0, &bytes)
    }
}

/// How many changes a rival's file holds: those up to the LSN in it, or none if it cannot be read.
pub(crate) fn kept(disk: &dyn Vfs, dir: &Path, habit: Habit) -> u64 {
    peer_journal::vfs::read_file(disk, &dir.join(file_name(habit)), 1 << 30)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .and_then(|document| document.get("lsn").and_then(Value::as_u64))
        .unwrap_or(0)
}

fn file_name(habit: Habit) -> &'static str {
    match habit {
        Habit::EverySixtySeconds => "rewritten-every-60s.json",
        Habit::OnCleanExit => "written-on-clean-exit.json",
    }
}
