//! The last sector of the disk can be written, and has what was written afterwards. For a disk of one cylinder of 16
//! heads and 63 sectors, the first one of the IDE controller.
//!
//! Source: ATA-6, PIO data-in and data-out commands.

#![no_std]
#![no_main]

use boot_info::BootInfo;
use x86_64::instructions::port::Port;

test_kernels::test_kernel!(test);

const DATA: u16 = 0x1f0;
const SECTOR_COUNT: u16 = 0x1f2;
const LBA_LOW: u16 = 0x1f3;
const LBA_MID: u16 = 0x1f4;
const LBA_HIGH: u16 = 0x1f5;
const DEVICE: u16 = 0x1f6;
const STATUS_AND_COMMAND: u16 = 0x1f7;

const FIRST_DEVICE_BY_LBA: u8 = 0xe0;
const READ_SECTORS: u8 = 0x20;
const WRITE_SECTORS: u8 = 0x30;
const FLUSH_CACHE: u8 = 0xe7;

const BUSY: u8 = 1 << 7;
const FAULT: u8 = 1 << 5;
const DATA_REQUEST: u8 = 1 << 3;
const ERROR: u8 = 1 << 0;

const LAST_LBA: u16 = 16 * 63 - 1;
const WORDS: usize = 256;
const PATTERN: u16 = 0xd5d5;

fn test(_boot_info: &'static BootInfo) {
    command(WRITE_SECTORS);
    assert_eq!(status() & DATA_REQUEST, DATA_REQUEST, "the disk takes no data");
    for _ in 0..WORDS {
        // SAFETY: the disk waits for these words.
        unsafe { Port::new(DATA).write(PATTERN) };
    }
    status();
    command(FLUSH_CACHE);
    status();

    command(READ_SECTORS);
    assert_eq!(status() & DATA_REQUEST, DATA_REQUEST, "the disk gives no data");
    for index in 0..WORDS {
        // SAFETY: the disk has these words ready.
        let word: u16 = unsafe { Port::new(DATA).read() };
        assert_eq!(word, PATTERN, "word {index}");
    }
}

/// Gives a command for the last sector.
fn command(command: u8) {
    let [low, mid] = LAST_LBA.to_le_bytes();
    for (port, value) in [
        (DEVICE, FIRST_DEVICE_BY_LBA),
        (SECTOR_COUNT, 1),
        (LBA_LOW, low),
        (LBA_MID, mid),
        (LBA_HIGH, 0),
        (STATUS_AND_COMMAND, command),
    ] {
        // SAFETY: nothing else uses the controller, and what is written is not in use.
        unsafe { Port::new(port).write(value) };
    }
}

/// The status once the disk is done, which has to be a good one.
fn status() -> u8 {
    loop {
        // SAFETY: reading the status does no more than to end an interrupt request; interrupts are off.
        let status: u8 = unsafe { Port::new(STATUS_AND_COMMAND).read() };
        if status & BUSY == 0 {
            assert_eq!(status & (ERROR | FAULT), 0, "status {status:#04x}");
            return status;
        }
    }
}
