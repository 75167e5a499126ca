//! A20 gate, interrupt controllers and timers at `_start`: as the BIOS has set them up, with nothing left half done.
//!
//! Source: Intel 8259A and 8254 data sheets; Motorola MC146818 data sheet for the real-time clock.

#![no_std]
#![no_main]

use boot_info::BootInfo;
use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use kernel::println;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::interrupts;
use x86_64::instructions::port::Port;
use x86_64::structures::idt::InterruptDescriptorTable;

test_kernels::test_kernel!(test);

/// The two controllers: command and mask of each.
const PIC1: (u16, u16) = (0x20, 0x21);
const PIC2: (u16, u16) = (0xa0, 0xa1);
const END_OF_INTERRUPT: u8 = 0x20;

const TIMER_DATA: u16 = 0x40;
const TIMER_COMMAND: u16 = 0x43;

const CLOCK_INDEX: u16 = 0x70;
const CLOCK_DATA: u16 = 0x71;
const CLOCK_STATUS_B: u8 = 0x0b;
/// Which interrupt it was; to be read before there is another one.
const CLOCK_STATUS_C: u8 = 0x0c;

/// Where a BIOS has the second controller's first line: the real-time clock's.
const CLOCK_VECTOR: u8 = 0x70;

static TICKS: AtomicU64 = AtomicU64::new(0);
static CLOCK_TICKS: AtomicU64 = AtomicU64::new(0);
static IDT: Once<InterruptDescriptorTable> = Once::new();

fn test(boot_info: &'static BootInfo) {
    check_a20(test_kernels::window(boot_info));
    check_timer();
    check_controllers();
    check_vectors();
}

/// What is 1 MiB higher is other memory.
fn check_a20(window: u64) {
    // Where the boot sector has been.
    const LOW: u64 = 0x7c00;
    let [low, high] = [LOW, LOW + (1 << 20)].map(|addr| (window + addr) as *mut u32);
    // SAFETY: all memory is mapped in the window; nothing needs the boot sector any more, and the other is only read.
    unsafe {
        let before = high.read_volatile();
        low.write_volatile(!before);
        assert_eq!((low.read_volatile(), high.read_volatile()), (!before, before), "A20 gate");
    }
    println!("A20 gate open");
}

/// Channel 0 counts down, over and over.
fn check_timer() {
    const READ_BACK_STATUS_OF_0: u8 = 0b1110_0010;
    const LATCH_COUNT_OF_0: u8 = 0;
    write(TIMER_COMMAND, READ_BACK_STATUS_OF_0);
    let status = read(TIMER_DATA);
    println!("timer: channel 0 status {status:#010b}");
    assert_eq!(status & 0b11_0001, 0b11_0000, "both bytes of the count are read and written, in binary");
    assert!([2, 3].contains(&(status >> 1 & 0b11)), "it is periodic");
    let count = || {
        write(TIMER_COMMAND, LATCH_COUNT_OF_0);
        u16::from_le_bytes([read(TIMER_DATA), read(TIMER_DATA)])
    };
    let first = count();
    while count() == first {}
}

/// Timer and keyboard are let through, and no interrupt waits for its end.
fn check_controllers() {
    const READ_IN_SERVICE: u8 = 0x0b;
    let masks = [PIC1, PIC2].map(|(_, mask)| read(mask));
    let in_service = [PIC1, PIC2].map(|(command, _)| {
        write(command, READ_IN_SERVICE);
        read(command)
    });
    println!("interrupts masked {masks:02x?}, in service {in_service:02x?}");
    assert_eq!(masks[0] & 0b111, 0, "timer, keyboard and the second controller");
    assert_eq!(in_service, [0, 0]);
}

/// The timer's interrupt is vector 8, which exceptions have, too; the clock's is 70h.
fn check_vectors() {
    const PERIODIC: u8 = 1 << 6;
    let entries: [extern "C" fn(); 2] = [timer, clock];
    IDT.call_once(|| {
        let [timer, clock] = entries.map(|entry| VirtAddr::from_ptr(entry as *const ()));
        let mut idt = InterruptDescriptorTable::new();
        // SAFETY: the entry points leave every register as they found it, and return with `iretq`. A double fault would be
        // taken for the timer, and reset the machine.
        unsafe {
            idt.double_fault.set_handler_addr(timer);
            idt[CLOCK_VECTOR].set_handler_addr(clock);
        }
        idt
    })
    .load();
    wait_for(&TICKS);
    println!("timer: vector 8");

    write(PIC2.1, read(PIC2.1) & !1);
    write(CLOCK_INDEX, CLOCK_STATUS_B);
    let status = read(CLOCK_DATA);
    write(CLOCK_INDEX, CLOCK_STATUS_B);
    write(CLOCK_DATA, status | PERIODIC);
    write(CLOCK_INDEX, CLOCK_STATUS_C);
    read(CLOCK_DATA);
    wait_for(&CLOCK_TICKS);
    println!("clock: vector {CLOCK_VECTOR:#x}");
}

/// Lets interrupts through until this one has come twice: the first one had an end.
fn wait_for(count: &AtomicU64) {
    loop {
        interrupts::disable();
        if count.load(Relaxed) >= 2 {
            return;
        }
        interrupts::enable_and_hlt();
    }
}

#[unsafe(naked)]
extern "C" fn timer() {
    naked_asm!(
        "push rax",
        "lock inc qword ptr [rip + {ticks}]",
        "mov al, {end}",
        "out {pic1}, al",
        "pop rax",
        "iretq",
        ticks = sym TICKS,
        end = const END_OF_INTERRUPT,
        pic1 = const PIC1.0,
    )
}

#[unsafe(naked)]
extern "C" fn clock() {
    naked_asm!(
        "push rax",
        "lock inc qword ptr [rip + {ticks}]",
        "mov al, {status}",
        "out {index}, al",
        "in al, {data}",
        "mov al, {end}",
        "out {pic2}, al",
        "out {pic1}, al",
        "pop rax",
        "iretq",
        ticks = sym CLOCK_TICKS,
        status = const CLOCK_STATUS_C,
        index = const CLOCK_INDEX,
        data = const CLOCK_DATA,
        end = const END_OF_INTERRUPT,
        pic1 = const PIC1.0,
        pic2 = const PIC2.0,
    )
}

fn read(port: u16) -> u8 {
    // SAFETY: only the devices above are read, whose state nothing else here relies on.
    unsafe { Port::new(port).read() }
}

fn write(port: u16, value: u8) {
    // SAFETY: only the devices above are written to, as they want it.
    unsafe { Port::new(port).write(value) }
}
