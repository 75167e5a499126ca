//! A heap for errors and nothing else: each lies in memory of its own, so that a result is no longer than a pointer.
//!
//! Two are alive at once where one way to read a disk failed and the other one is tried. When there is no slot left, or
//! somebody asks for more than an error takes, the allocation fails and the panic that follows is told as an exception.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use loader::BootError;

const SLOTS: usize = 4;

/// Room for one error.
struct Slot {
    is_taken: AtomicBool,
    room: UnsafeCell<MaybeUninit<BootError>>,
}

struct Heap([Slot; SLOTS]);

#[global_allocator]
static HEAP: Heap = Heap(
    [const { Slot { is_taken: AtomicBool::new(false), room: UnsafeCell::new(MaybeUninit::uninit()) } };
        SLOTS],
);

// SAFETY: the loader has one thread; a room is used by whoever took its slot.
unsafe impl Sync for Heap {}

// SAFETY: a slot is handed out to one at a time, and only what fits into it and needs no more alignment.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let fits = layout.size() <= size_of::<BootError>() && layout.align() <= align_of::<BootError>();
        match self.0.iter().find(|slot| fits && !slot.is_taken.swap(true, Relaxed)) {
            Some(slot) => slot.room.get().cast(),
            None => null_mut(),
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, _: Layout) {
        if let Some(slot) = self.0.iter().find(|slot| slot.room.get().cast() == pointer) {
            slot.is_taken.store(false, Relaxed);
        }
    }
}
