//! The project that a kernel comes from, and what its Cargo.toml says about booting it.

mod framebuffer;
mod lock_file;
mod settings;
mod table;

pub(crate) use framebuffer::FramebufferChoice;
#[cfg(test)]
pub(crate) use settings::KEYS;
pub(crate) use settings::{Boot, Program, Settings, is_page_addr};

use crate::checkout::{self, Checkout};
use crate::output;
use anyhow::{Context, Result, bail};
use lock_file::Bootloader;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{self, Path, PathBuf};

/// What the project of a kernel says, which cargo has built and now has us run.
pub(crate) fn settings_for_runner(kernel: &Path) -> Result<Settings> {
    let manifest = match told_by_cargo(|name| env::var_os(name)) {
        Some(manifest) => Some(manifest),
        None => above(kernel)?,
    };
    manifest.map_or_else(|| Ok(Settings::default()), |manifest| settings(&manifest))
}

/// What the project says in whose folder a kernel lies. The defaults where there is none.
pub(crate) fn settings_of_kernel(kernel: &Path) -> Result<Settings> {
    above(kernel)?.map_or_else(|| Ok(Settings::default()), |manifest| settings(&manifest))
}

/// What a project's Cargo.toml says.
pub(crate) fn settings(manifest: &Path) -> Result<Settings> {
    let name = Checkout::display(manifest);
    let text = fs::read_to_string(manifest).with_context(|| format!("cannot read {name}"))?;
    let manifest_table = text.parse::<toml::Table>().with_context(|| name.clone())?;
    let bootloader = match lock_file::find(manifest) {
        Some(path) => {
            let text = fs::read_to_string(&path)?;
            let package = manifest_table.get("package").and_then(|package| package.get("name")?.as_str());
            lock_file::bootloader(&text, package).with_context(|| Checkout::display(&path))?
        }
        None => Bootloader::None,
    };
    if let Bootloader::Original { name: original, version } = &bootloader {
        bail!(
            "{name}: the kernel is built with the crate {original} {version} from crates.io, whose boot info is not what \
             Doorstep hands over; {}",
            advice_to_patch(original)
        );
    }
    let mut found =
        Settings::parse(&manifest_table, bootloader == Bootloader::Ours).with_context(|| name.clone())?;
    if let (Some(ramdisk), Some(folder)) = (&mut found.boot.ramdisk, manifest.parent()) {
        *ramdisk = folder.join(&*ramdisk);
    }
    if found.is_given {
        output::note(&format!("settings: {name}"));
    }
    Ok(found)
}

/// How a kernel comes to be built with our crate of another's name.
pub(crate) fn advice_to_patch(original: &str) -> String {
    let path = checkout::root().join("stage2").join(original).display().to_string();
    format!(
        "add these lines to the Cargo.toml of the workspace, then run `cargo update -p {original}`:\n\
         [patch.crates-io]\n\
         {original} = {{ path = {path:?} }}"
    )
}

/// The manifest of the package that cargo runs, if it runs one, and not xtask itself.
fn told_by_cargo(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if checkout::is_ours(&variable) {
        return None;
    }
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join(MANIFEST);
    manifest.is_file().then_some(manifest)
}

/// The manifest of the package in whose folder a file lies. A workspace's folder is nobody's where it is not a package's, too.
fn above(file: &Path) -> Result<Option<PathBuf>> {
    let file = path::absolute(file)?;
    Ok(file.ancestors().skip(1).map(|folder| folder.join(MANIFEST)).find(|manifest| manifest.is_file()))
}

const MANIFEST: &str = "Cargo.toml";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_tells_the_package_unless_it_runs_xtask() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join(MANIFEST);
        fs::write(&manifest, "").unwrap();
        let told = |name: &str, description: &str, folder: &Path| {
            told_by_cargo(|variable| match variable {
                "CARGO_PKG_NAME" => Some(name.into()),
                "CARGO_PKG_DESCRIPTION" => Some(description.into()),
                "CARGO_MANIFEST_DIR" => Some(folder.into()),
                _ => None,
            })
        };
        let ours = env!("CARGO_PKG_DESCRIPTION");
        assert_eq!(told("kernel", "", folder.path()), Some(manifest));
        assert_eq!(told("xtask", ours, folder.path()), None);
        assert_eq!(told("kernel", "", &folder.path().join("gone")), None);
        assert_eq!(told_by_cargo(|_| None), None);
    }

    #[test]
    fn a_kernel_belongs_to_the_nearest_project_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        let results = inner.join("target/x86_64/debug");
        fs::create_dir_all(&results).unwrap();
        fs::write(folder.path().join(MANIFEST), "").unwrap();
        assert_eq!(above(&results.join("kernel")).unwrap(), Some(folder.path().join(MANIFEST)));
        fs::write(inner.join(MANIFEST), "").unwrap();
        assert_eq!(above(&results.join("kernel")).unwrap(), Some(inner.join(MANIFEST)));
    }
}
