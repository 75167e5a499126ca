//! Kernels that cannot boot: `cargo xtask image` refuses them, and stage2, given the same bytes on a disk, says the
//! same sentence on the screen and on the serial line.

use super::Test;
use super::elf::{Elf, header, program_header};
use super::inspect;
use super::parts::Scene;
use crate::bare_metal::read;
use crate::child;
use crate::guest::Machine;
use crate::image;
use anyhow::{Context, Result, bail, ensure};
use boot_info::KernelConfig;
use std::fs;

/// A way to spoil a good kernel, and the number of the error that has to come of it.
struct Fault {
    name: &'static str,
    error: &'static str,
    spoil: fn(&mut Elf) -> Result<()>,
}

const FAULTS: &[Fault] = &[
    Fault { name: "no_elf", error: "E30", spoil: |elf| elf.set((0, 4), 0x1234_5678) },
    Fault {
        name: "cut_off_in_the_header",
        error: "E31",
        spoil: |elf| {
            elf.0.truncate(40);
            Ok(())
        },
    },
    Fault { name: "elf32", error: "E32", spoil: |elf| elf.set(header::EI_CLASS, 1) },
    Fault { name: "big_endian", error: "E33", spoil: |elf| elf.set(header::EI_DATA, 2) },
    Fault { name: "other_version", error: "E34", spoil: |elf| elf.set(header::E_VERSION, 7) },
    Fault { name: "relocatable", error: "E35", spoil: |elf| elf.set(header::E_TYPE, 1) },
    Fault { name: "other_machine", error: "E36", spoil: |elf| elf.set(header::E_MACHINE, 183) },
    Fault { name: "program_header_size", error: "E37", spoil: |elf| elf.set(header::E_PHENTSIZE, 32) },
    Fault { name: "no_program_headers", error: "E38", spoil: |elf| elf.set(header::E_PHNUM, 0) },
    Fault { name: "program_headers_outside", error: "E39", spoil: |elf| elf.set(header::E_PHOFF, 1 << 40) },
    Fault {
        name: "nothing_to_load",
        error: "E40",
        spoil: |elf| {
            const PT_NULL: u64 = 0;
            elf.loaded_segments()?
                .into_iter()
                .try_for_each(|segment| elf.set_segment(segment, program_header::P_TYPE, PT_NULL))
        },
    },
    Fault {
        name: "dynamic_linker",
        error: "E41",
        spoil: |elf| {
            const PT_INTERP: u64 = 3;
            elf.set_segment(0, program_header::P_TYPE, PT_INTERP)
        },
    },
    Fault {
        name: "more_bytes_than_memory",
        error: "E42",
        spoil: |elf| set_first(elf, program_header::P_MEMSZ, 1),
    },
    Fault {
        name: "truncated",
        error: "E43",
        spoil: |elf| {
            let last = last(elf)?;
            let offset = elf.get(elf.field(last, program_header::P_OFFSET)?)?;
            let len = elf.get(elf.field(last, program_header::P_FILESZ)?)?;
            elf.0.truncate(usize::try_from(offset + len / 2)?);
            Ok(())
        },
    },
    Fault {
        name: "offset_past_the_end",
        error: "E43",
        spoil: |elf| set_first(elf, program_header::P_OFFSET, 1 << 40),
    },
    Fault {
        name: "not_canonical",
        error: "E44",
        spoil: |elf| set_first(elf, program_header::P_VADDR, 0x8000_0000_0000_0000),
    },
    Fault {
        name: "memory_past_the_canonical_end",
        error: "E44",
        spoil: |elf| set_first(elf, program_header::P_MEMSZ, 1 << 62),
    },
    Fault {
        name: "overlapping",
        error: "E46",
        spoil: |elf| {
            // The memory of each segment but the highest reaches into its neighbour.
            let segment = elf.loaded_segments()?[0];
            elf.set_segment(segment, program_header::P_MEMSZ, 0x10_0000)
        },
    },
    Fault {
        name: "writable_and_executable",
        error: "E47",
        spoil: |elf| set_first(elf, program_header::P_FLAGS, 7),
    },
    Fault {
        name: "shared_page_rights",
        error: "E48",
        spoil: |elf| {
            // Variables begin in the middle of the last page of the code.
            const READ_EXECUTE: u64 = 5;
            let segments = elf.loaded_segments()?;
            let is_code = |&&segment: &&usize| {
                elf.field(segment, program_header::P_FLAGS).and_then(|field| elf.get(field)).ok()
                    == Some(READ_EXECUTE)
            };
            let code = *segments.iter().find(is_code).context("no code")?;
            let last = last(elf)?;
            let addr = elf.get(elf.field(code, program_header::P_VADDR)?)?;
            let len = elf.get(elf.field(code, program_header::P_FILESZ)?)? - 16;
            for (field, value) in [(program_header::P_FILESZ, len), (program_header::P_MEMSZ, len)] {
                elf.set_segment(code, field, value)?;
            }
            for (field, value) in [
                (program_header::P_VADDR, addr + len),
                (program_header::P_FILESZ, 8),
                (program_header::P_MEMSZ, 8),
                (program_header::P_ALIGN, 1),
            ] {
                elf.set_segment(last, field, value)?;
            }
            Ok(())
        },
    },
    Fault { name: "null_page", error: "E49", spoil: |elf| move_first(elf, 0) },
    Fault {
        name: "mode_switch_page",
        error: "E50",
        spoil: |elf| move_first(elf, layout::MODE_SWITCH_PAGE_ADDR.into()),
    },
    Fault { name: "entry_outside", error: "E51", spoil: |elf| elf.set(header::E_ENTRY, 0xdead_b000) },
    Fault {
        name: "entry_not_executable",
        error: "E51",
        spoil: |elf| {
            let last = last(elf)?;
            let address = elf.get(elf.field(last, program_header::P_VADDR)?)?;
            elf.set(header::E_ENTRY, address)
        },
    },
];

/// Values of each field that a kernel should not have, or that do not matter. Fields of a program header are those of the first segment that is loaded.
const HOSTILE: &[(&str, Part, (usize, usize), Values)] = &[
    ("ei_class", Part::Header, header::EI_CLASS, &[(0, "E32"), (0xff, "E32")]),
    ("ei_data", Part::Header, header::EI_DATA, &[(0, "E33"), (0xff, "E33")]),
    ("ei_version", Part::Header, header::EI_VERSION, &[(0, "E34"), (2, "E34")]),
    ("ei_osabi", Part::Header, header::EI_OSABI, &[(0xff, BOOTS)]),
    ("e_type", Part::Header, header::E_TYPE, &[(0, "E35"), (4, "E35"), (u64::MAX, "E35")]),
    ("e_machine", Part::Header, header::E_MACHINE, &[(0, "E36"), (3, "E36"), (u64::MAX, "E36")]),
    ("e_version", Part::Header, header::E_VERSION, &[(0, "E34"), (u64::MAX, "E34")]),
    ("e_entry", Part::Header, header::E_ENTRY, &[(0, "E51"), (1 << 63, "E51"), (u64::MAX, "E51")]),
    (
        "e_phoff",
        Part::Header,
        header::E_PHOFF,
        &[(0xffff_ffff, "E39"), (1 << 32, "E39"), (u64::MAX - 55, "E39"), (u64::MAX, "E39")],
    ),
    ("e_shoff", Part::Header, header::E_SHOFF, &[(u64::MAX, BOOTS)]),
    ("e_flags", Part::Header, header::E_FLAGS, &[(u64::MAX, BOOTS)]),
    ("e_ehsize", Part::Header, header::E_EHSIZE, &[(0, BOOTS), (u64::MAX, BOOTS)]),
    (
        "e_phentsize",
        Part::Header,
        header::E_PHENTSIZE,
        &[(0, "E37"), (55, "E37"), (57, "E37"), (u64::MAX, "E37")],
    ),
    ("e_phnum", Part::Header, header::E_PHNUM, &[(0, "E38"), (u64::MAX, "E39")]),
    ("e_shentsize", Part::Header, header::E_SHENTSIZE, &[(u64::MAX, BOOTS)]),
    ("e_shnum", Part::Header, header::E_SHNUM, &[(u64::MAX, BOOTS)]),
    ("e_shstrndx", Part::Header, header::E_SHSTRNDX, &[(u64::MAX, BOOTS)]),
    ("p_type", Part::Segment, program_header::P_TYPE, &[(3, "E41"), (7, "E57")]),
    ("p_flags", Part::Segment, program_header::P_FLAGS, &[(3, "E47"), (7, "E47"), (u64::MAX, "E47")]),
    ("p_offset", Part::Segment, program_header::P_OFFSET, &[(1 << 40, "E43"), (u64::MAX, "E43")]),
    (
        "p_vaddr",
        Part::Segment,
        program_header::P_VADDR,
        &[(0, "E49"), (0x8000, "E50"), (1 << 47, "E44"), (u64::MAX - 4095, "E44"), (u64::MAX, "E44")],
    ),
    ("p_paddr", Part::Segment, program_header::P_PADDR, &[(0, BOOTS), (u64::MAX, BOOTS)]),
    ("p_filesz", Part::Segment, program_header::P_FILESZ, &[(1 << 40, "E42"), (u64::MAX, "E42")]),
    ("p_memsz", Part::Segment, program_header::P_MEMSZ, &[(0, "E42"), (1 << 40, "E44"), (u64::MAX, "E44")]),
    (
        "p_align",
        Part::Segment,
        program_header::P_ALIGN,
        &[(0, BOOTS), (1, BOOTS), (3, BOOTS), (1 << 63, BOOTS), (u64::MAX, BOOTS)],
    ),
];

/// Values, each with the number of its error.
type Values = &'static [(u64, &'static str)];

const BOOTS: &str = "boots";

#[derive(Clone, Copy)]
enum Part {
    Header,
    Segment,
}

pub(crate) fn tests() -> Vec<Test> {
    let at_the_desk = FAULTS.iter().map(|fault| {
        Test::new(format!("desk::{}", fault.name), move |scene| is_refused_at_the_desk(scene, fault))
    });
    let by_stage2 = FAULTS.iter().map(|fault| {
        Test::new(format!("refused::{}", fault.name), move |scene| is_refused_by_stage2(scene, fault))
    });
    let hostile = HOSTILE.iter().map(|&(name, part, field, values)| {
        Test::new(format!("hostile::{name}"), move |scene| {
            values.iter().try_for_each(|&(value, error)| {
                is_refused(scene, part, field, value, error).with_context(|| format!("{name} = {value:#x}"))
            })
        })
    });
    at_the_desk.chain(by_stage2).chain(hostile).collect()
}

/// A value in a field: desk and stage2 say the same of it.
fn is_refused(scene: &Scene, part: Part, field: (usize, usize), value: u64, error: &str) -> Result<()> {
    let mut elf = Elf(read(&scene.parts.kernel_release)?);
    match part {
        Part::Header => elf.set(field, value)?,
        Part::Segment => set_first(&mut elf, field, value)?,
    }
    let message = match image::check_kernel(&elf.0, &KernelConfig::DEFAULT) {
        Err(found) => {
            let sentence = found.to_string();
            ensure!(sentence.starts_with(&format!("{error}: ")), "expected {error}, found: {sentence}");
            format!("boot error {sentence}")
        }
        Ok(()) => {
            ensure!(error == BOOTS, "expected {error}, the check finds nothing wrong");
            "Hello World!".into()
        }
    };
    scene.boot(&scene.unchecked_image(&elf.0)?, Machine::default())?.says(&message)?;
    inspect::agrees(scene, (error != BOOTS).then_some(&*message))
}

/// `cargo xtask image` names the file and the fault, exits with 1 and leaves nothing behind.
fn is_refused_at_the_desk(scene: &Scene, fault: &Fault) -> Result<()> {
    let (kernel, sentence) = spoiled_kernel(scene, fault)?;
    let path = scene.folder().join("bad kernel.elf");
    let image = scene.folder().join("bad.img");
    fs::write(&path, kernel)?;
    let mut command = scene.xtask();
    let output = child::output(command.arg("image").arg("--kernel").arg(&path).arg("-o").arg(&image))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}, expected 1\n{told}", output.status);
    ensure!(told.starts_with("error: ") && told.contains("bad kernel.elf: "), "no path in: {told}");
    ensure!(told.contains(&sentence), "expected: {sentence}\nfound: {told}");
    let left: Vec<_> =
        fs::read_dir(scene.folder())?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    ensure!(left == ["bad kernel.elf"], "left behind: {left:?}");
    Ok(())
}

/// stage2 says the same.
fn is_refused_by_stage2(scene: &Scene, fault: &Fault) -> Result<()> {
    let (kernel, sentence) = spoiled_kernel(scene, fault)?;
    let mut booted = scene.boot(&scene.unchecked_image(&kernel)?, Machine::default())?;
    booted.wait_for(&format!("boot error {sentence}"))?;
    booted.wait_for_screen(&format!("boot error {sentence}"))?;
    inspect::agrees(scene, Some(&format!("boot error {sentence}")))
}

/// The kernel with the fault of this name, and the sentence that tells of it.
pub(super) fn bad_kernel(scene: &Scene, name: &str) -> Result<(Vec<u8>, String)> {
    let fault = FAULTS.iter().find(|fault| fault.name == name).context("no such fault")?;
    spoiled_kernel(scene, fault)
}

/// A kernel with a fault, and the sentence that tells of it.
fn spoiled_kernel(scene: &Scene, fault: &Fault) -> Result<(Vec<u8>, String)> {
    let mut elf = Elf(read(&scene.parts.kernel_release)?);
    (fault.spoil)(&mut elf)?;
    let Err(error) = image::check_kernel(&elf.0, &KernelConfig::DEFAULT) else {
        bail!("the check finds nothing wrong");
    };
    let sentence = error.to_string();
    ensure!(
        sentence.starts_with(&format!("{}: ", fault.error)),
        "expected {}, found: {sentence}",
        fault.error
    );
    Ok((elf.0, sentence))
}

fn last(elf: &Elf) -> Result<usize> {
    elf.loaded_segments()?.pop().context("no segment")
}

fn set_first(elf: &mut Elf, field: (usize, usize), value: u64) -> Result<()> {
    let segment = elf.loaded_segments()?[0];
    elf.set_segment(segment, field, value)
}

/// Moves the first segment, to an address that its place in the file allows.
fn move_first(elf: &mut Elf, page_addr: u64) -> Result<()> {
    let segment = elf.loaded_segments()?[0];
    let offset = elf.get(elf.field(segment, program_header::P_OFFSET)?)?;
    elf.set_segment(segment, program_header::P_VADDR, page_addr + offset % u64::from(layout::PAGE_LEN))
}
