//! Where everything would lie, as lists for people to read.

use super::report::{Config, Hex, Place, Placement};
use boot_info::{MemoryRegionKind, SegmentRights};
use layout::{FIRST_MIB_END, LOADER_END, MODE_SWITCH_PAGE_ADDR, PAGE_LEN, STACK_BOTTOM};
use loader::boot_info_builder::BootInfoRoom;
use rehearsal::Rehearsed;
use std::ops::Range;

const PAGE: u64 = PAGE_LEN as u64;

const NOT_MAPPED: &str = "---";

/// Both lists of a boot.
pub(super) fn list(rehearsed: &Rehearsed, config: Option<&Config>) -> Placement {
    let is_set = |flag: fn(&Config) -> bool| config.is_none_or(flag);
    Placement {
        randomized: config.is_some_and(|config| config.randomize_address)
            && rehearsed.kernel.is_position_independent,
        virtual_places: virtual_places(
            rehearsed,
            is_set(|config| config.map_first_mib),
            is_set(|config| config.map_physical_memory),
        ),
        physical_places: physical_places(rehearsed),
    }
}

/// Something in virtual memory: what, addresses, rights, physical address.
type Virtual = (&'static str, u64, u64, String, Option<u64>);

fn virtual_places(rehearsed: &Rehearsed, has_first_mib: bool, has_window: bool) -> Vec<Place> {
    let data = || SegmentRights::READ_WRITE.to_string();
    let Rehearsed { plan, boot_info, .. } = rehearsed;
    let mode_switch = u64::from(MODE_SWITCH_PAGE_ADDR);
    let mut places: Vec<Virtual> = vec![
        ("page 0", 0, PAGE, NOT_MAPPED.to_owned(), None),
        ("mode-switch page", mode_switch, PAGE, SegmentRights::READ_EXECUTE.to_string(), Some(mode_switch)),
        ("guard page", plan.stack.bottom_addr - PAGE, PAGE, NOT_MAPPED.to_owned(), None),
        ("boot info", plan.boot_info_addr, BootInfoRoom::LEN, data(), Some(boot_info.start)),
    ];
    if has_first_mib {
        let behind = mode_switch + PAGE;
        places.push(("first MiB", PAGE, mode_switch - PAGE, data(), Some(PAGE)));
        places.push(("first MiB", behind, u64::from(FIRST_MIB_END) - behind, data(), Some(behind)));
    }
    for piece in &rehearsed.pieces {
        let rights = piece.rights.to_string();
        places.push(("kernel", piece.virtual_addr, piece.len, rights, Some(piece.physical_addr)));
    }
    let mut addr = plan.stack.bottom_addr;
    for range in &rehearsed.stack {
        let len = range.end - range.start;
        places.push(("stack", addr, len, data(), Some(range.start)));
        addr += len;
    }
    if has_window {
        places.push(("physical memory", plan.window_addr, plan.window_len, data(), Some(0)));
    }
    for (what, range) in with_the_kernel(rehearsed) {
        places.push((
            what,
            plan.window_addr + range.start,
            range.end - range.start,
            data(),
            Some(range.start),
        ));
    }
    if let Some(addr) = rehearsed.recursive_addr {
        const SLOT_LEN: u64 = 512 << 30;
        places.push(("page tables", addr, SLOT_LEN, data(), None));
    }
    places.sort_by_key(|(_, addr, ..)| *addr);
    let place = |(what, addr, len, rights, physical): Virtual| Place {
        what: what.to_owned(),
        addr: Hex::addr(addr),
        len,
        rights: Some(rights),
        physical_addr: physical.map(Hex::addr),
    };
    places.into_iter().map(place).collect()
}

/// What comes with a kernel that asks for it, by its physical memory.
fn with_the_kernel(rehearsed: &Rehearsed) -> impl Iterator<Item = (&'static str, Range<u64>)> {
    let framebuffer = Some(rehearsed.framebuffer.clone()).filter(|range| !range.is_empty());
    [
        ("ramdisk", rehearsed.ramdisk.clone()),
        ("symbols", rehearsed.symbols.clone()),
        ("framebuffer", framebuffer),
    ]
    .into_iter()
    .filter_map(|(what, range)| Some((what, range?)))
}

/// Everything that was taken, and between that, what the memory map says of the rest.
fn physical_places(rehearsed: &Rehearsed) -> Vec<Place> {
    let table = |addr: &u64| ("page tables", *addr..*addr + PAGE);
    let of_kernel =
        rehearsed.pieces.iter().map(|piece| ("kernel", piece.physical_addr..piece.physical_addr + piece.len));
    let mut taken: Vec<(&str, Range<u64>)> = vec![
        ("loader", u64::from(STACK_BOTTOM)..u64::from(LOADER_END)),
        ("boot info", rehearsed.boot_info.clone()),
    ];
    taken.extend(of_kernel);
    taken.extend(rehearsed.stack.iter().map(|range| ("stack", range.clone())));
    taken.extend(rehearsed.tables.iter().map(table));
    taken.extend(with_the_kernel(rehearsed));
    let is_told = |kind| {
        use MemoryRegionKind as Kind;
        [Kind::KERNEL, Kind::BOOTLOADER, Kind::RAMDISK, Kind::FRAMEBUFFER].contains(&kind)
    };
    let rest = rehearsed.regions.iter().filter(|region| !is_told(region.kind));
    let mut places: Vec<(String, Range<u64>)> =
        rest.map(|region| (region.kind.to_string(), region.start_addr..region.end_addr)).collect();
    places.extend(taken.into_iter().map(|(what, range)| (what.to_owned(), range)));
    places.sort_by_key(|(_, range)| range.start);
    let mut joined: Vec<(String, Range<u64>)> = Vec::new();
    for (what, range) in places {
        match joined.last_mut() {
            Some((last, last_range)) if *last == what && last_range.end == range.start => {
                last_range.end = range.end;
            }
            _ => joined.push((what, range)),
        }
    }
    let place = |(what, range): (String, Range<u64>)| Place {
        what,
        addr: Hex::addr(range.start),
        len: range.end - range.start,
        rights: None,
        physical_addr: None,
    };
    joined.into_iter().map(place).collect()
}
