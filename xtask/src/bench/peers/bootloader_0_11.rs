//! The crate `bootloader` 0.11: a program that is built with it makes the images.

use super::{Peer, Workshop, llvm_tools};
use crate::bare_metal::read;
use crate::child;
use crate::strip::find_objcopy;
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The newest one that stable compilers take; later ones follow the newest nightly.
const VERSION: &str = "0.11.15";

/// Its targets, as cargo's variables name them.
const TARGETS: [&str; 4] =
    ["I386_CODE16_BOOT_SECTOR", "I386_CODE16_STAGE_2", "I686_STAGE_3", "X86_64_STAGE_4"];

struct Bootloader {
    name: String,
    program: PathBuf,
    /// Where the configuration lies that it asks kernels for.
    config: PathBuf,
    objcopy: PathBuf,
}

pub(super) fn make(workshop: &Workshop<'_>) -> Result<Box<dyn Peer>> {
    let Workshop { shell, builder, folder, target } = workshop;
    let project = folder.join("project");
    fs::create_dir_all(project.join("src"))?;
    fs::write(project.join("src/main.rs"), SOURCE)?;
    let manifest = project.join("Cargo.toml");
    fs::write(&manifest, self::manifest() + &llvm_tools::put(workshop)?)?;

    let mut build = builder.toolchain.cargo(shell).args(["build", "--quiet", "--release"]);
    for name in TARGETS {
        build = build.env(format!("CARGO_TARGET_{name}_LINKER"), builder.toolchain.linker());
    }
    // It builds its stages with cargo itself, and does not say this.
    build = build.env("CARGO_UNSTABLE_JSON_TARGET_SPEC", "true");
    child::run(&mut build.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(target).into())?;

    let (program, config) = (target.join("release/peer"), folder.join("config"));
    child::run(Command::new(&program).arg("config").arg(&config))?;
    Ok(Box::new(Bootloader {
        name: format!("bootloader {VERSION}"),
        program,
        config,
        objcopy: find_objcopy(shell)?,
    }))
}

fn manifest() -> String {
    format!(
        r#"[package]
name = "peer"
edition = "2021"

[dependencies]
bootloader = {{ version = "={VERSION}", default-features = false, features = ["bios"] }}
bootloader_api = "={VERSION}"
"#
    )
}

const SOURCE: &str = r#"
use bootloader::BiosBoot;
use bootloader_api::BootloaderConfig;

fn main() {
    let words: Vec<_> = std::env::args().skip(1).collect();
    match &*words.iter().map(String::as_str).collect::<Vec<_>>() {
        ["config", path] => std::fs::write(path, BootloaderConfig::new_default().serialize()).unwrap(),
        ["image", kernel, image, ramdisk @ ..] => {
            let mut boot = BiosBoot::new(kernel.as_ref());
            for ramdisk in ramdisk {
                boot.set_ramdisk(ramdisk.as_ref());
            }
            boot.create_disk_image(image.as_ref()).unwrap();
        }
        _ => panic!("config PATH or image KERNEL IMAGE [RAMDISK]"),
    }
}
"#;

impl Peer for Bootloader {
    fn name(&self) -> &str {
        &self.name
    }

    fn image(&self, kernel: &Path, ramdisk: Option<&Path>) -> Result<Vec<u8>> {
        let with_config = kernel.with_extension("with-config");
        let section = format!("--add-section=.bootloader-config={}", self.config.display());
        child::run(Command::new(&self.objcopy).arg(section).args([kernel, &with_config]))?;
        let image = kernel.with_extension("img");
        child::run(Command::new(&self.program).arg("image").args([&with_config, &image]).args(ramdisk))?;
        read(&image)
    }
}
