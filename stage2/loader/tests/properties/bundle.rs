//! The bundle's header: what was written is read, everything else is refused.

use crate::cases;
use crate::habits::{habits, habits_of_disks, of_a_disk};
use crate::support::address_plan::{HIGHER_HALF, LOWER_HALF_END};
use crate::support::bundle_header::check_bundle;
use crate::support::kernel_file::{Field, noise, set};
use crate::support::machine::{FakeMemory, FakeSource, Medium};
use boot_info::{AddressWish, FramebufferWish, KernelConfig};
use loader::BootError;
use loader::bundle::{Bundle, COMMAND_LINE_MAX, HeaderBytes, PIECES_MAX, Piece, PieceKind, reseal};
use loader::checksum::checksum;
use loader::reader::Place;
use proptest::prelude::*;

const PAGE: u64 = layout::PAGE_LEN as u64;
const GIB: u64 = 1 << 30;
const PLACE: Place = Place::at_lba(5);

/// The numbers in the header, at the places that bundle.rs tells. Those of pieces are for [`field::in_piece`].
mod field {
    use super::Field;
    pub(super) use crate::support::bundle_header::piece_field::{CHECKSUM, LEN, OFFSET, in_piece};
    pub(super) const VERSION: Field = (8, 4);
    pub(super) const PIECE_COUNT: Field = (12, 4);
    pub(super) const STACK_LEN: Field = (64, 8);
    pub(super) const PHYSICAL_MEMORY_OFFSET: Field = (72, 8);
    pub(super) const FRAMEBUFFER: Field = (104, 8);
    pub(super) const KIND: Field = (0, 4);
    pub(super) const FLAGS: Field = (4, 4);
}

/// A bundle with nothing wrong: its numbers are as large as they can be, or as small.
fn bundle(seed: [u64; 6]) -> Bundle {
    let [place, len, sums, stack, window, command_line] = seed;
    let offset = |pages: u64| (pages % (1 << 50)).max(1) * PAGE;
    let kernel =
        Piece { offset: offset(place), len: (len >> 2).max(1), checksum: checksum(&sums.to_le_bytes()) };
    let headers_max = kernel.len.min(64 << 10);
    let kernel_headers = Piece { len: 1 + sums % headers_max, checksum: !sums, ..kernel };
    let command_line = (command_line & 1 == 1).then(|| Piece {
        offset: offset(command_line >> 1),
        len: 1 + (command_line >> 1) % COMMAND_LINE_MAX as u64,
        checksum: sums,
    });
    let ramdisk =
        (sums & 1 == 1).then(|| Piece { offset: offset(stack), len: (window >> 2).max(1), checksum: place });
    let symbols =
        (sums & 2 == 2).then(|| Piece { offset: offset(window), len: (stack >> 2).max(1), checksum: stack });
    let end = |piece: &Piece| piece.offset + piece.len;
    let optional = command_line.iter().chain(&ramdisk).chain(&symbols);
    Bundle {
        len: optional.map(end).fold(end(&kernel), u64::max) + offset(sums) % 1000,
        config: KernelConfig {
            stack_len: (stack % (64 << 8) + 1) * PAGE,
            physical_memory_offset: wish(window),
            stack_addr: AddressWish::from_number(stack & !(PAGE - 1)),
            boot_info_addr: AddressWish::from_number(window & !(PAGE - 1)),
            allow_write_execute: stack & 1 != 0,
            randomize_address: stack & 2 != 0,
            keep_screen: stack & 4 != 0,
            recursive_page_table: stack & 8 != 0,
            vga_320x200: stack & 16 != 0,
            framebuffer: (stack & 32 != 0).then(|| FramebufferWish {
                width: u16::try_from(place % 16384 + 1).unwrap(),
                height: u16::try_from(len % 16384 + 1).unwrap(),
                bits_per_pixel: [0, 24, 32][(sums % 3) as usize],
            }),
            map_physical_memory: stack & 32 == 0,
            map_first_mib: stack & 64 == 0,
            ..KernelConfig::DEFAULT
        },
        kernel,
        kernel_headers,
        command_line,
        ramdisk,
        symbols,
    }
}

/// Any wish that a kernel may have.
fn wish(seed: u64) -> AddressWish {
    // Each half of the addresses has room for a window of 4 GiB from 2^17 - 3 multiples of 1 GiB on.
    let window = (seed >> 2) % ((1 << 17) - 3) * GIB;
    match (seed & 3, window) {
        (0, 0) | (1, _) => AddressWish::Default,
        (0, addr) => AddressWish::Fixed(addr),
        _ => AddressWish::Fixed(HIGHER_HALF + window),
    }
}

/// A bundle as any other, with and without a command line.
fn plain() -> Bundle {
    let piece = |offset, len| Piece { offset, len, checksum: 1 };
    Bundle {
        len: 0x12_3456,
        config: KernelConfig::DEFAULT,
        kernel: piece(0x2000, 0x12_1456),
        kernel_headers: piece(0x2000, 0x1000),
        command_line: Some(piece(0x1000, 9)),
        ramdisk: None,
        symbols: None,
    }
}

/// The places of the pieces of [`plain`] in its table.
const HEADERS: usize = 0;
const COMMAND_LINE: usize = 1;
const KERNEL: usize = 2;

/// The header of [`plain`] with numbers set to something else, and the right checksum.
fn with(changes: &[(Field, u64)]) -> loader::Result<Bundle> {
    let mut bytes = plain().to_header().unwrap();
    changes.iter().for_each(|&(field, value)| set(&mut bytes, field, value));
    reseal(&mut bytes);
    Bundle::parse(PLACE, &bytes)
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn what_is_written_is_what_is_read(seed in any::<[u64; 6]>()) {
        let bundle = bundle(seed);
        let header = bundle.to_header().map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(Bundle::parse(PLACE, &header), Ok(bundle));
        check_bundle(&bundle);
    }

    #[test]
    fn it_is_read_from_wherever_it_lies(seed in any::<[u64; 6]>(), habits in habits(), lba in 0..u64::MAX / 2) {
        let bundle = bundle(seed);
        let medium = Medium::new(&habits, &bundle.to_header().unwrap(), &FakeMemory::default());
        let mut source = FakeSource::new(&medium, lba);
        prop_assert_eq!(Bundle::read(&mut source, Place::at_lba(lba)), Ok(bundle));
        let header = Piece { offset: 0, len: layout::BUNDLE_HEADER_LEN.into(), checksum: 0 };
        medium.borrow_mut().check_read_once(&header);
    }

    #[test]
    fn a_header_that_cannot_be_read_ends_the_boot(habits in habits_of_disks(), lba in 0..u64::MAX / 2, sector in 0..4u64) {
        let medium = Medium::new(&habits, &plain().to_header().unwrap(), &FakeMemory::default());
        let bad = sector % u64::from(layout::BUNDLE_HEADER_LEN / habits.sector_len.unwrap());
        medium.borrow_mut().bad_sector = Some(bad);
        let found = Bundle::read(&mut FakeSource::new(&medium, lba), Place::at_lba(lba));
        prop_assert_eq!(found, Err(BootError::DiskRead { lba: lba + bad, status: 1, tries: 3 }.into()));
    }

    #[test]
    fn garbage_is_no_bundle(seed in any::<u64>(), lba in any::<u64>()) {
        let place = Place::at_lba(lba);
        let bytes = HeaderBytes::try_from(noise(seed, 2048)).unwrap();
        let found = u64::from_be_bytes(*bytes.first_chunk().unwrap());
        prop_assert_eq!(Bundle::parse(place, &bytes), Err(BootError::BundleMissing { place, found }.into()));
    }

    #[test]
    fn resealed_damage_is_refused_or_leaves_a_bundle_with_nothing_wrong(
        seed in any::<[u64; 6]>(),
        changes in prop::collection::vec((damaged_place(), any::<u8>()), 1..12),
    ) {
        let mut bytes = bundle(seed).to_header().unwrap();
        changes.into_iter().for_each(|(offset, byte)| bytes[offset] = byte);
        reseal(&mut bytes);
        match Bundle::parse(PLACE, &bytes) {
            Ok(bundle) => check_bundle(&bundle),
            Err(error) => prop_assert!(
                matches!(
                    *error,
                    BootError::BundleField { .. }
                        | BootError::BundleVersion { .. }
                        | BootError::UnknownPiece { .. }
                        | BootError::PieceCount { .. }
                ),
                "{}",
                error
            ),
        }
    }

    #[test]
    fn optional_pieces_of_a_later_loader_are_passed_over(
        // Whatever their place, length and checksum mean to it.
        pieces in prop::collection::vec((5..=u32::MAX, any::<[u64; 3]>()), 1..PIECES_MAX - 2),
        // Bit 0 says that a piece is required. The others say nothing yet.
        flags in any::<u32>().prop_map(|flags| flags & !1),
    ) {
        let count = 3 + pieces.len() as u64;
        let mut changes = vec![(field::PIECE_COUNT, count)];
        for (index, (kind, [offset, len, checksum])) in (3..).zip(pieces) {
            let place = |field| field::in_piece(index, field);
            changes.extend([
                (place(field::KIND), kind.into()),
                (place(field::FLAGS), flags.into()),
                (place(field::OFFSET), offset),
                (place(field::LEN), len),
                (place(field::CHECKSUM), checksum),
            ]);
        }
        prop_assert_eq!(with(&changes), Ok(plain()));
    }

    #[test]
    fn required_pieces_of_a_later_loader_are_refused_by_their_number(
        kind in prop_oneof![Just(0), 6..9u32, any::<u32>()],
        flags in any::<u32>().prop_map(|flags| flags | 1),
        index in 0..3usize,
    ) {
        prop_assume!(!(1..=5).contains(&kind));
        let changes = [(field::KIND, kind), (field::FLAGS, flags)];
        let found = with(&changes.map(|(field, value)| (field::in_piece(index, field), value.into())));
        prop_assert_eq!(found, Err(BootError::UnknownPiece { found: kind }.into()));
    }
}

/// A byte of the header that says something, but for the magic number.
fn damaged_place() -> impl Strategy<Value = usize> {
    prop_oneof![8..24usize, 64..80usize, 512..608usize, 8..2040usize]
}

#[test]
fn every_flipped_bit_is_refused() {
    let bytes = plain().to_header().unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes;
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = Bundle::parse(PLACE, &damaged).unwrap_err();
        let in_magic = bit < 64;
        assert_eq!(
            matches!(*error, BootError::BundleMissing { place: PLACE, .. }),
            in_magic,
            "bit {bit}: {error}"
        );
        assert_eq!(matches!(*error, BootError::BundleDamaged { .. }), !in_magic, "bit {bit}: {error}");
    }
}

#[test]
fn what_is_found_instead_of_a_bundle_is_told_as_it_lies_there() {
    let mut bytes = plain().to_header().unwrap();
    bytes[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\x00");
    let found = 0x7f45_4c46_0201_0100;
    assert_eq!(Bundle::parse(PLACE, &bytes), Err(BootError::BundleMissing { place: PLACE, found }.into()));
}

#[test]
fn a_bundle_of_another_version_is_refused() {
    for found in [0, 1, 2, 4, u32::MAX] {
        let expected = Err(BootError::BundleVersion { found, expected: 3 }.into());
        assert_eq!(with(&[(field::VERSION, found.into())]), expected);
        // Of another version nothing else is believed.
        let changes = [(field::VERSION, found.into()), (field::PIECE_COUNT, u64::MAX), (field::STACK_LEN, 1)];
        assert_eq!(with(&changes), expected);
    }
}

#[test]
fn what_is_not_known_says_nothing() {
    // The reserved bytes of the header and of the configuration, the rest of the table, and what follows it.
    let unused = (24..64).chain(112..512).chain(608..2040);
    let changes: Vec<_> = unused.map(|offset| ((offset, 1), 0xff)).collect();
    assert_eq!(with(&changes), Ok(plain()));
    // A flag that a later loader may know.
    assert_eq!(with(&[(field::in_piece(KERNEL, field::FLAGS), 0xffff_fffe)]), Ok(plain()));
}

#[test]
fn anything_but_one_kernel_with_headers_and_at_most_one_command_line_is_refused() {
    use PieceKind::{CommandLine, Kernel, KernelHeaders};
    let kind = |index, kind: PieceKind| (field::in_piece(index, field::KIND), kind as u64);
    let count = |what, found| Err(BootError::PieceCount { what, found }.into());
    // In place of others.
    assert_eq!(with(&[kind(COMMAND_LINE, Kernel)]), count(Kernel, 2));
    assert_eq!(with(&[kind(HEADERS, Kernel), kind(COMMAND_LINE, Kernel)]), count(Kernel, 3));
    assert_eq!(with(&[kind(COMMAND_LINE, KernelHeaders)]), count(KernelHeaders, 2));
    assert_eq!(with(&[kind(KERNEL, CommandLine)]), count(CommandLine, 2));
    // In place of others that are not known.
    for (index, what) in [(KERNEL, Kernel), (HEADERS, KernelHeaders)] {
        let unknown = [(field::in_piece(index, field::KIND), 9), (field::in_piece(index, field::FLAGS), 0)];
        assert_eq!(with(&unknown), count(what, 0));
    }
    // As a fourth one.
    let fourth = |what| {
        let place = |field| field::in_piece(3, field);
        let rest = [(place(field::OFFSET), PAGE), (place(field::LEN), 1), (field::PIECE_COUNT, 4)];
        with(&[&rest[..], &[kind(3, what)]].concat())
    };
    for what in [Kernel, KernelHeaders, CommandLine] {
        assert_eq!(fourth(what), count(what, 2));
    }
    let piece = Some(Piece { offset: PAGE, len: 1, checksum: 0 });
    assert_eq!(fourth(PieceKind::Ramdisk), Ok(Bundle { ramdisk: piece, ..plain() }));
    assert_eq!(fourth(PieceKind::Symbols), Ok(Bundle { symbols: piece, ..plain() }));
    // None, or not the last one.
    for pieces in [0, 1, 2] {
        assert_eq!(with(&[(field::PIECE_COUNT, pieces)]), count(Kernel, 0));
    }
}

#[test]
fn the_order_of_the_pieces_does_not_matter() {
    let mut bytes = plain().to_header().unwrap();
    let (table, entry_len) = (512, 32);
    bytes[table..table + 3 * entry_len].rotate_left(entry_len);
    reseal(&mut bytes);
    assert_eq!(Bundle::parse(PLACE, &bytes), Ok(plain()));
}

#[test]
fn a_command_line_fits_up_to_its_last_byte() {
    let command_line = |len| Bundle { command_line: Some(Piece { len, ..plain().kernel }), ..plain() };
    let longest = command_line(4096);
    assert_eq!(Bundle::parse(PLACE, &longest.to_header().unwrap()), Ok(longest));
    for found in [4097, 5000, 0x12_1456] {
        let expected = BootError::CommandLineTooLong { found, expected: 4096 };
        assert_eq!(command_line(found).to_header(), Err(expected.into()));
        // Where it is read, whoever wrote it is to blame.
        let len = field::in_piece(COMMAND_LINE, field::LEN);
        let offset = field::in_piece(COMMAND_LINE, field::OFFSET);
        assert_eq!(refused_field(with(&[(offset, 0x1000), (len, found)])), ("command line length", found));
    }
}

/// Which field was refused, and its value.
fn refused_field<T: core::fmt::Debug>(result: loader::Result<T>) -> (&'static str, u64) {
    match result.map_err(|error| *error) {
        Err(BootError::BundleField { field, found, .. }) => (field, found),
        other => panic!("{other:?}"),
    }
}

/// Windows at the edges of what may be wished for. The last one has 4 GiB up to the end of its half.
const LOWEST_WINDOW: u64 = GIB;
const HIGHEST_LOWER_WINDOW: u64 = LOWER_HALF_END - 4 * GIB;
const HIGHEST_WINDOW: u64 = (4 * GIB).wrapping_neg();

#[test]
fn every_field_that_no_bundle_has_is_refused_by_its_name() {
    let refused = |field, value| refused_field(with(&[(field, value)]));
    for count in [48, 49, u64::from(u32::MAX)] {
        assert_eq!(refused(field::PIECE_COUNT, count), ("number of pieces", count));
    }
    for len in [0, 1, 4095, 4097, (64 << 20) + 4096, u64::MAX] {
        assert_eq!(refused(field::STACK_LEN, len), ("stack length", len));
    }
    let wish = |width: u64, height: u64, bits: u64| width | height << 16 | bits << 32;
    for wish in
        [wish(0, 1, 0), wish(1, 0, 0), wish(16385, 1, 0), wish(1, 16385, 0), wish(1, 1, 16), wish(0, 0, 32)]
    {
        assert_eq!(refused(field::FRAMEBUFFER, wish), ("framebuffer", wish));
    }
    for offset in [
        1,
        GIB - PAGE,
        GIB + PAGE,
        HIGHEST_LOWER_WINDOW + GIB,
        LOWER_HALF_END,
        HIGHER_HALF - GIB,
        HIGHEST_WINDOW + GIB,
        u64::MAX,
    ] {
        assert_eq!(refused(field::PHYSICAL_MEMORY_OFFSET, offset), ("physical-memory offset", offset));
    }
    for piece in [HEADERS, COMMAND_LINE, KERNEL] {
        let (offset, len) = (field::in_piece(piece, field::OFFSET), field::in_piece(piece, field::LEN));
        for found in [0, 1, 2047, 2048, 4095, 4097, u64::MAX] {
            assert_eq!(refused(offset, found), ("offset of a piece", found));
        }
        let bundle_len = plain().len;
        let start = [plain().kernel.offset, 0x1000, plain().kernel.offset][piece];
        for found in [0, bundle_len - start + 1, 1 << 63, u64::MAX, 0u64.wrapping_sub(start)] {
            assert_eq!(refused(len, found), ("length of a piece", found));
        }
    }
    let headers_offset = field::in_piece(HEADERS, field::OFFSET);
    for found in [0x1000, 0x3000] {
        assert_eq!(refused(headers_offset, found), ("offset of the kernel's headers", found));
    }
    let headers_len = field::in_piece(HEADERS, field::LEN);
    assert_eq!(refused(headers_len, 0x1_0001), ("length of the kernel's headers", 0x1_0001));
    let shorter = (field::in_piece(KERNEL, field::LEN), 0xfff);
    assert_eq!(refused_field(with(&[shorter])), ("length of the kernel's headers", 0x1000));
}

#[test]
fn what_could_not_be_read_is_not_written() {
    let refused = |change: fn(&mut Bundle)| {
        let mut changed = plain();
        change(&mut changed);
        refused_field(changed.to_header())
    };
    assert_eq!(refused(|bundle| bundle.config.stack_len = 1), ("stack length", 1));
    assert_eq!(refused(|bundle| bundle.len = 0x12_3455), ("length of a piece", 0x12_1456));
    assert_eq!(refused(|bundle| bundle.kernel.len = 0), ("length of a piece", 0));
    let fixed_at_1 = refused(|bundle| bundle.config.physical_memory_offset = AddressWish::Fixed(1));
    assert_eq!(fixed_at_1, ("physical-memory offset", 1));
}

#[test]
fn values_at_the_edges_of_what_is_allowed_are_taken() {
    let taken = |bundle: Bundle| {
        let header = bundle.to_header().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(Bundle::parse(PLACE, &header), Ok(bundle));
    };
    for stack_len in [4096, 64 << 20] {
        taken(Bundle { config: KernelConfig { stack_len, ..KernelConfig::DEFAULT }, ..plain() });
    }
    for addr in [LOWEST_WINDOW, HIGHEST_LOWER_WINDOW, HIGHER_HALF, HIGHER_HALF + GIB, HIGHEST_WINDOW] {
        let physical_memory_offset = AddressWish::Fixed(addr);
        taken(Bundle { config: KernelConfig { physical_memory_offset, ..KernelConfig::DEFAULT }, ..plain() });
    }
    let headers = |len| Bundle { kernel_headers: Piece { len, ..plain().kernel_headers }, ..plain() };
    taken(headers(1));
    taken(headers(0x1_0000));
    // A kernel of one byte, at the end of the longest bundle.
    let kernel = Piece { offset: u64::MAX - 0xfff, len: 0xfff, checksum: 0 };
    let kernel_headers = Piece { len: 1, ..kernel };
    taken(Bundle { len: u64::MAX, kernel, kernel_headers, ..plain() });
    // A full table.
    let mut changes = vec![(field::PIECE_COUNT, PIECES_MAX as u64)];
    for index in 3..PIECES_MAX {
        let place = |field| field::in_piece(index, field);
        changes.push((place(field::KIND), 9));
    }
    assert_eq!(with(&changes), Ok(plain()));
}

#[test]
fn a_bundle_without_a_command_line_has_none() {
    let bundle = Bundle { command_line: None, ..plain() };
    assert_eq!(Bundle::parse(PLACE, &bundle.to_header().unwrap()), Ok(bundle));
}

#[test]
fn another_sector_than_the_bundles_first_one_is_told_by_its_lba() {
    let medium = Medium::new(&of_a_disk(), &[0; 2048], &FakeMemory::default());
    let found = Bundle::read(&mut FakeSource::new(&medium, 99), Place::at_lba(99));
    assert_eq!(found, Err(BootError::BundleMissing { place: Place::at_lba(99), found: 0 }.into()));
}

#[test]
fn a_window_that_is_to_be_at_address_0_is_refused_and_not_put_elsewhere() {
    let config = KernelConfig { physical_memory_offset: AddressWish::Fixed(0), ..KernelConfig::DEFAULT };
    let result = Bundle { config, ..plain() }.to_header();
    assert_eq!(refused_field(result), ("physical-memory offset", 0));
}
