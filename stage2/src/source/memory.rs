//! A bundle that another loader has put into memory, below 4 GiB.
//!
//! In 32-bit protected mode. Copies go through the bounce buffer where the target is not reached while the bundle is: above
//! 4 GiB (`high_memory`).

use crate::physical_memory::pointer;
use boot_info::{MemoryRegion, MemoryRegionKind};
use loader::e820::{self, Reports};
use loader::reader::Reader;
use loader::{BootError, Result};

/// Reports the whole pages that `len` bytes at `addr` lie in: as memory of the loader's until the kernel has them.
///
/// # Errors
/// `MemoryMapTooLong`.
#[inline(never)]
pub(super) fn report(addr: u32, len: u32, reports: &mut Reports) -> Result<()> {
    const PAGE: u64 = layout::PAGE_LEN as u64;
    let end = u64::from(addr) + u64::from(len);
    let [start, end] = [u64::from(addr) / PAGE * PAGE, end.next_multiple_of(PAGE)];
    e820::report(reports, MemoryRegion::new(start, end, MemoryRegionKind::BOOTLOADER))
}

/// A bundle in memory.
pub(crate) struct BundleInMemory {
    addr: u32,
    len: u32,
}

impl BundleInMemory {
    /// # Safety
    /// There have to be so many bytes, which nobody writes to as long as this exists, none of them beyond 4 GiB or in the
    /// loader's own memory.
    pub(super) unsafe fn new(addr: u32, len: u32) -> Self {
        Self { addr, len }
    }

    /// Makes sure that there are at least `expected` bytes.
    ///
    /// # Errors
    /// `BundleCutOff`.
    #[inline(never)]
    pub(super) fn check_size(&self, expected: u64) -> Result<()> {
        let found = self.len.into();
        if found < expected { Err(BootError::BundleCutOff { found, expected }.into()) } else { Ok(()) }
    }

    /// Copies bytes from `offset` on to the physical addresses from `target_addr` on, at most `len`. Gives their number.
    ///
    /// # Safety
    /// The memory from `target_addr` on has to be there for them, below 4 GiB.
    #[expect(clippy::cast_possible_truncation, reason = "no more than there is")]
    unsafe fn copy(&self, offset: u64, len: u64, target_addr: u64) -> Result<usize> {
        self.check_size(offset.saturating_add(1))?;
        let addr = u64::from(self.addr) + offset;
        let len = len.min(u64::from(self.len) - offset) as usize;
        // SAFETY: `Self::new` has it that the bytes are there. The caller vouches for the target; what is taken for what is
        // loaded is not the bundle's own memory.
        unsafe { pointer::<u8>(target_addr).copy_from_nonoverlapping(pointer::<u8>(addr), len) };
        Ok(len)
    }
}

impl Reader for BundleInMemory {
    #[inline(never)]
    fn read(&mut self, offset: u64, len: u64) -> Result<&[u8]> {
        let len = len.min(layout::BOUNCE_BUFFER_LEN.into());
        // SAFETY: the bounce buffer is set aside for this in `layout`, and has room for so many.
        let len = unsafe { self.copy(offset, len, layout::BOUNCE_BUFFER_ADDR.into())? };
        // SAFETY: as above; the borrow of `self` keeps the next read away.
        Ok(unsafe { core::slice::from_raw_parts(layout::BOUNCE_BUFFER_ADDR as *const u8, len) })
    }

    #[inline(never)]
    fn read_to(&mut self, offset: u64, len: u64, target_addr: u64) -> Result<u64> {
        // SAFETY: what is loaded is read to frames that were taken for it, or to the place for the headers.
        Ok(unsafe { self.copy(offset, len, target_addr)? } as u64)
    }
}
