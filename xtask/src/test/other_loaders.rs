//! What other boot loaders do badly: faults on which Limine 8.2, GRUB 2.06 and the bootloader crates 0.9 and 0.11 boot half
//! a kernel, reset, hang or show nothing, as measured. Each is a clear message here, on screen and serial line, or a boot.

use super::Test;
use super::elf::{Elf, header, program_header};
use super::foreign::carries_payload;
use super::parts::Scene;
use crate::bare_metal::read;
use crate::guest::{Drive, Machine};
use crate::image::DiskImage;
use anyhow::{Context, Result};

/// A fault, how the kernel and the image get it, the machine, and what is said.
struct Row {
    name: &'static str,
    kernel: fn(&mut Elf) -> Result<()>,
    image: fn(&mut DiskImage) -> Result<()>,
    machine: fn() -> Machine,
    message: &'static str,
}

const GOOD: Row = Row {
    name: "good",
    kernel: |_| Ok(()),
    image: |_| Ok(()),
    machine: Machine::default,
    message: "Hello World!",
};

const ROWS: &[Row] = &[
    GOOD,
    Row {
        name: "disk_cut_off_inside_the_kernel",
        image: |image| {
            let range = image.range("kernel")?;
            image.bytes_mut().truncate((range.start + range.end) / 2);
            Ok(())
        },
        message: "boot error E14: image cut off: disk has ",
        ..GOOD
    },
    Row {
        name: "offset_past_the_end_of_the_file",
        kernel: |elf| set_last(elf, program_header::P_OFFSET, 1 << 40),
        message: "boot error E43: segment ",
        ..GOOD
    },
    Row {
        name: "kernel_of_another_cpu",
        kernel: |elf| elf.set(header::E_MACHINE, 183),
        message: "boot error E36: kernel has e_machine 183, expected 62 (x86-64)",
        ..GOOD
    },
    Row {
        name: "memory_of_4_gib",
        kernel: |elf| set_last(elf, program_header::P_MEMSZ, 0xff00_0000),
        message: "boot error E44: segment ",
        ..GOOD
    },
    Row {
        name: "entry_outside_every_segment",
        kernel: |elf| elf.set(header::E_ENTRY, 0xdead_b000),
        message: "boot error E51: kernel has e_entry 0xdeadb000, expected an address in the file's bytes of an executable segment",
        ..GOOD
    },
    Row {
        name: "elf_magic_gone",
        kernel: |elf| elf.set((0, 4), 0),
        message: "boot error E30: kernel is no ELF file: e_ident starts with 00000000h, expected 7F454C46h",
        ..GOOD
    },
    Row {
        name: "one_bit_of_the_kernel_flipped",
        image: |image| flip_in(image, "kernel"),
        message: "boot error E25: kernel damaged: checksum of bytes 0 to ",
        ..GOOD
    },
    Row {
        name: "one_byte_of_stage2_flipped",
        image: |image| flip_in(image, "stage2"),
        message: "stage2 damaged",
        ..GOOD
    },
    Row {
        name: "no_long_mode",
        machine: || Machine { cpu: Some("qemu64,-lm".into()), ..Machine::default() },
        message: "boot error E03: no long mode on this CPU (CPUID 80000001h EDX = ",
        ..GOOD
    },
    Row { name: "memory_of_2_mib", machine: || of_memory("2M"), ..GOOD },
    Row { name: "memory_of_8_mib", machine: || of_memory("8M"), ..GOOD },
    Row { name: "memory_of_16_mib", machine: || of_memory("16M"), ..GOOD },
    Row { name: "floppy", machine: || Machine { drive: Drive::Floppy, ..Machine::default() }, ..GOOD },
];

pub(crate) fn tests() -> Vec<Test> {
    let rows = ROWS
        .iter()
        .map(|row| Test::new(format!("other_loaders::{}", row.name), move |scene| shows(scene, row)));
    let large = Test::new("other_loaders::kernel_of_16_mib_in_24_mib", |scene| {
        carries_payload(scene, 16 << 20, of_memory("24M"))
    });
    rows.chain([large]).collect()
}

fn shows(scene: &Scene, row: &Row) -> Result<()> {
    let mut elf = Elf(read(&scene.parts.kernel_release)?);
    (row.kernel)(&mut elf)?;
    let mut image = scene.unchecked_image(&elf.0)?;
    (row.image)(&mut image)?;
    scene.boot(&image, (row.machine)())?.says(row.message)
}

fn of_memory(memory: &str) -> Machine {
    Machine { memory: Some(memory.into()), ..Machine::default() }
}

fn set_last(elf: &mut Elf, field: (usize, usize), value: u64) -> Result<()> {
    let segment = elf.loaded_segments()?.pop().context("no segment")?;
    elf.set_segment(segment, field, value)
}

/// One bit in the middle of a piece.
fn flip_in(image: &mut DiskImage, piece: &str) -> Result<()> {
    let range = image.range(piece)?;
    image.bytes_mut()[(range.start + range.end) / 2] ^= 0x10;
    Ok(())
}
