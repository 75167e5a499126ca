//! What gdb's script has recorded: gdb/doorstep/record.py names the same fields.

use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Recording {
    pub(super) stops: Vec<Stop>,
    pub(super) calls: Vec<BiosCall>,
    /// The memory map as the BIOS and then the loader reported it.
    pub(super) reports: Vec<Region>,
    /// The memory map as the kernel is told of it.
    pub(super) regions: Vec<Region>,
    pub(super) walk: Walk,
    /// The boot info, as the script prints it.
    pub(super) boot_info: String,
}

/// A stop of the tour.
#[derive(Deserialize)]
pub(super) struct Stop {
    pub(super) place: String,
    pub(super) says: String,
    /// In front of the instruction and, if it is a switch, behind it.
    pub(super) moments: Vec<Moment>,
    pub(super) notes: Vec<String>,
}

/// The machine at one moment.
#[derive(Deserialize)]
pub(super) struct Moment {
    pub(super) mode: String,
    pub(super) stage: String,
    /// Segment, offset and linear address.
    pub(super) headline: String,
    pub(super) instructions: Vec<String>,
    pub(super) source: Option<Source>,
    /// What has changed in the control registers since the moment before: `CR0 +PE`.
    pub(super) changes: Vec<String>,
    pub(super) registers: Vec<(String, u64)>,
    pub(super) flags: Vec<String>,
    /// Name, value, and the names of the bits that are set.
    pub(super) control: Vec<(String, u64, Vec<String>)>,
    /// Name, selector, and the hidden part in words.
    pub(super) segments: Vec<(String, u64, String)>,
    pub(super) gdt: DescriptorTable,
}

/// Lines of source.
#[derive(Deserialize)]
pub(super) struct Source {
    pub(super) file: String,
    /// The one that is about to run.
    pub(super) line: usize,
    /// The number of the first of `lines`.
    pub(super) first: usize,
    pub(super) lines: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct DescriptorTable {
    pub(super) base: u64,
    pub(super) limit: u64,
    /// Selector, descriptor, and the descriptor in words.
    pub(super) entries: Vec<(u64, u64, String)>,
}

#[derive(Deserialize)]
pub(super) struct BiosCall {
    /// The stop that it was on the way to, or, if so, that was just over.
    pub(super) stop: usize,
    pub(super) is_behind_stop: bool,
    pub(super) title: String,
    /// The function that makes the call.
    pub(super) caller: String,
    pub(super) before: Vec<(String, u64)>,
    pub(super) after: Vec<(String, u64)>,
    pub(super) carry: bool,
    /// What the registers point to, and what the BIOS tells, in words.
    pub(super) notes: Vec<String>,
    /// Base, size and type, where it has brought an entry of the memory map.
    pub(super) entry: Option<(u64, u64, u32)>,
}

/// Start, end, and kind by name.
#[derive(Deserialize)]
pub(super) struct Region(pub(super) u64, pub(super) u64, pub(super) String);

/// The page tables' way to an address.
#[derive(Deserialize)]
pub(super) struct Walk {
    pub(super) address: u64,
    pub(super) physical: u64,
    pub(super) rights: String,
    /// From the root on.
    pub(super) tables: Vec<Table>,
}

#[derive(Deserialize)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) address: u64,
    /// The lowest bit of the virtual address that it looks at.
    pub(super) shift: u32,
    /// The entry on the way.
    pub(super) index: u64,
    /// Those that are present.
    pub(super) entries: Vec<Entry>,
}

#[derive(Deserialize)]
pub(super) struct Entry {
    pub(super) index: u64,
    /// The physical address of a page or of the next table.
    pub(super) leads_to: u64,
    /// None for a table.
    pub(super) page_len: Option<u64>,
    pub(super) bits: Vec<String>,
}
