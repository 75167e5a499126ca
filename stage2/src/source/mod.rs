//! The readers: each reads the bundle from one kind of source.

pub(crate) mod bios_drive;
