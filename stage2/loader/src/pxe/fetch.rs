//! The bundle's way from the server to memory, packet by packet.

use super::services::PACKET_LEN;
use crate::bundle::Bundle;
use crate::error::{Purpose, Result};
use crate::frames::{LOW_END, out_of_memory};
use crate::load::PhysicalMemory;
use crate::reader::Place;
use arrayvec::ArrayVec;
use boot_info::{MemoryRegion, MemoryRegionKind};
use core::ops::Range;

/// A file that arrives in packets.
pub trait Packets {
    /// Bytes of each packet but the last one, which is shorter, as the ROM tells. Not all ROMs do.
    fn told_packet_len(&self) -> usize;

    /// The next packet: at most [`PACKET_LEN`] bytes. Behind the last one there is none, or one without bytes.
    ///
    /// # Errors
    /// `NetworkError::Service`.
    fn next(&mut self) -> Result<&[u8]>;
}

/// The shortest packet of all that are not the last one: where the server and the ROM agreed on nothing else (RFC 1350).
const PACKET_LEN_MIN: usize = 512;

/// Bytes of the packets that come up to the end of the bundle's header.
const HEAD_MAX: usize = layout::BUNDLE_HEADER_LEN as usize + PACKET_LEN as usize;

/// Fetches the bundle to memory that is free, below 4 GiB, as far up as it can lie: kernels like what is low. Gives where it
/// lies; that is shorter than the bundle where the file was. `place` tells where it comes from, for messages.
///
/// # Errors
/// Those of [`Bundle::parse`]; `OutOfMemory`; `NetworkError::Service`.
pub fn fetch(
    packets: &mut impl Packets,
    memory: &mut impl PhysicalMemory,
    regions: &[MemoryRegion],
    place: Place,
) -> Result<Range<u64>> {
    let mut packet_len = packets.told_packet_len();
    let mut head = ArrayVec::<u8, HEAD_MAX>::new();
    let mut is_last = false;
    // How long the bundle is, its header tells.
    while !is_last && head.len() < layout::BUNDLE_HEADER_LEN as usize {
        let packet = packets.next()?;
        if head.is_empty() {
            packet_len = packet_len.min(packet.len()).max(PACKET_LEN_MIN);
        }
        is_last = packet.len() < packet_len;
        head.extend(packet.iter().copied().take(head.remaining_capacity()));
    }
    let len = match head.first_chunk() {
        Some(header) => Bundle::parse(place, header)?.len,
        None => head.len() as u64,
    };
    let start = free_place(regions, len)?;
    memory.write(start, &head);
    let mut end = start + head.len() as u64;
    while !is_last && end < start + len {
        let packet = packets.next()?;
        is_last = packet.len() < packet_len;
        memory.write(end, packet);
        end += packet.len() as u64;
    }
    Ok(start..end.min(start + len))
}

/// The highest address below 4 GiB from which so many bytes, and a packet more, are free in whole pages.
fn free_place(regions: &[MemoryRegion], len: u64) -> Result<u64> {
    const PAGE: u64 = layout::PAGE_LEN as u64;
    let needed = len.saturating_add(PACKET_LEN.into());
    let free = |region: &MemoryRegion| {
        let start = region.start_addr.max(layout::FIRST_MIB_END.into());
        let end = region.end_addr.min(LOW_END);
        (region.kind == MemoryRegionKind::USABLE && start < end).then_some(start..end)
    };
    let free = || regions.iter().filter_map(free);
    free()
        .rev()
        .find_map(|range| {
            let start = range.end.checked_sub(needed)? / PAGE * PAGE;
            (start >= range.start).then_some(start)
        })
        .ok_or_else(|| {
            out_of_memory(Purpose::Bundle, needed, free().map(|range| range.end - range.start).sum())
        })
}
