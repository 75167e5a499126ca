//! The crate `bootloader` 0.9: each kernel is linked into a loader of its own, as the tool `bootimage` does it.

use super::{Peer, Workshop, llvm_tools};
use crate::bare_metal::read;
use crate::bench::loads::Load;
use crate::child;
use crate::strip::find_objcopy;
use crate::toolchain::BUILD_STD;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use xshell::cmd;

const VERSION: &str = "0.9.35";

struct Bootloader<'a> {
    name: String,
    workshop: Workshop<'a>,
    /// The folder with its source.
    source: PathBuf,
    objcopy: PathBuf,
}

pub(super) fn make<'a>(workshop: &Workshop<'a>) -> Result<Box<dyn Peer + 'a>> {
    let Workshop { shell, builder, folder, .. } = workshop;
    let (fetched, source) = (fetch(workshop)?, folder.join("loader"));
    child::run(&mut cmd!(shell, "cp -R {fetched} {source}").into())?;
    let manifest = source.join("Cargo.toml");
    let patch = llvm_tools::put(workshop)?;
    OpenOptions::new().append(true).open(&manifest)?.write_all(patch.as_bytes())?;
    // Else the crate's own lock file would count more.
    let update = builder.toolchain.cargo(shell).args(["update", "--quiet", "--package", "llvm-tools"]);
    child::run(&mut update.arg("--manifest-path").arg(manifest).into())?;
    fs::write(source.join(SETTINGS), "[package]\n")?;

    let name = format!("bootloader {VERSION}");
    let peer = Bootloader { name, workshop: workshop.clone(), source, objcopy: find_objcopy(shell)? };
    // Whether it can be built does not depend on the kernel.
    let kernel = folder.join("kernel");
    fs::write(&kernel, Load::kernel_of(1).kernel)?;
    peer.image(&kernel, None)?;
    Ok(Box::new(peer))
}

/// The manifest in which a kernel may say more to it.
const SETTINGS: &str = "kernel.toml";

/// Has cargo bring the crate, and gives the folder with its source.
fn fetch(workshop: &Workshop<'_>) -> Result<PathBuf> {
    let project = workshop.folder.join("project");
    fs::create_dir_all(project.join("src"))?;
    fs::write(project.join("src/lib.rs"), "")?;
    let manifest = project.join("Cargo.toml");
    fs::write(
        &manifest,
        format!(
            "[package]\nname = \"project\"\nedition = \"2021\"\n[dependencies]\nbootloader = \"={VERSION}\"\n[workspace]\n"
        ),
    )?;
    let metadata = workshop.builder.toolchain.cargo(workshop.shell).args(["metadata", "--format-version=1"]);
    let metadata = child::read(&mut metadata.arg("--manifest-path").arg(manifest).ignore_stderr().into())?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("`cargo metadata` names no packages")?;
    let package = packages.iter().find(|package| package["name"] == "bootloader");
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let folder = manifest.and_then(|path| Path::new(path).parent());
    Ok(folder.context("`cargo metadata` does not name bootloader")?.to_owned())
}

impl Peer for Bootloader<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn image(&self, kernel: &Path, ramdisk: Option<&Path>) -> Result<Vec<u8>> {
        ensure!(ramdisk.is_none(), "it has no ramdisks");
        let Workshop { shell, builder, target, .. } = &self.workshop;
        let [build_std, json_target] = BUILD_STD;
        let build = builder.toolchain.cargo(shell).args(["build", "--quiet", "--release"]);
        let build = build
            .args(["--features=binary", build_std, json_target, "-Zbuild-std-features=compiler-builtins-mem"])
            .arg("--target")
            .arg(self.source.join("x86_64-bootloader.json"))
            .arg("--manifest-path")
            .arg(self.source.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(target)
            .env("CARGO_TARGET_X86_64_BOOTLOADER_LINKER", builder.toolchain.linker())
            .env("KERNEL_MANIFEST", self.source.join(SETTINGS))
            .env("KERNEL", kernel);
        child::run(&mut build.into())?;
        let (elf_file, image) =
            (target.join("x86_64-bootloader/release/bootloader"), kernel.with_extension("flat"));
        child::run(Command::new(&self.objcopy).args(["-O", "binary"]).args([&elf_file, &image]))?;
        read(&image)
    }
}
