//! Page tables, each in memory of its own, found by the physical address that it has for the loader.

use loader::Result;
use loader::frames::Frames;
use loader::paging::{AddressSpace, PagingFeatures};
use std::cell::{RefCell, UnsafeCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use x86_64::VirtAddr;
use x86_64::structures::paging::mapper::PageTableFrameMapping;
use x86_64::structures::paging::page_table::PageTableLevel;
use x86_64::structures::paging::{PageTable, PageTableFlags, PhysFrame};

/// The tables that the loader has asked for.
#[derive(Default)]
pub(crate) struct Tables(RefCell<BTreeMap<u64, Rc<UnsafeCell<PageTable>>>>);

// SAFETY: each frame has a table of its own, which stays where it is as long as `self` does. That is what `Rc` is for: the map
// may move it about.
unsafe impl PageTableFrameMapping for &Tables {
    fn frame_to_pointer(&self, frame: PhysFrame) -> *mut PageTable {
        self.0.borrow_mut().entry(frame.start_address().as_u64()).or_default().get()
    }
}

impl Tables {
    /// An empty address space, whose tables are these.
    pub(crate) fn address_space<'a, 'map>(
        &'a self,
        frames: &'a mut Frames<'map>,
        features: PagingFeatures,
    ) -> Result<AddressSpace<'a, 'map, &'a Self>> {
        // SAFETY: nobody else has access to the tables as long as they are lent; afterwards `Mapped` takes them.
        unsafe { AddressSpace::new(frames, self, features) }
    }
}

/// The first address that an entry of the PML4 is for.
pub(crate) fn addr_of_slot(index: u16) -> u64 {
    VirtAddr::new_truncate(u64::from(index) * PageTableLevel::Four.entry_address_space_alignment()).as_u64()
}

/// Page tables that are complete.
pub(crate) struct Mapped {
    tables: BTreeMap<u64, Box<PageTable>>,
    root_addr: u64,
}

impl Mapped {
    pub(crate) fn new(tables: Tables, root_addr: u64) -> Self {
        let tables = tables.0.into_inner().into_iter();
        let owned =
            tables.filter_map(|(addr, table)| Some((addr, Box::new(Rc::into_inner(table)?.into_inner()))));
        Self { tables: owned.collect(), root_addr }
    }

    pub(crate) fn table_addrs(&self) -> Vec<u64> {
        self.tables.keys().copied().collect()
    }

    /// The physical memory behind whole pages of virtual addresses, in their order; what follows each other is joined.
    pub(crate) fn physical(&self, pages: Range<u64>) -> Vec<Range<u64>> {
        let mut found: Vec<Range<u64>> = Vec::new();
        for addr in pages.step_by(layout::PAGE_LEN as usize) {
            let Some(start) = self.translate(VirtAddr::new_truncate(addr)) else { continue };
            let end = start + u64::from(layout::PAGE_LEN);
            match found.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => found.push(start..end),
            }
        }
        found
    }

    /// The physical address of a page, if it is mapped (Intel SDM volume 3, section 4.5).
    fn translate(&self, addr: VirtAddr) -> Option<u64> {
        let (mut table_addr, mut level) = (self.root_addr, PageTableLevel::Four);
        loop {
            let entry = &self.tables.get(&table_addr)?[addr.page_table_index(level)];
            let flags = entry.flags();
            if !flags.contains(PageTableFlags::PRESENT) {
                return None;
            }
            let next = level.next_lower_level();
            let is_page = next.is_none() || flags.contains(PageTableFlags::HUGE_PAGE);
            match next {
                Some(next) if !is_page => (table_addr, level) = (entry.addr().as_u64(), next),
                _ => {
                    let offset = addr.as_u64() & (level.entry_address_space_alignment() - 1);
                    return Some(entry.addr().as_u64() + offset);
                }
            }
        }
    }
}
