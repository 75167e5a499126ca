//! The tables that firmware leaves in memory for a kernel: where ACPI and SMBIOS begin.
//!
//! Both are found by a signature on a multiple of 16, and are what they seem only where their bytes sum to 0. The BIOS puts
//! them below 1 MiB; whoever has memory to search is handed an area of it.
//!
//! Sources: ACPI 6.5, section 5.2.5 (RSDP); DMTF DSP0134 3.7, section 5.2 (SMBIOS entry points).

/// Signatures lie on multiples of this.
const ALIGNMENT: usize = 16;

/// Offset of the first RSDP (root system description pointer) in an area.
///
/// From revision 2 on it is longer and has a second checksum, which has to hold, too.
#[must_use]
pub fn find_rsdp(area: &[u8]) -> Option<usize> {
    const LEN_OF_REVISION_0: usize = 20;
    find(area, b"RSD PTR ", |bytes| {
        sums_to_zero(bytes, LEN_OF_REVISION_0)
            && match (bytes.get(15), bytes.get(20..).and_then(<[u8]>::first_chunk)) {
                (Some(..2), _) => true,
                (_, Some(&len)) => {
                    let len = u32::from_le_bytes(len) as usize;
                    len > LEN_OF_REVISION_0 && sums_to_zero(bytes, len)
                }
                _ => false,
            }
    })
}

/// Offset of the first SMBIOS entry point in an area: a 64-bit one (version 3.0) if there is one, else a 32-bit one (2.1).
#[must_use]
pub fn find_smbios(area: &[u8]) -> Option<usize> {
    let find_entry = |signature: &'static [u8]| {
        find(area, signature, |bytes| {
            // The length is behind the checksum, which is behind the signature.
            let len = bytes.get(signature.len() + 1).copied().map_or(0, usize::from);
            len > signature.len() && sums_to_zero(bytes, len)
        })
    };
    find_entry(b"_SM3_").or_else(|| find_entry(b"_SM_"))
}

fn find(area: &[u8], signature: &[u8], is_whole: impl Fn(&[u8]) -> bool) -> Option<usize> {
    let mut offset = 0;
    while let Some(byte) = area.get(offset) {
        // Nearly all differ in the first byte, and the area is large.
        if *byte == signature[0] {
            let bytes = &area[offset..];
            if bytes.starts_with(signature) && is_whole(bytes) {
                return Some(offset);
            }
        }
        offset += ALIGNMENT;
    }
    None
}

/// Whether there are so many bytes, and their sum is 0 modulo 256.
fn sums_to_zero(bytes: &[u8], len: usize) -> bool {
    bytes.get(..len).is_some_and(|bytes| bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)) == 0)
}
