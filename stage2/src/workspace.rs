//! The loader's large tables. They would not fit on its stack.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use stage2::e820::{Regions, Reports};
use stage2::load::LoadedKernel;

/// Room for the memory map and for what is known of the kernel.
pub(crate) struct Workspace {
    /// What the BIOS and the loader report.
    pub(crate) reports: Reports,
    /// What follows from it.
    pub(crate) regions: Regions,
    /// The kernel, and where its pieces lie.
    pub(crate) loaded: LoadedKernel,
}

struct Once(UnsafeCell<Workspace>);

// SAFETY: the loader has one thread, and `take` gives the workspace away once.
unsafe impl Sync for Once {}

static WORKSPACE: Once = Once(UnsafeCell::new(Workspace {
    reports: Reports::new_const(),
    regions: Regions::new_const(),
    loaded: LoadedKernel::EMPTY,
}));

/// The workspace, empty.
///
/// # Panics
/// When it is asked for a second time.
pub(crate) fn take() -> &'static mut Workspace {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    assert!(!TAKEN.swap(true, Relaxed), "the workspace is taken once");
    // SAFETY: `TAKEN` makes this the only reference.
    unsafe { &mut *WORKSPACE.0.get() }
}
