//! The mark on a kernel that is to be handed other structures than those of this crate, and how such notes begin.

use crate::Protocol;
use core::mem::{offset_of, size_of};

/// How an ELF note of ours begins (System V ABI, "Note Section"); its descriptor follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoteHeader {
    owner_len: u32,
    descriptor_len: u32,
    kind: u32,
    owner: [u8; 12],
}

impl NoteHeader {
    /// The note's owner. In the file, at least one zero follows.
    pub const OWNER: &'static str = "Doorstep";

    /// A note of a type, with so many bytes of descriptor.
    #[must_use]
    pub const fn new(kind: u32, descriptor_len: u32) -> Self {
        let mut owner = [0; 12];
        owner.split_at_mut(Self::OWNER.len()).0.copy_from_slice(Self::OWNER.as_bytes());
        Self { owner_len: 9, descriptor_len, kind, owner }
    }

    /// The bytes of a note's descriptor, if these are a note of ours of this type.
    #[must_use]
    pub fn descriptor(note: &[u8], kind: u32) -> Option<&[u8]> {
        let (header, descriptor) = note.split_at_checked(size_of::<Self>())?;
        let word = |offset: usize| Some(u32::from_le_bytes(*header.get(offset..)?.first_chunk()?));
        let expected = Self::new(kind, word(offset_of!(Self, descriptor_len))?);
        let is_ours = word(offset_of!(Self, owner_len)) == Some(expected.owner_len)
            && word(offset_of!(Self, kind)) == Some(kind)
            && header.get(offset_of!(Self, owner)..) == Some(&expected.owner);
        is_ours.then(|| descriptor.get(..usize::try_from(expected.descriptor_len).ok()?)).flatten()
    }
}

/// An ELF note (System V ABI, "Note Section") that tells which structures a kernel wants to be handed. The crate that gives
/// the kernel these structures puts it into a section of the kernel's file, `.note.doorstep`, where `xtask` finds it.
///
/// Little-endian, as the kernel's file is.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelNote {
    header: NoteHeader,
    /// From here on it is the note's descriptor.
    version: u32,
    protocol: Protocol,
    features: u32,
}

impl KernelNote {
    /// The note's type.
    pub const KIND: u32 = 1;

    /// A symbol that names another copy of the note, for a kernel whose linker script discards notes.
    pub const SYMBOL: &'static str = "DOORSTEP_KERNEL_NOTE";

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
        Self { header: NoteHeader::new(Self::KIND, 12), version: Self::VERSION, protocol, features }
    }
}

const _: () = {
    assert!(size_of::<NoteHeader>() == 24 && NoteHeader::OWNER.len() + 1 == 9);
    assert!(offset_of!(KernelNote, version) == 24);
    assert!(KernelNote::DESCRIPTOR_LEN == 12);
    assert!(size_of::<KernelNote>() == 24 + KernelNote::DESCRIPTOR_LEN);
};
