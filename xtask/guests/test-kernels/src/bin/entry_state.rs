//! The registers at `_start` are what the design promises.

#![no_std]
#![no_main]

use boot_info::{BootInfo, MemoryRegionKind};
use core::arch::x86_64::__cpuid;
use core::arch::{asm, naked_asm};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use kernel::println;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr3, Cr4, Cr4Flags, Efer, EferFlags};
use x86_64::registers::debug::Dr7;
use x86_64::registers::rflags::RFlags;
use x86_64::structures::gdt::DescriptorFlags;

/// Bit 1 of the flags, which means nothing.
const ALWAYS_SET_FLAG: u64 = 1 << 1;

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
    /// All bits that are set in the selectors of the task and of a local descriptor table.
    system_selectors: AtomicU64,
    code_selector: AtomicU64,
    /// The operand of SGDT: limit (16 bits), address.
    descriptor_table: [AtomicU64; 2],
}

static STATE: EntryState = EntryState {
    stack_pointer: AtomicU64::new(0),
    return_addr: AtomicU64::new(u64::MAX),
    flags: AtomicU64::new(0),
    boot_info_addr: AtomicU64::new(0),
    frame_pointer: AtomicU64::new(u64::MAX),
    selectors: AtomicU64::new(u64::MAX),
    system_selectors: AtomicU64::new(u64::MAX),
    code_selector: AtomicU64::new(0),
    descriptor_table: [const { AtomicU64::new(0) }; 2],
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
        "mov eax, cs",
        "mov [rip + {state} + {code_selector}], rax",
        "str eax",
        "sldt ecx",
        "or eax, ecx",
        "mov [rip + {state} + {system_selectors}], rax",
        "sgdt [rip + {state} + {descriptor_table}]",
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
        code_selector = const offset_of!(EntryState, code_selector),
        system_selectors = const offset_of!(EntryState, system_selectors),
        descriptor_table = const offset_of!(EntryState, descriptor_table),
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
    let of_arithmetic = RFlags::CARRY_FLAG
        | RFlags::PARITY_FLAG
        | RFlags::AUXILIARY_CARRY_FLAG
        | RFlags::ZERO_FLAG
        | RFlags::SIGN_FLAG
        | RFlags::OVERFLOW_FLAG;
    let others = flags - of_arithmetic;
    assert_eq!(others.bits(), ALWAYS_SET_FLAG, "interrupts off, direction up, no I/O privilege");

    assert_eq!(STATE.frame_pointer.load(Relaxed), 0, "RBP ends a backtrace");
    let selectors = STATE.selectors.load(Relaxed);
    println!("SS, DS, ES, FS and GS together {selectors:#x}");
    assert_eq!(selectors, 0, "a kernel's GDT need not have data segments");
    assert_eq!(STATE.system_selectors.load(Relaxed), 0, "no task, no local descriptor table");
    check_descriptor_table(boot_info);

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
    assert_eq!(
        cr0,
        Cr0Flags::PROTECTED_MODE_ENABLE
            | Cr0Flags::MONITOR_COPROCESSOR
            | Cr0Flags::EXTENSION_TYPE
            | Cr0Flags::NUMERIC_ERROR
            | Cr0Flags::WRITE_PROTECT
            | Cr0Flags::PAGING
    );

    let (table, cr3) = Cr3::read_raw();
    println!("CR3 {:#x}, low bits {cr3:#x}", table.start_address());
    assert_eq!(cr3, 0, "no process context, tables cached");
    assert_eq!(kind_at(boot_info, table.start_address().as_u64()), Some(MemoryRegionKind::BOOTLOADER));

    let cr4 = Cr4::read();
    println!("{cr4:?}");
    assert_eq!(cr4, Cr4Flags::PHYSICAL_ADDRESS_EXTENSION | Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE);

    let efer = Efer::read();
    println!("{efer:?}");
    let no_execute = if cpu_has_no_execute() { EferFlags::NO_EXECUTE_ENABLE } else { EferFlags::empty() };
    assert_eq!(efer, EferFlags::LONG_MODE_ENABLE | EferFlags::LONG_MODE_ACTIVE | no_execute);

    let dr7 = Dr7::read_raw();
    println!("DR7 {dr7:#x}");
    assert_eq!(dr7, 0x400, "no breakpoints");
}

/// The table lies in the loader's memory, holds whole descriptors, and the code segment is one of them.
fn check_descriptor_table(boot_info: &BootInfo) {
    let [first, second] = [0, 1].map(|index: usize| STATE.descriptor_table[index].load(Relaxed));
    let (len, addr) = ((first & 0xffff) + 1, first >> 16 | second << 48);
    let selector = STATE.code_selector.load(Relaxed);
    println!("GDT at {addr:#x}, {len} bytes; CS {selector:#x}");
    assert!(len.is_multiple_of(8));
    for byte in [addr, addr + len - 1] {
        assert_eq!(kind_at(boot_info, byte), Some(MemoryRegionKind::BOOTLOADER));
    }
    assert!(selector.is_multiple_of(8) && (8..len).contains(&selector));
    // SAFETY: the table is mapped where it lies.
    let descriptor = unsafe { *((addr + selector) as *const u64) };
    let flags = DescriptorFlags::from_bits_retain(descriptor);
    println!("{flags:?}");
    assert!(flags.contains(
        DescriptorFlags::PRESENT
            | DescriptorFlags::USER_SEGMENT
            | DescriptorFlags::EXECUTABLE
            | DescriptorFlags::LONG_MODE
    ));
    assert!(!flags.intersects(DescriptorFlags::DPL_RING_3 | DescriptorFlags::DEFAULT_SIZE));
}

/// What the memory map calls the byte at a physical address.
fn kind_at(boot_info: &BootInfo, addr: u64) -> Option<MemoryRegionKind> {
    let mut regions = boot_info.memory_regions().iter();
    regions.find(|region| (region.start_addr..region.end_addr).contains(&addr)).map(|region| region.kind)
}

/// Source: Intel SDM volume 2, CPUID leaf 8000_0001h, EDX bit 20.
fn cpu_has_no_execute() -> bool {
    __cpuid(0x8000_0001).edx & 1 << 20 != 0
}
