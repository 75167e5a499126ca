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
    /// Physical memory appears at that offset. Otherwise nothing of it does, and the offset is to be left as it is: the kernel
    /// starts with its segments, its stack, the boot info and what comes with it (ramdisk, symbols, framebuffer). It reaches
    /// the loader's page tables if it asks for a [`Self::recursive_page_table`]; or it makes its own, for it is told where its
    /// segments lie in physical memory.
    pub map_physical_memory: bool,
    /// The first MiB appears at its own addresses, but for page 0. Otherwise nothing is there but the page that the loader
    /// enters long mode on, with the GDT, and the kernel's own segments, if any: the text screen is seen through
    /// [`Self::physical_memory_offset`] alone. Stack and boot info are not put there either way.
    pub map_first_mib: bool,
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
    /// An IDE disk is read by its controller's bus master, where it has one: far faster than by the BIOS.
    pub disk_dma: bool,
    /// The screen is left as the BIOS and the loader filled it.
    pub keep_screen: bool,
    /// The screen shows pixels in place of text, where the video BIOS has a mode for that.
    pub framebuffer: Option<FramebufferWish>,
    /// The screen shows 320 times 200 pixels of a byte each, at physical address A0000h (VGA mode 13h), and no text.
    pub vga_320x200: bool,
}

impl KernelConfig {
    /// Largest stack that a kernel may ask for: one that leaves a small machine its memory.
    pub const STACK_LEN_MAX: u64 = 64 << 20;

    /// 128 KiB of stack, everything where the loader puts it, nothing unusual allowed.
    pub const DEFAULT: Self = Self {
        stack_len: 128 * 1024,
        stack_addr: AddressWish::Default,
        physical_memory_offset: AddressWish::Default,
        map_physical_memory: true,
        map_first_mib: true,
        boot_info_addr: AddressWish::Default,
        protocol: Protocol::DOORSTEP,
        allow_write_execute: false,
        randomize_address: false,
        recursive_page_table: false,
        disk_dma: true,
        keep_screen: false,
        framebuffer: None,
        vga_320x200: false,
    };
}

/// What is allowed or wished for, as bits of a number. They never change their meaning.
impl KernelConfig {
    const ALLOW_WRITE_EXECUTE: u32 = 1 << 0;
    const RANDOMIZE_ADDRESS: u32 = 1 << 1;
    const KEEP_SCREEN: u32 = 1 << 2;
    const RECURSIVE_PAGE_TABLE: u32 = 1 << 3;
    const VGA_320X200: u32 = 1 << 4;
    const NO_PHYSICAL_MEMORY: u32 = 1 << 5;
    const NO_FIRST_MIB: u32 = 1 << 6;
    const NO_DISK_DMA: u32 = 1 << 7;
    /// Those that stand for what is not wished for.
    const NEGATIVE: u32 = Self::NO_PHYSICAL_MEMORY | Self::NO_FIRST_MIB | Self::NO_DISK_DMA;

    /// The bits for what is allowed or wished for.
    #[must_use]
    pub const fn flags(&self) -> u32 {
        const fn flag(is_set: bool, flag: u32) -> u32 {
            if is_set { flag } else { 0 }
        }
        flag(self.allow_write_execute, Self::ALLOW_WRITE_EXECUTE)
            | flag(self.randomize_address, Self::RANDOMIZE_ADDRESS)
            | flag(self.keep_screen, Self::KEEP_SCREEN)
            | flag(self.recursive_page_table, Self::RECURSIVE_PAGE_TABLE)
            | flag(self.vga_320x200, Self::VGA_320X200)
            | flag(!self.map_physical_memory, Self::NO_PHYSICAL_MEMORY)
            | flag(!self.map_first_mib, Self::NO_FIRST_MIB)
            | flag(!self.disk_dma, Self::NO_DISK_DMA)
    }

    /// The same configuration with these bits in place of its own. Bits that are not known mean nothing.
    #[must_use]
    pub const fn with_flags(self, flags: u32) -> Self {
        // All are read alike: stage2 is smaller for it.
        let flags = flags ^ Self::NEGATIVE;
        Self {
            allow_write_execute: flags & Self::ALLOW_WRITE_EXECUTE != 0,
            randomize_address: flags & Self::RANDOMIZE_ADDRESS != 0,
            keep_screen: flags & Self::KEEP_SCREEN != 0,
            recursive_page_table: flags & Self::RECURSIVE_PAGE_TABLE != 0,
            vga_320x200: flags & Self::VGA_320X200 != 0,
            map_physical_memory: flags & Self::NO_PHYSICAL_MEMORY != 0,
            map_first_mib: flags & Self::NO_FIRST_MIB != 0,
            disk_dma: flags & Self::NO_DISK_DMA != 0,
            ..self
        }
    }
}

/// What kind of framebuffer a kernel wants: the display's preferred resolution if that is large enough, else the smallest one
/// that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramebufferWish {
    /// Pixels in a row at least, not 0.
    pub width: u16,
    /// Rows at least, not 0.
    pub height: u16,
    /// Bits of a pixel: 24 or 32, or 0 for either of them.
    pub bits_per_pixel: u8,
}

impl FramebufferWish {
    /// Longest side that can be asked for.
    pub const SIDE_MAX: u16 = 16384;

    /// At least so many pixels, of 24 or 32 bits.
    #[must_use]
    pub const fn at_least(width: u16, height: u16) -> Self {
        Self { width, height, bits_per_pixel: 0 }
    }

    /// Whether there can be such a framebuffer.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        let Self { width, height, bits_per_pixel } = self;
        width > 0
            && width <= Self::SIDE_MAX
            && height > 0
            && height <= Self::SIDE_MAX
            && matches!(bits_per_pixel, 0 | 24 | 32)
    }

    /// The number that stands for it in the bundle and in notes: width, height and bits, from the lowest bits up; 0 for none.
    #[must_use]
    pub const fn to_number(wish: Option<Self>) -> u64 {
        match wish {
            None => 0,
            Some(Self { width, height, bits_per_pixel }) => {
                width as u64 | (height as u64) << 16 | (bits_per_pixel as u64) << 32
            }
        }
    }

    /// What such a number stands for. Its upper 24 bits mean nothing.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        let [width_low, width_high, height_low, height_high, bits_per_pixel, ..] = number.to_le_bytes();
        let width = u16::from_le_bytes([width_low, width_high]);
        let height = u16::from_le_bytes([height_low, height_high]);
        if number << 24 == 0 { None } else { Some(Self { width, height, bits_per_pixel }) }
    }
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
