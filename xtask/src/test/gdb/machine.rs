//! What gdb's commands show of the machine: registers, descriptor tables, interrupts, memory, in each mode.

use super::terminal::Terminal;
use crate::test::Test;
use crate::test::parts::Scene;
use anyhow::{Context, Result, ensure};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("gdb::memory", memory),
        Test::new("gdb::registers", registers),
        Test::new("gdb::tables_in_each_mode", tables_in_each_mode),
        Test::new("gdb::interrupts", interrupts),
        Test::new("gdb::address_space", address_space),
        Test::new("gdb::address_space_of_much_memory", address_space_of_much_memory),
        Test::new("gdb::recursive_page_tables", recursive_page_tables),
    ]
}

fn memory(scene: &Scene) -> Result<()> {
    let mut session = Terminal::start(scene, &["--cmdline", "from the test"])?;
    session.say("e820", &["stage2 is not in memory"])?;
    session.say("boot-info", &["no boot info yet"])?;
    session.say("pages 0xb8000", &["Paging is off"])?;
    session.say("stage2", &["stage2_entry"])?;
    session.say("e820", &["not been fetched yet"])?;
    session.say("kernel", &["kernel  _start"])?;
    session.say("e820", &["Reported", "639 KiB  usable", "regions", "reserved", "usable"])?;
    session.say(
        "boot-info",
        &["BootInfo at 0xffffff00", "memory_regions", "r-x", "'from the test'", "boot_drive"],
    )?;
    session
        .say("pages 0xb8000", &["PML4  [  0]", "PT ", "is physical 0xb8000", "read, write; supervisor"])?;
    session.say("pages $rip", &["PML4  [511]", "read, execute; supervisor"])?;
    session.say("pages 0", &["not present", "0x0 is not mapped"])?;
    session.say("serial", &["jump to 0xffffffff8"])?;
    session.quit()
}

/// Only what has changed since the stop before is marked, and its bits are named.
fn registers(scene: &Scene) -> Result<()> {
    let mut session = Terminal::start(scene, &[])?;
    let first =
        session.say("regs", &["EDX   00000080\n", "EIP   00007c00\n", "CR0   ", "This is the first stop"])?;
    ensure!(!first.contains('*'), "marked at the first stop: {first}");
    session.say("stepi", &["stage1_start"])?;
    let second =
        session.say("regs", &["EIP   00007c5a*", "since the last stop:", "EIP   0x7c00 -> 0x7c5a"])?;
    ensure!(second.matches('*').count() == 1, "one register has changed, more are marked: {second}");
    session.say("next-switch", &["stage2_entry_set_pe"])?;
    session.say("stepi", &["PROTECTED 16-bit"])?;
    session.say("regs", &["CR0   00000011*  ET PE", "CR0   +PE  (0x10 -> 0x11)"])?;
    session.say("stepi", &["PROTECTED 32-bit"])?;
    session
        .say("regs", &["CS    0008*", "CS    0000 (", " -> 0008 (code 32-bit, base 0x0, limit 0xffffffff"])?;
    session.say("kernel", &["kernel  _start"])?;
    session.say(
        "regs",
        &[
            "RDI   ffffff00",
            "*",
            "R15   0",
            "EFER  00000d00*  NXE LMA LME",
            "EFER  +NXE +LMA +LME  (0x0 -> 0xd00)",
        ],
    )?;
    session.quit()
}

/// Real mode's vectors, stage2's 32-bit gates, which are none in long mode, and the kernel's, with its task state.
fn tables_in_each_mode(scene: &Scene) -> Result<()> {
    let mut session = Terminal::start(scene, &[])?;
    session.say("gdt", &["no GDT"])?;
    session.say(
        "idt",
        &[
            "Interrupt vector table at 0x0, limit 0x3ff: 256 vectors",
            "10      video ",
            "c000:",
            "13      disks ",
        ],
    )?;
    let one = session.say("idt 0x13", &["13      disks ", "f000:", "BIOS"])?;
    ensure!(!one.contains("video"), "more than one vector: {one}");
    session.say("idt 256", &["0x100 is no vector, expected 0 to 0xff"])?;
    session.say("next-switch", &["stage2_entry_set_pe"])?;
    session.say("stepi", &["PROTECTED 16-bit"])?;
    session.say("idt", &["real mode's table, which has no gates"])?;
    session.say("break loader::e820::usable_len", &["Breakpoint 1"])?;
    session.say("continue", &["PROTECTED 32-bit"])?;
    session.say(
        "gdt",
        &["limit 0x2f", "0008  0x00cf9b000000ffff  code 32-bit", "<- CS", "0028  ", "code 64-bit"],
    )?;
    session.say(
        "idt",
        &[
            "32 vectors",
            "0d      general protection ",
            "0008:0000",
            "exception_stubs+104",
            "interrupt gate, DPL 0",
        ],
    )?;
    session.say("kernel", &["kernel  _start"])?;
    session.say("gdt", &["0028  ", "code 64-bit", "<- CS"])?;
    session.say("idt", &["16 vectors", "Nothing is mapped at any of its handlers"])?;
    session.say("break kernel::halt", &["Breakpoint 2"])?;
    session.say("continue", &["kernel::halt"])?;
    session.say(
        "gdt",
        &[
            "code 64-bit",
            "<- CS",
            "TSS, busy, base 0xffffffff8",
            "limit 0x67",
            "<- TR",
            "its upper half",
            "IST1 0xffffffff8",
        ],
    )?;
    session.say(
        "idt",
        &[
            "256 vectors",
            "08      double fault ",
            "kernel::interrupts::with_code::<8",
            ", IST 1",
            "09 ",
            "not present",
            "0e      page fault ",
            "interrupt gate, DPL 0",
            "1f..ff ",
            "not present",
        ],
    )?;
    session.quit()
}

fn interrupts(scene: &Scene) -> Result<()> {
    let mut session = Terminal::start(scene, &[])?;
    session.say(
        "irq",
        &[
            "IF 1: the CPU takes interrupts\n",
            "vectors begin at 08h and 70h\n",
            "IRQ  0  vector 08h  timer (PIT)      open",
            "f000:",
            "BIOS",
            "IRQ  3  vector 0bh  COM2             masked\n",
            "IRQ 15",
            "local APIC: enabled",
            "LINT0    lets the 8259s through",
            "I/O APIC: 0 of 24 pins open",
        ],
    )?;
    session.say("break kernel::halt", &["Breakpoint 1"])?;
    session.say("continue", &["kernel::halt"])?;
    session.say(
        "irq",
        &[
            "IF 0: the CPU takes no interrupts but NMIs",
            "where the CPU's exceptions are",
            "timer (PIT)      open, pending",
            "kernel::interrupts::with_code::<8",
            "IRQ 0 waits until IF is 1",
        ],
    )?;
    session.quit()
}

/// Every range once, with its rights, and what lies there.
fn address_space(scene: &Scene) -> Result<()> {
    let mut session = Terminal::start(scene, &[])?;
    session.say("pages", &["Paging is off"])?;
    session.say("kernel", &["kernel  _start"])?;
    let told = session.say(
        "pages",
        &[
            "map this:",
            "0x0000000000001000..",
            "r-x supervisor",
            "GDT",
            "0xffff800000000000..",
            "window to physical memory",
            "0xffffff00",
            "stack, SP",
            "boot info",
            "r-- ",
            "kernel",
            "r-x ",
            "kernel, IP",
            "rw- ",
            "kernel",
        ],
    )?;
    let writable = told.lines().find(|line| line.contains("rwx"));
    ensure!(writable.is_none(), "writable and executable: {writable:?}");
    let ends: Vec<_> =
        told.lines().filter_map(|line| line.trim_start().split_once("  ")?.0.split_once("..")).collect();
    ensure!(ends.len() > 10, "{told}");
    ensure!(ends.is_sorted() && ends.iter().all(|(start, end)| start < end), "not in order: {ends:?}");
    session.quit()
}

/// A window to 6 GiB in pages of 2 MiB is a few lines, at once.
fn address_space_of_much_memory(scene: &Scene) -> Result<()> {
    let mut session = Terminal::start(scene, &["--memory", "6G", "--cpu", "qemu64"])?;
    session.say("kernel", &["kernel  _start"])?;
    let told = session.say(
        "pages",
        &["0xffff800100000000..0xffff8001c0000000", "3 GiB", "1536 of 2 MiB", "at 0x100000000"],
    )?;
    ensure!(told.lines().count() < 40, "{told}");
    session.quit()
}

/// Tables that map themselves are told, and not gone into.
fn recursive_page_tables(scene: &Scene) -> Result<()> {
    let kernel = scene.parts.kernels_of_0_9.join("recursive-kernel");
    let kernel = kernel.to_str().context("a path that is not UTF-8")?;
    let mut session = Terminal::start(scene, &["--kernel", kernel])?;
    session.say("kernel", &["kernel  _start"])?;
    session.say("pages", &["kernel, IP", "SP", "0xffffff8000000000  the page tables themselves"])?;
    session.quit()
}
