//! What kind of file an image is written as. Each kind is a variant here, with a writer of its own.

use super::{DiskImage, write_atomically};
use anyhow::Result;
use clap::ValueEnum;
use std::path::Path;

/// A kind of file that an image is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The disk's sectors and nothing else: for sticks and disks, and all that run virtual machines
    #[default]
    Raw,
}

impl Format {
    /// How such a file's name ends, without the dot.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Raw => "img",
        }
    }

    /// What the end of a file's name says; nothing, when it belongs to none.
    pub(super) fn of_path(path: &Path) -> Option<Self> {
        let extension = path.extension()?;
        let is_its_own = |format: &&Self| extension.eq_ignore_ascii_case(format.extension());
        Self::value_variants().iter().find(is_its_own).copied()
    }

    /// Writes an image to a file that appears whole or not at all.
    pub(super) fn write(self, image: &DiskImage, path: &Path) -> Result<()> {
        match self {
            Self::Raw => write_atomically(path, image.bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_name_tells_the_format() {
        for format in Format::value_variants() {
            let name = format!("a.b.{}", format.extension());
            assert_eq!(Format::of_path(name.as_ref()), Some(*format), "{name}");
            assert_eq!(Format::of_path(name.to_uppercase().as_ref()), Some(*format), "{name}");
        }
        for name in ["img", "a", "a.", "a.elf", "a.img.gz", ""] {
            assert_eq!(Format::of_path(name.as_ref()), None, "{name}");
        }
    }
}
