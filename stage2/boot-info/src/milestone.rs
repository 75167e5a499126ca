//! When the boot passed its milestones.

use core::fmt;
use core::mem::{align_of, offset_of, size_of};

/// A place on the way from power-on to the kernel, and when the boot came by.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Milestone {
    /// Which place.
    pub id: MilestoneId,
    reserved: u32,
    /// The time stamp counter there (Intel SDM volume 3, section 17.17), in ticks.
    pub ticks: u64,
}

impl Milestone {
    /// The place that was passed when the time stamp counter stood at `ticks`.
    #[must_use]
    pub const fn new(id: MilestoneId, ticks: u64) -> Self {
        Self { id, reserved: 0, ticks }
    }
}

/// Which place on the way a [`Milestone`] is.
///
/// Not an `enum`, because a later loader may pass places that a kernel does not know.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MilestoneId(pub u32);

impl MilestoneId {
    /// The first instructions of stage1. Told where stage1 could find out that the CPU has the counter.
    pub const STAGE1: Self = Self(0);
    /// The first thing that stage2 does in Rust, before it says anything.
    pub const STAGE2: Self = Self(1);
    /// The machine is known: CPU, A20 gate, memory map.
    pub const MACHINE_KNOWN: Self = Self(2);
    /// The bundle's header and the kernel's headers have been read and checked.
    pub const HEADERS_READ: Self = Self(3);
    /// The kernel, and whatever comes with it, lies in memory.
    pub const KERNEL_LOADED: Self = Self(4);
    /// The page tables are complete.
    pub const TABLES_BUILT: Self = Self(5);
    /// The last thing before the switch to long mode, after the loader's last word.
    pub const HAND_OFF: Self = Self(6);
}

impl fmt::Display for MilestoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match *self {
            Self::STAGE1 => "stage1",
            Self::STAGE2 => "stage2",
            Self::MACHINE_KNOWN => "machine known",
            Self::HEADERS_READ => "headers read",
            Self::KERNEL_LOADED => "kernel loaded",
            Self::TABLES_BUILT => "tables built",
            Self::HAND_OFF => "hand-off",
            Self(_) => "unknown",
        })
    }
}

impl fmt::Debug for MilestoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

const _: () = {
    assert!(align_of::<Milestone>() == 8);
    assert!(offset_of!(Milestone, ticks) == 8);
    assert!(size_of::<Milestone>() == 16);
};
