//! The network boot: how a program that was loaded by a PXE ROM finds the ROM's services, and fetches the bundle by them.
//!
//! The bundle lies beside the program, on the same server, in the same folder, under the same name with another extension.
//! Which server and which name that is, the DHCP server has told the ROM.
//!
//! Sources: Preboot Execution Environment (PXE) Specification 2.1, sections 3.1 to 3.5 and 4.4; RFC 951 and 2131 (BOOTP and
//! DHCP packets), 2132 (options).

pub mod dhcp;
pub mod entry_point;
mod error;
pub mod fetch;
pub mod services;

pub use dhcp::{FileName, ServerFile};
pub use entry_point::EntryPoint;
pub use error::NetworkError;
pub use fetch::{Packets, fetch};

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A far pointer of real mode.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
pub struct FarPointer {
    /// Bytes from the segment's start.
    pub offset: U16,
    /// Paragraphs from the memory's start.
    pub segment: U16,
}

impl FarPointer {
    /// The pointer to a segment and an offset.
    #[must_use]
    pub fn new((segment, offset): (u16, u16)) -> Self {
        Self { offset: offset.into(), segment: segment.into() }
    }

    /// The physical address that it points to, with the A20 gate open.
    #[must_use]
    pub fn addr(self) -> u32 {
        (u32::from(self.segment.get()) << 4) + u32::from(self.offset.get())
    }
}
