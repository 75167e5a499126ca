//! The boot sector of a disk with partitions, as operating systems install it: moves out of the way, loads the first sector of
//! the active partition by INT 13h AH=42h to 0:7c00h, and jumps there with DS:SI at the partition's entry in its table.
//!
//! The partition table is what the test writes. So is a far pointer at [`layout::DESCRIPTOR_OFFSET`], which is handed over in
//! place of DS:SI if it is not 0. For a test that does so, the last entry is also at 0:FFF5h, over the end of the segment. `mbr_entry` is entered in real mode with DL = boot drive.

#![no_std]
#![no_main]

use core::arch::global_asm;
use core::panic::PanicInfo;

/// Bytes of an entry in the partition table.
const ENTRY_LEN: u32 = 16;

/// Where an entry lies whose LBA goes over the end of the first 64 KiB.
const OVER_THE_END: u32 = 0xfff5;

global_asm!(
    include_str!("sector.s"),
    stage1 = const layout::STAGE1_ADDR,
    moved = const layout::BIOS_DATA_END,
    words = const layout::SECTOR_LEN / 2,
    table = const layout::BIOS_DATA_END + layout::PARTITION_TABLE_OFFSET,
    table_end = const layout::BIOS_DATA_END + layout::PARTITION_TABLE_OFFSET + 4 * ENTRY_LEN,
    last_entry = const layout::BIOS_DATA_END + layout::PARTITION_TABLE_OFFSET + 3 * ENTRY_LEN,
    over_the_end_segment = const OVER_THE_END >> 4,
    over_the_end_offset = const OVER_THE_END & 0xf,
    entry_len = const ENTRY_LEN,
    pointer = const layout::BIOS_DATA_END + layout::DESCRIPTOR_OFFSET,
    signature_offset = const layout::BOOT_SIGNATURE_OFFSET,
);

/// Never called: there is no Rust code in the sector.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
