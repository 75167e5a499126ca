//! Where the ROM's services are entered: what it tells of itself in the structures `!PXE` and `PXENV+`.

use super::{FarPointer, NetworkError};
use crate::error::Result;
use zerocopy::FromBytes;

/// The most bytes that either structure says that it has.
const STRUCTURE_MAX: usize = u8::MAX as usize;

/// The ROM's services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryPoint {
    /// Where they are entered.
    pub pointer: FarPointer,
    /// Whether the ROM is older than PXE 2.1 and has `PXENV+` only.
    pub is_old: bool,
}

impl EntryPoint {
    /// Finds the services by the two pointers that a ROM leaves to the program: the one to `!PXE`, on its stack, and the one to
    /// `PXENV+`, in ES:BX. `read` fills a slice with the memory from a physical address on.
    ///
    /// # Errors
    /// `NoPxe` when neither structure is there.
    pub fn find(
        on_stack: FarPointer,
        in_registers: FarPointer,
        mut read: impl FnMut(u32, &mut [u8]),
    ) -> Result<Self> {
        /// The version from which on `PXENV+` tells where `!PXE` is.
        const VERSION_2_1: u16 = 0x0201;
        let mut bytes = [0; STRUCTURE_MAX];
        let mut read = |pointer: FarPointer| {
            read(pointer.addr(), &mut bytes);
            bytes
        };
        let new = |pointer| EntryPoint { pointer, is_old: false };
        let at_stack = read(on_stack);
        if let Some(entry) = bang_pxe(&at_stack) {
            return Ok(new(entry));
        }
        let found = u32::from_be_bytes([at_stack[0], at_stack[1], at_stack[2], at_stack[3]]);
        let old = pxenv(&read(in_registers)).ok_or(NetworkError::NoPxe { found })?;
        if old.version >= VERSION_2_1
            && let Some(entry) = old.bang_pxe.and_then(|pointer| bang_pxe(&read(pointer)))
        {
            return Ok(new(entry));
        }
        Ok(Self { pointer: old.entry, is_old: true })
    }
}

/// The entry point in `!PXE` (section 3.2.2): signature, length, checksum, revision; at 16 the entry point for stacks of 16-bit
/// segments.
fn bang_pxe(bytes: &[u8; STRUCTURE_MAX]) -> Option<FarPointer> {
    let len = usize::from(bytes[4]);
    let is_there = bytes.starts_with(b"!PXE") && is_sound(bytes, len, 20);
    is_there.then(|| pointer_at(bytes, 16))
}

/// What `PXENV+` tells (section 3.2.1).
struct Pxenv {
    version: u16,
    entry: FarPointer,
    /// Where the structure is long enough to tell.
    bang_pxe: Option<FarPointer>,
}

/// `PXENV+`: signature, version, length, checksum; at 10 the entry point of real mode, at 40 the pointer to `!PXE`.
fn pxenv(bytes: &[u8; STRUCTURE_MAX]) -> Option<Pxenv> {
    let len = usize::from(bytes[8]);
    let is_there = bytes.starts_with(b"PXENV+") && is_sound(bytes, len, 14);
    is_there.then(|| Pxenv {
        version: u16::from_le_bytes([bytes[6], bytes[7]]),
        entry: pointer_at(bytes, 10),
        bang_pxe: (len >= 44).then(|| pointer_at(bytes, 40)),
    })
}

/// Whether a structure has what is read of it, and its bytes add up to 0.
fn is_sound(bytes: &[u8; STRUCTURE_MAX], len: usize, len_min: usize) -> bool {
    len >= len_min && bytes[..len].iter().fold(0, |sum: u8, &byte| sum.wrapping_add(byte)) == 0
}

fn pointer_at(bytes: &[u8; STRUCTURE_MAX], offset: usize) -> FarPointer {
    FarPointer::read_from_prefix(&bytes[offset..]).map(|(pointer, _)| pointer).unwrap_or_default()
}
