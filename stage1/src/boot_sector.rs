//! The boot sector, of which boot.s tells the story:
//!
//! 1. `stage1_find_base`, in a partition only: where it begins. Then `stage1_start`: known segments and stack. DL is kept,
//!    unless no BIOS drive can have that number.
//! 2. `stage1_try` to `stage1_next_run`: reads stage2 in as few runs as possible. By EDD where the BIOS has it, as every one has
//!    for CDs; by cylinder, head and sector where it has not (floppies); never across a multiple of 64 KiB, which ISA DMA
//!    cannot cross. Each run has five tries, with a reset of the drive between them; where EDD fails again and again, one of
//!    them is by cylinder, head and sector.
//! 3. `stage1_check`: compares the checksum of stage2, and jumps to it with DL = boot drive, CS = DS = ES = SS = 0,
//!    SP = [`layout::STACK_TOP`], interrupts enabled, direction flag clear.
//!
//! What cannot be done is said on the screen and on COM1: `stage2 read error 0C`, with the status of the BIOS, or
//! `stage2 damaged`. A key that is typed after a second without one then boots anew.
//!
//! Where stage2 lies and what its checksum is, stands in the descriptor at [`layout::DESCRIPTOR_OFFSET`], in the medium's
//! sectors; in a partition, from its start, up to `stage1_start`. `xtask` writes it into the sector that is built here.
//!
//! Sources: Phoenix, BIOS Enhanced Disk Drive Specification 3.0 (AH=41h, AH=42h); Ralf Brown's Interrupt List, INT 10h
//! to INT 19h; IBM PC/AT Technical Reference, BIOS listing; Intel SDM volume 2; Phoenix and IBM, "El Torito" Bootable CD-ROM
//! Format Specification 1.0, section 2.

use crate::{IN_PARTITION, SECTOR_LEN};
use core::arch::global_asm;
use core::panic::PanicInfo;
use layout::{
    BIOS_TICKS_ADDR, BOOT_SIGNATURE, CHECKSUM_COUNT_SHIFT, DESCRIPTOR_CHECKSUM, DESCRIPTOR_LBA,
    DESCRIPTOR_OFFSET, DESCRIPTOR_SECTORS, LOADER_END, QUIET_TICKS, SEGMENT_LEN, STACK_TOP, STAGE1_ADDR,
    STAGE2_ADDR, STAGE2_END_LBA_MAX, STAGE2_FILE_END,
};

/// Whether the sectors are those of a CD.
const ON_CD: bool = SECTOR_LEN == layout::CD_SECTOR_LEN;

/// Bytes from the start of one real-mode segment to that of the next.
const PARAGRAPH_LEN: u32 = 16;

/// Bytes in a word: what one push puts on the stack in real mode, and what the checksum adds.
const WORD_LEN: u32 = 2;

/// Where the boot drive is kept: the word at the top of the stack.
const DRIVE_ADDR: u32 = STACK_TOP - WORD_LEN;

/// Where the tries that are left are kept: the word below.
const TRIES_ADDR: u32 = DRIVE_ADDR - WORD_LEN;

/// The tries of a read, a bit each from the lowest one up to the highest that is set: 1 is by EDD, 0 is not, and a BIOS
/// without EDD does all of them by cylinder, head and sector. On a CD all are by EDD.
///
/// Three by EDD come first: as many as the BIOS listings recommend for floppies, whose motor may not have come to
/// speed. The last one is by EDD, too: its status is the one that is told.
const TRIES: u32 = 0b1_0111;

/// The descriptor, in memory.
const DESCRIPTOR_ADDR: u32 = STAGE1_ADDR + DESCRIPTOR_OFFSET;

/// Sectors of stage2 up to the first multiple of 64 KiB.
const DMA_SECTORS: u32 = (SEGMENT_LEN - STAGE2_ADDR % SEGMENT_LEN) / SECTOR_LEN;

// What boot.s relies on to be as small as it is.
const _: () = {
    assert!(STAGE2_ADDR.is_multiple_of(PARAGRAPH_LEN), "a segment can start where stage2 starts");
    assert!(
        (STAGE2_FILE_END - STAGE2_ADDR).next_multiple_of(SECTOR_LEN) <= SEGMENT_LEN,
        "one segment reaches all of stage2"
    );
    assert!(STAGE2_ADDR + SEGMENT_LEN <= LOADER_END, "and more sectors than there may be harm nothing in it");
    assert!(DMA_SECTORS.is_power_of_two(), "`or` rounds up to a multiple of it");
    assert!(SEGMENT_LEN.is_multiple_of(DMA_SECTORS * SECTOR_LEN), "a multiple of 64 KiB is a multiple of it");
    assert!(DMA_SECTORS <= layout::MAX_READ_SECTORS, "one EDD call may read so many");
    assert!(
        STAGE2_END_LBA_MAX <= 1 << 8,
        "outside of partitions, whatever the geometry, the cylinder fits in CH"
    );
    assert!(STAGE2_END_LBA_MAX < 1 << 16, "and 16 bits of an LBA can be added up");
    assert!(!(IN_PARTITION && ON_CD), "a CD has no partitions");
    assert!(SECTOR_LEN.is_power_of_two(), "`shl` multiplies by it");
    assert!(TRIES < 1 << 7, "a signed byte holds the tries");
};

global_asm!(
    include_str!(concat!(env!("OUT_DIR"), "/boot.s")),
    in_partition = const IN_PARTITION as u32,
    on_cd = const ON_CD as u32,
    stack_top = const STACK_TOP,
    drive = const DRIVE_ADDR,
    tries = const TRIES_ADDR,
    all_tries = const TRIES,
    sectors = const DESCRIPTOR_ADDR + DESCRIPTOR_SECTORS,
    lba = const DESCRIPTOR_ADDR + DESCRIPTOR_LBA,
    checksum = const DESCRIPTOR_ADDR + DESCRIPTOR_CHECKSUM,
    count_shift = const CHECKSUM_COUNT_SHIFT,
    dma_sectors = const DMA_SECTORS,
    sector_len = const SECTOR_LEN,
    words_shift = const (SECTOR_LEN / WORD_LEN).ilog2(),
    stage2 = const STAGE2_ADDR,
    stage2_segment = const STAGE2_ADDR / PARAGRAPH_LEN,
    ticks = const BIOS_TICKS_ADDR,
    quiet_ticks = const QUIET_TICKS,
    signature = const u16::from_le_bytes(BOOT_SIGNATURE),
);

/// Rust wants one. There is no Rust code in this sector that could call it, and stage1.ld sees to that.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
