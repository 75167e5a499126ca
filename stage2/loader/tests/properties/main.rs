//! What the loader's library promises, tried with inputs that nobody thought of.
//!
//! The machine is made of ordinary memory (`support`); what a result has to be is said there once more, in the
//! plainest way, and compared.

mod bootloader_0_9;
mod bundle;
mod display;
mod e820;
mod elf;
mod firmware_tables;
mod frames;
mod habits;
mod ide;
mod kernels;
mod load;
mod multiboot;
mod notes;
mod paging;
mod plan;
mod pxe;
mod reader;
mod support;

use proptest::test_runner::Config;

/// As many cases as a test can afford; `PROPTEST_CASES` multiplies them by itself over 256.
fn cases(count: u32) -> Config {
    let default = Config::default();
    Config { cases: count * default.cases.div_ceil(256), failure_persistence: None, ..default }
}
