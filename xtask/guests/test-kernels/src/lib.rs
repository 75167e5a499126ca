//! What the test kernels share.
//!
//! Each of them is a kernel of its own (`src/bin`) that boots, checks one thing, prints what it saw, and ends QEMU
//! through its `isa-debug-exit` device at port 0xf4: with exit code 33 when all was well, 35 when it panicked or was
//! interrupted by an exception that it had not expected. Without the device it halts.

#![no_std]

pub mod mapped;
pub mod probe;

use boot_info::BootInfo;
use core::panic::PanicInfo;
use kernel::backtrace::{self, Backtrace};
use kernel::interrupts::{self, BREAKPOINT, Exception};
use kernel::{console, gdt, println};
use spin::Once;
use x86_64::instructions::port::Port;

/// Defines the entry point of a test kernel, which is a `fn(&'static BootInfo)`. The test passes when it returns.
#[macro_export]
macro_rules! test_kernel {
    ($test:path) => {
        boot_info::entry_point!(run_test);

        fn run_test(boot_info: &'static boot_info::BootInfo) -> ! {
            $crate::run(boot_info, $test)
        }
    };
}

/// Runs the test and ends QEMU.
pub fn run(boot_info: &'static BootInfo, test: fn(&'static BootInfo)) -> ! {
    backtrace::init(boot_info);
    gdt::init();
    interrupts::init(handle_exception);
    test(boot_info);
    exit(ExitCode::Success)
}

/// Where physical memory appears.
#[must_use]
pub fn window(boot_info: &BootInfo) -> u64 {
    boot_info.physical_memory_offset().expect("no kernel here asks to go without")
}

/// Makes the next exception the end of the test: `check` panics unless it is the right one. It is shown as the
/// kernel shows it.
pub fn end_with_exception(check: fn(&Exception)) {
    LAST_CHECK.call_once(|| check);
}

static LAST_CHECK: Once<fn(&Exception)> = Once::new();

fn handle_exception(exception: &mut Exception) {
    if probe::recover(exception) {
        return;
    }
    if exception.vector == BREAKPOINT {
        return interrupts::report(exception);
    }
    let last_check = LAST_CHECK.get();
    if let Some(check) = last_check {
        check(exception);
    }
    console::last_words(&*exception, exception.backtrace());
    exit(if last_check.is_some() { ExitCode::Success } else { ExitCode::Failure })
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    console::last_words(info, Backtrace::here());
    exit(ExitCode::Failure)
}

/// What a test kernel writes to the device; QEMU exits with twice that, plus one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ExitCode {
    /// QEMU exits with 33.
    Success = 0x10,
    /// QEMU exits with 35.
    Failure = 0x11,
}

/// Ends QEMU.
pub fn exit(code: ExitCode) -> ! {
    println!("{}", if code == ExitCode::Success { "test passed" } else { "test failed" });
    // SAFETY: nothing but the device answers at this port.
    unsafe { Port::new(0xf4).write(code as u32) };
    kernel::halt()
}
