//! How people ask for a framebuffer: `1024x768`, `1024x768x32` or `text`.

use boot_info::FramebufferWish;
use std::fmt;
use std::str::FromStr;

/// What the screen is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FramebufferChoice {
    /// Text, whatever the kernel asks for.
    Text,
    /// Pixels.
    AtLeast(FramebufferWish),
}

impl FramebufferChoice {
    /// What is expected of the words.
    pub(crate) const EXPECTED: &str =
        "`text`, or WIDTHxHEIGHT or WIDTHxHEIGHTxBITS such as 1024x768, up to 16384, of 24 or 32 bits";

    /// What the loader is told.
    pub(crate) fn wish(self) -> Option<FramebufferWish> {
        match self {
            Self::Text => None,
            Self::AtLeast(wish) => Some(wish),
        }
    }
}

/// The words say something else.
#[derive(Debug)]
pub(crate) struct NoFramebuffer;

impl fmt::Display for NoFramebuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", FramebufferChoice::EXPECTED)
    }
}

impl std::error::Error for NoFramebuffer {}

impl FromStr for FramebufferChoice {
    type Err = NoFramebuffer;

    fn from_str(text: &str) -> Result<Self, NoFramebuffer> {
        if text == "text" {
            return Ok(Self::Text);
        }
        let numbers: Result<Vec<u16>, _> = text.split('x').map(str::parse::<u16>).collect();
        let wish = match numbers.as_deref() {
            Ok(&[width, height]) => FramebufferWish::at_least(width, height),
            Ok(&[width, height, bits @ (24 | 32)]) => FramebufferWish {
                bits_per_pixel: bits.to_le_bytes()[0],
                ..FramebufferWish::at_least(width, height)
            },
            _ => return Err(NoFramebuffer),
        };
        if wish.is_valid() { Ok(Self::AtLeast(wish)) } else { Err(NoFramebuffer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_understood() {
        let wish = |text: &str| text.parse::<FramebufferChoice>().unwrap().wish();
        assert_eq!(wish("text"), None);
        assert_eq!(wish("1024x768"), Some(FramebufferWish::at_least(1024, 768)));
        let with_depth = FramebufferWish { width: 1, height: 16384, bits_per_pixel: 24 };
        assert_eq!(wish("1x16384x24"), Some(with_depth));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in [
            "",
            "none",
            "1024",
            "0x768",
            "1024x0",
            "16385x1",
            "1x65536",
            "800x600x16",
            "800x600x0",
            "1x2x32x4",
            "-1x5",
            "1024X768",
        ] {
            assert!(text.parse::<FramebufferChoice>().is_err(), "{text}");
        }
    }
}
