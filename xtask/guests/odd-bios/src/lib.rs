//! What the odd BIOS can be told to do: shared by its assembly and by the tests that patch it.

#![no_std]
#![forbid(unsafe_code)]

use zerocopy::little_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes};

/// Bytes of the program: the first track of a floppy of 1.44 MB.
pub const LEN: usize = 18 * 512;

/// Offset of [`Manners`] in the program: the second sector.
pub const MANNERS_OFFSET: usize = 512;

/// Offset of the E820 entries in the program.
pub const ENTRIES_OFFSET: usize = 2016;

/// Bytes from one entry to the next.
pub const ENTRY_STRIDE: usize = 24;

/// KiB of conventional memory that the program keeps for itself.
pub const RESIDENT_KIB: u16 = 16;

/// Bytes of an RSDP of revision 0.
pub const RSDP_LEN: usize = 20;

/// Where in the extended BIOS data area it is put: behind what BIOSes keep there, in the first KiB.
pub const RSDP_OFFSET: u32 = 0x200;

/// What is odd about this BIOS.
#[repr(C)]
#[derive(Clone, Copy, Immutable, IntoBytes)]
pub struct Manners {
    /// Not 0: INT 13h and INT 15h change every register that is not a result, DF and IF.
    pub trashes: u8,
    /// Not 0: INT 13h clears all of AX when it succeeds.
    pub clears_ax: u8,
    /// Not 0: INT 13h changes the upper halves of EAX, EBX, ECX and EDX.
    pub upper_halves: u8,
    /// So often AH=41h is answered; FFh: always.
    pub edd_answers: u8,
    /// Not 0: AH=08h fails.
    pub no_geometry: u8,
    /// Not 0: every other read fails, the first one included.
    pub fails_first: u8,
    /// DL at the jump to the boot sector.
    pub drive: u8,
    /// DS at that jump.
    pub ds: U16,
    /// The number that the disk has. Where that is not 80h, there is no drive 80h.
    pub disk: u8,
    /// Not 0: INT 14h times out, and writes a `#` to COM1 for each character that it should send.
    pub serial_times_out: u8,
    /// Not 0: the timer does not run.
    pub no_timer: u8,
    /// Not 0: the A20 gate is shut at that jump.
    pub a20_shut: u8,
    /// INT 15h AX=2401h: 0 opens the gate, 1 refuses to, 2 says that it does and does not.
    pub a20_answer: u8,
    /// The memory map ends with: 0 a continuation of 0, 1 carry, 2 never, 3 a call that only returns.
    pub map_end: u8,
    /// The function of INT 13h, by AH, that does nothing but return, and leaves the flags as they are; 0: none.
    pub only_returns: u8,
    /// Not 0: reads by cylinder, head and sector fail.
    pub chs_fails: u8,
    /// Reads tell that data was corrected, with carry: 0 none do, 1 all do, 2 those by cylinder, head and sector do and end
    /// after one sector.
    pub corrected: u8,
    /// So many reads by packet from `edd_fails_from` on fail, and the next one does not return; FFh: all fail.
    pub edd_failures: u8,
    /// Reads by packet from this LBA on fail; 0: none do.
    pub edd_fails_from: U32,
    /// Reads by packet from this LBA on end after one sector, and tell that data was corrected; 0: none do.
    pub stops_from: U32,
    /// Reads by packet from this LBA on tell one sector less than they read; 0: none do.
    pub short_from: U32,
    /// Number of E820 entries; FFFFh: the BIOS's own.
    pub entries: U16,
    /// Bytes of each entry.
    pub entry_len: U16,
    /// What E820 returns in EAX.
    pub signature: U32,
    /// Where the CPU raises a debug exception when it reads or writes; 0: nowhere.
    pub trap_addr: U32,
    /// The E820 entry, counted from 1, that comes with a length of 0; 0: none does.
    pub without_len: U16,
    /// Not 0: of an E820 entry only the bytes that differ from the entry before are written.
    pub writes_changes: u8,
    /// Bytes in a sector, as AH=48h tells them; 0: those of the disk.
    pub sector_len: U16,
    /// VBE: 0 is the BIOS's own, 1 has no controller, 2 does not set modes, 3 has framebuffers where memory is, 4 uses all of the
    /// caller's stack when it sets a mode, 5 lists modes without an end.
    pub vbe: u8,
    /// Not 0: AH=48h tells that the disk is the second device on its channel. It is the first.
    pub second_device: u8,
    /// What is put into the extended BIOS data area, where an RSDP may lie; nothing where the first byte is 0.
    pub rsdp: [u8; RSDP_LEN],
}

impl Manners {
    /// Nothing odd.
    pub const GOOD: Self = Self {
        trashes: 0,
        clears_ax: 0,
        upper_halves: 0,
        edd_answers: 0xff,
        no_geometry: 0,
        fails_first: 0,
        drive: 0x80,
        ds: U16::new(0xbeef),
        disk: 0x80,
        serial_times_out: 0,
        no_timer: 0,
        a20_shut: 0,
        a20_answer: 0,
        map_end: 0,
        only_returns: 0,
        chs_fails: 0,
        corrected: 0,
        edd_failures: 0xff,
        edd_fails_from: U32::new(0),
        stops_from: U32::new(0),
        short_from: U32::new(0),
        entries: U16::new(0xffff),
        entry_len: U16::new(24),
        signature: U32::new(0x534d_4150),
        trap_addr: U32::new(0),
        without_len: U16::new(0),
        writes_changes: 0,
        sector_len: U16::new(0),
        vbe: 0,
        second_device: 0,
        rsdp: [0; RSDP_LEN],
    };
}
