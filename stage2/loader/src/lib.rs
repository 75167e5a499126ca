//! The logic of stage2 that needs no machine: parsing, checking and planning.
//!
//! The binary beside it (`main.rs`) runs this code on the bare machine; `xtask` runs the same code at the desk, so
//! that a kernel which could not boot is refused when its image is built; the tests run it on the host.

#![no_std]

pub mod checksum;
pub mod e820;
pub mod elf;
pub mod error;
pub mod frames;
pub mod int13;
pub mod load;
pub mod manifest;
pub mod paging;

pub use error::BootError;
