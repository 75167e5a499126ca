//! Memory above 4 GiB, where there is not enough below: kernel, stack and ramdisk lie there, and everything is as usual.

use super::Test;
use super::parts::Scene;
use super::ramdisk::{where_physical_memory_is_not_mapped, with_ramdisk};
use crate::bare_metal::read;
use crate::guest::{Drive, Machine};
use crate::qmp::escape_commas;
use anyhow::{Context, Result, ensure};
use std::fs;

/// So much memory lies below 4 GiB: enough for the loader, and not for what it leaves there.
const LOW: &str = "6M";

/// CPUs, by QEMU's names.
const CPUS: [&str; 4] = ["qemu64", "qemu64,-nx", "qemu64,+pdpe1gb", "max"];

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = vec![
        Test::new("high_memory::ramdisk", |scene| ramdisk(scene, Drive::Disk)),
        Test::new("high_memory::ramdisk_on_virtio", |scene| ramdisk(scene, Drive::Virtio)),
        Test::new("high_memory::ramdisk_where_physical_memory_is_not_mapped", |scene| {
            where_physical_memory_is_not_mapped(scene, &Machine::with_low_memory(LOW))
        }),
        Test::new("high_memory::ramdisk_damaged", ramdisk_damaged),
        Test::new("high_memory::ramdisk_too_large", ramdisk_too_large),
        Test::new("high_memory::garbage_is_overwritten", garbage_is_overwritten),
    ];
    for kernel in
        ["entry_state", "segment_rights", "guard_page", "bss_zeroed", "thread_local", "frame_allocator"]
    {
        tests.push(Test::new(format!("high_memory::{kernel}"), move |scene| {
            kernel_lies_high(scene, kernel, None)
        }));
    }
    for cpu in CPUS {
        tests.push(Test::new(format!("high_memory::on_{}", cpu.replace(',', "")), move |scene| {
            ["entry_state", "physical_memory", "memory_regions"]
                .into_iter()
                .try_for_each(|kernel| kernel_lies_high(scene, kernel, Some(cpu)))
        }));
    }
    tests
}

/// What is promised to a kernel holds above 4 GiB.
fn kernel_lies_high(scene: &Scene, kernel: &str, cpu: Option<&str>) -> Result<()> {
    let image = scene.image(&read(&scene.parts.test_kernels.join(kernel))?, "")?;
    let machine = Machine { cpu: cpu.map(str::to_owned), ..Machine::with_low_memory(LOW) };
    let mut booted = scene.boot(&image, machine)?;
    booted.wait_for_success()?;
    if kernel == "memory_regions" {
        let serial = booted.serial();
        let mut of_kernel = serial.lines().filter(|line| line.ends_with(" kernel")).peekable();
        ensure!(of_kernel.peek().is_some(), booted.failure("no memory is the kernel's"));
        let is_high = |line: &str| line.starts_with("region: 0x10");
        ensure!(of_kernel.all(is_high), booted.failure("the kernel lies low"));
    }
    Ok(())
}

fn ramdisk(scene: &Scene, drive: Drive) -> Result<()> {
    let machine = Machine { drive, ..Machine::with_low_memory(LOW) };
    let mut booted = scene.boot(&with_ramdisk(scene, (9 << 20) + 77)?, machine)?;
    booted.wait_for_success()?;
    booted.wait_for("region: 0x100")
}

fn ramdisk_damaged(scene: &Scene) -> Result<()> {
    let mut image = with_ramdisk(scene, 9 << 20)?;
    let range = image.range("ramdisk")?;
    image.bytes_mut()[(range.start + range.end) / 2] ^= 1;
    let message = "boot error E25: ramdisk damaged: ";
    scene.boot(&image, Machine::with_low_memory(LOW))?.says(message)
}

fn ramdisk_too_large(scene: &Scene) -> Result<()> {
    let image = with_ramdisk(scene, 60 << 20)?;
    let message = "boot error E60: out of memory: ramdisk needs 61440 KiB, 5";
    scene.boot(&image, Machine { drive: Drive::Virtio, ..Machine::with_low_memory(LOW) })?.says(message)
}

/// What the firmware left in memory is gone: `.bss` is zero, and behind the ramdisk are zeros.
fn garbage_is_overwritten(scene: &Scene) -> Result<()> {
    let path = scene.folder().join("garbage");
    fs::write(&path, vec![0xa5; 32 << 20])?;
    let path = escape_commas(path.to_str().context("a path that is not UTF-8")?);
    let garbage = format!("loader,file={path},addr=0x100000000,force-raw=on");
    let machine = Machine { arguments: vec!["-device".to_owned(), garbage], ..Machine::with_low_memory(LOW) };
    let kernel = scene.parts.test_kernels.join("bss_zeroed");
    scene.boot_kernel(&kernel, "", machine.clone())?.wait_for_success()?;
    scene.boot(&with_ramdisk(scene, (3 << 20) + 77)?, machine)?.wait_for_success()
}
