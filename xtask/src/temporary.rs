//! Folders for the time of a piece of work, which go with it, also when it is interrupted.

use crate::interrupt::Guard;
use anyhow::Result;
use std::path::Path;
use tempfile::TempDir;

/// A folder that is removed, with all that is in it, when this value goes.
///
/// It lies among the system's temporary files, not below the target folder: sockets are put into it, and a socket's path
/// has about a hundred bytes.
pub(crate) struct TemporaryFolder {
    folder: TempDir,
    // Goes last: without it, an interruption ends the process at once.
    _guard: Guard,
}

impl TemporaryFolder {
    pub(crate) fn new() -> Result<Self> {
        let guard = Guard::new();
        let folder = tempfile::Builder::new().prefix("doorstep-").tempdir()?;
        Ok(Self { folder, _guard: guard })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}
