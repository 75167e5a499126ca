//! What a kernel asks of the loader.

use crate::Protocol;

/// What a kernel asks for: how large a stack, where things shall appear, and what it allows.
///
/// `xtask image` writes the resolved configuration into the image's bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelConfig {
    /// Bytes of stack, a multiple of 4096. The page below the stack is never mapped.
    pub stack_len: u64,
    /// Virtual address of the lowest byte of the stack: canonical, a multiple of 4096.
    pub stack_addr: AddressWish,
    /// Virtual address at which physical address 0 appears: canonical, a multiple of 1 GiB.
    pub physical_memory_offset: AddressWish,
    /// Virtual address of the boot info: canonical, a multiple of 4096.
    pub boot_info_addr: AddressWish,
    /// Which structures the kernel is handed.
    pub protocol: Protocol,
    /// Segments may be writable and executable at the same time.
    pub allow_write_execute: bool,
    /// A position-independent kernel is put at a random address.
    pub randomize_address: bool,
    /// An entry of the PML4 leads to the PML4 itself.
    pub recursive_page_table: bool,
    /// The screen is left as the BIOS and the loader filled it.
    pub keep_screen: bool,
    /// The screen shows 320 times 200 pixels of a byte each, at physical address A0000h (VGA mode 13h), and no text.
    pub vga_320x200: bool,
}

impl KernelConfig {
    /// 128 KiB of stack, everything where the loader puts it, nothing unusual allowed.
    pub const DEFAULT: Self = Self {
        stack_len: 128 * 1024,
        stack_addr: AddressWish::Default,
        physical_memory_offset: AddressWish::Default,
        boot_info_addr: AddressWish::Default,
        protocol: Protocol::DOORSTEP,
        allow_write_execute: false,
        randomize_address: false,
        recursive_page_table: false,
        keep_screen: false,
        vga_320x200: false,
    };
}

impl Default for KernelConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Where a kernel wants something in virtual memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressWish {
    /// At the loader's usual address; elsewhere when the kernel lies there.
    Default,
    /// At this address or not at all. Not 0.
    Fixed(u64),
}

impl AddressWish {
    /// The number that stands for it in the bundle: 0 for the usual address.
    #[must_use]
    pub const fn to_number(self) -> u64 {
        match self {
            Self::Default => 0,
            Self::Fixed(addr) => addr,
        }
    }

    /// What such a number stands for.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        match number {
            0 => Self::Default,
            addr => Self::Fixed(addr),
        }
    }
}
