//! Defects in stage2 itself, planted into its code: each ends in a message, not in a reset.

use super::Test;
use super::parts::Scene;
use crate::bare_metal::read;
use crate::guest::Machine;
use crate::image::{BundleContents, Medium, Stages};
use crate::strip::strip;
use anyhow::{Context, Result};
use elf::ElfBytes;
use elf::abi::STT_FUNC;
use elf::endian::LittleEndian;

pub(crate) fn tests() -> Vec<Test> {
    let planted = |name, place, code: &'static [u8], message| {
        Test::new(format!("defects::{name}"), move |scene| is_told(scene, place, code, message))
    };
    vec![
        // ud2, which is what a panic is compiled to.
        planted(
            "panic",
            LOAD_KERNEL,
            &[0x0f, 0x0b],
            "boot error E70: exception 6 (panic, or invalid opcode)",
        ),
        // xor ecx, ecx; div ecx
        planted(
            "divide_error",
            LOAD_KERNEL,
            &[0x31, 0xc9, 0xf7, 0xf1],
            "boot error E70: exception 0 (divide",
        ),
        // xor eax, eax; mov al, F8h; mov ds, eax: a selector beyond the GDT
        planted(
            "general_protection",
            LOAD_KERNEL,
            &[0x31, 0xc0, 0xb0, 0xf8, 0x8e, 0xd8],
            "boot error E70: exception 13 (general protection)",
        ),
        Test::new("defects::stack_overflow", stack_overflow_is_told),
    ]
}

/// Part of the name of a function that `boot` calls when everything is set up.
const LOAD_KERNEL: &str = "11load_kernel";

/// Code in place of the first instructions of a function.
fn is_told(scene: &Scene, function: &str, code: &[u8], message: &str) -> Result<()> {
    let offset = offset_of(&scene.parts.stage2_elf, function)?;
    let mut stage2 = scene.parts.stages.stage2.clone();
    stage2[offset..offset + code.len()].copy_from_slice(code);
    boot(scene, stage2, message)
}

/// The guard of the stack is not as it was filled: here, because it was filled with something else.
fn stack_overflow_is_told(scene: &Scene) -> Result<()> {
    let mut stage2 = scene.parts.stages.stage2.clone();
    let pattern = layout::STACK_GUARD_PATTERN.to_le_bytes();
    let offset = stage2.windows(pattern.len()).position(|bytes| bytes == pattern);
    stage2[offset.context("stage2 without the pattern of its stack's guard")?] ^= 1;
    boot(scene, stage2, "boot error E71: stage2's stack overflowed")
}

fn boot(scene: &Scene, stage2: Vec<u8>, message: &str) -> Result<()> {
    let Stages { stage1, main_part_len, .. } = &scene.parts.stages;
    let stages = Stages { stage1: stage1.clone(), stage2, main_part_len: *main_part_len };
    let kernel = read(&scene.parts.kernel_release)?;
    let kernel = strip(&kernel)?;
    let image = BundleContents::of(&kernel).build()?.into_image(Medium::Disk, &stages)?;
    let mut booted = scene.boot(&image, Machine::default())?;
    booted.wait_for(message)?;
    booted.wait_for_screen(message)
}

/// Where a function begins in the flat binary: the one whose name contains this.
fn offset_of(stage2_elf: &[u8], name: &str) -> Result<usize> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(stage2_elf)?;
    let (symbols, names) = elf.symbol_table()?.context("stage2 without symbols")?;
    let symbol = symbols
        .iter()
        .find(|symbol| {
            symbol.st_symtype() == STT_FUNC
                && names.get(symbol.st_name as usize).is_ok_and(|found| found.contains(name))
        })
        .with_context(|| format!("stage2 without a function {name}"))?;
    Ok(usize::try_from(symbol.st_value - u64::from(layout::STAGE2_ADDR))?)
}
