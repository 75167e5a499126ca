//! stage1 for a partition: what loads it is the boot sector of the disk, or another boot loader (GRUB's `chainloader +1`).
//!
//! It is entered as the boot sector of a disk is, but with DS:SI at the partition's entry in the partition table, which tells
//! where the partition begins. There is no partition table in it; a part of its code is there.

#![no_std]
#![no_main]

mod boot_sector;

/// Whether it is the boot sector of a partition.
const IN_PARTITION: bool = true;

/// Bytes in a sector of the medium.
const SECTOR_LEN: u32 = layout::SECTOR_LEN;
