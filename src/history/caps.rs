//! The file `KEEP`: the caps of the history, so that a program that opens the store without naming
//! them, say a tool that appends one change, does not end the history.

use std::{io, path::Path, time::Duration};

use super::History;
use crate::{
    Error,
    vfs::{Vfs, read_file},
};

const NAME: &str = "KEEP";
const TEMPORARY: &str = "KEEP.tmp";
const BYTES_MAX: u64 = 4096;

/// The caps that the store remembers; `None` if it keeps no history.
pub(crate) fn read(vfs: &dyn Vfs, dir: &Path) -> Result<Option<History>, Error> {
    let path = dir.join(NAME);
    match read_file(vfs, &path, BYTES_MAX) {
        Ok(bytes) => Ok(Some(parse(&bytes).unwrap_or_else(|| {
            // Unreadable caps must not cost the history: nor may it grow without end.
            let caps = History::default();
            let path = path.display();
            tracing::warn!(%path, ?caps, "the caps cannot be read; the default holds");
            caps
        }))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("cannot read the caps of the history", &path, error)),
    }
}

/// Writes the caps down, durably. The folder must exist.
pub(super) fn write(vfs: &dyn Vfs, dir: &Path, caps: History) -> Result<(), Error> {
    let (path, temporary) = (dir.join(NAME), dir.join(TEMPORARY));
    let failed = |error| Error::io("cannot write the caps of the history", &path, error);
    remove(vfs, &temporary)?;
    let file = vfs.create(&temporary).map_err(failed)?;
    file.write_at(0, text(caps).as_bytes()).and_then(|()| file.sync()).map_err(failed)?;
    vfs.rename(&temporary, &path).and_then(|()| vfs.sync_dir(dir)).map_err(failed)
}

/// Forgets the caps: the store keeps no history from here on.
pub(super) fn forget(vfs: &dyn Vfs, dir: &Path) -> Result<(), Error> {
    let path = dir.join(NAME);
    remove(vfs, &path)?;
    vfs.sync_dir(dir).map_err(|error| Error::io("cannot sync the folder", dir, error))
}

/// Removes a file that need not be there.
pub(super) fn remove(vfs: &dyn Vfs, path: &Path) -> Result<(), Error> {
    match vfs.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("cannot remove a file of the history", path, error))
        }
        _ => Ok(()),
    }
}

fn text(caps: History) -> String {
    format!("bytes_max={} age_max_seconds={}\n", caps.bytes_max, caps.age_max.as_secs())
}

fn parse(bytes: &[u8]) -> Option<History> {
    let text = std::str::from_utf8(bytes).ok()?;
    let number = |name: &str| -> Option<u64> {
        text.split_whitespace().find_map(|word| word.strip_prefix(name))?.parse().ok()
    };
    let bytes_max = number("bytes_max=")?;
    Some(History { bytes_max, age_max: Duration::from_secs(number("age_max_seconds=")?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_round_trip() {
        for caps in [History::default(), History { bytes_max: u64::MAX, age_max: Duration::MAX }] {
            let read = parse(text(caps).as_bytes()).unwrap();
            assert_eq!(
                (read.bytes_max, read.age_max.as_secs()),
                (caps.bytes_max, caps.age_max.as_secs())
            );
        }
        for odd in ["", "bytes_max=1", "bytes_max=x age_max_seconds=1", "\u{ff}"] {
            assert_eq!(parse(odd.as_bytes()), None, "{odd}");
        }
    }
}
