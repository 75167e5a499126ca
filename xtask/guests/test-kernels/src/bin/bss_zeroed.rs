//! A large `.bss` is zero and can be used; `.data` has its values.

#![no_std]
#![no_main]

use boot_info::BootInfo;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use kernel::println;

test_kernels::test_kernel!(test);

static DATA: [AtomicU64; 2] = [AtomicU64::new(0x0123_4567_89ab_cdef), AtomicU64::new(u64::MAX)];
static ZEROED: [AtomicU64; 6 << 20 >> 3] = [const { AtomicU64::new(0) }; 6 << 20 >> 3];

fn test(_boot_info: &'static BootInfo) {
    println!("{} bytes of .bss at {:p}", size_of_val(&ZEROED), ZEROED.as_ptr());
    for (index, word) in ZEROED.iter().enumerate() {
        assert_eq!(word.swap(pattern(index), Relaxed), 0, "word {index} before");
    }
    for (index, word) in ZEROED.iter().enumerate() {
        assert_eq!(word.load(Relaxed), pattern(index), "word {index} after");
    }
    assert_eq!(DATA.each_ref().map(|word| word.load(Relaxed)), [0x0123_4567_89ab_cdef, u64::MAX]);
}

/// Differs from word to word, also where addresses differ in a high bit only.
fn pattern(index: usize) -> u64 {
    (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
