//! What differs from one system to another, in one place: requests to end, programs that end with us, sockets, files,
//! the terminal. `platform/unix.rs` and `platform/windows.rs` have the same names in them. Other files ask which system
//! this is only to tell what a person types there, and what there is not; `flash` is for Linux alone.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::*;
#[cfg(windows)]
pub(crate) use windows::*;

/// How QEMU waits for gdb, and how gdb finds it.
pub(crate) struct Stub {
    /// QEMU's options.
    pub(crate) arguments: Vec<String>,
    /// What gdb's `target remote` takes.
    pub(crate) target: String,
}
