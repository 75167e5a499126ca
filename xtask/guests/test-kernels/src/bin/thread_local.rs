//! The kernel is told what thread-local storage begins as.

#![no_std]
#![no_main]

use boot_info::BootInfo;
use core::arch::global_asm;
use core::slice;
use kernel::println;

test_kernels::test_kernel!(test);

// What a compiler makes of two variables, of which the second begins as zero.
global_asm!(
    ".pushsection .tdata, \"awT\", @progbits",
    ".balign 64",
    "thread_local_start: .quad {word}",
    ".popsection",
    ".pushsection .tbss, \"awT\", @nobits",
    ".skip 100",
    ".popsection",
    word = const WORD,
);

const WORD: u64 = 0x0123_4567_89ab_cdef;

fn test(boot_info: &'static BootInfo) {
    let template = boot_info.tls_template().expect("thread-local storage");
    println!("{template:x?}");
    assert_eq!((template.file_len, template.memory_len, template.align), (8, 108, 64));
    // SAFETY: the loader says that the bytes are there.
    let bytes = unsafe { slice::from_raw_parts(template.addr as *const u8, 8) };
    assert_eq!(bytes, WORD.to_le_bytes());
}
