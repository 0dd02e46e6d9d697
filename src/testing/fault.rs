//! What a test can make go wrong: the kinds of calls, the faults armed on them, the trace of calls.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// A kind of call on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Op {
    /// A file is created, by `create` or by `lock` on a path that has none.
    Create,
    /// Bytes are written.
    Write,
    /// A file is cut or grown.
    SetLen,
    /// A file is synced.
    Sync,
    /// A file gets another name.
    Rename,
    /// A file gets a second name.
    Link,
    /// A name is removed.
    Remove,
    /// A missing directory is created.
    CreateDir,
    /// A directory is synced.
    SyncDir,
    /// A lock is taken.
    Lock,
    /// A file is opened, for writing or for reading only.
    Open,
    /// Bytes are read.
    Read,
    /// A directory is listed.
    List,
    /// A path or an open file is asked for its kind or length.
    Metadata,
}

impl Op {
    /// True if the call changes the disk or makes a change durable: these calls have numbers.
    #[must_use]
    pub const fn is_mutating(self) -> bool {
        !matches!(self, Self::Lock | Self::Open | Self::Read | Self::List | Self::Metadata)
    }

    /// The word for it in a trace.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Write => "write",
            Self::SetLen => "set_len",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Link => "link",
            Self::Remove => "remove",
            Self::CreateDir => "create_dir",
            Self::SyncDir => "sync_dir",
            Self::Lock => "lock",
            Self::Open => "open",
            Self::Read => "read",
            Self::List => "list",
            Self::Metadata => "metadata",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One mutating call, as it was asked for; whether it succeeded is not recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// Its number, from 1: what [`crash_at`](super::SimDisk::crash_at) takes.
    pub number: u64,
    /// Its kind.
    pub op: Op,
    /// The path it names; for an open file, the path it was opened by.
    pub path: PathBuf,
    /// The new name of a rename or link.
    pub to: Option<PathBuf>,
    /// Where a write begins.
    pub offset: u64,
    /// How many bytes are written, or the new length of a `set_len`.
    pub len: u64,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {} {}", self.number, self.op, self.path.display())?;
        match (self.op, &self.to) {
            (_, Some(to)) => write!(f, " -> {}", to.display()),
            (Op::Write, _) => write!(f, " [{}..{}]", self.offset, self.end()),
            (Op::SetLen, _) => write!(f, " {}", self.len),
            _ => Ok(()),
        }
    }
}

impl Call {
    const fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// What a failing call leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Nothing: the call has no effect but its error.
    #[default]
    None,
    /// A failing write has written this many of its bytes. Other calls: as [`Effect::None`].
    Short(u64),
    /// A failing sync has marked what was not durable as clean, as Linux does: reads still see it
    /// and a later sync returns `Ok`, but it never reaches the disk unless it is written again.
    /// Other calls: as [`Effect::None`].
    MarkClean,
}

/// Calls that shall fail; arm it with [`SimDisk::fail`](super::SimDisk::fail) or
/// [`FaultVfs::fail`](super::FaultVfs::fail).
///
/// ```
/// use peer_journal::testing::{Effect, Fault, Op, SimDisk};
///
/// let disk = SimDisk::new(1);
/// // The third sync of a journal file from now on fails, the way Linux does it.
/// disk.fail(Fault::new(Op::Sync).path(".wal").after(2).effect(Effect::MarkClean));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fault {
    /// The kind of call that fails.
    pub on: Op,
    /// Only calls on paths that contain this text; a rename or link matches by either name.
    pub path_contains: Option<String>,
    /// So many matching calls pass first.
    pub after: u64,
    /// So many matching calls fail then; `u64::MAX` is for ever.
    pub times: u64,
    /// The kind of the error.
    pub error: io::ErrorKind,
    /// What the failing call leaves behind.
    pub effect: Effect,
}

impl Fault {
    /// The next call of this kind fails once, with an input/output error and no effect.
    #[must_use]
    pub const fn new(on: Op) -> Self {
        Self {
            on,
            path_contains: None,
            after: 0,
            times: 1,
            error: io::ErrorKind::Other,
            effect: Effect::None,
        }
    }

    /// Only calls on paths that contain this text.
    #[must_use]
    pub fn path(mut self, contains: impl Into<String>) -> Self {
        self.path_contains = Some(contains.into());
        self
    }

    /// So many matching calls pass first.
    #[must_use]
    pub const fn after(mut self, calls: u64) -> Self {
        self.after = calls;
        self
    }

    /// So many matching calls fail.
    #[must_use]
    pub const fn times(mut self, calls: u64) -> Self {
        self.times = calls;
        self
    }

    /// All matching calls fail, until [`clear_faults`](super::SimDisk::clear_faults).
    #[must_use]
    pub const fn forever(self) -> Self {
        self.times(u64::MAX)
    }

    /// The kind of the error.
    #[must_use]
    pub const fn error(mut self, kind: io::ErrorKind) -> Self {
        self.error = kind;
        self
    }

    /// What the failing call leaves behind.
    #[must_use]
    pub const fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    fn matches(&self, ask: &Ask<'_>) -> bool {
        let named = |text: &String| {
            let contains = |path: &Path| path.to_string_lossy().contains(text);
            contains(ask.path) || ask.to.is_some_and(contains)
        };
        self.on == ask.op && self.path_contains.as_ref().is_none_or(named)
    }
}

/// A call before it is let through.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) op: Op,
    pub(super) path: &'a Path,
    pub(super) to: Option<&'a Path>,
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl<'a> Ask<'a> {
    pub(super) const fn new(op: Op, path: &'a Path) -> Self {
        Self { op, path, to: None, offset: 0, len: 0 }
    }

    pub(super) fn numbered(&self, number: u64) -> Call {
        Call {
            number,
            op: self.op,
            path: self.path.to_owned(),
            to: self.to.map(Path::to_owned),
            offset: self.offset,
            len: self.len,
        }
    }
}

/// Why a call does not happen, and what it leaves behind all the same.
pub(super) struct Stop {
    pub(super) error: io::Error,
    pub(super) effect: Effect,
}

impl Stop {
    pub(super) const fn plain(error: io::Error) -> Self {
        Self { error, effect: Effect::None }
    }
}

impl From<Stop> for io::Error {
    fn from(stop: Stop) -> Self {
        stop.error
    }
}

/// The armed faults, first armed first asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    armed: Vec<Fault>,
    pub(super) hits: u64,
}

impl Faults {
    pub(super) fn arm(&mut self, fault: Fault) {
        self.armed.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.armed.clear();
    }

    /// Counts the call on every fault that matches it; the first that is due stops it.
    pub(super) fn check(&mut self, ask: &Ask<'_>) -> Result<(), Stop> {
        let mut stop = None;
        for fault in self.armed.iter_mut().filter(|fault| fault.matches(ask)) {
            if fault.after > 0 {
                fault.after = fault.after.saturating_sub(1);
            } else if stop.is_none() {
                if fault.times != u64::MAX {
                    fault.times = fault.times.saturating_sub(1);
                }
                let error = io::Error::new(fault.error, format!("simulated fault in {}", ask.op));
                stop = Some(Stop { error, effect: fault.effect });
            }
        }
        self.armed.retain(|fault| fault.times > 0);
        match stop {
            None => Ok(()),
            Some(stop) => {
                self.hits = self.hits.saturating_add(1);
                Err(stop)
            }
        }
    }
}
