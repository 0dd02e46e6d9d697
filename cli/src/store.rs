//! Where the store is.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// Names the store where `--store` does not.
pub const VARIABLE: &str = "PEER_JOURNAL_STORE";
/// Name of the state file in a folder.
const STATE_FILE: &str = "p2p-state.json";

/// The state file of the store that is meant: what was given, else `$PEER_JOURNAL_STORE`, else
/// `~/.ggen/p2p-state.json`.
///
/// # Errors
/// If nothing was given and this user has no home folder.
pub fn locate(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let home = || env::home_dir().filter(|home| !home.as_os_str().is_empty());
    locate_with(given, env::var_os(VARIABLE), home)
}

fn locate_with(
    given: Option<&Path>,
    variable: Option<OsString>,
    home: impl FnOnce() -> Option<PathBuf>,
) -> Result<PathBuf, Failure> {
    if let Some(given) = given {
        return Ok(state_file(given));
    }
    if let Some(path) = variable.filter(|path| !path.is_empty()) {
        return Ok(state_file(Path::new(&path)));
    }
    let home = home().ok_or_else(|| {
        Failure::usage(format!(
            "this user has no home folder; name a store with --store or ${VARIABLE}"
        ))
    })?;
    Ok(home.join(".ggen").join(STATE_FILE))
}

/// The state file that a path means: itself, the one whose journal folder it is, or the one in the
/// folder.
#[must_use]
pub fn state_file(path: &Path) -> PathBuf {
    if !path.is_dir() {
        return path.to_owned();
    }
    if path.extension().is_some_and(|extension| extension == "journal") {
        let json = path.with_extension("json");
        let bare = path.with_extension("");
        return if !json.exists() && bare.is_file() { bare } else { json };
    }
    path.join(STATE_FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_can_be_named_by_its_file_its_journal_or_its_folder() {
        let Ok(dir) = tempfile::tempdir() else { panic!("no temporary folder") };
        let at = |name: &str| dir.path().join(name);
        for folder in ["a.journal", "bare.journal"] {
            assert!(std::fs::create_dir(at(folder)).is_ok());
        }
        assert!(std::fs::write(at("bare"), "").is_ok());
        assert_eq!(state_file(&at("a.json")), at("a.json"));
        assert_eq!(state_file(&at("a.journal")), at("a.json"));
        assert_eq!(state_file(&at("bare.journal")), at("bare"));
        assert_eq!(state_file(dir.path()), at("p2p-state.json"));
        assert_eq!(state_file(&at("nothing")), at("nothing"));
    }

    #[test]
    fn the_option_wins_over_the_variable_and_that_over_the_home_folder() {
        let locate = |given: Option<&str>, variable: Option<&str>, home: Option<&str>| {
            let home = home.map(PathBuf::from);
            locate_with(given.map(Path::new), variable.map(OsString::from), || home)
                .map_err(|failure| failure.number())
        };
        assert_eq!(locate(Some("/x/a"), Some("/x/b"), Some("/h")), Ok("/x/a".into()));
        assert_eq!(locate(None, Some("/x/b"), Some("/h")), Ok("/x/b".into()));
        assert_eq!(locate(None, Some(""), Some("/h")), Ok("/h/.ggen/p2p-state.json".into()));
        assert_eq!(locate(None, None, None), Err(2));
    }
}
