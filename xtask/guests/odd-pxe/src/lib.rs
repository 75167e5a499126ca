//! What the odd PXE ROM can be told to do: shared by its assembly and by the tests that patch it.

#![no_std]
#![forbid(unsafe_code)]

use zerocopy::little_endian::U16;
use zerocopy::{Immutable, IntoBytes};

/// Most bytes of the program: what stands before a network boot program's own entry.
pub const LEN_MAX: u32 = layout::NETWORK_PROGRAM_ENTRY - layout::NETWORK_PROGRAM_ADDR;

/// Offset of [`Manners`] in the program: behind its first instruction.
pub const MANNERS_OFFSET: usize = 3;

/// What is odd about this ROM.
#[repr(C)]
#[derive(Clone, Copy, Immutable, IntoBytes)]
pub struct Manners {
    /// Not 0: the pointer to `!PXE` leads to zeros.
    pub hides_bang_pxe: u8,
    /// Not 0: the one to `PXENV+` does.
    pub hides_pxenv: u8,
    /// The version that `PXENV+` tells. From 0201h on, it tells where `!PXE` is.
    pub version: U16,
    /// KiB of conventional memory; 0: as many as there are.
    pub conventional_kib: U16,
    /// The number of the service that is odd.
    pub service: U16,
    /// So many calls of it are served well. Each one after them is odd:
    pub after: U16,
    /// whether it is served all the same,
    pub is_served: U16,
    /// where in its parameters something is written afterwards,
    pub offset: U16,
    /// what that is,
    pub value: U16,
    /// and what comes back in AX.
    pub exit: U16,
}

impl Manners {
    /// Nothing odd.
    pub const GOOD: Self = Self {
        hides_bang_pxe: 0,
        hides_pxenv: 0,
        version: U16::new(0x0201),
        conventional_kib: U16::new(0),
        service: U16::new(0xffff),
        after: U16::new(0),
        is_served: U16::new(0),
        offset: U16::new(0),
        value: U16::new(0),
        exit: U16::new(0),
    };

    /// A service that fails, after so many calls that do not, with a status.
    #[must_use]
    pub const fn failing(service: u16, after: u16, status: u16) -> Self {
        let [service, after, value] = [U16::new(service), U16::new(after), U16::new(status)];
        Self { service, after, value, exit: U16::new(1), ..Self::GOOD }
    }

    /// A service that tells another number than is true, at an offset in its parameters.
    #[must_use]
    pub const fn telling(service: u16, offset: u16, value: u16) -> Self {
        let [service, offset, value] = [U16::new(service), U16::new(offset), U16::new(value)];
        Self { service, offset, value, is_served: U16::new(1), ..Self::GOOD }
    }
}
