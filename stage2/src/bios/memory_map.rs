//! The memory map as the BIOS tells it: INT 15h AX=E820h (ACPI 6, section 15.1).

use super::{BiosRegisters, INT_SYSTEM, data_area, far_pointer};
use boot_info::{MemoryRegion, MemoryRegionKind};
use loader::BootError;
use loader::e820::{self, Entry, Reports};

/// `SMAP` in ASCII: goes in with every call and comes back with every answer.
const SIGNATURE: u32 = u32::from_be_bytes(*b"SMAP");

/// Collects what the BIOS reports, and what it may forget to: page 0 and the extended BIOS data area.
///
/// # Errors
/// `NoMemoryMap` when the BIOS does not know the function, `MemoryMapTooLong` when it does not come to an end.
pub(crate) fn fetch(reports: &mut Reports) -> Result<(), BootError> {
    let mut continuation = 0;
    for index in 0.. {
        if index == e820::ENTRIES_MAX {
            return Err(BootError::MemoryMapTooLong { expected: e820::ENTRIES_MAX });
        }
        let mut entry = Entry::BLANK;
        let (segment, offset) = far_pointer(&raw mut entry as u32);
        let mut registers = BiosRegisters {
            eax: 0xe820,
            ebx: continuation,
            ecx: Entry::LEN,
            edx: SIGNATURE,
            edi: offset.into(),
            es: segment,
            ..BiosRegisters::default()
        };
        // SAFETY: the BIOS writes at most ECX bytes to ES:DI, which is `entry`.
        unsafe { super::call(INT_SYSTEM, &mut registers) };
        // Carry ends the list, too; on the first call it means that there is none.
        if registers.carry() && index > 0 {
            break;
        }
        let known_len = (Entry::LEN_MIN..=Entry::LEN).contains(&registers.ecx);
        if registers.carry() || registers.eax != SIGNATURE || !known_len {
            return Err(BootError::NoMemoryMap { eax: registers.eax, ecx: registers.ecx });
        }
        if let Some(region) = entry.region() {
            e820::report(reports, region)?;
        }
        continuation = registers.ebx;
        if continuation == 0 {
            break;
        }
    }
    let ebda_start = e820::ebda_start(
        data_area::read_u16(data_area::EBDA_SEGMENT),
        data_area::read_u16(data_area::CONVENTIONAL_KIB),
    );
    for (start, end) in [(0, layout::PAGE_LEN.into()), (ebda_start, e820::EBDA_END)] {
        e820::report(reports, MemoryRegion::new(start, end, MemoryRegionKind::RESERVED))?;
    }
    Ok(())
}
