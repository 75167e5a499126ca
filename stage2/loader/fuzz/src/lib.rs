//! What the fuzz targets do with their bytes. Each feeds them to the code that reads such bytes in stage2, and checks
//! what comes out as the property tests do.

#[path = "../../tests/properties/support/mod.rs"]
mod support;

use boot_info::bootloader_api_0_11::ConfigNote;
use boot_info::{
    AddressWish, BootInfoParts, Framebuffer, KernelConfig, KernelConfigNote, KernelNote, MemoryRegion,
    MemoryRegionKind, SegmentRights,
};
use elf::abi::{PF_R, PF_W, PF_X, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::{FileHeader, parse_ident};
use elf::segment::{ProgramHeader, SegmentTable};
use loader::boot_info_builder::BootInfoRoom;
use loader::bundle::{Bundle, HeaderBytes, PIECES_MAX, Piece, reseal};
use loader::checksum::checksum;
use loader::e820::{Answer, ENTRIES_MAX, Regions, Reports, SIGNATURE, USABLE_END};
use loader::edid::preferred_resolution;
use loader::elf::{Kernel, headers_len};
use loader::error::Purpose;
use loader::frames::Frames;
use loader::load::{LoadedKernel, PhysicalMemory, load_besides, load_command_line};
use loader::multiboot::{MAGIC_1, MAGIC_2};
use loader::paging::PagingFeatures;
use loader::plan::{Machine, is_window_addr};
use loader::reader::Place;
use loader::relocate::relocate;
use loader::vbe::ModeInfo;
use loader::{BootError, e820};

use support::address_plan::{HIGHER_HALF, LOWER_HALF_END, checked_plan, kernel_at};
use support::address_space::Order;
use support::bundle_header::{check_bundle, piece_field};
use support::firmware_area::{check_area, set_checksums as set_area_checksums};
use support::kernel_file::{kernel_file, segment, set};
use support::machine::{
    ExpectedSegment, FakeMemory, FakeSource, Habits, Medium, SharedMedium, bundle_of, check_loaded,
    check_only_ours_was_written, load_kernel_of,
};
use support::memory_map::{Reply, checked_collect, checked_overlay, taken};
use support::multiboot_info::{INFO_ADDR, checked_read};
use support::note_file::{WAYS, check_descriptor, check_notes, config_descriptor, note, note_file};

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

/// What a Multiboot loader leaves in memory, of either version.
pub fn multiboot(bytes: &[u8]) {
    for magic in [MAGIC_1, MAGIC_2] {
        if let Err(error) = checked_read(magic, bytes) {
            check_error(&error);
        }
    }
}

/// What a display tells of itself, with the right checksum, and what a video BIOS tells of a mode: 128 and 256 bytes.
pub fn display(bytes: &[u8]) {
    let Some((block, told)) = bytes.split_first_chunk::<128>() else { return };
    let mut block = *block;
    block[127] = block[..127].iter().fold(0, |sum: u8, &byte| sum.wrapping_sub(byte));
    if let Some([width, height]) = preferred_resolution(&block) {
        assert!((1..4096).contains(&width) && (1..4096).contains(&height));
    }
    let Some((info, _)) = told.split_first_chunk::<256>() else { return };
    let info: ModeInfo = zerocopy::transmute!(*info);
    for version in [0x0200, 0x0300] {
        let Some(framebuffer) = info.framebuffer(version) else { continue };
        let Framebuffer { width, height, bytes_per_row, bits_per_pixel, .. } = framebuffer;
        let range = framebuffer.physical_range();
        assert!(range.start >= 1 << 20 && range.end <= 4 << 30 && !range.is_empty());
        assert!([24, 32].contains(&bits_per_pixel) && width > 0 && height > 0);
        assert!(u64::from(bytes_per_row) >= u64::from(width) * u64::from(bits_per_pixel) / 8);
        for (bits, shift) in [
            (framebuffer.red_bits, framebuffer.red_shift),
            (framebuffer.green_bits, framebuffer.green_shift),
            (framebuffer.blue_bits, framebuffer.blue_shift),
        ] {
            assert!((1..=8).contains(&bits) && u32::from(bits) + u32::from(shift) <= bits_per_pixel.into());
        }
    }
}

/// A bundle's header, as it is and with the right checksum.
pub fn bundle(bytes: &[u8]) {
    let mut header: HeaderBytes = [0; layout::BUNDLE_HEADER_LEN as usize];
    header.iter_mut().zip(bytes).for_each(|(target, byte)| *target = *byte);
    check_header(&header);
    reseal(&mut header);
    check_header(&header);
}

fn check_header(header: &HeaderBytes) {
    match Bundle::parse(Place::at_lba(1), header) {
        Ok(bundle) => check_bundle(&bundle),
        Err(error) => check_error(&error),
    }
}

/// An ELF file, whole or cut off: the first four bytes tell how long it claims to be.
pub fn elf(bytes: &[u8]) {
    let Some((len, file)) = bytes.split_first_chunk() else { return };
    let file_len = u64::from(u32::from_le_bytes(*len)).max(file.len() as u64);
    match Kernel::parse(file, file_len) {
        Ok(kernel) => check_kernel(&kernel, file_len),
        Err(error) => check_error(&error),
    }
    // Where there is room for all of it, its headers alone say as much.
    if file.len() <= layout::KERNEL_HEADERS_MAX as usize {
        let headers = &file[..usize::try_from(headers_len(file)).expect("at most the file's")];
        assert_eq!(Kernel::parse(headers, file_len), Kernel::parse(file, file_len));
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
        [SegmentRights::READ_EXECUTE, SegmentRights::READ_WRITE_EXECUTE].contains(&run.rights)
            && (run.virtual_addr..run.virtual_addr + run.len).contains(&kernel.entry_addr)
    };
    assert!(kernel.page_runs.iter().any(is_entry));
}

/// Where everything lies: 16 bytes tell of the configuration and the machine, 12 bytes of each segment.
pub fn plan(bytes: &[u8]) {
    let Some((asked, segments)) = bytes.split_first_chunk::<16>() else { return };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
    let addr = |low: u64| if low < LOWER_HALF_END { low } else { low - LOWER_HALF_END + HIGHER_HALF };
    let segment = |bytes: &[u8]| {
        let virtual_addr = addr(number(&bytes[..6]) % (2 * LOWER_HALF_END));
        (virtual_addr, number(&bytes[6..10]) << (bytes[10] % 32))
    };
    let segments: Vec<_> = segments.chunks_exact(12).map(segment).collect();
    let Some(kernel) = kernel_at(&segments) else { return };
    let [stack, wish, memory_end, boot_info] = [0..2, 2..5, 5..11, 11..13].map(|range| number(&asked[range]));
    let wish = addr((wish << 30) % (2 * LOWER_HALF_END));
    let config = KernelConfig {
        stack_len: (1 + stack % 0x4000) * PAGE,
        physical_memory_offset: if is_window_addr(wish) {
            AddressWish::Fixed(wish)
        } else {
            AddressWish::Default
        },
        recursive_page_table: asked[13] & 1 != 0,
        ..KernelConfig::DEFAULT
    };
    let machine =
        Machine { memory_end: memory_end % (USABLE_END + 1), boot_info_len: (1 + boot_info) * PAGE };
    if let Err(error) = checked_plan(&kernel, &config, &machine) {
        check_error(&error);
    }
}

/// What the first bytes of [`load`] tell.
struct Told {
    habits: Habits,
    /// A sector that cannot be read, from the bundle's first one on.
    bad_sector: Option<u64>,
    /// A byte of the bundle that changes after the checksums were taken.
    flipped: Option<usize>,
    features: PagingFeatures,
    regions: Regions,
}

impl Told {
    const LEN: usize = 24;

    fn new(bytes: &[u8; Self::LEN]) -> Self {
        let [faults, features, sector, a, b, c, kind, chunk, other_chunk, straight, high_gib, runs @ ..] =
            bytes;
        let chunks = [chunk, other_chunk].map(|chunk| u64::from(*chunk).max(1));
        let sector_len = [Some(layout::SECTOR_LEN), Some(layout::CD_SECTOR_LEN), None][usize::from(kind % 3)];
        let flipped = u32::from_le_bytes([*a, *b, *c, 0]) as usize;
        Self {
            habits: Habits {
                sector_len,
                chunks: chunks.to_vec(),
                straight: u64::from_le_bytes([*straight; 8]),
            },
            bad_sector: (faults & 1 != 0).then_some((*sector).into()),
            flipped: (faults & 2 != 0).then_some(flipped),
            features: PagingFeatures { no_execute: features & 1 != 0, gib_pages: features & 2 != 0 },
            regions: memory((*high_gib).into(), runs),
        }
    }
}

/// Conventional memory; runs of so many pages from 1 MiB on, with one page between them, the first of them sixteenfold;
/// and a bit more than 60 pages at so many GiB.
fn memory(high_gib: u64, runs: &[u8]) -> Regions {
    let mut reports = Reports::new();
    let mut report = |start, end| {
        let usable = MemoryRegion::new(start, end, MemoryRegionKind::USABLE);
        e820::report(&mut reports, usable).expect("there is room");
    };
    report(0, 0x9_fc00);
    let mut start = layout::FIRST_MIB_END.into();
    for (pages, scale) in runs.iter().zip([16].into_iter().chain([1; 255])) {
        let end = start + u64::from(*pages) * scale * PAGE;
        report(start, end);
        start = end + PAGE;
    }
    report(high_gib << 30, (high_gib << 30) + 60 * PAGE + 1);
    checked_overlay(&reports)
}

/// A whole boot, from the bundle's header to the page tables. The first [`Told::LEN`] bytes tell of the machine, the others
/// are the bundle; they are given the right checksums.
pub fn load(bytes: &[u8]) {
    const LBA: u64 = 9;
    let Some((told, bytes)) = bytes.split_first_chunk() else { return };
    let told = Told::new(told);
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().max(layout::BUNDLE_HEADER_LEN as usize), 0);
    set_checksums(&mut bytes);

    let mut memory = FakeMemory::default();
    let medium = Medium::new(&told.habits, &bytes, &memory);
    medium.borrow_mut().bad_sector = told.bad_sector;
    if let Some(byte) = told.flipped.and_then(|index| bytes.get_mut(index)) {
        *byte ^= 1;
        medium.borrow_mut().bytes[..bytes.len()].copy_from_slice(&bytes);
    }
    let mut source = FakeSource::new(&medium, LBA);
    if let Err(error) = boot(&told, &bytes, &mut source, &medium, &mut memory, LBA) {
        check_error(&error);
    }
}

/// The way to the kernel, in the order of stage2.
fn boot(
    told: &Told,
    bytes: &[u8],
    source: &mut FakeSource,
    medium: &SharedMedium,
    memory: &mut FakeMemory,
    lba: u64,
) -> loader::Result<()> {
    let is_damaged = |piece: &Piece| {
        told.flipped.is_some_and(|index| (piece.offset..piece.offset + piece.len).contains(&(index as u64)))
    };
    let bundle = Bundle::read(source, Place::at_lba(lba))?;
    check_bundle(&bundle);
    assert!(
        told.flipped.is_none_or(|index| index >= layout::BUNDLE_HEADER_LEN as usize),
        "damage in the header"
    );
    medium.borrow_mut().check_read_once(&Piece {
        offset: 0,
        len: layout::BUNDLE_HEADER_LEN.into(),
        checksum: 0,
    });

    let mut map = told.regions.clone();
    let mut frames = Frames::new(&mut map);
    let mut loaded = LoadedKernel::EMPTY;
    let result = load_kernel_of(medium, source, memory, &mut frames, &bundle, &mut loaded);
    check_only_ours_was_written(memory, &taken(&frames));
    result?;
    assert!(!is_damaged(&bundle.kernel), "damage in the kernel");
    let file = &bytes[place(bundle.kernel.offset, bundle.kernel.len)];
    check_loaded(&segments_of(file), &loaded.pieces, &taken(&frames), memory);
    let result = relocate(memory, &loaded);
    check_only_ours_was_written(memory, &taken(&frames));
    result?;
    if !bundle.config.allow_write_execute {
        loaded.kernel.check_rights()?;
    }

    let machine = Machine::new(&told.regions, BootInfoRoom::LEN);
    let plan = checked_plan(&loaded.kernel, &bundle.config, &machine)?;
    let room = frames.take_whole(BootInfoRoom::LEN, MemoryRegionKind::BOOTLOADER, Purpose::BootInfo)?;
    let target_addr = room + BootInfoRoom::COMMAND_LINE_OFFSET;
    let len = load_command_line(source, memory, bundle.command_line.as_ref(), target_addr)?;
    check_only_ours_was_written(memory, &taken(&frames));
    if let Some(piece) = &bundle.command_line {
        assert!(!is_damaged(piece), "damage in the command line");
        assert_eq!(memory.bytes(target_addr, len as u64), &bytes[place(piece.offset, piece.len)]);
    }

    let mut parts = BootInfoParts::EMPTY;
    load_besides(source, memory, &mut frames, &bundle, plan.window_addr, &mut parts)?;
    check_only_ours_was_written(memory, &taken(&frames));
    for (what, piece, told) in
        [("ramdisk", &bundle.ramdisk, parts.ramdisk), ("symbols", &bundle.symbols, parts.symbols)]
    {
        if let Some(piece) = piece {
            assert!(!is_damaged(piece), "damage in the {what}");
            let addr = told.range().start - plan.window_addr;
            assert_eq!(memory.all(addr, piece.len), &bytes[place(piece.offset, piece.len)], "{what}");
        }
    }

    let pieces = &loaded.pieces;
    let (regions, features) = (&told.regions, told.features);
    let files = [parts.ramdisk, parts.symbols].map(|told| told.range());
    let files = files
        .map(|range| range.start.wrapping_sub(plan.window_addr)..range.end.wrapping_sub(plan.window_addr));
    let files: Vec<_> = files.into_iter().filter(|file| !file.is_empty()).collect();
    let order = Order {
        regions,
        pieces,
        config: &bundle.config,
        plan: &plan,
        files: &files,
        boot_info_len: BootInfoRoom::LEN,
        features,
        framebuffer: &(0..0),
    };
    let built = order.build(&mut frames)?;
    if loaded.kernel.writable_executable().is_none() {
        order.check(&built);
    }
    Ok(())
}

/// Gives the header and every piece that is there the right checksum.
fn set_checksums(bytes: &mut [u8]) {
    for index in 0..PIECES_MAX {
        let number = |field| {
            let (offset, len) = piece_field::in_piece(index, field);
            bytes[offset..offset + len].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
        };
        let (offset, len) = (number(piece_field::OFFSET), number(piece_field::LEN));
        let is_there = offset.checked_add(len).is_some_and(|end| end <= bytes.len() as u64);
        if is_there && offset >= layout::BUNDLE_HEADER_LEN.into() {
            let sum = checksum(&bytes[place(offset, len)]);
            set(bytes, piece_field::in_piece(index, piece_field::CHECKSUM), sum);
        }
    }
    reseal(bytes.first_chunk_mut().expect("a whole header"));
}

/// Where so many bytes lie.
fn place(offset: u64, len: u64) -> std::ops::Range<usize> {
    usize::try_from(offset).expect("bytes at hand")..usize::try_from(offset + len).expect("bytes at hand")
}

/// The segments as another parser reads them. It is given the program headers only: stage2 looks at nothing else.
fn segments_of(file: &[u8]) -> Vec<ExpectedSegment<'_>> {
    let ident = parse_ident::<LittleEndian>(file).expect("an ELF file");
    let header = FileHeader::parse_tail(ident, &file[16..64]).expect("a whole header");
    let table_len = u64::from(header.e_phnum) * u64::from(header.e_phentsize);
    let headers = SegmentTable::new(header.endianness, header.class, &file[place(header.e_phoff, table_len)]);
    let loaded = headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0);
    let segment = |header: ProgramHeader| ExpectedSegment {
        virtual_addr: header.p_vaddr,
        bytes: &file[place(header.p_offset, header.p_filesz)],
        memory_len: header.p_memsz,
    };
    loaded.map(segment).collect()
}

/// A kernel's file with notes of ours, and the same bytes as the descriptor of one.
pub fn notes(bytes: &[u8]) {
    check_notes(bytes);
    check_descriptor(bytes);
}

/// Memory in which firmware may have its tables, as it is and with the right checksums.
pub fn firmware_tables(bytes: &[u8]) {
    check_area(bytes);
    let mut area = bytes.to_vec();
    set_area_checksums(&mut area);
    check_area(&area);
}

/// Every error can be said, and begins with its number.
fn check_error(error: &BootError) {
    let text = error.to_string();
    let number = text.strip_prefix('E').and_then(|rest| rest.split_once(": ")).map(|(number, _)| number);
    assert!(number.is_some_and(|number| number.len() == 2 && number.parse::<u8>().is_ok()), "{text}");
}

/// Information of version 1: a module, a command line and a memory map.
fn information_1() -> Vec<u8> {
    let words = [0x4c, 0, 0, 0x8000_ffff, INFO_ADDR + 52, 1, INFO_ADDR + 64, 0, 0, 0, 0, 24, INFO_ADDR + 80];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend(b"stage2.elf\0\0");
    let module_and_map = [0x20_0000, 0x30_0000, 0, 0, 20, 0x10_0000, 0, 0x700_0000, 0, 1];
    bytes.extend(module_and_map.iter().flat_map(|word: &u32| word.to_le_bytes()));
    bytes
}

/// Information of version 2: the same.
fn information_2() -> Vec<u8> {
    let mut words = vec![112, 0, 1, 16];
    words.extend([u32::from_le_bytes(*b"a b "), 0, 3, 16, 0x20_0000, 0x30_0000]);
    words.extend([6, 40, 24, 0, 0x10_0000, 0, 0x700_0000, 0, 1, 0, 5, 20, 0x80, 0, 0, 0, 0, 8]);
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Bytes to begin with, for the target with this name: each makes its way to the end of what the target checks.
#[must_use]
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let file = small_kernel();
    match target {
        "e820" => vec![memory_of_a_pc(1), memory_of_a_pc(0)],
        "multiboot" => vec![information_1(), information_2()],
        "elf" => vec![[&0u32.to_le_bytes(), &*file].concat()],
        "bundle" => {
            vec![bundle_bytes(&file, KernelConfig::DEFAULT)[..layout::BUNDLE_HEADER_LEN as usize].to_vec()]
        }
        "display" => {
            // A display of 1280x800, and a mode as QEMU's standard card has it.
            let mut bytes = vec![0; 128 + 256];
            bytes[1..7].fill(0xff);
            bytes[54..62].copy_from_slice(&[0x64, 0x19, 0x00, 0x40, 0x51, 0x20, 0x30, 0x30]);
            let mut put = |offset: usize, field: &[u8]| {
                bytes[128 + offset..][..field.len()].copy_from_slice(field);
            };
            put(0, &[0x9b, 0]);
            put(16, &[0, 0x10, 0, 4, 0, 3]);
            put(25, &[32, 0, 6]);
            put(31, &[8, 16, 8, 8, 8, 0]);
            put(40, &[0, 0, 0, 0xfd]);
            put(50, &[0, 0x10, 0, 0, 8, 16, 8, 8, 8, 0]);
            vec![bytes]
        }
        "plan" => {
            vec![plan_of(&[0xffff_ffff_8020_0000], 0), plan_of(&[HIGHER_HALF + 0x10_0000, 0x9000], 1 << 10)]
        }
        "notes" => {
            let config = note(KernelConfigNote::KIND, &config_descriptor(&KernelConfig::DEFAULT));
            let protocol = note(KernelNote::KIND, &[1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
            let with = |note: &[u8], symbol| WAYS.map(|way| note_file(way, note, symbol)).to_vec();
            let files = [with(&config, KernelConfigNote::SYMBOL), with(&protocol, KernelNote::SYMBOL)];
            let mut api = vec![0; ConfigNote::DESCRIPTOR_LEN];
            api[..8].copy_from_slice(&[1, 0, 0, 0, 3, 0, 0, 0]);
            [files.concat(), vec![config_descriptor(&KernelConfig::DEFAULT), api]].concat()
        }
        "firmware_tables" => {
            // An RSDP of revision 2 with its length, and an entry point of SMBIOS 3 and of 2.1.
            let mut area = vec![0; 0x100];
            area[0x20..0x28].copy_from_slice(b"RSD PTR ");
            (area[0x2f], area[0x34]) = (2, 36);
            area[0x60..0x64].copy_from_slice(b"_SM_");
            area[0x65] = 31;
            area[0xa0..0xa5].copy_from_slice(b"_SM3_");
            area[0xa6] = 24;
            vec![area]
        }
        "load" => {
            // Reads of 127 and 127 sectors by copying, then of 7 and 1 straight to memory; memory in one run and in many.
            let disk = [0, 3, 0, 0, 0, 0, 0, 127, 127, 0, 0, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let cd = [0, 1, 0, 0, 0, 0, 1, 7, 1, 0xff, 7, 1, 2, 3, 4, 5, 6, 7, 50, 60, 70, 80, 90, 100];
            let network = [0, 0, 0, 0, 0, 0, 2, 3, 200, 0x55, 200, 10, 30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let nothing =
                KernelConfig { map_physical_memory: false, map_first_mib: false, ..KernelConfig::DEFAULT };
            let configured = |told: &[u8; Told::LEN], file: &[u8], config| {
                [&told[..], &bundle_bytes(file, config)].concat()
            };
            let seed = |told: &[u8; Told::LEN], file: &[u8]| configured(told, file, KernelConfig::DEFAULT);
            vec![
                seed(&disk, &file),
                seed(&cd, &file),
                seed(&network, &file),
                seed(&disk, &large_kernel()),
                seed(&cd, &large_kernel()),
                seed(&network, &large_kernel()),
                configured(&disk, &file, nothing),
            ]
        }
        _ => Vec::new(),
    }
}

/// A bundle with a command line.
fn bundle_bytes(file: &[u8], config: KernelConfig) -> Vec<u8> {
    bundle_of(file, "log=debug \u{e9}".as_bytes(), config).1
}

/// Segments of three pages at these addresses, with the window at so many GiB.
fn plan_of(addrs: &[u64], wish_gib: u32) -> Vec<u8> {
    let wish = wish_gib.to_le_bytes();
    // 32 pages of stack, 4 GiB of memory, 9 pages of boot info.
    let asked = [32, 0, wish[0], wish[1], wish[2], 0, 0, 0, 0, 1, 0, 9, 0, 0, 0, 0];
    let segment = |addr: &u64| [&addr.to_le_bytes()[..6], &[3, 0, 0, 0, 12, 0]].concat();
    [asked.to_vec(), addrs.iter().flat_map(segment).collect()].concat()
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
