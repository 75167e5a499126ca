//! The kernel of a tutorial: writes "Hello World!" to the screen, and knows nothing of the loader.
//!
//! It has no linker script; the linker puts it at 2 MiB. Under test it ends QEMU, elsewhere it halts.

#![no_std]
#![no_main]

mod exit;

use core::panic::PanicInfo;

static HELLO: &[u8] = b"Hello World!";

/// Called by the loader, with whatever arguments.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    let vga_buffer = 0xb8000 as *mut u8;
    for (i, &byte) in HELLO.iter().enumerate() {
        // SAFETY: the loader maps the screen at this address.
        unsafe {
            vga_buffer.add(i * 2).write_volatile(byte);
            vga_buffer.add(i * 2 + 1).write_volatile(0xb);
        }
    }
    exit::success()
}

#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    exit::failure()
}
