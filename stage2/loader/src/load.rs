//! Loading: what the bundle holds is read once, front to back, and each byte goes straight to the memory that it will be
//! used in, the checksum being taken on the way.

use crate::bundle::{Bundle, Piece, PieceKind};
use crate::checksum::Checksum;
use crate::elf::{Kernel, PAGE_RUNS_MAX};
use crate::error::{BootError, Purpose, Result};
use crate::frames::{Area, Frames, LOW_END, out_of_memory};
use crate::plan::LARGE_PAGE;
use crate::reader::Reader;
use arrayvec::ArrayVec;
use boot_info::{BootInfoParts, KernelSegment, List, MemoryRegionKind};
use core::ops::Range;

/// Pieces of the kernel in physical memory: one for each run of its pages, and more where memory is fragmented.
pub const PIECES_MAX: usize = PAGE_RUNS_MAX + 64;

const PAGE: u64 = layout::PAGE_LEN as u64;

/// Physical memory to load to.
pub trait PhysicalMemory {
    /// Copies `bytes` to the physical addresses from `addr` on: at most [`LARGE_PAGE`] where they lie at or above [`LOW_END`].
    fn write(&mut self, addr: u64, bytes: &[u8]);

    /// The same, and adds the bytes to a checksum.
    fn write_summed(&mut self, addr: u64, bytes: &[u8], checksum: &mut Checksum) {
        checksum.update(bytes);
        self.write(addr, bytes);
    }

    /// Fills `len` bytes from `addr` on with zeros.
    fn zero(&mut self, addr: u64, len: u64);

    /// Fills `target` with the bytes from `addr` on, which were written before: at most [`LARGE_PAGE`], as above.
    fn read(&self, addr: u64, target: &mut [u8]);

    /// The `len` bytes from `addr` on, which were written before and lie below [`LOW_END`].
    fn bytes(&self, addr: u64, len: u64) -> &[u8];
}

/// A kernel in memory. Too large to be passed around on the loader's stack: it is filled in where it is.
pub struct LoadedKernel {
    /// What its file says.
    pub kernel: Kernel,
    /// Where it lies, sorted by virtual address.
    pub pieces: ArrayVec<KernelSegment, PIECES_MAX>,
}

impl LoadedKernel {
    /// Nothing is loaded yet.
    pub const EMPTY: Self = Self { kernel: Kernel::EMPTY, pieces: ArrayVec::new_const() };
}

/// Reads the kernel that `loaded.kernel` describes into frames that it takes for it, and fills in where it lies.
///
/// # Errors
/// E11 to E13 from the reader, E25 when its bytes are not those that were written, E60 and E61 when memory does not
/// suffice.
// A stack frame of its own: stage2 is smaller for it, and gdb shows it by name.
#[inline(never)]
pub fn load_kernel(
    reader: &mut impl Reader,
    memory: &mut impl PhysicalMemory,
    frames: &mut Frames<'_>,
    file: &Piece,
    loaded: &mut LoadedKernel,
) -> Result<()> {
    loaded.place(frames)?;
    loaded.zero_what_the_file_leaves(memory);
    load(reader, memory, PieceKind::Kernel, file, &Target::Kernel(loaded))
}

/// Reads a piece to memory below 4 GiB that was taken for it, all in one run, and checks that it is what was written.
///
/// # Errors
/// E11 to E13 from the reader, E25.
// A stack frame of its own: stage2 is smaller for it.
#[inline(never)]
pub fn load_piece<'memory>(
    reader: &mut impl Reader,
    memory: &'memory mut impl PhysicalMemory,
    what: PieceKind,
    piece: &Piece,
    target_addr: u64,
) -> Result<&'memory [u8]> {
    load(reader, memory, what, piece, &Target::Run(target_addr))?;
    Ok(memory.bytes(target_addr, piece.len))
}

/// Where the bytes of a piece go.
enum Target<'a> {
    /// To the frames of the kernel.
    Kernel(&'a LoadedKernel),
    /// To the physical addresses from here on.
    Run(u64),
}

impl Target<'_> {
    /// The bytes of the piece from `offset` on that stay together, up to `end` at most.
    fn run_from(&self, offset: u64, end: u64) -> FileRun {
        match self {
            Self::Kernel(loaded) => loaded.run_from(offset, end),
            Self::Run(addr) => FileRun { len: end - offset, physical_addr: Some(addr + offset) },
        }
    }

    /// Copies a chunk of the piece, which starts at `offset` there, to where it goes.
    fn write(&self, memory: &mut impl PhysicalMemory, offset: u64, chunk: &[u8]) {
        match self {
            Self::Kernel(loaded) => loaded.write(memory, offset, chunk),
            Self::Run(addr) => memory.write(addr + offset, chunk),
        }
    }
}

/// Reads a piece to where it goes, and checks that it is what was written.
// A stack frame of its own: stage2 is smaller for it.
#[inline(never)]
fn load(
    reader: &mut impl Reader,
    memory: &mut impl PhysicalMemory,
    what: PieceKind,
    piece: &Piece,
    target: &Target<'_>,
) -> Result<()> {
    let mut checksum = Checksum::new();
    let mut offset = 0;
    while offset < piece.len {
        let run = target.run_from(offset, piece.len);
        // Whole sectors, so that the checksum goes on with a whole word behind them.
        let is_last = offset + run.len == piece.len;
        let len = if is_last { run.len } else { run.len - run.len % u64::from(layout::SECTOR_LEN) };
        if let Some(target_addr) = run.physical_addr
            && target_addr < LOW_END
            && len > 0
        {
            let len = reader.read_to(piece.offset + offset, len, target_addr)?;
            if len > 0 {
                checksum.update(memory.bytes(target_addr, len));
                offset += len;
                continue;
            }
        }
        let chunk = reader.read(piece.offset + offset, (piece.len - offset).min(LARGE_PAGE))?;
        let chunk_len = chunk.len() as u64;
        match run.physical_addr {
            Some(target_addr) if chunk_len <= run.len => {
                memory.write_summed(target_addr, chunk, &mut checksum)
            }
            _ => {
                checksum.update(chunk);
                target.write(memory, offset, chunk);
            }
        }
        offset += chunk_len;
    }
    let (found, expected) = (checksum.value(), piece.checksum);
    if found == expected {
        Ok(())
    } else if reader.distrust(piece.offset) {
        load(reader, memory, what, piece, target)
    } else {
        Err(BootError::PieceDamaged { what, len: piece.len, found, expected }.into())
    }
}

/// Reads the command line, if there is one, to its place in the boot info, and gives its length.
///
/// # Errors
/// As [`load_piece`], and `BundleField` for one that is not UTF-8.
// A stack frame of its own: stage2 is smaller for it.
#[inline(never)]
pub fn load_command_line(
    reader: &mut impl Reader,
    memory: &mut impl PhysicalMemory,
    piece: Option<&Piece>,
    target_addr: u64,
) -> Result<usize> {
    let Some(piece) = piece else { return Ok(0) };
    let bytes = load_piece(reader, memory, PieceKind::CommandLine, piece, target_addr)?;
    match utf8_len(bytes) {
        len if len == bytes.len() => Ok(len),
        found => Err(BootError::BundleField {
            field: "part of the command line that is UTF-8",
            found: found as u64,
            expected: "all its bytes",
        }
        .into()),
    }
}

/// How many bytes are UTF-8, from the first one on.
// Called, not unfolded, wherever a command line comes from: stage2 is smaller for it.
#[inline(never)]
pub(crate) fn utf8_len(bytes: &[u8]) -> usize {
    core::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len)
}

/// Reads what the kernel gets besides, the ramdisk and the symbols, each to frames that it takes for it, and tells where the
/// kernel sees them: all memory is mapped from `window_addr` on. The rest of the last page is zero.
///
/// # Errors
/// As [`load_piece`], and E60 and E61 when memory does not suffice.
pub fn load_besides(
    reader: &mut impl Reader,
    memory: &mut impl PhysicalMemory,
    frames: &mut Frames<'_>,
    bundle: &Bundle,
    window_addr: u64,
    parts: &mut BootInfoParts,
) -> Result<()> {
    let mut load_one = |what, kind, purpose, piece: &Option<Piece>, told: &mut List<u8>| -> Result<()> {
        let Some(piece) = piece else { return Ok(()) };
        let len = piece.len.saturating_add(PAGE - 1) / PAGE * PAGE;
        let addr = frames.take_whole(len, kind, purpose)?;
        memory.zero(addr + piece.len, len - piece.len);
        load(reader, memory, what, piece, &Target::Run(addr))?;
        *told = List::new(window_addr + addr, piece.len);
        Ok(())
    };
    load_one(
        PieceKind::Ramdisk,
        MemoryRegionKind::RAMDISK,
        Purpose::Ramdisk,
        &bundle.ramdisk,
        &mut parts.ramdisk,
    )?;
    load_one(
        PieceKind::Symbols,
        MemoryRegionKind::BOOTLOADER,
        Purpose::Symbols,
        &bundle.symbols,
        &mut parts.symbols,
    )
}

/// Bytes of the kernel's file that follow each other in memory, too.
struct FileRun {
    /// How many there are.
    len: u64,
    /// Where the first one goes. None for bytes that no segment wants, or several.
    physical_addr: Option<u64>,
}

impl LoadedKernel {
    /// Takes frames for all pages of the kernel: at one distance between virtual and physical addresses where memory
    /// has room for that, one that large pages can bridge if possible; else wherever there is room.
    fn place(&mut self, frames: &mut Frames<'_>) -> Result<()> {
        let page_runs = &self.kernel.page_runs;
        let needed = page_runs.iter().map(|run| run.len).fold(0, u64::saturating_add);
        let free = frames.free_len(Area::Any);
        if needed > free {
            return Err(out_of_memory(Purpose::Kernel, needed, free));
        }
        let area = frames.area(needed, Purpose::Kernel);
        let (first, last) = (page_runs[0], page_runs[page_runs.len() - 1]);
        let span = last.virtual_addr + last.len - first.virtual_addr;
        let start = frames
            // Where the physical addresses are the virtual ones modulo this, segments can be mapped by large pages.
            .find_congruent(area, span, first.virtual_addr, LARGE_PAGE)
            .or_else(|| frames.find(area, span))
            .unwrap_or(0);
        // What is added to a virtual address, modulo 2^64, to get the physical address that is wished for.
        let mut distance = start.wrapping_sub(first.virtual_addr);
        self.pieces.clear();
        for run in page_runs {
            let (mut virtual_addr, mut len) = (run.virtual_addr, run.len);
            while len > 0 {
                let wish = virtual_addr.wrapping_add(distance);
                let range = frames.take_some(area, wish, len, MemoryRegionKind::KERNEL, Purpose::Kernel)?;
                let piece = KernelSegment {
                    virtual_addr,
                    physical_addr: range.start,
                    len: range.end - range.start,
                    rights: run.rights,
                    reserved: 0,
                };
                self.pieces.try_push(piece).map_err(|_| BootError::TooFragmented { expected: PIECES_MAX })?;
                distance = range.start.wrapping_sub(virtual_addr);
                virtual_addr += piece.len;
                len -= piece.len;
            }
        }
        Ok(())
    }

    /// The bytes of the file from `offset` on that stay together, up to `end` at most.
    fn run_from(&self, offset: u64, end: u64) -> FileRun {
        let segments = &self.kernel.segments;
        // Where a segment begins or ends in the file, others than before may want the bytes.
        let bounds = segments.iter().flat_map(|segment| {
            let range = segment.file_range();
            [range.start, range.end]
        });
        let end = bounds.filter(|&bound| bound > offset).fold(end, u64::min);
        let mut wanting = segments.iter().filter(|segment| segment.file_range().contains(&offset));
        let (Some(segment), None) = (wanting.next(), wanting.next()) else {
            return FileRun { len: end - offset, physical_addr: None };
        };
        let virtual_addr = offset.wrapping_add(segment.file_to_virtual());
        let (physical_addr, range) = self
            .physical(virtual_addr..virtual_addr + (end - offset))
            .next()
            .expect("every page of a segment has its frame");
        FileRun { len: range.end - range.start, physical_addr: Some(physical_addr) }
    }

    /// Copies a chunk of the file, which starts at `offset` there, to all places that want bytes of it.
    #[expect(clippy::cast_possible_truncation, reason = "start and end lie inside the chunk")]
    fn write(&self, memory: &mut impl PhysicalMemory, offset: u64, chunk: &[u8]) {
        let chunk_range = offset..offset + chunk.len() as u64;
        for segment in &self.kernel.segments {
            let part = intersection(&segment.file_range(), &chunk_range);
            if part.is_empty() {
                // Its end lies before its start, which would change where only one of them wraps.
                continue;
            }
            let to_virtual = segment.file_to_virtual();
            let virtual_range = part.start.wrapping_add(to_virtual)..part.end.wrapping_add(to_virtual);
            for (physical_addr, range) in self.physical(virtual_range) {
                let start = range.start.wrapping_sub(to_virtual) - offset;
                let end = range.end.wrapping_sub(to_virtual) - offset;
                memory.write(physical_addr, &chunk[start as usize..end as usize]);
            }
        }
    }

    /// Zeroes every byte of the kernel's pages that does not come from the file: .bss, and the rest of each page.
    fn zero_what_the_file_leaves(&self, memory: &mut impl PhysicalMemory) {
        for piece in &self.pieces {
            let pages = piece.virtual_addr..piece.virtual_addr + piece.len;
            let mut zero = |range: Range<u64>| {
                if !range.is_empty() {
                    memory.zero(piece.physical_addr + (range.start - pages.start), range.end - range.start);
                }
            };
            let mut start = pages.start;
            for segment in &self.kernel.segments {
                let loaded = intersection(&segment.loaded_range(), &pages);
                if !loaded.is_empty() {
                    zero(start..loaded.start);
                    start = loaded.end;
                }
            }
            zero(start..pages.end);
        }
    }

    /// Reads bytes of the loaded kernel, [`LARGE_PAGE`] at most; false where one of them is not the kernel's.
    #[expect(clippy::cast_possible_truncation, reason = "a part of the bytes at hand")]
    pub fn read(&self, memory: &impl PhysicalMemory, virtual_addr: u64, target: &mut [u8]) -> bool {
        let mut len = 0;
        let Some(end) = virtual_addr.checked_add(target.len() as u64) else { return false };
        for (physical_addr, part) in self.physical(virtual_addr..end) {
            // No longer than `target`.
            let part_len = (part.end - part.start) as usize;
            memory.read(physical_addr, &mut target[len..len + part_len]);
            len += part_len;
        }
        len == target.len()
    }

    /// Writes bytes of the loaded kernel, [`LARGE_PAGE`] at most where that may lie high; false where one of them is not the
    /// kernel's.
    #[expect(clippy::cast_possible_truncation, reason = "a part of the bytes at hand")]
    pub fn overwrite(&self, memory: &mut impl PhysicalMemory, virtual_addr: u64, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        let Some(end) = virtual_addr.checked_add(bytes.len() as u64) else { return false };
        for (physical_addr, part) in self.physical(virtual_addr..end) {
            // No longer than `bytes`.
            let (now, later) = rest.split_at((part.end - part.start) as usize);
            memory.write(physical_addr, now);
            rest = later;
        }
        rest.is_empty()
    }

    /// The pieces of physical memory behind a range of virtual addresses: physical address of each, and the part of
    /// the range.
    fn physical(&self, range: Range<u64>) -> impl Iterator<Item = (u64, Range<u64>)> {
        self.pieces.iter().filter_map(move |piece| {
            let part = intersection(&range, &(piece.virtual_addr..piece.virtual_addr + piece.len));
            (!part.is_empty()).then(|| (piece.physical_addr + (part.start - piece.virtual_addr), part))
        })
    }
}

fn intersection(a: &Range<u64>, b: &Range<u64>) -> Range<u64> {
    a.start.max(b.start)..a.end.min(b.end)
}
