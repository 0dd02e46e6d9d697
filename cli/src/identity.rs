//! The key file: a node keeps its peer id over a restart.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use peer_journal::registry::Keypair;

use crate::{Failure, out};

/// Largest key file that can be one.
const BYTES_MAX: u64 = 4096;

/// The key in this file; it is made if there is none.
pub(crate) fn load_or_create(path: &Path) -> Result<Keypair, Failure> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() <= BYTES_MAX => {
            warn_if_readable(path, &metadata);
            let bytes = fs::read(path).map_err(|error| cannot("read", path, error))?;
            Keypair::from_protobuf_encoding(&bytes).map_err(|error| not_a_key(path, &error))
        }
        Ok(metadata) => Err(not_a_key(path, &format_args!("it has {} bytes", metadata.len()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path),
        Err(error) => Err(cannot("read", path, error)),
    }
}

/// Beside the state file: `p2p-state.key` for `p2p-state.json`.
pub(crate) fn default_path(state_file: &Path) -> PathBuf {
    state_file.with_extension("key")
}

fn create(path: &Path) -> Result<Keypair, Failure> {
    let key = Keypair::generate_ed25519();
    let bytes = key
        .to_protobuf_encoding()
        .map_err(|error| Failure::negative(format!("cannot encode the new key: {error}")))?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|error| cannot("create the folder of", path, error))?;
    }
    // Whole or not at all: half a key would lock the node out of its own identity.
    let temporary = path.with_extension("key.tmp");
    let written = write_private(&temporary, &bytes).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| cannot("write", path, error))?;
    out::note(format_args!("made a new identity in {}", path.display()));
    Ok(key)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // One that a crash left behind.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(unix)]
fn private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(unix)]
fn warn_if_readable(path: &Path, metadata: &fs::Metadata) {
    use std::os::unix::fs::PermissionsExt;
    if metadata.permissions().mode() & 0o077 != 0 {
        out::note(format_args!("warning: others can read the key; chmod 600 {}", path.display()));
    }
}

#[cfg(not(unix))]
fn warn_if_readable(_: &Path, _: &fs::Metadata) {}

fn not_a_key(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!(
        "{} is not a key file ({why}); name another one with --key-file, or remove it to get a new \
         identity",
        path.display()
    ))
}

fn cannot(what: &str, path: &Path, error: io::Error) -> Failure {
    Failure::io(format_args!("cannot {what} the key file {}", path.display()), error)
}
