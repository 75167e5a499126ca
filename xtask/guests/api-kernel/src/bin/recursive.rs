//! A kernel of `bootloader_api` 0.11 that sees its page tables through the PML4's own entry, and has its stack, and the window
//! to physical memory, where it wants them.

#![no_std]
#![no_main]

use api_kernel::{BootInfoFrameAllocator, map_a_page, succeed};
use bootloader_api::config::{BootloaderConfig, Mapping};
use bootloader_api::{BootInfo, entry_point};
use x86_64::VirtAddr;
use x86_64::structures::paging::{PageTable, PageTableIndex, RecursivePageTable};

const GUARD_PAGE_ADDR: u64 = 0xffff_f000_0000_0000;
const WINDOW_ADDR: u64 = 0xffff_9000_0000_0000;
const HANDED_OVER_ADDR: u64 = 0x4000_0000_0000;

const CONFIG: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    config.mappings.page_table_recursive = Some(Mapping::Dynamic);
    config.mappings.physical_memory = Some(Mapping::FixedAddress(WINDOW_ADDR));
    config.mappings.kernel_stack = Mapping::FixedAddress(GUARD_PAGE_ADDR);
    config.mappings.boot_info = Mapping::FixedAddress(HANDED_OVER_ADDR);
    config
};

entry_point!(kernel_main, config = &CONFIG);

fn kernel_main(boot_info: &'static mut BootInfo) -> ! {
    assert_eq!(boot_info.physical_memory_offset.into_option(), Some(WINDOW_ADDR));
    let on_the_stack = (&raw const boot_info) as u64;
    assert_eq!(boot_info.kernel_stack_bottom, GUARD_PAGE_ADDR + 4096);
    assert!((GUARD_PAGE_ADDR + 4096..GUARD_PAGE_ADDR + 4096 + 80 * 1024).contains(&on_the_stack));
    // SAFETY: the configuration has it there, and it can be read.
    let handed_over = unsafe { (HANDED_OVER_ADDR as *const [u8; 8]).read_volatile() };
    assert_eq!(handed_over, *b"DOORSTEP");

    let index = PageTableIndex::new(boot_info.recursive_index.into_option().expect("an entry"));
    let index = u64::from(index);
    let table_addr = VirtAddr::new_truncate(index << 39 | index << 30 | index << 21 | index << 12);
    // SAFETY: the loader says that it is there; this is the only reference.
    let table = unsafe { &mut *table_addr.as_mut_ptr::<PageTable>() };
    let mut mapper = RecursivePageTable::new(table).expect("a table that leads to itself");
    // SAFETY: the map tells what is usable, and this is the only allocator.
    let mut frames = unsafe { BootInfoFrameAllocator::new(&boot_info.memory_regions) };
    map_a_page(&mut mapper, &mut frames);
    succeed()
}
