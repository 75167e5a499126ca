//! The registers at `_start` are what the design promises.

#![no_std]
#![no_main]

use boot_info::BootInfo;
use core::arch::x86_64::__cpuid;
use core::arch::{asm, naked_asm};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use kernel::println;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags, Efer, EferFlags};
use x86_64::registers::rflags::RFlags;

/// What compiled code would change before it could look.
#[repr(C)]
struct EntryState {
    stack_pointer: AtomicU64,
    return_addr: AtomicU64,
    flags: AtomicU64,
    boot_info_addr: AtomicU64,
    frame_pointer: AtomicU64,
    /// All bits that are set in a selector of a data segment.
    selectors: AtomicU64,
}

static STATE: EntryState = EntryState {
    stack_pointer: AtomicU64::new(0),
    return_addr: AtomicU64::new(u64::MAX),
    flags: AtomicU64::new(0),
    boot_info_addr: AtomicU64::new(0),
    frame_pointer: AtomicU64::new(u64::MAX),
    selectors: AtomicU64::new(u64::MAX),
};

/// Stores the state and goes on in [`run`], with the stack and the argument unchanged.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    naked_asm!(
        "mov [rip + {state} + {stack_pointer}], rsp",
        "mov rax, [rsp]",
        "mov [rip + {state} + {return_addr}], rax",
        "pushfq",
        "pop [rip + {state} + {flags}]",
        "mov [rip + {state} + {boot_info_addr}], rdi",
        "mov [rip + {state} + {frame_pointer}], rbp",
        "mov eax, ss",
        "mov ecx, ds",
        "or eax, ecx",
        "mov ecx, es",
        "or eax, ecx",
        "mov ecx, fs",
        "or eax, ecx",
        "mov ecx, gs",
        "or eax, ecx",
        "mov [rip + {state} + {selectors}], rax",
        // What compiled code needs to tell of a flag that is wrong.
        "cli",
        "cld",
        "jmp {run}",
        state = sym STATE,
        stack_pointer = const offset_of!(EntryState, stack_pointer),
        return_addr = const offset_of!(EntryState, return_addr),
        flags = const offset_of!(EntryState, flags),
        boot_info_addr = const offset_of!(EntryState, boot_info_addr),
        frame_pointer = const offset_of!(EntryState, frame_pointer),
        selectors = const offset_of!(EntryState, selectors),
        run = sym run,
    )
}

extern "C" fn run(boot_info: *const BootInfo) -> ! {
    // SAFETY: the loader passes a pointer to what it made.
    let boot_info = unsafe { BootInfo::from_ptr(boot_info) }.expect("RDI points to the boot info");
    test_kernels::run(boot_info, test)
}

fn test(boot_info: &'static BootInfo) {
    let boot_info_addr = STATE.boot_info_addr.load(Relaxed);
    println!("boot info at {boot_info_addr:#x}");
    assert!(boot_info_addr.is_multiple_of(8));

    let (stack_pointer, stack) = (STATE.stack_pointer.load(Relaxed), boot_info.stack());
    println!("RSP {stack_pointer:#x} in {stack:x?}");
    assert_eq!(stack_pointer % 16, 8, "the stack is as after a call");
    assert!((stack.bottom_addr..stack.top_addr).contains(&stack_pointer));
    assert_eq!(STATE.return_addr.load(Relaxed), 0, "nobody to return to ends a backtrace");

    let flags = RFlags::from_bits_retain(STATE.flags.load(Relaxed));
    println!("{flags:?}");
    assert!(!flags.intersects(RFlags::INTERRUPT_FLAG | RFlags::DIRECTION_FLAG | RFlags::TRAP_FLAG));

    assert_eq!(STATE.frame_pointer.load(Relaxed), 0, "RBP ends a backtrace");
    let selectors = STATE.selectors.load(Relaxed);
    println!("SS, DS, ES, FS and GS together {selectors:#x}");
    assert_eq!(selectors, 0, "a kernel's GDT need not have data segments");

    let (mut control_word, mut mxcsr) = (0u16, 0u32);
    // SAFETY: each instruction stores as many bytes as its operand has.
    unsafe {
        asm!(
            "fnstcw [{}]",
            "stmxcsr [{}]",
            in(reg) &raw mut control_word,
            in(reg) &raw mut mxcsr,
            options(nostack),
        );
    }
    println!("x87 control word {control_word:#x}, MXCSR {mxcsr:#x}");
    assert_eq!((control_word, mxcsr), (0x37f, 0x1f80), "all exceptions are masked");

    let cr0 = Cr0::read();
    println!("{cr0:?}");
    assert!(cr0.contains(
        Cr0Flags::PAGING
            | Cr0Flags::PROTECTED_MODE_ENABLE
            | Cr0Flags::WRITE_PROTECT
            | Cr0Flags::NUMERIC_ERROR
            | Cr0Flags::MONITOR_COPROCESSOR
    ));
    assert!(!cr0.intersects(
        Cr0Flags::EMULATE_COPROCESSOR
            | Cr0Flags::TASK_SWITCHED
            | Cr0Flags::CACHE_DISABLE
            | Cr0Flags::NOT_WRITE_THROUGH
    ));

    let cr4 = Cr4::read();
    println!("{cr4:?}");
    assert!(
        cr4.contains(Cr4Flags::PHYSICAL_ADDRESS_EXTENSION | Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE)
    );

    let efer = Efer::read();
    println!("{efer:?}");
    assert!(efer.contains(EferFlags::LONG_MODE_ENABLE | EferFlags::LONG_MODE_ACTIVE));
    assert_eq!(efer.contains(EferFlags::NO_EXECUTE_ENABLE), cpu_has_no_execute());
}

/// Source: Intel SDM volume 2, CPUID leaf 8000_0001h, EDX bit 20.
fn cpu_has_no_execute() -> bool {
    __cpuid(0x8000_0001).edx & 1 << 20 != 0
}
