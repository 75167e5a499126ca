//! Every usable byte can be overwritten, and nothing that was handed over changes; then, from page tables and a stack of the
//! kernel's own, every byte that can be reclaimed, and the kernel goes on.

#![no_std]
#![no_main]

use boot_info::{BootInfo, KernelSegment, MemoryRegion, MemoryRegionKind, SegmentRights};
use core::arch::asm;
use kernel::interrupts::PAGE_FAULT;
use kernel::println;
use spin::{Mutex, Once};
use test_kernels::{ExitCode, probe};
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::mapper::{MappedPageTable, Mapper, PageTableFrameMapping};
use x86_64::structures::paging::{
    FrameAllocator, Page, PageTable, PageTableFlags, PhysFrame, Size2MiB, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

test_kernels::test_kernel!(test);

const PAGE_LEN: u64 = 4096;
const LARGE_PAGE_LEN: u64 = 2 << 20;
const TEXT_BUFFER_ADDR: u64 = 0xb8000;

/// What may be overwritten once it has been copied, or is no longer needed.
const RECLAIMABLE: [MemoryRegionKind; 3] =
    [MemoryRegionKind::BOOTLOADER, MemoryRegionKind::ACPI_RECLAIMABLE, MemoryRegionKind::RAMDISK];

fn test(boot_info: &'static BootInfo) {
    let copy = COPY.call_once(|| Copy::of(boot_info));
    let ramdisk = boot_info.ramdisk().unwrap_or_default();
    copy.overwrite(&[MemoryRegionKind::USABLE]);
    println!("usable: {} KiB overwritten", copy.len(MemoryRegionKind::USABLE) / 1024);
    assert_eq!(boot_info.memory_regions(), copy.regions());
    assert_eq!(boot_info.kernel_segments(), copy.segments());
    assert_eq!(boot_info.command_line(), "a line that stays");
    assert!(ramdisk.iter().enumerate().all(|(index, byte)| usize::from(*byte) == index % 251));
    copy.check(&[MemoryRegionKind::USABLE]);

    let root = Tables::build(copy);
    println!("own page tables: {} KiB", TABLES.lock().used * 4);
    let stack_top = (&raw const STACK).addr() + STACK_LEN;
    // SAFETY: the new tables map the kernel where it is, with its stack, the text buffer and all memory that it uses; its
    // GDT and IDT are its own since the start. Nothing on the old stack is used again.
    unsafe {
        Cr3::write(root, Cr3Flags::empty());
        asm!("mov rsp, {}", "xor ebp, ebp", "call {}", in(reg) stack_top, sym go_on, options(noreturn));
    }
}

/// From here on, nothing that the loader made is used.
extern "C" fn go_on() -> ! {
    let copy = COPY.get().expect("a copy");
    copy.overwrite(&RECLAIMABLE);
    for kind in RECLAIMABLE {
        println!("{kind}: {} KiB overwritten", copy.len(kind) / 1024);
    }
    copy.check(&[MemoryRegionKind::USABLE]);
    copy.check(&RECLAIMABLE);

    // Exceptions still find their way.
    x86_64::instructions::interrupts::int3();
    // SAFETY: nothing is there.
    let fault = unsafe { probe::read(0) }.expect_err("page 0 can be read");
    assert_eq!((fault.vector, fault.addr), (PAGE_FAULT, 0));
    test_kernels::exit(ExitCode::Success)
}

const STACK_LEN: usize = 64 * 1024;

#[repr(C, align(16))]
struct Stack([u8; STACK_LEN]);

/// Written by the CPU alone.
static mut STACK: Stack = Stack([0; STACK_LEN]);

/// What the kernel needs of the boot info later on.
struct Copy {
    window: u64,
    regions: [MemoryRegion; BootInfo::MEMORY_REGIONS_MAX],
    region_count: usize,
    segments: [KernelSegment; SEGMENTS_MAX],
    segment_count: usize,
}

const SEGMENTS_MAX: usize = 16;

static COPY: Once<Copy> = Once::new();

impl Copy {
    fn of(boot_info: &BootInfo) -> Self {
        let none = KernelSegment {
            virtual_addr: 0,
            physical_addr: 0,
            len: 0,
            rights: SegmentRights::READ,
            reserved: 0,
        };
        let (regions, segments) = (boot_info.memory_regions(), boot_info.kernel_segments());
        let mut copy = Self {
            window: test_kernels::window(boot_info),
            regions: [MemoryRegion::EMPTY; BootInfo::MEMORY_REGIONS_MAX],
            region_count: regions.len(),
            segments: [none; SEGMENTS_MAX],
            segment_count: segments.len(),
        };
        copy.regions[..regions.len()].copy_from_slice(regions);
        copy.segments[..segments.len()].copy_from_slice(segments);
        copy
    }

    fn regions(&self) -> &[MemoryRegion] {
        &self.regions[..self.region_count]
    }

    fn segments(&self) -> &[KernelSegment] {
        &self.segments[..self.segment_count]
    }

    fn of_kinds(&self, kinds: &[MemoryRegionKind]) -> impl Iterator<Item = &MemoryRegion> {
        self.regions().iter().filter(|region| kinds.contains(&region.kind))
    }

    /// Bytes of memory of a kind.
    fn len(&self, kind: MemoryRegionKind) -> u64 {
        self.of_kinds(&[kind]).map(MemoryRegion::len).sum()
    }

    /// Fills all memory of these kinds: each word with its address.
    fn overwrite(&self, kinds: &[MemoryRegionKind]) {
        for region in self.of_kinds(kinds) {
            for addr in (region.start_addr..region.end_addr).step_by(8) {
                // SAFETY: nothing of it is needed, or the memory map is wrong, which is to be found out.
                unsafe { ((self.window + addr) as *mut u64).write_volatile(addr) };
            }
        }
    }

    /// What was written is still there.
    fn check(&self, kinds: &[MemoryRegionKind]) {
        for region in self.of_kinds(kinds) {
            for addr in (region.start_addr..region.end_addr).step_by(8) {
                // SAFETY: memory that was written before.
                assert_eq!(unsafe { ((self.window + addr) as *const u64).read_volatile() }, addr);
            }
        }
    }

    /// Where something of the kernel lies in physical memory.
    fn physical_addr<T>(&self, pointer: *const T) -> u64 {
        let addr = pointer.addr() as u64;
        let mut segments = self.segments().iter();
        let segment = segments
            .find(|segment| (segment.virtual_addr..segment.virtual_addr + segment.len).contains(&addr));
        let segment = segment.expect("an address of the kernel");
        segment.physical_addr + (addr - segment.virtual_addr)
    }
}

const TABLES_MAX: usize = 64;

/// Page tables in the kernel's own memory. The first one is the PML4.
struct Tables {
    tables: [PageTable; TABLES_MAX],
    used: usize,
    physical_addr: u64,
}

static TABLES: Mutex<Tables> =
    Mutex::new(Tables { tables: [const { PageTable::new() }; TABLES_MAX], used: 1, physical_addr: 0 });

impl Tables {
    /// Maps the kernel as it is, the text buffer, and where they were the memory that is usable or can be reclaimed.
    fn build(copy: &Copy) -> PhysFrame {
        let tables = &mut *TABLES.lock();
        let first = (&raw mut tables.tables).cast::<PageTable>();
        tables.physical_addr = copy.physical_addr(first);
        let root = frame(tables.physical_addr);
        let place = Place { first, physical_addr: tables.physical_addr };
        // SAFETY: the first table is used for this alone.
        let mut mapper = unsafe { MappedPageTable::new(&mut *first, place) };
        let mut frames = Unused { used: &mut tables.used, physical_addr: place.physical_addr };
        let data = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
        let data = if probe::no_execute() { data | PageTableFlags::NO_EXECUTE } else { data };

        let mut map = |virtual_addr: u64, physical_addr: u64, end: u64, flags: PageTableFlags| {
            let mut offset = 0;
            while physical_addr + offset < end {
                let (from, to) =
                    (VirtAddr::new(virtual_addr + offset), PhysAddr::new(physical_addr + offset));
                let is_large = (from.as_u64() | to.as_u64()).is_multiple_of(LARGE_PAGE_LEN)
                    && to.as_u64() + LARGE_PAGE_LEN <= end;
                // SAFETY: these tables are not in use yet.
                unsafe {
                    if is_large {
                        let page = Page::<Size2MiB>::containing_address(from);
                        let mapped =
                            mapper.map_to(page, PhysFrame::containing_address(to), flags, &mut frames);
                        mapped.expect("a free page").ignore();
                    } else {
                        let page = Page::<Size4KiB>::containing_address(from);
                        let mapped =
                            mapper.map_to(page, PhysFrame::containing_address(to), flags, &mut frames);
                        mapped.expect("a free page").ignore();
                    }
                }
                offset += if is_large { LARGE_PAGE_LEN } else { PAGE_LEN };
            }
        };
        for segment in copy.segments() {
            let flags = match segment.rights {
                SegmentRights::READ_WRITE => data,
                SegmentRights::READ_EXECUTE => PageTableFlags::PRESENT,
                _ => data - PageTableFlags::WRITABLE,
            };
            map(segment.virtual_addr, segment.physical_addr, segment.physical_addr + segment.len, flags);
        }
        let uncached = data | PageTableFlags::NO_CACHE | PageTableFlags::WRITE_THROUGH;
        map(TEXT_BUFFER_ADDR, TEXT_BUFFER_ADDR, TEXT_BUFFER_ADDR + PAGE_LEN, uncached);
        for region in copy.of_kinds(&[MemoryRegionKind::USABLE]).chain(copy.of_kinds(&RECLAIMABLE)) {
            map(copy.window + region.start_addr, region.start_addr, region.end_addr, data);
        }
        root
    }
}

fn frame(addr: u64) -> PhysFrame {
    PhysFrame::containing_address(PhysAddr::new(addr))
}

/// Where the tables are, for the kernel and in physical memory.
#[derive(Clone, core::marker::Copy)]
struct Place {
    first: *mut PageTable,
    physical_addr: u64,
}

// SAFETY: each frame is the place of one table, which `Tables` keeps for ever.
unsafe impl PageTableFrameMapping for Place {
    fn frame_to_pointer(&self, frame: PhysFrame) -> *mut PageTable {
        let offset = frame.start_address().as_u64() - self.physical_addr;
        self.first.wrapping_byte_add(usize::try_from(offset).expect("64 bits"))
    }
}

/// Hands out the tables that are left.
struct Unused<'a> {
    used: &'a mut usize,
    physical_addr: u64,
}

// SAFETY: each table is handed out once.
unsafe impl FrameAllocator<Size4KiB> for Unused<'_> {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let index = *self.used;
        *self.used += 1;
        (index < TABLES_MAX).then(|| frame(self.physical_addr + index as u64 * PAGE_LEN))
    }
}
