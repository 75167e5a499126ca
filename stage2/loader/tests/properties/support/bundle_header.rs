//! The bundle's header: where its numbers are, and what is promised of every one that was taken.

use super::kernel_file::Field;
use loader::bundle::Bundle;
use loader::reader::Place;

/// The numbers of a piece in the table, at the places that bundle.rs tells.
pub(crate) mod piece_field {
    use super::Field;
    const TABLE: usize = 512;
    const PIECE_LEN: usize = 32;
    pub(crate) const OFFSET: Field = (8, 8);
    pub(crate) const LEN: Field = (16, 8);
    pub(crate) const CHECKSUM: Field = (24, 8);

    /// Where a field of the piece with this number lies in the header.
    pub(crate) fn in_piece(index: usize, (offset, len): Field) -> Field {
        (TABLE + index * PIECE_LEN + offset, len)
    }
}

/// Checks that a bundle which was read can be written, and that what loading relies on is true.
pub(crate) fn check_bundle(bundle: &Bundle) {
    let written = bundle.to_header().unwrap_or_else(|error| panic!("{error}: {bundle:x?}"));
    assert_eq!(Bundle::parse(Place::at_lba(0), &written).as_ref(), Ok(bundle));
    let optional = bundle.command_line.iter().chain(&bundle.ramdisk).chain(&bundle.symbols);
    for piece in [&bundle.kernel, &bundle.kernel_headers].into_iter().chain(optional) {
        assert!(piece.len > 0 && piece.offset >= 2048 && piece.offset.is_multiple_of(4096), "{piece:x?}");
        assert!(u128::from(piece.offset) + u128::from(piece.len) <= bundle.len.into(), "{piece:x?}");
    }
    assert_eq!(bundle.kernel_headers.offset, bundle.kernel.offset);
    assert!(bundle.kernel_headers.len <= bundle.kernel.len && bundle.kernel_headers.len <= 0x1_0000);
    assert!(bundle.command_line.is_none_or(|piece| piece.len <= 4096));
    assert!(
        (1..=64 << 20).contains(&bundle.config.stack_len) && bundle.config.stack_len.is_multiple_of(4096)
    );
}
