//! The disk read by its IDE controller's bus master instead of the BIOS, which would move every word through a port.
//!
//! In 32-bit protected mode, between two BIOS calls. The logic is in `loader::ide`.

use crate::{cpu, port};
use core::cell::UnsafeCell;
use loader::ide::{Fault, IdeDisk, Machine, RegionTable};
use loader::int13::DriveParameters;

/// The table for the controller.
struct Table(UnsafeCell<RegionTable>);

// SAFETY: the loader has one thread, and only `read` uses it.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new(RegionTable::EMPTY));

/// This machine, whose ports are known to be those of a PCI IDE controller, or of configuration space.
struct Ports;

impl Machine for Ports {
    fn read(&mut self, port: u16) -> u8 {
        // SAFETY: the BIOS does not run now, and is left with what it expects to find.
        unsafe { port::read(port) }
    }

    fn write(&mut self, port: u16, value: u8) {
        // SAFETY: as above; `read` has it that the memory written to is there for it.
        unsafe { port::write(port, value) }
    }

    fn read_u32(&mut self, port: u16) -> u32 {
        // SAFETY: as above.
        unsafe { port::read_u32(port) }
    }

    fn write_u32(&mut self, port: u16, value: u32) {
        // SAFETY: as above.
        unsafe { port::write_u32(port, value) }
    }

    fn ticks(&mut self) -> u64 {
        cpu::time_stamp()
    }
}

/// The disk that the BIOS tells of, if it can be read this way.
pub(super) fn find(parameters: &DriveParameters) -> Option<IdeDisk> {
    let table = parameters.table_addr()? as *const [u8; DriveParameters::TABLE_LEN];
    // SAFETY: the BIOS says that its table lies there, below 1 MiB and 64 KiB; any bytes are a table.
    let table = unsafe { table.read_unaligned() };
    IdeDisk::find(&mut Ports, parameters, &table)
}

/// Reads as [`IdeDisk::read`] does.
///
/// # Safety
/// The memory from `target_addr` on has to be there for the sectors.
pub(super) unsafe fn read(disk: &IdeDisk, lba: u64, count: u64, target_addr: u64) -> Result<u64, Fault> {
    // SAFETY: nobody else uses the table.
    let table = unsafe { &mut *TABLE.0.get() };
    let table_addr = &raw const *table as u32;
    disk.read(&mut Ports, table, table_addr, lba, count, target_addr)
}
