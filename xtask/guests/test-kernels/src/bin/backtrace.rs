//! Breaks down three calls deep, as the command line says: `panic`, `fault`, or `window`, a panic after the loader's map of
//! physical memory, and with it the symbols, has been given up.

#![no_std]
#![no_main]

use boot_info::BootInfo;
use core::arch::asm;
use core::hint::black_box;
use kernel::memory;
use x86_64::VirtAddr;
use x86_64::instructions::tlb;

test_kernels::test_kernel!(test);

fn test(boot_info: &'static BootInfo) {
    outer(boot_info);
}

#[inline(never)]
fn outer(boot_info: &BootInfo) -> u64 {
    // Not a tail call: something is left to do afterwards.
    black_box(middle(boot_info)) + 1
}

#[inline(never)]
fn middle(boot_info: &BootInfo) -> u64 {
    black_box(inner(boot_info)) + 1
}

#[inline(never)]
fn inner(boot_info: &BootInfo) -> u64 {
    match boot_info.command_line() {
        // SAFETY: none; this is the mistake that is to be shown.
        "fault" => unsafe { asm!("mov al, [{}]", in(reg) 0u64, out("al") _) },
        "window" => give_up_window(boot_info),
        _ => {}
    }
    panic!("this is the message");
}

fn give_up_window(boot_info: &BootInfo) {
    // SAFETY: nothing else uses the page tables.
    let mut page_table = unsafe { memory::page_table(boot_info) };
    let index = VirtAddr::new(test_kernels::window(boot_info)).p4_index();
    page_table.level_4_table_mut()[index].set_unused();
    tlb::flush_all();
}
