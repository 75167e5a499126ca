//! I/O ports (Intel SDM volume 1, chapter 19). The `x86_64` crate has them for 64-bit code only.

use core::arch::asm;

/// Reads a byte from a port.
///
/// # Safety
/// Reading the port must not break what other code relies on.
pub(crate) unsafe fn read(port: u16) -> u8 {
    let value;
    // SAFETY: the caller vouches for the device behind the port; no memory is touched.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes a byte to a port.
///
/// # Safety
/// Writing the value to the port must not break what other code relies on.
pub(crate) unsafe fn write(port: u16, value: u8) {
    // SAFETY: the caller vouches for the device behind the port; no memory is touched.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}

/// Reads a double word from a port.
///
/// # Safety
/// As for [`read`].
pub(crate) unsafe fn read_u32(port: u16) -> u32 {
    let value;
    // SAFETY: as above.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes a double word to a port.
///
/// # Safety
/// As for [`write()`].
pub(crate) unsafe fn write_u32(port: u16, value: u32) {
    // SAFETY: as above.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack, preserves_flags)) };
}
