//! Tells when the boot passed its milestones, for `cargo xtask bench`: in ticks of the time stamp counter, which starts at
//! 0, and how many of them a second has.

#![no_std]
#![no_main]

use boot_info::BootInfo;
use kernel::println;
use kernel::time::{self, Frequency};

test_kernels::test_kernel!(test);

fn test(boot_info: &'static BootInfo) {
    let entered = time::now();
    let frequency = Frequency::measure().expect("a timer to measure with");
    println!("second {}", frequency.hertz());
    for milestone in boot_info.milestones() {
        println!("milestone {} {}", milestone.ticks, milestone.id);
    }
    println!("milestone {entered} kernel");
}
