//! Page tables as the CPU reads them (Intel SDM volume 3, section 4.5), bit by bit and without the x86_64 crate.

use loader::paging::{PagingFeatures, WRITE_COMBINING_PAT};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use x86_64::structures::paging::mapper::PageTableFrameMapping;
use x86_64::structures::paging::{PageTable, PhysFrame};

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
/// PWT and PCD, bits 0 and 1 of the entry of the PAT that a page names.
const WRITE_THROUGH: u64 = 1 << 3;
const CACHE_DISABLE: u64 = 1 << 4;
const LARGE: u64 = 1 << 7;
/// Bit 2 of the entry of the PAT: where a page of 4 KiB has it, and where a larger one has it.
const PAT: u64 = 1 << 7;
const PAT_OF_LARGE_PAGE: u64 = 1 << 12;
const NO_EXECUTE: u64 = 1 << 63;
const ADDR: u64 = 0x000f_ffff_ffff_f000;

/// A table, as entries.
type Table = [u64; 512];

/// Host memory for page tables: each physical frame that is asked for gets a page, full of garbage.
#[derive(Default)]
pub(crate) struct Arena(RefCell<BTreeMap<u64, *mut Table>>);

#[repr(align(4096))]
struct Aligned(#[expect(dead_code, reason = "only its size and alignment count")] Table);

// SAFETY: each frame has a page of its own, aligned, which lives as long as the arena.
unsafe impl PageTableFrameMapping for &Arena {
    fn frame_to_pointer(&self, frame: PhysFrame) -> *mut PageTable {
        let mut tables = self.0.borrow_mut();
        let new = || Box::into_raw(Box::new(Aligned([0xa5a5_a5a5_a5a5_a5a5; 512]))).cast();
        tables.entry(frame.start_address().as_u64()).or_insert_with(new).cast()
    }
}

impl Arena {
    /// The frames that were asked for.
    pub(crate) fn frames(&self) -> Vec<u64> {
        self.0.borrow().keys().copied().collect()
    }

    fn table(&self, addr: u64) -> Table {
        let table = *self.0.borrow().get(&addr).unwrap_or_else(|| panic!("no page table at {addr:#x}"));
        // SAFETY: the page is live and holds integers; nobody writes to it while the tables are being walked.
        unsafe { table.read() }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for table in self.0.borrow().values() {
            // SAFETY: it came from a box of this type, and nothing points to it any more.
            drop(unsafe { Box::from_raw(table.cast::<Aligned>()) });
        }
    }
}

/// How the CPU may cache a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MemoryType {
    WriteBack,
    WriteCombining,
    Uncacheable,
}

impl MemoryType {
    /// As the entry of the PAT says (Intel SDM volume 3, tables 11-10 and 11-12), which is the one of a reset in its lower half.
    fn of(index: usize) -> Self {
        assert_eq!(WRITE_COMBINING_PAT & 0xffff_ffff, 0x0007_0406, "as after a reset");
        match WRITE_COMBINING_PAT.to_le_bytes()[index] {
            0x06 => Self::WriteBack,
            0x01 => Self::WriteCombining,
            0x00 => Self::Uncacheable,
            other => panic!("memory of type {other}"),
        }
    }
}

/// Neighbouring addresses that are mapped to neighbouring memory with the same rights, as memory of one type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mapping {
    pub(crate) virtual_addr: u64,
    pub(crate) physical_addr: u64,
    pub(crate) len: u64,
    pub(crate) writable: bool,
    pub(crate) executable: bool,
    pub(crate) memory_type: MemoryType,
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { virtual_addr, physical_addr, len, .. } = self;
        let writable = if self.writable { 'w' } else { '-' };
        let executable = if self.executable { 'x' } else { '-' };
        let memory_type = self.memory_type;
        write!(f, "{virtual_addr:#x}+{len:#x} to {physical_addr:#x} r{writable}{executable} {memory_type:?}")
    }
}

impl Mapping {
    /// The last address.
    pub(crate) fn last_addr(&self) -> u64 {
        self.virtual_addr + (self.len - 1)
    }

    /// One past the last byte in physical memory.
    pub(crate) fn physical_end(&self) -> u64 {
        self.physical_addr + self.len
    }
}

/// Every page that the tables map, by its address. Checks on the way that no entry has a bit set which the CPU would take
/// for something else, and that every frame of the arena is one table of the tree.
pub(crate) fn pages(arena: &Arena, root_addr: u64, features: PagingFeatures) -> Vec<Mapping> {
    let mut walk = Walk { arena, features, found: Vec::new(), tables: Vec::new() };
    walk.table(root_addr, 3, 0, true, true);
    walk.tables.sort_unstable();
    assert_eq!(walk.tables, arena.frames(), "each frame taken for tables is one table");
    walk.found.sort_unstable();
    walk.found
}

struct Walk<'a> {
    arena: &'a Arena,
    features: PagingFeatures,
    found: Vec<Mapping>,
    tables: Vec<u64>,
}

impl Walk<'_> {
    /// Walks a table; its entries each stand for 2^(12 + 9 * level) bytes.
    fn table(&mut self, addr: u64, level: u32, virtual_start: u64, writable: bool, executable: bool) {
        self.tables.push(addr);
        let entry_len = 1 << (12 + 9 * level);
        for (index, entry) in (0..).zip(self.arena.table(addr)) {
            if entry & PRESENT == 0 {
                assert_eq!(entry, 0, "an entry that is not there is zero");
                continue;
            }
            let low = virtual_start + index * entry_len;
            let sign_extended = if low & 1 << 47 == 0 { low } else { low | 0xffff_0000_0000_0000 };
            let virtual_addr = if level == 3 { sign_extended } else { low };
            let writable = writable && entry & WRITABLE != 0;
            let executable = executable && entry & NO_EXECUTE == 0;
            let mut allowed = PRESENT | WRITABLE | ADDR;
            if self.features.no_execute {
                allowed |= NO_EXECUTE;
            }
            if level == 1 || level == 2 && self.features.gib_pages {
                allowed |= LARGE;
            }
            let is_page = level == 0 || entry & LARGE != 0;
            let pat = if level == 0 { PAT } else { PAT_OF_LARGE_PAGE };
            if is_page {
                allowed |= WRITE_THROUGH | CACHE_DISABLE | pat;
            }
            assert_eq!(entry & !allowed, 0, "entry {entry:#x} of level {level} at {virtual_addr:#x}");
            if is_page {
                let bits = [WRITE_THROUGH, CACHE_DISABLE, pat].map(|bit| usize::from(entry & bit != 0));
                let memory_type = MemoryType::of(bits[0] | bits[1] << 1 | bits[2] << 2);
                let physical_addr = if level == 0 { entry & ADDR } else { entry & ADDR & !pat };
                assert!(physical_addr.is_multiple_of(entry_len), "a large page off its boundary");
                self.found.push(Mapping {
                    virtual_addr,
                    physical_addr,
                    len: entry_len,
                    writable,
                    executable,
                    memory_type,
                });
            } else {
                self.table(entry & ADDR, level - 1, virtual_addr, writable, executable);
            }
        }
    }
}

/// Sorts mappings and joins those that continue each other.
pub(crate) fn joined(mut mappings: Vec<Mapping>) -> Vec<Mapping> {
    mappings.retain(|mapping| mapping.len > 0);
    mappings.sort_unstable();
    mappings.dedup_by(|next, last| {
        let rights = |mapping: &Mapping| (mapping.writable, mapping.executable, mapping.memory_type);
        let end = u128::from(last.virtual_addr) + u128::from(last.len);
        assert!(end <= u128::from(next.virtual_addr), "mapped twice: {last:x?} {next:x?}");
        let continues = end == u128::from(next.virtual_addr)
            && last.physical_addr + last.len == next.physical_addr
            && rights(last) == rights(next);
        if continues {
            last.len += next.len;
        }
        continues
    });
    mappings
}
