//! stage1 for a CD: the boot image that the BIOS loads to 0:7c00h and enters with DL = the CD's number, without emulating
//! another drive ("El Torito"). It has 512 bytes, and the BIOS loads all of the CD's sector that they are in.

#![no_std]
#![no_main]

mod boot_sector;

/// Whether it is the boot sector of a partition.
const IN_PARTITION: bool = false;

/// Bytes in a sector of the medium.
const SECTOR_LEN: u32 = layout::CD_SECTOR_LEN;
