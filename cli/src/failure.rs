//! Why a command did not do what it was asked, and the exit code for it.

use std::{fmt, io, process::ExitCode};

use peer_journal::{Error, ErrorKind, MarketplaceError};

/// A message, and what kind of failure it is.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    /// Empty where there is nothing to tell.
    text: String,
}

impl Failure {
    /// Something was not found, or did not work out.
    pub fn negative(text: impl Into<String>) -> Self {
        Self { code: 1, text: text.into() }
    }

    /// The command line asks for something that cannot be.
    pub fn usage(text: impl Into<String>) -> Self {
        Self { code: 2, text: text.into() }
    }

    /// Nothing in the store verifies.
    pub fn unrecoverable(text: impl Into<String>) -> Self {
        Self { code: 3, text: text.into() }
    }

    /// The operating system refused a call.
    #[must_use]
    pub fn io(doing: impl fmt::Display, error: io::Error) -> Self {
        Self { code: 4, text: format!("{doing}: {error}") }
    }

    /// A newer version wrote it.
    pub fn newer(text: impl Into<String>) -> Self {
        Self { code: 6, text: text.into() }
    }

    /// Ctrl-C or SIGTERM: the code that shells give for the former.
    #[must_use]
    pub fn interrupted() -> Self {
        Self { code: 130, text: "stopped by Ctrl-C or SIGTERM".to_owned() }
    }

    /// Nobody reads the output any more (`| head`): no failure, and nothing more to do.
    #[must_use]
    pub fn reader_gone() -> Self {
        Self { code: 0, text: String::new() }
    }

    /// The exit code, as a number.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.code
    }

    /// The exit code.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// True if there is nothing to tell.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.text.is_empty()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::Invalid | ErrorKind::Limit | ErrorKind::NoStore => 2,
            ErrorKind::Io | ErrorKind::Full | ErrorKind::Degraded => 4,
            ErrorKind::Locked => 5,
            ErrorKind::NewerVersion => 6,
            ErrorKind::Corrupt => 3,
            _ => 1,
        };
        Self { code, text: format!("{error:#}") }
    }
}

impl From<MarketplaceError> for Failure {
    fn from(error: MarketplaceError) -> Self {
        Self { code: 4, text: error.to_string() }
    }
}
