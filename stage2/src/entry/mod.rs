//! The ways into stage2. Each knows what its loader left behind, fills in a boot source, and goes on in
//! [`stage2_main`](crate::stage2_main), in 32-bit protected mode on the loader's stack.

mod boot_sector;
mod multiboot;
mod pxe;
