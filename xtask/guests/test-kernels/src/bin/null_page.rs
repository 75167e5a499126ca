//! Null pointers fault; the rest of the first MiB is where it is in physical memory, to be written, not executed.

#![no_std]
#![no_main]

use boot_info::BootInfo;
use kernel::interrupts::PAGE_FAULT;
use kernel::{memory, println};
use test_kernels::probe;
use x86_64::VirtAddr;
use x86_64::structures::paging::PageTableFlags;
use x86_64::structures::paging::mapper::{Translate, TranslateResult};

test_kernels::test_kernel!(test);

const PAGE_LEN: u64 = 4096;
const FIRST_MIB_END: u64 = 0x10_0000;
const TEXT_BUFFER_ADDR: u64 = 0xb8000;

fn test(boot_info: &'static BootInfo) {
    for addr in [0, 1, PAGE_LEN - 1] {
        // SAFETY: nothing is there.
        let attempts = unsafe { [probe::read(addr), probe::write(addr), probe::call(addr)] };
        for attempt in attempts {
            let fault = attempt.expect_err("page 0 can be accessed");
            assert_eq!((fault.vector, fault.addr), (PAGE_FAULT, addr));
        }
    }
    // SAFETY: RAM and the screen; a write that changes nothing has no side effects.
    unsafe {
        assert_eq!(probe::read(PAGE_LEN), Ok(()));
        assert_eq!(probe::write(TEXT_BUFFER_ADDR), Ok(()));
    }
    if probe::no_execute() {
        // SAFETY: it is not executed.
        let fault = unsafe { probe::call(TEXT_BUFFER_ADDR) }.expect_err("the screen can be executed");
        assert_eq!((fault.vector, fault.addr), (PAGE_FAULT, TEXT_BUFFER_ADDR));
    }
    check_page_table(boot_info);
}

/// One page may be executed, but then not written: that on which the loader entered long mode.
fn check_page_table(boot_info: &'static BootInfo) {
    // SAFETY: nothing else uses the page tables.
    let page_table = unsafe { memory::page_table(boot_info) };
    let mut mode_switch_pages = 0;
    for addr in (PAGE_LEN..FIRST_MIB_END).step_by(4096) {
        let translation = page_table.translate(VirtAddr::new(addr));
        let TranslateResult::Mapped { frame, offset, flags } = translation else {
            panic!("{addr:#x}: {translation:?}")
        };
        assert_eq!(frame.start_address().as_u64() + offset, addr, "the first MiB is identity-mapped");

        if !flags.contains(PageTableFlags::WRITABLE) {
            println!("mode-switch page at {addr:#x}");
            mode_switch_pages += 1;
        } else if probe::no_execute() {
            assert!(flags.contains(PageTableFlags::NO_EXECUTE), "{addr:#x} can be written and executed");
        }
    }
    assert!(mode_switch_pages <= 1);
}
