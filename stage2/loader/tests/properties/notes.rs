//! Notes of ours: found whatever way the file leads to them, and never mistaken for anything else.

use crate::cases;
use crate::support::note_file::{WAYS, check_descriptor, check_notes, config_descriptor, note, note_file};
use boot_info::{AddressWish, FramebufferWish, KernelConfig, KernelConfigNote, KernelNote};
use loader::notes::find_note;
use proptest::collection::vec;
use proptest::prelude::*;

fn config() -> impl Strategy<Value = KernelConfig> {
    (any::<[u64; 5]>(), any::<u32>()).prop_map(
        |([stack_len, stack, window, boot_info, framebuffer], flags)| {
            let config = KernelConfig {
                stack_len,
                stack_addr: AddressWish::from_number(stack),
                physical_memory_offset: AddressWish::from_number(window),
                boot_info_addr: AddressWish::from_number(boot_info),
                // Width, height and bits have 40 bits.
                framebuffer: FramebufferWish::from_number(framebuffer >> 24),
                ..KernelConfig::DEFAULT
            };
            config.with_flags(flags)
        },
    )
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_note_is_found_whatever_way_leads_to_it_and_says_what_it_says(
        config in config(),
        more in vec(any::<u8>(), 0..40),
        way in prop::sample::select(&WAYS[..]),
    ) {
        // A later one may say more.
        let descriptor = [config_descriptor(&config), more].concat();
        let file = note_file(way, &note(KernelConfigNote::KIND, &descriptor), KernelConfigNote::SYMBOL);
        let find = |kind, symbol| find_note(&file, kind, symbol);
        prop_assert_eq!(find(KernelConfigNote::KIND, KernelConfigNote::SYMBOL), Some(&descriptor[..]));
        prop_assert_eq!(KernelConfigNote::parse(&descriptor), Some(config));
        prop_assert_eq!(find(KernelNote::KIND, KernelNote::SYMBOL), None);
        prop_assert_eq!(find(KernelNote::KIND, KernelConfigNote::SYMBOL), None, "of another type");
        check_notes(&file);
    }

    #[test]
    fn a_note_of_somebody_else_is_none_of_ours(
        owner_byte in 0..8usize,
        change in 1..=u8::MAX,
        way in prop::sample::select(&WAYS[..]),
    ) {
        let mut note = note(KernelConfigNote::KIND, &config_descriptor(&KernelConfig::DEFAULT));
        note[12 + owner_byte] ^= change;
        let file = note_file(way, &note, KernelConfigNote::SYMBOL);
        prop_assert_eq!(find_note(&file, KernelConfigNote::KIND, KernelConfigNote::SYMBOL), None);
    }

    #[test]
    fn a_spoilt_file_is_searched_all_the_same(
        way in prop::sample::select(&WAYS[..]),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        len in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let note = note(KernelConfigNote::KIND, &config_descriptor(&KernelConfig::DEFAULT));
        let mut file = note_file(way, &note, KernelConfigNote::SYMBOL);
        if is_cut {
            file.truncate(len.index(file.len()));
        }
        for (place, byte) in changes {
            if !file.is_empty() {
                let index = place.index(file.len());
                file[index] = byte;
            }
        }
        check_notes(&file);
    }

    #[test]
    fn any_descriptor_is_read_or_refused(bytes in vec(any::<u8>(), 0..200), version in any::<bool>()) {
        let mut bytes = bytes;
        if let Some(word) = bytes.first_chunk_mut::<4>().filter(|_| version) {
            *word = 1u32.to_le_bytes();
        }
        check_descriptor(&bytes);
    }
}
