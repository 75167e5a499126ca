//! What a Cargo.lock tells of the loader that a kernel was made for.

use anyhow::Result;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use toml::Value;

/// Another loader's crate among those that a kernel is built from: `bootloader` 0.9 or `bootloader_api` 0.11.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bootloader {
    /// None that matters: other versions, and our `bootloader_api`, which tells all by itself.
    None,
    /// One as its authors publish it.
    Original { name: String, version: String },
    /// `bootloader` 0.9 from somewhere else: by `[patch]`, ours.
    Ours,
}

/// The lock file of the workspace that a package belongs to.
pub(crate) fn find(manifest: &Path) -> Option<PathBuf> {
    let candidates = manifest.ancestors().skip(1).map(|folder| folder.join("Cargo.lock"));
    candidates.into_iter().find(|path| path.is_file())
}

/// Looks for one in a lock file, from a package on.
pub(crate) fn bootloader(lock_file: &str, package: Option<&str>) -> Result<Bootloader> {
    let lock_file: toml::Table = lock_file.parse()?;
    let packages = lock_file.get("package").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let text = |package: &Value, key: &str| package.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    // A dependency is named as exactly as it takes: `NAME`, `NAME VERSION` or `NAME VERSION (SOURCE)`.
    let is_named = |package: &Value, name: &str| {
        let mut words = name.split(' ');
        words.next() == Some(&text(package, "name"))
            && words.next().is_none_or(|version| version == text(package, "version"))
    };
    let mut to_visit: Vec<&Value> = packages
        .iter()
        .filter(|found| Some(&*text(found, "name")) == package && found.get("source").is_none())
        .collect();
    let mut visited = HashSet::new();
    while let Some(package) = to_visit.pop() {
        let (name, version) = (text(package, "name"), text(package, "version"));
        let is_0_9 = name == "bootloader" && version.starts_with("0.9.");
        let is_0_11 = name == "bootloader_api" && version.starts_with("0.11.");
        if (is_0_9 || is_0_11) && text(package, "source").starts_with("registry+") {
            return Ok(Bootloader::Original { name, version });
        }
        if is_0_9 {
            return Ok(Bootloader::Ours);
        }
        if !visited.insert((name, version)) {
            continue;
        }
        let dependencies = package.get("dependencies").and_then(Value::as_array).into_iter().flatten();
        for dependency in dependencies.filter_map(Value::as_str) {
            to_visit.extend(packages.iter().filter(|package| is_named(package, dependency)));
        }
    }
    Ok(Bootloader::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRATES_IO: &str = "source = 'registry+https://github.com/rust-lang/crates.io-index'\n";

    /// A kernel that depends on a crate which depends on a loader's, beside a tool that depends on another one.
    fn lock_file(name: &str, version: &str, source: &str) -> String {
        format!(
            "version = 4\n\
             [[package]]\nname = 'kernel'\nversion = '0.1.0'\ndependencies = ['hal', 'x86_64']\n\
             [[package]]\nname = 'hal'\nversion = '0.1.0'\ndependencies = ['{name} {version}', 'kernel']\n\
             [[package]]\nname = 'x86_64'\nversion = '0.15.0'\n{CRATES_IO}\
             [[package]]\nname = 'tool'\nversion = '0.1.0'\ndependencies = ['bootloader 0.9.1']\n\
             [[package]]\nname = '{name}'\nversion = '{version}'\n{source}\
             [[package]]\nname = 'bootloader'\nversion = '0.9.1'\n{CRATES_IO}"
        )
    }

    #[test]
    fn only_what_the_kernel_is_built_from_counts() {
        let found = |lock_file: &str, package: &str| bootloader(lock_file, Some(package)).unwrap();
        for (name, version) in [("bootloader", "0.9.35"), ("bootloader_api", "0.11.17")] {
            let expected = Bootloader::Original { name: name.to_owned(), version: version.to_owned() };
            assert_eq!(found(&lock_file(name, version, CRATES_IO), "kernel"), expected);
        }
        let original = lock_file("bootloader", "0.9.35", CRATES_IO);
        assert_eq!(found(&lock_file("bootloader", "0.9.35", ""), "kernel"), Bootloader::Ours);
        assert_eq!(found(&lock_file("bootloader_api", "0.11.99", ""), "kernel"), Bootloader::None);
        for (name, version) in [("bootloader", "0.11.0"), ("bootloader_api", "0.12.0")] {
            assert_eq!(found(&lock_file(name, version, CRATES_IO), "kernel"), Bootloader::None);
        }
        assert_eq!(found(&original, "x86_64"), Bootloader::None, "a crate of others");
        assert_eq!(found(&original, "another"), Bootloader::None);
        assert_eq!(bootloader(&original, None).unwrap(), Bootloader::None);
        assert_eq!(bootloader("", Some("kernel")).unwrap(), Bootloader::None);
        assert!(bootloader("version = ", Some("kernel")).is_err());
    }
}
