//! The file names of snapshots, both directions, nowhere else.

use std::path::{Path, PathBuf};

use crate::{Lsn, ids::NUMBER_MAX};

/// A version 1 file that was migrated is kept in the journal folder under this name.
pub(crate) const VERSION_1_NAME: &str = "snapshot-version-1.json";

/// Name that the previous snapshot keeps in the journal folder.
pub(crate) fn fallback_name(lsn: Lsn) -> String {
    format!("snapshot-{:020}.json", lsn.get())
}

/// The LSN of a name that [`fallback_name`] made; anything else is not a fallback.
pub(crate) fn parse_fallback(name: &str) -> Option<Lsn> {
    let lsn = name.strip_prefix("snapshot-")?.strip_suffix(".json")?.parse().ok()?;
    if lsn > NUMBER_MAX {
        return None;
    }
    (fallback_name(Lsn::new(lsn)) == name).then_some(Lsn::new(lsn))
}

/// Where the next snapshot is written before it is renamed to `state_file`.
pub(crate) fn temporary(state_file: &Path) -> PathBuf {
    with_suffix(state_file, ".tmp")
}

/// True for the temporary file of a fallback.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.strip_suffix(".tmp").is_some_and(|name| parse_fallback(name).is_some())
}

/// The journal folder of a state file: `p2p-state.json` has `p2p-state.journal`; any other name
/// gets `.journal` behind it.
#[must_use]
pub fn journal_dir(state_file: &Path) -> PathBuf {
    if state_file.extension().is_some_and(|extension| extension == "json") {
        state_file.with_extension("journal")
    } else {
        with_suffix(state_file, ".journal")
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let name = fallback_name(Lsn::new(88_120));
        assert_eq!(name, "snapshot-00000000000000088120.json");
        assert_eq!(parse_fallback(&name), Some(Lsn::new(88_120)));
        for odd in [VERSION_1_NAME, "snapshot-1.json", "snapshot-.json", "snapshot.tmp"] {
            assert_eq!(parse_fallback(odd), None, "{odd}");
        }
        let dir = |file: &str| journal_dir(Path::new(file)).display().to_string();
        assert_eq!(dir("a/p2p-state.json"), "a/p2p-state.journal");
        assert_eq!(dir("a/peers"), "a/peers.journal");
        assert_eq!(dir("a/peers.journal"), "a/peers.journal.journal");
        assert_eq!(temporary(Path::new("a/p2p-state.json")), Path::new("a/p2p-state.json.tmp"));
    }
}
