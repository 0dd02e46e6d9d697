//! What can go wrong, told by what the reader does next.

use std::{error::Error as StdError, fmt, io, path::Path, path::PathBuf, sync::Arc};

/// Result of the calls that come from the system this crate replaces; see [`MarketplaceError`].
pub type Result<T, E = MarketplaceError> = std::result::Result<T, E>;

/// The kind of an [`Error`], chosen by what the caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The call's own arguments are wrong: mend the call. Nothing changed.
    Invalid,
    /// A limit of the store would be passed: forget something or raise the limit. Nothing changed.
    Limit,
    /// Too many bytes wait for the disk: wait for an earlier [`Ack`](crate::Ack), or use
    /// `append_async`. Nothing changed.
    Full,
    /// Another handle holds the store: stop its process, or open another path.
    Locked,
    /// The operating system refused a call: look at the disk and the permissions.
    Io,
    /// A sync failed. The changes are still in memory and are being written to a fresh segment;
    /// this wait ends, the work goes on. See [`Status`](crate::Status).
    Degraded,
    /// The files are damaged and the policy is [`OnDamage::Refuse`](crate::OnDamage::Refuse).
    /// Nothing was altered.
    Corrupt,
    /// The files were written by a newer version: upgrade. Nothing was altered.
    NewerVersion,
    /// The store was closed through this handle or a clone of it.
    Closed,
    /// The records asked for were compacted away: take a [`View`](crate::View) and follow from its
    /// LSN.
    Compacted,
    /// There is no store at this path: name the right state file. Nothing was made.
    NoStore,
    /// No peer did what was asked, or none in time: check the connection and the peers, then try
    /// again.
    Network,
}

impl ErrorKind {
    /// One word, as it appears in messages and in the tool's output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Limit => "limit",
            Self::Full => "full",
            Self::Locked => "locked",
            Self::Io => "io",
            Self::Degraded => "degraded",
            Self::Corrupt => "corrupt",
            Self::NewerVersion => "newer version",
            Self::Closed => "closed",
            Self::Compacted => "compacted",
            Self::NoStore => "no store",
            Self::Network => "network",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error of the store: a kind to act on, a message, and the path and source where there are any.
///
/// It is cheap to clone, because one failed sync is reported to everybody who waited for it.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    what: String,
    path: Option<PathBuf>,
    next: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// What the caller does next.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file or folder that the error is about.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// True for [`ErrorKind::Locked`].
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.kind() == ErrorKind::Locked
    }

    /// The error of the operating system below this one, where there is one.
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        let mut source = StdError::source(self);
        while let Some(error) = source {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                return Some(io.kind());
            }
            source = error.source();
        }
        None
    }

    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, what: what.into(), path: None, next: None, source: None }))
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, what)
    }

    pub(crate) fn limit(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Limit, what)
    }

    /// An operating system error: `doing` says what was tried, in the form "cannot rename".
    pub(crate) fn io(doing: impl Into<String>, path: &Path, source: io::Error) -> Self {
        let next = next_step(&source);
        Self::new(ErrorKind::Io, doing).at(path).because(source).next(next)
    }

    pub(crate) fn at(self, path: &Path) -> Self {
        self.with(|inner| inner.path = Some(path.to_owned()))
    }

    pub(crate) fn next(self, next: impl Into<String>) -> Self {
        self.with(|inner| inner.next = Some(next.into()))
    }

    pub(crate) fn because(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.with(|inner| inner.source = Some(Arc::new(source)))
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(inner);
        }
        self
    }
}

/// What a person can do about an operating system error.
fn next_step(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "give this user read and write permission, or name another path"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space",
        io::ErrorKind::ReadOnlyFilesystem => {
            "mount the file system for writing, or name another path"
        }
        io::ErrorKind::IsADirectory => "name a file, not a folder",
        io::ErrorKind::NotADirectory => "a part of the path is a file; name another path",
        _ => "check the disk and the system log, then try again",
    }
}

/// What and where, then what to do next. The source is not repeated; the alternate form (`{:#}`)
/// adds it.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)?;
        if let Some(path) = &self.0.path {
            write!(f, " (path={})", path.display())?;
        }
        if f.alternate() {
            let mut source = StdError::source(self);
            while let Some(error) = source {
                write!(f, ": {error}")?;
                source = error.source();
            }
        }
        if let Some(next) = &self.0.next {
            write!(f, "; {next}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({}: {self:#})", self.0.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}

/// The error of the calls that come from the system this crate replaces.
///
/// Its text holds the kind, the path, the source and the next step. A program that wants to act on
/// them uses the journaled calls, whose [`Error`] has [`kind`](Error::kind) and
/// [`path`](Error::path).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MarketplaceError {
    /// The state could not be loaded, changed or stored.
    PersistenceError {
        /// What failed, where, why, and what to do next.
        reason: String,
    },
}

impl MarketplaceError {
    /// A [`MarketplaceError::PersistenceError`] with this reason.
    #[must_use]
    pub fn persistence_error(reason: impl Into<String>) -> Self {
        Self::PersistenceError { reason: reason.into() }
    }
}

impl fmt::Display for MarketplaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PersistenceError { reason } => write!(f, "persistence error: {reason}"),
        }
    }
}

impl StdError for MarketplaceError {}

impl From<Error> for MarketplaceError {
    fn from(error: Error) -> Self {
        Self::PersistenceError { reason: format!("{error:#} [{}]", error.kind()) }
    }
}
