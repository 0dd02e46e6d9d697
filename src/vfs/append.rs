//! The end of a file to which one writer appends.

use std::{fmt, io};

use super::VfsFile;

/// A file that one writer fills from its start on, with zeros behind what is there.
pub trait VfsAppend: Send + Sync + fmt::Debug {
    /// Writes all of `bytes` behind what is there. After an error any part of it may have been
    /// written, and nothing more may be appended.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes all that was appended durable, as [`VfsFile::sync`] does, and with it what was written
    /// to the file before.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn sync(&self) -> io::Result<()>;
}

/// One write for each append, of these bytes alone.
#[derive(Debug)]
pub(super) struct Appending {
    file: Box<dyn VfsFile>,
    len: u64,
}

impl Appending {
    pub(super) fn new(file: Box<dyn VfsFile>, len: u64) -> Self {
        Self { file, len }
    }
}

impl VfsAppend for Appending {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(self.len, bytes)?;
        self.len = self.len.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}
