//! What a bundle is loaded from, the memory that it is loaded to, and what a kernel has to look like there.

use boot_info::{KernelConfig, KernelSegment, MemoryRegion, MemoryRegionKind};
use loader::BootError;
use loader::bundle::{Bundle, Piece, PieceKind};
use loader::elf::headers_len;
use loader::frames::{Frames, LOW_END};
use loader::load::{LoadedKernel, PhysicalMemory, load_kernel, load_piece};
use loader::plan::LARGE_PAGE;
use loader::reader::{Reader, SectorReader, Sectors};
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

const PAGE: usize = layout::PAGE_LEN as usize;

/// How a source is read.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    /// Bytes in a sector. None for a source without sectors, as a network or another loader is.
    pub(crate) sector_len: Option<u32>,
    /// The most sectors that a call gives: the first one, the second one, and over again. Units of 512 bytes, where
    /// there are no sectors.
    pub(crate) chunks: Vec<u64>,
    /// Whether a call goes straight to memory, bit by bit: the first one, the second one, and over again.
    pub(crate) straight: u64,
}

impl Habits {
    /// Bytes that can be read by themselves.
    fn unit_len(&self) -> u64 {
        self.sector_len.unwrap_or(layout::SECTOR_LEN).into()
    }
}

/// The bytes of a bundle, and a record of who read them.
pub(crate) struct Medium {
    /// The bundle, and garbage up to the end of its last sector.
    pub(crate) bytes: Vec<u8>,
    /// A sector that cannot be read, counted from the bundle's first one.
    pub(crate) bad_sector: Option<u64>,
    habits: Habits,
    memory: FakeMemory,
    chunks: usize,
    calls: u32,
    /// What was read, in the order of reading.
    reads: Vec<Range<u64>>,
}

/// A medium that its reader shares with the test.
pub(crate) type SharedMedium = Rc<RefCell<Medium>>;

impl Medium {
    /// What is read straight goes to `memory`.
    pub(crate) fn new(habits: &Habits, bundle: &[u8], memory: &FakeMemory) -> SharedMedium {
        let mut bytes = bundle.to_vec();
        if let Some(sector_len) = habits.sector_len {
            bytes.resize(bundle.len().next_multiple_of(sector_len as usize), 0xee);
        }
        let (habits, memory) = (habits.clone(), memory.clone());
        Rc::new(RefCell::new(Self {
            bytes,
            bad_sector: None,
            habits,
            memory,
            chunks: 0,
            calls: 0,
            reads: Vec::new(),
        }))
    }

    /// As many units as this call gives.
    fn next_chunk(&mut self) -> u64 {
        self.chunks += 1;
        self.habits.chunks[(self.chunks - 1) % self.habits.chunks.len()]
    }

    /// Whether this call goes straight to memory.
    fn goes_straight(&mut self) -> bool {
        self.calls += 1;
        self.habits.straight.rotate_right(self.calls - 1) & 1 == 1
    }

    /// Reads bytes that all have to be there. `first_lba` is where they begin, for the error.
    fn read(&mut self, offset: u64, len: u64, first_lba: u64) -> loader::Result<Vec<u8>> {
        assert!(len > 0, "a read of nothing");
        let unit_len = self.habits.unit_len();
        let units = offset / unit_len..(offset + len).div_ceil(unit_len);
        if let Some(bad) = self.bad_sector.filter(|bad| units.contains(bad)) {
            return Err(
                BootError::DiskRead { lba: first_lba + (bad - units.start), status: 1, tries: 3 }.into()
            );
        }
        let range = usize::try_from(offset).unwrap()..usize::try_from(offset + len).unwrap();
        let bytes = self.bytes.get(range).map(<[u8]>::to_vec);
        let bytes = bytes.ok_or(BootError::DiskRead { lba: first_lba, status: 1, tries: 3 })?;
        self.reads.push(offset..offset + len);
        Ok(bytes)
    }

    /// Checks that what was read since the last call was this piece, each sector of it once and in order.
    pub(crate) fn check_read_once(&mut self, piece: &Piece) {
        let mut next = piece.offset;
        for read in self.reads.drain(..) {
            assert_eq!(read.start, next, "read twice, out of order, or in vain");
            next = read.end;
        }
        let end = piece.offset + piece.len;
        let expected = match self.habits.sector_len {
            Some(sector_len) => end.next_multiple_of(sector_len.into()),
            None => end,
        };
        assert_eq!(next, expected, "read to its end");
    }
}

/// A disk or a CD that has a bundle from some LBA on, and nothing else.
pub(crate) struct FakeDisk {
    medium: SharedMedium,
    bundle_lba: u64,
    buffer: Vec<u8>,
}

impl FakeDisk {
    pub(crate) fn new(medium: SharedMedium, bundle_lba: u64) -> Self {
        assert!(medium.borrow().habits.sector_len.is_some());
        Self { medium, bundle_lba, buffer: Vec::new() }
    }

    fn read_some(&mut self, lba: u64, count: u64) -> loader::Result<Vec<u8>> {
        assert!(count > 0, "a read of no sectors");
        let mut medium = self.medium.borrow_mut();
        let (sector_len, count) = (medium.habits.unit_len(), count.min(medium.next_chunk()));
        let index = lba.checked_sub(self.bundle_lba).expect("nothing before the bundle is read");
        medium.read(index * sector_len, count * sector_len, lba)
    }
}

impl Sectors for FakeDisk {
    fn sector_len(&self) -> u32 {
        self.medium.borrow().habits.sector_len.expect("a disk has sectors")
    }

    fn read(&mut self, lba: u64, count: u64) -> loader::Result<&[u8]> {
        self.buffer = self.read_some(lba, count)?;
        Ok(&self.buffer)
    }

    fn read_to(&mut self, lba: u64, count: u64, target_addr: u64) -> loader::Result<u64> {
        if !self.medium.borrow_mut().goes_straight() {
            return Ok(0);
        }
        let bytes = self.read_some(lba, count)?;
        self.medium.borrow_mut().memory.write_by_pointer(target_addr, &bytes);
        Ok(bytes.len() as u64 / u64::from(self.sector_len()))
    }
}

/// A source without sectors: it gives multiples of 512 bytes, or all that was asked for.
pub(crate) struct FakeBytes {
    medium: SharedMedium,
    buffer: Vec<u8>,
}

impl FakeBytes {
    fn read_some(&mut self, offset: u64, len: u64) -> loader::Result<Vec<u8>> {
        assert!(len > 0, "a read of no bytes");
        let mut medium = self.medium.borrow_mut();
        let most = medium.next_chunk().saturating_mul(medium.habits.unit_len());
        medium.read(offset, len.min(most), 0)
    }
}

impl Reader for FakeBytes {
    fn read(&mut self, offset: u64, len: u64) -> loader::Result<&[u8]> {
        self.buffer = self.read_some(offset, len)?;
        Ok(&self.buffer)
    }

    fn read_to(&mut self, offset: u64, len: u64, target_addr: u64) -> loader::Result<u64> {
        if !self.medium.borrow_mut().goes_straight() {
            return Ok(0);
        }
        let bytes = self.read_some(offset, len)?;
        self.medium.borrow_mut().memory.write_by_pointer(target_addr, &bytes);
        Ok(bytes.len() as u64)
    }
}

/// Whatever a bundle can be read from.
pub(crate) enum FakeSource {
    Disk(SectorReader<FakeDisk>),
    Bytes(FakeBytes),
}

impl FakeSource {
    /// The source that the medium's habits tell of. The LBA counts where there are sectors.
    pub(crate) fn new(medium: &SharedMedium, bundle_lba: u64) -> Self {
        let medium = Rc::clone(medium);
        if medium.borrow().habits.sector_len.is_some() {
            Self::Disk(SectorReader::new(FakeDisk::new(medium, bundle_lba), bundle_lba))
        } else {
            Self::Bytes(FakeBytes { medium, buffer: Vec::new() })
        }
    }
}

impl Reader for FakeSource {
    fn read(&mut self, offset: u64, len: u64) -> loader::Result<&[u8]> {
        match self {
            Self::Disk(disk) => disk.read(offset, len),
            Self::Bytes(bytes) => bytes.read(offset, len),
        }
    }

    fn read_to(&mut self, offset: u64, len: u64, target_addr: u64) -> loader::Result<u64> {
        match self {
            Self::Disk(disk) => disk.read_to(offset, len, target_addr),
            Self::Bytes(bytes) => bytes.read_to(offset, len, target_addr),
        }
    }
}

/// What is in memory before anybody writes to it.
pub(crate) const GARBAGE: u8 = 0xa5;

/// Physical memory, full of garbage, whose pages come into being when they are written to. A copy of it is the same
/// memory: so does a reader reach it that writes to it by itself.
#[derive(Clone, Default)]
pub(crate) struct FakeMemory {
    pages: Rc<RefCell<BTreeMap<u64, [u8; PAGE]>>>,
    handed_out: Rc<HandedOut>,
}

impl FakeMemory {
    /// The addresses of the pages that were written to.
    pub(crate) fn touched(&self) -> Vec<u64> {
        self.pages.borrow().keys().copied().collect()
    }

    /// A page; none when it was never written to.
    pub(crate) fn page(&self, addr: u64) -> Option<[u8; PAGE]> {
        self.pages.borrow().get(&addr).copied()
    }

    /// As a reader of 32 bits does that writes to memory by itself.
    fn write_by_pointer(&mut self, addr: u64, bytes: &[u8]) {
        check_has_pointers(addr, bytes.len() as u64);
        self.write(addr, bytes);
    }

    /// All bytes from an address on, wherever they lie.
    pub(crate) fn all(&self, addr: u64, len: u64) -> Vec<u8> {
        let pages = self.pages.borrow();
        let page = |addr| pages.get(&addr).expect("bytes that were written before");
        parts(addr, len).flat_map(|(addr, in_page, _)| page(addr)[in_page].to_vec()).collect()
    }

    fn change(&self, addr: u64, len: u64, mut change: impl FnMut(&mut [u8], Range<usize>)) {
        let mut pages = self.pages.borrow_mut();
        for (page_addr, in_page, in_range) in parts(addr, len) {
            change(&mut pages.entry(page_addr).or_insert([GARBAGE; PAGE])[in_page], in_range);
        }
    }
}

impl PhysicalMemory for FakeMemory {
    fn write(&mut self, addr: u64, bytes: &[u8]) {
        check_is_in_reach(addr, bytes.len());
        self.change(addr, bytes.len() as u64, |part, range| part.copy_from_slice(&bytes[range]));
    }

    fn zero(&mut self, addr: u64, len: u64) {
        self.change(addr, len, |part, _| part.fill(0));
    }

    fn read(&self, addr: u64, target: &mut [u8]) {
        check_is_in_reach(addr, target.len());
        target.copy_from_slice(&self.all(addr, target.len() as u64));
    }

    fn bytes(&self, addr: u64, len: u64) -> &[u8] {
        check_has_pointers(addr, len);
        self.handed_out.keep(self.all(addr, len))
    }
}

/// Code of 32 bits has pointers to so many bytes from an address on.
fn check_has_pointers(addr: u64, len: u64) {
    assert!(addr + len <= LOW_END, "{len} bytes at {addr:#x} are out of reach for a pointer");
}

/// Where there are no pointers, the loader's window is no longer than a large page.
fn check_is_in_reach(addr: u64, len: usize) {
    let end = addr + len as u64;
    assert!(end <= LOW_END || addr >= LOW_END, "{len} bytes at {addr:#x} are partly out of reach");
    assert!(end <= LOW_END || len as u64 <= LARGE_PAGE, "{len} bytes at {addr:#x} are too many at once");
}

/// The pages that a range consists of: the address of each, the part of it, and the part's place in the range.
fn parts(addr: u64, len: u64) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let (page_len, end) = (PAGE as u64, addr + len);
    let index = |offset: u64| usize::try_from(offset).unwrap();
    (addr / page_len * page_len..end).step_by(PAGE).map(move |page| {
        let (start, end) = (addr.max(page), end.min(page + page_len));
        (page, index(start - page)..index(end - page), index(start - addr)..index(end - addr))
    })
}

/// Copies of memory that were given away, to be kept as long as the memory: a list that only grows.
#[derive(Default)]
struct HandedOut {
    bytes: Vec<u8>,
    next: OnceCell<Box<Self>>,
}

impl HandedOut {
    fn keep(&self, bytes: Vec<u8>) -> &[u8] {
        let mut last = self;
        while let Some(next) = last.next.get() {
            last = next;
        }
        &last.next.get_or_init(|| Box::new(Self { bytes, next: OnceCell::new() })).bytes
    }
}

/// A bundle with this kernel and command line, as `xtask` makes it: what its header says, and its bytes. Between the
/// pieces is garbage.
pub(crate) fn bundle_of(file: &[u8], command_line: &[u8], config: KernelConfig) -> (Bundle, Vec<u8>) {
    let mut bytes = vec![0xdd; layout::BUNDLE_HEADER_LEN as usize];
    let mut put = |piece: &[u8]| {
        bytes.resize(bytes.len().next_multiple_of(layout::PIECE_ALIGNMENT as usize), 0xdd);
        let offset = bytes.len() as u64;
        bytes.extend_from_slice(piece);
        Piece::new(offset, piece)
    };
    let command_line = (!command_line.is_empty()).then(|| put(command_line));
    let kernel = put(file);
    let kernel_headers = Piece::new(kernel.offset, &file[..usize::try_from(headers_len(file)).unwrap()]);
    let bundle = Bundle {
        len: bytes.len() as u64,
        config,
        kernel,
        kernel_headers,
        command_line,
        ramdisk: None,
        symbols: None,
    };
    let header = bundle.to_header().expect("a bundle with nothing wrong");
    bytes[..header.len()].copy_from_slice(&header);
    (bundle, bytes)
}

/// Loads a bundle's kernel in the order of stage2. Each sector is read once, but for those of the headers.
pub(crate) fn load_kernel_of(
    medium: &SharedMedium,
    source: &mut FakeSource,
    memory: &mut FakeMemory,
    frames: &mut Frames<'_>,
    bundle: &Bundle,
    loaded: &mut LoadedKernel,
) -> loader::Result<()> {
    let target_addr = layout::KERNEL_HEADERS_ADDR.into();
    let headers = load_piece(source, memory, PieceKind::KernelHeaders, &bundle.kernel_headers, target_addr)?;
    medium.borrow_mut().check_read_once(&bundle.kernel_headers);
    loaded.kernel.fill(headers, bundle.kernel.len)?;
    load_kernel(source, memory, frames, &bundle.kernel, loaded)?;
    medium.borrow_mut().check_read_once(&bundle.kernel);
    Ok(())
}

/// Checks that nothing was written but frames that were taken, and the place for the kernel's headers.
pub(crate) fn check_only_ours_was_written(memory: &FakeMemory, taken: &[MemoryRegion]) {
    let headers = u64::from(layout::KERNEL_HEADERS_ADDR)
        ..u64::from(layout::KERNEL_HEADERS_ADDR + layout::KERNEL_HEADERS_MAX);
    for addr in memory.touched() {
        let is_taken = taken.iter().any(|run| run.start_addr <= addr && addr < run.end_addr);
        assert!(is_taken || headers.contains(&addr), "memory of others was written at {addr:#x}");
    }
}

/// A segment as the kernel has to find it: where it starts, what the file has for it, how long it is.
pub(crate) struct ExpectedSegment<'file> {
    pub(crate) virtual_addr: u64,
    pub(crate) bytes: &'file [u8],
    pub(crate) memory_len: u64,
}

/// Checks that the pieces are frames of their own, and hold the segments' pages with every byte in its place and
/// zeros elsewhere.
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
        assert!(found == expected, "the page at {virtual_addr:#x} is not what the file says");
    }
    assert!(expected.is_empty(), "every page is there");
    let kernel_len: u64 =
        taken.iter().filter(|run| run.kind == MemoryRegionKind::KERNEL).map(MemoryRegion::len).sum();
    assert_eq!(kernel_len, frames.len() as u64 * page, "no frame was taken in vain");
    assert!(pieces.is_sorted_by_key(|piece| piece.virtual_addr));
}
