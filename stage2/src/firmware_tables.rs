//! Where firmware has put its tables: the first KiB of the extended BIOS data area, and the BIOS's own area.
//!
//! Sources: ACPI 6.5, section 5.2.5.1; DMTF DSP0134, section 5.2.1.

use crate::bios::data_area;
use crate::physical_memory;
use core::ops::Range;
use loader::firmware_tables::{find_rsdp, find_smbios};

/// The BIOS's area, in which SMBIOS has the upper half.
const BIOS_AREA: Range<u32> = 0xe_0000..layout::FIRST_MIB_END;
const SMBIOS_AREA: Range<u32> = 0xf_0000..layout::FIRST_MIB_END;

/// Physical address of the ACPI root system description pointer.
pub(crate) fn rsdp_addr() -> Option<u64> {
    let ebda_start = u32::from(data_area::read_u16(data_area::EBDA_SEGMENT)) << 4;
    let ebda = ebda_start..ebda_start + 1024;
    [ebda, BIOS_AREA].into_iter().find_map(|area| find_in(area, find_rsdp))
}

/// Physical address of the SMBIOS entry point.
pub(crate) fn smbios_addr() -> Option<u64> {
    find_in(SMBIOS_AREA, find_smbios)
}

fn find_in(area: Range<u32>, find: fn(&[u8]) -> Option<usize>) -> Option<u64> {
    let start = physical_memory::pointer::<u8>(area.start.into());
    // SAFETY: all of it lies in or just above the first MiB and can be read, whatever it is; no Rust object lies there, and
    // nobody writes to it while the BIOS does not run.
    let bytes = unsafe { core::slice::from_raw_parts(start, area.len()) };
    find(bytes).map(|offset| u64::from(area.start) + offset as u64)
}
