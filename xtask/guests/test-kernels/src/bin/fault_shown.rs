//! Reading through a null pointer shows the page fault.

#![no_std]
#![no_main]

use boot_info::BootInfo;
use core::arch::asm;
use kernel::interrupts::{Exception, PAGE_FAULT};
use x86_64::registers::control::Cr2;

test_kernels::test_kernel!(test);

fn test(_boot_info: &'static BootInfo) {
    test_kernels::end_with_exception(check);
    // Compiled code would notice: a debug build panics before it reads through a null pointer.
    // SAFETY: none; this is the mistake that the kernel has to survive.
    unsafe { asm!("mov al, [{}]", in(reg) 0u64, out("al") _) };
    panic!("page 0 can be read");
}

fn check(exception: &Exception) {
    assert_eq!((exception.vector, exception.error_code), (PAGE_FAULT, 0));
    assert_eq!(Cr2::read_raw(), 0);
}
