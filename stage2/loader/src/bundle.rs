//! The bundle: what is booted, in one run of bytes, the same from whatever source it comes.
//!
//! ```text
//!    0  header: magic number, version, length of the bundle, number of pieces
//!   64  the resolved configuration
//!  512  the table of pieces: kind, flags, offset from the bundle's start, length, checksum of each
//! 2040  checksum of all before it
//! 4096  the first piece; each starts on a multiple of 4096
//! ```
//!
//! All numbers are little-endian. No sector number is in it: where the bundle lies on its medium is told by whoever
//! entered stage2 (see [`BootSource`](crate::reader::BootSource)). `xtask image` writes it, stage2 reads it.
//!
//! A piece of a kind that is not known is passed over, unless its flags say that it is required: so later images still
//! boot with this loader, or are refused for a reason.

use crate::checksum::checksum;
use crate::error::{BootError, Result};
use crate::reader::{Place, Reader, read_exactly};
use alloc::boxed::Box;
use boot_info::{AddressWish, FramebufferWish, KernelConfig, Protocol};
use core::fmt;
use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The bytes of the header, with configuration and table.
pub type HeaderBytes = [u8; layout::BUNDLE_HEADER_LEN as usize];

/// A piece of the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Offset in bytes from the bundle's start, a multiple of [`layout::PIECE_ALIGNMENT`].
    pub offset: u64,
    /// Length in bytes, at least one.
    pub len: u64,
    /// [`checksum`] of these bytes.
    pub checksum: u64,
}

impl Piece {
    /// The piece that consists of `bytes`, at `offset`.
    #[must_use]
    pub fn new(offset: u64, bytes: &[u8]) -> Self {
        Self { offset, len: bytes.len() as u64, checksum: checksum(bytes) }
    }
}

/// What a piece is. The numbers never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PieceKind {
    /// The kernel's ELF file.
    Kernel = 1,
    /// The start of the kernel's file, up to the end of its program header table: the same bytes once more, with a
    /// checksum of their own, because they have to be believed before the rest has been read.
    KernelHeaders = 2,
    /// The command line, UTF-8.
    CommandLine = 3,
    /// A file that the kernel gets in memory.
    Ramdisk = 4,
    /// An ELF file with the symbols of the kernel's functions.
    Symbols = 5,
}

impl PieceKind {
    /// All, in the order of their numbers, which begin with 1.
    const ALL: [Self; 5] =
        [Self::Kernel, Self::KernelHeaders, Self::CommandLine, Self::Ramdisk, Self::Symbols];
}

impl fmt::Display for PieceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::KernelHeaders => "kernel's headers",
            Self::CommandLine => "command line",
            Self::Ramdisk => "ramdisk",
            Self::Symbols => "symbols",
        })
    }
}

/// What the header tells: how the kernel is to be started, and where each piece lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Bytes of the whole bundle.
    pub len: u64,
    /// What the kernel asked for.
    pub config: KernelConfig,
    /// The kernel's ELF file.
    pub kernel: Piece,
    /// Its headers.
    pub kernel_headers: Piece,
    /// The command line, if it is not empty.
    pub command_line: Option<Piece>,
    /// The ramdisk, if there is one.
    pub ramdisk: Option<Piece>,
    /// The kernel's symbols, if they were asked for.
    pub symbols: Option<Piece>,
}

/// What a bundle begins with.
pub const MAGIC: [u8; 8] = *b"DOORBNDL";

/// The version that this loader reads; it follows the magic number.
pub const VERSION: u32 = 3;

/// Pieces that the table has room for.
pub const PIECES_MAX: usize = 47;

/// Bytes of the longest command line.
pub const COMMAND_LINE_MAX: usize = 4096;

/// Flags of a piece, bit 0: a loader that does not know its kind must not go on.
const REQUIRED: u32 = 1 << 0;

#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct RawHeader {
    magic: [u8; 8],
    version: U32,
    piece_count: U32,
    len: U64,
    reserved: [u8; 40],
    config: RawConfig,
    pieces: [RawPiece; PIECES_MAX],
    unused: [u8; 24],
    /// Of everything before it.
    checksum: U64,
}

/// The configuration, as far as this version goes; the rest is zero.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct RawConfig {
    stack_len: U64,
    /// Virtual address of the physical-memory window, 0 for the usual one.
    physical_memory_offset: U64,
    /// Virtual address of the stack's lowest byte, 0 for the usual one.
    stack_addr: U64,
    /// Virtual address of the boot info, 0 for the usual one.
    boot_info_addr: U64,
    /// [`KernelConfig::flags`].
    flags: U32,
    /// Number of a [`Protocol`].
    protocol: U32,
    /// [`FramebufferWish::to_number`].
    framebuffer: U64,
    unused: [u8; 400],
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct RawPiece {
    kind: U32,
    flags: U32,
    offset: U64,
    len: U64,
    checksum: U64,
}

const CHECKED_LEN: usize = offset_of!(RawHeader, checksum);

const _: () = {
    assert!(size_of::<RawHeader>() == layout::BUNDLE_HEADER_LEN as usize);
    assert!(offset_of!(RawHeader, config) == 64);
    assert!(offset_of!(RawHeader, pieces) == 512);
    assert!(CHECKED_LEN == 2040);
};

impl Bundle {
    /// Reads the header from its source. `place` tells where that is, for messages.
    ///
    /// # Errors
    /// E11 to E13 and E16 from the source, and what [`Self::parse`] says.
    // A stack frame of its own: stage2 is smaller for it, and gdb shows it by name.
    #[inline(never)]
    pub fn read(reader: &mut impl Reader, place: Place) -> Result<Self> {
        let mut bytes = [0; layout::BUNDLE_HEADER_LEN as usize];
        read_exactly(reader, 0, &mut bytes)?;
        Self::parse(place, &bytes)
    }

    /// Reads the bundle's header, which lies at `place`.
    ///
    /// # Errors
    /// `BundleMissing` without the magic number, `BundleDamaged` when the checksum does not fit, `BundleVersion` for
    /// another version, `BundleField` for a value that no bundle of ours has, `UnknownPiece` for a required piece of a
    /// later loader, `PieceCount` without one kernel.
    pub fn parse(place: Place, bytes: &HeaderBytes) -> Result<Self> {
        let raw: &RawHeader = zerocopy::transmute_ref!(bytes);
        if raw.magic != MAGIC {
            return Err(BootError::BundleMissing { place, found: u64::from_be_bytes(raw.magic) }.into());
        }
        let found = checksum(&bytes[..CHECKED_LEN]);
        if found != raw.checksum.get() {
            return Err(BootError::BundleDamaged { found, expected: raw.checksum.get() }.into());
        }
        if raw.version.get() != VERSION {
            return Err(BootError::BundleVersion { found: raw.version.get(), expected: VERSION }.into());
        }
        let len = raw.len.get();
        let count = raw.piece_count.get();
        let pieces = usize::try_from(count).ok().and_then(|count| raw.pieces.get(..count));
        let Some(pieces) = pieces else {
            return Err(wrong("number of pieces", count.into(), "at most 47"));
        };
        let mut places = [None; PieceKind::ALL.len()];
        for raw in pieces {
            let found = raw.kind.get();
            let known = PieceKind::ALL.into_iter().zip(&mut places).find(|(kind, _)| *kind as u32 == found);
            let Some((what, place)) = known else {
                if raw.flags.get() & REQUIRED != 0 {
                    return Err(BootError::UnknownPiece { found }.into());
                }
                continue;
            };
            if place.replace(raw.parse(len)?).is_some() {
                let found = pieces.iter().filter(|piece| piece.kind == raw.kind).count() as u64;
                return Err(BootError::PieceCount { what, found }.into());
            }
        }
        let [kernel, kernel_headers, command_line, ramdisk, symbols] = places;
        let missing = |what| BootError::PieceCount { what, found: 0 };
        let bundle = Self {
            len,
            config: raw.config.parse()?,
            kernel: kernel.ok_or_else(|| missing(PieceKind::Kernel))?,
            kernel_headers: kernel_headers.ok_or_else(|| missing(PieceKind::KernelHeaders))?,
            command_line,
            ramdisk,
            symbols,
        };
        bundle.check_kernel_headers()?;
        bundle.check_command_line()?;
        Ok(bundle)
    }

    /// The header that [`Self::parse`] reads as this bundle.
    ///
    /// # Errors
    /// What [`Self::parse`] would say, and `CommandLineTooLong`.
    pub fn to_header(&self) -> Result<HeaderBytes> {
        if let Some(Piece { len, .. }) = self.command_line
            && len > COMMAND_LINE_MAX as u64
        {
            return Err(
                BootError::CommandLineTooLong { found: len, expected: COMMAND_LINE_MAX as u64 }.into()
            );
        }
        if self.config.physical_memory_offset == AddressWish::Fixed(0) {
            // In the header it would stand for the usual address.
            return Err(wrong_window(0));
        }
        for (field, wish) in
            [("stack address", self.config.stack_addr), ("boot info address", self.config.boot_info_addr)]
        {
            if wish == AddressWish::Fixed(0) {
                return Err(wrong(field, 0, "a multiple of 4096 above 0"));
            }
        }
        let mut raw = RawHeader {
            magic: MAGIC,
            version: VERSION.into(),
            piece_count: 0.into(),
            len: self.len.into(),
            reserved: [0; 40],
            config: RawConfig::new(&self.config),
            pieces: [RawPiece::NONE; PIECES_MAX],
            unused: [0; 24],
            checksum: 0.into(),
        };
        let mut count = 0;
        let mut put = |kind, piece: &Piece| {
            raw.pieces[count] = RawPiece::new(kind, piece);
            count += 1;
        };
        put(PieceKind::KernelHeaders, &self.kernel_headers);
        if let Some(command_line) = &self.command_line {
            put(PieceKind::CommandLine, command_line);
        }
        put(PieceKind::Kernel, &self.kernel);
        if let Some(ramdisk) = &self.ramdisk {
            put(PieceKind::Ramdisk, ramdisk);
        }
        if let Some(symbols) = &self.symbols {
            put(PieceKind::Symbols, symbols);
        }
        raw.piece_count = U32::new(count.try_into().unwrap_or(u32::MAX));
        let mut bytes = zerocopy::transmute!(raw);
        reseal(&mut bytes);
        Self::parse(Place::at_lba(0), &bytes)?;
        Ok(bytes)
    }

    /// The headers are the start of the kernel, and fit where they are read to.
    // Called, not unfolded: stage2 is smaller for it.
    #[inline(never)]
    fn check_kernel_headers(&self) -> Result<()> {
        let Self { kernel, kernel_headers, .. } = self;
        if kernel_headers.offset != kernel.offset {
            return Err(wrong("offset of the kernel's headers", kernel_headers.offset, "that of the kernel"));
        }
        if kernel_headers.len > kernel.len.min(layout::KERNEL_HEADERS_MAX.into()) {
            return Err(wrong(
                "length of the kernel's headers",
                kernel_headers.len,
                "at most 64 KiB, and no more than the kernel has",
            ));
        }
        Ok(())
    }

    fn check_command_line(&self) -> Result<()> {
        match self.command_line {
            Some(Piece { len, .. }) if len > COMMAND_LINE_MAX as u64 => {
                Err(wrong("command line length", len, "at most 4096 bytes"))
            }
            _ => Ok(()),
        }
    }
}

/// Recomputes the checksum of a header that was changed, for tests that look behind the checksum.
pub fn reseal(bytes: &mut HeaderBytes) {
    let sum = checksum(&bytes[..CHECKED_LEN]);
    bytes[CHECKED_LEN..].copy_from_slice(&sum.to_le_bytes());
}

impl RawPiece {
    const NONE: Self =
        Self { kind: U32::ZERO, flags: U32::ZERO, offset: U64::ZERO, len: U64::ZERO, checksum: U64::ZERO };

    fn new(kind: PieceKind, piece: &Piece) -> Self {
        Self {
            kind: (kind as u32).into(),
            flags: REQUIRED.into(),
            offset: piece.offset.into(),
            len: piece.len.into(),
            checksum: piece.checksum.into(),
        }
    }

    /// The piece, which lies behind the header and in the bundle.
    fn parse(&self, bundle_len: u64) -> Result<Piece> {
        let (offset, len) = (self.offset.get(), self.len.get());
        if offset < layout::BUNDLE_HEADER_LEN.into() || !offset.is_multiple_of(layout::PIECE_ALIGNMENT.into())
        {
            return Err(wrong("offset of a piece", offset, "a multiple of 4096 behind the header"));
        }
        if len == 0 || offset.checked_add(len).is_none_or(|end| end > bundle_len) {
            return Err(wrong("length of a piece", len, "at least 1 byte, and an end inside the bundle"));
        }
        Ok(Piece { offset, len, checksum: self.checksum.get() })
    }
}

fn wrong_window(found: u64) -> Box<BootError> {
    wrong("physical-memory offset", found, "a multiple of 1 GiB, canonical for 4 GiB")
}

/// A value that no bundle of ours has.
// Called, not unfolded, wherever something can be wrong: stage2 is smaller for it.
#[inline(never)]
fn wrong(field: &'static str, found: u64, expected: &'static str) -> Box<BootError> {
    BootError::BundleField { field, found, expected }.into()
}

impl RawConfig {
    fn new(config: &KernelConfig) -> Self {
        Self {
            stack_len: config.stack_len.into(),
            physical_memory_offset: config.physical_memory_offset.to_number().into(),
            stack_addr: config.stack_addr.to_number().into(),
            boot_info_addr: config.boot_info_addr.to_number().into(),
            flags: config.flags().into(),
            protocol: config.protocol.0.into(),
            framebuffer: FramebufferWish::to_number(config.framebuffer).into(),
            unused: [0; 400],
        }
    }

    // Called, not unfolded: stage2 is smaller for it.
    #[inline(never)]
    fn parse(&self) -> Result<KernelConfig> {
        let (page, stack_len) = (u64::from(layout::PAGE_LEN), self.stack_len.get());
        if stack_len == 0 || stack_len > KernelConfig::STACK_LEN_MAX || !stack_len.is_multiple_of(page) {
            return Err(wrong("stack length", stack_len, "whole pages, 4 KiB to 64 MiB"));
        }
        let window = self.physical_memory_offset.get();
        if window != 0 && !crate::plan::is_window_addr(window) {
            return Err(wrong_window(window));
        }
        for (name, addr) in [("stack address", &self.stack_addr), ("boot info address", &self.boot_info_addr)]
        {
            if !addr.get().is_multiple_of(page) {
                return Err(wrong(name, addr.get(), "a multiple of 4096"));
            }
        }
        let protocol = Protocol(self.protocol.get());
        if !Protocol::ALL.contains(&protocol) {
            return Err(wrong("protocol", protocol.0.into(), "one that this loader knows"));
        }
        let framebuffer = FramebufferWish::from_number(self.framebuffer.get());
        if framebuffer.is_some_and(|wish| !wish.is_valid()) {
            return Err(wrong(
                "framebuffer",
                self.framebuffer.get(),
                "sides from 1 to 16384, and 24, 32 or 0 bits",
            ));
        }
        let config = KernelConfig {
            stack_len,
            stack_addr: AddressWish::from_number(self.stack_addr.get()),
            physical_memory_offset: AddressWish::from_number(window),
            boot_info_addr: AddressWish::from_number(self.boot_info_addr.get()),
            protocol,
            framebuffer,
            ..KernelConfig::DEFAULT
        };
        Ok(config.with_flags(self.flags.get()))
    }
}
