//! The mark on a kernel that is to be handed other structures than those of this crate.

use crate::Protocol;
use core::mem::{offset_of, size_of};

/// An ELF note (System V ABI, "Note Section") that tells which structures a kernel wants to be handed. The crate that gives
/// the kernel these structures puts it into a section of the kernel's file, `.note.doorstep`, where `xtask` finds it.
///
/// Little-endian, as the kernel's file is.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelNote {
    owner_len: u32,
    descriptor_len: u32,
    kind: u32,
    owner: [u8; 12],
    /// From here on it is the note's descriptor.
    version: u32,
    protocol: Protocol,
    features: u32,
}

impl KernelNote {
    /// The note's owner. In the file, at least one zero follows.
    pub const OWNER: &'static str = "Doorstep";

    /// The note's type.
    pub const KIND: u32 = 1;

    /// A symbol that names another copy of the note, for a kernel whose linker script discards notes.
    pub const SYMBOL: &'static str = "DOORSTEP_KERNEL_NOTE";

    /// Bytes from the start of such a copy to the descriptor.
    pub const DESCRIPTOR_OFFSET: usize = offset_of!(Self, version);

    /// Counts up when the descriptor changes its meaning.
    pub const VERSION: u32 = 1;

    /// Bytes of the descriptor: version, number of the [`Protocol`], features, 4 bytes each.
    pub const DESCRIPTOR_LEN: usize = 12;

    /// Feature: the kernel uses the window to physical memory.
    pub const MAP_PHYSICAL_MEMORY: u32 = 1 << 0;
    /// Feature: the kernel uses an entry of the PML4 that leads to the PML4 itself.
    pub const RECURSIVE_PAGE_TABLE: u32 = 1 << 1;
    /// Feature: the kernel uses a screen of 320 times 200 pixels.
    pub const VGA_320X200: u32 = 1 << 2;

    /// Marks a kernel for a protocol, with some of its features.
    #[must_use]
    pub const fn new(protocol: Protocol, features: u32) -> Self {
        let mut owner = [0; 12];
        owner.split_at_mut(Self::OWNER.len()).0.copy_from_slice(Self::OWNER.as_bytes());
        Self {
            owner_len: 9,
            descriptor_len: 12,
            kind: Self::KIND,
            owner,
            version: Self::VERSION,
            protocol,
            features,
        }
    }
}

const _: () = {
    assert!(offset_of!(KernelNote, version) == 24);
    assert!(KernelNote::OWNER.len() + 1 == 9 && KernelNote::DESCRIPTOR_LEN == 12);
    assert!(size_of::<KernelNote>() == 24 + KernelNote::DESCRIPTOR_LEN);
};
