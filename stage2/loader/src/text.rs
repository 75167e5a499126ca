//! Texts that stage2 carries in one of its parts that not every image has: the linker can tell functions apart by their
//! modules, but not the strings in them.

/// A text like any other, which lies in the part with the ways in other than from a disk (stage2.ld).
#[macro_export]
macro_rules! text {
    ($text:literal) => {
        $crate::text_in!(".ways_in.rodata", $text)
    };
}

/// A text like any other, which lies in the optional part.
#[macro_export]
macro_rules! optional_text {
    ($text:literal) => {
        $crate::text_in!(".optional.rodata", $text)
    };
}

/// A text in a section of its own.
#[doc(hidden)]
#[macro_export]
macro_rules! text_in {
    ($section:literal, $text:literal) => {{
        #[cfg_attr(target_os = "none", unsafe(link_section = $section))]
        static BYTES: [u8; $text.len()] = $crate::text::bytes($text);
        // SAFETY: they are those of a text.
        unsafe { core::str::from_utf8_unchecked(&BYTES) }
    }};
}

/// The bytes of a text, as many as it has.
#[must_use]
pub const fn bytes<const LEN: usize>(text: &str) -> [u8; LEN] {
    match text.as_bytes().first_chunk() {
        Some(&bytes) => bytes,
        None => panic!("the text has as many bytes"),
    }
}
