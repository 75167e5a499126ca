//! stage1: the boot sector of a disk. Reads stage2, checks it, and jumps to it.
//!
//! The BIOS loads these 512 bytes to 0:7c00h and enters them in real mode with DL = boot drive, and with anything in
//! the other registers. Behind its code there is room for the partition table. `boot_sector.rs` goes on from here.

#![no_std]
#![no_main]

mod boot_sector;

/// Whether it is the boot sector of a partition.
const IN_PARTITION: bool = false;

/// Bytes in a sector of the medium.
const SECTOR_LEN: u32 = layout::SECTOR_LEN;
