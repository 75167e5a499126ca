//! What a kernel asks for.

use boot_info::bootloader_api_0_11::{ConfigField, ConfigNote};

/// What a kernel asks of the loader. Begin with [`Self::new_default`] and change fields.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootloaderConfig {
    /// Where things are to appear in virtual memory, and what is to be mapped at all.
    pub mappings: Mappings,
    /// Bytes of the kernel's stack, at most 64 MiB; rounded up to whole pages. The guard page comes on top.
    pub kernel_stack_size: u64,
    /// Accepted, and of no effect.
    pub frame_buffer: FrameBuffer,
}

impl BootloaderConfig {
    /// 80 KiB of stack, and [`Mappings::new_default`].
    #[must_use]
    pub const fn new_default() -> Self {
        Self {
            mappings: Mappings::new_default(),
            kernel_stack_size: 80 * 1024,
            frame_buffer: FrameBuffer::new_default(),
        }
    }

    /// As it goes into the kernel's file.
    #[doc(hidden)]
    #[must_use]
    pub const fn note(&self) -> ConfigNote {
        use ConfigField as Field;
        let Mappings {
            kernel_stack,
            kernel_base,
            boot_info,
            framebuffer,
            physical_memory,
            page_table_recursive,
            aslr,
            dynamic_range_start,
            dynamic_range_end,
            ramdisk_memory,
        } = self.mappings;
        let FrameBuffer { minimum_framebuffer_height, minimum_framebuffer_width } = self.frame_buffer;
        ConfigNote::EMPTY
            .with(Field::KernelStackSize, Some(self.kernel_stack_size))
            .with(Field::KernelStack, kernel_stack.fixed_addr())
            .with(Field::KernelBase, kernel_base.fixed_addr())
            .with(Field::BootInfo, boot_info.fixed_addr())
            .with(Field::Framebuffer, framebuffer.fixed_addr())
            .with(Field::PhysicalMemory, flag(physical_memory.is_some()))
            .with(Field::PhysicalMemoryAddr, fixed_addr(physical_memory))
            .with(Field::PageTableRecursive, flag(page_table_recursive.is_some()))
            .with(Field::PageTableRecursiveAddr, fixed_addr(page_table_recursive))
            .with(Field::Aslr, flag(aslr))
            .with(Field::DynamicRangeStart, dynamic_range_start)
            .with(Field::DynamicRangeEnd, dynamic_range_end)
            .with(Field::RamdiskMemory, ramdisk_memory.fixed_addr())
            .with(Field::MinimumFramebufferHeight, minimum_framebuffer_height)
            .with(Field::MinimumFramebufferWidth, minimum_framebuffer_width)
    }
}

/// As the note tells what is set: by a value of 1.
const fn flag(is_set: bool) -> Option<u64> {
    if is_set { Some(1) } else { None }
}

/// The address that an optional mapping is to have, if it says.
const fn fixed_addr(mapping: Option<Mapping>) -> Option<u64> {
    match mapping {
        Some(mapping) => mapping.fixed_addr(),
        None => None,
    }
}

impl Default for BootloaderConfig {
    fn default() -> Self {
        Self::new_default()
    }
}

/// Where things are to appear in virtual memory. An address that cannot be had is refused when the image is built.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mappings {
    /// The stack. A fixed address is that of the guard page, a multiple of 4096; the stack begins one page above it.
    pub kernel_stack: Mapping,
    /// A position-independent kernel. A fixed address is refused: link the kernel to it.
    pub kernel_base: Mapping,
    /// What Doorstep hands over, a multiple of 4096. The [`BootInfo`](crate::BootInfo) made of it lies in the kernel itself.
    pub boot_info: Mapping,
    /// A fixed address is refused where there is a framebuffer.
    pub framebuffer: Mapping,
    /// All of physical memory, and at least its first 4 GiB. A fixed address is a multiple of 1 GiB. With `None`, the kernel
    /// is not told where it is mapped.
    pub physical_memory: Option<Mapping>,
    /// An entry of the PML4 that leads to the PML4. A fixed address is refused: the loader chooses the entry.
    pub page_table_recursive: Option<Mapping>,
    /// A position-independent kernel is put at a random address at each boot. The rest stays where it is.
    pub aslr: bool,
    /// The lowest address for what has no fixed one. Refused if the loader's choice, in the higher half, lies below.
    pub dynamic_range_start: Option<u64>,
    /// The last address for what has no fixed one. Refused if the loader's choice, in the higher half, lies above.
    pub dynamic_range_end: Option<u64>,
    /// Of no effect without a ramdisk.
    pub ramdisk_memory: Mapping,
}

impl Mappings {
    /// Everything where the loader puts it. The kernel is told of no mapping of physical memory, and of no recursive entry.
    #[must_use]
    pub const fn new_default() -> Self {
        Self {
            kernel_stack: Mapping::new_default(),
            kernel_base: Mapping::new_default(),
            boot_info: Mapping::new_default(),
            framebuffer: Mapping::new_default(),
            physical_memory: None,
            page_table_recursive: None,
            aslr: false,
            dynamic_range_start: None,
            dynamic_range_end: None,
            ramdisk_memory: Mapping::new_default(),
        }
    }
}

/// Where something is to appear in virtual memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mapping {
    /// Where the loader puts it.
    #[default]
    Dynamic,
    /// At this address or not at all.
    FixedAddress(u64),
}

impl Mapping {
    /// [`Self::Dynamic`].
    #[must_use]
    pub const fn new_default() -> Self {
        Self::Dynamic
    }

    const fn fixed_addr(self) -> Option<u64> {
        match self {
            Self::Dynamic => None,
            Self::FixedAddress(addr) => Some(addr),
        }
    }
}

/// How large a framebuffer is to be at least: 640x480 where nothing is said.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameBuffer {
    /// Rows of pixels, at least.
    pub minimum_framebuffer_height: Option<u64>,
    /// Pixels in a row, at least.
    pub minimum_framebuffer_width: Option<u64>,
}

impl FrameBuffer {
    /// Any size will do.
    #[must_use]
    pub const fn new_default() -> Self {
        Self { minimum_framebuffer_height: None, minimum_framebuffer_width: None }
    }
}

/// A version of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiVersion {
    major: u16,
    minor: u16,
    patch: u16,
    is_pre_release: bool,
}

impl ApiVersion {
    pub(crate) const fn new_default() -> Self {
        Self {
            major: number(env!("CARGO_PKG_VERSION_MAJOR")),
            minor: number(env!("CARGO_PKG_VERSION_MINOR")),
            patch: number(env!("CARGO_PKG_VERSION_PATCH")),
            is_pre_release: !env!("CARGO_PKG_VERSION_PRE").is_empty(),
        }
    }

    /// 0.
    #[must_use]
    pub fn version_major(&self) -> u16 {
        self.major
    }

    /// 11.
    #[must_use]
    pub fn version_minor(&self) -> u16 {
        self.minor
    }

    /// The version after the second point.
    #[must_use]
    pub fn version_patch(&self) -> u16 {
        self.patch
    }

    /// Whether it comes before the version of these numbers.
    #[must_use]
    pub fn pre_release(&self) -> bool {
        self.is_pre_release
    }
}

impl Default for ApiVersion {
    fn default() -> Self {
        Self::new_default()
    }
}

const fn number(digits: &str) -> u16 {
    match u16::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("cargo gives numbers"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_asks_for_a_stack_of_80_kib_and_nothing_else() {
        const NOTE: ConfigNote = BootloaderConfig::new_default().note();
        assert_eq!(NOTE, ConfigNote::EMPTY.with(ConfigField::KernelStackSize, Some(81920)));
        assert_eq!(BootloaderConfig::default(), BootloaderConfig::new_default());
        assert_eq!(Mappings::default(), Mappings::new_default());
    }

    #[test]
    fn each_field_is_told() {
        use ConfigField as Field;
        const CONFIG: BootloaderConfig = {
            let mut config = BootloaderConfig::new_default();
            config.kernel_stack_size = 1;
            config.mappings.kernel_stack = Mapping::FixedAddress(2);
            config.mappings.kernel_base = Mapping::FixedAddress(3);
            config.mappings.boot_info = Mapping::FixedAddress(4);
            config.mappings.framebuffer = Mapping::FixedAddress(5);
            config.mappings.physical_memory = Some(Mapping::FixedAddress(0));
            config.mappings.page_table_recursive = Some(Mapping::Dynamic);
            config.mappings.aslr = true;
            config.mappings.dynamic_range_start = Some(6);
            config.mappings.dynamic_range_end = Some(7);
            config.mappings.ramdisk_memory = Mapping::FixedAddress(8);
            config.frame_buffer.minimum_framebuffer_height = Some(9);
            config.frame_buffer.minimum_framebuffer_width = Some(10);
            config
        };
        let note = CONFIG.note();
        for (field, expected) in [
            (Field::KernelStackSize, Some(1)),
            (Field::KernelStack, Some(2)),
            (Field::KernelBase, Some(3)),
            (Field::BootInfo, Some(4)),
            (Field::Framebuffer, Some(5)),
            (Field::PhysicalMemory, Some(1)),
            (Field::PhysicalMemoryAddr, Some(0)),
            (Field::PageTableRecursive, Some(1)),
            (Field::PageTableRecursiveAddr, None),
            (Field::Aslr, Some(1)),
            (Field::DynamicRangeStart, Some(6)),
            (Field::DynamicRangeEnd, Some(7)),
            (Field::RamdiskMemory, Some(8)),
            (Field::MinimumFramebufferHeight, Some(9)),
            (Field::MinimumFramebufferWidth, Some(10)),
        ] {
            assert_eq!(note.value(field), expected, "{field:?}");
        }
    }

    #[test]
    fn the_version_is_one_of_0_11() {
        let version = ApiVersion::default();
        assert_eq!((version.version_major(), version.version_minor()), (0, 11));
        assert!(version.version_patch() >= 17 && !version.pre_release());
    }
}
