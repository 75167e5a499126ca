//! The whole stack can be used, the page below it cannot, and a stack overflow ends in a message.

#![no_std]
#![no_main]

use boot_info::BootInfo;
use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use kernel::interrupts::{DOUBLE_FAULT, Exception, PAGE_FAULT};
use kernel::println;
use test_kernels::probe::{self, Fault};
use x86_64::registers::control::Cr2;

test_kernels::test_kernel!(test);

const PAGE_LEN: u64 = 4096;

static GUARD_PAGE_ADDR: AtomicU64 = AtomicU64::new(0);

fn test(boot_info: &'static BootInfo) {
    let stack = boot_info.stack();
    let guard_page_addr = stack.bottom_addr - PAGE_LEN;
    println!("stack {stack:x?}");

    for addr in (stack.bottom_addr..stack.top_addr).step_by(16) {
        // SAFETY: a stack has no side effects.
        assert_eq!(unsafe { probe::write(addr) }, Ok(()), "stack at {addr:#x}");
    }
    for addr in [guard_page_addr, stack.bottom_addr - 1] {
        // A page that is not there has error code 0 for a read.
        let fault = Fault { vector: PAGE_FAULT, error_code: 0, addr };
        // SAFETY: nothing is there.
        assert_eq!(unsafe { probe::read(addr) }, Err(fault));
    }

    GUARD_PAGE_ADDR.store(guard_page_addr, Relaxed);
    test_kernels::end_with_exception(check_stack_overflow);
    recurse(0);
    panic!("the stack has no end");
}

/// The page fault could not be reported for want of a stack, which makes it a double fault.
fn check_stack_overflow(exception: &Exception) {
    assert_eq!(exception.vector, DOUBLE_FAULT);
    assert_eq!(Cr2::read_raw() / PAGE_LEN * PAGE_LEN, GUARD_PAGE_ADDR.load(Relaxed));
}

fn recurse(depth: u64) -> u64 {
    // Not a tail call: something is left to do afterwards.
    if depth == u64::MAX { depth } else { black_box(recurse(black_box(depth + 1))) + 1 }
}
