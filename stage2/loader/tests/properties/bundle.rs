//! The manifest: what was written is read, everything else is refused.

use crate::cases;
use boot_info::KernelConfig;
use loader::BootError;
use loader::checksum::checksum;
use loader::manifest::{COMMAND_LINE_MAX, Manifest, Piece, Sector, Stage2Descriptor, reseal};
use proptest::prelude::*;

/// A manifest with nothing wrong, but for its command line.
fn manifest<'text>(seed: [u64; 6], command_line: &'text str) -> Manifest<'text> {
    let [lba, len, sums, stack, offset, rest] = seed;
    let [sum, head_sum] = [sums, !sums].map(|sum| checksum(&sum.to_le_bytes()));
    let kernel = Piece { lba: lba >> 2, len: (len >> 2).max(1), checksum: sum };
    let half = if offset & 1 == 0 { 0 } else { 0xffff_8000_0000_0000 };
    Manifest {
        kernel,
        kernel_head_checksum: head_sum,
        config: KernelConfig {
            stack_len: (stack % (64 << 8) + 1) << 12,
            // The window has 64 TiB, and half of the addresses are 128 TiB.
            physical_memory_offset: half + (((offset >> 1) % (1 << 16)).max(1) << 30),
        },
        image_sectors: kernel.lba + kernel.sectors() + rest % 1000,
        command_line,
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn what_is_written_is_what_is_read(seed in any::<[u64; 6]>(), command_line in "\\PC{0,100}") {
        let manifest = manifest(seed, &command_line);
        let sector = manifest.to_sector().map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(Manifest::from_sector(5, &sector), Ok(manifest));
    }

    #[test]
    fn a_sector_of_anything_else_is_no_manifest(bytes in prop::collection::vec(any::<u8>(), 512), lba in any::<u64>()) {
        let sector = Sector::try_from(bytes).unwrap();
        let found = u64::from_be_bytes(*sector.first_chunk().unwrap());
        prop_assert_eq!(Manifest::from_sector(lba, &sector), Err(BootError::ManifestMissing { lba, found }));
    }

    #[test]
    fn resealed_damage_is_refused_or_leaves_a_manifest_with_nothing_wrong(
        seed in any::<[u64; 6]>(),
        changes in prop::collection::vec((8..508usize, any::<u8>()), 1..12),
    ) {
        let mut sector = manifest(seed, "log=debug").to_sector().unwrap();
        changes.into_iter().for_each(|(offset, byte)| sector[offset] = byte);
        reseal(&mut sector);
        match Manifest::from_sector(5, &sector) {
            Ok(manifest) => {
                prop_assert!(manifest.kernel.lba.checked_add(manifest.kernel.sectors()) <= Some(manifest.image_sectors));
                let written = manifest.to_sector().unwrap();
                prop_assert_eq!(Manifest::from_sector(5, &written), Ok(manifest));
            }
            Err(error) => prop_assert!(
                matches!(error, BootError::ManifestField { .. } | BootError::ManifestVersion { .. }), "{}", error
            ),
        }
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let sector = manifest([9; 6], "log=debug").to_sector().unwrap();
    for bit in 0..sector.len() * 8 {
        let mut damaged = sector;
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = Manifest::from_sector(5, &damaged).unwrap_err();
        let in_magic = bit < 64;
        assert_eq!(matches!(error, BootError::ManifestMissing { .. }), in_magic, "bit {bit}: {error}");
        assert_eq!(matches!(error, BootError::ManifestDamaged { .. }), !in_magic, "bit {bit}: {error}");
    }
}

#[test]
fn a_command_line_fits_up_to_its_last_byte() {
    let longest = "x".repeat(COMMAND_LINE_MAX);
    let sector = manifest([9; 6], &longest).to_sector().unwrap();
    assert_eq!(Manifest::from_sector(5, &sector).unwrap().command_line, longest);
    let too_long = longest + "x";
    let expected = BootError::CommandLineTooLong { found: 401, expected: 400 };
    assert_eq!(manifest([9; 6], &too_long).to_sector(), Err(expected));
}

#[test]
fn the_manifest_lies_behind_stage2_wherever_that_is() {
    let descriptor = |lba, sectors: u16| Stage2Descriptor {
        checksum: 0.into(),
        lba: u32::into(lba),
        sectors: sectors.into(),
        reserved: 0.into(),
    };
    assert_eq!(descriptor(1, 64).manifest_lba(), 65);
    assert_eq!(descriptor(u32::MAX, u16::MAX).manifest_lba(), 0x1_0000_fffe);
}

#[test]
fn every_field_that_no_image_has_is_refused_by_its_name() {
    let plain = manifest([9; 6], "");
    let field = |change: &dyn Fn(&mut Manifest<'_>)| {
        let mut changed = plain.clone();
        change(&mut changed);
        match changed.to_sector() {
            Err(BootError::ManifestField { field, found, .. }) => (field, found),
            other => panic!("{other:?}"),
        }
    };
    for len in [0, 1, 4095, 4097, (64 << 20) + 4096, u64::MAX] {
        assert_eq!(field(&|manifest| manifest.config.stack_len = len), ("stack length", len));
    }
    let window = 1 << 46;
    for offset in [
        0,
        1,
        (1 << 30) - 4096,
        (1 << 47) - window + (1 << 30),
        1 << 47,
        0xffff_8000_0000_0000 - (1 << 30),
        0xffff_c000_0000_0000 + (1 << 30),
        u64::MAX,
    ] {
        let found = field(&|manifest| manifest.config.physical_memory_offset = offset);
        assert_eq!(found, ("physical-memory offset", offset));
    }
    assert_eq!(field(&|manifest| manifest.kernel.len = 0), ("kernel length", 0));
    for lba in [plain.image_sectors, u64::MAX] {
        assert_eq!(field(&|manifest| manifest.kernel.lba = lba), ("kernel LBA", lba));
    }
    let lba = plain.kernel.lba;
    assert_eq!(field(&|manifest| manifest.kernel.len = u64::MAX), ("kernel LBA", lba));
    assert_eq!(field(&|manifest| manifest.image_sectors = lba), ("kernel LBA", lba));
}

#[test]
fn values_at_the_edges_of_what_is_allowed_are_taken() {
    let taken = |config| Manifest { config, ..manifest([9; 6], "") }.to_sector().map(|_| ());
    for stack_len in [4096, 64 << 20] {
        assert_eq!(taken(KernelConfig { stack_len, ..KernelConfig::DEFAULT }), Ok(()));
    }
    for physical_memory_offset in
        [1 << 30, (1 << 47) - (1 << 46), 0xffff_8000_0000_0000, 0xffff_c000_0000_0000]
    {
        assert_eq!(taken(KernelConfig { physical_memory_offset, ..KernelConfig::DEFAULT }), Ok(()));
    }
}
