//! A disk behind a PCI IDE controller with bus mastering: which one it is, and how it is read without the CPU moving the data.
//!
//! Everything here is polled, in 32-bit mode; what the BIOS set up is put back, so that it can go on at any time.
//!
//! Sources: EDD-3, section 8.8 (device path); PCI Local Bus Specification 3.0, section 3.2.2.3.2 (configuration mechanism 1);
//! Programming Interface for Bus Master IDE Controller 1.0 (Intel, 1994); ATA/ATAPI-6, sections 6.13, 7 and 8.27 (READ DMA
//! EXT).

use crate::frames::LOW_END;
use crate::int13::DriveParameters;
use core::fmt;

/// Bytes that one transfer may move at most: as many as its table can tell.
pub const TRANSFER_MAX: u64 = (REGIONS_MAX as u64 - 1) * REGION_LEN;

/// Bytes that must not be crossed by a region of a transfer, nor by the table.
const REGION_LEN: u64 = 0x1_0000;

/// Entries of a table: it fills 512 bytes.
pub const REGIONS_MAX: usize = 64;

/// The table that tells the controller where the data go: address and length of each region.
#[repr(C, align(512))]
#[derive(Clone, Debug)]
pub struct RegionTable([[u32; 2]; REGIONS_MAX]);

impl RegionTable {
    /// Set in the last entry.
    const LAST: u32 = 1 << 31;

    /// No regions.
    pub const EMPTY: Self = Self([[0; 2]; REGIONS_MAX]);

    /// Tells of the `len` bytes from `addr` on: an even number, not 0, at most [`TRANSFER_MAX`], below 4 GiB. A region of 64
    /// KiB has length 0.
    #[expect(clippy::cast_possible_truncation, reason = "below 4 GiB, and at most 64 KiB")]
    pub fn tell(&mut self, mut addr: u64, len: u64) {
        let end = addr + len;
        for region in &mut self.0 {
            let next = (addr / REGION_LEN * REGION_LEN + REGION_LEN).min(end);
            let last = if next == end { Self::LAST } else { 0 };
            *region = [addr as u32, (next - addr) as u32 & 0xffff | last];
            addr = next;
            if addr == end {
                break;
            }
        }
    }

    /// The regions: address and length of each.
    pub fn regions(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut is_over = false;
        self.0.iter().map_while(move |&[addr, told]| {
            let region = (!is_over).then(|| {
                let len = u64::from(told & 0xffff);
                (addr.into(), if len == 0 { REGION_LEN } else { len })
            });
            is_over = told & Self::LAST != 0;
            region
        })
    }
}

/// What the code here needs of the machine.
pub trait Machine {
    /// Reads a byte from a port.
    fn read(&mut self, port: u16) -> u8;
    /// Writes a byte to a port.
    fn write(&mut self, port: u16, value: u8);
    /// Reads a double word from a port.
    fn read_u32(&mut self, port: u16) -> u32;
    /// Writes a double word to a port.
    fn write_u32(&mut self, port: u16, value: u32);
    /// The time stamp counter.
    fn ticks(&mut self) -> u64;
}

/// The BIOS's disk, as its controller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdeDisk {
    /// The controller's address in PCI configuration space, for [`CONFIG_ADDRESS`].
    controller: u32,
    /// First port of the channel's task file.
    task_file: u16,
    /// The channel's device control register.
    control: u16,
    /// First port of the channel's part of the bus master.
    bus_master: u16,
    /// The device that is selected on it: 0, or [`SECOND_DEVICE`].
    device: u8,
}

/// Why a transfer has failed. What was to be read is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device tells of an error, or does not tell of an end: its status.
    Device(u8),
    /// The controller does: its status.
    Controller(u8),
    /// Neither came to an end in time.
    TimeOut,
    /// What came is not what was expected.
    Different,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(status) => write!(f, "disk status {status:02X}h"),
            Self::Controller(status) => write!(f, "controller status {status:02X}h"),
            Self::TimeOut => f.write_str("time-out"),
            Self::Different => f.write_str("not the bytes that were expected"),
        }
    }
}

const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
const CONFIG_ENABLE: u32 = 1 << 31;

/// Offsets in configuration space.
const COMMAND: u32 = 0x04;
const CLASS: u32 = 0x08;
const BASE_ADDRESSES: u32 = 0x10;

/// In the command register: ports are decoded; the controller may use the bus.
const IO_SPACE: u32 = 1 << 0;
const BUS_MASTER: u32 = 1 << 2;

/// In the upper 16 bits of the class: mass storage, IDE.
const IDE: u32 = 0x0101;

/// In the programming interface: channel 0 has the ports that its base addresses tell (bit 2: channel 1); the controller
/// masters the bus.
const NATIVE: u32 = 1 << 0;
const CAN_MASTER: u32 = 1 << 7;

/// Where the channels are that do not have ports of their own: task file, and device control.
const COMPATIBLE: [(u16, u16); 2] = [(0x1f0, 0x3f6), (0x170, 0x376)];

/// Offsets in the task file.
const SECTOR_COUNT: u16 = 2;
const LBA: [u16; 3] = [3, 4, 5];
const DEVICE: u16 = 6;
const STATUS: u16 = 7;

/// In the device register.
const BY_LBA: u8 = 1 << 6;
const SECOND_DEVICE: u8 = 1 << 4;

/// In the status register.
const BUSY: u8 = 1 << 7;
const READY: u8 = 1 << 6;
const DEVICE_FAULT: u8 = 1 << 5;
const DATA_REQUEST: u8 = 1 << 3;
const ERROR: u8 = 1 << 0;
/// What is read where nobody drives the bus.
const NOBODY: u8 = 0xff;

/// In the device control register: no interrupts; and as BIOSes leave it.
const NO_INTERRUPTS: u8 = 1 << 1;
const CONTROL_USUAL: u8 = 1 << 3;

const READ_DMA_EXT: u8 = 0x25;

/// Offsets in a channel's part of the bus master.
const MASTER_COMMAND: u16 = 0;
const MASTER_STATUS: u16 = 2;
const MASTER_TABLE: u16 = 4;

/// In the bus master's command register: transfer; to memory.
const START: u8 = 1 << 0;
const TO_MEMORY: u8 = 1 << 3;

/// In its status register.
const ACTIVE: u8 = 1 << 0;
const MASTER_ERROR: u8 = 1 << 1;
const MASTER_INTERRUPT: u8 = 1 << 2;

/// So many ticks are some seconds, whatever the CPU: a disk that has to spin up takes that long.
const PATIENCE: u64 = 1 << 34;

/// Sectors that a transfer of ours may have: their number has 16 bits.
const SECTORS_MAX: u64 = 0xffff;

impl IdeDisk {
    /// The disk that these parameters tell of, if its controller says the same. `table` is the device parameter table extension
    /// that they point to (EDD-3, section 8.8.3, table 14).
    pub fn find(
        machine: &mut impl Machine,
        parameters: &DriveParameters,
        table: &[u8; DriveParameters::TABLE_LEN],
    ) -> Option<Self> {
        let path = parameters.ata_path()?;
        let word = |offset: usize| u16::from_le_bytes([table[offset], table[offset + 1]]);
        let ports = (word(0), word(2));
        let device = table[4] & SECOND_DEVICE;
        let sum = table.iter().fold(0, |sum: u8, &byte| sum.wrapping_add(byte));
        if sum != 0 || (device != 0) != path.is_second {
            return None;
        }
        let [bus, slot, function] = path.address.map(u32::from);
        if slot >= 32 || function >= 8 {
            return None;
        }
        let controller = CONFIG_ENABLE | bus << 16 | slot << 11 | function << 8;
        let class = config(machine, controller, CLASS);
        if class >> 16 != IDE || class >> 8 & CAN_MASTER == 0 {
            return None;
        }
        if config(machine, controller, COMMAND) & IO_SPACE == 0 {
            return None;
        }
        let interface = class >> 8;
        let mut base = |index: u32| {
            let base = config(machine, controller, BASE_ADDRESSES + 4 * index);
            // Bit 0: ports; bit 1 is reserved.
            u16::try_from(base & !0b11).ok().filter(|&port| base & 1 != 0 && port != 0)
        };
        let mut channels = [None; 2];
        for (channel, told) in (0..).zip(&mut channels) {
            *told = if interface & NATIVE << (2 * channel) != 0 {
                // The device control register is the third of its four ports.
                base(2 * channel).zip(base(2 * channel + 1).map(|port| port + 2))
            } else {
                Some(COMPATIBLE[channel as usize])
            };
        }
        let channel = channels.iter().position(|&channel| channel == Some(ports))?;
        let bus_master = base(4)? + if channel == 0 { 0 } else { 8 };
        let (task_file, control) = ports;
        Some(Self { controller, task_file, control, bus_master, device })
    }

    /// Reads sectors of 512 bytes straight to memory: `count` of them from `lba` on, as many as one transfer can move, and gives
    /// their number. That is 0 where the controller cannot write: at an odd address, or beyond 4 GiB.
    ///
    /// # Errors
    /// A fault; the machine is as before then, too.
    pub fn read(
        &self,
        machine: &mut impl Machine,
        table: &mut RegionTable,
        table_addr: u32,
        lba: u64,
        count: u64,
        target_addr: u64,
    ) -> Result<u64, Fault> {
        const SECTOR_LEN: u64 = layout::SECTOR_LEN as u64;
        let count = count.min(SECTORS_MAX).min(TRANSFER_MAX / SECTOR_LEN);
        let len = count * SECTOR_LEN;
        if !target_addr.is_multiple_of(2) || target_addr.checked_add(len).is_none_or(|end| end > LOW_END) {
            return Ok(0);
        }
        table.tell(target_addr, len);
        let command = config(machine, self.controller, COMMAND);
        // The upper half has bits that are cleared by writing ones.
        set_config(machine, self.controller, COMMAND, (command | BUS_MASTER) & 0xffff);
        machine.write(self.control, CONTROL_USUAL | NO_INTERRUPTS);
        let result = self.transfer(machine, table_addr, lba, count);
        machine.write(self.bus_master + MASTER_COMMAND, 0);
        self.clear_master_status(machine);
        machine.write(self.control, CONTROL_USUAL);
        set_config(machine, self.controller, COMMAND, command & 0xffff);
        result.map(|()| count)
    }

    fn transfer(
        &self,
        machine: &mut impl Machine,
        table_addr: u32,
        lba: u64,
        count: u64,
    ) -> Result<(), Fault> {
        self.wait(machine)?;
        machine.write(self.task_file + DEVICE, BY_LBA | self.device);
        let status = self.wait(machine)?;
        if status & READY == 0 {
            return Err(Fault::Device(status));
        }
        machine.write(self.bus_master + MASTER_COMMAND, TO_MEMORY);
        self.clear_master_status(machine);
        machine.write_u32(self.bus_master + MASTER_TABLE, table_addr);
        let lba = lba.to_le_bytes();
        let count = count.to_le_bytes();
        // Each register takes its upper half first.
        for half in [1, 0] {
            machine.write(self.task_file + SECTOR_COUNT, count[half]);
            for (index, register) in LBA.into_iter().enumerate() {
                machine.write(self.task_file + register, lba[3 * half + index]);
            }
        }
        machine.write(self.task_file + STATUS, READ_DMA_EXT);
        machine.write(self.bus_master + MASTER_COMMAND, TO_MEMORY | START);
        let start = machine.ticks();
        loop {
            // Reading the control register's port gives the status without more ado, and the device 400 ns.
            let status = machine.read(self.control);
            let master = machine.read(self.bus_master + MASTER_STATUS);
            if status & BUSY == 0 && status & (ERROR | DEVICE_FAULT) != 0 {
                return Err(Fault::Device(status));
            }
            if master & MASTER_ERROR != 0 {
                return Err(Fault::Controller(master));
            }
            if status & (BUSY | DATA_REQUEST) == 0 && master & ACTIVE == 0 {
                break;
            }
            if machine.ticks().wrapping_sub(start) > PATIENCE {
                return Err(Fault::TimeOut);
            }
        }
        // What is read here also takes back the interrupt that nobody waits for.
        match machine.read(self.task_file + STATUS) {
            status if status & (BUSY | READY | DEVICE_FAULT | DATA_REQUEST | ERROR) == READY => Ok(()),
            status => Err(Fault::Device(status)),
        }
    }

    /// Waits until the selected device can take a command, and gives its status.
    fn wait(&self, machine: &mut impl Machine) -> Result<u8, Fault> {
        let start = machine.ticks();
        loop {
            // The first ones may come too early to count.
            let statuses = [(); 4].map(|()| machine.read(self.control));
            let status = statuses[3];
            if status & (BUSY | DATA_REQUEST) == 0 {
                return Ok(status);
            }
            if status == NOBODY {
                return Err(Fault::Device(status));
            }
            if machine.ticks().wrapping_sub(start) > PATIENCE {
                return Err(Fault::TimeOut);
            }
        }
    }

    /// Takes back what the bus master tells of the last transfer, and nothing else: these bits are cleared by writing ones.
    fn clear_master_status(&self, machine: &mut impl Machine) {
        let status = machine.read(self.bus_master + MASTER_STATUS);
        machine.write(self.bus_master + MASTER_STATUS, status | MASTER_ERROR | MASTER_INTERRUPT);
    }
}

fn config(machine: &mut impl Machine, function: u32, offset: u32) -> u32 {
    machine.write_u32(CONFIG_ADDRESS, function | offset);
    machine.read_u32(CONFIG_DATA)
}

fn set_config(machine: &mut impl Machine, function: u32, offset: u32, value: u32) {
    machine.write_u32(CONFIG_ADDRESS, function | offset);
    machine.write_u32(CONFIG_DATA, value);
}
