//! Loading: from any source to fragmented memory.

use crate::cases;
use crate::habits::{habits, habits_of_disks, of_a_disk};
use crate::kernels::{TestKernel, kernel};
use crate::support::kernel_file::{SegmentSpec, noise};
use crate::support::machine::{
    FakeMemory, FakeSource, GARBAGE, Habits, Medium, SharedMedium, bundle_of, check_loaded,
    check_only_ours_was_written, load_kernel_of,
};
use crate::support::memory_map::{checked_overlay, taken};
use ::elf::abi::{PF_R, PF_W, PF_X};
use boot_info::{BootInfoParts, KernelConfig, List, MemoryRegion, MemoryRegionKind};
use loader::BootError;
use loader::bundle::{Bundle, COMMAND_LINE_MAX, Piece, PieceKind};
use loader::checksum::checksum;
use loader::e820::Regions;
use loader::elf::Kernel;
use loader::error::Purpose;
use loader::frames::{Area, Frames, LOW_END, LOW_KEPT};
use loader::load::{
    LoadedKernel, PIECES_MAX, PhysicalMemory, load_besides, load_command_line, load_kernel, load_piece,
};
use loader::reader::Reader;
use proptest::collection::vec;
use proptest::prelude::*;
use std::ops::Range;

const PAGE: u64 = layout::PAGE_LEN as u64;
const LARGE_PAGE: u64 = 2 << 20;
const LBA: u64 = 77;

/// Where the kernel sees physical memory.
const WINDOW: u64 = 0xffff_8000_0000_0000;

/// A machine that a bundle is loaded on.
struct Machine {
    regions: Regions,
    bundle: Bundle,
    memory: FakeMemory,
    medium: SharedMedium,
    source: FakeSource,
}

impl Machine {
    /// With a kernel in its bundle, and nothing else.
    fn new(regions: Regions, file: &[u8], habits: &Habits) -> Self {
        Self::with_command_line(regions, file, habits, &[])
    }

    fn with_command_line(regions: Regions, file: &[u8], habits: &Habits, command_line: &[u8]) -> Self {
        let (bundle, bytes) = bundle_of(file, command_line, KernelConfig::DEFAULT);
        let memory = FakeMemory::default();
        let medium = Medium::new(habits, &bytes, &memory);
        let source = FakeSource::new(&medium, LBA);
        Self { regions, bundle, memory, medium, source }
    }

    /// Changes bytes of a piece where it lies.
    fn change(&self, piece: &Piece, change: impl FnOnce(&mut [u8])) {
        let range =
            usize::try_from(piece.offset).unwrap()..usize::try_from(piece.offset + piece.len).unwrap();
        change(&mut self.medium.borrow_mut().bytes[range]);
    }

    /// Loads the kernel; gives also the memory that was taken. Whatever comes of it, nothing else was written.
    fn load(&mut self) -> (loader::Result<LoadedKernel>, Vec<MemoryRegion>) {
        let Self { regions, bundle, memory, medium, source } = self;
        let mut map = regions.clone();
        let mut frames = Frames::new(&mut map);
        let mut loaded = LoadedKernel::EMPTY;
        let result = load_kernel_of(medium, source, memory, &mut frames, bundle, &mut loaded);
        let taken = taken(&frames);
        check_only_ours_was_written(memory, &taken);
        (result.map(|()| loaded), taken)
    }

    /// Loads a kernel that has to be loaded, and checks it.
    fn load_and_check(&mut self, kernel: &TestKernel, file: &[u8]) -> LoadedKernel {
        let (result, taken) = self.load();
        let loaded = result.unwrap_or_else(|error| panic!("{error}"));
        check_loaded(&kernel.expected(file), &loaded.pieces, &taken, &self.memory);
        loaded
    }

    /// Puts a piece of these bytes behind all that is there.
    fn add(&mut self, bytes: &[u8]) -> Piece {
        let medium = &mut self.medium.borrow_mut().bytes;
        let offset = medium.len().next_multiple_of(4096);
        medium.resize(offset, 0);
        medium.extend(bytes);
        medium.resize((offset + bytes.len()).next_multiple_of(2048), 0);
        Piece::new(offset as u64, bytes)
    }

    /// Loads the ramdisk and the symbols; gives where they lie in physical memory, and what was taken.
    fn load_besides(&mut self) -> (loader::Result<[Range<u64>; 2]>, Vec<MemoryRegion>) {
        let Self { regions, bundle, memory, source, .. } = self;
        let mut map = regions.clone();
        let mut frames = Frames::new(&mut map);
        let mut parts = BootInfoParts::EMPTY;
        let result = load_besides(source, memory, &mut frames, bundle, WINDOW, &mut parts);
        let taken = taken(&frames);
        check_only_ours_was_written(memory, &taken);
        let place = |list: List<u8>| match list.range() {
            range if range == (0..0) => range,
            range => range.start - WINDOW..range.end - WINDOW,
        };
        (result.map(|()| [parts.ramdisk, parts.symbols].map(place)), taken)
    }

    fn load_command_line(&mut self, target_addr: u64) -> loader::Result<usize> {
        let piece = self.bundle.command_line.as_ref();
        load_command_line(&mut self.source, &mut self.memory, piece, target_addr)
    }
}

/// Usable memory from 1 MiB on, in runs of so many pages, with gaps between them.
fn memory(runs: &[(u64, u64)]) -> Regions {
    let mut start = layout::FIRST_MIB_END.into();
    let region = |(gap, pages): &(u64, u64)| {
        let region =
            MemoryRegion::new(start + gap * PAGE, start + (gap + pages) * PAGE, MemoryRegionKind::USABLE);
        start = region.end_addr;
        region
    };
    checked_overlay(&runs.iter().map(region).collect::<Vec<_>>())
}

/// Pages from 1 MiB to 4 GiB; and from there to 4 TiB.
const LOW_PAGES: u64 = (LOW_END - layout::FIRST_MIB_END as u64) / PAGE;
const HIGH_PAGES: u64 = (FAR_END - LOW_END) / PAGE;
const FAR_END: u64 = 4 << 40;

/// Runs from 1 MiB on, and sometimes others that follow a longer gap: from 4 GiB on, across it, or up to 4 TiB.
fn spread(runs: impl Strategy<Value = Vec<(u64, u64)>> + Clone) -> impl Strategy<Value = Regions> {
    let used = |runs: &[(u64, u64)]| runs.iter().map(|(gap, pages)| gap + pages).sum::<u64>();
    let start = prop_oneof![
        2 => Just(None),
        1 => Just(Some(LOW_PAGES)),
        1 => (LOW_PAGES - 40..LOW_PAGES).prop_map(Some),
        1 => Just(Some(LOW_PAGES + HIGH_PAGES)),
    ];
    (runs.clone(), start, runs).prop_map(move |(mut runs, start, mut others)| {
        if let Some(start) = start {
            let end = LOW_PAGES + HIGH_PAGES;
            others[0].0 += start.min(end - used(&others)) - used(&runs);
            runs.extend(others);
        }
        memory(&runs)
    })
}

fn fragments() -> impl Strategy<Value = Regions> {
    spread(vec((1..5u64, prop_oneof![1..4u64, 1..60u64]), 1..10))
}

/// Runs around the length of a large page and of the kernels here, so that one lies well here and not there.
fn large_fragments() -> impl Strategy<Value = Regions> {
    spread(vec((1..600u64, prop_oneof![1..100u64, 100..1200u64, 1200..5000u64]), 1..4))
}

/// The free ranges of an area, each on one side of 4 GiB.
fn free(regions: &Regions, area: Area) -> impl Iterator<Item = Range<u64>> {
    let lowest = if area == Area::High { LOW_END } else { 0 };
    regions
        .iter()
        .filter(|region| region.kind == MemoryRegionKind::USABLE)
        .map(move |region| region.start_addr.max(lowest)..region.end_addr)
        .map(|range| if range.start < LOW_END { range.start..range.end.min(LOW_END) } else { range })
        .filter(move |range| !range.is_empty() && (range.start < LOW_END || area != Area::Low))
}

/// Where memory for so many bytes is looked for.
fn area(regions: &Regions, len: u64, purpose: Purpose) -> Area {
    Frames::new(&mut regions.clone()).area(len, purpose)
}

/// More than any kernel of these tests needs, in one piece.
fn plenty() -> Regions {
    memory(&[(0, 0x8000)])
}

/// A kernel of one segment, and its file.
fn simple_kernel(virtual_addr: u64, file_offset: usize, file_len: usize) -> (TestKernel, Vec<u8>) {
    let memory_len = file_len as u64;
    let segment =
        SegmentSpec { flags: PF_R | PF_X, virtual_addr, file_offset, file_len, memory_len, align: PAGE };
    let kernel = TestKernel::new(vec![segment], virtual_addr);
    let file = kernel.file();
    (kernel, file)
}

/// How much memory the kernel's pages need.
fn pages_len(kernel: &TestKernel) -> u64 {
    kernel.pages().len() as u64 * PAGE
}

/// Flips the bits of `pattern` from a bit on. Gives the first byte that changed.
fn damage(bytes: &mut [u8], first_bit: usize, pattern: u32) -> Option<usize> {
    let bits = (first_bit..first_bit + 32).enumerate().filter(|(index, _)| pattern & 1 << index != 0);
    let bits: Vec<_> = bits.map(|(_, bit)| bit).filter(|bit| bit / 8 < bytes.len()).collect();
    bits.iter().for_each(|bit| bytes[bit / 8] ^= 1 << (bit % 8));
    bits.first().map(|bit| bit / 8)
}

/// What was told of a damaged piece.
fn damaged_piece<T>(result: loader::Result<T>) -> Option<(PieceKind, u64)> {
    match result.err().map(|error| *error) {
        Some(BootError::PieceDamaged { what, len, .. }) => Some((what, len)),
        _ => None,
    }
}

/// A reader that has several ways to read, all but one of which damage a byte.
struct Ways<'a> {
    bytes: &'a [u8],
    damage: usize,
    ways: u32,
    way: u32,
    good_way: u32,
    chunk: Vec<u8>,
}

impl Reader for Ways<'_> {
    fn read(&mut self, offset: u64, len: u64) -> loader::Result<&[u8]> {
        let (start, len) = (usize::try_from(offset).unwrap(), usize::try_from(len.min(4096)).unwrap());
        self.chunk = self.bytes[start..start + len].to_vec();
        if self.way != self.good_way && (start..start + len).contains(&self.damage) {
            self.chunk[self.damage - start] ^= 1;
        }
        Ok(&self.chunk)
    }

    fn distrust(&mut self, _offset: u64) -> bool {
        let is_another = self.way + 1 < self.ways;
        self.way += u32::from(is_another);
        is_another
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn every_byte_ends_at_its_address_and_every_other_byte_of_the_pages_is_zero(
        kernel in kernel(8),
        regions in fragments(),
        habits in habits(),
    ) {
        let file = kernel.file();
        let mut machine = Machine::new(regions, &file, &habits);
        let free = free(&machine.regions, Area::Any).map(|range| range.end - range.start).sum();
        let needed = pages_len(&kernel);
        if needed > free {
            let (needed, free) = (needed / 1024, free / 1024);
            let expected = BootError::OutOfMemory { what: Purpose::Kernel, needed, free };
            prop_assert_eq!(machine.load().0.err(), Some(expected.into()));
        } else {
            machine.load_and_check(&kernel, &file);
        }
    }

    #[test]
    fn where_memory_has_room_all_pieces_lie_at_one_distance_and_well_for_large_pages(
        kernel in kernel(16),
        regions in large_fragments(),
        habits in habits(),
    ) {
        let file = kernel.file();
        let pages = kernel.pages();
        let (first, last) = (*pages.keys().next().unwrap(), *pages.keys().last().unwrap());
        let span = last - first + PAGE;
        // Every page where it may lie from which as much memory is free as lies between the kernel's ends.
        let area = area(&regions, pages_len(&kernel), Purpose::Kernel);
        let fits: Vec<_> = free(&regions, area).flat_map(|range| {
            range.clone().step_by(4096).filter(move |start| start + span <= range.end)
        }).collect();
        let fits_large_pages = fits.iter().any(|start| start.abs_diff(first).is_multiple_of(LARGE_PAGE));
        let mut machine = Machine::new(regions, &file, &habits);
        if pages_len(&kernel) > free(&machine.regions, Area::Any).map(|range| range.end - range.start).sum() {
            return Ok(());
        }
        let loaded = machine.load_and_check(&kernel, &file);
        let distances = loaded.pieces.iter().map(|piece| piece.virtual_addr.wrapping_sub(piece.physical_addr));
        let distances: std::collections::BTreeSet<_> = distances.collect();
        if !fits.is_empty() {
            prop_assert_eq!(distances.len(), 1, "one distance");
        }
        if fits_large_pages {
            prop_assert!(distances.iter().all(|distance| distance.is_multiple_of(LARGE_PAGE)), "well for large pages");
        }
    }

    #[test]
    fn every_burst_of_up_to_32_damaged_bits_is_told_of_the_piece_that_has_it(
        kernel in kernel(3),
        position in any::<prop::sample::Index>(),
        pattern in 1..u32::MAX,
        habits in habits(),
    ) {
        let file = kernel.file();
        let mut machine = Machine::new(plenty(), &file, &habits);
        let mut first_damage = None;
        machine.change(&machine.bundle.kernel, |bytes| {
            first_damage = damage(bytes, position.index(file.len() * 8), pattern);
        });
        prop_assume!(first_damage.is_some());
        let headers = machine.bundle.kernel_headers.len;
        let expected = if (first_damage.unwrap() as u64) < headers {
            (PieceKind::KernelHeaders, headers)
        } else {
            (PieceKind::Kernel, file.len() as u64)
        };
        prop_assert_eq!(damaged_piece(machine.load().0), Some(expected));
    }

    #[test]
    fn damage_that_comes_after_the_headers_were_read_is_told_of_the_kernel(
        kernel in kernel(3),
        position in any::<prop::sample::Index>(),
        pattern in 1..u32::MAX,
        habits in habits(),
    ) {
        let file = kernel.file();
        let mut machine = Machine::new(plenty(), &file, &habits);
        let mut loaded = LoadedKernel { kernel: Kernel::parse(&file, file.len() as u64).unwrap(), ..LoadedKernel::EMPTY };
        let mut damaged = None;
        machine.change(&machine.bundle.kernel, |bytes| {
            damaged = damage(bytes, position.index(file.len() * 8), pattern);
        });
        prop_assume!(damaged.is_some());
        let Machine { regions, bundle, memory, source, .. } = &mut machine;
        let result = load_kernel(source, memory, &mut Frames::new(&mut regions.clone()), &bundle.kernel, &mut loaded);
        prop_assert_eq!(damaged_piece(result), Some((PieceKind::Kernel, file.len() as u64)));
    }

    #[test]
    fn ramdisk_and_symbols_lie_in_one_piece_on_pages_of_their_own_whose_rest_is_zero(
        bytes in vec(any::<u8>(), 1..20_000),
        is_ramdisk in any::<bool>(),
        regions in fragments(),
        habits in habits(),
    ) {
        let (_, file) = simple_kernel(0x20_0000, 0x1000, 100);
        let len = bytes.len().next_multiple_of(4096) as u64;
        let (what, kind) = if is_ramdisk {
            (Purpose::Ramdisk, MemoryRegionKind::RAMDISK)
        } else {
            (Purpose::Symbols, MemoryRegionKind::BOOTLOADER)
        };
        let area = area(&regions, len, what);
        let longest = free(&regions, area).map(|range| range.end - range.start).max().unwrap_or(0);
        let mut machine = Machine::new(regions, &file, &habits);
        let piece = Some(machine.add(&bytes));
        if is_ramdisk {
            machine.bundle.ramdisk = piece;
        } else {
            machine.bundle.symbols = piece;
        }
        let (result, taken) = machine.load_besides();
        if len > longest {
            let expected = BootError::OutOfMemory { what, needed: len / 1024, free: longest / 1024 };
            prop_assert_eq!(result, Err(expected.into()));
            return Ok(());
        }
        let [ramdisk, symbols] = result.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let (range, other) = if is_ramdisk { (ramdisk, symbols) } else { (symbols, ramdisk) };
        prop_assert_eq!(other, 0..0);
        prop_assert!(range.start.is_multiple_of(PAGE));
        prop_assert_eq!(range.end - range.start, bytes.len() as u64);
        prop_assert_eq!(taken, [MemoryRegion::new(range.start, range.start + len, kind)]);
        let mut expected = bytes;
        expected.resize(usize::try_from(len).unwrap(), 0);
        prop_assert_eq!(machine.memory.all(range.start, len), expected);
    }

    #[test]
    fn ramdisk_and_symbols_lie_apart_and_damage_is_told_of_the_right_one(
        lens in vec(1..9000_usize, 2),
        damaged in 0..3usize,
        position in any::<prop::sample::Index>(),
        habits in habits(),
    ) {
        let (_, file) = simple_kernel(0x20_0000, 0x1000, 100);
        let mut machine = Machine::new(plenty(), &file, &habits);
        let pieces = [machine.add(&vec![0x5a; lens[0]]), machine.add(&vec![0xa5; lens[1]])];
        let [ramdisk, symbols] = pieces;
        (machine.bundle.ramdisk, machine.bundle.symbols) = (Some(ramdisk), Some(symbols));
        if let Some(piece) = pieces.get(damaged) {
            machine.change(piece, |bytes| bytes[position.index(bytes.len())] ^= 1);
            let what = [PieceKind::Ramdisk, PieceKind::Symbols][damaged];
            prop_assert_eq!(damaged_piece(machine.load_besides().0), Some((what, piece.len)));
        } else {
            let places = machine.load_besides().0;
            let [ramdisk, symbols] = places.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert!(ramdisk.end <= symbols.start || symbols.end <= ramdisk.start);
        }
    }

    #[test]
    fn a_sector_that_cannot_be_read_ends_the_boot(
        kernel in kernel(4),
        sector in any::<prop::sample::Index>(),
        habits in habits_of_disks(),
    ) {
        let file = kernel.file();
        let mut machine = Machine::new(plenty(), &file, &habits);
        let sector_len = u64::from(habits.sector_len.unwrap());
        let sectors = usize::try_from(machine.bundle.kernel.len.div_ceil(sector_len)).unwrap();
        let bad = machine.bundle.kernel.offset / sector_len + sector.index(sectors) as u64;
        machine.medium.borrow_mut().bad_sector = Some(bad);
        let (result, _) = machine.load();
        prop_assert_eq!(result.err(), Some(BootError::DiskRead { lba: LBA + bad, status: 1, tries: 3 }.into()));
    }

    #[test]
    fn a_piece_lies_whole_at_its_address_and_around_it_nothing_changes(
        bytes in vec(any::<u8>(), 1..20_000),
        target_addr in 0x10_0000..0x10_2000u64,
        habits in habits(),
    ) {
        let memory = FakeMemory::default();
        let offset = layout::PIECE_ALIGNMENT as usize;
        let medium = Medium::new(&habits, &[vec![0; offset], bytes.clone()].concat(), &memory);
        let piece = Piece::new(offset as u64, &bytes);
        let mut source = FakeSource::new(&medium, LBA);
        let found = load_piece(&mut source, &mut memory.clone(), PieceKind::Kernel, &piece, target_addr).unwrap().to_vec();
        medium.borrow_mut().check_read_once(&piece);
        prop_assert!(found == bytes);
        let target = target_addr..target_addr + piece.len;
        for page_addr in memory.touched() {
            for (addr, found) in (page_addr..).zip(memory.page(page_addr).unwrap()) {
                let expected = if target.contains(&addr) { bytes[usize::try_from(addr - target_addr).unwrap()] } else { GARBAGE };
                prop_assert_eq!(found, expected, "at {:#x}", addr);
            }
        }
        let pages = (target.end - 1) / PAGE - target.start / PAGE + 1;
        prop_assert_eq!(memory.touched().len() as u64, pages);
    }

    #[test]
    fn what_comes_damaged_is_read_once_more_where_there_is_another_way(
        bytes in vec(any::<u8>(), 1..20_000),
        ways in 1..4u32,
        good_way in 0..4u32,
        damage in any::<prop::sample::Index>(),
    ) {
        let memory = FakeMemory::default();
        let piece = Piece::new(0, &bytes);
        let mut source = Ways { bytes: &bytes, damage: damage.index(bytes.len()), ways, way: 0, good_way, chunk: Vec::new() };
        let found = load_piece(&mut source, &mut memory.clone(), PieceKind::Kernel, &piece, 0x10_0000).map(<[u8]>::to_vec);
        if good_way < ways {
            prop_assert!(found.as_ref() == Ok(&bytes));
        } else {
            let is_damaged = |error: &BootError| matches!(error, BootError::PieceDamaged { what: PieceKind::Kernel, .. });
            prop_assert!(found.is_err_and(|error| is_damaged(&error)));
        }
        prop_assert_eq!(source.way, good_way.min(ways - 1));
    }

    #[test]
    fn the_command_line_is_the_one_that_was_given(text in "\\PC{1,200}", habits in habits()) {
        let (_, file) = simple_kernel(0x20_0000, 0x1000, 1);
        // Where it lies in the boot info is no matter of pages.
        let target_addr = 0x20_0008;
        let mut machine = Machine::with_command_line(plenty(), &file, &habits, text.as_bytes());
        prop_assert_eq!(machine.load_command_line(target_addr), Ok(text.len()));
        prop_assert_eq!(machine.memory.bytes(target_addr, text.len() as u64), text.as_bytes());
    }

    #[test]
    fn every_burst_of_damaged_bits_in_the_command_line_is_told(
        text in "\\PC{1,200}",
        position in any::<prop::sample::Index>(),
        pattern in 1..u32::MAX,
        habits in habits(),
    ) {
        let (_, file) = simple_kernel(0x20_0000, 0x1000, 1);
        let mut machine = Machine::with_command_line(plenty(), &file, &habits, text.as_bytes());
        let mut damaged = None;
        machine.change(&machine.bundle.command_line.unwrap(), |bytes| {
            damaged = damage(bytes, position.index(text.len() * 8), pattern);
        });
        prop_assume!(damaged.is_some());
        let expected = (PieceKind::CommandLine, text.len() as u64);
        prop_assert_eq!(damaged_piece(machine.load_command_line(0x20_0000)), Some(expected));
    }
}

/// Sources that differ from each other in what they do with a read: in the length of their sectors, in how many they
/// give, and in whether these go straight to memory.
fn some_habits() -> Vec<Habits> {
    let mut all = Vec::new();
    for sector_len in [Some(layout::SECTOR_LEN), Some(layout::CD_SECTOR_LEN), None] {
        for chunk in [1, 8, 127] {
            let kinds = [0, u64::MAX, 0x5555_5555_5555_5555].into_iter();
            all.extend(kinds.map(|straight| Habits { sector_len, chunks: vec![chunk], straight }));
        }
    }
    all
}

#[test]
fn a_kernel_that_may_lie_anywhere_lies_where_large_pages_can_map_it() {
    let (kernel, file) = simple_kernel(0xffff_ffff_8012_3000, 0x1000, 0x1000);
    let loaded = Machine::new(plenty(), &file, &of_a_disk()).load_and_check(&kernel, &file);
    assert_eq!(loaded.pieces[0].physical_addr, 0x12_3000, "the lowest address from 1 MiB on");
}

/// Usable memory in these ranges.
fn usable(ranges: &[Range<u64>]) -> Regions {
    let region = |range: &Range<u64>| MemoryRegion::new(range.start, range.end, MemoryRegionKind::USABLE);
    checked_overlay(&ranges.iter().map(region).collect::<Vec<_>>())
}

#[test]
fn the_kernel_and_its_ramdisk_lie_high_where_low_memory_is_scarce_and_only_there() {
    let (kernel, file) = simple_kernel(0xffff_ffff_8020_0000, 0x1000, 20 * 4096);
    let (needed, ramdisk) = (20 * PAGE, noise(7, 20 * 4096 - 5));
    let enough = needed + LOW_KEPT;
    for (low_len, high, lies_high) in [
        (enough, LOW_END..FAR_END, false),
        (enough - PAGE, LOW_END..FAR_END, true),
        (needed - PAGE, LOW_END..LOW_END + needed, true),
        (0, FAR_END - needed..FAR_END, true),
        // There is no room above.
        (enough - PAGE, LOW_END..LOW_END + needed - PAGE, false),
        (needed, LOW_END..LOW_END, false),
    ] {
        let low = layout::FIRST_MIB_END.into()..u64::from(layout::FIRST_MIB_END) + low_len;
        let regions = usable(&[low, high].into_iter().filter(|range| !range.is_empty()).collect::<Vec<_>>());
        for habits in some_habits() {
            let mut machine = Machine::new(regions.clone(), &file, &habits);
            let loaded = machine.load_and_check(&kernel, &file);
            assert!(loaded.pieces.iter().all(|piece| (piece.physical_addr >= LOW_END) == lies_high));
            let mut machine = Machine::new(regions.clone(), &file, &habits);
            machine.bundle.ramdisk = Some(machine.add(&ramdisk));
            let [range, _] = machine.load_besides().0.unwrap();
            assert_eq!(range.start >= LOW_END, lies_high);
            assert_eq!(machine.memory.all(range.start, ramdisk.len() as u64), ramdisk);
        }
    }
}

#[test]
fn a_kernel_that_fits_on_neither_side_of_4_gib_lies_on_both() {
    let (kernel, file) = simple_kernel(0x20_0000, 0x1000, 30 * 4096);
    let regions = usable(&[0x10_0000..0x10_0000 + 20 * PAGE, LOW_END..LOW_END + 10 * PAGE]);
    for habits in some_habits() {
        let loaded = Machine::new(regions.clone(), &file, &habits).load_and_check(&kernel, &file);
        let places: Vec<_> = loaded.pieces.iter().map(|piece| (piece.physical_addr, piece.len)).collect();
        assert_eq!(places, [(0x10_0000, 20 * PAGE), (LOW_END, 10 * PAGE)]);
    }
}

#[test]
fn a_machine_of_4_tib_takes_a_kernel_of_3_tib() {
    const LEN: u64 = 3 << 40;
    /// Remembers what was zeroed, without the bytes.
    struct Zeroed(Vec<(u64, u64)>);
    impl PhysicalMemory for Zeroed {
        fn write(&mut self, addr: u64, bytes: &[u8]) {
            assert!(bytes == [7; 100], "at {addr:#x}");
        }
        fn zero(&mut self, addr: u64, len: u64) {
            self.0.push((addr, len));
        }
        fn read(&self, _: u64, _: &mut [u8]) {
            unreachable!("nothing is read")
        }
        fn bytes(&self, _: u64, _: u64) -> &[u8] {
            unreachable!("nothing is read")
        }
    }
    let segment = SegmentSpec {
        flags: PF_R | PF_X,
        virtual_addr: 1 << 40,
        file_offset: 0x1000,
        file_len: 100,
        memory_len: LEN,
        align: PAGE,
    };
    let kernel = TestKernel::new(vec![segment], 1 << 40);
    let mut file = kernel.file();
    file[0x1000..0x1000 + 100].fill(7);
    let mut machine = Machine::new(usable(&[0x10_0000..3 << 30, LOW_END..FAR_END]), &file, &of_a_disk());
    let Machine { regions, bundle, source, .. } = &mut machine;
    let mut frames = Frames::new(regions);
    let mut loaded =
        LoadedKernel { kernel: Kernel::parse(&file, file.len() as u64).unwrap(), ..LoadedKernel::EMPTY };
    let mut memory = Zeroed(Vec::new());
    load_kernel(source, &mut memory, &mut frames, &bundle.kernel, &mut loaded).unwrap();
    assert_eq!(loaded.pieces.len(), 1);
    assert_eq!((loaded.pieces[0].physical_addr, loaded.pieces[0].len), (LOW_END, LEN));
    assert_eq!(memory.0, [(LOW_END + 100, LEN - 100)]);

    let mut load_ramdisk = |len| {
        bundle.ramdisk = Some(Piece { offset: 0, len, checksum: 0 });
        load_besides(source, &mut memory, &mut frames, bundle, WINDOW, &mut { BootInfoParts::EMPTY })
    };
    let free = (FAR_END - LOW_END - LEN) / 1024;
    let expected = BootError::OutOfMemory { what: Purpose::Ramdisk, needed: LEN / 1024, free };
    assert_eq!(load_ramdisk(LEN), Err(expected.into()));
    assert!(load_ramdisk(u64::MAX).is_err_and(|error| matches!(*error, BootError::OutOfMemory { .. })));
}

#[test]
fn a_segment_linked_lower_than_its_file_offset_is_loaded() {
    for (virtual_addr, file_offset) in
        [(0x10_0000, 0x12_0000), (0x9000, 0x3_0000), (0xffff_ffff_fffe_e000, 0x1000)]
    {
        let (kernel, mut file) = simple_kernel(virtual_addr, file_offset, 0x1_1000);
        // What follows in the file belongs to no segment.
        file.extend(noise(4, 0x4_0000));
        for habits in some_habits() {
            Machine::new(plenty(), &file, &habits).load_and_check(&kernel, &file);
        }
    }
}

#[test]
fn a_segment_that_ends_inside_a_word_of_the_checksum_does_not_count_as_damaged() {
    for file_len in 0x1001..0x1005 {
        let (kernel, mut file) = simple_kernel(0x20_0000, 0x1000, file_len);
        file.extend(noise(4, 0x1234));
        for habits in some_habits() {
            Machine::new(plenty(), &file, &habits).load_and_check(&kernel, &file);
        }
    }
}

#[test]
fn a_source_that_ends_too_soon_is_damaged_or_cannot_be_read() {
    let (_, file) = simple_kernel(0x20_0000, 0x1000, 70_000);
    for len in [1, 100, 512, 65_024, 65_025, 70_000] {
        for habits in some_habits() {
            let mut machine = Machine::new(plenty(), &file, &habits);
            let end = usize::try_from(machine.bundle.kernel.offset).unwrap() + len;
            let end = habits.sector_len.map_or(end, |sector_len| end.next_multiple_of(sector_len as usize));
            machine.medium.borrow_mut().bytes.truncate(end);
            let error = machine.load().0.err().expect("the kernel is not whole");
            assert!(matches!(*error, BootError::PieceDamaged { .. } | BootError::DiskRead { .. }), "{error}");
        }
    }
}

#[test]
fn what_fills_up_the_last_sector_does_not_count() {
    let (kernel, file) = simple_kernel(0x20_0000, 0x1000, 70_001);
    for habits in some_habits() {
        let mut machine = Machine::new(plenty(), &file, &habits);
        let end = usize::try_from(machine.bundle.len).unwrap();
        machine.medium.borrow_mut().bytes[end..].fill(0x77);
        machine.load_and_check(&kernel, &file);
    }
}

#[test]
fn a_kernel_in_more_pieces_than_there_is_room_for_is_refused() {
    let load = |pages: usize| {
        let (_, file) = simple_kernel(0x20_0000, 0x1000, pages * 4096);
        let page = |index| 0x10_0000 + 2 * index * PAGE;
        let usable = |addr| MemoryRegion::new(addr, addr + PAGE, MemoryRegionKind::USABLE);
        let pages_apart = (0..PIECES_MAX as u64 + 6).map(page).map(usable).collect();
        let (result, _) = Machine::new(pages_apart, &file, &of_a_disk()).load();
        result.map(|loaded| loaded.pieces.len())
    };
    assert_eq!(load(PIECES_MAX), Ok(PIECES_MAX));
    assert_eq!(load(PIECES_MAX + 1), Err(BootError::TooFragmented { expected: PIECES_MAX }.into()));
}

#[test]
fn segments_may_share_bytes_of_the_file() {
    let segment = |flags, virtual_addr, file_offset: usize, file_len: usize| SegmentSpec {
        flags,
        virtual_addr: virtual_addr + file_offset as u64,
        file_offset,
        file_len,
        memory_len: file_len as u64,
        align: PAGE,
    };
    let code = segment(PF_R | PF_X, 0x20_0000, 0x1000, 0x4000);
    for (offset, len) in [
        // All of it, its start, its end; a part in its middle; from its middle to behind it; from before to its middle.
        (0x1000, 0x4000),
        (0x1000, 0x2100),
        (0x2100, 0x2f00),
        (0x1a00, 0x2345),
        (0x3210, 0x4321),
        (0x0f00, 0x0fff),
    ] {
        let data = segment(PF_R | PF_W, 0x40_0000, offset, len);
        // A third one has a bit of all.
        let constants = segment(PF_R, 0x60_0000, 0x2000, 0x2001);
        let kernel = TestKernel::new(vec![code.clone(), data, constants], code.virtual_addr);
        let file = kernel.file();
        for habits in some_habits() {
            Machine::new(plenty(), &file, &habits).load_and_check(&kernel, &file);
        }
    }
}

#[test]
fn the_longest_command_line_is_loaded_to_its_last_byte() {
    let (_, file) = simple_kernel(0x20_0000, 0x1000, 1);
    let longest = "é".repeat(COMMAND_LINE_MAX / 2);
    for habits in some_habits() {
        let mut machine = Machine::with_command_line(plenty(), &file, &habits, longest.as_bytes());
        assert_eq!(machine.load_command_line(0x20_0000), Ok(COMMAND_LINE_MAX));
        assert_eq!(machine.memory.bytes(0x20_0000, COMMAND_LINE_MAX as u64), longest.as_bytes());
    }
}

#[test]
fn without_a_command_line_nothing_is_read() {
    let (_, file) = simple_kernel(0x20_0000, 0x1000, 1);
    let mut machine = Machine::new(plenty(), &file, &of_a_disk());
    machine.medium.borrow_mut().bytes.clear();
    assert_eq!(machine.load_command_line(0x20_0000), Ok(0));
    assert_eq!(machine.memory.touched(), []);
}

#[test]
fn a_command_line_that_is_no_text_is_refused_with_the_place() {
    let (_, file) = simple_kernel(0x20_0000, 0x1000, 1);
    for habits in some_habits() {
        for (bytes, valid) in [(&b"log=\xff"[..], 4), (b"\xc3", 0), (b"caf\xc3\xa9 \xe2\x82", 6)] {
            let mut machine = Machine::with_command_line(plenty(), &file, &habits, bytes);
            let error = machine.load_command_line(0x20_0000).expect_err("it is no text");
            let refused = matches!(*error, BootError::BundleField { found, .. } if found == valid);
            assert!(refused, "{bytes:x?}");
        }
    }
}

#[test]
fn a_wrong_checksum_is_told_with_both_numbers() {
    let (_, file) = simple_kernel(0x20_0000, 0x1000, 5000);
    let mut machine = Machine::new(plenty(), &file, &of_a_disk());
    machine.bundle.kernel.checksum = 1;
    let (what, len) = (PieceKind::Kernel, file.len() as u64);
    let expected = BootError::PieceDamaged { what, len, found: checksum(&file), expected: 1 };
    assert_eq!(machine.load().0.err(), Some(expected.into()));
}
