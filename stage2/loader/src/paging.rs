//! The address space that the kernel starts in: what the [`AddressPlan`] says, as page tables.
//!
//! Four levels of tables (Intel SDM volume 3, section 4.5), built while paging is off. Nothing is writable at one address
//! and executable at that or another one, as far as the CPU can tell: without an NX bit, whatever can be read can be
//! executed. Memory is cached (write-back), everything else is not (section 11.5.2: PCD and PWT select UC, as the PAT
//! is after a reset), and no large page holds some of both.

use crate::error::{BootError, Purpose, Result};
use crate::frames::Frames;
use crate::plan::{AddressPlan, LARGE_PAGE, WINDOW_LEN_MIN};
use boot_info::{KernelSegment, List, MemoryRegion, MemoryRegionKind, SegmentRights, StackLocation};
use core::ops::Range;
use x86_64::structures::paging::mapper::PageTableFrameMapping;
use x86_64::structures::paging::page_table::PageTableLevel;
use x86_64::structures::paging::{PageTable, PageTableFlags, PhysFrame};
use x86_64::{PhysAddr, VirtAddr};

/// What the CPU can do for paging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagingFeatures {
    /// Pages can be made non-executable (CPUID 80000001h EDX bit 20).
    pub no_execute: bool,
    /// Pages of 1 GiB exist (CPUID 80000001h EDX bit 26).
    pub gib_pages: bool,
}

/// Page tables in the making.
pub struct AddressSpace<'a, 'map, M> {
    mapping: M,
    root: PhysFrame,
    frames: &'a mut Frames<'map>,
    features: PagingFeatures,
}

const PAGE: u64 = layout::PAGE_LEN as u64;

const GIB: u64 = 1 << 30;

/// Entries of a table.
const ENTRY_COUNT: usize = 512;

/// The bit for the PAT in a page's entry of the lowest table, and where it lies in the entry of a large page, whose bit 7 says
/// that it is one (Intel SDM volume 3, tables 4-18 to 4-20).
const PAT: PageTableFlags = PageTableFlags::HUGE_PAGE;
const PAT_OF_LARGE_PAGE: PageTableFlags = PageTableFlags::from_bits_retain(1 << 12);

/// Entry 5 of the PAT: [`WRITE_COMBINING_PAT`] makes it write-combining.
const WRITE_COMBINING: PageTableFlags = PAT.union(PageTableFlags::WRITE_THROUGH);

/// A value of IA32_PAT (Intel SDM volume 3, section 11.12.2): the lower four entries as after a reset, entry 4
/// write-protected, entry 5 write-combining, uncached again the last two.
pub const WRITE_COMBINING_PAT: u64 = 0x0007_0105_0007_0406;

/// What is not memory must not be cached.
const UNCACHED: PageTableFlags = PageTableFlags::NO_CACHE.union(PageTableFlags::WRITE_THROUGH);

impl<'a, 'map, M: PageTableFrameMapping> AddressSpace<'a, 'map, M> {
    /// An empty address space. Its tables are taken from `frames`, as [`MemoryRegionKind::BOOTLOADER`].
    ///
    /// # Errors
    /// `OutOfMemory`.
    ///
    /// # Safety
    /// `mapping` has to give, for every frame that `frames` hands out, a pointer to its 4096 bytes, aligned, to which
    /// nobody else has access while this address space is being built.
    pub unsafe fn new(frames: &'a mut Frames<'map>, mapping: M, features: PagingFeatures) -> Result<Self> {
        let mut space =
            Self { mapping, root: PhysFrame::containing_address(PhysAddr::zero()), frames, features };
        space.root = space.new_table()?;
        Ok(space)
    }

    /// Physical address of the PML4, for CR3.
    #[must_use]
    pub fn root_addr(&self) -> u64 {
        self.root.start_address().as_u64()
    }

    /// Maps the kernel, each piece with its own rights.
    ///
    /// # Errors
    /// `OutOfMemory`, `AlreadyMapped`.
    pub fn map_kernel(&mut self, pieces: &[KernelSegment]) -> Result<()> {
        for piece in pieces {
            let flags = match piece.rights {
                SegmentRights::READ_WRITE => self.data(),
                SegmentRights::READ_EXECUTE => PageTableFlags::PRESENT,
                SegmentRights::READ_WRITE_EXECUTE => PageTableFlags::PRESENT | PageTableFlags::WRITABLE,
                _ => self.data() - PageTableFlags::WRITABLE,
            };
            self.map(
                piece.virtual_addr,
                piece.physical_addr..piece.physical_addr + piece.len,
                flags,
                Purpose::Kernel,
            )?;
        }
        Ok(())
    }

    /// Maps physical memory in its window: the first 4 GiB, and all memory there is. Where the kernel's `pieces` are
    /// not writable, they are not writable here either; nor is the mode-switch page. What is written to the `framebuffer`
    /// is combined.
    ///
    /// # Errors
    /// `OutOfMemory`; `AlreadyMapped` where the plan is not one for this kernel.
    pub fn map_window(
        &mut self,
        plan: &AddressPlan,
        pieces: &[KernelSegment],
        framebuffer: &Range<u64>,
    ) -> Result<()> {
        let mut start = 0;
        while start < plan.window_len {
            let (flags, mut end) = self.window_flags(pieces, framebuffer, start);
            // What is alike is mapped together, by pages as large as possible.
            while end < plan.window_len {
                let (next_flags, next_end) = self.window_flags(pieces, framebuffer, end);
                if next_flags != flags {
                    break;
                }
                end = next_end;
            }
            end = end.min(plan.window_len);
            if let Some(flags) = flags {
                self.map(plan.window_addr + start, start..end, flags, Purpose::PhysicalMemory)?;
            }
            start = end;
        }
        Ok(())
    }

    /// Maps a file, such as the ramdisk, which lies in whole pages of its own, for a kernel without the window: where it is
    /// told, which is where the window would have it.
    ///
    /// # Errors
    /// `OutOfMemory`; `AlreadyMapped` where the plan is not one for this kernel.
    pub fn map_file(&mut self, plan: &AddressPlan, told: List<u8>) -> Result<()> {
        let Range { start, end } = told.range();
        // Its last page is mapped whole; of none at all, nothing is.
        let physical = start.wrapping_sub(plan.window_addr)..end.wrapping_sub(plan.window_addr);
        self.map(start, physical, self.data(), Purpose::PhysicalMemory)
    }

    /// Maps the framebuffer, if it is not empty, for a kernel without the window, in the same way; what is written to it is
    /// `combined`, or goes there as it comes.
    ///
    /// # Errors
    /// As above.
    pub fn map_framebuffer(&mut self, plan: &AddressPlan, shown: Range<u64>, combined: bool) -> Result<()> {
        let start = shown.start / PAGE * PAGE;
        let flags = self.data() | if combined { WRITE_COMBINING } else { UNCACHED };
        self.map(plan.window_addr + start, start..shown.end, flags, Purpose::PhysicalMemory)
    }

    /// How the page at a physical address appears in the window, None if it does not; and up to where this holds.
    fn window_flags(
        &self,
        pieces: &[KernelSegment],
        framebuffer: &Range<u64>,
        addr: u64,
    ) -> (Option<PageTableFlags>, u64) {
        let found = PhysicalPages { regions: self.frames.map(), pieces, framebuffer }.at(addr);
        let mut flags = self.data();
        flags.set(PageTableFlags::WRITABLE, !found.is_read_only);
        flags.set(if found.is_framebuffer { WRITE_COMBINING } else { UNCACHED }, !found.is_cached);
        ((found.is_memory || addr < WINDOW_LEN_MIN).then_some(flags), found.end)
    }

    /// Maps the first MiB to itself, without page 0 and without what the kernel has mapped there. The mode-switch
    /// page can be executed and not written, all others the other way round. If `all` is not set, it is the only one.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn map_first_mib(&mut self, all: bool) -> Result<()> {
        let mut start = PAGE;
        while start < layout::FIRST_MIB_END.into() {
            let found =
                PhysicalPages { regions: self.frames.map(), pieces: &[], framebuffer: &(0..0) }.at(start);
            let end = found.end.min(layout::FIRST_MIB_END.into());
            // Nothing else is, without pieces.
            let is_mode_switch = found.is_read_only;
            let mut flags = if is_mode_switch { PageTableFlags::PRESENT } else { self.data() };
            flags.set(UNCACHED, !found.is_cached);
            if all || is_mode_switch {
                match self.map(start, start..end, flags, Purpose::FirstMib) {
                    // By a large page, which has all of it.
                    Err(error) if matches!(*error, BootError::AlreadyMapped { .. }) => {}
                    result => result?,
                }
            }
            start = end;
        }
        Ok(())
    }

    /// Takes memory for the stack and maps it where the plan has it.
    ///
    /// # Errors
    /// `OutOfMemory`, `AlreadyMapped`.
    // A stack frame of its own: stage2 is smaller for it.
    #[inline(never)]
    pub fn map_stack(&mut self, stack: StackLocation) -> Result<()> {
        let mut addr = stack.bottom_addr;
        while addr < stack.top_addr {
            let left = stack.top_addr - addr;
            let area = self.frames.area(left, Purpose::Stack);
            let range = self.frames.take_some(area, 0, left, MemoryRegionKind::BOOTLOADER, Purpose::Stack)?;
            let taken = range.end - range.start;
            self.map(addr, range, self.data(), Purpose::Stack)?;
            addr += taken;
        }
        Ok(())
    }

    /// Maps the boot info, which lies in memory that was taken for it, where the plan has it.
    ///
    /// # Errors
    /// `OutOfMemory`, `AlreadyMapped`.
    pub fn map_boot_info(&mut self, virtual_addr: u64, physical: Range<u64>) -> Result<()> {
        self.map(virtual_addr, physical, self.data(), Purpose::BootInfo)
    }

    /// Lets an entry of the PML4 lead to the PML4, so that the kernel sees all tables behind it (Intel SDM volume 3,
    /// section 4.5: every level reads the table that the entry names). They can be written, and not executed.
    ///
    /// # Errors
    /// `AlreadyMapped` where the plan is not one for this kernel.
    pub fn map_tables(&mut self, index: u16) -> Result<()> {
        let addr =
            VirtAddr::new_truncate(u64::from(index) * PageTableLevel::Four.entry_address_space_alignment())
                .as_u64();
        let (root, flags) = (self.root.start_address(), self.data());
        let entry = &mut self.table(addr, PageTableLevel::Four, Purpose::PageTables)?[usize::from(index)];
        if !entry.is_unused() {
            return Err(BootError::AlreadyMapped { what: Purpose::PageTables, found: addr }.into());
        }
        entry.set_addr(root, flags);
        Ok(())
    }

    /// Read and write, and not execute where the CPU can tell the difference.
    fn data(&self) -> PageTableFlags {
        let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
        if self.features.no_execute { flags | PageTableFlags::NO_EXECUTE } else { flags }
    }

    /// Maps a physical range, its last page whole, to the addresses from `virtual_addr` on, with the largest pages that fit.
    // A stack frame of its own: stage2 is smaller for it.
    #[inline(never)]
    fn map(
        &mut self,
        mut virtual_addr: u64,
        range: Range<u64>,
        flags: PageTableFlags,
        what: Purpose,
    ) -> Result<()> {
        let mut physical_addr = range.start;
        let end = range.end.next_multiple_of(PAGE);
        while physical_addr < end {
            let fits = |len| (virtual_addr | physical_addr).is_multiple_of(len) && end - physical_addr >= len;
            let (level, len) = if self.features.gib_pages && fits(GIB) {
                (PageTableLevel::Three, GIB)
            } else if fits(LARGE_PAGE) {
                (PageTableLevel::Two, LARGE_PAGE)
            } else {
                (PageTableLevel::One, PAGE)
            };
            let mut flags = flags;
            if level != PageTableLevel::One {
                flags.set(PAT_OF_LARGE_PAGE, flags.contains(PAT));
                flags |= PageTableFlags::HUGE_PAGE;
            }
            // Behind its first entry, no table has one that a larger page could begin at.
            let table = self.table(virtual_addr, level, what)?;
            for index in index(virtual_addr, level)..ENTRY_COUNT {
                if end - physical_addr < len {
                    break;
                }
                let entry = &mut table[index];
                // In the first MiB, what the kernel has mapped there stays.
                if entry.is_unused() {
                    entry.set_addr(PhysAddr::new(physical_addr), flags);
                } else if !matches!(what, Purpose::FirstMib) {
                    return Err(BootError::AlreadyMapped { what, found: virtual_addr }.into());
                }
                physical_addr += len;
                // The last page of the address space may be the last one to be mapped.
                virtual_addr = virtual_addr.wrapping_add(len);
            }
        }
        Ok(())
    }

    /// The table of a level that an address has its entry in. Tables on the way are made where there are none.
    fn table(&mut self, virtual_addr: u64, level: PageTableLevel, what: Purpose) -> Result<&mut PageTable> {
        let already_mapped = || BootError::AlreadyMapped { what, found: virtual_addr };
        if VirtAddr::try_new(virtual_addr).is_err() {
            return Err(already_mapped().into());
        }
        let mut table = self.root;
        let mut table_level = PageTableLevel::Four;
        loop {
            let pointer = self.mapping.frame_to_pointer(table);
            // SAFETY: `Self::new` has it that the pointer leads to the table, and that nobody else uses it; the borrow of
            // `self` keeps other references away.
            let entries = unsafe { &mut *pointer };
            if table_level == level {
                return Ok(entries);
            }
            let entry = &mut entries[index(virtual_addr, table_level)];
            if entry.is_unused() {
                let new = self.new_table()?;
                entry.set_frame(new, PageTableFlags::PRESENT | PageTableFlags::WRITABLE);
            }
            table = entry.frame().map_err(|_| already_mapped())?;
            table_level = table_level.next_lower_level().expect("the level is one of those below");
        }
    }

    /// Takes a frame for a table, and empties it.
    fn new_table(&mut self) -> Result<PhysFrame> {
        let addr = self.frames.take_whole(PAGE, MemoryRegionKind::BOOTLOADER, Purpose::PageTables)?;
        let frame = PhysFrame::containing_address(PhysAddr::new(addr));
        // SAFETY: the frame is new, so that nobody uses what the pointer leads to; zeros are an empty table.
        unsafe { self.mapping.frame_to_pointer(frame).write_bytes(0, 1) };
        Ok(frame)
    }
}

/// The index of an address's entry in a table of this level.
fn index(virtual_addr: u64, level: PageTableLevel) -> usize {
    VirtAddr::new_truncate(virtual_addr).page_table_index(level).into()
}

/// What is known of physical memory.
struct PhysicalPages<'a> {
    regions: &'a [MemoryRegion],
    pieces: &'a [KernelSegment],
    framebuffer: &'a Range<u64>,
}

/// What is known of one page.
struct PhysicalPage {
    /// All of it is memory, of one region.
    is_cached: bool,
    /// Some of it is memory.
    is_memory: bool,
    /// All of it is what the screen shows.
    is_framebuffer: bool,
    /// It is not to be written, or may be executed, where it is used.
    is_read_only: bool,
    /// Up to here, the same is known of the pages that follow.
    end: u64,
}

impl PhysicalPages<'_> {
    /// Looks a page up.
    #[inline(never)]
    fn at(&self, addr: u64) -> PhysicalPage {
        let mut page = PhysicalPage {
            is_cached: false,
            is_memory: false,
            is_framebuffer: false,
            is_read_only: false,
            end: u64::MAX,
        };
        let mut end = WINDOW_LEN_MIN;
        let mut is_in = |start: u64, range_end: u64| {
            for bound in [start, range_end] {
                if bound > addr && (bound < end || end <= addr) {
                    end = bound;
                }
            }
            start <= addr && addr < range_end
        };
        for region in self.regions.iter().filter(|region| crate::e820::is_memory(region)) {
            page.is_memory |= is_in(region.start_addr / PAGE * PAGE, region.end_addr.next_multiple_of(PAGE));
            page.is_cached |= is_in(region.start_addr.next_multiple_of(PAGE), region.end_addr / PAGE * PAGE);
        }
        for piece in self.pieces {
            let is_piece = is_in(piece.physical_addr, piece.physical_addr + piece.len);
            page.is_read_only |= is_piece && piece.rights.0 & SegmentRights::READ_WRITE.0 == 0;
        }
        page.is_read_only |= is_in(layout::MODE_SWITCH_PAGE_ADDR.into(), layout::MODE_SWITCH_PAGE_END.into());
        page.is_framebuffer =
            is_in(self.framebuffer.start.next_multiple_of(PAGE), self.framebuffer.end / PAGE * PAGE);
        if end > addr {
            page.end = end;
        }
        page
    }
}
