//! The address space that the kernel starts in.
//!
//! Four levels of tables (Intel SDM volume 3, section 4.5), built while paging is off. Nothing is writable and
//! executable, as far as the CPU can tell: without an NX bit, whatever can be read can be executed.

use crate::error::{BootError, Purpose};
use crate::frames::Frames;
use boot_info::{KernelConfig, KernelSegment, MemoryRegion, MemoryRegionKind, SegmentRights, StackLocation};
use core::ops::Range;
use x86_64::structures::paging::mapper::{MapToError, MappedPageTable, PageTableFrameMapping};
use x86_64::structures::paging::{
    FrameAllocator, Mapper, Page, PageSize, PageTableFlags, PhysFrame, Size1GiB, Size2MiB, Size4KiB,
};
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
pub struct AddressSpace<'a, 'map, M: PageTableFrameMapping> {
    tables: MappedPageTable<'a, M>,
    root: PhysFrame<Size4KiB>,
    frames: &'a mut Frames<'map>,
    features: PagingFeatures,
}

/// Everything below 4 GiB appears in the physical-memory window, device registers included.
const WINDOW_LOW_END: u64 = 1 << 32;

const PAGE: u64 = layout::PAGE_LEN as u64;

/// Entries of a page table.
const TABLE_ENTRIES: u16 = 512;

impl<'a, 'map, M: PageTableFrameMapping> AddressSpace<'a, 'map, M> {
    /// An empty address space. Its tables are taken from `frames`, as [`MemoryRegionKind::BOOTLOADER`].
    ///
    /// # Errors
    /// `OutOfMemory`.
    ///
    /// # Safety
    /// `mapping` has to give, for every frame that `frames` hands out, a pointer to its 4096 bytes, aligned, to which
    /// nobody else has access while this address space is being built.
    pub unsafe fn new(
        frames: &'a mut Frames<'map>,
        mapping: M,
        features: PagingFeatures,
    ) -> Result<Self, BootError> {
        let root = frames.allocate_frame().ok_or_else(|| frames.out_of_memory(PAGE, Purpose::PageTables))?;
        let pml4 = mapping.frame_to_pointer(root);
        // SAFETY: the caller promises that the pointer is valid and ours alone; 512 zeroed entries are a page table.
        let pml4 = unsafe {
            pml4.write_bytes(0, 1);
            &mut *pml4
        };
        // SAFETY: the caller vouches for the mapping; an empty PML4 is a valid hierarchy.
        let tables = unsafe { MappedPageTable::new(pml4, mapping) };
        Ok(Self { tables, root, frames, features })
    }

    /// Physical address of the PML4, for CR3.
    #[must_use]
    pub fn root_addr(&self) -> u64 {
        self.root.start_address().as_u64()
    }

    /// The tables, to look things up in.
    #[must_use]
    pub fn tables(&self) -> &MappedPageTable<'a, M> {
        &self.tables
    }

    /// Maps the kernel, each piece with its own rights.
    ///
    /// # Errors
    /// `OutOfMemory`, `AlreadyMapped`.
    pub fn map_kernel(&mut self, pieces: &[KernelSegment]) -> Result<(), BootError> {
        for piece in pieces {
            let flags = match piece.rights {
                SegmentRights::READ_WRITE => self.data(),
                SegmentRights::READ_EXECUTE => PageTableFlags::PRESENT,
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

    /// Maps physical memory from `config.physical_memory_offset` on: the first 4 GiB, and all memory in `regions`.
    ///
    /// # Errors
    /// `OutOfMemory`; `AlreadyMapped` where the kernel lies in the way.
    pub fn map_physical_memory(
        &mut self,
        config: &KernelConfig,
        regions: &[MemoryRegion],
    ) -> Result<(), BootError> {
        let is_memory = |region: &&MemoryRegion| {
            !matches!(region.kind, MemoryRegionKind::RESERVED | MemoryRegionKind::BAD)
                && region.end_addr <= crate::e820::USABLE_END
        };
        let above = regions.iter().filter(is_memory).map(|region| {
            let start = region.start_addr / PAGE * PAGE;
            start.max(WINDOW_LOW_END)..region.end_addr.next_multiple_of(PAGE)
        });
        let mut mapped_end = 0;
        for range in core::iter::once(0..WINDOW_LOW_END).chain(above) {
            // Rounded outward, two regions may share a page.
            let start = range.start.max(mapped_end);
            if start < range.end {
                let virtual_addr = config.physical_memory_offset.saturating_add(start);
                self.map(virtual_addr, start..range.end, self.data(), Purpose::PhysicalMemory)?;
                mapped_end = range.end;
            }
        }
        Ok(())
    }

    /// Maps the first MiB to itself, without page 0 and without what the kernel has mapped there. The mode-switch
    /// page can be executed and not written, all others the other way round.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn map_first_mib(&mut self) -> Result<(), BootError> {
        for addr in (PAGE..u64::from(layout::FIRST_MIB_END)).step_by(layout::PAGE_LEN as usize) {
            let flags = if addr == u64::from(layout::MODE_SWITCH_PAGE_ADDR) {
                PageTableFlags::PRESENT
            } else {
                self.data()
            };
            match self.map(addr, addr..addr + PAGE, flags, Purpose::FirstMib) {
                Ok(()) | Err(BootError::AlreadyMapped { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes a stack of `len` bytes, whole pages, in a part of the higher half that nothing else uses: an entry of
    /// the PML4 of its own, so that what lies below it and above it is not mapped.
    ///
    /// # Errors
    /// `OutOfMemory`; `AlreadyMapped` when the higher half is full.
    pub fn map_stack(&mut self, len: u64) -> Result<StackLocation, BootError> {
        let pml4 = self.tables.level_4_table();
        let index = (TABLE_ENTRIES / 2..TABLE_ENTRIES)
            .rev()
            .find(|&index| pml4[usize::from(index)].is_unused())
            .ok_or(BootError::AlreadyMapped { what: Purpose::Stack, found: u64::MAX })?;
        // The guard page is the first one of the entry.
        let bottom_addr = VirtAddr::new_truncate(u64::from(index) << 39).as_u64() + PAGE;
        let mut mapped = 0;
        while mapped < len {
            let range =
                self.frames.take_some(0, len - mapped, MemoryRegionKind::BOOTLOADER, Purpose::Stack)?;
            let taken = range.end - range.start;
            self.map(bottom_addr + mapped, range, self.data(), Purpose::Stack)?;
            mapped += taken;
        }
        Ok(StackLocation { bottom_addr, top_addr: bottom_addr + len })
    }

    /// Read and write, and not execute where the CPU can tell the difference.
    fn data(&self) -> PageTableFlags {
        let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
        if self.features.no_execute { flags | PageTableFlags::NO_EXECUTE } else { flags }
    }

    /// Maps a physical range to the addresses from `virtual_addr` on, with the largest pages that fit.
    fn map(
        &mut self,
        mut virtual_addr: u64,
        range: Range<u64>,
        flags: PageTableFlags,
        what: Purpose,
    ) -> Result<(), BootError> {
        let Range { start: mut physical_addr, end } = range;
        while physical_addr < end {
            let fits = |size: u64| {
                (virtual_addr | physical_addr).is_multiple_of(size) && end - physical_addr >= size
            };
            let len = if self.features.gib_pages && fits(Size1GiB::SIZE) {
                self.map_page::<Size1GiB>(virtual_addr, physical_addr, flags, what)?
            } else if fits(Size2MiB::SIZE) {
                self.map_page::<Size2MiB>(virtual_addr, physical_addr, flags, what)?
            } else {
                self.map_page::<Size4KiB>(virtual_addr, physical_addr, flags, what)?
            };
            physical_addr += len;
            // The last page of the address space may be the last one to be mapped.
            virtual_addr = virtual_addr.wrapping_add(len);
        }
        Ok(())
    }

    /// Maps one page and gives its size.
    fn map_page<S: PageSize>(
        &mut self,
        virtual_addr: u64,
        physical_addr: u64,
        flags: PageTableFlags,
        what: Purpose,
    ) -> Result<u64, BootError>
    where
        MappedPageTable<'a, M>: Mapper<S>,
    {
        let already_mapped = BootError::AlreadyMapped { what, found: virtual_addr };
        let page = VirtAddr::try_new(virtual_addr)
            .ok()
            .and_then(|addr| Page::<S>::from_start_address(addr).ok())
            .ok_or(already_mapped)?;
        let frame = PhysFrame::<S>::containing_address(PhysAddr::new(physical_addr));
        let parents = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
        // SAFETY: these tables are not in use yet; what they will make accessible is decided by the callers above.
        let result = unsafe { self.tables.map_to_with_table_flags(page, frame, flags, parents, self.frames) };
        match result {
            Ok(flush) => {
                flush.ignore();
                Ok(S::SIZE)
            }
            Err(MapToError::FrameAllocationFailed) => {
                Err(self.frames.out_of_memory(PAGE, Purpose::PageTables))
            }
            Err(MapToError::ParentEntryHugePage | MapToError::PageAlreadyMapped(_)) => Err(already_mapped),
        }
    }
}
