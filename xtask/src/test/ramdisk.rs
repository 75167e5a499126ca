//! A ramdisk: what the kernel finds, and what is told where it cannot be had.

use super::Test;
use super::commands::succeed;
use super::parts::Scene;
use crate::bare_metal::read;
use crate::guest::Machine;
use crate::image::{DiskImage, Medium};
use crate::project::Boot;
use crate::{child, image};
use anyhow::{Result, ensure};
use boot_info::KernelConfig;
use std::fs;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("ramdisk::of_one_byte", |scene| arrives(scene, 1, Machine::default())),
        Test::new("ramdisk::of_a_page", |scene| arrives(scene, 4096, Machine::default())),
        Test::new("ramdisk::of_5_mib_and_a_bit", |scene| arrives(scene, (5 << 20) + 77, Machine::default())),
        Test::new("ramdisk::where_physical_memory_is_not_mapped", |scene| {
            where_physical_memory_is_not_mapped(scene, &Machine::default())
        }),
        Test::new("ramdisk::none", none),
        Test::new("ramdisk::by_the_command", by_the_command),
        Test::new("ramdisk::damaged", |scene| {
            let mut image = with_ramdisk(scene, 1 << 20)?;
            let range = image.range("ramdisk")?;
            image.bytes_mut()[(range.start + range.end) / 2] ^= 1;
            scene.boot(&image, Machine::default())?.says("boot error E25: ramdisk damaged: ")
        }),
        Test::new("ramdisk::larger_than_memory", |scene| {
            let machine = Machine { memory: Some("8M".to_owned()), ..Machine::default() };
            let message = "boot error E60: out of memory: ramdisk needs 9216 KiB, ";
            scene.boot(&with_ramdisk(scene, 9 << 20)?, machine)?.says(message)
        }),
        Test::new("ramdisk::empty_is_refused", |scene| {
            is_refused(scene, 0, "ramdisk: the ramdisk is empty, expected at least one byte")
        }),
        Test::new("ramdisk::too_large_is_refused", |scene| {
            let told =
                "cannot read ramdisk: found 8589934593 bytes, expected at most 8589934592 (8 GiB); split it";
            is_refused(scene, (8 << 30) + 1, told)
        }),
    ]
}

/// What the test kernel expects of so many bytes.
pub(super) fn bytes(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

pub(super) fn with_ramdisk(scene: &Scene, len: usize) -> Result<DiskImage> {
    kernel_with_ramdisk(scene, "ramdisk", len, KernelConfig::DEFAULT)
}

pub(super) fn kernel_with_ramdisk(
    scene: &Scene,
    kernel: &str,
    len: usize,
    config: KernelConfig,
) -> Result<DiskImage> {
    kernel_with_ramdisk_for(Medium::Disk, scene, kernel, len, config)
}

/// The same for another medium.
pub(super) fn kernel_with_ramdisk_for(
    medium: Medium,
    scene: &Scene,
    kernel: &str,
    len: usize,
    config: KernelConfig,
) -> Result<DiskImage> {
    let path = scene.folder().join("ramdisk");
    fs::write(&path, bytes(len))?;
    let boot = Boot { config, ramdisk: Some(path), command_line: len.to_string(), ..Boot::default() };
    let kernel = read(&scene.parts.test_kernels.join(kernel))?;
    image::image_for(medium, &scene.parts.stages, &kernel, &boot)
}

fn arrives(scene: &Scene, len: usize, machine: Machine) -> Result<()> {
    scene.boot(&with_ramdisk(scene, len)?, machine)?.wait_for_success()
}

/// It has an address of its own, and nothing else comes with it.
pub(super) fn where_physical_memory_is_not_mapped(scene: &Scene, machine: &Machine) -> Result<()> {
    let unmapped = KernelConfig { map_physical_memory: false, ..KernelConfig::DEFAULT };
    for len in [1, 4096, (5 << 20) + 77] {
        for kernel in ["ramdisk", "without_physical_memory", "without_both"] {
            let image = kernel_with_ramdisk(scene, kernel, len, unmapped)?;
            scene.boot(&image, machine.clone())?.wait_for_success()?;
        }
    }
    Ok(())
}

fn none(scene: &Scene) -> Result<()> {
    let kernel = scene.parts.test_kernels.join("ramdisk");
    scene.boot_kernel(&kernel, "", Machine::default())?.wait_for_success()
}

/// As a person gives it, or a project: the path is that of the project then.
fn by_the_command(scene: &Scene) -> Result<()> {
    let folder = scene.folder().join("project");
    fs::create_dir_all(folder.join("target"))?;
    let kernel = folder.join("target/ramdisk");
    fs::copy(scene.parts.test_kernels.join("ramdisk"), &kernel)?;
    let table = "[package]\nname = \"theirs\"\n[package.metadata.doorstep]\n";
    fs::write(folder.join("Cargo.toml"), format!("{table}ramdisk = \"files\"\ncommand-line = \"500\"\n"))?;
    fs::write(folder.join("files"), bytes(500))?;
    succeed(scene.xtask().args(["runner", "project/target/ramdisk"]).env_remove("CARGO_MANIFEST_DIR"))?;
    fs::write(scene.folder().join("other"), bytes(9999))?;
    let mut runner = scene.xtask();
    runner.args(["runner", "--ramdisk", "other", "--cmdline", "9999", "project/target/ramdisk"]);
    succeed(runner.env_remove("CARGO_MANIFEST_DIR")).map(drop)
}

/// Refused at the desk, by its length.
fn is_refused(scene: &Scene, len: u64, message: &str) -> Result<()> {
    fs::File::create(scene.folder().join("ramdisk"))?.set_len(len)?;
    let output = child::output(scene.xtask().args(["image", "--ramdisk", "ramdisk", "-o", "a.img"]))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "{told}");
    ensure!(told.contains(message), "{told}");
    Ok(())
}
