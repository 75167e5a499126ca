//! The table of what the loader handed over, made to fit on one screen.

use crate::console::{self, Console};
use crate::format::{Flags, Milliseconds, Size};
use crate::memory;
use crate::time::Frequency;
use crate::vga::Color;
use boot_info::{BootInfo, Framebuffer, MemoryRegion, MemoryRegionKind};
use core::fmt::{self, Write};
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags, Efer, EferFlags};

/// Prints the table. `entered` is the time stamp counter as the kernel found it.
pub fn print(boot_info: &BootInfo, entered: u64) {
    let mut console = console::lock();
    // The console never fails.
    let _ = write_table(&mut console, boot_info, entered);
}

fn write_table(console: &mut Console, boot_info: &BootInfo, entered: u64) -> fmt::Result {
    console.set_color(Color::LightGray, Color::Black);
    write_memory(console, boot_info.memory_regions())?;
    write_kernel(console, boot_info)?;
    write_cpu_mode(console)?;
    write_bios(console, boot_info)?;
    write_screen(console, boot_info)?;
    write_boot(console, boot_info)?;
    write_times(console, boot_info, entered)
}

/// Start, size and kind of each region, in two columns, of which the left is read first.
fn write_memory(console: &mut Console, regions: &[MemoryRegion]) -> fmt::Result {
    writeln!(console)?;
    write_label(console, "Memory")?;
    writeln!(console, "{} usable", Size(memory::usable_len(regions)))?;

    let (left, right) = regions.split_at(regions.len().div_ceil(2));
    for (row, region) in left.iter().enumerate() {
        write!(console, "  ")?;
        write_region(console, region)?;
        if let Some(region) = right.get(row) {
            write_region(console, region)?;
        }
        writeln!(console)?;
    }
    Ok(())
}

fn write_region(console: &mut Console, region: &MemoryRegion) -> fmt::Result {
    let color = match region.kind {
        MemoryRegionKind::USABLE => Color::LightGreen,
        MemoryRegionKind::KERNEL | MemoryRegionKind::BOOTLOADER => Color::Yellow,
        _ => Color::LightGray,
    };
    console.set_color(color, Color::Black);
    write!(console, "{:010x} {:>11} {:<16}", region.start_addr, Size(region.len()), region.kind)?;
    console.set_color(Color::LightGray, Color::Black);
    Ok(())
}

/// Where the segments lie in virtual and in physical memory, and the stack.
fn write_kernel(console: &mut Console, boot_info: &BootInfo) -> fmt::Result {
    writeln!(console)?;
    for (index, segment) in boot_info.kernel_segments().iter().enumerate() {
        write_label(console, if index == 0 { "Kernel" } else { "" })?;
        let (virtual_addr, physical_addr) = (segment.virtual_addr, segment.physical_addr);
        writeln!(
            console,
            "{virtual_addr:016x} at {physical_addr:010x} {:>11} {}",
            Size(segment.len),
            segment.rights
        )?;
    }
    let stack = boot_info.stack();
    write_label(console, "Stack")?;
    writeln!(console, "{:016x} {:>25} rw-", stack.bottom_addr, Size(stack.top_addr - stack.bottom_addr))
}

/// The control registers' bits, by their names in the Intel SDM, volume 3, section 2.5.
fn write_cpu_mode(console: &mut Console) -> fmt::Result {
    let cr0 = Flags { bits: Cr0::read_raw(), names: CR0_NAMES };
    let cr4 = Flags { bits: Cr4::read_raw(), names: CR4_NAMES };
    let efer = Flags { bits: Efer::read_raw(), names: EFER_NAMES };

    writeln!(console)?;
    write_label(console, "Mode")?;
    writeln!(console, "CR0 {cr0}, CR4 {cr4}, EFER {efer}")
}

/// What the BIOS has told: date and time, and where the tables of ACPI and SMBIOS begin.
fn write_bios(console: &mut Console, boot_info: &BootInfo) -> fmt::Result {
    write_label(console, "BIOS")?;
    match boot_info.wall_clock() {
        Some(clock) => write!(console, "{clock}")?,
        None => write!(console, "no clock")?,
    }
    for (name, addr) in [("RSDP", boot_info.rsdp_addr()), ("SMBIOS", boot_info.smbios_addr())] {
        match addr {
            Some(addr) => write!(console, ", {name} at {addr:#x}")?,
            None => write!(console, ", no {name}")?,
        }
    }
    writeln!(console)
}

/// The framebuffer, if there is one: text mode shows itself.
fn write_screen(console: &mut Console, boot_info: &BootInfo) -> fmt::Result {
    let Some(framebuffer) = boot_info.framebuffer() else { return Ok(()) };
    let Framebuffer { addr, physical_addr, width, height, bits_per_pixel, .. } = framebuffer;
    write_label(console, "Screen")?;
    writeln!(console, "{width}x{height}, {bits_per_pixel} bits a pixel, {addr:016x} at {physical_addr:010x}")
}

fn write_boot(console: &mut Console, boot_info: &BootInfo) -> fmt::Result {
    write_label(console, "Boot")?;
    write!(console, "drive {:02X}h", boot_info.boot_drive())?;
    if let Some(ramdisk) = boot_info.ramdisk() {
        write!(console, ", ramdisk {}", Size(ramdisk.len() as u64))?;
    }
    match boot_info.command_line() {
        "" => writeln!(console),
        command_line => writeln!(console, ", command line \"{command_line}\""),
    }
}

/// When the boot passed its milestones, counted from the first one.
fn write_times(console: &mut Console, boot_info: &BootInfo, entered: u64) -> fmt::Result {
    write_label(console, "Time")?;
    let Some(frequency) = Frequency::measure() else {
        return writeln!(console, "unknown: there is no timer to measure the time stamp counter with");
    };
    let Some(first) = boot_info.milestones().first() else {
        return writeln!(console, "unknown: the loader passed no milestone");
    };
    let since_first = |ticks: u64| Milliseconds(frequency.duration(ticks.saturating_sub(first.ticks)));
    for (index, milestone) in boot_info.milestones().iter().enumerate() {
        let separator = if index % 3 == 2 { ",\n        " } else { ", " };
        write!(console, "{} {}{separator}", milestone.id, since_first(milestone.ticks))?;
    }
    writeln!(console, "kernel {}", since_first(entered))
}

/// Starts a line. Text and label of one line are told apart by colour.
fn write_label(console: &mut Console, text: &str) -> fmt::Result {
    console.set_color(Color::LightCyan, Color::Black);
    write!(console, "{text:<8}")?;
    console.set_color(Color::LightGray, Color::Black);
    Ok(())
}

const CR0_NAMES: &[(u64, &str)] = &[
    (Cr0Flags::PROTECTED_MODE_ENABLE.bits(), "PE"),
    (Cr0Flags::MONITOR_COPROCESSOR.bits(), "MP"),
    (Cr0Flags::EMULATE_COPROCESSOR.bits(), "EM"),
    (Cr0Flags::TASK_SWITCHED.bits(), "TS"),
    (Cr0Flags::EXTENSION_TYPE.bits(), "ET"),
    (Cr0Flags::NUMERIC_ERROR.bits(), "NE"),
    (Cr0Flags::WRITE_PROTECT.bits(), "WP"),
    (Cr0Flags::ALIGNMENT_MASK.bits(), "AM"),
    (Cr0Flags::NOT_WRITE_THROUGH.bits(), "NW"),
    (Cr0Flags::CACHE_DISABLE.bits(), "CD"),
    (Cr0Flags::PAGING.bits(), "PG"),
];

const CR4_NAMES: &[(u64, &str)] = &[
    (Cr4Flags::DEBUGGING_EXTENSIONS.bits(), "DE"),
    (Cr4Flags::PAGE_SIZE_EXTENSION.bits(), "PSE"),
    (Cr4Flags::PHYSICAL_ADDRESS_EXTENSION.bits(), "PAE"),
    (Cr4Flags::MACHINE_CHECK_EXCEPTION.bits(), "MCE"),
    (Cr4Flags::PAGE_GLOBAL.bits(), "PGE"),
    (Cr4Flags::OSFXSR.bits(), "OSFXSR"),
    (Cr4Flags::OSXMMEXCPT_ENABLE.bits(), "OSXMMEXCPT"),
    (Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION.bits(), "UMIP"),
    (Cr4Flags::L5_PAGING.bits(), "LA57"),
    (Cr4Flags::FSGSBASE.bits(), "FSGSBASE"),
    (Cr4Flags::PCID.bits(), "PCIDE"),
    (Cr4Flags::OSXSAVE.bits(), "OSXSAVE"),
    (Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION.bits(), "SMEP"),
    (Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION.bits(), "SMAP"),
];

const EFER_NAMES: &[(u64, &str)] = &[
    (EferFlags::SYSTEM_CALL_EXTENSIONS.bits(), "SCE"),
    (EferFlags::LONG_MODE_ENABLE.bits(), "LME"),
    (EferFlags::LONG_MODE_ACTIVE.bits(), "LMA"),
    (EferFlags::NO_EXECUTE_ENABLE.bits(), "NXE"),
];
