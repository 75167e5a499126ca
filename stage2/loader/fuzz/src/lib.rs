//! What the fuzz targets do with their bytes. Each feeds them to the code that reads such bytes in stage2, and checks
//! what comes out as the property tests do.

#[path = "../../tests/properties/support/mod.rs"]
mod support;

use boot_info::{KernelConfig, MemoryRegion, MemoryRegionKind, SegmentRights};
use elf::abi::{PF_R, PF_W, PF_X, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::{FileHeader, parse_ident};
use elf::segment::{ProgramHeader, SegmentTable};
use loader::e820::{Answer, ENTRIES_MAX, Regions, Reports, SIGNATURE};
use loader::elf::Kernel;
use loader::frames::Frames;
use loader::load::{LoadedKernel, load_kernel};
use loader::manifest::{Manifest, Sector, reseal};
use loader::paging::{AddressSpace, PagingFeatures};
use loader::{BootError, e820};

use support::kernel_file::{SegmentSpec, kernel_file};
use support::machine::{ExpectedSegment, FakeDisk, FakeMemory, check_loaded, manifest_of};
use support::memory_map::{Reply, checked_collect, checked_overlay};
use support::page_walk::{Arena, mappings};

const PAGE: u64 = layout::PAGE_LEN as u64;

/// Answers of a BIOS that is asked for the memory map: an entry as it writes it, then ECX and [`FLOW`] in a byte each.
pub fn e820(bytes: &[u8]) {
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let half = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let reply = |bytes: &[u8]| {
        let words = (word(&bytes[..8]), word(&bytes[8..16]), half(&bytes[16..20]), half(&bytes[20..24]));
        let (ecx, (carry, eax, ebx)) = (bytes[24].into(), FLOW[usize::from(bytes[25]) % FLOW.len()]);
        Reply { answer: Answer { carry, eax, ebx, ecx }, ..Reply::entry(words) }
    };
    let replies: Vec<_> = bytes.chunks_exact(26).take(ENTRIES_MAX + 2).map(reply).collect();
    match checked_collect(&replies) {
        Ok(reports) => drop(checked_overlay(&reports)),
        Err(error) => check_error(&error),
    }
}

/// Carry, EAX and EBX: of an entry that is not the last one, of the last one, at the end, and where they make no sense.
const FLOW: [(bool, u32, u32); 4] =
    [(false, SIGNATURE, 1), (false, SIGNATURE, 0), (true, 0x8600, 0), (false, 0xe820, 1)];

/// A manifest sector, with the right checksum.
pub fn manifest(bytes: &[u8]) {
    let mut sector: Sector = [0; 512];
    sector.iter_mut().zip(bytes).for_each(|(target, byte)| *target = *byte);
    check_manifest(&sector);
    reseal(&mut sector);
    check_manifest(&sector);
}

fn check_manifest(sector: &Sector) {
    match Manifest::from_sector(1, sector) {
        Ok(manifest) => {
            let written = manifest.to_sector().expect("a manifest that was read can be written");
            assert_eq!(Manifest::from_sector(1, &written).as_ref(), Ok(&manifest));
            assert!(manifest.kernel.len > 0);
            assert!(manifest.kernel.lba + manifest.kernel.sectors() <= manifest.image_sectors);
        }
        Err(error) => check_error(&error),
    }
}

/// An ELF file, whole or cut off: the first four bytes tell how long it claims to be.
pub fn elf(bytes: &[u8]) {
    let Some((len, file)) = bytes.split_first_chunk() else { return };
    let file_len = u64::from(u32::from_le_bytes(*len)).max(file.len() as u64);
    match Kernel::parse(file, file_len, &KernelConfig::DEFAULT) {
        Ok(kernel) => check_kernel(&kernel, file_len),
        Err(error) => check_error(&error),
    }
}

/// What loading relies on.
fn check_kernel(kernel: &Kernel, file_len: u64) {
    let last = |segment: &loader::elf::Segment| segment.virtual_addr + (segment.memory_len - 1);
    assert!(kernel.segments.windows(2).all(|pair| last(&pair[0]) < pair[1].virtual_addr));
    assert!(kernel.segments.iter().all(|segment| segment.file_range().end <= file_len));
    assert!(
        kernel.page_runs.windows(2).all(|pair| pair[0].virtual_addr + pair[0].len <= pair[1].virtual_addr)
    );
    assert!(
        kernel.page_runs.iter().all(|run| run.len > 0 && (run.virtual_addr | run.len).is_multiple_of(PAGE))
    );
    let is_entry = |run: &loader::elf::PageRun| {
        run.rights == SegmentRights::READ_EXECUTE
            && (run.virtual_addr..run.virtual_addr + run.len).contains(&kernel.entry_addr)
    };
    assert!(kernel.page_runs.iter().any(is_entry));
}

/// A whole boot, from the kernel's bytes on the disk to its page tables. The first 16 bytes tell of the machine.
pub fn load(bytes: &[u8]) {
    const LBA: u64 = 9;
    let Some((machine, file)) = bytes.split_first_chunk::<16>().filter(|(_, file)| !file.is_empty()) else {
        return;
    };
    let [faults, features, fault, pages @ ..] = machine;
    let regions = memory(pages);
    let mut disk = FakeDisk::new(LBA, file);
    let mut manifest = manifest_of(file, LBA);
    if faults & 1 != 0 {
        disk.bad_lba = Some(LBA + u64::from(*fault));
    }
    if faults & 2 != 0 {
        manifest.kernel.len += u64::from(*fault);
    }
    if faults & 4 != 0 {
        manifest.kernel.checksum ^= 1;
    }
    let mut frames = Frames::new(&regions);
    let mut physical = FakeMemory::default();
    let mut loaded = LoadedKernel::EMPTY;
    if let Err(error) = load_kernel(&mut disk, &mut physical, &mut frames, &manifest, &mut loaded) {
        return check_error(&error);
    }
    // A wrong length passes only where it adds nothing but the zeros that fill up the last word of the checksum.
    assert_eq!(manifest.kernel.len.div_ceil(4), (file.len() as u64).div_ceil(4));
    assert!(disk.sectors_read.iter().copied().eq(LBA..LBA + manifest.kernel.sectors()));
    check_loaded(&segments_of(file), &loaded.pieces, frames.taken(), &physical);
    let features = PagingFeatures { no_execute: features & 1 != 0, gib_pages: features & 2 != 0 };
    if let Err(error) = map(&mut frames, features, &manifest, &regions, &loaded) {
        check_error(&error);
    }
}

/// Usable memory in runs of pages, with one page between them.
fn memory(pages: &[u8]) -> Regions {
    let mut reports = Reports::new();
    let mut start = layout::FIRST_MIB_END.into();
    for &pages in pages {
        let end = start + u64::from(pages) * PAGE;
        e820::report(&mut reports, MemoryRegion::new(start, end, MemoryRegionKind::USABLE))
            .expect("there is room");
        start = end + PAGE;
    }
    checked_overlay(&reports)
}

/// The segments as another parser reads them. It is given the program headers only: stage2 looks at nothing else.
fn segments_of(file: &[u8]) -> Vec<ExpectedSegment<'_>> {
    let ident = parse_ident::<LittleEndian>(file).expect("an ELF file");
    let header = FileHeader::parse_tail(ident, &file[16..64]).expect("a whole header");
    let place =
        |offset: u64, len: u64| usize::try_from(offset).unwrap()..usize::try_from(offset + len).unwrap();
    let table_len = u64::from(header.e_phnum) * u64::from(header.e_phentsize);
    let headers = SegmentTable::new(header.endianness, header.class, &file[place(header.e_phoff, table_len)]);
    let loaded = headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0);
    let segment = |header: ProgramHeader| {
        assert!(header.p_flags & (PF_W | PF_X) != PF_W | PF_X);
        ExpectedSegment {
            virtual_addr: header.p_vaddr,
            bytes: &file[place(header.p_offset, header.p_filesz)],
            memory_len: header.p_memsz,
        }
    };
    loaded.map(segment).collect()
}

/// Maps all that a kernel is given, and looks each of its pages up.
fn map(
    frames: &mut Frames<'_>,
    features: PagingFeatures,
    manifest: &Manifest<'_>,
    regions: &Regions,
    loaded: &LoadedKernel,
) -> Result<(), BootError> {
    let arena = Arena::default();
    // SAFETY: the arena has a page for each frame, which nobody else knows.
    let mut space = unsafe { AddressSpace::new(frames, &arena, features)? };
    space.map_kernel(&loaded.pieces)?;
    space.map_physical_memory(&manifest.config, regions)?;
    space.map_first_mib()?;
    space.map_stack(manifest.config.stack_len)?;
    let found = mappings(&arena, space.root_addr(), features);
    for piece in &loaded.pieces {
        let is_there = found.iter().any(|mapping| {
            let offset = piece.virtual_addr.wrapping_sub(mapping.virtual_addr);
            offset < mapping.len
                && mapping.len - offset >= piece.len
                && mapping.physical_addr + offset == piece.physical_addr
                && mapping.writable == (piece.rights == SegmentRights::READ_WRITE)
                && mapping.executable == (piece.rights == SegmentRights::READ_EXECUTE || !features.no_execute)
        });
        assert!(is_there, "{piece:?} in {found:x?}");
    }
    Ok(())
}

/// Every error can be said, and begins with its number.
fn check_error(error: &BootError) {
    let text = error.to_string();
    let number = text.strip_prefix('E').and_then(|rest| rest.split_once(": ")).map(|(number, _)| number);
    assert!(number.is_some_and(|number| number.len() == 2 && number.parse::<u8>().is_ok()), "{text}");
}

/// Bytes to begin with, for the target with this name: each makes its way to the end of what the target checks.
#[must_use]
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let file = small_kernel();
    match target {
        "e820" => vec![memory_of_a_pc(1), memory_of_a_pc(0)],
        "elf" => vec![[&0u32.to_le_bytes(), &*file].concat()],
        "manifest" => {
            let manifest = Manifest { command_line: "log=debug", ..manifest_of(&file, 9) };
            vec![manifest.to_sector().expect("a manifest with nothing wrong").to_vec()]
        }
        "load" => {
            let (whole, pieces) = ([0, 3, 0, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 1, 0]);
            let fragmented = [&pieces[..], &[1, 2, 3, 4, 5, 6, 7, 50, 60, 70, 80, 90, 100]].concat();
            vec![
                [&whole[..], &file].concat(),
                [&fragmented, &*file].concat(),
                [&whole, &*large_kernel()].concat(),
            ]
        }
        _ => Vec::new(),
    }
}

/// What SeaBIOS reports for 128 MiB, with these attributes.
fn memory_of_a_pc(attributes: u32) -> Vec<u8> {
    let entries = [
        (0, 0x9_fc00, 1),
        (0x9_fc00, 0x400, 2),
        (0xf_0000, 0x1_0000, 2),
        (0x10_0000, 0x7ee_0000, 1),
        (0x7fe_0000, 0x2_0000, 2),
        (0xfffc_0000, 0x4_0000, 2),
        (0xfd_0000_0000, 0x3_0000_0000, 2),
    ];
    let bytes = |(base, len, kind): (u64, u64, u32)| {
        let words =
            [&base.to_le_bytes()[..], &len.to_le_bytes(), &kind.to_le_bytes(), &attributes.to_le_bytes()];
        [&words.concat()[..], &[24, 0]].concat()
    };
    entries.into_iter().flat_map(bytes).collect()
}

fn segment(
    flags: u32,
    virtual_addr: u64,
    file_offset: usize,
    file_len: usize,
    memory_len: u64,
) -> SegmentSpec {
    SegmentSpec { flags, virtual_addr, file_offset, file_len, memory_len, align: PAGE }
}

/// Code, constants, and data with .bss; the first two share a page.
fn small_kernel() -> Vec<u8> {
    let segments = [
        segment(PF_R | PF_X, 0xffff_ffff_8020_0100, 0x100, 0x80, 0x80),
        segment(PF_R, 0xffff_ffff_8020_0180, 0x180, 0x80, 0x80),
        segment(PF_R | PF_W, 0xffff_ffff_8020_1200, 0x200, 0x80, 0x2000),
    ];
    kernel_file(&segments, 0xffff_ffff_8020_0110, 1)
}

/// Data at the end of the address space, then code at its start: more than two reads.
fn large_kernel() -> Vec<u8> {
    let segments = [
        segment(PF_R | PF_W, 0xffff_ffff_fffe_f000, 0x1000, 0x1_0000, 0x1_0000),
        segment(PF_R | PF_X, 0x1_0000, 0x2_2000, 0x1_0000, 0x1_0000),
    ];
    kernel_file(&segments, 0x1_0000, 2)
}
