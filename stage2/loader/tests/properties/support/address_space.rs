//! The address space that a kernel starts in: built in the order of stage2, and checked page by page.

use super::memory_map::taken;
use super::page_walk::{Arena, Mapping, MemoryType, joined, pages};
use boot_info::{KernelConfig, KernelSegment, List, MemoryRegion, MemoryRegionKind, SegmentRights};
use loader::e820::USABLE_END;
use loader::error::Purpose;
use loader::frames::{Frames, LOW_END};
use loader::paging::{AddressSpace, PagingFeatures};
use loader::plan::AddressPlan;
use std::collections::BTreeSet;
use std::ops::Range;

const PAGE: u64 = layout::PAGE_LEN as u64;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Everything in physical memory below appears in the window, whatever it is.
const WINDOW_LEN_MIN: u64 = 4 * GIB;

/// What an address space is made for.
#[derive(Clone, Copy)]
pub(crate) struct Order<'a> {
    pub(crate) regions: &'a [MemoryRegion],
    pub(crate) pieces: &'a [KernelSegment],
    pub(crate) config: &'a KernelConfig,
    pub(crate) plan: &'a AddressPlan,
    /// Where the files lie that come with the kernel.
    pub(crate) files: &'a [Range<u64>],
    pub(crate) boot_info_len: u64,
    pub(crate) features: PagingFeatures,
    /// What the screen shows, if not empty: no memory.
    pub(crate) framebuffer: &'a Range<u64>,
}

/// What the kernel gets, and the memory that it was made of.
pub(crate) struct Built {
    /// Every page, by its address.
    pub(crate) pages: Vec<Mapping>,
    pub(crate) boot_info: Range<u64>,
    pub(crate) taken: Vec<MemoryRegion>,
    pub(crate) table_addrs: Vec<u64>,
}

impl Order<'_> {
    /// Maps everything that a kernel is given.
    pub(crate) fn build(&self, frames: &mut Frames<'_>) -> loader::Result<Built> {
        let kind = MemoryRegionKind::BOOTLOADER;
        let boot_info_addr = frames.take_whole(self.boot_info_len, kind, Purpose::BootInfo)?;
        let boot_info = boot_info_addr..boot_info_addr + self.boot_info_len;
        let arena = Arena::default();
        // SAFETY: the arena has a page for each frame, which nobody else knows.
        let mut space = unsafe { AddressSpace::new(frames, &arena, self.features)? };
        space.map_kernel(self.pieces)?;
        if self.config.map_physical_memory {
            space.map_window(self.plan, self.pieces, self.framebuffer)?;
        } else {
            for file in self.files {
                let told = List::new(self.plan.window_addr + file.start, file.end - file.start);
                space.map_file(self.plan, told)?;
            }
            space.map_file(self.plan, List::EMPTY)?;
            space.map_framebuffer(self.plan, self.framebuffer.clone(), true)?;
        }
        space.map_first_mib(self.config.map_first_mib)?;
        space.map_stack(self.plan.stack)?;
        space.map_boot_info(self.plan.boot_info_addr, boot_info.clone())?;
        let pages = pages(&arena, space.root_addr(), self.features);
        Ok(Built { pages, boot_info, taken: taken(frames), table_addrs: arena.frames() })
    }

    /// Checks that the kernel got what DESIGN.md tells, and nothing else.
    pub(crate) fn check(&self, built: &Built) {
        let stack = self.plan.stack;
        let stack = stack.bottom_addr..=stack.top_addr - 1;
        let (of_stack, others): (Vec<_>, Vec<_>) =
            built.pages.iter().partition(|page| stack.contains(&page.virtual_addr));
        assert_eq!(joined(others), self.expected(&built.boot_info));
        self.check_stack(&of_stack, built);
        self.check_guard_pages(&built.pages);
        self.check_aliases(&built.pages);
        self.check_large_pages(&built.pages);
        for addr in &built.table_addrs {
            assert_eq!(kind_of(built, *addr), Some(MemoryRegionKind::BOOTLOADER), "a table at {addr:#x}");
            assert!(!built.boot_info.contains(addr), "a table in the boot info");
            assert!(*addr < LOW_END, "a table at {addr:#x}, out of the loader's reach");
        }
        assert!(built.boot_info.end <= LOW_END, "the boot info is out of the loader's reach");
        assert_eq!(built.table_addrs.len(), table_count(&built.pages), "no table maps nothing");
    }

    /// Everything but the stack.
    fn expected(&self, boot_info: &Range<u64>) -> Vec<Mapping> {
        let data_executable = !self.features.no_execute;
        let mut expected = vec![Mapping {
            virtual_addr: self.plan.boot_info_addr,
            physical_addr: boot_info.start,
            len: self.boot_info_len,
            writable: true,
            executable: data_executable,
            memory_type: MemoryType::WriteBack,
        }];
        for piece in self.pieces {
            expected.push(Mapping {
                virtual_addr: piece.virtual_addr,
                physical_addr: piece.physical_addr,
                len: piece.len,
                writable: piece.rights == SegmentRights::READ_WRITE,
                executable: piece.rights == SegmentRights::READ_EXECUTE || data_executable,
                memory_type: MemoryType::WriteBack,
            });
        }
        let in_kernel = |addr| {
            let mut pieces = self.pieces.iter();
            pieces.any(|piece| piece.virtual_addr <= addr && addr - piece.virtual_addr < piece.len)
        };
        for addr in (PAGE..MIB).step_by(layout::PAGE_LEN as usize).filter(|&addr| !in_kernel(addr)) {
            let mode_switch = is_mode_switch(addr);
            if !mode_switch && !self.config.map_first_mib {
                continue;
            }
            expected.push(Mapping {
                virtual_addr: addr,
                physical_addr: addr,
                len: PAGE,
                writable: !mode_switch,
                executable: mode_switch || data_executable,
                memory_type: if mode_switch { MemoryType::WriteBack } else { self.memory_type(addr) },
            });
        }
        if !self.config.map_physical_memory {
            // Of all that would be in the window, the files and the framebuffer are there, to the ends of their last pages.
            expected.extend(self.files.iter().map(|file| Mapping {
                virtual_addr: self.plan.window_addr + file.start,
                physical_addr: file.start,
                len: (file.end - file.start).next_multiple_of(PAGE),
                writable: true,
                executable: data_executable,
                memory_type: MemoryType::WriteBack,
            }));
            let first = self.framebuffer.start / PAGE * PAGE;
            expected.push(Mapping {
                virtual_addr: self.plan.window_addr + first,
                physical_addr: first,
                len: self.framebuffer.end.next_multiple_of(PAGE) - first,
                writable: true,
                executable: data_executable,
                memory_type: MemoryType::WriteCombining,
            });
            return joined(expected);
        }
        for range in self.alike().windows(2).map(|pair| pair[0]..pair[1]) {
            if range.start < WINDOW_LEN_MIN || self.has_memory(range.start) {
                expected.push(Mapping {
                    virtual_addr: self.plan.window_addr + range.start,
                    physical_addr: range.start,
                    len: range.end - range.start,
                    writable: !is_mode_switch(range.start) && !self.is_protected(range.start),
                    executable: data_executable,
                    memory_type: self.memory_type(range.start),
                });
            }
        }
        joined(expected)
    }

    /// Physical addresses between which nothing changes from page to page: from 0 to the end of the window.
    fn alike(&self) -> Vec<u64> {
        let of_regions = self.regions.iter().flat_map(|region| [region.start_addr, region.end_addr]);
        let of_pieces =
            self.pieces.iter().flat_map(|piece| [piece.physical_addr, piece.physical_addr + piece.len]);
        let mode_switch = [layout::MODE_SWITCH_PAGE_ADDR, layout::MODE_SWITCH_PAGE_END].map(u64::from);
        let of_framebuffer = [self.framebuffer.start, self.framebuffer.end];
        let ends = of_regions.chain(of_pieces).chain(mode_switch).chain(of_framebuffer);
        // What begins in a page may change it and the next one.
        let ends =
            ends.flat_map(|addr| [addr / PAGE, (addr / PAGE).saturating_add(1)].map(|page| page * PAGE));
        let ends = ends.chain([0, WINDOW_LEN_MIN, self.plan.window_len]);
        ends.filter(|&addr| addr <= self.plan.window_len).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// How the page at an address may be cached: as memory where it is memory, of one region; its writes combined where all
    /// of it is shown on the screen.
    fn memory_type(&self, addr: u64) -> MemoryType {
        let mut memory = self.regions.iter().filter(|region| is_memory(region));
        if memory.any(|region| region.start_addr <= addr && addr + PAGE <= region.end_addr) {
            MemoryType::WriteBack
        } else if self.framebuffer.start <= addr && addr + PAGE <= self.framebuffer.end {
            MemoryType::WriteCombining
        } else {
            MemoryType::Uncacheable
        }
    }

    /// Whether some of the page at an address is memory.
    fn has_memory(&self, addr: u64) -> bool {
        let mut memory = self.regions.iter().filter(|region| is_memory(region));
        memory.any(|region| region.start_addr < addr + PAGE && addr < region.end_addr)
    }

    /// Whether the kernel has its code or constants in the page at an address.
    fn is_protected(&self, addr: u64) -> bool {
        let mut pieces = self.pieces.iter();
        pieces.any(|piece| piece.rights != SegmentRights::READ_WRITE && physical(piece).contains(&addr))
    }

    /// The stack is whole, and in memory of its own.
    fn check_stack(&self, of_stack: &[Mapping], built: &Built) {
        let mut next = self.plan.stack.bottom_addr;
        for page in of_stack {
            assert_eq!(page.virtual_addr, next, "no hole");
            assert!(page.writable && page.executable != self.features.no_execute);
            assert_eq!(page.memory_type, MemoryType::WriteBack);
            next += page.len;
            let frames = page.physical_addr..page.physical_end();
            for addr in frames.clone().step_by(layout::PAGE_LEN as usize) {
                assert_eq!(kind_of(built, addr), Some(MemoryRegionKind::BOOTLOADER), "stack at {addr:#x}");
            }
            assert!(!built.table_addrs.iter().any(|addr| frames.contains(addr)), "a table in the stack");
            let boot_info = &built.boot_info;
            assert!(frames.end <= boot_info.start || boot_info.end <= frames.start, "stack in the boot info");
        }
        assert_eq!(next, self.plan.stack.top_addr);
        let frames: BTreeSet<_> = of_stack.iter().map(|page| page.physical_addr).collect();
        assert_eq!(frames.len(), of_stack.len(), "each frame once");
    }

    /// Whoever runs over an end of the stack, or follows a null pointer, faults.
    fn check_guard_pages(&self, pages: &[Mapping]) {
        for guard in [0, self.plan.stack.bottom_addr - PAGE, self.plan.stack.top_addr] {
            let is_mapped = pages.iter().any(|page| page.virtual_addr <= guard && guard <= page.last_addr());
            assert!(!is_mapped, "the page at {guard:#x} is mapped");
        }
    }

    /// Whatever address a frame is reached by, it is memory of one type, and the kernel's code and constants stay what
    /// they are. Where the CPU has NX, no frame can be written and executed.
    fn check_aliases(&self, pages: &[Mapping]) {
        let frames = |choose: fn(&Mapping) -> bool| disjoint(pages.iter().filter(|page| choose(page)));
        let writable = frames(|page| page.writable);
        if self.features.no_execute {
            assert_eq!(common(&writable, &frames(|page| page.executable)), None, "written and executed");
        }
        let protected = self.pieces.iter().filter(|piece| piece.rights != SegmentRights::READ_WRITE);
        for piece in protected {
            assert_eq!(common(&writable, &[physical(piece)]), None, "{piece:x?} can be written");
        }
        let types = [
            frames(|page| page.memory_type == MemoryType::WriteBack),
            frames(|page| page.memory_type == MemoryType::WriteCombining),
            frames(|page| page.memory_type == MemoryType::Uncacheable),
        ];
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            assert_eq!(common(&types[one], &types[other]), None, "of two types");
        }
    }

    /// A large page is of one kind, and no small ones are where it could be.
    fn check_large_pages(&self, pages: &[Mapping]) {
        let memory = disjoint_ranges(
            self.regions
                .iter()
                .filter(|region| is_memory(region))
                .map(|region| region.start_addr..region.end_addr),
        );
        let whole_pages = self.regions.iter().filter(|region| is_memory(region));
        let whole_pages = disjoint_ranges(
            whole_pages.map(|region| region.start_addr.next_multiple_of(PAGE)..region.end_addr / PAGE * PAGE),
        );
        for page in pages.iter().filter(|page| page.len > PAGE) {
            let frames = page.physical_addr..page.physical_end();
            if page.memory_type == MemoryType::WriteBack {
                let is_in = |range: &Range<u64>| range.start <= frames.start && frames.end <= range.end;
                assert!(memory.iter().any(is_in), "not all of {page:x?} is memory");
            } else {
                assert_eq!(common(&whole_pages, &[frames]), None, "{page:x?} has memory in it");
            }
        }
        let sizes = if self.features.gib_pages { &[2 * MIB, GIB][..] } else { &[2 * MIB] };
        let window = self.plan.window_addr..=self.plan.window_addr + (self.plan.window_len - 1);
        let of_window: Vec<_> =
            pages.iter().filter(|page| window.contains(&page.virtual_addr)).copied().collect();
        let runs = if self.config.map_physical_memory {
            joined(of_window.clone())
        } else {
            // Files that are neighbours are mapped one by one.
            let mut runs = Vec::new();
            for file in self.files {
                let of_file = of_window.iter().filter(|page| file.contains(&page.physical_addr));
                runs.extend(joined(of_file.copied().collect()));
            }
            runs
        };
        for run in runs {
            for &size in sizes {
                let first = run.physical_addr.next_multiple_of(size);
                if first + size > run.physical_end() {
                    continue;
                }
                let end = run.physical_end() / size * size;
                let small = of_window
                    .iter()
                    .find(|page| first <= page.physical_addr && page.physical_addr < end && page.len < size);
                assert_eq!(small, None, "smaller than {size:#x} in {run:x?}");
            }
        }
    }
}

/// How many tables it takes to map these pages.
pub(crate) fn table_count(pages: &[Mapping]) -> usize {
    // Below the PML4, there is one table for each 512 neighbouring entries of a size, if a page of that size or a smaller
    // one is among them.
    let tables = |entry_len: u64| {
        let pages = pages.iter().filter(|page| page.len <= entry_len);
        pages.map(|page| page.virtual_addr / entry_len / 512).collect::<BTreeSet<_>>().len()
    };
    1 + tables(GIB) + tables(2 * MIB) + tables(PAGE)
}

fn is_mode_switch(addr: u64) -> bool {
    addr == u64::from(layout::MODE_SWITCH_PAGE_ADDR)
}

/// What the CPU may cache: RAM, whoever uses it. All else is devices, in doubt, or of a kind that nobody knows yet.
fn is_memory(region: &MemoryRegion) -> bool {
    let is_ram = matches!(
        region.kind,
        MemoryRegionKind::USABLE
            | MemoryRegionKind::BOOTLOADER
            | MemoryRegionKind::KERNEL
            | MemoryRegionKind::ACPI_RECLAIMABLE
            | MemoryRegionKind::ACPI_NVS
            | MemoryRegionKind::RAMDISK
    );
    is_ram && region.end_addr <= USABLE_END
}

fn physical(piece: &KernelSegment) -> Range<u64> {
    piece.physical_addr..piece.physical_addr + piece.len
}

fn kind_of(built: &Built, addr: u64) -> Option<MemoryRegionKind> {
    built.taken.iter().find(|run| run.start_addr <= addr && addr < run.end_addr).map(|run| run.kind)
}

/// The physical memory of some pages.
fn disjoint<'a>(pages: impl Iterator<Item = &'a Mapping>) -> Vec<Range<u64>> {
    disjoint_ranges(pages.map(|page| page.physical_addr..page.physical_end()))
}

/// The same addresses, sorted and joined.
fn disjoint_ranges(ranges: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut ranges: Vec<_> = ranges.filter(|range| !range.is_empty()).collect();
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    ranges.dedup_by(|next, last| {
        let meets = next.start <= last.end;
        if meets {
            last.end = last.end.max(next.end);
        }
        meets
    });
    ranges
}

/// What some ranges have in common with others, if anything.
fn common(some: &[Range<u64>], others: &[Range<u64>]) -> Option<Range<u64>> {
    others.iter().find_map(|other| {
        // The first one that ends behind the start of the other one; they are sorted and disjoint.
        let candidate = some.get(some.partition_point(|range| range.end <= other.start))?;
        let common = candidate.start.max(other.start)..candidate.end.min(other.end);
        (!common.is_empty()).then_some(common)
    })
}
