//! The drive that was booted: read by the disk's controller where that is known and can (`ide`), else by the BIOS
//! (`bios_drive`), which goes on wherever the controller fails.

use super::bios_drive::BiosDrive;
use super::ide;
use crate::console::println;
use loader::Result;
use loader::ide::{Fault, IdeDisk};
use loader::reader::Sectors;

/// A drive, and the ways to read it.
pub(crate) struct Drive {
    bios: BiosDrive,
    /// The disk, where its controller is trusted to read it.
    dma: Option<IdeDisk>,
}

impl Drive {
    /// Finds out how the BIOS can read the drive.
    ///
    /// # Errors
    /// As [`BiosDrive::open`].
    pub(super) fn open(drive: u8, sector_len: u32) -> Result<Self> {
        Ok(Self { bios: BiosDrive::open(drive, sector_len)?, dma: None })
    }

    /// What the BIOS knows of it.
    pub(crate) fn bios(&self) -> &BiosDrive {
        &self.bios
    }

    /// Reads by the disk's controller from now on, if the start of the bundle is the same that way: its header, which begins at
    /// `lba`, is in the bounce buffer.
    // Not inlined: stage2 is smaller for it.
    #[inline(never)]
    pub(crate) fn use_dma(&mut self, lba: u64) {
        // Of disks; others are not read this way.
        let sectors = u64::from(layout::BUNDLE_HEADER_LEN / layout::SECTOR_LEN);
        if self.sector_len() == layout::SECTOR_LEN {
            self.dma = ide::find(self.bios.parameters());
        }
        // SAFETY: the place for the kernel's headers has room for so many, and nothing is there yet.
        if unsafe { self.read_dma(lba, sectors, layout::KERNEL_HEADERS_ADDR.into()) } == 0 {
            return;
        }
        let from_bios = self.bios.bounce_buffer(sectors);
        // SAFETY: `layout` sets the place aside; as many bytes were read to it, and nobody writes to it now.
        let from_disk =
            unsafe { core::slice::from_raw_parts(layout::KERNEL_HEADERS_ADDR as *const u8, from_bios.len()) };
        if from_bios == from_disk {
            println!("disk: read by DMA");
        } else {
            self.give_up_dma(lba, &Fault::Different);
        }
    }

    /// Reads sectors from `lba` on by the disk's controller. Gives their number: 0 when it is for the BIOS to read them.
    ///
    /// # Safety
    /// The memory from `target_addr` on has to be there for them.
    unsafe fn read_dma(&mut self, lba: u64, count: u64, target_addr: u64) -> u64 {
        let Some(disk) = &self.dma else { return 0 };
        // SAFETY: the caller vouches for the memory.
        match unsafe { ide::read(disk, lba, count, target_addr) } {
            Ok(count) => count,
            Err(fault) => {
                self.give_up_dma(lba, &fault);
                0
            }
        }
    }

    /// Leaves it to the BIOS to read.
    fn give_up_dma(&mut self, lba: u64, fault: &Fault) {
        self.dma = None;
        println!("no DMA from LBA {lba} on: {fault}");
        self.bios.reset();
    }
}

impl Sectors for Drive {
    fn sector_len(&self) -> u32 {
        self.bios.sector_len()
    }

    fn read(&mut self, lba: u64, count: u64) -> Result<&[u8]> {
        let most = count.min(u64::from(layout::BOUNCE_BUFFER_LEN / self.sector_len()));
        // SAFETY: the bounce buffer is set aside for this in `layout`, and has room for so many.
        match unsafe { self.read_dma(lba, most, layout::BOUNCE_BUFFER_ADDR.into()) } {
            0 => self.bios.read(lba, count),
            sectors => Ok(self.bios.bounce_buffer(sectors)),
        }
    }

    fn read_to(&mut self, lba: u64, count: u64, target_addr: u64) -> Result<u64> {
        // SAFETY: what is loaded is read to frames that were taken for it, or to the place for the headers.
        Ok(unsafe { self.read_dma(lba, count, target_addr) })
    }

    fn distrust(&mut self, lba: u64) -> bool {
        let was_dma = self.dma.is_some();
        if was_dma {
            self.give_up_dma(lba, &Fault::Different);
        }
        was_dma
    }
}
