//! What a Multiboot loader tells: taken as it is told, in either version, or refused.

use crate::cases;
use crate::support::multiboot_info::{INFO_ADDR, Made, checked_read};
use boot_info::{MemoryRegion, MemoryRegionKind};
use loader::BootError;
use loader::bundle::COMMAND_LINE_MAX;
use loader::e820::ENTRIES_MAX;
use loader::multiboot::{MAGIC_1, MAGIC_2, Refusal};
use loader::reader::{BootSource, Place};
use proptest::prelude::*;

/// What is told.
#[derive(Clone, Debug, Default)]
struct Told {
    loader: Option<&'static str>,
    command_line: Option<Vec<u8>>,
    drive: Option<u8>,
    modules: Vec<[u32; 2]>,
    /// Base, length and type.
    map: Vec<(u64, u64, u32)>,
    /// Bytes of an entry beyond the 20 that are known.
    more: u32,
}

const MODULE: [u32; 2] = [0x20_0000, 0x20_1000];

impl Told {
    fn one_module() -> Self {
        Self { modules: vec![MODULE], ..Self::default() }
    }

    fn text(bytes: &[u8]) -> Vec<u8> {
        [bytes, &[0]].concat()
    }

    fn entry(&self, &(base, len, kind): &(u64, u64, u32)) -> Vec<u8> {
        let more = vec![0xee; self.more as usize];
        [&base.to_le_bytes()[..], &len.to_le_bytes(), &kind.to_le_bytes(), &more].concat()
    }

    /// The information of version 1: the structure, and behind it what it leads to.
    fn version_1(&self) -> Vec<u8> {
        let mut bytes = vec![0; 120];
        let mut flags = 0;
        let put = |bytes: &mut Vec<u8>, offset: usize, value: u32| {
            bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        };
        let append = |bytes: &mut Vec<u8>, more: Vec<u8>| {
            let addr = INFO_ADDR + u32::try_from(bytes.len()).unwrap();
            bytes.extend(more);
            addr
        };
        if let Some(drive) = self.drive {
            flags |= 1 << 1;
            put(&mut bytes, 12, u32::from_le_bytes([0xff, 0xff, 0, drive]));
        }
        if let Some(command_line) = &self.command_line {
            flags |= 1 << 2;
            let addr = append(&mut bytes, Self::text(command_line));
            put(&mut bytes, 16, addr);
        }
        if let Some(loader) = self.loader {
            flags |= 1 << 9;
            let addr = append(&mut bytes, Self::text(loader.as_bytes()));
            put(&mut bytes, 64, addr);
        }
        if !self.modules.is_empty() {
            flags |= 1 << 3;
            let list = self.modules.iter().flat_map(|&[start, end]| [start, end, 0, 0]);
            let addr = append(&mut bytes, list.flat_map(u32::to_le_bytes).collect());
            put(&mut bytes, 20, u32::try_from(self.modules.len()).unwrap());
            put(&mut bytes, 24, addr);
        }
        if !self.map.is_empty() {
            flags |= 1 << 6;
            let size = (20 + self.more).to_le_bytes();
            let list: Vec<_> =
                self.map.iter().flat_map(|entry| [&size[..], &self.entry(entry)].concat()).collect();
            put(&mut bytes, 44, u32::try_from(list.len()).unwrap());
            let addr = append(&mut bytes, list);
            put(&mut bytes, 48, addr);
        }
        put(&mut bytes, 0, flags);
        bytes
    }

    /// The information of version 2: a list of tags.
    fn version_2(&self) -> Vec<u8> {
        let mut bytes = vec![0; 8];
        let mut tag = |kind: u32, content: Vec<u8>| {
            bytes.resize(bytes.len().next_multiple_of(8), 0xdd);
            bytes.extend(
                [kind, 8 + u32::try_from(content.len()).unwrap()].iter().flat_map(|word| word.to_le_bytes()),
            );
            bytes.extend(content);
        };
        tag(77, vec![1, 2, 3]);
        if let Some(command_line) = &self.command_line {
            tag(1, Self::text(command_line));
        }
        if let Some(loader) = self.loader {
            tag(2, Self::text(loader.as_bytes()));
        }
        for module in &self.modules {
            tag(3, [&module.map(u32::to_le_bytes).concat()[..], b"name\0"].concat());
        }
        if let Some(drive) = self.drive {
            tag(
                5,
                [u32::from(drive), 0xffff_ffff, 0xffff_ffff]
                    .iter()
                    .flat_map(|word| word.to_le_bytes())
                    .collect(),
            );
        }
        if !self.map.is_empty() {
            let head = [20 + self.more, 0].map(u32::to_le_bytes).concat();
            let entries: Vec<_> = self.map.iter().flat_map(|entry| self.entry(entry)).collect();
            tag(6, [head, entries].concat());
        }
        tag(0, Vec::new());
        let len = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        bytes
    }

    /// What both versions make of it, which has to be the same.
    fn read(&self) -> loader::Result<Made> {
        let made = [(MAGIC_1, self.version_1()), (MAGIC_2, self.version_2())]
            .map(|(magic, bytes)| checked_read(magic, &bytes));
        let [one, two] = made;
        match (&one, &two) {
            (Ok(one), Ok(two)) => {
                assert_eq!(
                    (&one.source, &one.regions, &one.command_line),
                    (&two.source, &two.regions, &two.command_line)
                );
            }
            (one, two) => assert_eq!(one.as_ref().err(), two.as_ref().err()),
        }
        one
    }
}

fn refusal(result: loader::Result<Made>) -> String {
    match result.map_err(|error| *error) {
        Err(error @ BootError::OtherLoader(Refusal::Field { .. })) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn what_is_told_is_taken(
        command_line in prop::option::of("[!-~é]{1,9}( [!-~]{1,9}){0,4}"),
        drive in any::<Option<u8>>(),
        start in layout::FIRST_MIB_END..u32::MAX,
        len in 1..=u32::MAX,
        map in prop::collection::vec((0..1u64 << 40, 0..1u64 << 40, 0..7u32), 0..30),
        more in 0..9u32,
    ) {
        let end = start.saturating_add(len);
        let told = Told {
            loader: Some("GRUB 2.06"),
            command_line: command_line.clone().map(String::into_bytes),
            drive,
            modules: vec![[start, end]],
            map: map.clone(),
            more,
        };
        let made = told.read().map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(made.source.place, Place::Memory { addr: start, len: end - start });
        prop_assert_eq!(made.source.drive, drive.unwrap_or(BootSource::NO_DRIVE));
        prop_assert_eq!(made.command_line, command_line.unwrap_or_default());
        let regions: Vec<_> = map.iter().filter(|(_, len, _)| *len > 0).collect();
        prop_assert_eq!(made.regions.len(), regions.len());
        for (region, (base, len, kind)) in made.regions.iter().zip(regions) {
            prop_assert_eq!((region.start_addr, region.end_addr), (*base, base + len));
            prop_assert_eq!(region.kind == MemoryRegionKind::USABLE, *kind == 1);
        }
    }

    #[test]
    fn garbage_is_refused_or_taken_for_a_module_with_nothing_wrong(
        version_2 in any::<bool>(),
        changes in prop::collection::vec((0..400usize, prop_oneof![Just(0u8), Just(0xff), any::<u8>()]), 1..9),
        cut in 0..400usize,
    ) {
        let told = Told {
            command_line: Some(b"stage2.elf a b".to_vec()),
            map: vec![(0, 0x9_f000, 1), (0x10_0000, 0x700_0000, 1), (0xfffc_0000, 0x4_0000, 2)],
            ..Told::one_module()
        };
        let (magic, mut bytes) = if version_2 { (MAGIC_2, told.version_2()) } else { (MAGIC_1, told.version_1()) };
        for (place, value) in changes {
            if let Some(byte) = bytes.get_mut(place) {
                *byte = value;
            }
        }
        if cut.is_multiple_of(4) {
            bytes.truncate(cut);
        }
        let _ = checked_read(magic, &bytes);
    }
}

#[test]
fn only_the_two_magic_numbers_count() {
    let bytes = Told::one_module().version_1();
    for found in [0, 0x1bad_b002, 0xe852_50d6, MAGIC_1 + 1, u32::MAX] {
        let error = checked_read(found, &bytes).unwrap_err();
        assert_eq!(*error, BootError::OtherLoader(Refusal::Magic { found }));
    }
}

#[test]
fn one_module_is_the_bundle_and_another_number_is_refused() {
    for count in [0, 2, 3] {
        let told = Told { modules: vec![MODULE; count], ..Told::default() };
        let found = u32::try_from(count).unwrap();
        assert_eq!(*told.read().unwrap_err(), BootError::OtherLoader(Refusal::Modules { found }));
    }
}

#[test]
fn a_module_lies_above_1_mib_and_has_bytes() {
    for ([start, end], expected) in [
        ([0, 0x1000], "E82: Multiboot information: start of the module is 0x0, expected at least 1 MiB"),
        (
            [0xf_ffff, 0x20_0000],
            "E82: Multiboot information: start of the module is 0xfffff, expected at least 1 MiB",
        ),
        (
            [0x20_0000, 0x20_0000],
            "E82: Multiboot information: end of the module is 0x200000, expected more than its start",
        ),
        (
            [0x20_0000, 0x10_0000],
            "E82: Multiboot information: end of the module is 0x100000, expected more than its start",
        ),
    ] {
        assert_eq!(refusal(Told { modules: vec![[start, end]], ..Told::default() }.read()), expected);
    }
    let highest = Told { modules: vec![[u32::MAX - 1, u32::MAX]], ..Told::default() };
    assert_eq!(highest.read().unwrap().source.place, Place::Memory { addr: u32::MAX - 1, len: 1 });
}

#[test]
fn the_name_of_the_file_is_no_part_of_the_command_line_where_the_loader_puts_it_there() {
    for (loader, told, expected) in [
        (Some("qemu"), "stage2.elf a b", "a b"),
        (Some("qemu"), "/my folder/stage2.elf a  b ", "a  b"),
        (Some("qemu"), "stage2.elf", ""),
        (Some("qemu"), "stage2.elf ", ""),
        (Some("qemu"), "/boot/loader a b", "a b"),
        (Some("qemu"), "/boot/loader", ""),
        (Some("qemu"), "stage2.elf2 a", "a"),
        (Some("qemu"), "", ""),
        (Some("GNU GRUB 0.97"), "/stage2.elf a b", "a b"),
        (None, "/stage2.elf a b", "a b"),
        (Some("GRUB 2.06-13+deb12u1"), "a b", "a b"),
        (Some("GRUB 2.06"), "", ""),
        (Some("GRUB 2.06"), " a ", "a"),
    ] {
        let told = Told { loader, command_line: Some(told.as_bytes().to_vec()), ..Told::one_module() };
        assert_eq!(told.read().unwrap().command_line, expected, "{told:?}");
    }
}

#[test]
fn a_command_line_that_the_kernel_cannot_have_is_refused() {
    let line = |bytes: Vec<u8>| {
        Told { loader: Some("GRUB 2"), command_line: Some(bytes), ..Told::one_module() }.read()
    };
    assert_eq!(line(vec![b'a'; COMMAND_LINE_MAX]).unwrap().command_line.len(), COMMAND_LINE_MAX);
    let found = COMMAND_LINE_MAX as u64 + 1;
    let error = line(vec![b'a'; COMMAND_LINE_MAX + 1]).unwrap_err();
    assert_eq!(*error, BootError::CommandLineTooLong { found, expected: COMMAND_LINE_MAX as u64 });
    assert!(
        refusal(line(vec![b'a'; 3 * COMMAND_LINE_MAX])).contains("length of the command line is 0x2000, ")
    );
    let not_utf_8 = refusal(line(b"ab\xff".to_vec()));
    assert!(not_utf_8.contains("part of the command line that is UTF-8 is 0x2, expected all its bytes"));
}

#[test]
fn a_memory_map_is_as_long_as_a_bios_may_have_it() {
    let entries = |count| Told { map: vec![(0x1000, 0x1000, 1); count], ..Told::one_module() }.read();
    let region = MemoryRegion::new(0x1000, 0x2000, MemoryRegionKind::USABLE);
    assert_eq!(entries(ENTRIES_MAX).unwrap().regions, [region; ENTRIES_MAX]);
    let expected = ENTRIES_MAX;
    assert_eq!(*entries(ENTRIES_MAX + 1).unwrap_err(), BootError::MemoryMapTooLong { expected });
    assert_eq!(entries(0).unwrap().regions, [], "the BIOS is asked then");
}

#[test]
fn sizes_that_lead_nowhere_are_refused() {
    let told = Told { map: vec![(0, 0x1000, 1)], ..Told::one_module() };
    let size_at = told.version_1().len() - 24;
    for size in [0, 19, 21, 0x1000, u32::MAX] {
        let mut bytes = told.version_1();
        bytes[size_at..size_at + 4].copy_from_slice(&size.to_le_bytes());
        let expected = format!("size of a memory map entry is {size:#x}, expected at least 20 bytes");
        assert!(refusal(checked_read(MAGIC_1, &bytes)).contains(&expected));
    }
    let mut bytes = told.version_1();
    bytes[44..48].fill(0xff);
    assert!(refusal(checked_read(MAGIC_1, &bytes)).contains("length of the memory map is 0xffffffff"));
    for total in [0, 15, (1 << 20) + 1, u32::MAX] {
        let mut bytes = told.version_2();
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        assert!(
            refusal(checked_read(MAGIC_2, &bytes)).contains(&format!("total size is {total:#x}, expected "))
        );
    }
    for size in [0, 7, 0x1000, u32::MAX] {
        let mut bytes = told.version_2();
        bytes[12..16].copy_from_slice(&size.to_le_bytes());
        assert!(
            refusal(checked_read(MAGIC_2, &bytes))
                .contains(&format!("size of a tag is {size:#x}, expected "))
        );
    }
    // Without the last tag.
    let mut bytes = told.version_2();
    let total = u32::try_from(bytes.len() - 8).unwrap();
    bytes[..4].copy_from_slice(&total.to_le_bytes());
    assert!(refusal(checked_read(MAGIC_2, &bytes)).contains("size of a tag is "));
}

#[test]
fn what_uefi_firmware_has_started_is_refused() {
    for tag in [11, 12, 17, 18, 19, 20] {
        let mut bytes = Told::one_module().version_2();
        bytes[8..12].copy_from_slice(&u32::to_le_bytes(tag));
        let error = checked_read(MAGIC_2, &bytes).unwrap_err();
        assert_eq!(*error, BootError::OtherLoader(Refusal::Uefi { tag }));
    }
}
