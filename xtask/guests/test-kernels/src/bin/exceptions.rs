//! The kernel's interrupt table: exceptions come with the right vector and error code, a breakpoint returns with all
//! registers as they were, and a double fault is shown from a stack of its own.

#![no_std]
#![no_main]

use boot_info::BootInfo;
use core::arch::{asm, naked_asm};
use kernel::interrupts::{DOUBLE_FAULT, Exception};
use kernel::{gdt, println};
use test_kernels::probe;
use x86_64::VirtAddr;

test_kernels::test_kernel!(test);

fn test(_boot_info: &'static BootInfo) {
    check_vectors();
    check_breakpoint();

    test_kernels::end_with_exception(check_double_fault);
    // SAFETY: there is no coming back to notice that the stack pointer is wrong.
    unsafe { asm!("xor esp, esp", "push rax", options(noreturn)) };
}

macro_rules! raise {
    ($($name:ident: $($instruction:literal),+;)*) => {
        $(
            #[unsafe(naked)]
            extern "C" fn $name() {
                naked_asm!($($instruction),+)
            }
        )*
    };
}

raise! {
    divide_by_zero: "xor ecx, ecx", "div ecx";
    undefined_instruction: "ud2";
    selector_beyond_table: "mov eax, 0x1238", "mov ds, eax";
    non_canonical_address: "mov rax, 1 << 63", "mov rax, [rax]";
}

/// Source: Intel SDM volume 3, table 6-1 and section 6.13.
fn check_vectors() {
    let cases: [(&str, extern "C" fn(), u64, u64); 4] = [
        ("division by zero", divide_by_zero, 0, 0),
        ("undefined instruction", undefined_instruction, 6, 0),
        ("selector beyond the table", selector_beyond_table, 13, 0x1238),
        ("non-canonical address", non_canonical_address, 13, 0),
    ];
    for (name, code, vector, error_code) in cases {
        // SAFETY: the functions change registers that need not be preserved.
        let fault = unsafe { probe::call(code as *const () as u64) }.expect_err(name);
        println!("{name}: vector {}, error code {:#x}", fault.vector, fault.error_code);
        assert_eq!((fault.vector, fault.error_code), (vector, error_code), "{name}");
    }
}

fn check_breakpoint() {
    let expected = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];
    let [
        mut a,
        mut c,
        mut d,
        mut si,
        mut di,
        mut r8,
        mut r9,
        mut r10,
        mut r11,
        mut r12,
        mut r13,
        mut r14,
        mut r15,
    ] = expected;
    // SAFETY: the handler prints a line and returns.
    unsafe {
        asm!(
            "int3",
            inout("rax") a, inout("rcx") c, inout("rdx") d, inout("rsi") si, inout("rdi") di,
            inout("r8") r8, inout("r9") r9, inout("r10") r10, inout("r11") r11,
            inout("r12") r12, inout("r13") r13, inout("r14") r14, inout("r15") r15,
        );
    }
    assert_eq!([a, c, d, si, di, r8, r9, r10, r11, r12, r13, r14, r15], expected);
}

fn check_double_fault(exception: &Exception) {
    assert_eq!((exception.vector, exception.error_code), (DOUBLE_FAULT, 0));
    assert!(gdt::double_fault_stack().contains(&VirtAddr::from_ptr(exception)), "on its own stack");
}
