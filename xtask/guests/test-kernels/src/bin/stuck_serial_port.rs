//! A serial port that takes no more bytes holds the kernel up once, not for each byte.

#![no_std]
#![no_main]

use boot_info::BootInfo;
use core::fmt::Write;
use kernel::println;
use kernel::serial::SerialPort;
use kernel::time::now;
use x86_64::instructions::port::PortReadOnly;

test_kernels::test_kernel!(test);

/// How often the port's driver asks before it gives up a byte.
const POLLS: u32 = 100_000;

fn test(_: &'static BootInfo) {
    // SAFETY: the console's own is not used before this one is done.
    let mut port = unsafe { SerialPort::new() };
    port.init();
    let mut ticks_of = |text: &str, times: u32| {
        let start = now();
        for _ in 0..times {
            port.write_str(text).expect("writing to the port never fails");
        }
        now() - start
    };
    // More than the pipe behind the port and the port itself have room for.
    ticks_of("0123456789abcdef", 2 * 4096 / 16);
    let stuck = ticks_of("x", 1000);

    let mut line_status = PortReadOnly::<u8>::new(0x3fd);
    let start = now();
    for _ in 0..POLLS {
        // SAFETY: reading the status of the port has no effect.
        let status = unsafe { line_status.read() };
        assert_eq!(status & 1 << 5, 0, "the transmitter takes no bytes");
    }
    let given_up = now() - start;
    println!("1000 bytes: {stuck} ticks; giving one up: {given_up}");
    assert!(stuck < given_up);
}
