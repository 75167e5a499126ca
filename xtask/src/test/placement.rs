//! Where `cargo xtask inspect` says that everything lies: a boot puts it there.

use super::Test;
use super::faults_bios::{join, parse_told_region};
use super::inspect::Told;
use super::parts::Scene;
use super::ramdisk;
use crate::bare_metal::read;
use crate::guest::Machine;
use crate::image;
use crate::project::Boot;
use anyhow::{Context, Result, bail, ensure};
use boot_info::{AddressWish, FramebufferWish, KernelConfig};
use serde_json::Value;
use std::fs;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("inspect::placement", placement_is_that_of_a_boot),
        Test::new("inspect::placement_in_virtual_memory", virtual_placement_is_that_of_a_boot),
        Test::new("inspect::out_of_memory", out_of_memory),
    ]
}

/// The memory map that a kernel finds, and how many page tables.
fn placement_is_that_of_a_boot(scene: &Scene) -> Result<()> {
    let path = scene.folder().join("files");
    fs::write(&path, ramdisk::bytes((3 << 20) + 77))?;
    let framebuffer = |width, height| KernelConfig {
        framebuffer: Some(FramebufferWish::at_least(width, height)),
        ..KernelConfig::DEFAULT
    };
    let apart = KernelConfig {
        stack_len: 1 << 20,
        stack_addr: AddressWish::Fixed(0xffff_ff80_0000_1000),
        physical_memory_offset: AddressWish::Fixed(0xffff_9000_0000_0000),
        boot_info_addr: AddressWish::Fixed(0x4000_0000_0000),
        ..KernelConfig::DEFAULT
    };
    for (memory, config, has_files) in [
        ("128M", KernelConfig::DEFAULT, false),
        ("128M", KernelConfig::DEFAULT, true),
        ("2M", KernelConfig::DEFAULT, false),
        ("5G", KernelConfig::DEFAULT, true),
        ("64M", apart, true),
        ("128M", framebuffer(800, 600), true),
        ("128M", framebuffer(1920, 1080), false),
    ] {
        let boot =
            Boot { config, ramdisk: has_files.then(|| path.clone()), symbols: has_files, ..Boot::default() };
        let kernel = read(&scene.parts.test_kernels.join("memory_regions"))?;
        let image = image::image(&scene.parts.stages, &kernel, &boot)?;
        let machine = Machine { memory: Some(memory.to_owned()), ..Machine::default() };
        let mut booted = scene.boot(&image, machine)?;
        booted.wait_for_success()?;
        let told = Told::of(scene, "disk.img", &["--memory", memory])?;
        let serial = booted.serial();
        check_regions(&told, &serial)
            .with_context(|| format!("{memory}, {config:?}\n{serial}\n{}", told.text))?;
    }
    Ok(())
}

fn check_regions(told: &Told, serial: &str) -> Result<()> {
    // Reserved regions depend on the BIOS's version, and do not change where anything lies.
    const TOLD: [&str; 5] = ["usable", "bootloader", "kernel", "ramdisk", "framebuffer"];
    let is_told = |(.., kind): &(u64, u64, String)| TOLD.contains(&kind.as_str());
    let lines = serial.lines().filter_map(|line| line.strip_prefix("region: "));
    let found: Vec<_> = lines.map(parse_told_region).collect::<Result<_>>()?;
    let found: Vec<_> = found.into_iter().filter(is_told).collect();
    let mut expected = Vec::new();
    let mut tables = 0;
    for place in told.json["placement"]["physical"].as_array().context("no placement")? {
        let (start, len) = (addr(&place["addr"])?, place["len"].as_u64().context("no length")?);
        let what = place["what"].as_str().context("nothing")?;
        let (kind, unit) = match what {
            "loader" | "boot info" | "page tables" | "stack" => ("bootloader", 1),
            // What a file leaves of its last page is taken, too.
            "symbols" => ("bootloader", 4096),
            "ramdisk" => ("ramdisk", 4096),
            other => (other, 1),
        };
        if what == "page tables" {
            tables += len / 4096;
        }
        expected.push((start, (start + len).next_multiple_of(unit), kind.to_owned()));
    }
    let expected: Vec<_> = join(expected).into_iter().filter(is_told).collect();
    ensure!(found == expected, "a boot has {found:x?}, inspect {expected:x?}");
    ensure!(serial.contains(&format!("page tables: {tables}\n")), "inspect has {tables} page tables");
    Ok(())
}

fn addr(value: &Value) -> Result<u64> {
    let text = value.as_str().and_then(|text| text.strip_prefix("0x")).context("no address")?;
    Ok(u64::from_str_radix(text, 16)?)
}

/// Where the kernel says that its segments and its stack lie, and its ramdisk.
fn virtual_placement_is_that_of_a_boot(scene: &Scene) -> Result<()> {
    let place = |told: &Told, what: &str| -> Result<Vec<[u64; 3]>> {
        let places = told.json["placement"]["virtual"].as_array().context("no placement")?;
        let places = places.iter().filter(|place| place["what"] == what);
        places
            .map(|place| {
                Ok([
                    addr(&place["addr"])?,
                    addr(&place["physical_addr"])?,
                    place["len"].as_u64().context("no length")?,
                ])
            })
            .collect()
    };
    let mut booted = scene.boot_kernel(&scene.parts.kernel_release, "", Machine::default())?;
    booted.says("Hello World!")?;
    let told = Told::of(scene, "disk.img", &[])?;
    for [virtual_addr, physical_addr, _] in place(&told, "kernel")? {
        booted.wait_for(&format!("{virtual_addr:016x} at {physical_addr:010x}"))?;
    }
    for [virtual_addr, ..] in place(&told, "stack")? {
        booted.wait_for(&format!("Stack   {virtual_addr:016x}"))?;
    }
    let image = ramdisk::with_ramdisk(scene, 70_001)?;
    let mut booted = scene.boot(&image, Machine::default())?;
    booted.wait_for_success()?;
    let told = Told::of(scene, "disk.img", &[])?;
    let [[virtual_addr, _, len]] = place(&told, "ramdisk")?[..] else { bail!("{}", told.text) };
    let expected = format!("{virtual_addr:#x}");
    ensure!(len == 70_001);
    ensure!(booted.serial().contains(&expected), "no {expected:?} in: {}", booted.serial());
    Ok(())
}

/// The same sentence, with its numbers, where memory does not suffice.
fn out_of_memory(scene: &Scene) -> Result<()> {
    let image = ramdisk::with_ramdisk(scene, 9 << 20)?;
    let machine = Machine { memory: Some("8M".to_owned()), ..Machine::default() };
    let mut booted = scene.boot(&image, machine)?;
    let line = booted.wait_for_line(&["boot error "])?;
    let told = Told::of(scene, "disk.img", &["--memory", "8M"])?;
    ensure!(!told.is_sound && told.pieces().iter().all(|(_, state)| state == "sound"), "{}", told.text);
    told.says(&format!("\nA boot ends with: {line}\n"))
}
