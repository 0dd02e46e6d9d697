//! How a command ends: exit codes, and errors with what to do next.

use std::{error::Error as StdError, fmt, io};

use peer_journal::{Error, ErrorKind, MarketplaceError};

/// Exit codes of every command. Documented in the tool's help; they do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something was found: damage, a difference, a missing change.
    Finding = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The store cannot be opened without a repair.
    Unrecoverable = 3,
    /// The operating system refused a call.
    Io = 4,
    /// Another process holds the store.
    Locked = 5,
    /// The store is of a newer format.
    Newer = 6,
}

/// Why a command did not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn io(doing: impl fmt::Display, error: &io::Error) -> Self {
        Self { exit: Exit::Io, message: format!("{doing}: {error}") }
    }

    pub(crate) fn finding(message: impl Into<String>) -> Self {
        Self { exit: Exit::Finding, message: message.into() }
    }

    /// Something that cannot happen did.
    pub(crate) fn bug(error: &dyn StdError) -> Self {
        let message = format!("unexpected: {error}; please report it as a bug");
        Self { exit: Exit::Unrecoverable, message }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Locked => Exit::Locked,
            ErrorKind::NewerVersion => Exit::Newer,
            ErrorKind::Corrupt => Exit::Unrecoverable,
            ErrorKind::Invalid | ErrorKind::Limit => Exit::Usage,
            _ => Exit::Io,
        };
        Self { exit, message: format!("{error:#}") }
    }
}

impl From<MarketplaceError> for Failure {
    fn from(error: MarketplaceError) -> Self {
        Self { exit: Exit::Io, message: error.to_string() }
    }
}
