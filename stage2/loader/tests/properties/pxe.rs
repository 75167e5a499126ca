//! The network boot: whatever a ROM, a DHCP server and a TFTP server tell, the right file is fetched whole or an error is told.

use crate::cases;
use crate::support::kernel_file::noise;
use crate::support::machine::FakeMemory;
use boot_info::{KernelConfig, MemoryRegion, MemoryRegionKind};
use loader::bundle::{Bundle, Piece};
use loader::pxe::services::{PACKET_LEN, TftpOpen, number};
use loader::pxe::{EntryPoint, FarPointer, NetworkError, Packets, ServerFile, fetch};
use loader::reader::Place;
use loader::{BootError, Result};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::ops::Range;
use zerocopy::IntoBytes;

const PLACE: Place = Place::Network { bang_pxe: BANG_PXE, pxenv: PXENV };

/// Memory of real mode, with one structure or two in it.
struct Rom(Vec<u8>);

/// Where they lie, and the entry points they tell.
const BANG_PXE: FarPointer = pointer(0x9c00, 0x0070);
const PXENV: FarPointer = pointer(0x9c00, 0x0200);
const NEW_ENTRY: FarPointer = pointer(0x9d00, 0x0106);
const OLD_ENTRY: FarPointer = pointer(0x9d00, 0x0010);

const fn pointer(segment: u16, offset: u16) -> FarPointer {
    use zerocopy::little_endian::U16;
    FarPointer { offset: U16::new(offset), segment: U16::new(segment) }
}

impl Rom {
    fn with(structures: &[(FarPointer, &[u8])]) -> Self {
        let mut memory = vec![0; 0x11_0000];
        for (pointer, bytes) in structures {
            let start = pointer.addr() as usize;
            memory[start..start + bytes.len()].copy_from_slice(bytes);
        }
        Self(memory)
    }

    fn find(&self, on_stack: FarPointer, in_registers: FarPointer) -> Result<EntryPoint> {
        EntryPoint::find(on_stack, in_registers, |addr, target| {
            target.copy_from_slice(&self.0[addr as usize..][..target.len()]);
        })
    }
}

/// Makes the bytes add up to 0 by the one at `place`.
fn sealed(mut bytes: Vec<u8>, place: usize) -> Vec<u8> {
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[place] = bytes[place].wrapping_sub(sum);
    bytes
}

fn bang_pxe(filler: &[u8]) -> Vec<u8> {
    let mut bytes = filler[..0x58].to_vec();
    bytes[..5].copy_from_slice(b"!PXE\x58");
    bytes[16..20].copy_from_slice(NEW_ENTRY.as_bytes());
    sealed(bytes, 5)
}

fn pxenv(filler: &[u8], version: u16) -> Vec<u8> {
    let mut bytes = filler[..0x2c].to_vec();
    bytes[..6].copy_from_slice(b"PXENV+");
    bytes[6..8].copy_from_slice(&version.to_le_bytes());
    bytes[8] = 0x2c;
    bytes[10..14].copy_from_slice(OLD_ENTRY.as_bytes());
    bytes[40..44].copy_from_slice(BANG_PXE.as_bytes());
    sealed(bytes, 9)
}

/// A packet of DHCP, field by field.
#[derive(Clone, Debug, Default)]
struct Packet {
    own: [u8; 4],
    server: [u8; 4],
    server_name: Vec<u8>,
    file: Vec<u8>,
    options: Vec<(u8, Vec<u8>)>,
    /// Padding before each option.
    pads: usize,
    has_end: bool,
}

impl Packet {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 236];
        bytes[16..20].copy_from_slice(&self.own);
        bytes[20..24].copy_from_slice(&self.server);
        bytes[44..44 + self.server_name.len()].copy_from_slice(&self.server_name);
        bytes[108..108 + self.file.len()].copy_from_slice(&self.file);
        bytes.extend([99, 130, 83, 99]);
        bytes.extend(run(&self.options, self.pads, self.has_end));
        bytes
    }
}

/// Options in a run.
fn run(options: &[(u8, Vec<u8>)], pads: usize, has_end: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, value) in options {
        bytes.extend(vec![0; pads]);
        bytes.extend([*number, u8::try_from(value.len()).unwrap()]);
        bytes.extend(value);
    }
    bytes.extend(has_end.then_some(255));
    bytes
}

/// Where in a packet the program's name stands.
#[derive(Clone, Copy, Debug)]
enum NamePlace {
    Field,
    Option,
    OptionInFileField,
    OptionInServerField,
}

fn named(program: &str, place: NamePlace, pads: usize, has_end: bool) -> Packet {
    let option = (67, program.as_bytes().to_vec());
    let overload = |bits| vec![(1, vec![255, 255, 255, 0]), (52, vec![bits])];
    let packet = Packet { pads, has_end, server: [10, 0, 2, 2], ..Packet::default() };
    match place {
        NamePlace::Field => Packet { file: program.into(), ..packet },
        NamePlace::Option => Packet { options: vec![(12, b"name".to_vec()), option], ..packet },
        NamePlace::OptionInFileField => {
            Packet { file: run(&[option], 0, true), options: overload(1), ..packet }
        }
        NamePlace::OptionInServerField => {
            Packet { server_name: run(&[option], 0, true), options: overload(2), ..packet }
        }
    }
}

fn name_place() -> impl Strategy<Value = NamePlace> {
    prop_oneof![
        Just(NamePlace::Field),
        Just(NamePlace::Option),
        Just(NamePlace::OptionInFileField),
        Just(NamePlace::OptionInServerField),
    ]
}

fn name_of(file: &ServerFile) -> &str {
    std::str::from_utf8(file.name.as_bytes()).unwrap()
}

/// A server that sends a file, and fails when it has sent so many packets.
struct Server<'a> {
    file: &'a [u8],
    packet_len: usize,
    /// What it says that this is.
    told_len: usize,
    sent: usize,
    fails_after: usize,
    is_done: bool,
}

const FAILURE: BootError =
    BootError::Network(NetworkError::Service { service: number::TFTP_READ, status: 0x35 });

impl Packets for Server<'_> {
    fn told_packet_len(&self) -> usize {
        self.told_len
    }

    fn next(&mut self) -> Result<&[u8]> {
        assert!(!self.is_done, "nothing comes behind the end");
        if self.sent == self.fails_after {
            return Err(FAILURE.into());
        }
        let rest = &self.file[(self.sent * self.packet_len).min(self.file.len())..];
        let packet = &rest[..rest.len().min(self.packet_len)];
        self.sent += 1;
        self.is_done = packet.is_empty();
        Ok(packet)
    }
}

/// A bundle of so many bytes, at least 8192.
fn bundle(len: usize) -> Vec<u8> {
    let mut bytes = noise(7, len);
    let kernel = Piece::new(4096, &bytes[4096..]);
    let bundle = Bundle {
        len: len as u64,
        config: KernelConfig::DEFAULT,
        kernel,
        kernel_headers: Piece::new(4096, &bytes[4096..5000]),
        command_line: None,
        ramdisk: None,
        symbols: None,
    };
    bytes[..2048].copy_from_slice(&bundle.to_header().unwrap());
    bytes
}

fn usable(range: Range<u64>) -> MemoryRegion {
    MemoryRegion::new(range.start, range.end, MemoryRegionKind::USABLE)
}

/// A machine with 16 MiB.
fn map() -> [MemoryRegion; 3] {
    [
        usable(0x5_0000..0x9_c000),
        MemoryRegion::new(0xf_0000, 0x10_0000, MemoryRegionKind::RESERVED),
        usable(0x10_0000..0x100_0000),
    ]
}

/// Fetches a file that comes in packets of a length, until the server fails.
fn fetched(file: &[u8], packet_len: usize, fails_after: usize) -> Result<Vec<u8>> {
    fetched_by(Server { file, packet_len, told_len: packet_len, sent: 0, fails_after, is_done: false })
}

fn fetched_by(mut server: Server<'_>) -> Result<Vec<u8>> {
    let mut memory = FakeMemory::default();
    let range = fetch(&mut server, &mut memory, &map(), PLACE)?;
    assert!(range.start.is_multiple_of(4096) && range.start >= 0x10_0000 && range.end <= 0x100_0000);
    assert!(memory.touched().iter().all(|addr| (range.start..0x100_0000).contains(addr)));
    Ok(if range.is_empty() { Vec::new() } else { memory.all(range.start, range.end - range.start) })
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn services_are_found_by_whichever_structure_is_whole(
        filler in vec(any::<u8>(), 0x58),
        version in prop_oneof![Just(0x0200), Just(0x0201), any::<u16>()],
        is_new_whole: bool,
        is_old_whole: bool,
        is_on_stack: bool,
        broken in any::<Index>(),
        change in 1..=u8::MAX,
    ) {
        let broken = |mut bytes: Vec<u8>, is_whole: bool| {
            let place = broken.index(bytes.len());
            bytes[place] = bytes[place].wrapping_add(if is_whole { 0 } else { change });
            bytes
        };
        let new = broken(bang_pxe(&filler), is_new_whole);
        let old = broken(pxenv(&filler, version), is_old_whole);
        let rom = Rom::with(&[(BANG_PXE, &new), (PXENV, &old)]);
        let found = rom.find(if is_on_stack { BANG_PXE } else { pointer(0, 0) }, PXENV);
        let points_to_new = is_old_whole && version >= 0x0201;
        // A change of the length may leave a structure whole, of another length.
        let is_len_changed = (!is_new_whole && new[4] != 0x58) || (!is_old_whole && old[8] != 0x2c);
        if is_len_changed {
            return Ok(());
        }
        if is_new_whole && (is_on_stack || points_to_new) {
            prop_assert_eq!(found, Ok(EntryPoint { pointer: NEW_ENTRY, is_old: false }));
        } else if is_old_whole {
            prop_assert_eq!(found, Ok(EntryPoint { pointer: OLD_ENTRY, is_old: true }));
        } else {
            prop_assert!(matches!(found, Err(error) if matches!(*error, BootError::Network(NetworkError::NoPxe { found: _ }))), "neither is whole");
        }
    }

    #[test]
    fn no_bytes_are_taken_for_a_structure_by_chance(
        bytes in vec(any::<u8>(), 256),
        on_stack: (u16, u16),
        in_registers: (u16, u16),
    ) {
        let [on_stack, in_registers] = [on_stack, in_registers].map(FarPointer::new);
        let rom = Rom::with(&[(on_stack, &bytes), (in_registers, &bytes)]);
        prop_assert!(rom.find(on_stack, in_registers).is_err());
    }

    #[test]
    fn the_bundle_lies_beside_the_program_wherever_its_name_stands(
        folder in "([a-z.]{0,9}[/\\\\]){0,4}",
        stem in "[a-z_0-9][a-z.]{0,20}[a-z]",
        extension in prop_oneof![Just(""), Just(".pxe"), Just(".0"), Just(".kpxe")],
        place in name_place(),
        pads in 0..3usize,
        has_end: bool,
    ) {
        let program = format!("{folder}{stem}{extension}");
        prop_assume!(program.len() <= 60);
        let expected_stem = if extension.is_empty() { stem.rsplit_once('.').map_or(&*stem, |(stem, _)| stem) } else { &stem };
        let packet = named(&program, place, pads, has_end).bytes();
        let file = ServerFile::of_bundle(&packet, &[]).unwrap();
        prop_assert_eq!(name_of(&file), format!("{folder}{expected_stem}.bundle"));
        prop_assert_eq!(file.server, [10, 0, 2, 2]);
        prop_assert_eq!(file.gateway, [0; 4]);
    }

    #[test]
    fn no_packet_leads_astray(acknowledgment in vec(any::<u8>(), 0..700), reply in vec(any::<u8>(), 0..700)) {
        if let Ok(file) = ServerFile::of_bundle(&acknowledgment, &reply) {
            prop_assert!(file.name.as_bytes().ends_with(b".bundle") && file.name.0[127] == 0);
        }
    }

    #[test]
    fn no_options_lead_astray(options in vec(any::<u8>(), 0..700), overload in 0..4u8) {
        let mut packet = Packet { options: vec![(52, vec![overload])], ..Packet::default() }.bytes();
        packet.extend(options);
        if let Ok(file) = ServerFile::of_bundle(&packet, &packet) {
            prop_assert!(file.name.as_bytes().ends_with(b".bundle") && file.name.0[127] == 0);
        }
    }

    #[test]
    fn a_bundle_arrives_whole_in_packets_of_any_length(
        len in 8192..40_000usize,
        packet_len in 512..=usize::from(PACKET_LEN),
        more in vec(any::<u8>(), 0..3000),
    ) {
        let bundle = bundle(len);
        prop_assert_eq!(&fetched(&bundle, packet_len, usize::MAX).unwrap(), &bundle);
        // What comes behind it is not ours.
        prop_assert_eq!(&fetched(&[&bundle[..], &more].concat(), packet_len, usize::MAX).unwrap(), &bundle);
    }

    #[test]
    fn whatever_length_of_packets_is_told_a_bundle_arrives(
        len in 8192..20_000usize,
        packet_len in 512..=usize::from(PACKET_LEN),
        told_len in prop_oneof![Just(0), Just(512), Just(1456), 0..=usize::from(u16::MAX)],
        found in any::<Index>(),
    ) {
        let bundle = bundle(len);
        let server = |file| Server { file, packet_len, told_len, sent: 0, fails_after: usize::MAX, is_done: false };
        prop_assert_eq!(&fetched_by(server(&bundle)).unwrap(), &bundle);
        let cut = &bundle[..found.index(len)];
        prop_assert_eq!(&fetched_by(server(cut)).unwrap(), cut);
    }

    #[test]
    fn of_a_file_that_was_cut_off_as_much_arrives_as_there_is(
        len in 8192..20_000usize,
        packet_len in 512..=usize::from(PACKET_LEN),
        found in any::<Index>(),
    ) {
        let bundle = bundle(len);
        let cut = &bundle[..found.index(len)];
        prop_assert_eq!(&fetched(cut, packet_len, usize::MAX).unwrap(), cut);
    }

    #[test]
    fn a_server_that_fails_in_the_middle_ends_the_boot(
        packet_len in 512..=usize::from(PACKET_LEN),
        fails_after in any::<Index>(),
    ) {
        let bundle = bundle(20_000);
        let packets = bundle.len().div_ceil(packet_len);
        prop_assert_eq!(fetched(&bundle, packet_len, fails_after.index(packets)), Err(FAILURE.into()));
    }

    #[test]
    fn a_bundle_lies_in_free_memory_or_is_refused(
        regions in vec((0..0x2_0000u64, 1..0x800u64, any::<bool>()), 0..8),
        len in 8192..2_000_000usize,
    ) {
        // Sorted and disjoint.
        let mut start = 0;
        let map: Vec<_> = regions.iter().map(|&(gap, pages, is_usable)| {
            let kind = if is_usable { MemoryRegionKind::USABLE } else { MemoryRegionKind::RESERVED };
            let region = MemoryRegion::new(start + gap * 4096, start + (gap + pages) * 4096, kind);
            start = region.end_addr;
            region
        }).collect();
        let bundle = bundle(len);
        let mut server = Server { file: &bundle, packet_len: 1456, told_len: 1456, sent: 0, fails_after: usize::MAX, is_done: false };
        let mut memory = FakeMemory::default();
        let most = map.iter().filter(|region| region.kind == MemoryRegionKind::USABLE).map(|region| {
            region.end_addr.min(1 << 32).saturating_sub(region.start_addr.max(1 << 20))
        }).max().unwrap_or(0);
        match fetch(&mut server, &mut memory, &map, PLACE) {
            Ok(range) => {
                prop_assert_eq!(memory.all(range.start, len as u64), bundle);
                let holds = |region: &&MemoryRegion| region.start_addr <= range.start && range.end <= region.end_addr;
                prop_assert!(map.iter().find(holds).is_some_and(|region| region.kind == MemoryRegionKind::USABLE));
                prop_assert!(range.start >= 1 << 20 && range.end <= 1 << 32);
            }
            Err(error) => {
                prop_assert!(matches!(*error, BootError::OutOfMemory { .. }), "{}", error);
                prop_assert!(most < len as u64 + 4096 + u64::from(PACKET_LEN));
                prop_assert!(memory.touched().is_empty());
            }
        }
    }
}

#[test]
fn the_server_that_tells_of_the_program_may_be_another_than_that_of_addresses() {
    let acknowledgment = Packet {
        own: [192, 168, 1, 77],
        server: [192, 168, 1, 1],
        options: vec![(1, vec![255, 255, 255, 0]), (3, vec![192, 168, 1, 254, 192, 168, 1, 253])],
        ..Packet::default()
    };
    let reply = named("pxe/hello.pxe", NamePlace::Field, 0, true);
    let file = ServerFile::of_bundle(&acknowledgment.bytes(), &reply.bytes()).unwrap();
    assert_eq!(
        (name_of(&file), file.server, file.gateway),
        ("pxe/hello.bundle", [10, 0, 2, 2], [192, 168, 1, 254])
    );
    // A server on this network needs no router.
    let near = Packet { server: [192, 168, 1, 9], ..reply.clone() };
    let file = ServerFile::of_bundle(&acknowledgment.bytes(), &near.bytes()).unwrap();
    assert_eq!((file.server, file.gateway), ([192, 168, 1, 9], [0; 4]));
    // The one that sent the packet, where none is named.
    let options = vec![(54, vec![192, 168, 1, 8])];
    let unnamed = Packet { server: [0; 4], options, ..reply };
    let file = ServerFile::of_bundle(&acknowledgment.bytes(), &unnamed.bytes()).unwrap();
    assert_eq!(file.server, [192, 168, 1, 8]);
    // A reply without a name is not what tells of the program.
    let empty = Packet { server: [1, 2, 3, 4], ..Packet::default() }.bytes();
    let file = ServerFile::of_bundle(&named("a", NamePlace::Option, 0, false).bytes(), &empty).unwrap();
    assert_eq!((name_of(&file), file.server), ("a.bundle", [10, 0, 2, 2]));
}

#[test]
fn a_name_that_leads_nowhere_is_told() {
    let refused = |name: &str| {
        let packet = named(name, NamePlace::Option, 0, true).bytes();
        ServerFile::of_bundle(&packet, &packet).map(|file| name_of(&file).to_owned())
    };
    let error = |found| Err(NetworkError::NoProgramName { found }.into());
    assert_eq!(refused(""), error(0));
    assert_eq!(refused("pxe/"), error(4));
    assert_eq!(refused(".pxe"), Ok(".pxe.bundle".to_owned()));
    assert_eq!(refused("a.b/c"), Ok("a.b/c.bundle".to_owned()));
    assert_eq!(refused(&"x".repeat(120)), Ok(format!("{}.bundle", "x".repeat(120))));
    assert_eq!(refused(&"x".repeat(121)), error(121));
}

#[test]
fn the_server_is_asked_at_the_port_of_tftp() {
    let file = ServerFile::of_bundle(&named("a.pxe", NamePlace::Field, 0, true).bytes(), &[]).unwrap();
    let open = TftpOpen::new(&file);
    let bytes = open.as_bytes();
    assert_eq!(bytes[..18], *b"\0\0\x0a\0\x02\x02\0\0\0\0a.bundle");
    assert_eq!(bytes[138..], [0, 69, 0xb0, 0x05]);
}

#[test]
fn what_is_no_bundle_is_told_as_such() {
    let other = [&b"GIF89a, a picture"[..], &[0; 4000]].concat();
    assert!(matches!(*fetched(&other, 1456, usize::MAX).unwrap_err(), BootError::BundleMissing { .. }));
    let mut damaged = bundle(9000);
    damaged[100] ^= 1;
    assert!(matches!(*fetched(&damaged, 1456, usize::MAX).unwrap_err(), BootError::BundleDamaged { .. }));
}
