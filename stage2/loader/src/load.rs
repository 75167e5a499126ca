//! Loading the kernel: its file is read once, front to back, as many sectors at a time as the BIOS takes, and each
//! byte goes straight to the frame that it will be used in.

use crate::checksum::Checksum;
use crate::elf::Kernel;
use crate::error::{BootError, Purpose};
use crate::frames::Frames;
use crate::manifest::{Manifest, Piece, head_len};
use arrayvec::ArrayVec;
use boot_info::{KernelSegment, MemoryRegionKind};
use core::ops::Range;

/// Pieces of the kernel in physical memory. A kernel that fits in one piece has one for each run of its pages.
pub const PIECES_MAX: usize = 64;

/// A disk to read from.
pub trait Disk {
    /// Reads `sectors` (1 to [`layout::MAX_READ_SECTORS`]) whole sectors from `lba` on. The bytes stay valid until
    /// the next call.
    ///
    /// # Errors
    /// E11 to E13.
    fn read(&mut self, lba: u64, sectors: u32) -> Result<&[u8], BootError>;
}

/// Physical memory to load to.
pub trait PhysicalMemory {
    /// Copies `bytes` to the physical addresses from `addr` on.
    fn write(&mut self, addr: u64, bytes: &[u8]);

    /// Fills `len` bytes from `addr` on with zeros.
    fn zero(&mut self, addr: u64, len: u64);
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

/// Reads the kernel that `manifest` names from `disk` into frames that it takes for it, and fills in `loaded`.
///
/// # Errors
/// E11 to E13 from the disk, E25 when its bytes are not those that were written, E30 to E51 for what its headers say,
/// E60 and E61 when memory does not suffice.
// A stack frame of its own: stage2 is smaller for it, and gdb shows it by name.
#[inline(never)]
pub fn load_kernel(
    disk: &mut impl Disk,
    memory: &mut impl PhysicalMemory,
    frames: &mut Frames<'_>,
    manifest: &Manifest<'_>,
    loaded: &mut LoadedKernel,
) -> Result<(), BootError> {
    let file = manifest.kernel;
    let mut checksum = Checksum::new();
    let mut offset = 0;
    // One chunk holds the headers. It is checked before they are believed.
    let head = read_chunk(disk, &file, offset)?;
    checksum.update(head);
    check(&checksum, head_len(file.len), manifest.kernel_head_checksum)?;
    loaded.kernel = Kernel::parse(head, file.len, &manifest.config)?;
    loaded.place(frames)?;
    loaded.zero_what_the_file_leaves(memory);
    let mut chunk = head;
    loop {
        loaded.write(memory, offset, chunk);
        offset += chunk.len() as u64;
        if offset >= file.len {
            break;
        }
        chunk = read_chunk(disk, &file, offset)?;
        checksum.update(chunk);
    }
    check(&checksum, file.len, file.checksum)
}

/// The bytes of a piece from `offset` on, as many as fit in one read.
fn read_chunk<'disk>(
    disk: &'disk mut impl Disk,
    piece: &Piece,
    offset: u64,
) -> Result<&'disk [u8], BootError> {
    const CHUNK_LEN: usize = layout::BOUNCE_BUFFER_LEN as usize;
    let first = offset / u64::from(layout::SECTOR_LEN);
    let sectors = u32::try_from(piece.sectors() - first).unwrap_or(u32::MAX).min(layout::MAX_READ_SECTORS);
    let len = usize::try_from(piece.len - offset).unwrap_or(CHUNK_LEN).min(CHUNK_LEN);
    Ok(&disk.read(piece.lba + first, sectors)?[..len])
}

fn check(checksum: &Checksum, len: u64, expected: u64) -> Result<(), BootError> {
    let found = checksum.value();
    if found == expected { Ok(()) } else { Err(BootError::KernelDamaged { len, found, expected }) }
}

impl LoadedKernel {
    /// Takes frames for all pages of the kernel: at one distance between virtual and physical addresses where memory
    /// has room for that, else wherever there is room.
    fn place(&mut self, frames: &mut Frames<'_>) -> Result<(), BootError> {
        let page_runs = &self.kernel.page_runs;
        let (first, last) = (page_runs[0], page_runs[page_runs.len() - 1]);
        let span = last.virtual_addr + last.len - first.virtual_addr;
        // What is added to a virtual address, modulo 2^64, to get the physical address that is wished for.
        let mut distance = frames.find(span).unwrap_or(0).wrapping_sub(first.virtual_addr);
        let needed = page_runs.iter().map(|run| run.len).fold(0, u64::saturating_add);
        if needed > frames.free_len() {
            return Err(frames.out_of_memory(needed, Purpose::Kernel));
        }
        self.pieces.clear();
        for run in page_runs {
            let (mut virtual_addr, mut len) = (run.virtual_addr, run.len);
            while len > 0 {
                let wish = virtual_addr.wrapping_add(distance);
                let range = frames.take_some(wish, len, MemoryRegionKind::KERNEL, Purpose::Kernel)?;
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
            let to_virtual = segment.virtual_addr.wrapping_sub(segment.file_offset);
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
