//! Reading by an IDE controller's bus master: only where everybody agrees on which disk it is, and the machine is left as it was.

use crate::cases;
use loader::ide::{Fault, IdeDisk, Machine, RegionTable, TRANSFER_MAX};
use loader::int13::{AtaPath, DriveParameters};
use proptest::prelude::*;

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn the_table_tells_of_every_byte_once_and_no_region_crosses_64_kib(
        // Even numbers, as sectors and their places are.
        addr in prop_oneof![0..1u64 << 31, Just(0x7fff_8000), Just((4 * GIB - TRANSFER_MAX) / 2)].prop_map(|half| half * 2),
        len in prop_oneof![1..TRANSFER_MAX / 2, 1..100 * KIB, Just(TRANSFER_MAX / 2), Just(32 * KIB)].prop_map(|half| half * 2),
    ) {
        let addr = addr.min(4 * GIB - len);
        let mut table = RegionTable::EMPTY;
        // What is left of a longer one means nothing.
        table.tell(0, TRANSFER_MAX);
        table.tell(addr, len);
        let mut next = addr;
        for (start, region_len) in table.regions() {
            prop_assert_eq!(start, next);
            prop_assert!(region_len > 0 && start / (64 * KIB) == (start + region_len - 1) / (64 * KIB));
            next += region_len;
        }
        prop_assert_eq!(next, addr + len);
    }
}

/// A PIIX as QEMU has it at 00:01.1, with a disk, and what goes wrong with it.
struct Fake {
    /// Configuration space: command, class, base addresses.
    command: u32,
    class: u32,
    bases: [u32; 5],
    config_address: u32,
    /// Where the channel is that has the disk.
    task_file: u16,
    control: u16,
    bus_master: u16,
    is_second: bool,
    /// The disk's registers: what was written to them last, and before.
    written: [[u8; 2]; 8],
    device_control: u8,
    master_command: u8,
    master_status: u8,
    table_addr: u32,
    /// What the disk and the controller tell when a transfer is over.
    end: (u8, u8),
    /// What the disk tells before.
    idle: u8,
    /// Status reads until a transfer is over.
    patience: u32,
    /// The commands that were given, with LBA, count, and device.
    commands: Vec<(u8, u64, u64, u8)>,
    ticks: u64,
}

const READY: u8 = 0x50;
const ACTIVE: u8 = 0x01;

impl Default for Fake {
    fn default() -> Self {
        Self {
            command: 0x0280_0003,
            class: 0x0101_8000,
            bases: [0, 0, 0, 0, 0xc041],
            config_address: 0,
            task_file: 0x1f0,
            control: 0x3f6,
            bus_master: 0xc040,
            is_second: false,
            written: [[0; 2]; 8],
            device_control: 0x08,
            master_command: 0,
            master_status: 0x60,
            table_addr: 0,
            end: (READY, 0x64),
            idle: READY,
            patience: 3,
            commands: Vec::new(),
            ticks: 0,
        }
    }
}

impl Fake {
    fn is_running(&self) -> bool {
        self.master_command & 1 != 0 && !self.commands.is_empty()
    }

    fn status(&mut self) -> u8 {
        if !self.is_running() {
            return self.idle;
        }
        self.patience = self.patience.saturating_sub(1);
        if self.patience > 0 { 0xd0 } else { self.end.0 }
    }

    /// Whether nothing is left of a transfer.
    fn is_quiet(&self) -> bool {
        self.command & 0xffff == 0x0003 && self.device_control == 0x08 && self.master_command == 0
    }
}

impl Machine for Fake {
    fn read(&mut self, port: u16) -> u8 {
        if port == self.control || port == self.task_file + 7 {
            return self.status();
        }
        assert_eq!(port, self.bus_master + 2, "nothing else is read");
        if self.is_running() && self.patience == 0 {
            self.end.1
        } else {
            self.master_status | (u8::from(self.is_running()) * ACTIVE)
        }
    }

    fn write(&mut self, port: u16, value: u8) {
        if port == self.control {
            self.device_control = value;
        } else if port == self.bus_master {
            assert!(value & 1 == 0 || value == 0x09, "to memory");
            assert!(value & 1 == 0 || self.command & 4 != 0, "the controller may use the bus");
            self.master_command = value;
        } else if port == self.bus_master + 2 {
            assert_eq!(value & 0x60, 0x60, "what the BIOS noted stays");
            self.master_status = 0x60;
        } else if port == self.task_file + 7 {
            assert_eq!(self.device_control & 2, 2, "nobody waits for an interrupt");
            let number = |register: usize, half: usize| u64::from(self.written[register][half]);
            let lba = (0..2).fold(0, |lba, half| {
                lba | (3..6).fold(0, |lba, register| lba | number(register, half) << (8 * (register - 3)))
                    << (24 * half)
            });
            self.commands.push((value, lba, number(2, 0) | number(2, 1) << 8, self.written[6][0]));
        } else {
            let register = &mut self.written[usize::from(port - self.task_file)];
            *register = [value, register[0]];
        }
    }

    fn read_u32(&mut self, port: u16) -> u32 {
        assert_eq!(port, 0xcfc);
        if self.config_address & !0xff != 0x8000_0900 {
            return u32::MAX;
        }
        match self.config_address & 0xff {
            0x04 => self.command,
            0x08 => self.class,
            offset @ 0x10..=0x20 => self.bases[(offset as usize - 0x10) / 4],
            offset => panic!("configuration space at {offset:#x}"),
        }
    }

    fn write_u32(&mut self, port: u16, value: u32) {
        if port == 0xcf8 {
            self.config_address = value;
        } else if port == 0xcfc {
            assert_eq!(self.config_address, 0x8000_0904, "nothing else is changed");
            assert_eq!(value >> 16, 0, "bits of the status are cleared by ones");
            self.command = self.command & 0xffff_0000 | value;
        } else {
            assert_eq!(port, self.bus_master + 4);
            self.table_addr = value;
        }
    }

    fn ticks(&mut self) -> u64 {
        self.ticks += 1 << 30;
        self.ticks
    }
}

/// What a BIOS tells of the disk of [`Fake`].
fn told(fake: &Fake) -> (DriveParameters, [u8; DriveParameters::TABLE_LEN]) {
    let mut path = [0; 36];
    path[..4].copy_from_slice(&[0xdd, 0xbe, 36, 0]);
    path[6..18].copy_from_slice(b"PCI ATA     ");
    path[18..21].copy_from_slice(&[0, 1, 1]);
    path[26] = fake.is_second.into();
    seal(&mut path);
    let mut table = [0; 16];
    table[..2].copy_from_slice(&fake.task_file.to_le_bytes());
    table[2..4].copy_from_slice(&fake.control.to_le_bytes());
    table[4] = if fake.is_second { 0xf0 } else { 0xe0 };
    seal(&mut table);
    (DriveParameters::with_path(&path), table)
}

fn seal(bytes: &mut [u8]) {
    let last = bytes.len() - 1;
    bytes[last] = bytes[..last].iter().fold(0, |sum: u8, &byte| sum.wrapping_sub(byte));
}

fn find(fake: &mut Fake) -> Option<IdeDisk> {
    let (parameters, table) = told(fake);
    IdeDisk::find(fake, &parameters, &table)
}

#[test]
fn a_disk_is_found_on_either_channel_and_as_either_device() {
    for is_second in [false, true] {
        let mut first = Fake { is_second, ..Fake::default() };
        assert!(find(&mut first).is_some());
        let mut second =
            Fake { task_file: 0x170, control: 0x376, bus_master: 0xc048, is_second, ..Fake::default() };
        let disk = find(&mut second).expect("on the second channel");
        let mut table = RegionTable::EMPTY;
        assert_eq!(disk.read(&mut second, &mut table, 0x9000, 7, 9, 0x10_0000), Ok(9));
        assert_eq!(second.commands, [(0x25, 7, 9, if is_second { 0x50 } else { 0x40 })]);
        // With ports of their own.
        let bases = [0xd001, 0xd011, 0xd021, 0xd031, 0xc041];
        let own = Fake { class: 0x0101_8500, bases, is_second, ..Fake::default() };
        assert!(find(&mut Fake { task_file: 0xd000, control: 0xd012, ..own }).is_some());
        let own = Fake { class: 0x0101_8500, bases, is_second, bus_master: 0xc048, ..Fake::default() };
        assert!(find(&mut Fake { task_file: 0xd020, control: 0xd032, ..own }).is_some());
    }
}

#[test]
fn a_disk_that_anybody_doubts_is_not_read() {
    let none = |fake: Fake| assert_eq!(find(&mut { fake }), None);
    none(Fake { class: 0x0106_0100, ..Fake::default() });
    none(Fake { class: 0x0101_0000, ..Fake::default() });
    none(Fake { class: u32::MAX, ..Fake::default() });
    none(Fake { command: 0x0280_0002, ..Fake::default() });
    none(Fake { bases: [0; 5], ..Fake::default() });
    none(Fake { bases: [0, 0, 0, 0, 0xc000_0000], ..Fake::default() });
    none(Fake { bases: [0, 0, 0, 0, 0x1_c041], ..Fake::default() });
    none(Fake { class: 0x0101_8100, ..Fake::default() });
    none(Fake { task_file: 0x1e8, control: 0x3ee, ..Fake::default() });
    none(Fake { control: 0x376, ..Fake::default() });
    // What the BIOS tells does not fit together.
    let mut fake = Fake::default();
    let (parameters, table) = told(&fake);
    for changed in 0..16 {
        let mut table = table;
        table[changed] ^= 0x10;
        assert_eq!(IdeDisk::find(&mut fake, &parameters, &table), None, "byte {changed}");
    }
    let mut second = table;
    second[4] = 0xf0;
    seal(&mut second);
    assert_eq!(IdeDisk::find(&mut fake, &parameters, &second), None);
    assert_eq!(IdeDisk::find(&mut fake, &DriveParameters::BLANK, &table), None);
}

#[test]
fn only_a_whole_path_to_an_ata_disk_behind_pci_counts() {
    let mut path = [0; 36];
    path[..4].copy_from_slice(&[0xdd, 0xbe, 36, 0]);
    path[6..18].copy_from_slice(b"PCI ATA     ");
    path[18..21].copy_from_slice(&[2, 3, 4]);
    path[26] = 1;
    seal(&mut path);
    let told = |path: &[u8; 36]| DriveParameters::with_path(path).ata_path();
    assert_eq!(told(&path), Some(AtaPath { address: [2, 3, 4], is_second: true }));
    for changed in 0..36 {
        let mut path = path;
        path[changed] ^= 1;
        assert_eq!(told(&path), None, "byte {changed}");
    }
    for (offset, other) in
        [(6, &b"ISA "[..]), (10, b"ATAPI   "), (10, b"SCSI    "), (10, b"USB     "), (0, b"\0\0")]
    {
        let mut path = path;
        path[offset..offset + other.len()].copy_from_slice(other);
        seal(&mut path);
        assert_eq!(told(&path), None);
    }
}

#[test]
fn a_transfer_is_told_as_asked_for_and_leaves_nothing_behind() {
    let mut fake = Fake::default();
    let disk = find(&mut fake).unwrap();
    let mut table = RegionTable::EMPTY;
    let (lba, addr) = (0x1234_5678_9abc, 0x20_0000);
    assert_eq!(disk.read(&mut fake, &mut table, 0x9200, lba, 4, addr), Ok(4));
    assert_eq!(fake.commands, [(0x25, lba, 4, 0x40)]);
    assert_eq!(fake.table_addr, 0x9200);
    assert_eq!(table.regions().collect::<Vec<_>>(), [(addr, 2048)]);
    assert!(fake.is_quiet());
    // As much as a table can tell, if it is more.
    fake.patience = 1;
    let count = TRANSFER_MAX / 512;
    assert_eq!(disk.read(&mut fake, &mut table, 0x9200, 1, 1 << 40, addr), Ok(count));
    assert_eq!(fake.commands[1], (0x25, 1, count, 0x40));
    assert_eq!(table.regions().map(|(_, len)| len).sum::<u64>(), TRANSFER_MAX);
}

#[test]
fn where_the_controller_cannot_write_nothing_is_asked_of_it() {
    let mut fake = Fake::default();
    let disk = find(&mut fake).unwrap();
    let mut table = RegionTable::EMPTY;
    for (count, addr) in [(1, 0x20_0001), (2, 4 * GIB - 512), (1, 4 * GIB), (1, 5 * GIB), (1, u64::MAX - 1)] {
        assert_eq!(disk.read(&mut fake, &mut table, 0x9200, 7, count, addr), Ok(0), "{addr:#x}");
    }
    assert!(fake.commands.is_empty() && fake.is_quiet());
    assert_eq!(disk.read(&mut fake, &mut table, 0x9200, 7, 1, 4 * GIB - 512), Ok(1));
}

#[test]
fn whatever_goes_wrong_is_told_and_the_machine_left_as_it_was() {
    let fault = |fake: Fake| {
        let mut fake = fake;
        let disk = find(&mut fake).unwrap();
        let mut table = RegionTable::EMPTY;
        let result = disk.read(&mut fake, &mut table, 0x9200, 1, 4, 0x20_0000);
        assert!(fake.is_quiet());
        result.unwrap_err()
    };
    let at_end = |end| fault(Fake { end, ..Fake::default() });
    assert_eq!(at_end((0x51, 0x64)), Fault::Device(0x51), "error");
    assert_eq!(at_end((0x70, 0x64)), Fault::Device(0x70), "device fault");
    assert_eq!(at_end((0x00, 0x64)), Fault::Device(0x00), "no disk");
    assert_eq!(at_end((READY, 0x66)), Fault::Controller(0x66));
    // More data than the table has room for, or less.
    assert_eq!(at_end((0x58, 0x64)), Fault::TimeOut);
    assert_eq!(at_end((READY, 0x65)), Fault::TimeOut);
    assert_eq!(fault(Fake { patience: u32::MAX, ..Fake::default() }), Fault::TimeOut);
    for (idle, expected) in [(0x80, Fault::TimeOut), (0x00, Fault::Device(0x00)), (0xff, Fault::Device(0xff))]
    {
        assert_eq!(fault(Fake { idle, ..Fake::default() }), expected);
    }
    for (fault, text) in [
        (Fault::Device(0x51), "disk status 51h"),
        (Fault::Controller(0x66), "controller status 66h"),
        (Fault::TimeOut, "time-out"),
        (Fault::Different, "not the bytes that were expected"),
    ] {
        assert_eq!(fault.to_string(), text);
    }
}
