//! Assembly with its source: a line at every step through it, and the same machine code as without.

use super::{Terminal, in_order};
use crate::bare_metal::{Builder, StageFiles};
use crate::test::Test;
use crate::test::parts::Scene;
use crate::toolchain::Toolchain;
use anyhow::{Context, Result, ensure};
use elf::ElfBytes;
use elf::abi::PT_LOAD;
use elf::endian::LittleEndian;
use std::fs;
use xshell::Shell;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("gdb::source_of_assembly", source_of_assembly),
        Test::new("gdb::source_of_assembly_by_name", source_of_assembly_by_name),
        Test::new("gdb::callers_in_16_bit_mode", callers_in_16_bit_mode),
        Test::new("gdb::machine_code_is_as_without_lines", machine_code_is_as_without_lines),
    ]
}

/// From the boot sector's entry to the kernel's by `next`, but for loops: each stop is at a line of the file that it should
/// be in, and shows it.
fn source_of_assembly(scene: &Scene) -> Result<()> {
    const BOOT: &str = "stage1/src/boot.s";
    const ENTRY: &str = "stage2/src/entry/boot_sector.s";
    const START: &str = "stage2/src/protected_mode.s";
    const CALL: &str = "stage2/src/bios/call.s";
    const HAND_OFF: &str = "stage2/src/hand_off.s";

    let mut session = Terminal::start(scene, &[])?;
    session.say("frame", &["#0  stage1_entry () at stage1/src/boot.s:"])?;
    next_until(&mut session, BOOT, "<stage1_advance>")?;
    run_to(&mut session, BOOT, "ljmp 0, {stage2}")?;
    next_until(&mut session, ENTRY, "<stage2_entry>")?;
    next_until(&mut session, ENTRY, "<stage2_entry_32+8>  jmp ")?;
    next_until(&mut session, START, "xor eax,eax")?;
    // Behind the loop that clears .bss, which gdb goes through one double word at a time.
    run_to(&mut session, START, "mov edi, {stack_bottom}")?;
    next_until(&mut session, START, "call ebx")?;
    session.say("step", &["stage2::entry::boot_sector::enter (drive=128)", "boot_sector.rs:"])?;

    session.say("tbreak bios_call", &[&format!("file {CALL}, line ")])?;
    session.say("continue", &["push ebp", "PROTECTED 32-bit"])?;
    next_until(&mut session, CALL, "<bios_call_leave>")?;
    next_until(&mut session, CALL, "<bios_call_real>")?;
    next_until(&mut session, CALL, "<bios_call_returned>")?;
    next_until(&mut session, CALL, "<bios_call_return>")?;
    next_until(&mut session, CALL, "  ret")?;
    session.say("next", &[".rs:", "PROTECTED 32-bit"])?;

    session.say("tbreak hand_off", &[&format!("file {HAND_OFF}, line ")])?;
    session.say("continue", &["{cr4}", "PROTECTED 32-bit"])?;
    next_until(&mut session, HAND_OFF, "<hand_off_far_jump>")?;
    next_until(&mut session, HAND_OFF, "<hand_off_64>")?;
    next_until(&mut session, HAND_OFF, "jmp rax")?;
    session.say("next", &["_start (", "lib.rs:", "LONG 64-bit", "kernel  _start"])?;
    session.quit()
}

/// Steps, up to a stop that tells this text; each has to show a line of the file.
fn next_until(session: &mut Terminal<'_>, file: &str, text: &str) -> Result<()> {
    // More than any of these pieces of code has.
    for _ in 0..120 {
        let told = session.say("next", &[])?;
        shows_line_of(session, file, &told).with_context(|| format!("(gdb) next\n{told}"))?;
        if told.contains(text) {
            return Ok(());
        }
    }
    anyhow::bail!("never at {text:?}: {}", session.transcript)
}

/// Runs to the line of a file that contains this text.
fn run_to(session: &mut Terminal<'_>, file: &str, text: &str) -> Result<()> {
    let number = line_with(session, file, text)?;
    session.say(&format!("tbreak {file}:{number}"), &[&format!("file {file}, line {number}.")])?;
    let told = session.say("continue", &[])?;
    shows_line_of(session, file, &told).with_context(|| format!("(gdb) continue\n{told}"))
}

/// A stop shows a line's number and text: those of the file's.
fn shows_line_of(session: &Terminal<'_>, file: &str, told: &str) -> Result<()> {
    let source = source(session, file)?;
    let shown = told.lines().filter_map(|line| line.split_once('\t')).filter_map(|(number, text)| {
        let number: usize = number.parse().ok()?;
        Some((number, text))
    });
    let shown: Vec<_> = shown.collect();
    let [(number, text)] = shown[..] else {
        anyhow::bail!("expected one line of {file}, found {shown:?}");
    };
    let expected = source.lines().nth(number.wrapping_sub(1));
    ensure!(expected == Some(text), "line {number} of {file} is {expected:?}, found {text:?}");
    Ok(())
}

fn line_with(session: &Terminal<'_>, file: &str, text: &str) -> Result<usize> {
    let source = source(session, file)?;
    let index = source.lines().position(|line| line.contains(text));
    Ok(index.with_context(|| format!("no {text:?} in {file}"))? + 1)
}

fn source(session: &Terminal<'_>, file: &str) -> Result<String> {
    let path = session.scene.parts.checkout.root.join(file);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// By a file's name and a line's number, and by a label; and beside instructions.
fn source_of_assembly_by_name(scene: &Scene) -> Result<()> {
    let mut session = Terminal::start(scene, &[])?;
    let number = line_with(&session, "stage2/src/entry/boot_sector.s", "mov cr0, eax")?;
    let place = format!("file stage2/src/entry/boot_sector.s, line {number}.");
    session.say(&format!("break stage2/src/entry/boot_sector.s:{number}"), &[&place])?;
    session.say("list hand_off", &["hand_off:", "mov eax, {cr4}"])?;
    session.say("info line exception_stubs", &["Line ", "stage2/src/exceptions.s"])?;
    session.say("info line memcpy", &["Line ", "stage2/src/memory_functions.s"])?;
    session.say("info line multiboot_moved", &["Line ", "stage2/src/entry/multiboot.s"])?;
    session.say("info line pxe_entry", &["Line ", "stage2/src/entry/pxe.s"])?;
    session.say("continue", &["stage2_entry_set_pe () at stage2/src/entry/boot_sector.s:", "// 16-bit"])?;
    let comment = "boot_sector.s:";
    session.say("step-switch", &["<stage2_entry_far_jump>", comment, "ljmp {code32}, offset "])?;
    session.quit()
}

/// `next` passes over routines and BIOS calls, `finish` comes back from them.
fn callers_in_16_bit_mode(scene: &Scene) -> Result<()> {
    let mut session = Terminal::start(scene, &[])?;
    session.say("break stage1_int13", &["Breakpoint 1"])?;
    session.say("continue", &["stage1_int13 ()", "push di"])?;
    session.say("backtrace", &["#0  stage1_int13 ()", "#1  ", "in stage1_try () at stage1/src/boot.s:"])?;
    session.say("delete", &[])?;
    run_to(&mut session, "stage1/src/boot.s", "int 0x13")?;
    session.say("next", &["sti", "REAL 16-bit", "<stage1_int13+"])?;
    let callers = session.say("backtrace", &["#0  stage1_int13 ()", "#1  ", "in stage1_try ()", "#2 "])?;
    ensure!(!callers.contains("Backtrace stopped"), "{callers}");
    session.say("finish", &["stage1_try () at stage1/src/boot.s:", "sbb bl, 0x55", "<stage1_try+"])?;
    session.say("stage2", &["<stage2_entry>"])?;
    session.say("tbreak bios_call_interrupt", &["call.s, line"])?;
    session.say("continue", &["lcall ss:"])?;
    let told = session.say("next", &["pushfd", "<bios_call_returned>"])?;
    in_order(&told, &["REAL 16-bit", "0000:"])?;
    session.quit()
}

/// The stages in a disk's image, and those to step through.
fn machine_code_is_as_without_lines(scene: &Scene) -> Result<()> {
    let shell = Shell::new()?;
    let toolchain = Toolchain::find(&shell)?;
    let builder = Builder { checkout: &scene.parts.checkout, toolchain: &toolchain };
    for for_gdb in [false, true] {
        let without = builder.stages_without_line_tables(for_gdb)?;
        let with = if for_gdb { builder.stages_for_gdb()? } else { builder.stages()? };
        for ((name, without), (_, with)) in files(&without).into_iter().zip(files(&with)) {
            ensure!(has_lines(with) && !has_lines(without), "{name} was not built both with and without");
            let is_same = loaded(with)? == loaded(without)?;
            ensure!(is_same, "{name} differs, to step through: {for_gdb}");
        }
    }
    Ok(())
}

fn files(stages: &StageFiles) -> [(&'static str, &[u8]); 4] {
    let StageFiles { stage1, stage2 } = stages;
    [
        ("stage1", &stage1.disk),
        ("stage1 for a partition", &stage1.partition),
        ("stage1 for a CD", &stage1.cd),
        ("stage2", stage2),
    ]
}

/// Whether debug information names a file of assembly.
fn has_lines(elf: &[u8]) -> bool {
    let names: [&[u8]; 2] = [b"stage1/src/boot.s\0", b"stage2/src/hand_off.s\0"];
    names.into_iter().any(|name| elf.windows(name.len()).any(|found| found == name))
}

/// Where a segment goes, physically, too, its length there, and its bytes.
type Loaded<'a> = (u64, u64, u64, &'a [u8]);

/// What goes to memory, and where.
fn loaded(elf: &[u8]) -> Result<Vec<Loaded<'_>>> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(elf)?;
    let segments = elf.segments().context("an ELF file without segments")?;
    segments
        .iter()
        .filter(|segment| segment.p_type == PT_LOAD)
        .map(|segment| Ok((segment.p_vaddr, segment.p_paddr, segment.p_memsz, elf.segment_data(&segment)?)))
        .collect()
}
