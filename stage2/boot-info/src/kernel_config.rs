//! What a kernel asks of the loader.

/// What a kernel asks for: how large a stack, and where physical memory shall appear.
///
/// `xtask image` writes the resolved configuration into the image's bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelConfig {
    /// Bytes of stack, a multiple of 4096. The page below the stack is never mapped.
    pub stack_len: u64,
    /// Virtual address at which physical address 0 appears: canonical, a multiple of 1 GiB.
    pub physical_memory_offset: AddressWish,
}

impl KernelConfig {
    /// 128 KiB of stack, physical memory wherever the loader puts it.
    pub const DEFAULT: Self = Self { stack_len: 128 * 1024, physical_memory_offset: AddressWish::Default };
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
    /// At this address or not at all.
    Fixed(u64),
}
