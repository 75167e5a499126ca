//! CPU exceptions: each is reported with all registers instead of resetting the machine.
//!
//! Source: Intel SDM volume 3, chapter 6. The CPU pushes SS, RSP, RFLAGS, CS, RIP and, for some exceptions, an error
//! code; the entry points below add the rest of [`Exception`].

use crate::backtrace::Backtrace;
use crate::{console, gdt, println};
use core::arch::naked_asm;
use core::fmt;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::registers::control::Cr2;
use x86_64::structures::idt::{InterruptDescriptorTable, InterruptStackFrameValue, PageFaultErrorCode};

/// Vector of the breakpoint exception, raised by `int3`.
pub const BREAKPOINT: u64 = 3;
/// Vector of the double fault: an exception occurred while the CPU tried to report another.
pub const DOUBLE_FAULT: u64 = 8;
/// Vector of the page fault.
pub const PAGE_FAULT: u64 = 14;

/// The state of the CPU when an exception occurred. What a handler changes here, the CPU resumes with.
#[repr(C)]
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are registers")]
pub struct Exception {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    /// Which exception.
    pub vector: u64,
    /// What the CPU says about it; 0 for exceptions that have no error code.
    pub error_code: u64,
    /// Where it occurred.
    pub frame: InterruptStackFrameValue,
}

static IDT: Once<InterruptDescriptorTable> = Once::new();
static HANDLER: Once<fn(&mut Exception)> = Once::new();

/// Has `handler` called for every exception. When it returns, the CPU resumes. To be called once, after
/// [`gdt::init`].
pub fn init(handler: fn(&mut Exception)) {
    HANDLER.call_once(|| handler);
    IDT.call_once(|| {
        let mut idt = InterruptDescriptorTable::new();
        set_entry_points(&mut idt);
        idt
    })
    .load();
}

/// Shows the exception and halts, unless it is a breakpoint.
pub fn report(exception: &mut Exception) {
    if exception.vector == BREAKPOINT {
        println!("breakpoint at {:#x}", exception.frame.instruction_pointer);
    } else {
        console::last_words(&*exception, exception.backtrace());
        crate::halt();
    }
}

impl Exception {
    /// The way back from where it occurred.
    #[must_use]
    pub fn backtrace(&self) -> Backtrace {
        Backtrace::from(self.frame.instruction_pointer.as_u64(), self.rbp)
    }
}

/// Defines the entry points: vector, place in the IDT, whether the CPU pushes an error code, name
/// (Intel SDM volume 3, table 6-1).
macro_rules! exceptions {
    ($($vector:literal $entry:ident $entry_point:ident $name:literal)*) => {
        fn set_entry_points(idt: &mut InterruptDescriptorTable) {
            $(
                let addr = VirtAddr::from_ptr($entry_point::<$vector> as *const ());
                // SAFETY: the entry point leaves every register as it found it, and returns with `iretq`.
                unsafe { idt.$entry.set_handler_addr(addr) };
            )*
            // SAFETY: the stack is there for the double fault alone.
            unsafe {
                let addr = idt.double_fault.handler_addr();
                idt.double_fault.set_handler_addr(addr).set_stack_index(gdt::DOUBLE_FAULT_STACK_INDEX);
            }
        }

        impl Exception {
            /// What the manual calls this exception.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self.vector {
                    $($vector => $name,)*
                    _ => "unknown exception",
                }
            }
        }
    };
}

exceptions! {
     0 divide_error                without_code "divide error"
     1 debug                       without_code "debug exception"
     2 non_maskable_interrupt      without_code "non-maskable interrupt"
     3 breakpoint                  without_code "breakpoint"
     4 overflow                    without_code "overflow"
     5 bound_range_exceeded        without_code "bound range exceeded"
     6 invalid_opcode              without_code "invalid opcode"
     7 device_not_available        without_code "device not available"
     8 double_fault                with_code    "double fault"
    10 invalid_tss                 with_code    "invalid TSS"
    11 segment_not_present         with_code    "segment not present"
    12 stack_segment_fault         with_code    "stack fault"
    13 general_protection_fault    with_code    "general protection"
    14 page_fault                  with_code    "page fault"
    16 x87_floating_point          without_code "x87 floating-point error"
    17 alignment_check             with_code    "alignment check"
    18 machine_check               without_code "machine check"
    19 simd_floating_point         without_code "SIMD floating-point exception"
    20 virtualization              without_code "virtualization exception"
    21 cp_protection_exception     with_code    "control protection exception"
    28 hv_injection_exception      without_code "hypervisor injection exception"
    29 vmm_communication_exception with_code    "VMM communication exception"
    30 security_exception          with_code    "security exception"
}

/// Entry point of an exception for which the CPU pushed no error code: pushes a zero in its place.
#[unsafe(naked)]
extern "C" fn without_code<const VECTOR: u8>() {
    naked_asm!("push 0", "push {vector}", "jmp {common}", vector = const VECTOR, common = sym common)
}

/// Entry point of an exception for which the CPU pushed an error code.
#[unsafe(naked)]
extern "C" fn with_code<const VECTOR: u8>() {
    naked_asm!("push {vector}", "jmp {common}", vector = const VECTOR, common = sym common)
}

/// Completes the [`Exception`] on the stack and calls [`handle`] with it.
///
/// The CPU aligned the stack to 16 bytes before it pushed; a whole `Exception` keeps it so.
#[unsafe(naked)]
extern "C" fn common() {
    naked_asm!(
        "push rax",
        "push rbx",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push rbp",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov rdi, rsp",
        "cld",
        "call {handle}",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rbp",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rbx",
        "pop rax",
        // Vector and error code.
        "add rsp, 16",
        "iretq",
        handle = sym handle,
    )
}

const _: () = assert!(size_of::<Exception>().is_multiple_of(16));

extern "C" fn handle(exception: &mut Exception) {
    if let Some(handler) = HANDLER.get() {
        handler(exception);
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frame = &self.frame;
        writeln!(f, "{} (exception {}), error code {:#x}", self.name(), self.vector, self.error_code)?;
        // A double fault is most often a page fault that found no stack left: show what it touched.
        if matches!(self.vector, PAGE_FAULT | DOUBLE_FAULT) {
            write!(f, "cr2 {:016x}", Cr2::read_raw())?;
            if self.vector == PAGE_FAULT {
                write!(f, ": {}", PageFaultCause(PageFaultErrorCode::from_bits_retain(self.error_code)))?;
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "rip {:016x}  cs {:04x}  rsp {:016x}  ss {:04x}  rflags {:x}",
            frame.instruction_pointer,
            frame.code_segment.0,
            frame.stack_pointer,
            frame.stack_segment.0,
            frame.cpu_flags.bits()
        )?;
        writeln!(f, "rax {:016x}  rbx {:016x}  rcx {:016x}", self.rax, self.rbx, self.rcx)?;
        writeln!(f, "rdx {:016x}  rsi {:016x}  rdi {:016x}", self.rdx, self.rsi, self.rdi)?;
        writeln!(f, "rbp {:016x}  r8  {:016x}  r9  {:016x}", self.rbp, self.r8, self.r9)?;
        writeln!(f, "r10 {:016x}  r11 {:016x}  r12 {:016x}", self.r10, self.r11, self.r12)?;
        write!(f, "r13 {:016x}  r14 {:016x}  r15 {:016x}", self.r13, self.r14, self.r15)
    }
}

/// A page fault's error code in words.
struct PageFaultCause(PageFaultErrorCode);

impl fmt::Display for PageFaultCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = if self.0.contains(PageFaultErrorCode::INSTRUCTION_FETCH) {
            "execution"
        } else if self.0.contains(PageFaultErrorCode::CAUSED_BY_WRITE) {
            "write"
        } else {
            "read"
        };
        let reason = if self.0.contains(PageFaultErrorCode::MALFORMED_TABLE) {
            "the page tables have reserved bits set"
        } else if self.0.contains(PageFaultErrorCode::PROTECTION_VIOLATION) {
            "the page does not allow it"
        } else {
            "the page is not mapped"
        };
        write!(f, "{access}, {reason}")
    }
}
