//! Programs that have to be installed, and what to say when one is not.

use anyhow::{Error, anyhow};
use std::env;
use std::path::{Path, PathBuf};

/// Finds a program as a shell would: on `PATH`, or as given when the name has a folder in it.
pub(crate) fn find(name: impl AsRef<Path>) -> Option<PathBuf> {
    let name = name.as_ref();
    if name.components().count() > 1 {
        return is_program(name).then(|| name.to_owned());
    }
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| is_program(path))
}

/// The error for a missing tool: one line that names the way out.
pub(crate) fn missing(what: &str) -> Error {
    anyhow!("{what} not found: run `cargo xtask setup`")
}

/// Whether this is a file that can be run.
pub(crate) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
