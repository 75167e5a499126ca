//! Everything that can go wrong on the way to the kernel: one list, with the numbers and sentences a person reads.
//!
//! stage2 prints them on the screen and on COM1, `xtask` prints the same at the desk. A sentence says what was found,
//! what was expected and, where there is one, the way out. A number never changes its meaning; ERRORS.md, which says
//! more of each, is checked against this list.

mod examples;

use crate::bundle::PieceKind;
use crate::multiboot::{self, Refusal};
use crate::pxe::NetworkError;
use crate::reader::Place;
use crate::relocate;
use alloc::boxed::Box;
use core::fmt;
use thiserror::Error;

/// What is returned where the boot may end. The error lies in memory of its own, so that what goes well costs no more than
/// a pointer on its way back.
pub type Result<T> = core::result::Result<T, Box<BootError>>;

/// Why a boot ended before the kernel was reached. Displays as `E12: disk read failed: …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each variant and its fields are told by its sentence")]
pub enum BootError {
    // E01 to E09: the machine.
    #[error(
        "E01: A20 gate shut: tried INT 15h AX=2401h, port 92h and the 8042; enable A20 in the BIOS setup"
    )]
    A20Shut,
    #[error("E02: no CPUID instruction on this CPU, expected a 64-bit CPU (x86-64)")]
    NoCpuid,
    #[error(
        "E03: no long mode on this CPU (CPUID 80000001h EDX = {found:08X}h, bit 29 clear), expected a 64-bit CPU"
    )]
    NoLongMode { found: u32 },
    #[error(
        "E04: no memory map: INT 15h AX=E820h gave EAX={eax:08X}h ECX={ecx:08X}h, expected 'SMAP' (534D4150h) and 20 to 24 bytes"
    )]
    NoMemoryMap { eax: u32, ecx: u32 },
    #[error("E05: memory map too long: more than {expected} entries")]
    MemoryMapTooLong { expected: usize },

    // E10 to E19: the disk, or what takes its place.
    #[error("E10: drive {drive:02X}h has no geometry: INT 13h AH=08h status {status:02X}h ({}), {sectors} sectors a track; expected EDD or CHS", disk_status(*.status))]
    NoGeometry { drive: u8, status: u8, sectors: u32 },
    #[error("E11: LBA {lba} is out of reach of CHS, which ends at LBA {expected}; expected a BIOS with EDD")]
    BeyondChs { lba: u64, expected: u64 },
    #[error("E12: disk read failed: LBA {lba}, BIOS status {status:02X}h ({}), after {tries} tries", disk_status(*.status))]
    DiskRead { lba: u64, status: u8, tries: u32 },
    #[error("E13: disk read short: LBA {lba}, {found} of {expected} sectors; is the image cut off?")]
    DiskReadShort { lba: u64, found: u32, expected: u32 },
    #[error("E14: image cut off: disk has {found} sectors, image {expected}; write the whole image again")]
    DiskTooSmall { found: u64, expected: u64 },

    #[error("E15: drive {drive:02X}h has sectors of {found} bytes, expected 512 or 2048; use another drive")]
    SectorLength { drive: u8, found: u32 },
    #[error(fmt = multiboot::fmt_cut_off)]
    BundleCutOff { found: u64, expected: u64 },

    // E20 to E29: the bundle.
    #[error("E20: no bundle at {place}: found {found:016X}h, expected \"DOORBNDL\"; write the image again")]
    BundleMissing { place: Place, found: u64 },
    #[error(
        "E21: bundle's header damaged: checksum {found:016X}h, expected {expected:016X}h; write the image again"
    )]
    BundleDamaged { found: u64, expected: u64 },
    #[error("E22: bundle of version {found}, expected {expected}; build the image again")]
    BundleVersion { found: u32, expected: u32 },
    #[error("E23: bundle: {field} is {found:#x}, expected {expected}; build the image again")]
    BundleField { field: &'static str, found: u64, expected: &'static str },
    #[error("E24: command line has {found} bytes, expected at most {expected}")]
    CommandLineTooLong { found: u64, expected: u64 },
    #[error(
        "E25: {what} damaged: checksum of bytes 0 to {len:#x} is {found:016X}h, expected {expected:016X}h; write the image again"
    )]
    PieceDamaged { what: PieceKind, len: u64, found: u64, expected: u64 },
    #[error("E26: bundle needs a loader that knows pieces of kind {found}; build the image again")]
    UnknownPiece { found: u32 },
    #[error("E27: bundle has {found} pieces for the {what}, expected 1; build the image again")]
    PieceCount { what: PieceKind, found: u64 },

    #[error("E28: stage2 is without its optional part, which this kernel needs; build the image again")]
    OptionalPartMissing,

    // E30 to E59: the kernel's ELF file.
    #[error("E30: kernel is no ELF file: e_ident starts with {found:08X}h, expected 7F454C46h")]
    NoElf { found: u32 },
    #[error("E31: kernel has {found} bytes, expected at least the {expected} of an ELF64 header")]
    ElfTooShort { found: u64, expected: u64 },
    #[error("E32: kernel has EI_CLASS {found}, expected 2 (ELF64): build it for x86_64")]
    ElfClass { found: u8 },
    #[error("E33: kernel has EI_DATA {found}, expected 1 (little-endian)")]
    ElfData { found: u8 },
    #[error("E34: kernel has ELF version {found}, expected 1")]
    ElfVersion { found: u32 },
    #[error("E35: kernel has e_type {found} ({}), expected 2 or 3 (executable): {}", elf_type(*.found), elf_type_way_out(*.found))]
    ElfType { found: u16 },
    #[error("E36: kernel has e_machine {found}, expected 62 (x86-64)")]
    ElfMachine { found: u16 },
    #[error("E37: kernel has e_phentsize {found}, expected 56")]
    ElfProgramHeaderSize { found: u16 },
    #[error("E38: kernel has e_phnum {found}, expected at least 1, and at most 256 PT_LOAD")]
    ElfProgramHeaderCount { found: u16 },
    #[error(
        "E39: kernel's program headers (e_phoff {found:#x}) end at {end:#x}, expected at most {expected:#x}"
    )]
    ElfProgramHeadersOutside { found: u64, end: u64, expected: u64 },
    #[error("E40: kernel has no PT_LOAD segment with p_memsz above 0, expected at least one")]
    ElfNoSegment,
    #[error(
        "E41: kernel asks for a dynamic linker (PT_INTERP, segment {segment}), expected a static executable"
    )]
    ElfDynamic { segment: u16 },
    #[error("E42: segment {segment}: p_filesz {found:#x}, expected at most its p_memsz {expected:#x}")]
    SegmentFileSize { segment: u16, found: u64, expected: u64 },
    #[error(
        "E43: segment {segment}: p_offset {offset:#x} + p_filesz {len:#x} passes the end of the file at {expected:#x}; is the file cut off?"
    )]
    SegmentOutsideFile { segment: u16, offset: u64, len: u64, expected: u64 },
    #[error(
        "E44: segment {segment}: p_vaddr {found:#x} + p_memsz {len:#x}, expected canonical addresses (48 bits) before the last page"
    )]
    SegmentNotCanonical { segment: u16, found: u64, len: u64 },
    #[error("E46: segments {segment} and {other} overlap at {found:#x}, expected separate addresses")]
    SegmentsOverlap { segment: u16, other: u16, found: u64 },
    #[error(
        "E47: segment {segment} is writable and executable: link without -N, give the linker script's PHDRS separate FLAGS, or allow it with --allow-wx"
    )]
    SegmentWritableExecutable { segment: u16 },
    #[error(
        "E48: segment {segment} would make page {found:#x} writable and executable, which it shares: align segments to 4096, or use --allow-wx"
    )]
    SharedPageRights { segment: u16, found: u64 },
    #[error(
        "E49: segment {segment} covers page 0 (p_vaddr {found:#x}), which stays unmapped; link the kernel higher"
    )]
    SegmentNullPage { segment: u16, found: u64 },
    #[error(
        "E50: segment {segment} covers the mode-switch page at {expected:#x} (p_vaddr {found:#x}); link the kernel elsewhere"
    )]
    SegmentModeSwitch { segment: u16, found: u64, expected: u64 },
    #[error(
        "E51: kernel has e_entry {found:#x}, expected an address in the file's bytes of an executable segment"
    )]
    EntryOutside { found: u64 },
    #[error(
        "E52: segment {segment}: p_vaddr {found:#x} lies in the physical-memory window, {start:#x} to {end:#x}; move one of them"
    )]
    SegmentInWindow { segment: u16, found: u64, start: u64, end: u64 },
    #[error(
        "E53: no room for the {what}: {needed:#x} bytes of addresses, in the higher half or as configured; link the kernel more closely"
    )]
    NoRoom { what: Purpose, needed: u64 },
    #[error("E54: the {what} cannot be at {found:#x}, as configured: the {other} is there; move one of them")]
    PlaceTaken { what: Purpose, found: u64, other: Purpose },

    #[error(fmt = relocate::fmt_unknown_relocation)]
    UnknownRelocation { found: u32, addr: u64 },
    #[error(fmt = relocate::fmt_dynamic_table)]
    DynamicTable { field: &'static str, found: u64, expected: &'static str },
    #[error(
        "E57: thread-local storage at {found:#x}, {len:#x} bytes in the file: expected in a segment, p_filesz at most p_memsz, p_align a power of two"
    )]
    TlsOutside { found: u64, len: u64 },

    // E60 to E69: memory.
    #[error(
        "E60: out of memory: {what} needs {needed} KiB, {free} KiB are free for it; give the machine more"
    )]
    OutOfMemory { what: Purpose, needed: u64, free: u64 },
    #[error("E61: memory too fragmented: more than {expected} pieces")]
    TooFragmented { expected: usize },
    #[error("E62: address {found:#x} is mapped twice, expected free addresses for the {what}")]
    AlreadyMapped { what: Purpose, found: u64 },

    // E70 to E79: the loader itself.
    #[error("E70: exception {vector} ({}) in stage2 at {eip:#x}, error code {error_code:#x}; this is a defect of Doorstep or of the machine", exception_name(*.vector))]
    Exception { vector: u32, eip: u32, error_code: u32 },
    #[error(
        "E71: stage2's stack overflowed; this is a defect of Doorstep, or of a BIOS that needs more than it should"
    )]
    StackOverflow,

    // E80 to E89: what another loader tells. Their sentences are with it.
    #[error("{0}")]
    OtherLoader(Refusal),
    // E90 to E99: the network.
    #[error("{0}")]
    Network(NetworkError),
}

/// The name of an exception (Intel SDM volume 3, table 6-1).
fn exception_name(vector: u32) -> &'static str {
    match vector {
        0 => "divide error",
        2 => "NMI",
        3 => "breakpoint",
        4 => "overflow",
        5 => "bound range",
        6 => "panic, or invalid opcode",
        7 => "no FPU",
        8 => "double fault",
        10 => "invalid TSS",
        11 => "segment not present",
        12 => "stack fault",
        13 => "general protection",
        14 => "page fault",
        16 => "FPU error",
        17 => "alignment check",
        18 => "machine check",
        _ => "reserved",
    }
}

/// What memory is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The kernel's segments.
    Kernel,
    /// The kernel's stack.
    Stack,
    /// The page tables.
    PageTables,
    /// What is handed to the kernel.
    BootInfo,
    /// The bundle, where it is fetched to.
    Bundle,
    /// The ramdisk.
    Ramdisk,
    /// The kernel's symbols.
    Symbols,
    /// The first MiB, identity-mapped.
    FirstMib,
    /// Physical memory at its offset.
    PhysicalMemory,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Stack => "stack",
            Self::PageTables => "page tables",
            Self::BootInfo => "boot info",
            Self::Bundle => "bundle",
            Self::Ramdisk => "ramdisk",
            Self::Symbols => "symbols",
            Self::FirstMib => "first MiB",
            Self::PhysicalMemory => "physical-memory window",
        })
    }
}

impl Purpose {
    /// Whether memory for it has to lie below 4 GiB, where the loader has pointers to it.
    pub(crate) fn is_low(self) -> bool {
        !matches!(self, Self::Kernel | Self::Ramdisk | Self::Symbols | Self::Stack)
    }
}

/// The meaning of an INT 13h status (EDD-3, section 8.1; Ralf Brown's Interrupt List, table 00234).
fn disk_status(status: u8) -> &'static str {
    match status {
        0x00 => "no error told",
        0x01 => "invalid function or parameter",
        0x02 => "address mark not found",
        0x03 => "write-protected",
        0x04 => "sector not found",
        0x05 => "reset failed",
        0x06 => "disk changed",
        0x08 => "DMA overrun",
        0x09 => "DMA across 64 KiB",
        0x0a => "bad sector",
        0x0c => "controller failure",
        0x10 => "uncorrectable data error",
        0x11 => "corrected data error",
        0x20 => "controller failure",
        0x31 => "no medium",
        0x40 => "seek failed",
        0x80 => "time-out, no answer",
        0xaa => "drive not ready",
        0xbb => "undefined error",
        0xe0 => "status error",
        _ => "unknown",
    }
}

fn elf_type(e_type: u16) -> &'static str {
    match e_type {
        elf::abi::ET_NONE => "none",
        elf::abi::ET_REL => "relocatable object",
        elf::abi::ET_DYN => "shared object or position-independent executable",
        elf::abi::ET_CORE => "core dump",
        _ => "unknown",
    }
}

fn elf_type_way_out(e_type: u16) -> &'static str {
    match e_type {
        elf::abi::ET_REL => "link it first",
        _ => "is it a kernel?",
    }
}

impl From<NetworkError> for Box<BootError> {
    fn from(error: NetworkError) -> Self {
        BootError::Network(error).into()
    }
}
