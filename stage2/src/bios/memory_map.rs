//! The memory map as the BIOS tells it: INT 15h AX=E820h (ACPI 6, section 15.1).

use super::{BiosRegisters, INT_SYSTEM, data_area, far_pointer};
use boot_info::{MemoryRegion, MemoryRegionKind};
use loader::Result;
use loader::e820::{self, Answer, Entry, Reports};

/// Collects what the BIOS reports, if nobody else has, what it may forget to (page 0 and the extended BIOS data area), and the
/// loader's own memory.
///
/// # Errors
/// Those of [`e820::collect`].
// Called, not unfolded: stage2 is smaller for it.
#[inline(never)]
pub(crate) fn fetch(reports: &mut Reports) -> Result<()> {
    if reports.is_empty() {
        e820::collect(reports, ask)?;
    }
    let ebda_start = e820::ebda_start(
        data_area::read_u16(data_area::EBDA_SEGMENT),
        data_area::read_u16(data_area::CONVENTIONAL_KIB),
    );
    [
        MemoryRegion::new(0, layout::PAGE_LEN.into(), MemoryRegionKind::RESERVED),
        MemoryRegion::new(ebda_start, e820::EBDA_END, MemoryRegionKind::RESERVED),
        MemoryRegion::new(
            layout::STACK_BOTTOM.into(),
            layout::LOADER_END.into(),
            MemoryRegionKind::BOOTLOADER,
        ),
    ]
    .into_iter()
    .try_for_each(|region| e820::report(reports, region))
}

/// One call: for the entry that belongs to the continuation value, 0 for the first.
fn ask(continuation: u32, entry: &mut Entry) -> Answer {
    let (segment, offset) = far_pointer(&raw mut *entry as u32);
    let mut registers = BiosRegisters {
        eax: 0xe820,
        ebx: continuation,
        ecx: Entry::LEN,
        edx: e820::SIGNATURE,
        edi: offset.into(),
        es: segment,
        ..BiosRegisters::default()
    };
    // SAFETY: the BIOS writes at most ECX bytes to ES:DI, which is `entry`.
    unsafe { super::call(INT_SYSTEM, &mut registers) };
    Answer { carry: registers.carry(), eax: registers.eax, ebx: registers.ebx, ecx: registers.ecx }
}
