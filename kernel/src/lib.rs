//! What the kernel is made of, as a library, so that other kernels can be made of it too.
//!
//! Everything here counts on one CPU that runs with interrupts off, which is how the loader hands over.

#![cfg_attr(not(test), no_std)]

pub mod backtrace;
pub mod console;
pub mod format;
pub mod framebuffer;
pub mod gdt;
pub mod interrupts;
pub mod memory;
pub mod report;
pub mod screen;
pub mod serial;
pub mod time;
pub mod vga;

use boot_info::BootInfo;

/// Makes the CPU report exceptions rather than reset, with backtraces. To be called once, first of all.
pub fn init(boot_info: &BootInfo) {
    backtrace::init(boot_info);
    gdt::init();
    interrupts::init(interrupts::report);
}

/// Stops for good.
///
/// Interrupts stay off: the BIOS left the interrupt controller sending the timer's interrupt to vector 8, the double
/// fault's. Whoever turns them on has to program the controller first.
pub fn halt() -> ! {
    loop {
        // An NMI, or firmware in system management mode, can wake the CPU.
        x86_64::instructions::hlt();
    }
}
