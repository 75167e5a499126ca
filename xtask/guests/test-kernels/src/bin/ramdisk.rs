//! The ramdisk is there, byte for byte, in memory of its own. The command line tells its length; a byte is its index modulo
//! 251. Without a command line there is none.

#![no_std]
#![no_main]

use boot_info::{BootInfo, MemoryRegionKind};
use kernel::println;

test_kernels::test_kernel!(test);

const PAGE: u64 = 4096;

fn test(boot_info: &'static BootInfo) {
    let Ok(len) = boot_info.command_line().parse() else {
        assert!(boot_info.ramdisk().is_none());
        return;
    };
    let ramdisk: &[u8] = boot_info.ramdisk().expect("a ramdisk");
    println!("ramdisk: {} bytes at {:p}", ramdisk.len(), ramdisk);
    assert_eq!(ramdisk.len(), len);
    for (index, byte) in ramdisk.iter().enumerate() {
        assert_eq!(usize::from(*byte), index % 251, "byte {index}");
    }

    let mut regions = boot_info.memory_regions().iter();
    let region = regions.find(|region| region.kind == MemoryRegionKind::RAMDISK).expect("its memory");
    println!("region: {region:?}");
    assert_eq!(region.len(), (ramdisk.len() as u64).next_multiple_of(PAGE));
    if let Some(window) = boot_info.physical_memory_offset() {
        assert_eq!(ramdisk.as_ptr() as u64, window + region.start_addr);
    }
    assert!(ramdisk.as_ptr().addr().is_multiple_of(4096));
    let rest_len = ramdisk.len().next_multiple_of(4096) - ramdisk.len();
    // SAFETY: it is the rest of the last page, which is mapped.
    let rest = unsafe { core::slice::from_raw_parts(ramdisk.as_ptr().add(ramdisk.len()), rest_len) };
    assert!(rest.iter().all(|byte| *byte == 0));
}
