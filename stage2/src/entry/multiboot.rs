//! The way in from a Multiboot loader, such as GRUB or QEMU's `-kernel`, of either version: it has put stage2's ELF file to 1 MiB
//! and up, and the bundle, as the one module, wherever there was room.
//!
//! Entered in 32-bit protected mode (multiboot.s). What the loader tells may lie anywhere, also where the loader's own memory
//! is now: that was moved away, and is read from its copy. The BIOS is as it was: Multiboot loaders of BIOS machines use it, and
//! leave vectors, interrupt controllers and timers alone. Where a loader says that there is none, it is not called.
//!
//! Sources: Multiboot Specification 0.6.96, Multiboot2 Specification 2.0, each section 3.

use crate::protected_mode::{CODE32, GDT_POINTER};
use crate::tables::{self, Tables};
use crate::{physical_memory, serial};
use core::arch::{asm, global_asm};
use core::fmt;
use loader::BootError;
use loader::multiboot::{self, Memory, Refusal};
use x86_64::registers::control::Cr0Flags;

global_asm!(
    include_str!(concat!(env!("OUT_DIR"), "/entry/multiboot.s")),
    magic1 = const 0x1bad_b002u32,
    flags1 = const ALIGN_MODULES | MEMORY_MAP,
    magic2 = const 0xe852_50d6u32,
    tag_align_modules = const 6,
    saved_from = const layout::STACK_BOTTOM,
    saved_to = const layout::SAVED_ADDR,
    saved_len = const layout::SAVED_LEN,
    program = const layout::PROGRAM_ADDR,
    stage2 = const layout::STAGE2_ADDR,
    cache_off = const Cr0Flags::CACHE_DISABLE.union(Cr0Flags::NOT_WRITE_THROUGH).bits(),
    gdt_pointer = sym GDT_POINTER,
    code32 = const CODE32,
    enter = sym enter,
);

/// Flags of a header of version 1.
const ALIGN_MODULES: u32 = 1 << 0;
const MEMORY_MAP: u32 = 1 << 1;

/// The loader's registers.
#[repr(C)]
struct Told {
    magic: u32,
    info_addr: u32,
}

/// The first Rust function, in 32-bit protected mode.
extern "C" fn enter(told: &Told) -> ! {
    let tables = tables::take();
    let Tables { reports, command_line, .. } = &mut *tables;
    let source = multiboot::read(&AsItWas, told.magic, told.info_addr, reports, command_line);
    tables::give_back(tables);
    match &source {
        Err(error) if matches!(**error, BootError::OtherLoader(Refusal::Uefi { .. })) => {
            stop_without_bios(error)
        }
        _ => crate::stage2_main(source),
    }
}

/// Says why the boot ended where there may be no screen and no keyboard to be reached through the BIOS.
fn stop_without_bios(error: &BootError) -> ! {
    serial::init();
    // A Display that fails would only cut the line short.
    let _ = fmt::Write::write_fmt(&mut SerialLine, format_args!("boot error {error}\n"));
    serial::flush();
    loop {
        // SAFETY: interrupts are off, and nothing is left to do.
        unsafe { asm!("hlt") }
    }
}

struct SerialLine;

impl fmt::Write for SerialLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        serial::write(text);
        Ok(())
    }

    /// Without UTF-8, of which the main part of stage2 would have to know more.
    fn write_char(&mut self, character: char) -> fmt::Result {
        serial::send(u8::try_from(character).unwrap_or(b'?'));
        Ok(())
    }
}

/// Memory as the loader left it.
struct AsItWas;

impl Memory for AsItWas {
    fn byte(&self, addr: u32) -> u8 {
        let was_moved = (layout::STACK_BOTTOM..layout::LOADER_END).contains(&addr);
        let moved_by = if was_moved { layout::SAVED_ADDR - layout::STACK_BOTTOM } else { 0 };
        let pointer = physical_memory::pointer::<u8>((addr + moved_by).into());
        // SAFETY: paging is off, so that every address can be read; no Rust object lies there.
        unsafe { pointer.read_volatile() }
    }
}
