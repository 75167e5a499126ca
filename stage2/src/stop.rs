//! The end of a boot that failed: the reason stays on the screen until a key is pressed, then the machine restarts.

use crate::bios::keyboard;
use crate::console::println;
use crate::{port, serial};
use core::arch::asm;
use loader::BootError;

/// Says why the boot ended, waits for a key, restarts.
pub(crate) fn stop(error: &BootError) -> ! {
    println!("boot error {error}");
    println!("Press a key to restart.");
    serial::flush();
    keyboard::wait_for_key();
    restart()
}

/// Resets the machine: through the 8042, the chipset's reset register, and at last by a triple fault.
fn restart() -> ! {
    const COMMAND_8042: u16 = 0x64;
    const PULSE_RESET: u8 = 0xfe;
    const RESET_CONTROL: u16 = 0xcf9;
    const FULL_RESET: u8 = 0x06;
    // SAFETY: nothing is left that a reset could disturb; an IDT without entries turns the exception into a reset.
    unsafe {
        port::write(COMMAND_8042, PULSE_RESET);
        for _ in 0..100_000 {
            port::read(COMMAND_8042);
        }
        port::write(RESET_CONTROL, FULL_RESET);
        asm!("push 0", "push 0", "lidt [esp]", "ud2", options(noreturn));
    }
}

/// Never called: a panic is an invalid instruction here, which `exceptions` tells of.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    restart()
}
