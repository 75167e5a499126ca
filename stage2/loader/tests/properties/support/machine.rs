//! A disk and physical memory that a kernel can be loaded from and to, and what it has to look like there.

use boot_info::{KernelSegment, MemoryRegion, MemoryRegionKind};
use loader::BootError;
use loader::checksum::checksum;
use loader::load::{Disk, PhysicalMemory};
use loader::manifest::{Manifest, Piece, head_len};
use std::collections::BTreeMap;
use std::ops::Range;

const PAGE: usize = layout::PAGE_LEN as usize;
const SECTOR: usize = layout::SECTOR_LEN as usize;

/// A disk that holds one piece, and remembers what was read.
pub(crate) struct FakeDisk {
    first_lba: u64,
    bytes: Vec<u8>,
    buffer: Vec<u8>,
    /// A sector that cannot be read.
    pub(crate) bad_lba: Option<u64>,
    /// Every sector that was read, in the order of reading.
    pub(crate) sectors_read: Vec<u64>,
}

impl FakeDisk {
    /// The disk has `piece` from `first_lba` on, and nothing else.
    pub(crate) fn new(first_lba: u64, piece: &[u8]) -> Self {
        let mut bytes = piece.to_vec();
        bytes.resize(piece.len().next_multiple_of(SECTOR), 0);
        // What an earlier read left behind it.
        let buffer = vec![0xee; layout::BOUNCE_BUFFER_LEN as usize];
        Self { first_lba, bytes, buffer, bad_lba: None, sectors_read: Vec::new() }
    }
}

impl Disk for FakeDisk {
    fn read(&mut self, lba: u64, sectors: u32) -> Result<&[u8], BootError> {
        assert!((1..=layout::MAX_READ_SECTORS).contains(&sectors), "a read of {sectors} sectors");
        for (lba, target) in (lba..).zip(self.buffer.chunks_exact_mut(SECTOR)).take(sectors as usize) {
            let sector = lba
                .checked_sub(self.first_lba)
                .filter(|_| self.bad_lba != Some(lba))
                .and_then(|index| self.bytes.chunks_exact(SECTOR).nth(usize::try_from(index).ok()?));
            target.copy_from_slice(sector.ok_or(BootError::DiskRead { lba, status: 1, tries: 3 })?);
            self.sectors_read.push(lba);
        }
        Ok(&self.buffer[..sectors as usize * SECTOR])
    }
}

/// Physical memory, full of garbage, whose pages come into being when they are touched.
#[derive(Default)]
pub(crate) struct FakeMemory {
    pages: BTreeMap<u64, [u8; PAGE]>,
}

impl FakeMemory {
    /// The addresses of the pages that were touched.
    pub(crate) fn touched(&self) -> impl Iterator<Item = u64> {
        self.pages.keys().copied()
    }

    /// A page; none when it was never touched.
    pub(crate) fn page(&self, addr: u64) -> Option<&[u8; PAGE]> {
        self.pages.get(&addr)
    }

    /// The parts of pages that a range consists of: each part, and its place in the range.
    fn for_each_part(&mut self, addr: u64, len: usize, mut change: impl FnMut(&mut [u8], Range<usize>)) {
        let mut done = 0;
        while done < len {
            let addr = addr + done as u64;
            let start = usize::try_from(addr).unwrap() % PAGE;
            let part_len = (PAGE - start).min(len - done);
            let page = self.pages.entry(addr - start as u64).or_insert([0xa5; PAGE]);
            change(&mut page[start..start + part_len], done..done + part_len);
            done += part_len;
        }
    }
}

impl PhysicalMemory for FakeMemory {
    fn write(&mut self, addr: u64, bytes: &[u8]) {
        self.for_each_part(addr, bytes.len(), |part, range| part.copy_from_slice(&bytes[range]));
    }

    fn zero(&mut self, addr: u64, len: u64) {
        self.for_each_part(addr, usize::try_from(len).unwrap(), |part, _| part.fill(0));
    }
}

/// A manifest for a kernel that lies at `lba`, with the right checksums.
pub(crate) fn manifest_of(file: &[u8], lba: u64) -> Manifest<'static> {
    let len = file.len() as u64;
    let kernel = Piece { lba, len, checksum: checksum(file) };
    Manifest {
        kernel,
        kernel_head_checksum: checksum(&file[..usize::try_from(head_len(len)).unwrap()]),
        config: boot_info::KernelConfig::DEFAULT,
        image_sectors: lba + kernel.sectors(),
        command_line: "",
    }
}

/// A segment as the kernel has to find it: where it starts, what the file has for it, how long it is.
pub(crate) struct ExpectedSegment<'file> {
    pub(crate) virtual_addr: u64,
    pub(crate) bytes: &'file [u8],
    pub(crate) memory_len: u64,
}

/// Checks that the pieces are frames of their own, and hold the segments' pages with every byte in its place and
/// zeros elsewhere. Nothing but these pages may have been touched.
pub(crate) fn check_loaded(
    segments: &[ExpectedSegment<'_>],
    pieces: &[KernelSegment],
    taken: &[MemoryRegion],
    memory: &FakeMemory,
) {
    let page = PAGE as u64;
    let mut expected = BTreeMap::<u64, [u8; PAGE]>::new();
    for segment in segments {
        let first = segment.virtual_addr / page * page;
        let last = (segment.virtual_addr + (segment.memory_len - 1)) / page * page;
        for addr in (first..=last).step_by(PAGE) {
            expected.entry(addr).or_insert([0; PAGE]);
        }
        for (addr, byte) in (segment.virtual_addr..).zip(segment.bytes) {
            let in_page = usize::try_from(addr % page).unwrap();
            expected.get_mut(&(addr - addr % page)).unwrap()[in_page] = *byte;
        }
    }
    let mut frames = BTreeMap::new();
    for piece in pieces {
        assert!(piece.len > 0 && (piece.virtual_addr | piece.physical_addr | piece.len).is_multiple_of(page));
        for offset in (0..piece.len).step_by(PAGE) {
            let physical_addr = piece.physical_addr + offset;
            let is_ours =
                |run: &&MemoryRegion| run.start_addr <= physical_addr && physical_addr < run.end_addr;
            let run = taken.iter().find(is_ours).expect("every page lies in frames that were taken");
            assert_eq!(run.kind, MemoryRegionKind::KERNEL);
            let other = frames.insert(physical_addr, piece.virtual_addr + offset);
            assert_eq!(other, None, "frame {physical_addr:#x} is used twice");
        }
    }
    for (physical_addr, virtual_addr) in &frames {
        let found = memory.page(*physical_addr).expect("every page was written or zeroed");
        let expected =
            expected.remove(virtual_addr).expect("no page is there that no segment touches, or twice");
        assert!(*found == expected, "the page at {virtual_addr:#x} is not what the file says");
    }
    assert!(expected.is_empty(), "every page is there");
    assert!(memory.touched().all(|addr| frames.contains_key(&addr)), "memory of others was written");
    assert!(pieces.is_sorted_by_key(|piece| piece.virtual_addr));
}
