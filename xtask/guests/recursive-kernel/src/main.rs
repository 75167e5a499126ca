//! A kernel of `bootloader` 0.9 that sees its page tables through the PML4's own entry, maps a page by them, and draws
//! pixels.

#![no_std]
#![no_main]

use bootloader::bootinfo::{MemoryMap, MemoryRegionType};
use bootloader::{BootInfo, entry_point};
use core::fmt::Write;
use core::panic::PanicInfo;
use x86_64::instructions::hlt;
use x86_64::instructions::port::Port;
use x86_64::structures::paging::mapper::MappedFrame;
use x86_64::structures::paging::mapper::TranslateResult;
use x86_64::structures::paging::{
    FrameAllocator, Mapper, Page, PageTable, PageTableFlags, PhysFrame, RecursivePageTable, Size4KiB,
    Translate,
};
use x86_64::{PhysAddr, VirtAddr};

entry_point!(kernel_main);

fn kernel_main(boot_info: &'static BootInfo) -> ! {
    let table_addr = VirtAddr::new(boot_info.recursive_page_table_addr);
    let _ = writeln!(Serial, "PML4 at {table_addr:?}");
    assert_eq!(table_addr.p4_index(), table_addr.p1_index());
    assert_eq!(u16::from(table_addr.p4_index()), boot_info.recursive_index());
    // SAFETY: the loader says that it is there; this is the only reference.
    let table = unsafe { &mut *table_addr.as_mut_ptr::<PageTable>() };
    let mut mapper = RecursivePageTable::new(table).expect("a table that leads to itself");

    let code = mapper.translate(VirtAddr::new(kernel_main as *const () as u64));
    assert!(matches!(code, TranslateResult::Mapped { frame: MappedFrame::Size4KiB(_), .. }), "{code:?}");
    let tables = mapper.translate(table_addr);
    assert!(
        matches!(tables, TranslateResult::Mapped { flags, .. } if flags.contains(PageTableFlags::NO_EXECUTE))
    );

    let mut frames = Frames { map: &boot_info.memory_map, next: 0 };
    let page = Page::<Size4KiB>::containing_address(VirtAddr::new(0x4444_4444_0000));
    let frame = frames.allocate_frame().expect("a frame");
    // SAFETY: page and frame are free.
    unsafe { mapper.map_to(page, frame, PageTableFlags::PRESENT | PageTableFlags::WRITABLE, &mut frames) }
        .expect("a page that is free")
        .flush();
    let word: *mut u64 = page.start_address().as_mut_ptr();
    // SAFETY: the page was just mapped.
    let found = unsafe {
        word.write_volatile(42);
        word.read_volatile()
    };
    assert_eq!(found, 42);
    draw(boot_info.physical_memory_offset);
    exit(0x10)
}

/// Stripes of all colours. In a text mode there is nothing at these addresses.
fn draw(window: u64) {
    const PIXELS_ADDR: u64 = 0xa_0000;
    const COLUMNS: u64 = 320;
    const ROWS: u64 = 200;
    /// Where the BIOS keeps the number of the video mode.
    const VIDEO_MODE_ADDR: u64 = 0x449;

    // SAFETY: all memory is mapped in the window.
    let mode = unsafe { ((window + VIDEO_MODE_ADDR) as *const u8).read_volatile() };
    assert_eq!(mode, 0x13, "the mode with 320 times 200 pixels");
    let pixel = |index: u64| (PIXELS_ADDR + index) as *mut u8;
    let colour = |index: u64| (index % COLUMNS).to_le_bytes()[0];
    for index in 0..COLUMNS * ROWS {
        // SAFETY: the loader maps the first MiB, and the adapter's memory is nobody else's.
        unsafe { pixel(index).write_volatile(colour(index)) };
    }
    for index in 0..COLUMNS * ROWS {
        // SAFETY: as above.
        assert_eq!(unsafe { pixel(index).read_volatile() }, colour(index));
    }
}

/// Hands out the usable frames of the memory map.
struct Frames {
    map: &'static MemoryMap,
    next: usize,
}

// SAFETY: each frame is handed out once.
unsafe impl FrameAllocator<Size4KiB> for Frames {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let usable = self.map.iter().filter(|region| region.region_type == MemoryRegionType::Usable);
        let mut numbers =
            usable.flat_map(|region| region.range.start_frame_number..region.range.end_frame_number);
        let number = numbers.nth(self.next)?;
        self.next += 1;
        Some(PhysFrame::containing_address(PhysAddr::new(number * 4096)))
    }
}

/// COM1.
struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            // SAFETY: this sends the byte; QEMU is always ready to take one.
            unsafe { Port::new(0x3f8).write(byte) };
        }
        Ok(())
    }
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
