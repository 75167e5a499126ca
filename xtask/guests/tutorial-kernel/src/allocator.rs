//! The heap.

use linked_list_allocator::LockedHeap;
use x86_64::VirtAddr;
use x86_64::structures::paging::mapper::MapToError;
use x86_64::structures::paging::{FrameAllocator, Mapper, Page, PageTableFlags, Size4KiB};

const HEAP_START: u64 = 0x4444_4444_0000;
/// How many bytes it has.
pub const HEAP_LEN: usize = 100 * 1024;

#[global_allocator]
static ALLOCATOR: LockedHeap = LockedHeap::empty();

/// Maps its pages, and hands them to the allocator.
pub fn init(
    mapper: &mut impl Mapper<Size4KiB>,
    frames: &mut impl FrameAllocator<Size4KiB>,
) -> Result<(), MapToError<Size4KiB>> {
    let start = VirtAddr::new(HEAP_START);
    let last = start + (HEAP_LEN as u64 - 1);
    for page in Page::range_inclusive(Page::containing_address(start), Page::containing_address(last)) {
        let frame = frames.allocate_frame().ok_or(MapToError::FrameAllocationFailed)?;
        // SAFETY: page and frame are free.
        unsafe { mapper.map_to(page, frame, PageTableFlags::PRESENT | PageTableFlags::WRITABLE, frames)? }
            .flush();
    }
    // SAFETY: these pages are mapped, and used for this alone.
    unsafe { ALLOCATOR.lock().init(start.as_mut_ptr(), HEAP_LEN) };
    Ok(())
}
