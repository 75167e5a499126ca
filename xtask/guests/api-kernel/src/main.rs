//! A kernel written for the crate `bootloader_api` 0.11, in the way of its examples: it has physical memory mapped, walks
//! the memory map, and maps a page.
//!
//! It knows nothing of Doorstep.

#![no_std]
#![no_main]

use api_kernel::{BootInfoFrameAllocator, Serial, map_a_page, succeed};
use bootloader_api::config::{BootloaderConfig, Mapping};
use bootloader_api::info::{MemoryRegionKind, Optional};
use bootloader_api::{BootInfo, entry_point};
use core::fmt::Write;
use x86_64::VirtAddr;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::{OffsetPageTable, PageTable, Translate};

/// What the kernel asks for.
pub static BOOTLOADER_CONFIG: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    config.mappings.physical_memory = Some(Mapping::Dynamic);
    config.mappings.dynamic_range_start = Some(0xffff_8000_0000_0000);
    config.kernel_stack_size = 100 * 1024 + 1;
    config
};

entry_point!(kernel_main, config = &BOOTLOADER_CONFIG);

fn kernel_main(boot_info: &'static mut BootInfo) -> ! {
    let _ = writeln!(Serial, "{boot_info:?}");
    check_memory_map(boot_info);
    check_stack(boot_info);
    check_framebuffer(boot_info);
    assert_eq!(boot_info.tls_template, Optional::None);
    assert_eq!(boot_info.recursive_index.into_option(), None);
    assert_eq!((boot_info.ramdisk_addr, boot_info.ramdisk_len), (Optional::None, 0));
    assert_eq!(boot_info.api_version.version_minor(), 11);

    let offset =
        VirtAddr::new(boot_info.physical_memory_offset.into_option().expect("mapped physical memory"));
    check_rsdp(boot_info, offset);
    let (table, _) = Cr3::read();
    let table: *mut PageTable = (offset + table.start_address().as_u64()).as_mut_ptr();
    // SAFETY: physical memory is mapped there, and this is the only mapper.
    let mut mapper = unsafe { OffsetPageTable::new(&mut *table, offset) };
    let code = mapper.translate_addr(VirtAddr::new(kernel_main as *const () as u64)).expect("the kernel");
    let kernel = boot_info.kernel_addr..boot_info.kernel_addr + boot_info.kernel_len;
    assert!(kernel.contains(&code.as_u64()), "{code:?} is not in {kernel:x?}");
    assert_eq!(boot_info.kernel_image_offset, 0, "linked to where it runs");

    // SAFETY: the map tells what is usable, and this is the only allocator.
    let mut frames = unsafe { BootInfoFrameAllocator::new(&boot_info.memory_regions) };
    map_a_page(&mut mapper, &mut frames);
    succeed()
}

/// The map can be relied on, and knows the kernel.
fn check_memory_map(boot_info: &BootInfo) {
    let regions = &boot_info.memory_regions;
    assert!(regions.is_sorted_by(|a, b| a.end <= b.start));
    assert!(regions.iter().all(|region| region.start < region.end));
    let usable = regions.iter().filter(|region| region.kind == MemoryRegionKind::Usable);
    let usable_len: u64 = usable.map(|region| region.end - region.start).sum();
    assert!(usable_len > 50 << 20, "{usable_len} bytes usable of 64 MiB or more");
    assert!(regions.iter().any(|region| matches!(region.kind, MemoryRegionKind::UnknownBios(2))));
    let kernel = regions.iter().find(|region| (region.start..region.end).contains(&boot_info.kernel_addr));
    assert_eq!(kernel.map(|region| region.kind), Some(MemoryRegionKind::Bootloader));
}

/// It is what this function runs on, as large as it was asked for, in whole pages.
fn check_stack(boot_info: &BootInfo) {
    assert_eq!(boot_info.kernel_stack_len, 26 * 4096);
    let stack = boot_info.kernel_stack_bottom..boot_info.kernel_stack_bottom + boot_info.kernel_stack_len;
    assert!(stack.contains(&((&raw const stack) as u64)), "not on the stack at {stack:x?}");
    assert!(stack.start >= 0xffff_8000_0000_0000);
}

/// There are pixels, unless somebody chose text, and what is written to them stays.
fn check_framebuffer(boot_info: &mut BootInfo) {
    let framebuffer = boot_info.framebuffer.as_mut().expect("a card with graphics");
    let info = framebuffer.info();
    assert!(info.width >= 640 && info.height >= 480 && info.stride >= info.width, "{info:?}");
    assert_eq!(info.byte_len, info.stride * info.height * info.bytes_per_pixel);
    let buffer = framebuffer.buffer_mut();
    buffer.fill(0x55);
    assert!(buffer.iter().all(|&byte| byte == 0x55));
}

/// It is where the boot info says, in physical memory.
fn check_rsdp(boot_info: &BootInfo, offset: VirtAddr) {
    let addr = boot_info.rsdp_addr.into_option().expect("QEMU has ACPI tables");
    // SAFETY: physical memory is mapped there.
    let bytes: [u8; 20] = unsafe { (offset + addr).as_ptr::<[u8; 20]>().read() };
    assert_eq!(bytes[..8], *b"RSD PTR ");
    assert_eq!(bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte)), 0);
}
