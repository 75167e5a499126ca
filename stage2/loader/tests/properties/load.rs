//! Loading: from a disk to fragmented memory.

use crate::cases;
use crate::kernels::{TestKernel, kernel};
use crate::support::kernel_file::{SegmentSpec, noise};
use crate::support::machine::{FakeDisk, FakeMemory, check_loaded, manifest_of};
use crate::support::memory_map::checked_overlay;
use ::elf::abi::{PF_R, PF_W, PF_X};
use boot_info::{MemoryRegion, MemoryRegionKind};
use loader::BootError;
use loader::e820::Regions;
use loader::error::Purpose;
use loader::frames::Frames;
use loader::load::{LoadedKernel, load_kernel};
use loader::manifest::{Manifest, head_len};
use proptest::collection::vec;
use proptest::prelude::*;

const PAGE: u64 = layout::PAGE_LEN as u64;
const LBA: u64 = 77;

/// A machine that a kernel is loaded on.
struct Machine {
    regions: Regions,
    disk: FakeDisk,
    memory: FakeMemory,
}

impl Machine {
    fn new(regions: Regions, file: &[u8]) -> Self {
        Self { regions, disk: FakeDisk::new(LBA, file), memory: FakeMemory::default() }
    }

    /// Loads the kernel; gives also the memory that was taken. Whatever comes of it, nothing else was written.
    fn load(&mut self, manifest: &Manifest<'_>) -> (Result<LoadedKernel, BootError>, Vec<MemoryRegion>) {
        let mut frames = Frames::new(&self.regions);
        let mut loaded = LoadedKernel::EMPTY;
        let result = load_kernel(&mut self.disk, &mut self.memory, &mut frames, manifest, &mut loaded);
        let taken = frames.taken().to_vec();
        let is_taken = |addr| taken.iter().any(|run| run.start_addr <= addr && addr < run.end_addr);
        assert!(self.memory.touched().all(is_taken));
        (result.map(|()| loaded), taken)
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

fn fragments() -> impl Strategy<Value = Regions> {
    vec((1..5u64, prop_oneof![1..4u64, 1..60u64]), 1..20).prop_map(|runs| memory(&runs))
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

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn every_byte_ends_at_its_address_and_every_other_byte_of_the_pages_is_zero(
        kernel in kernel(8),
        regions in fragments(),
    ) {
        let file = kernel.file();
        let mut machine = Machine::new(regions, &file);
        let (result, taken) = machine.load(&manifest_of(&file, LBA));
        let free = Frames::new(&machine.regions).free_len();
        let needed = pages_len(&kernel);
        if needed > free {
            let (needed, free) = (needed / 1024, free / 1024);
            let expected = BootError::OutOfMemory { what: Purpose::Kernel, needed, free };
            prop_assert_eq!(result.err(), Some(expected));
        } else {
            let loaded = result.map_err(|error| TestCaseError::fail(error.to_string()))?;
            check_loaded(&kernel.expected(&file), &loaded.pieces, &taken, &machine.memory);
            let sectors = file.len().div_ceil(512) as u64;
            prop_assert!(machine.disk.sectors_read.iter().copied().eq(LBA..LBA + sectors));
        }
    }

    #[test]
    fn where_memory_allows_all_pieces_lie_at_one_distance(kernel in kernel(16)) {
        let file = kernel.file();
        let mut machine = Machine::new(plenty(), &file);
        let (result, taken) = machine.load(&manifest_of(&file, LBA));
        let loaded = result.map_err(|error| TestCaseError::fail(error.to_string()))?;
        check_loaded(&kernel.expected(&file), &loaded.pieces, &taken, &machine.memory);
        let distance = loaded.pieces[0].virtual_addr.wrapping_sub(loaded.pieces[0].physical_addr);
        for piece in &loaded.pieces {
            prop_assert_eq!(piece.virtual_addr.wrapping_sub(piece.physical_addr), distance);
        }
    }

    #[test]
    fn every_burst_of_up_to_32_damaged_bits_is_reported(
        kernel in kernel(3),
        position in any::<prop::sample::Index>(),
        pattern in 1..u32::MAX,
    ) {
        let file = kernel.file();
        let mut damaged = file.clone();
        let bit = position.index(file.len() * 8);
        for offset in (0..32).filter(|offset| pattern & 1 << offset != 0) {
            if let Some(byte) = damaged.get_mut((bit + offset) / 8) {
                *byte ^= 1 << ((bit + offset) % 8);
            }
        }
        prop_assume!(damaged != file);
        let first_damage = file.iter().zip(&damaged).position(|(a, b)| a != b).unwrap() as u64;
        let manifest = manifest_of(&file, LBA);
        let (result, _) = Machine::new(plenty(), &damaged).load(&manifest);
        let head_len = head_len(file.len() as u64);
        let checked_len = if first_damage < head_len { head_len } else { file.len() as u64 };
        match result.err() {
            Some(BootError::KernelDamaged { len, .. }) => prop_assert_eq!(len, checked_len),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn a_sector_that_cannot_be_read_ends_the_boot(kernel in kernel(4), sector in any::<prop::sample::Index>()) {
        let file = kernel.file();
        let lba = LBA + sector.index(file.len().div_ceil(512)) as u64;
        let mut machine = Machine::new(plenty(), &file);
        machine.disk.bad_lba = Some(lba);
        let (result, _) = machine.load(&manifest_of(&file, LBA));
        prop_assert_eq!(result.err(), Some(BootError::DiskRead { lba, status: 1, tries: 3 }));
    }
}

#[test]
fn a_segment_linked_lower_than_its_file_offset_is_loaded() {
    for (virtual_addr, file_offset) in
        [(0x10_0000, 0x12_0000), (0x9000, 0x3_0000), (0xffff_ffff_fffe_e000, 0x1000)]
    {
        let (kernel, mut file) = simple_kernel(virtual_addr, file_offset, 0x1_1000);
        // What follows in the file belongs to no segment.
        file.extend(noise(4, 0x4_0000));
        let mut machine = Machine::new(plenty(), &file);
        let (result, taken) = machine.load(&manifest_of(&file, LBA));
        let loaded = result.unwrap_or_else(|error| panic!("{error}"));
        check_loaded(&kernel.expected(&file), &loaded.pieces, &taken, &machine.memory);
    }
}

#[test]
fn a_file_shorter_than_the_manifest_says_is_damaged_or_cannot_be_read() {
    let (_, file) = simple_kernel(0x20_0000, 0x1000, 70_000);
    let manifest = manifest_of(&file, LBA);
    for len in [1, 100, 512, 65_024, 65_025, 70_000] {
        let (result, _) = Machine::new(plenty(), &file[..len]).load(&manifest);
        let error = result.err().expect("the kernel is not whole");
        assert!(matches!(error, BootError::KernelDamaged { .. } | BootError::DiskRead { .. }), "{error}");
    }
}

#[test]
fn what_fills_up_the_last_sector_does_not_count() {
    let (kernel, file) = simple_kernel(0x20_0000, 0x1000, 70_001);
    let manifest = manifest_of(&file, LBA);
    let padded = [&file[..], &[0xff; 100]].concat();
    let mut machine = Machine::new(plenty(), &padded);
    let (result, taken) = machine.load(&manifest);
    let loaded = result.unwrap_or_else(|error| panic!("{error}"));
    check_loaded(&kernel.expected(&file), &loaded.pieces, &taken, &machine.memory);
}

#[test]
fn a_kernel_in_more_pieces_than_there_is_room_for_is_refused() {
    let (_, file) = simple_kernel(0x20_0000, 0x1000, 65 * 4096);
    let manifest = manifest_of(&file, LBA);
    let (result, _) = Machine::new(memory(&[(1, 1); 70]), &file).load(&manifest);
    assert_eq!(result.err(), Some(BootError::TooFragmented { expected: 64 }));
    let (_, file) = simple_kernel(0x20_0000, 0x1000, 64 * 4096);
    let (result, _) = Machine::new(memory(&[(1, 1); 70]), &file).load(&manifest_of(&file, LBA));
    assert_eq!(result.map(|loaded| loaded.pieces.len()).map_err(|error| error.to_string()), Ok(64));
}

#[test]
fn segments_may_share_bytes_of_the_file() {
    let code = SegmentSpec {
        flags: PF_R | PF_X,
        virtual_addr: 0x20_0000,
        file_offset: 0x1000,
        file_len: 0x2100,
        memory_len: 0x2100,
        align: PAGE,
    };
    let data =
        SegmentSpec { flags: PF_R | PF_W, virtual_addr: 0x30_0000, memory_len: 0x5000, ..code.clone() };
    let kernel = TestKernel::new(vec![code, data], 0x20_0000);
    let file = kernel.file();
    let mut machine = Machine::new(plenty(), &file);
    let (result, taken) = machine.load(&manifest_of(&file, LBA));
    let loaded = result.unwrap_or_else(|error| panic!("{error}"));
    check_loaded(&kernel.expected(&file), &loaded.pieces, &taken, &machine.memory);
}
