//! ELF files: a kernel's, with what the loader says of it whatever the machine, and stage2's.

use super::bundle;
use super::bytes::Bytes;
use super::machine::MemorySize;
use super::report::{Checked, Hex, Kernel, Report, Segment, Stage2};
use crate::flatten::symbol;
use crate::image::{WAYS_IN, check_kernel, network_program, unchecked_bundle};
use crate::project;
use anyhow::{Context, Result};
use boot_info::KernelConfig;
use boot_info::bootloader_api_0_11::ConfigNote;
use elf::abi::{EI_NIDENT, ET_DYN, ET_EXEC, PF_R, PF_W, PF_X, PT_LOAD};
use elf::endian::AnyEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::segment::{ProgramHeader, SegmentTable};
use elf::to_str::{e_machine_to_human_str, e_type_to_human_str};
use rehearsal::Rehearsed;
use std::path::Path;

/// A kernel that is in no image yet: as `cargo xtask image --kernel` would pack it, with what its project says of it.
pub(super) fn examine_kernel(
    report: &mut Report,
    path: &Path,
    file: &[u8],
    memory: MemorySize,
) -> Result<()> {
    let packed =
        project::settings_of_kernel(path).and_then(|settings| unchecked_bundle(file, &settings.boot));
    match packed {
        Ok(packed) => {
            bundle::examine_alone(report, &Bytes::Memory(packed.into_bytes()), memory)?;
            // Where it lies is of no interest, for it is nowhere.
            report.bundle = None;
        }
        Err(error) => {
            describe(report, file);
            report.fault("kernel", format!("{error:#}"));
            report.refuse(format!("no boot: `cargo xtask image` refuses it: {error:#}"));
        }
    }
    Ok(())
}

/// Tells of a kernel, if it is an ELF file.
pub(super) fn describe(report: &mut Report, file: &[u8]) {
    report.kernel = parse(file).ok();
}

/// Tells what the loader says of a kernel on every machine.
pub(super) fn check(report: &mut Report, file: &[u8], config: &KernelConfig) {
    if let Err(error) = check_kernel(file, config) {
        report.fault("kernel", format!("{error:#}"));
    }
}

/// stage2 as the linker made it.
pub(super) fn examine_stage2(report: &mut Report, file: &[u8]) {
    match parts_of_stage2(file) {
        Ok(stage2) => report.stage2 = Some(stage2),
        Err(error) => {
            report.fault("stage2", format!("{error:#}"));
            report.refuse("no boot: a part of stage2 is missing".to_owned());
        }
    }
}

fn parts_of_stage2(file: &[u8]) -> Result<Stage2> {
    let program = network_program::from_stage2(file)?;
    symbol(file, WAYS_IN)?;
    let len = program.len() as u64 - u64::from(layout::STAGE2_ADDR - layout::NETWORK_PROGRAM_ADDR);
    Ok(Stage2 { offset: None, len, has_optional_part: true, checksum: Checked::UNKNOWN })
}

/// Whether a kernel has what our crate `bootloader_api` puts into it. In an image, no section tells where that lies, but it is
/// loaded.
pub(super) fn is_for_bootloader_api(kernel: &[u8]) -> bool {
    let places = (0..kernel.len()).step_by(align_of::<ConfigNote>());
    places.map(|start| &kernel[start..]).any(|bytes| ConfigNote::parse(bytes).is_ok())
}

/// What an ELF file says of itself, whether or not it can be booted.
fn parse(file: &[u8]) -> Result<Kernel> {
    let ident = parse_ident::<AnyEndian>(file.get(..EI_NIDENT).context("no ELF file")?)?;
    let (endian, class, ..) = ident;
    let header = FileHeader::parse_tail(ident, &file[EI_NIDENT..])?;
    let start = usize::try_from(header.e_phoff)?;
    let len = usize::from(header.e_phnum) * usize::from(header.e_phentsize);
    let table = start.checked_add(len).and_then(|end| file.get(start..end)).unwrap_or_default();
    let segments = SegmentTable::new(endian, class, table);
    let loaded = segments.iter().enumerate().filter(|(_, segment)| segment.p_type == PT_LOAD);
    let machine = e_machine_to_human_str(header.e_machine);
    Ok(Kernel {
        class: if class == Class::ELF64 { "ELF64" } else { "ELF32" },
        kind: match header.e_type {
            ET_EXEC => "executable".to_owned(),
            ET_DYN => "position-independent executable".to_owned(),
            other => e_type_to_human_str(other).unwrap_or("unknown type").to_lowercase(),
        },
        machine: machine.map_or_else(|| format!("machine {}", header.e_machine), str::to_owned),
        entry_addr: Hex::addr(header.e_entry),
        slide: None,
        segments: loaded.map(|(index, segment)| describe_segment(index, &segment)).collect(),
    })
}

fn describe_segment(index: usize, segment: &ProgramHeader) -> Segment {
    let right = |flag, letter| if segment.p_flags & flag != 0 { letter } else { '-' };
    Segment {
        index,
        rights: [right(PF_R, 'r'), right(PF_W, 'w'), right(PF_X, 'x')].iter().collect(),
        virtual_addr: Hex::addr(segment.p_vaddr),
        physical_addr: None,
        file_offset: segment.p_offset,
        file_len: segment.p_filesz,
        memory_len: segment.p_memsz,
    }
}

/// Adds to a kernel's segments where they would lie.
pub(super) fn add_placement(report: &mut Report, rehearsed: &Rehearsed) {
    let Some(kernel) = &mut report.kernel else { return };
    kernel.slide = (rehearsed.kernel.slide != 0).then(|| Hex::addr(rehearsed.kernel.slide));
    for segment in &mut kernel.segments {
        let loaded =
            rehearsed.kernel.segments.iter().find(|loaded| usize::from(loaded.index) == segment.index);
        let Some(addr) = loaded.map(|loaded| loaded.virtual_addr) else { continue };
        let mut pieces = rehearsed.pieces.iter();
        let piece = pieces.find(|piece| piece.virtual_addr <= addr && addr - piece.virtual_addr < piece.len);
        segment.virtual_addr = Hex::addr(addr);
        segment.physical_addr =
            piece.map(|piece| Hex::addr(piece.physical_addr + (addr - piece.virtual_addr)));
    }
}
