//! The logic of the boot loader that needs no machine: parsing, checking and planning.
//!
//! stage2 runs this code on the bare machine; `xtask` runs the same code at the desk, so that a kernel which could not boot
//! is refused when its image is built; the tests run it on the host.

#![no_std]

extern crate alloc;

pub mod boot_info_builder;
pub mod bootloader_0_9;
pub mod bundle;
pub mod checksum;
pub mod e820;
pub mod edid;
pub mod elf;
pub mod error;
pub mod firmware_tables;
pub mod frames;
pub mod ide;
pub mod int13;
pub mod load;
pub mod multiboot;
pub mod notes;
pub mod optional;
pub mod paging;
pub mod plan;
pub mod pxe;
pub mod reader;
pub mod relocate;
pub mod stage2_descriptor;
pub mod text;
pub mod vbe;

pub use error::{BootError, Result};
