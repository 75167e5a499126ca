#![no_std]
#![no_main]
core::arch::global_asm!(".globl _start","_start: jmp _start");
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
