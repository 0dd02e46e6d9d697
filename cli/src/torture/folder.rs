//! The folder that torture works in: its own, so that nothing of anybody else is ever touched.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::Failure;

/// A file of this name says who made a folder.
const MARK: &str = "made-by-peer-journal-torture";

/// A fresh folder for one run, inside the one that was named.
#[derive(Debug)]
pub(crate) struct Folder {
    outer: PathBuf,
    outer_is_ours: bool,
    run: PathBuf,
}

impl Folder {
    /// Refuses a folder with anything in it but earlier runs.
    pub(crate) fn make(outer: &Path) -> Result<Self, Failure> {
        let outer_is_ours = !outer.exists();
        if outer_is_ours {
            fs::create_dir_all(outer).map_err(|error| cannot("create", outer, error))?;
        } else if !outer.is_dir() {
            return Err(Failure::usage(format!("{} is not a folder", outer.display())));
        }
        let entries = fs::read_dir(outer).map_err(|error| cannot("list", outer, error))?;
        for entry in entries {
            let path = entry.map_err(|error| cannot("list", outer, error))?.path();
            if !is_ours(&path) {
                return Err(Failure::usage(format!(
                    "{} is in the way: name an empty folder, or one that does not exist",
                    path.display()
                )));
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("run-{}-{}", now.as_secs(), std::process::id());
        let run = outer.join(name);
        fs::create_dir(&run).map_err(|error| cannot("create", &run, error))?;
        let mark = run.join(MARK);
        fs::write(&mark, "Safe to remove.\n").map_err(|error| cannot("write", &mark, error))?;
        Ok(Self { outer: outer.to_owned(), outer_is_ours, run })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.run
    }

    /// Removes what this run made.
    pub(crate) fn remove(self) -> Result<(), Failure> {
        fs::remove_dir_all(&self.run).map_err(|error| cannot("remove", &self.run, error))?;
        if self.outer_is_ours {
            // Somebody may have put something there meanwhile: then it stays.
            fs::remove_dir(&self.outer).ok();
        }
        Ok(())
    }
}

/// An earlier run, or what a file system puts into its root.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name == "lost+found"
        || (name.to_string_lossy().starts_with("run-") && path.join(MARK).is_file())
}

fn cannot(do_what: &str, path: &Path, error: io::Error) -> Failure {
    Failure::io(format!("cannot {do_what} {}", path.display()), error)
}

/// Kind of the file system and free bytes, where they are cheap to tell.
pub(crate) fn file_system(path: &Path) -> (Option<String>, Option<u64>) {
    let kind = path.canonicalize().ok().and_then(|path| {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        kind_in(&mounts, &path).map(str::to_owned)
    });
    (kind, fs4::available_space(path).ok())
}

/// The kind of the innermost mount that holds the path; of several on one point the last one.
fn kind_in<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mut found: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let Some((mount, file_system)) = line.split_once(" - ") else { continue };
        let Some(point) = mount.split(' ').nth(4) else { continue };
        // Blanks in names are written so.
        let point = PathBuf::from(point.replace("\\040", " "));
        let Some(kind) = file_system.split(' ').next().filter(|_| path.starts_with(&point)) else {
            continue;
        };
        let depth = point.components().count();
        if found.is_none_or(|(deepest, _)| depth >= deepest) {
            found = Some((depth, kind));
        }
    }
    found.map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_tells_the_kind() {
        let mounts = "1 0 254:0 / / rw - ext4 /dev/vda rw\n\
            2 1 0:5 / /dev rw shared:2 - devtmpfs none rw\n\
            3 1 0:6 / /mnt/my\\040disk rw - xfs /dev/vdb rw\n\
            4 3 0:7 / /mnt/my\\040disk rw - tmpfs none rw\nnonsense\n";
        assert_eq!(kind_in(mounts, Path::new("/home/x")), Some("ext4"));
        assert_eq!(kind_in(mounts, Path::new("/dev/shm")), Some("devtmpfs"));
        assert_eq!(kind_in(mounts, Path::new("/devices")), Some("ext4"));
        assert_eq!(kind_in(mounts, Path::new("/mnt/my disk/a")), Some("tmpfs"));
        assert_eq!(kind_in("", Path::new("/")), None);
    }

    #[test]
    fn a_folder_with_something_else_in_it_is_refused_and_left_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let outer = temporary.path().join("outer");
        let first = Folder::make(&outer).unwrap();
        assert!(Folder::make(temporary.path()).is_err(), "it holds a folder of somebody else");
        fs::write(outer.join("mine"), "keep me").unwrap();
        assert!(Folder::make(&outer).is_err());
        first.remove().unwrap();
        assert_eq!(fs::read_to_string(outer.join("mine")).unwrap(), "keep me");
        fs::remove_file(outer.join("mine")).unwrap();
        let again = Folder::make(&outer).unwrap();
        assert!(!again.outer_is_ours);
        again.remove().unwrap();
        assert!(outer.is_dir());
        let fresh = outer.join("deeper");
        Folder::make(&fresh).unwrap().remove().unwrap();
        assert!(!fresh.exists());
    }
}
