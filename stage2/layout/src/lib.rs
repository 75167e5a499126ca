//! Where everything lies: every physical address and every disk offset of the boot chain, each derived from the
//! one before it.
//!
//! The boot stages, their linker scripts and assembly (through `build.rs` and `const` operands) and `xtask` all
//! take their numbers from here, so no number is written twice.
//!
//! ```text
//! physical memory while the loader runs
//!   0x00000  interrupt vectors, BIOS data area
//!   0x01000  stack of stage1 and stage2 (grows down from STACK_TOP)
//!   0x07c00  stage1, with the stage2 descriptor and the partition table
//!   0x08000  stage2: the mode-switch page first, then the rest, then its .bss
//!   0x40000  bounce buffer for BIOS disk reads (one 64 KiB segment)
//!   0x50000  the kernel's ELF headers
//!   0x60000  end of the loader
//! ```

#![no_std]
#![forbid(unsafe_code)]

/// Bytes in a disk sector, and in the BIOS's unit of transfer (INT 13h).
pub const SECTOR_LEN: u32 = 512;

/// Bytes in a sector of a CD.
pub const CD_SECTOR_LEN: u32 = 2048;

/// Bytes in a page of the smallest size (Intel SDM volume 3, section 4.2).
pub const PAGE_LEN: u32 = 4096;

/// Bytes that a real-mode segment spans. A BIOS disk transfer must not cross a multiple of it: ISA DMA cannot.
pub const SEGMENT_LEN: u32 = 0x1_0000;

/// Sectors that every BIOS can read in one EDD call (EDD-3, section 8.2.2: some take no more than 127).
pub const MAX_READ_SECTORS: u32 = 127;

/// First byte above the memory that real mode, and every BIOS, can address.
pub const FIRST_MIB_END: u32 = 0x10_0000;

// --- Memory, from the bottom up -------------------------------------------------------------------------------

/// End of the interrupt vector table, the BIOS data area and what follows them in use by BIOSes.
pub const BIOS_DATA_END: u32 = 0x600;

/// Where the BIOS counts the ticks of its timer, 18.2 a second, since midnight: a double word in its data area.
pub const BIOS_TICKS_ADDR: u32 = 0x46c;

/// So many ticks after the last key, and not before, a key that is typed answers a message: a second. A key that is held
/// repeats itself sooner.
pub const QUIET_TICKS: u32 = 18;

/// Lowest address of the loader's stack; the first page belongs to the BIOS.
pub const STACK_BOTTOM: u32 = BIOS_DATA_END.next_multiple_of(PAGE_LEN);

/// Where the BIOS loads the boot sector (fixed since the IBM PC).
pub const STAGE1_ADDR: u32 = 0x7c00;

/// The loader's stack starts here and grows down, in every mode up to the hand-off. No page of it has code in it, such as
/// stage1: an emulator that translates code looks for changed code at each write to such a page, which made the loader
/// ten times slower.
pub const STACK_TOP: u32 = STAGE1_ADDR / PAGE_LEN * PAGE_LEN;

/// The lowest page of the loader's stack is a guard: without paging it cannot be unmapped, but it is filled with a
/// pattern, and stage2 looks whether that is still there.
pub const STACK_GUARD_END: u32 = STACK_BOTTOM + PAGE_LEN;

/// What the guard of the stack is filled with, word by word.
pub const STACK_GUARD_PATTERN: u32 = 0x5354_4b21;

/// End of the boot sector in memory.
pub const STAGE1_END: u32 = STAGE1_ADDR + SECTOR_LEN;

/// Where a PXE ROM loads a network boot program and enters it (PXE specification 2.1, section 4.4.5): a boot sector's place.
pub const NETWORK_PROGRAM_ADDR: u32 = STAGE1_ADDR;

/// Where a network boot program goes on from its first instruction: between a boot sector's place and stage2.
pub const NETWORK_PROGRAM_ENTRY: u32 = STAGE1_END;

/// Where stage1 loads stage2 and jumps to it, in real mode with CS = 0.
pub const STAGE2_ADDR: u32 = STAGE1_END.next_multiple_of(PAGE_LEN);

/// The page that holds every mode switch, stage2's first. It stays identity-mapped, read and execute, across
/// the switch to long mode.
pub const MODE_SWITCH_PAGE_ADDR: u32 = STAGE2_ADDR;

/// End of the mode-switch page.
pub const MODE_SWITCH_PAGE_END: u32 = MODE_SWITCH_PAGE_ADDR + PAGE_LEN;

/// End of the largest stage2 that stage1 may load; stage2's .bss may reach beyond.
pub const STAGE2_FILE_END: u32 = STAGE2_ADDR + STAGE2_MAX_SECTORS * SECTOR_LEN;

/// Most bytes of the loader on the disk of every kernel, stage1 and stage2's main part: 48 KiB.
pub const LOADER_MAX_LEN: u32 = 48 * 1024;

/// Where the main part of stage2 has to end, if it is not built for gdb.
pub const STAGE2_MAIN_PART_END: u32 = STAGE2_ADDR + LOADER_MAX_LEN - SECTOR_LEN;

/// Where stage2's .bss has to end.
pub const STAGE2_END: u32 = STAGE2_FILE_END.next_multiple_of(SEGMENT_LEN) + 2 * SEGMENT_LEN;

/// BIOS disk reads land here before their bytes are copied up: one whole real-mode segment.
pub const BOUNCE_BUFFER_ADDR: u32 = STAGE2_END.next_multiple_of(SEGMENT_LEN);

/// Bytes in the bounce buffer: the largest read.
pub const BOUNCE_BUFFER_LEN: u32 = MAX_READ_SECTORS * SECTOR_LEN;

/// Where the kernel's ELF headers are read to: file header and program header table.
pub const KERNEL_HEADERS_ADDR: u32 = BOUNCE_BUFFER_ADDR + SEGMENT_LEN;

/// Most bytes that the kernel's ELF headers may have, from the start of its file.
pub const KERNEL_HEADERS_MAX: u32 = SEGMENT_LEN;

/// End of the memory that the loader uses below 1 MiB.
pub const LOADER_END: u32 = KERNEL_HEADERS_ADDR + KERNEL_HEADERS_MAX;

/// Where another loader loads stage2 to, as a program of its own: each byte lies as far from here as it will lie from address
/// 0. The first bytes, below [`STAGE2_ADDR`], move the rest down.
pub const PROGRAM_ADDR: u32 = FIRST_MIB_END;

/// Bytes of what lay where the loader runs, which are moved away before: the other loader may have left there what it tells.
pub const SAVED_LEN: u32 = LOADER_END - STACK_BOTTOM;

/// Where they are moved to, behind the program.
pub const SAVED_ADDR: u32 = PROGRAM_ADDR + LOADER_END;

// --- LBA 0 ----------------------------------------------------------------------------------------------------

/// The jump over the BPB fills the first bytes of the boot sector.
pub const JUMP_LEN: u32 = 3;

/// End of the area left for a BIOS parameter block: that of FAT32, the longest. Some BIOSes write to it.
pub const BPB_END: u32 = 0x5a;

/// Offset of the stage2 descriptor in the boot sector. Written by `xtask`, read by stage1 and by stage2's entry from it.
pub const DESCRIPTOR_OFFSET: u32 = DISK_SIGNATURE_OFFSET - DESCRIPTOR_LEN;

/// Bytes in the stage2 descriptor.
pub const DESCRIPTOR_LEN: u32 = 12;

/// Offset in the descriptor: the checksum of stage2, four bytes.
pub const DESCRIPTOR_CHECKSUM: u32 = 0;

/// Offset in the descriptor: LBA of stage2's first sector, four bytes.
pub const DESCRIPTOR_LBA: u32 = DESCRIPTOR_CHECKSUM + 4;

/// Offset in the descriptor: stage2's length in sectors, two bytes.
pub const DESCRIPTOR_SECTORS: u32 = DESCRIPTOR_LBA + 4;

/// Offset in the descriptor: bytes in a sector, two bytes.
pub const DESCRIPTOR_SECTOR_LEN: u32 = DESCRIPTOR_SECTORS + 2;

/// How much more often each word counts in the checksum of stage2 than words follow it, as a power of two: as many words as a
/// segment has.
pub const CHECKSUM_COUNT_SHIFT: u32 = (SEGMENT_LEN / 2).ilog2();

/// Offset of the disk signature (four bytes) in the boot sector.
pub const DISK_SIGNATURE_OFFSET: u32 = 440;

/// Offset of the partition table (four entries of sixteen bytes) in the boot sector.
pub const PARTITION_TABLE_OFFSET: u32 = 446;

/// Offset of the bytes 55h AAh in the boot sector.
pub const BOOT_SIGNATURE_OFFSET: u32 = SECTOR_LEN - 2;

/// The bytes that mark a boot sector.
pub const BOOT_SIGNATURE: [u8; 2] = [0x55, 0xaa];

// --- Disk, from the front -------------------------------------------------------------------------------------

/// LBA of the boot sector.
pub const STAGE1_LBA: u32 = 0;

/// LBA of stage2's first sector on a disk, and in a partition from its start on. The bundle lies behind its last.
pub const STAGE2_LBA: u32 = STAGE1_LBA + 1;

/// Where stage2 ends at the latest, as an LBA from the start of disk, partition or CD on: a CD's file system comes before it.
pub const STAGE2_END_LBA_MAX: u32 = 256;

/// Sectors that stage2 may fill at most, so that one portable read could fetch it.
pub const STAGE2_MAX_SECTORS: u32 = MAX_READ_SECTORS;

/// Bytes of the bundle's header: whole sectors of every length that a medium may have.
pub const BUNDLE_HEADER_LEN: u32 = CD_SECTOR_LEN;

/// Each piece of the bundle starts on a multiple of this many bytes from its start: wherever the bundle itself lies on a
/// page, so do they.
pub const PIECE_ALIGNMENT: u32 = PAGE_LEN;

/// The partition type of our one partition: reserved for individual and local use (7Fh).
pub const PARTITION_TYPE: u8 = 0x7f;

const _: () = {
    assert!(STACK_BOTTOM >= BIOS_DATA_END);
    assert!(
        STACK_TOP.is_multiple_of(PAGE_LEN) && STACK_TOP <= STAGE1_ADDR,
        "no code lies in a page of the stack"
    );
    assert!(
        STACK_TOP > STACK_GUARD_END + 4 * PAGE_LEN,
        "stage2 needs some KiB, and BIOSes run on this stack, too"
    );
    assert!(STAGE2_ADDR >= STAGE1_END);
    assert!(MODE_SWITCH_PAGE_ADDR.is_multiple_of(PAGE_LEN));
    assert!(MODE_SWITCH_PAGE_END <= SEGMENT_LEN, "real mode reaches the mode-switch page with CS = 0");
    assert!(STAGE2_MAIN_PART_END.is_multiple_of(SECTOR_LEN) && STAGE2_MAIN_PART_END < STAGE2_FILE_END);
    assert!(STAGE2_END > STAGE2_FILE_END);
    assert!(BOUNCE_BUFFER_ADDR >= STAGE2_END);
    assert!(BOUNCE_BUFFER_ADDR.is_multiple_of(SEGMENT_LEN));
    assert!(BOUNCE_BUFFER_LEN <= SEGMENT_LEN);
    assert!(BOUNCE_BUFFER_LEN.is_multiple_of(SECTOR_LEN));
    assert!(LOADER_END <= 0x8_0000, "even machines with 512 KiB of conventional memory have it");
    assert!(LOADER_END < FIRST_MIB_END);
    assert!(PIECE_ALIGNMENT >= BUNDLE_HEADER_LEN);
    assert!(BUNDLE_HEADER_LEN.is_multiple_of(CD_SECTOR_LEN) && BUNDLE_HEADER_LEN.is_multiple_of(SECTOR_LEN));
    assert!(BPB_END > JUMP_LEN);
    assert!(DESCRIPTOR_OFFSET > BPB_END);
    assert!(DESCRIPTOR_OFFSET.is_multiple_of(4));
    assert!(DESCRIPTOR_SECTOR_LEN + 2 <= DESCRIPTOR_LEN);
    assert!(PARTITION_TABLE_OFFSET + 4 * 16 == BOOT_SIGNATURE_OFFSET);
    assert!(STAGE2_LBA > STAGE1_LBA);
    assert!(STAGE2_LBA + STAGE2_MAX_SECTORS <= STAGE2_END_LBA_MAX);
};

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::format;

    #[test]
    fn the_map_at_the_top_of_this_file_is_the_one_in_force() {
        let map = include_str!("lib.rs").split("```").nth(1).expect("a map");
        let starts =
            [0, STACK_BOTTOM, STAGE1_ADDR, STAGE2_ADDR, BOUNCE_BUFFER_ADDR, KERNEL_HEADERS_ADDR, LOADER_END];
        let starts = starts.map(|start| format!("{start:#07x}"));
        let told = map.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with("0x")));
        assert!(told.eq(starts));
    }
}
