//! Physical memory as the loader reaches it: paging is off, so that every address below 4 GiB is a pointer.

use core::ptr::with_exposed_provenance_mut;
use loader::load::PhysicalMemory;
use x86_64::structures::paging::mapper::PageTableFrameMapping;
use x86_64::structures::paging::{PageTable, PhysFrame};

/// All physical memory below 4 GiB.
#[derive(Clone, Copy)]
pub(crate) struct IdentityMemory(());

impl IdentityMemory {
    /// # Safety
    /// Only memory that was taken from `Frames`, or that `layout` sets aside for what is loaded, may be written to by it.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

/// The pointer to a physical address. What lies at or above 4 GiB is never given out by `Frames`.
pub(crate) fn pointer<T>(addr: u64) -> *mut T {
    with_exposed_provenance_mut(usize::try_from(addr).expect("Frames end at 4 GiB"))
}

impl PhysicalMemory for IdentityMemory {
    fn write(&mut self, addr: u64, bytes: &[u8]) {
        // SAFETY: `Self::new` has it that this memory is there for what is loaded; no Rust object lies there.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), pointer(addr), bytes.len()) }
    }

    fn zero(&mut self, addr: u64, len: u64) {
        let len = usize::try_from(len).expect("Frames end at 4 GiB");
        // SAFETY: as above.
        unsafe { pointer::<u8>(addr).write_bytes(0, len) }
    }

    fn bytes(&self, addr: u64, len: u64) -> &[u8] {
        let len = usize::try_from(len).expect("Frames end at 4 GiB");
        // SAFETY: as above; it was written before, and the borrow keeps the next write away.
        unsafe { core::slice::from_raw_parts(pointer(addr), len) }
    }
}

// SAFETY: without paging, a frame's address is its pointer.
unsafe impl PageTableFrameMapping for IdentityMemory {
    fn frame_to_pointer(&self, frame: PhysFrame) -> *mut PageTable {
        pointer(frame.start_address().as_u64())
    }
}
