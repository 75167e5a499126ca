//! Physical memory as the loader reaches it: paging is off, so that every address below 4 GiB is a pointer; and what lies
//! above through a window (`high_memory`).

use crate::high_memory;
use core::ptr::with_exposed_provenance_mut;
use loader::checksum::Checksum;
use loader::frames::LOW_END;
use loader::load::PhysicalMemory;
use loader::plan::LARGE_PAGE;
use x86_64::structures::paging::mapper::PageTableFrameMapping;
use x86_64::structures::paging::{PageTable, PhysFrame};

/// All physical memory.
#[derive(Clone, Copy)]
pub(crate) struct IdentityMemory(());

impl IdentityMemory {
    /// # Safety
    /// Only memory that was taken from `Frames`, or that `layout` sets aside for what is loaded, may be written to by it.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

/// The pointer to a physical address below 4 GiB.
pub(crate) fn pointer<T>(addr: u64) -> *mut T {
    with_exposed_provenance_mut(usize::try_from(addr).expect("an address below 4 GiB"))
}

/// Does something with the pointer to a physical address, wherever that lies. Besides it, only the first 2 MiB can be
/// reached meanwhile.
fn reach(addr: u64, access: impl FnOnce(*mut u8)) {
    let is_high = addr >= LOW_END;
    // SAFETY: what is passed to `access` by this module lies in the first 2 MiB, and it makes no BIOS calls.
    access(if is_high { unsafe { high_memory::open(addr) } } else { pointer(addr) });
    if is_high {
        high_memory::close();
    }
}

impl PhysicalMemory for IdentityMemory {
    fn write(&mut self, addr: u64, bytes: &[u8]) {
        // SAFETY: `Self::new` has it that this memory is there for what is loaded; no Rust object lies there.
        reach(addr, |target| unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) });
    }

    fn write_summed(&mut self, addr: u64, bytes: &[u8], checksum: &mut Checksum) {
        // SAFETY: as above.
        reach(addr, |target| unsafe { checksum.update_and_copy(bytes, target) });
    }

    fn zero(&mut self, mut addr: u64, mut len: u64) {
        while len > 0 {
            let part_len = len.min(LARGE_PAGE);
            // SAFETY: as above.
            reach(addr, |target| unsafe { target.write_bytes(0, part_len as usize) });
            addr += part_len;
            len -= part_len;
        }
    }

    fn read(&self, addr: u64, target: &mut [u8]) {
        // SAFETY: as above; it was written before.
        reach(addr, |source| unsafe { source.copy_to_nonoverlapping(target.as_mut_ptr(), target.len()) });
    }

    fn bytes(&self, addr: u64, len: u64) -> &[u8] {
        let len = usize::try_from(len).expect("bytes below 4 GiB");
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
