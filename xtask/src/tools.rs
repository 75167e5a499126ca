//! Programs that have to be installed, and what to say when one is not.

use crate::platform;
use anyhow::{Error, anyhow};
use std::env::{self, consts::EXE_SUFFIX};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Finds a program as a shell would, on `PATH`, or as given when the name has a folder in it; and where the system's
/// installers put it that leave `PATH` alone.
pub(crate) fn find(name: impl AsRef<Path>) -> Option<PathBuf> {
    let name = name.as_ref();
    if name.components().count() > 1 {
        return program(name);
    }
    find_in(path_folders(), name).or_else(|| find_in(platform::folders_of_programs(), name))
}

/// A program's name as a shell takes it: with its folder where `PATH` does not have that.
pub(crate) fn as_typed(name: OsString) -> OsString {
    let is_on_path = find_in(path_folders(), Path::new(&name)).is_some();
    if is_on_path { name } else { find(&name).map_or(name, PathBuf::into_os_string) }
}

fn path_folders() -> Vec<PathBuf> {
    env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}

fn find_in(folders: Vec<PathBuf>, name: &Path) -> Option<PathBuf> {
    folders.into_iter().find_map(|folder| program(&folder.join(name)))
}

/// The file of a program, whose name may end in what this system's programs end in (`.exe`).
pub(crate) fn program(path: &Path) -> Option<PathBuf> {
    let mut with_suffix = path.as_os_str().to_owned();
    with_suffix.push(EXE_SUFFIX);
    [path.to_owned(), with_suffix.into()].into_iter().find(|path| platform::is_program(path))
}

/// The error for a missing tool: one line that names the way out.
pub(crate) fn missing(what: &str) -> Error {
    anyhow!("{what} not found: run `cargo xtask setup`")
}
