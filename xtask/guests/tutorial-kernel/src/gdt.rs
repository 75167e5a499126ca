//! A code segment and a TSS, and nothing else: in long mode no data segment is needed.

use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::tables::load_tss;
use x86_64::registers::segmentation::{CS, Segment};
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::tss::TaskStateSegment;

/// Which of the TSS's stacks a double fault is handled on.
pub const DOUBLE_FAULT_IST_INDEX: u16 = 0;

const STACK_LEN: usize = 4096 * 5;
static mut STACK: [u8; STACK_LEN] = [0; STACK_LEN];

static TSS: Once<TaskStateSegment> = Once::new();
static GDT: Once<GlobalDescriptorTable> = Once::new();

/// Puts them in place of the loader's. SS keeps what the loader left in it.
pub fn init() {
    let tss = TSS.call_once(|| {
        let mut tss = TaskStateSegment::new();
        let top = VirtAddr::from_ptr(&raw const STACK) + STACK_LEN as u64;
        tss.interrupt_stack_table[usize::from(DOUBLE_FAULT_IST_INDEX)] = top;
        tss
    });
    let mut table = GlobalDescriptorTable::new();
    let code = table.append(Descriptor::kernel_code_segment());
    let task = table.append(Descriptor::tss_segment(tss));
    GDT.call_once(|| table).load();
    // SAFETY: the selectors are those of the table that was just loaded.
    unsafe {
        CS::set_reg(code);
        load_tss(task);
    }
}
