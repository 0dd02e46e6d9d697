//! The journal: checksummed records in segment files.
//!
//! Bytes and files only. Payloads are opaque here: the journal knows nothing of peers, starts no
//! thread, takes no lock and reads no clock. `docs/format.md` describes every byte.
//!
//! Reading order: [`format`] (the bytes of a header and a record), [`name`] (file names),
//! [`segment`] (one segment being written), [`scan`] (one segment being read; behind damage with
//! [`checksums`]).

mod checksums;
pub(crate) mod format;
pub(crate) mod name;
pub(crate) mod scan;
pub(crate) mod segment;
