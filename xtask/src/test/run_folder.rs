//! Where one run of `cargo xtask test` puts its files: a folder of its own, so that several runs can go on at once.
//!
//! It stays after a failure, for whoever looks into it, until the next run.

use crate::interrupt;
use anyhow::Result;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// How the folder's name begins: with what trips up those who put paths into options of QEMU, and into shells. So every
/// test shows that a checkout may have such a path.
const PREFIX: &str = "run, ";

/// The folder of this run. It is locked: whether a run goes on is not told by a number of a process, which may be
/// another one's by now, or one in another container.
pub(super) struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Makes one, and removes those of runs that have ended.
    pub(super) fn new(parent: &Path) -> Result<Self> {
        fs::create_dir_all(parent)?;
        // Others wait meanwhile: a folder is not locked as soon as it is there.
        let turn = File::create(parent.join("lock"))?;
        turn.lock()?;
        for entry in parent.read_dir()? {
            let path = entry?.path();
            if path.is_dir() && open_lock(&path)?.try_lock().is_ok() {
                // What cannot be removed, be it another user's, is in nobody's way.
                let _ = fs::remove_dir_all(&path);
                remove_lock(&path);
            }
        }
        let path = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?.keep();
        let lock = open_lock(&path)?;
        lock.lock()?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // Nobody is left to tell. Tests that passed have removed their folders; what the others left keeps this one.
        let _ =
            if interrupt::happened() { fs::remove_dir_all(&self.path) } else { fs::remove_dir(&self.path) };
        remove_lock(&self.path);
    }
}

/// What is locked for a folder: itself; on Windows, where only files are locked, one beside it.
fn open_lock(folder: &Path) -> io::Result<File> {
    if cfg!(windows) { File::create(lock_beside(folder)) } else { File::open(folder) }
}

fn remove_lock(folder: &Path) {
    if cfg!(windows) {
        // The next run tries it again.
        let _ = fs::remove_file(lock_beside(folder));
    }
}

fn lock_beside(folder: &Path) -> PathBuf {
    folder.with_added_extension("lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_at_the_same_time_leave_each_other_alone() {
        let parent = tempfile::tempdir().unwrap();
        let [one, other] = [0, 1].map(|_| RunFolder::new(parent.path()).unwrap());
        assert_ne!(one.path(), other.path());
        assert!(one.path().is_dir() && other.path().is_dir());
        let paths = [&one, &other].map(|run| run.path().to_owned());
        drop((one, other));
        assert!(!paths.iter().any(|path| path.exists()), "nothing was left in them");
    }

    #[test]
    fn what_a_failure_left_stays_until_the_next_run() {
        let parent = tempfile::tempdir().unwrap();
        let run = RunFolder::new(parent.path()).unwrap();
        let left = run.path().join("disk.img");
        fs::write(&left, "image").unwrap();
        drop(run);
        assert!(left.exists());
        let _next = RunFolder::new(parent.path()).unwrap();
        assert!(!left.exists());
    }
}
