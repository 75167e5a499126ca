//! The loader's large tables. They would not fit on its stack.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use loader::boot_info_builder::Milestones;
use loader::e820::{Regions, Reports};
use loader::load::LoadedKernel;

/// Room for the memory map and for what is known of the kernel.
pub(crate) struct Tables {
    /// What the BIOS and the loader report.
    pub(crate) reports: Reports,
    /// What follows from it.
    pub(crate) regions: Regions,
    /// The kernel, and where its pieces lie.
    pub(crate) loaded: LoadedKernel,
    /// When the boot passed its milestones.
    pub(crate) milestones: Milestones,
}

struct Once(UnsafeCell<Tables>);

// SAFETY: the loader has one thread, and `take` gives the tables away once.
unsafe impl Sync for Once {}

static TABLES: Once = Once(UnsafeCell::new(Tables {
    reports: Reports::new_const(),
    regions: Regions::new_const(),
    loaded: LoadedKernel::EMPTY,
    milestones: Milestones::new_const(),
}));

/// The tables, empty.
///
/// # Panics
/// When they are asked for a second time.
pub(crate) fn take() -> &'static mut Tables {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    assert!(!TAKEN.swap(true, Relaxed), "the tables are taken once");
    // SAFETY: `TAKEN` makes this the only reference.
    unsafe { &mut *TABLES.0.get() }
}
