//! What the kernels for `bootloader_api` 0.11 have in common: a frame allocator, a serial line, and an end.

#![no_std]

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use core::fmt::Write;
use core::panic::PanicInfo;
use x86_64::instructions::hlt;
use x86_64::instructions::port::Port;
use x86_64::structures::paging::{FrameAllocator, Mapper, Page, PageTableFlags, PhysFrame, Size4KiB};
use x86_64::{PhysAddr, VirtAddr};

/// Hands out the usable frames of the memory map.
pub struct BootInfoFrameAllocator {
    regions: &'static [MemoryRegion],
    next: usize,
}

impl BootInfoFrameAllocator {
    /// Starts with the first one.
    ///
    /// # Safety
    /// What the map calls usable is not used, and there is no other allocator.
    #[must_use]
    pub unsafe fn new(regions: &'static [MemoryRegion]) -> Self {
        Self { regions, next: 0 }
    }

    fn usable_frames(&self) -> impl Iterator<Item = PhysFrame> {
        let usable = self.regions.iter().filter(|region| region.kind == MemoryRegionKind::Usable);
        let addrs = usable.flat_map(|region| (region.start..region.end).step_by(4096));
        addrs.map(|addr| PhysFrame::containing_address(PhysAddr::new(addr)))
    }
}

// SAFETY: each frame is handed out once.
unsafe impl FrameAllocator<Size4KiB> for BootInfoFrameAllocator {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let frame = self.usable_frames().nth(self.next);
        self.next += 1;
        frame
    }
}

/// Maps a page that is free, and finds there what it writes.
///
/// # Panics
/// If it does not.
pub fn map_a_page(mapper: &mut impl Mapper<Size4KiB>, frames: &mut BootInfoFrameAllocator) {
    let page = Page::<Size4KiB>::containing_address(VirtAddr::new(0x4444_4444_0000));
    let frame = frames.allocate_frame().expect("a frame");
    // SAFETY: page and frame are free.
    unsafe { mapper.map_to(page, frame, PageTableFlags::PRESENT | PageTableFlags::WRITABLE, frames) }
        .expect("a page that is free")
        .flush();
    let word: *mut u64 = page.start_address().as_mut_ptr();
    // SAFETY: the page was just mapped.
    let found = unsafe {
        word.write_volatile(42);
        word.read_volatile()
    };
    assert_eq!(found, 42);
}

/// COM1.
pub struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            // SAFETY: this sends the byte; QEMU is always ready to take one.
            unsafe { Port::new(0x3f8).write(byte) };
        }
        Ok(())
    }
}

/// Ends QEMU with success.
pub fn succeed() -> ! {
    exit(0x10)
}

fn exit(value: u32) -> ! {
    // SAFETY: nothing else answers at this port on the machines that tests run on.
    unsafe { Port::new(0xf4).write(value) };
    loop {
        hlt();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Serial, "{info}");
    exit(0x11)
}
