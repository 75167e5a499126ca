//! Where firmware's tables lie in an area of memory, said once more in the plainest way.

use loader::firmware_tables::{find_rsdp, find_smbios};

/// Searches the area for both tables; each is where it has to be.
pub(crate) fn check_area(area: &[u8]) {
    assert_eq!(find_rsdp(area), rsdp_addrs(area).find(|&offset| is_rsdp(&area[offset..])));
    let smbios = |signature: &[u8]| {
        let mut offsets = addrs(area, signature);
        offsets.find(|&offset| is_smbios(&area[offset..], signature.len()))
    };
    assert_eq!(find_smbios(area), smbios(b"_SM3_").or_else(|| smbios(b"_SM_")));
}

/// Gives whatever looks like a table the right checksums, as far as it is all there.
pub(crate) fn set_checksums(area: &mut [u8]) {
    let rsdps: Vec<_> = rsdp_addrs(area).collect();
    for offset in rsdps {
        let table = &mut area[offset..];
        set_checksum(table, 20, 8);
        if let Some(len) = extended_len(table) {
            set_checksum(table, len, 32);
        }
    }
    for signature in [&b"_SM_"[..], b"_SM3_"] {
        let offsets: Vec<_> = addrs(area, signature).collect();
        for offset in offsets {
            let table = &mut area[offset..];
            let len = table.get(signature.len() + 1).map_or(0, |&len| len.into());
            set_checksum(table, len, signature.len());
        }
    }
}

fn set_checksum(table: &mut [u8], len: usize, place: usize) {
    if let Some(bytes) = table.get_mut(..len)
        && place < len
    {
        bytes[place] = bytes[place].wrapping_sub(sum(bytes));
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Every multiple of 16 at which these bytes lie.
fn addrs(area: &[u8], signature: &[u8]) -> impl Iterator<Item = usize> {
    (0..area.len()).filter(move |&offset| offset % 16 == 0 && area[offset..].starts_with(signature))
}

fn rsdp_addrs(area: &[u8]) -> impl Iterator<Item = usize> {
    addrs(area, b"RSD PTR ")
}

/// The length that an RSDP of revision 2 or later says.
fn extended_len(table: &[u8]) -> Option<usize> {
    let len = u32::from_le_bytes(table.get(20..24)?.try_into().expect("four bytes"));
    (table[15] >= 2).then_some(len as usize)
}

/// ACPI 6.5, table 5.3.
fn is_rsdp(table: &[u8]) -> bool {
    let holds = |len: usize| table.len() >= len && sum(&table[..len]) == 0;
    holds(20) && (table[15] < 2 || extended_len(table).is_some_and(|len| len > 20 && holds(len)))
}

/// DSP0134 3.7, tables 1 and 2. The length has no place in a table that ends with its signature.
fn is_smbios(table: &[u8], signature_len: usize) -> bool {
    let len = table.get(signature_len + 1).map_or(0, |&len| usize::from(len));
    len > signature_len && table.len() >= len && sum(&table[..len]) == 0
}
