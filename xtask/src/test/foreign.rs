//! Kernels that know nothing of Doorstep: the tutorial's, and others that a real linker makes here in many shapes.

use super::Test;
use super::parts::Scene;
use crate::bare_metal::read;
use crate::child;
use crate::guest::Machine;
use crate::strip::find_objcopy;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("foreign::tutorial", tutorial),
        Test::new("foreign::default_address", |scene| checks_itself(scene, &[], 0)),
        Test::new("foreign::higher_half", higher_half),
        Test::new("foreign::where_physical_memory_would_appear", where_physical_memory_would_appear),
        Test::new("foreign::segments_share_pages", segments_share_pages),
        Test::new("foreign::payload_of_32_mib", payload_of_32_mib),
        Test::new("foreign::debug_sections_stay_out", debug_sections_stay_out),
    ]
}

/// Twenty lines that write to 0xb8000.
fn tutorial(scene: &Scene) -> Result<()> {
    let kernel = scene.parts.foreign_kernels.join("foreign-kernel");
    scene.boot_kernel(&kernel, "", Machine::default())?.wait_for_success()?;
    let mut booted = scene.boot_kernel(&kernel, "", Machine { stays: true, ..Machine::default() })?;
    booted.wait_for_screen("Hello World!")
}

fn higher_half(scene: &Scene) -> Result<()> {
    checks_itself(scene, &["--image-base=0xffffffff80000000"], 0)
}

/// The loader's usual address for the window to physical memory: the window moves.
fn where_physical_memory_would_appear(scene: &Scene) -> Result<()> {
    let kernel =
        link_archive(scene, &scene.parts.foreign_kernels_anywhere, &["--image-base=0xffff800000100000"])?;
    check(scene, &kernel, 0, Machine::default())
}

/// Read-only data shares its first page with code and its last one with variables.
fn segments_share_pages(scene: &Scene) -> Result<()> {
    const SCRIPT: &str = "
        PHDRS { code PT_LOAD FLAGS(5); constants PT_LOAD FLAGS(4); variables PT_LOAD FLAGS(6); }
        SECTIONS {
            . = 0x400000;
            .text : { *(.text .text.*) } :code
            .rodata : { *(.rodata .rodata.*) . += 0x1000; } :constants
            .data : { *(.data .data.*) } :variables
            .bss : { *(.bss .bss.*) } :variables
            /DISCARD/ : { *(.eh_frame*) }
        }";
    let script = scene.folder().join("shared.ld");
    fs::write(&script, SCRIPT)?;
    checks_itself(scene, &["--script", script.to_str().context("a path that is not UTF-8")?], 0)
}

/// Every byte arrives, of far more than fits below 1 MiB or into one read.
fn payload_of_32_mib(scene: &Scene) -> Result<()> {
    carries_payload(scene, 32 << 20, Machine::default())
}

/// A kernel with so many bytes in it checks that they are the right ones.
pub(crate) fn carries_payload(scene: &Scene, len: usize, machine: Machine) -> Result<()> {
    let mut words = noise(len / 8 - 1);
    words.push(words.iter().fold(0, |sum, word| sum.wrapping_add(*word)));
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    fs::write(scene.folder().join("payload.bin"), bytes)?;
    let options = [
        "--format=binary",
        "payload.bin",
        "--format=default",
        "--defsym=payload_start=_binary_payload_bin_start",
        "--defsym=payload_end=_binary_payload_bin_end",
    ];
    let kernel = link(scene, &options)?;
    check(scene, &kernel, len, machine)
}

/// 5 MB of debug information neither make the image larger nor are they read.
fn debug_sections_stay_out(scene: &Scene) -> Result<()> {
    const LEN: usize = 5_000_000;
    let kernel = link(scene, &[])?;
    let (debug_info, with_debug_info) =
        (scene.folder().join("debug info"), scene.folder().join("with debug info"));
    fs::write(&debug_info, noise(LEN / 8).iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>())?;
    let shell = Shell::new()?;
    let objcopy = find_objcopy(&shell)?;
    let section = format!(".debug_info={}", debug_info.display());
    child::run(&mut cmd!(shell, "{objcopy} --add-section {section} {kernel} {with_debug_info}").into())?;
    let kernel = read(&with_debug_info)?;
    ensure!(kernel.len() > LEN, "the kernel was to have debug information");

    let image = scene.image(&kernel, "")?;
    ensure!(image.bytes().len() < LEN / 4, "an image of {} bytes", image.bytes().len());
    scene.boot(&image, Machine::default())?.wait_for_success()
}

/// Links the kernel that checks how it was loaded, and boots it.
fn checks_itself(scene: &Scene, options: &[&str], payload_len: usize) -> Result<()> {
    check(scene, &link(scene, options)?, payload_len, Machine::default())
}

fn check(scene: &Scene, kernel: &Path, payload_len: usize, machine: Machine) -> Result<()> {
    let mut booted = scene.boot_kernel(kernel, "", machine)?;
    booted.wait_for_success()?;
    booted.wait_for(&format!("foreign kernel ok, payload of {payload_len} bytes"))
}

/// Links a kernel as a project of its own would: with a linker and a few options.
pub(super) fn link(scene: &Scene, options: &[&str]) -> Result<PathBuf> {
    link_archive(scene, &scene.parts.foreign_kernels, options)
}

/// The same with the archive in this folder.
pub(super) fn link_archive(scene: &Scene, folder: &Path, options: &[&str]) -> Result<PathBuf> {
    let linker = &scene.parts.linker;
    let flavor: &[&str] = if linker.ends_with("rust-lld") { &["-flavor", "gnu"] } else { &[] };
    let archive = folder.join("libchecked_kernel.a");
    let kernel = scene.folder().join("kernel.elf");
    let shell = Shell::new()?;
    shell.change_dir(scene.folder());
    let command =
        cmd!(shell, "{linker} {flavor...} -e _start --gc-sections {archive} {options...} -o {kernel}");
    child::run(&mut command.into())?;
    Ok(kernel)
}

/// Numbers without a pattern, the same ones every time (xorshift64).
fn noise(len: usize) -> Vec<u64> {
    random(0x9e37_79b9_7f4a_7c15).take(len).collect()
}

/// Numbers without a pattern from a seed, which is not 0.
pub(crate) fn random(seed: u64) -> impl Iterator<Item = u64> {
    let next = |state: &u64| {
        let mut word = *state;
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        Some(word)
    };
    std::iter::successors(Some(seed), next)
}
