//! What is mapped at the start: what the kernel was told of, and nothing else. The page tables are seen through the entry of
//! the PML4 that leads to the PML4 itself, which the kernel has to ask for.

use crate::probe;
use boot_info::{BootInfo, MemoryRegionKind, SegmentRights};
use kernel::interrupts::PAGE_FAULT;
use kernel::println;
use x86_64::structures::paging::{PageTable, PageTableFlags};
use x86_64::{PhysAddr, VirtAddr};

const PAGE_LEN: u64 = 4096;
const FIRST_MIB_END: u64 = 0x10_0000;
const MODE_SWITCH_PAGE_ADDR: u64 = 0x8000;
const TEXT_BUFFER_ADDR: u64 = 0xb8000;

/// Where the window is by default.
const WINDOW_ADDR: u64 = 0xffff_8000_0000_0000;

/// No boot info is longer.
const BOOT_INFO_LEN_MAX: u64 = 1 << 20;

/// Checks every page. `has_first_mib` tells whether the kernel has asked to have it.
pub fn check(boot_info: &'static BootInfo, has_first_mib: bool) {
    let window = boot_info.physical_memory_offset();
    let tables = Tables { index: boot_info.recursive_index().expect("an index").into() };
    let absent = [PAGE_LEN, MODE_SWITCH_PAGE_ADDR - 1, TEXT_BUFFER_ADDR, FIRST_MIB_END - 1];
    // SAFETY: memory and the screen, or nothing.
    let attempts = absent.map(|addr| unsafe { probe::read(addr) });
    if !has_first_mib {
        // What is printed would fault, too.
        tables.map_text_buffer();
    }
    println!(
        "window: {window:x?}, first MiB: {has_first_mib}, ramdisk: {:?}",
        boot_info.ramdisk().map(<[u8]>::len)
    );
    for (addr, attempt) in absent.into_iter().zip(attempts) {
        match attempt {
            Ok(()) => assert!(has_first_mib, "{addr:#x} is mapped"),
            Err(fault) => {
                assert!(!has_first_mib && (fault.vector, fault.addr) == (PAGE_FAULT, addr), "{fault:x?}")
            }
        }
    }
    if window.is_none() {
        for addr in [WINDOW_ADDR, WINDOW_ADDR + TEXT_BUFFER_ADDR] {
            // SAFETY: nothing is there.
            let fault = unsafe { probe::read(addr) }.expect_err("physical memory is mapped");
            assert_eq!((fault.vector, fault.addr), (PAGE_FAULT, addr));
        }
    }

    let mut found = Found::default();
    tables.visit(4, 0, &mut |page| found.add(boot_info, &page));
    println!("bytes: {found:x?}");
    let kernel: u64 = boot_info.kernel_segments().iter().map(|segment| segment.len).sum();
    let stack = boot_info.stack();
    let ramdisk = boot_info.ramdisk().map_or(0, |bytes| bytes.len() as u64);
    assert_eq!(found.kernel, kernel);
    assert_eq!(found.stack, stack.top_addr - stack.bottom_addr);
    assert!(found.boot_info > 0);
    assert_eq!(found.first_mib, if has_first_mib { FIRST_MIB_END - PAGE_LEN } else { 2 * PAGE_LEN });
    // The window has the ramdisk in it.
    assert_eq!(found.ramdisk, if window.is_some() { 0 } else { ramdisk.next_multiple_of(PAGE_LEN) });
    assert_eq!(found.window > 0, window.is_some());
}

/// A page that is mapped.
struct Page {
    virtual_addr: u64,
    physical_addr: u64,
    len: u64,
    flags: PageTableFlags,
}

/// How many bytes of each kind are mapped.
#[derive(Debug, Default)]
struct Found {
    kernel: u64,
    stack: u64,
    boot_info: u64,
    ramdisk: u64,
    first_mib: u64,
    window: u64,
}

impl Found {
    /// Takes a page for what the kernel was told of at its address, and checks its rights.
    fn add(&mut self, boot_info: &'static BootInfo, page: &Page) {
        let Page { virtual_addr: addr, physical_addr, len, flags } = *page;
        let is_in = |start: u64, len: u64| start <= addr && addr - start < len;
        let mut rights = SegmentRights::READ_WRITE;
        let mut segments = boot_info.kernel_segments().iter();
        let stack = boot_info.stack();
        let boot_info_addr = core::ptr::from_ref(boot_info) as u64;
        let ramdisk = boot_info.ramdisk().unwrap_or_default();
        let sum = if let Some(segment) = segments.find(|segment| is_in(segment.virtual_addr, segment.len)) {
            assert_eq!(physical_addr - segment.physical_addr, addr - segment.virtual_addr);
            rights = segment.rights;
            &mut self.kernel
        } else if addr < FIRST_MIB_END {
            assert_eq!(physical_addr, addr);
            if addr == MODE_SWITCH_PAGE_ADDR {
                rights = SegmentRights::READ_EXECUTE;
            }
            &mut self.first_mib
        } else if is_in(stack.bottom_addr, stack.top_addr - stack.bottom_addr) {
            assert_eq!(kind(boot_info, physical_addr), Some(MemoryRegionKind::BOOTLOADER));
            &mut self.stack
        } else if is_in(boot_info_addr, BOOT_INFO_LEN_MAX) {
            assert_eq!(kind(boot_info, physical_addr), Some(MemoryRegionKind::BOOTLOADER));
            &mut self.boot_info
        } else if let Some(window) = boot_info.physical_memory_offset() {
            // The PAT's bit lies among the address's bits where a large page has writes combined.
            assert_eq!(addr - window, physical_addr & !(len - 1));
            // Here some pages cannot be written; `physical_memory` checks which ones.
            rights.0 = u32::from(flags.contains(PageTableFlags::WRITABLE));
            &mut self.window
        } else {
            let pages_len = ramdisk.len().next_multiple_of(4096) as u64;
            assert!(is_in(ramdisk.as_ptr() as u64, pages_len), "{addr:#x} is mapped");
            assert_eq!(kind(boot_info, physical_addr), Some(MemoryRegionKind::RAMDISK));
            &mut self.ramdisk
        };
        *sum += len;
        assert_eq!(
            flags.contains(PageTableFlags::WRITABLE),
            rights == SegmentRights::READ_WRITE,
            "{addr:#x}: {flags:?}"
        );
        if probe::no_execute() {
            let is_code = rights == SegmentRights::READ_EXECUTE;
            assert_eq!(flags.contains(PageTableFlags::NO_EXECUTE), !is_code, "{addr:#x}: {flags:?}");
        }
    }
}

fn kind(boot_info: &BootInfo, physical_addr: u64) -> Option<MemoryRegionKind> {
    let mut regions = boot_info.memory_regions().iter();
    let region = regions.find(|region| (region.start_addr..region.end_addr).contains(&physical_addr))?;
    Some(region.kind)
}

/// The page tables, as an entry of the PML4 shows them.
struct Tables {
    index: u64,
}

impl Tables {
    /// The table of a level, of which an entry stands for an address. It has to be there.
    fn pointer(&self, level: u32, addr: u64) -> *mut PageTable {
        // Each turn through the PML4's entry ends the way to the address one level higher.
        let shown = (0..level).fold(addr, |addr, _| self.index << 39 | (addr & ((1 << 48) - 1)) >> 9);
        VirtAddr::new_truncate(shown / PAGE_LEN * PAGE_LEN).as_mut_ptr()
    }

    /// Visits every page that is mapped from an address on which a table of this level is for.
    fn visit(&self, level: u32, start: u64, visitor: &mut dyn FnMut(Page)) {
        let entry_len = PAGE_LEN << (9 * (level - 1));
        // SAFETY: the tables are valid and nobody changes them meanwhile.
        let table = unsafe { &*self.pointer(level, start) };
        for (index, entry) in (0..).zip(table.iter()) {
            let flags = entry.flags();
            if !flags.contains(PageTableFlags::PRESENT) || level == 4 && index == self.index {
                continue;
            }
            let virtual_addr = VirtAddr::new_truncate(start + index * entry_len).as_u64();
            if level == 1 || flags.contains(PageTableFlags::HUGE_PAGE) {
                let physical_addr = entry.addr().as_u64();
                visitor(Page { virtual_addr, physical_addr, len: entry_len, flags });
            } else {
                self.visit(level - 1, virtual_addr, visitor);
            }
        }
    }

    /// Maps the text screen where the console looks for it. The mode-switch page has the tables for it, too.
    fn map_text_buffer(&self) {
        let flags = PageTableFlags::PRESENT
            | PageTableFlags::WRITABLE
            | PageTableFlags::NO_CACHE
            | PageTableFlags::WRITE_THROUGH;
        let no_execute =
            if probe::no_execute() { PageTableFlags::NO_EXECUTE } else { PageTableFlags::empty() };
        // SAFETY: the table is there; nothing is mapped at the address that would have to be forgotten.
        let table = unsafe { &mut *self.pointer(1, TEXT_BUFFER_ADDR) };
        let entry = &mut table[usize::try_from(TEXT_BUFFER_ADDR / PAGE_LEN % 512).expect("64 bits")];
        entry.set_addr(PhysAddr::new(TEXT_BUFFER_ADDR), flags | no_execute);
    }
}
