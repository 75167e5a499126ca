//! Each segment of the kernel can be used for what it is for, and for nothing else.

#![no_std]
#![no_main]

use boot_info::{BootInfo, SegmentRights};
use core::hint::black_box;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use kernel::interrupts::PAGE_FAULT;
use kernel::println;
use test_kernels::probe::{self, Fault};
use x86_64::structures::idt::PageFaultErrorCode;

test_kernels::test_kernel!(test);

/// The instruction `ret`: where it is executed after all, the test fails but the kernel does not go astray.
const RET: u8 = 0xc3;

static CONSTANT: [u8; 1] = [RET];
static DATA: AtomicU8 = AtomicU8::new(RET);
static ZEROED: AtomicU8 = AtomicU8::new(0);

extern "C" fn code() {}

fn test(boot_info: &'static BootInfo) {
    ZEROED.store(RET, Relaxed);
    let on_stack = black_box([RET]);

    check(".rodata", CONSTANT.as_ptr() as u64, SegmentRights::READ);
    check(".text", code as *const () as u64, SegmentRights::READ_EXECUTE);
    check(".data", DATA.as_ptr() as u64, SegmentRights::READ_WRITE);
    check(".bss", ZEROED.as_ptr() as u64, SegmentRights::READ_WRITE);
    check("stack", on_stack.as_ptr() as u64, SegmentRights::READ_WRITE);

    for segment in boot_info.kernel_segments() {
        println!("{segment:x?}");
        for addr in (segment.virtual_addr..segment.virtual_addr + segment.len).step_by(4096) {
            check_data_access(addr, segment.rights);
        }
    }
}

/// The address holds a function, or [`RET`].
fn check(name: &str, addr: u64, rights: SegmentRights) {
    println!("{name:<8} {addr:#x} should be {rights}");
    check_data_access(addr, rights);

    // SAFETY: what is called here returns at once.
    let called = unsafe { probe::call(addr) };
    let expected = if rights == SegmentRights::READ_EXECUTE || !probe::no_execute() {
        Ok(())
    } else {
        Err(violation(addr, PageFaultErrorCode::INSTRUCTION_FETCH))
    };
    assert_eq!(called, expected, "executing {name}");
}

fn check_data_access(addr: u64, rights: SegmentRights) {
    // SAFETY: the kernel's own memory has no side effects.
    let (read, written) = unsafe { (probe::read(addr), probe::write(addr)) };
    let expected = if rights == SegmentRights::READ_WRITE {
        Ok(())
    } else {
        Err(violation(addr, PageFaultErrorCode::CAUSED_BY_WRITE))
    };
    assert_eq!(read, Ok(()), "reading {addr:#x}");
    assert_eq!(written, expected, "writing {addr:#x}");
}

fn violation(addr: u64, access: PageFaultErrorCode) -> Fault {
    let error_code = (PageFaultErrorCode::PROTECTION_VIOLATION | access).bits();
    Fault { vector: PAGE_FAULT, error_code, addr }
}
