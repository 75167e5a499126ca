//! The kernel's own segments, and a stack for the one exception that cannot use the stack it finds.
//!
//! In 64-bit mode segments hardly matter, but the loader's table lies in memory that is to be given up. Source:
//! Intel SDM volume 3, sections 3.4.5 (descriptors), 7.7 (TSS in 64-bit mode) and 6.14.5 (interrupt stack table).

use core::ops::Range;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::tables::load_tss;
use x86_64::registers::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::tss::TaskStateSegment;

/// Entry of the interrupt stack table, counted from 0, that the double fault takes its stack from.
pub const DOUBLE_FAULT_STACK_INDEX: u16 = 0;

#[repr(C, align(16))]
struct Stack([u8; STACK_LEN]);

const STACK_LEN: usize = 16 * 1024;

/// Written by the CPU only, when a double fault occurs.
static mut DOUBLE_FAULT_STACK: Stack = Stack([0; STACK_LEN]);

static TSS: Once<TaskStateSegment> = Once::new();
static GDT: Once<GlobalDescriptorTable> = Once::new();

/// Puts the kernel's segments in place of the loader's. To be called once.
pub fn init() {
    let tss = TSS.call_once(|| {
        let mut tss = TaskStateSegment::new();
        tss.interrupt_stack_table[usize::from(DOUBLE_FAULT_STACK_INDEX)] = double_fault_stack().end;
        tss
    });
    let mut table = GlobalDescriptorTable::new();
    let code = table.append(Descriptor::kernel_code_segment());
    let data = table.append(Descriptor::kernel_data_segment());
    let task = table.append(Descriptor::tss_segment(tss));

    GDT.call_once(|| table).load();
    // SAFETY: the selectors are those of the table just loaded, and name segments of the right kinds.
    unsafe {
        CS::set_reg(code);
        SS::set_reg(data);
        DS::set_reg(data);
        ES::set_reg(data);
        load_tss(task);
    }
}

/// Where the stack for double faults lies.
#[must_use]
pub fn double_fault_stack() -> Range<VirtAddr> {
    let bottom = VirtAddr::from_ptr(&raw const DOUBLE_FAULT_STACK);
    bottom..bottom + STACK_LEN as u64
}
