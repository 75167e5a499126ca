//! What version a compiler is. Each takes some 60 ms to tell, and there may be several, so what they said is remembered as
//! long as their files stay as they are.

use crate::checkout::{self, Checkout};
use crate::child;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use xshell::{Shell, cmd};

/// What compilers said, by their paths.
pub(super) struct Versions {
    /// Where it is kept, if there is a place for it.
    file: Option<PathBuf>,
    /// What was in the file: for each compiler, how its file was, and the version it told.
    known: BTreeMap<String, Value>,
}

impl Versions {
    /// What is remembered.
    pub(super) fn load(shell: &Shell) -> Self {
        let file = Checkout::find(shell).ok().map(|checkout| checkout.output().join("compilers.json"));
        Self::from_file(file)
    }

    fn from_file(file: Option<PathBuf>) -> Self {
        let bytes = file.as_ref().and_then(|file| fs::read(file).ok());
        // One that another version of xtask left, or half of one, is as good as none.
        let known = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { file, known }
    }

    /// The version of a compiler, as it says it: `1.97.0-nightly`.
    pub(super) fn of(&self, rustc: &Path) -> Result<String> {
        self.of_or(rustc, ask)
    }

    fn of_or(&self, rustc: &Path, ask: impl FnOnce(&Path) -> Result<String>) -> Result<String> {
        let known = self.known.get(&*rustc.to_string_lossy());
        let known = known.filter(|known| state(rustc).is_ok_and(|state| known["file"] == state));
        match known.and_then(|known| known["version"].as_str()) {
            Some(version) => Ok(version.to_owned()),
            None => ask(rustc),
        }
    }

    /// Remembers what was found out, if anything of it is new. Without a place for it, all is asked again the next time.
    pub(super) fn keep<'a>(self, found: impl Iterator<Item = (&'a Path, &'a str)>) {
        let Some(file) = self.file else { return };
        let entry = |(rustc, version): (&Path, &str)| {
            let state = state(rustc).ok()?;
            Some((rustc.to_string_lossy().into_owned(), json!({ "file": state, "version": version })))
        };
        let found: BTreeMap<String, Value> = found.filter_map(entry).collect();
        if found != self.known
            && let Ok(bytes) = serde_json::to_vec_pretty(&found)
        {
            let _ = crate::image::write_atomically(&file, &bytes);
        }
    }
}

/// What changes when a compiler is replaced.
fn state(rustc: &Path) -> Result<Value> {
    let metadata = fs::metadata(rustc)?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH)?;
    Ok(json!([metadata.len(), modified.as_secs(), modified.subsec_nanos()]))
}

fn ask(rustc: &Path) -> Result<String> {
    let shell = Shell::new()?;
    let command = checkout::without_cargo_environment(cmd!(shell, "{rustc} --version"));
    let said = child::read(&mut command.ignore_stderr().into())?;
    Ok(said.split_whitespace().nth(1).context("no version")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_version_is_remembered_until_the_compiler_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let [file, rustc] = ["compilers.json", "rustc"].map(|name| folder.path().join(name));
        fs::write(&rustc, "one").unwrap();
        let versions = || Versions::from_file(Some(file.clone()));
        let silent = |_: &Path| bail!("asked");
        assert_eq!(versions().of_or(&rustc, |_| Ok("1.96.0".into())).unwrap(), "1.96.0");
        assert!(versions().of_or(&rustc, silent).is_err(), "nothing was kept");

        versions().keep([(&*rustc, "1.96.0")].into_iter());
        assert_eq!(versions().of_or(&rustc, silent).unwrap(), "1.96.0");

        fs::write(&rustc, "two").unwrap();
        let later = SystemTime::now() + Duration::from_secs(5);
        fs::File::options().append(true).open(&rustc).unwrap().set_modified(later).unwrap();
        assert!(versions().of_or(&rustc, silent).is_err(), "another file of the same length");
        fs::remove_file(&rustc).unwrap();
        assert!(versions().of_or(&rustc, silent).is_err(), "a compiler that is gone");
    }

    #[test]
    fn what_is_no_memory_is_as_good_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("compilers.json");
        fs::write(&file, "[1").unwrap();
        let versions = Versions::from_file(Some(file));
        assert_eq!(versions.of_or(Path::new("/rustc"), |_| Ok("1.97.0".into())).unwrap(), "1.97.0");
    }
}
