//! See the function of this name in the library.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stage2_fuzz::elf(bytes));
