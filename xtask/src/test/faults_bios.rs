//! BIOSes with bad manners and odd memory maps: a boot program (xtask/guests/odd-bios) makes the emulated one such a BIOS, and
//! then boots the image as that BIOS would.
//!
//! What cannot be had this way: port 92h and the 8042 of the emulated machine always open the A20 gate, so that E01
//! does not come up, and neither does the way through the 8042.

use super::Test;
use super::booted::Booted;
use super::faults_machine::kernel_of;
use super::kernel::reclaiming;
use super::parts::Scene;
use crate::bare_metal::read;
use crate::guest::Machine;
use crate::image::{self, DiskImage};
use crate::project::Boot;
use crate::qmp::escape_commas;
use anyhow::{Context, Result, ensure};
use boot_info::{KernelConfig, MemoryRegion, MemoryRegionKind};
use layout::{SECTOR_LEN, SEGMENT_LEN, STAGE2_ADDR};
use loader::e820::{self, Entry, Regions};
use odd_bios::Manners;
use std::fs;
use std::path::Path;
use std::time::Duration;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

const GOOD: Manners = Manners::GOOD;

/// How the BIOS is odd, and what is said.
const MANNERS: &[(&str, Manners, &str)] = &[
    ("none", GOOD, HELLO),
    ("trashes_registers", Manners { trashes: 1, ..GOOD }, HELLO),
    ("clears_ax", Manners { clears_ax: 1, ..GOOD }, HELLO),
    ("clears_ax_no_edd", Manners { clears_ax: 1, edd_answers: 0, ..GOOD }, HELLO),
    ("upper_halves", Manners { upper_halves: 1, ..GOOD }, HELLO),
    ("upper_halves_no_edd", Manners { upper_halves: 1, edd_answers: 0, ..GOOD }, HELLO),
    ("ds_40", Manners { ds: U16::new(0x40), ..GOOD }, HELLO),
    ("no_edd", Manners { edd_answers: 0, ..GOOD }, HELLO),
    ("no_edd_trashes_registers", Manners { edd_answers: 0, trashes: 1, ..GOOD }, HELLO),
    ("fails_first", Manners { fails_first: 1, ..GOOD }, HELLO),
    ("fails_first_no_edd", Manners { fails_first: 1, edd_answers: 0, ..GOOD }, HELLO),
    ("fails_first_trashes_registers", Manners { fails_first: 1, trashes: 1, ..GOOD }, HELLO),
    (
        "no_geometry",
        Manners { edd_answers: TO_STAGE1, no_geometry: 1, ..GOOD },
        "boot error E10: drive 80h has no geometry: INT 13h AH=08h status 01h (invalid function or parameter), 0 sectors a track; expected EDD or CHS",
    ),
    ("sectors_of_512_bytes", Manners { sector_len: U16::new(512), ..GOOD }, HELLO),
    (
        "sectors_of_4096_bytes",
        Manners { sector_len: U16::new(4096), ..GOOD },
        "boot error E15: drive 80h has sectors of 4096 bytes, expected 512 or 2048; use another drive",
    ),
    ("neither_edd_nor_geometry", Manners { edd_answers: 0, no_geometry: 1, ..GOOD }, "stage2 read error 01"),
    ("edd_reads_fail", Manners { edd_fails_from: U32::new(1), ..GOOD }, HELLO),
    ("edd_reads_fail_trashes_registers", Manners { edd_fails_from: U32::new(1), trashes: 1, ..GOOD }, HELLO),
    ("edd_read_only_returns", Manners { only_returns: 0x42, ..GOOD }, HELLO),
    // The error is that of EDD.
    (
        "edd_and_chs_reads_fail",
        Manners { edd_fails_from: U32::new(1), chs_fails: 1, ..GOOD },
        "stage2 read error 0C",
    ),
    (
        "edd_reads_fail_no_geometry",
        Manners { edd_fails_from: U32::new(1), no_geometry: 1, ..GOOD },
        "stage2 read error 0C",
    ),
    ("chs_reads_fail", Manners { edd_answers: 0, chs_fails: 1, ..GOOD }, "stage2 read error 04"),
    ("corrected", Manners { corrected: 1, ..GOOD }, HELLO),
    ("corrected_no_edd", Manners { corrected: 1, edd_answers: 0, ..GOOD }, HELLO),
    ("corrected_no_edd_ends", Manners { corrected: 2, edd_answers: TO_STAGE1, ..GOOD }, HELLO),
    // Carry, which was set before the call, tells that nothing was read.
    ("chs_read_only_returns", Manners { edd_answers: 0, only_returns: 0x02, ..GOOD }, "stage2 read error 02"),
    (
        "exception_in_stage2",
        Manners { trap_addr: U32::new(layout::BOUNCE_BUFFER_ADDR), ..GOOD },
        "boot error E70: exception 1 (",
    ),
    // No BIOS has a drive of these numbers, and some pass them.
    ("drive_10", Manners { drive: 0x10, ..GOOD }, "\nBoot    drive 80h\n"),
    ("drive_70", Manners { drive: 0x70, ..GOOD }, "\nBoot    drive 80h\n"),
    ("drive_7f", Manners { drive: 0x7f, ..GOOD }, "\nBoot    drive 80h\n"),
    ("drive_ff", Manners { drive: 0xff, ..GOOD }, "\nBoot    drive 80h\n"),
    // Of the others, each can be the one that was booted.
    ("drive_0f", Manners { drive: 0x0f, disk: 0x0f, ..GOOD }, "\nBoot    drive 0Fh\n"),
    ("drive_81", Manners { drive: 0x81, disk: 0x81, ..GOOD }, "\nBoot    drive 81h\n"),
    ("drive_9f", Manners { drive: 0x9f, disk: 0x9f, ..GOOD }, "\nBoot    drive 9Fh\n"),
    ("drive_e0", Manners { drive: 0xe0, disk: 0xe0, ..GOOD }, "\nBoot    drive E0h\n"),
    ("drive_ef", Manners { drive: 0xef, disk: 0xef, ..GOOD }, "\nBoot    drive EFh\n"),
    ("drive_fe", Manners { drive: 0xfe, disk: 0xfe, ..GOOD }, "\nBoot    drive FEh\n"),
    ("a20_shut", Manners { a20_shut: 1, ..GOOD }, HELLO),
    ("a20_shut_refused", Manners { a20_shut: 1, a20_answer: 1, ..GOOD }, HELLO),
    ("a20_shut_lied", Manners { a20_shut: 1, a20_answer: 2, ..GOOD }, HELLO),
    ("a20_shut_trashes_registers", Manners { a20_shut: 1, trashes: 1, ..GOOD }, HELLO),
];

const HELLO: &str = "Hello World!";

/// AH=41h is answered as often as stage1 asks.
const TO_STAGE1: u8 = 0xfe;

/// What the BIOS says of a read by packet that fails.
const FAILED: &str = "BIOS status 0Ch (controller failure), after 3 tries";

/// An E820 entry: address, length, type, attributes.
type Reported = (u64, u64, u32, u32);

/// What the BIOS reports.
type Map = fn() -> Vec<Reported>;

/// What a BIOS says of 128 MiB.
const USUAL: [Reported; 6] = [
    (0, 0x9_fc00, 1, 1),
    (0x9_fc00, 0x400, 2, 1),
    (0xf_0000, 0x1_0000, 2, 1),
    (0x10_0000, 0x7ee_0000, 1, 1),
    (0x7fe_0000, 0x2_0000, 2, 1),
    (0xfffc_0000, 0x4_0000, 2, 1),
];

/// Maps that the kernel is to see as [`e820::overlay`] has them, and some regions that are sure to be among them.
const MAPS: &[(&str, Manners, Map, &[&str])] = &[
    (
        "usual",
        GOOD,
        || USUAL.to_vec(),
        &["0x7fe0000..0x8000000 reserved", "0xfffc0000..0x100000000 reserved"],
    ),
    ("unsorted", GOOD, || USUAL.into_iter().rev().collect(), &["0x7fe0000..0x8000000 reserved"]),
    ("duplicated", GOOD, || USUAL.into_iter().chain(USUAL).collect(), &["0x7fe0000..0x8000000 reserved"]),
    ("end_by_return", Manners { map_end: 3, ..GOOD }, || USUAL.to_vec(), &["0x7fe0000..0x8000000 reserved"]),
    ("end_by_carry", Manners { map_end: 1, ..GOOD }, || USUAL.to_vec(), &["0x7fe0000..0x8000000 reserved"]),
    (
        "trashes_registers",
        Manners { trashes: 1, ..GOOD },
        || USUAL.to_vec(),
        &["0x7fe0000..0x8000000 reserved"],
    ),
    // Without attributes: those in the table would say that no entry counts.
    (
        "of_20_bytes",
        Manners { entry_len: U16::new(20), ..GOOD },
        || USUAL.map(|(addr, len, kind, _)| (addr, len, kind, 0)).to_vec(),
        &["0x7fe0000..0x8000000 reserved"],
    ),
    (
        "overlapping",
        GOOD,
        || {
            usual_and(&[
                (0x3ff_f800, 0x401_0800, 2, 1),
                (0x3f0_0000, 0x200_0000, 1, 1),
                (0x380_0000, 0x10_0000, 5, 1),
            ])
        },
        &["0x3800000..0x3900000 bad", "0x3fff000..0x8010000 reserved"],
    ),
    (
        "reserved_inside_usable",
        GOOD,
        || usual_and(&[(0x200_0800, 0x800, 2, 1), (0x300_0000, 0x1000, 3, 1), (0x310_0000, 0x1000, 4, 1)]),
        &[
            "0x2000000..0x2001000 reserved",
            "0x3000000..0x3001000 ACPI reclaimable",
            "0x3100000..0x3101000 ACPI NVS",
        ],
    ),
    (
        "unknown_types",
        GOOD,
        || {
            usual_and(&[
                (0x200_0000, 0x1000, 0, 1),
                (0x210_0000, 0x1000, 7, 1),
                (0x220_0000, 0x1000, 12, 1),
                (0x230_0000, 0x1000, u32::MAX, 1),
            ])
        },
        &[
            "0x2000000..0x2001000 reserved",
            "0x2100000..0x2101000 reserved",
            "0x2200000..0x2201000 reserved",
            "0x2300000..0x2301000 reserved",
        ],
    ),
    (
        "empty_entries",
        GOOD,
        || usual_and(&[(0, 0, 2, 1), (0x200_0000, 0, 2, 1), (0x200_0800, 0, 1, 1), (u64::MAX, 0, 1, 1)]),
        &["0x7fe0000..0x8000000 reserved"],
    ),
    (
        "attributes_all_zero",
        GOOD,
        || USUAL.map(|(addr, len, kind, _)| (addr, len, kind, 0)).to_vec(),
        &["0x7fe0000..0x8000000 reserved", "0xfffc0000..0x100000000 reserved"],
    ),
    (
        "attributes_of_some_zero",
        GOOD,
        || {
            let usual = USUAL.map(|(addr, len, kind, _)| (addr, len, kind, u32::from(kind != 1)));
            [(0x100_0000, 0x100_0000, 2, 0), (0, 0x800_0000, 5, 0)].into_iter().chain(usual).collect()
        },
        &["0x7fe0000..0x8000000 reserved"],
    ),
    // The table has an entry there that would show.
    ("first_without_length", without_len(1), || unwritten_at(0), &["0x7fe0000..0x8000000 reserved"]),
    ("one_without_length", without_len(4), || unwritten_at(3), &["0x7fe0000..0x8000000 reserved"]),
    ("last_without_length", without_len(7), || unwritten_at(6), &["0x7fe0000..0x8000000 reserved"]),
    (
        "entries_that_differ_little",
        Manners { writes_changes: 1, ..GOOD },
        || {
            // A usable one after a usable one.
            let mut entries = USUAL.to_vec();
            entries.sort_by_key(|&(_, _, kind, _)| kind);
            entries
        },
        &["0x7fe0000..0x8000000 reserved", "0xfffc0000..0x100000000 reserved"],
    ),
    (
        "near_2_to_the_64",
        GOOD,
        || {
            usual_and(&[
                (0xffff_ffff_ffff_f000, 0x2000, 2, 1),
                (0xfd_0000_0000, 0x3_0000_0000, 2, 1),
                (1 << 46, 1 << 40, 1, 1),
                (u64::MAX - 0xf_ffff, u64::MAX, 1, 1),
            ])
        },
        &["0xfd00000000..0x10000000000 reserved", "0x400000000000..0x410000000000 reserved"],
    ),
    (
        "of_200_entries",
        GOOD,
        || many(200),
        &["0x1000000..0x1001000 reserved", "0x1002000..0x1003000 reserved"],
    ),
    ("of_256_entries", GOOD, || many(e820::ENTRIES_MAX), &["0x1002000..0x1003000 reserved"]),
];

/// Maps that no kernel can be booted with, and what is said.
const BAD_MAPS: &[(&str, Manners, Map, &str)] = &[
    (
        "carry_at_once",
        GOOD,
        Vec::new,
        "boot error E04: no memory map: INT 15h AX=E820h gave EAX=00008600h ECX=00000018h, expected 'SMAP' (534D4150h) and 20 to 24 bytes",
    ),
    (
        "other_signature",
        Manners { signature: U32::new(0x1234_5678), ..GOOD },
        || USUAL.to_vec(),
        "boot error E04: no memory map: INT 15h AX=E820h gave EAX=12345678h ECX=00000018h, ",
    ),
    (
        "of_19_bytes",
        Manners { entry_len: U16::new(19), ..GOOD },
        || USUAL.to_vec(),
        "boot error E04: no memory map: INT 15h AX=E820h gave EAX=534D4150h ECX=00000013h, ",
    ),
    (
        "only_without_length",
        without_len(1),
        || vec![(0, 0x800_0000, 1, 1)],
        "boot error E04: no memory map: INT 15h AX=E820h gave EAX=534D4150h ECX=00000000h, ",
    ),
    ("of_300_entries", GOOD, || many(300), "boot error E05: memory map too long: more than 256 entries"),
    (
        "without_end",
        Manners { map_end: 2, ..GOOD },
        || USUAL.to_vec(),
        "boot error E05: memory map too long: more than 256 entries",
    ),
    ("nothing_usable", GOOD, || vec![(0, 1 << 32, 2, 1)], "boot error E60: out of memory: kernel needs "),
    (
        "in_single_pages",
        GOOD,
        || (0..240).map(|page| (0x10_0000 + page * 0x2000, 0x1000, 1, 1)).collect(),
        "boot error E60: out of memory: boot info needs ",
    ),
];

fn usual_and(more: &[Reported]) -> Vec<Reported> {
    // In front, so that they are not simply overwritten by what comes later.
    more.iter().copied().chain(USUAL).collect()
}

const fn without_len(entry: u16) -> Manners {
    Manners { without_len: U16::new(entry), ..GOOD }
}

/// The usual map with an entry at this index that makes much of its memory reserved.
fn unwritten_at(index: usize) -> Vec<Reported> {
    let mut entries = USUAL.to_vec();
    entries.insert(index, (0x100_0000, 0x600_0000, 2, 1));
    entries
}

/// The usual map with holes, up to this many entries.
fn many(entries: usize) -> Vec<Reported> {
    let hole = |index: u64| (0x100_0000 + index * 0x2000, 0x1000, 2, 1);
    USUAL.into_iter().chain((0..).map(hole)).take(entries).collect()
}

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for &(name, manners, message) in MANNERS {
        tests.push(Test::new(format!("bios::{name}"), move |scene| {
            boot(scene, &hello(scene)?, manners, None)?.says(message)
        }));
    }
    for (name, piece, from, read) in [
        ("header", "header", 0, (0, 4)),
        ("kernel_headers", "kernel", 0, (0, 1)),
        ("kernel", "kernel", 1, (127, 127)),
    ] {
        tests.push(Test::new(format!("bios::short_read_of_{name}"), move |scene| {
            short_read(scene, piece, from, read)
        }));
    }
    for (name, manners) in [
        // What CHS has read once, EDD is not asked for again.
        ("edd_fails_from", Manners { edd_failures: 3, ..GOOD }),
        ("edd_fails_no_geometry_from", Manners { no_geometry: 1, ..GOOD }),
        ("edd_and_chs_fail_from", Manners { chs_fails: 1, ..GOOD }),
    ] {
        for piece in ["header", "kernel"] {
            let test = move |scene: &Scene| edd_fails_from(scene, piece, manners);
            tests.push(Test::new(format!("bios::{name}_{piece}"), test));
        }
    }
    for piece in ["header", "kernel"] {
        tests.push(Test::new(format!("bios::corrected_ends_from_{piece}"), move |scene| {
            let image = hello(scene)?;
            let manners = Manners { stops_from: lba(&image, piece)?.into(), ..GOOD };
            boot(scene, &image, manners, None)?.says(HELLO)
        }));
    }
    for (name, machine, command_line, damage, told) in [
        ("rsdp_in_the_ebda", "pc", "", 0, "RSDP: Some(9fe00)\n"),
        ("rsdp_in_the_ebda_alone", "pc,acpi=off", "", 0, "RSDP: Some(9fe00)\n"),
        ("damaged_rsdp", "pc", "", 1, "RSDP: Some(f"),
        ("damaged_rsdp_alone", "pc,acpi=off", "no-acpi", 1, "RSDP: None\n"),
    ] {
        tests.push(Test::new(format!("bios::{name}"), move |scene| {
            let image = scene.image(&read(&scene.parts.test_kernels.join("firmware"))?, command_line)?;
            let machine = Machine { machine: Some(machine.to_owned()), ..Machine::default() };
            let manners = Manners { rsdp: rsdp(damage), ..GOOD };
            let mut booted = boot_on(scene, &image, manners, None, machine)?;
            booted.wait_for_success()?;
            booted.wait_for(told)
        }));
    }
    tests.push(Test::new("bios::serial_times_out", serial_times_out));
    tests.push(Test::new("e820::acpi_tables_are_reclaimed", |scene| {
        let map = usual_and(&[(0x200_0000, 0x3000, 3, 1)]);
        let mut booted = boot(scene, &reclaiming(scene)?, GOOD, Some(&map))?;
        booted.wait_for_success()?;
        booted.wait_for("\nACPI reclaimable: 12 KiB overwritten")
    }));
    tests.push(Test::new("bios::no_timer", no_timer));
    for &(name, manners, map, regions) in MAPS {
        tests.push(Test::new(format!("e820::{name}"), move |scene| {
            shows_map(scene, manners, &map(), regions)
        }));
    }
    for &(name, manners, map, message) in BAD_MAPS {
        tests.push(Test::new(format!("e820::{name}"), move |scene| {
            let image = scene.unchecked_image(&kernel_of(scene, 500)?)?;
            boot(scene, &image, manners, Some(&map()))?.says(message)
        }));
    }
    tests
}

/// An RSDP of revision 0 for where [`odd_bios::RSDP_OFFSET`] is, whose bytes sum to `sum`. Its RSDT seems to begin in itself.
fn rsdp(sum: u8) -> [u8; odd_bios::RSDP_LEN] {
    const OEM_ID_ADDR: u32 = 0x9_fc00 + odd_bios::RSDP_OFFSET + 9;
    let mut bytes = [0; odd_bios::RSDP_LEN];
    bytes[..8].copy_from_slice(b"RSD PTR ");
    bytes[9..15].copy_from_slice(b"RSDT  ");
    bytes[16..].copy_from_slice(&OEM_ID_ADDR.to_le_bytes());
    bytes[8] = bytes.iter().fold(sum, |left, byte| left.wrapping_sub(*byte));
    bytes
}

/// EDD fails in stage2: CHS does it, or the error is that of EDD.
fn edd_fails_from(scene: &Scene, piece: &str, manners: Manners) -> Result<()> {
    let image = hello(scene)?;
    let lba = lba(&image, piece)?;
    let mut booted = boot(scene, &image, Manners { edd_fails_from: lba.into(), ..manners }, None)?;
    if manners.no_geometry == 0 && manners.chs_fails == 0 {
        booted.says(HELLO)
    } else {
        booted.says(&format!("boot error E12: disk read failed: LBA {lba}, {FAILED}"))
    }
}

/// The BIOS says that it read one sector less, without an error. `from` is the sector of the piece from which on it does so,
/// `read` the first sector of the read that meets it, and how many that has.
fn short_read(scene: &Scene, piece: &str, from: u32, read: (u64, u32)) -> Result<()> {
    let image = read_by_bios(scene, &scene.parts.kernel_dev)?;
    let lba = lba(&image, piece)?;
    let manners = Manners { short_from: (lba + from).into(), ..GOOD };
    let (first, sectors) = (u64::from(lba) + read.0, read.1);
    boot(scene, &image, manners, None)?.says(&format!(
        "boot error E13: disk read short: LBA {first}, {} of {sectors} sectors; is the image cut off?",
        sectors - 1
    ))
}

/// The kernel sees the map that follows from these entries, but for what loader and kernel took.
fn shows_map(scene: &Scene, manners: Manners, map: &[Reported], sure: &[&str]) -> Result<()> {
    let image = scene.image(&read(&scene.parts.test_kernels.join("memory_regions"))?, "")?;
    let mut booted = boot(scene, &image, manners, Some(map))?;
    booted.wait_for_success()?;
    let serial = booted.serial();
    let told: Vec<&str> = serial.lines().filter_map(|line| line.strip_prefix("region: ")).collect();
    for region in sure {
        ensure!(told.contains(region), booted.failure(&format!("no region {region}")));
    }
    let found = told.iter().map(|line| parse_region(line)).collect::<Result<Vec<_>>>()?;
    let (found, expected) = (join(found), join(overlaid(map, manners)));
    ensure!(found == expected, booted.failure(&format!("found {found:#x?}\nexpected {expected:#x?}")));
    Ok(())
}

/// What stage2 is to make of the entries, with what it adds.
fn overlaid(map: &[Reported], manners: Manners) -> Vec<(u64, u64, String)> {
    let has_attributes = manners.entry_len.get() == 24;
    let entries = (1..).zip(map).filter(|&(number, _)| number != manners.without_len.get());
    let entries: Vec<Reported> = entries.map(|(_, &entry)| entry).collect();
    let bit_is_meant = has_attributes && entries.iter().any(|&(.., attributes)| attributes & 1 == 1);
    let counts = |&&(.., kind, attributes): &&Reported| kind == 1 || attributes & 1 == 1 || !bit_is_meant;
    let region = |&(addr, len, kind, attributes): &Reported| Entry::new(addr, len, kind, attributes).region();
    let mut reports: Vec<MemoryRegion> = entries.iter().filter(counts).filter_map(region).collect();
    let ebda_start = e820::ebda_start(0x9fc0, 639 - odd_bios::RESIDENT_KIB);
    for (start, end) in [(0, layout::PAGE_LEN.into()), (ebda_start, e820::EBDA_END)] {
        reports.push(MemoryRegion::new(start, end, MemoryRegionKind::RESERVED));
    }
    let mut regions = Regions::new();
    e820::overlay(&reports, &mut regions);
    regions.iter().map(|region| (region.start_addr, region.end_addr, region.kind.to_string())).collect()
}

/// `0x1000..0x2000 usable`. What loader and kernel took was usable before.
pub(super) fn parse_region(line: &str) -> Result<(u64, u64, String)> {
    let (start, end, kind) = parse_told_region(line)?;
    let kind = if ["kernel", "bootloader"].contains(&&*kind) { "usable".to_owned() } else { kind };
    Ok((start, end, kind))
}

/// The same with the kind that is told.
pub(super) fn parse_told_region(line: &str) -> Result<(u64, u64, String)> {
    let (range, kind) = line.split_once(' ').context("no kind")?;
    let (start, end) = range.split_once("..").context("no range")?;
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16);
    Ok((number(start)?, number(end)?, kind.to_owned()))
}

/// Neighbours of one kind as one region.
pub(super) fn join(regions: Vec<(u64, u64, String)>) -> Vec<(u64, u64, String)> {
    let mut joined: Vec<(u64, u64, String)> = Vec::new();
    for (start, end, kind) in regions {
        match joined.last_mut() {
            Some(last) if last.1 == start && last.2 == kind => last.1 = end,
            _ => joined.push((start, end, kind)),
        }
    }
    joined
}

/// A serial port without a cable takes a second for each character that is not sent: stage1 asks for one.
fn serial_times_out(scene: &Scene) -> Result<()> {
    let mut image = hello(scene)?;
    let start = image.range("stage2")?.start;
    image.bytes_mut()[start] ^= 1;
    let mut booted = boot(scene, &image, Manners { serial_times_out: 1, ..GOOD }, None)?;
    booted.wait_for_screen("stage2 damaged")?;
    booted.wait_for("#")?;
    booted.stays_quiet(Duration::from_secs(1))?;
    let serial = booted.serial();
    ensure!(serial == "#", booted.failure("not one character"));
    Ok(())
}

/// Where time stands still, a key restarts all the same.
fn no_timer(scene: &Scene) -> Result<()> {
    let mut image = hello(scene)?;
    let start = image.range("kernel")?.start;
    image.bytes_mut()[start] ^= 1;
    let mut booted = boot(scene, &image, Manners { no_timer: 1, ..GOOD }, None)?;
    booted.wait_for("Press a key to restart.\n")?;
    booted.stays_quiet(Duration::from_secs(5))?;
    booted.press_key()?;
    booted.wait_for_end().map(drop)
}

/// Where a piece starts.
fn lba(image: &DiskImage, piece: &str) -> Result<u32> {
    Ok(u32::try_from(image.range(piece)?.start)? / SECTOR_LEN)
}

fn hello(scene: &Scene) -> Result<DiskImage> {
    read_by_bios(scene, &scene.parts.kernel_release)
}

/// An image that the BIOS reads to its end, and not the disk's controller.
fn read_by_bios(scene: &Scene, kernel: &Path) -> Result<DiskImage> {
    let config = KernelConfig { disk_dma: false, ..KernelConfig::DEFAULT };
    image::image(&scene.parts.stages, &read(kernel)?, &Boot { config, ..Boot::default() })
}

/// Boots an image on a BIOS with these manners, and with this memory map or its own.
pub(super) fn boot(
    scene: &Scene,
    image: &DiskImage,
    manners: Manners,
    map: Option<&[Reported]>,
) -> Result<Booted> {
    boot_on(scene, image, manners, map, Machine::default())
}

/// The same on another machine.
pub(super) fn boot_on(
    scene: &Scene,
    image: &DiskImage,
    mut manners: Manners,
    map: Option<&[Reported]>,
    machine: Machine,
) -> Result<Booted> {
    /// stage1 asks before each read, which ends where ISA DMA has to.
    const STAGE1_READ_LEN: u32 = SEGMENT_LEN - STAGE2_ADDR % SEGMENT_LEN;
    if manners.edd_answers == TO_STAGE1 {
        let reads = image.range("stage2")?.len().div_ceil(STAGE1_READ_LEN as usize);
        manners.edd_answers = u8::try_from(reads)?;
    }
    let arguments = [odd_bios(scene, manners, map)?, machine.arguments].concat();
    scene.boot(image, Machine { arguments, ..machine })
}

/// What attaches the odd BIOS to a machine, before its disk.
pub(super) fn odd_bios(scene: &Scene, mut manners: Manners, map: Option<&[Reported]>) -> Result<Vec<String>> {
    const FLOPPY_LEN: usize = 1_474_560;
    let mut floppy = scene.parts.odd_bios.clone();
    if let Some(map) = map {
        manners.entries = u16::try_from(map.len())?.into();
    }
    let map = map.unwrap_or_default();
    for (index, &(addr, len, kind, attributes)) in map.iter().enumerate() {
        let start = odd_bios::ENTRIES_OFFSET + index * odd_bios::ENTRY_STRIDE;
        let mut entry = Entry::new(addr, len, kind, attributes);
        floppy
            .get_mut(start..start + odd_bios::ENTRY_STRIDE)
            .context("too many entries")?
            .copy_from_slice(entry.as_mut_bytes());
    }
    floppy[odd_bios::MANNERS_OFFSET..][..size_of::<Manners>()].copy_from_slice(manners.as_bytes());
    floppy.resize(FLOPPY_LEN, 0);
    let path = scene.folder().join("odd-bios.img");
    fs::write(&path, floppy)?;
    let file = escape_commas(path.to_str().context("a path that is not UTF-8")?);
    let drive = format!("format=raw,snapshot=on,if=floppy,file={file}");
    Ok(["-drive".to_owned(), drive, "-boot".to_owned(), "a".to_owned()].to_vec())
}
