//! The loader's large tables. They would not fit on its stack.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use loader::boot_info_builder::Milestones;
use loader::e820::{Regions, Reports};
use loader::load::LoadedKernel;
use loader::multiboot::CommandLine;

/// Room for the memory map and for what is known of the kernel.
pub(crate) struct Tables {
    /// What the BIOS and the loader report.
    pub(crate) reports: Reports,
    /// A command line that takes the place of the bundle's.
    pub(crate) command_line: CommandLine,
    /// What follows from it.
    pub(crate) regions: Regions,
    /// The kernel, and where its pieces lie.
    pub(crate) loaded: LoadedKernel,
    /// When the boot passed its milestones.
    pub(crate) milestones: Milestones,
}

struct Once(UnsafeCell<Tables>);

// SAFETY: the loader has one thread, and `take` gives the tables to one at a time.
unsafe impl Sync for Once {}

static TABLES: Once = Once(UnsafeCell::new(Tables {
    reports: Reports::new_const(),
    command_line: CommandLine::new_const(),
    regions: Regions::new_const(),
    loaded: LoadedKernel::EMPTY,
    milestones: Milestones::new_const(),
}));

/// Whether somebody has them.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The tables: empty, or as they were given back.
///
/// # Panics
/// When somebody has them.
pub(crate) fn take() -> &'static mut Tables {
    assert!(!TAKEN.swap(true, Relaxed), "one has the tables at a time");
    // SAFETY: `TAKEN` makes this the only reference.
    unsafe { &mut *TABLES.0.get() }
}

/// Gives the tables back, with what has been filled in: who calls this had the only reference.
pub(crate) fn give_back(_: &'static mut Tables) {
    TAKEN.store(false, Relaxed);
}
