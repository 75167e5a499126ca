//! `cargo xtask gdb`: the tour, a person's session on a terminal, what it says of bad input, and what it leaves behind.

mod front_ends;
mod kernels;
mod lines;
mod machine;
mod terminal;

use super::Test;
use super::parts::Scene;
use crate::child;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use terminal::{PROMPT, Terminal, wait};

/// How long a person lets the guest run before stopping it.
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = vec![
        Test::new("gdb::tour", tour),
        Test::new("gdb::tour_notices_a_wrong_mode", tour_notices_a_wrong_mode),
        Test::new("gdb::tour_notices_a_loader_that_stops", tour_notices_a_loader_that_stops),
        Test::new("gdb::every_switch", every_switch),
        Test::new("gdb::bios_calls", bios_calls),
        Test::new("gdb::variables_in_32_bit_mode", variables_in_32_bit_mode),
        Test::new("gdb::window_to_high_memory", window_to_high_memory),
        Test::new("gdb::kernel_source", kernel_source),
        Test::new("gdb::control_c_stops_the_guest", control_c_stops_the_guest),
        Test::new("gdb::guest_that_ends", guest_that_ends),
        Test::new("gdb::closed_terminal", closed_terminal),
        Test::new("gdb::bad_input", bad_input),
    ];
    tests.extend(lines::tests());
    tests.extend(machine::tests());
    tests.extend(kernels::tests());
    tests.extend(front_ends::tests());
    tests
}

/// All stops, in order.
fn tour(scene: &Scene) -> Result<()> {
    const LINES: [&str; 25] = [
        "stage1_entry: ",
        "REAL 16-bit         0000:7c00 = 0x7c00  stage1  stage1_entry",
        "boot.s:",
        "stage2_entry: ",
        "REAL 16-bit         0000:8000 = 0x8000  stage2  stage2_entry",
        "stage2_entry_set_pe: ",
        "<stage2_entry_set_pe>  mov cr0,eax",
        "mov cr0, eax // 16-bit protected mode, until CS is loaded",
        "CR0 +PE",
        "stage2_entry_far_jump: ",
        "PROTECTED 32-bit    0008:",
        "stage2::entry::boot_sector::enter: ",
        "stage2/src/entry/boot_sector.rs:",
        "drive = 0x80",
        "bios_call_clear_pe: ",
        "CR0 -PE",
        "INT ",
        "hand_off_set_lme: ",
        " +LME",
        "hand_off_paging: ",
        "LONG compatibility  0008:",
        "hand_off_far_jump: ",
        "LONG 64-bit         0028:",
        "_start: the kernel",
        "stops, each as expected",
    ];
    let output = child::output(gdb(scene).arg("--tour"))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let messages = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}\n{told}\n{messages}", output.status);
    in_order(&told, &LINES)?;
    leaves_nothing(scene)
}

fn tour_notices_a_wrong_mode(scene: &Scene) -> Result<()> {
    let output = child::output(gdb(scene).args(["--tour", "--expect", "hand_off_paging=REAL 16-bit"]))?;
    let expected = "error: hand_off_paging: the CPU is in PROTECTED 32-bit, expected REAL 16-bit";
    fails_with(&output, expected)?;
    leaves_nothing(scene)
}

/// Without long mode, stage2 says so and stops: the tour does not wait for ever.
fn tour_notices_a_loader_that_stops(scene: &Scene) -> Result<()> {
    let output = child::output(gdb(scene).args(["--tour", "--cpu", "pentium3"]))?;
    fails_with(&output, "boot error E")?;
    leaves_nothing(scene)
}

/// `next-switch` to the end, through each far jump with the right instructions on both sides; a breakpoint in the
/// kernel, set in real mode, is hit.
fn every_switch(scene: &Scene) -> Result<()> {
    let mut session = Terminal::start(scene, &[])?;
    session.say("break _start", &["Breakpoint 1 at 0xffffffff8", "lib.rs, line "])?;
    session.say("next-switch", &["REAL 16-bit", "<stage2_entry_set_pe>  mov cr0,eax"])?;
    session.say("next-switch", &["PROTECTED 16-bit", "CR0 +PE", "<stage2_entry_far_jump>  jmp 0x8:0x"])?;
    session.say("stepi", &["PROTECTED 32-bit", "<stage2_entry_32>  movzx edx,dl"])?;
    session.say("next-switch --bios", &["PROTECTED 32-bit", "<bios_call_far_jump_16>  jmp 0x18:0x"])?;
    session.say("stepi", &["PROTECTED 16-bit", "<bios_call_leave>  mov ax,0x20"])?;
    session.say("next-switch --bios", &["PROTECTED 16-bit", "<bios_call_clear_pe>  mov cr0,eax"])?;
    session.say("step-switch", &["REAL 16-bit", "CR0 -PE", "jmp 0x0:0x", "<bios_call_real>  xor ax,ax"])?;
    session.say("next-switch --bios", &["REAL 16-bit", "<bios_call_set_pe>  mov cr0,eax"])?;
    session
        .say("step-switch", &["PROTECTED 16-bit", "PROTECTED 32-bit", "<bios_call_return>  mov eax,0x10"])?;
    session.say("next-switch", &["hand_off_set_pae", "<hand_off_set_pae>  mov cr4,eax"])?;
    session.say("next-switch", &["CR4 ", "+PAE", "<hand_off_set_lme>  wrmsr"])?;
    session.say("next-switch", &["EFER ", "+LME", "<hand_off_paging>  mov cr0,eax"])?;
    session.say(
        "next-switch",
        &["LONG compatibility", "CR0 +PG", "EFER +LMA", "<hand_off_far_jump>  jmp 0x28:0x"],
    )?;
    session.say("stepi", &["LONG 64-bit", "<hand_off_64>  xor eax,eax"])?;
    session.say("mode", &["EFER ", "LMA LME", "CS 0028  code 64-bit", "GDT at 0x"])?;
    session.say("next-switch", &["LONG 64-bit", "kernel  _start", "No more switches"])?;
    session.say("continue", &["Breakpoint 1, ", "_start (boot_info=0xffffff00", "lib.rs:", "LONG 64-bit"])?;
    session.quit()
}

fn bios_calls(scene: &Scene) -> Result<()> {
    let mut session = Terminal::start(scene, &[])?;
    session.say("bios", &["<stage1_int13+", "int 0x13", "INT 13h AH=41h"])?;
    session.say("bios", &["in   EAX=000041", "EDX=00000080", "out  EAX=", "EBX=0000aa55", "carry 0"])?;
    session.say("bios", &["INT 13h AH=42h: extended read"])?;
    session
        .say("bios", &["sectors from LBA 1 of drive 80h to 0800:0000", "carry 0", "status 00h: success"])?;
    session.say("stage2", &["REAL 16-bit", "stage2  stage2_entry"])?;
    session.say("break loader::e820::overlay", &["Breakpoint 1"])?;
    // How many calls come before is the loader's business.
    for _ in 0..40 {
        session.say("bios", &["<bios_call_interrupt>", "INT ", "`bios` shows it"])?;
        let call = session.say("bios", &["in   EAX=", "out  EAX=", "carry "])?;
        if call.contains("INT 15h AX=E820h") {
            in_order(&call, &["EDX=534d4150", "carry 0", "entry: 0x", "type 1 (usable)", "more with EBX="])?;
            return session.quit();
        }
    }
    bail!("no INT 15h AX=E820h: {}", session.transcript)
}

/// 32-bit Rust: arguments, callers, `finish`, `next`; registers of 32 bits.
fn variables_in_32_bit_mode(scene: &Scene) -> Result<()> {
    let mut session = Terminal::start(scene, &["--stop", "loader::e820::usable_len"])?;
    session.say(
        "info args",
        &["regions = ", "start_addr: 0", "end_addr: 4096", "start_addr: 1048576", "end_addr: 134086656"],
    )?;
    let callers = session.say(
        "backtrace",
        &[
            "#0  ",
            "usable_len (regions=",
            "e820.rs:",
            "stage2::boot (source=",
            "main.rs:",
            "stage2::entry::boot_sector::enter (drive=128)",
            "protected_mode_start",
        ],
    )?;
    ensure!(!callers.contains("?? ()"), "callers that there are not: {callers}");
    session.say("finish", &["stage2::boot (source=", "Value returned is $1 = 13", "PROTECTED 32-bit"])?;
    session.say("frame 2", &["enter (drive=128)"])?;
    session.say("print drive", &["= 128"])?;
    session.say("frame 0", &["stage2::boot (source="])?;
    session.say("next", &["PROTECTED 32-bit", "stage2::boot+"])?;
    let registers = session.say("info registers", &["eax ", "eip ", "cr0 ", "[ ET PE ]"])?;
    ensure!(
        !["r8 ", "rax ", "xmm"].iter().any(|name| registers.contains(name)),
        "64-bit registers: {registers}"
    );
    session.quit()
}

/// In a copy to memory above 4 GiB: 32-bit Rust as ever, with paging on.
fn window_to_high_memory(scene: &Scene) -> Result<()> {
    let machine = ["--machine", "pc,max-ram-below-4g=6M", "--memory", "64M"];
    let mut session =
        Terminal::start(scene, &[&machine[..], &["--stop", "stage2::high_memory::close"]].concat())?;
    session.say("mode", &["PROTECTED 32-bit", "stage2::high_memory::close", "CR0 ", "PG", "CR4 ", "PAE"])?;
    session.say("backtrace", &["#0  ", "high_memory::close", "high_memory.rs:", "stage2::boot (source="])?;
    session
        .say("pages 0x8000", &["PDPT  [  0]", "PD    [  0]", "0x8000 is physical 0x8000", "read, write"])?;
    session
        .say("pages 0x200000", &["PD    [  1]", "0x200000 is physical 0x100000000, in a page of 2 MiB"])?;
    session.say("delete", &[])?;
    session.say("next-switch", &["PROTECTED 32-bit", "CR0 -PG", "CR4 +OSFXSR -PAE", "<hand_off_set_pae>"])?;
    session.say("kernel", &["LONG 64-bit", "kernel  _start"])?;
    session.quit()
}

fn kernel_source(scene: &Scene) -> Result<()> {
    let mut session = Terminal::start(scene, &["--stop", "kernel::kernel_main"])?;
    session
        .say("backtrace", &["#0  kernel::kernel_main (boot_info=0xffffff00", "main.rs:", "#1 ", "_start"])?;
    session.say("print/x (*boot_info).parts.boot_drive", &["= 0x80"])?;
    session.say("next", &["kernel::init"])?;
    session.say("next", &["console::init"])?;
    session.say("next", &["console::lock"])?;
    session.quit()
}

/// Ctrl-C is for the guest, not for us.
fn control_c_stops_the_guest(scene: &Scene) -> Result<()> {
    let mut session = Terminal::start(scene, &[])?;
    session.write("continue\n")?;
    session.wait_for("Continuing.")?;
    // gdb passes over one that comes before the guest runs, and gives the guest up at the second.
    std::thread::sleep(PATIENCE);
    session.write("\x03")?;
    session.wait_for("SIGINT")?;
    session.wait_for(PROMPT)?;
    session.say("mode", &["CR0 ", "GDT"])?;
    session.quit()
}

fn guest_that_ends(scene: &Scene) -> Result<()> {
    let kernel = scene.parts.test_kernels.join("bss_zeroed");
    let mut command = gdb(scene);
    command.arg("--kernel").arg(kernel);
    let mut session = Terminal::start_with(scene, command)?;
    session.say("continue", &["The machine has ended"])?;
    session.say("mode", &["The machine has ended"])?;
    session.write("quit\n")?;
    session.wait_for("the guest ended with success")?;
    let status = wait(&mut session.xtask)?;
    ensure!(status.success(), "{status}\n{}", session.transcript);
    leaves_nothing(scene)
}

/// The terminal's window is closed.
fn closed_terminal(scene: &Scene) -> Result<()> {
    let mut session = Terminal::start(scene, &[])?;
    kill_process(Pid::from_child(&session.xtask), Signal::HUP)?;
    let status = wait(&mut session.xtask)?;
    ensure!(status.code() == Some(130), "{status}");
    leaves_nothing(scene)
}

/// One line each, and exit code 1.
fn bad_input(scene: &Scene) -> Result<()> {
    let fake = scene.folder().join("fake gdb");
    fs::write(&fake, "#!/bin/sh\necho 'Python scripting is not supported in this copy of GDB.' >&2\n")?;
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755))?;
    let busy = TcpListener::bind("127.0.0.1:0")?;
    let address = busy.local_addr()?.to_string();

    let fake = fake.to_str().context("a path that is not UTF-8")?;
    // Options, $GDB, and what the message has to contain.
    let cases: [(&[&str], Option<&str>, &[&str]); 11] = [
        (&["--stop", "stage2_entri"], None, &["error: stage2_entri is not known", "stage2_entry"]),
        (&["--stop", "usable_le"], None, &["did you mean ", "loader::e820::usable_len"]),
        (&["--stop", "0x7b00000"], None, &["error: 0x7b00000 is in no part of the boot: stage1 0x7c00.."]),
        (&["--stop", "0xzz"], None, &["error: 0xzz is not a number"]),
        (&[], Some("no-such-gdb"), &["error: no-such-gdb not found: run `cargo xtask setup`"]),
        (&[], Some(fake), &["fake gdb cannot run Python scripts: install a complete gdb"]),
        (&["--cpu", "no-such-cpu"], None, &["error: QEMU ended", "no-such-cpu"]),
        (&["--listen", &address], None, &["error: cannot listen on 127.0.0.1:", "another port: --listen"]),
        (&["--accel", "kvm"], None, &["error: stepping through the boot needs the emulated processor"]),
        (&["--tui"], None, &["error: --tui draws windows on a terminal, and input or output is none"]),
        (&["--listen", "nowhere"], None, &["error: nowhere is no address to listen on"]),
    ];
    for (options, program, parts) in cases {
        let mut command = gdb(scene);
        command.args(options).envs(program.map(|program| ("GDB", program)));
        let output = child::output(&mut command)?;
        parts
            .iter()
            .try_for_each(|part| fails_with(&output, part))
            .with_context(|| format!("{options:?}, $GDB {program:?}"))?;
    }
    leaves_nothing(scene)
}

/// `cargo xtask gdb`, with an image and temporary files of this test's own.
pub(super) fn gdb(scene: &Scene) -> Command {
    let mut command = scene.xtask();
    command.args(["gdb", "-o", "disk.img", "--display", "none"]).env("TMPDIR", temporary(scene));
    // What it would lack is told when it is needed.
    let _ = fs::create_dir_all(temporary(scene));
    command
}

fn temporary(scene: &Scene) -> PathBuf {
    scene.parts.temporary.path().join(scene.folder().file_name().unwrap_or_default())
}

/// Every temporary file is gone, and with them whoever used them.
pub(super) fn leaves_nothing(scene: &Scene) -> Result<()> {
    let folder = temporary(scene);
    let left: Vec<_> = fs::read_dir(&folder)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    ensure!(left.is_empty(), "left in {}: {left:?}", folder.display());
    let image = scene.folder().join("disk.img").to_string_lossy().into_owned();
    let running = running_with(&image)?;
    ensure!(running.is_empty(), "still running: {running:?}");
    Ok(fs::remove_dir(folder)?)
}

/// Programs that have a text in their command line.
pub(super) fn running_with(text: &str) -> Result<Vec<String>> {
    let command_line =
        |entry: std::io::Result<fs::DirEntry>| fs::read(entry.ok()?.path().join("cmdline")).ok();
    Ok(fs::read_dir("/proc")?
        .filter_map(command_line)
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .filter(|line| line.contains(text))
        .collect())
}

pub(super) fn fails_with(output: &std::process::Output, expected: &str) -> Result<()> {
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}, expected 1\n{told}", output.status);
    ensure!(told.contains(expected), "expected: {expected}\nfound: {told}");
    Ok(())
}

/// Each text is there, behind the one before it.
fn in_order(told: &str, texts: &[&str]) -> Result<()> {
    texts.iter().try_fold(told, |rest, text| {
        rest.split_once(text)
            .map(|(_, rest)| rest)
            .with_context(|| format!("no {text:?} in its place: {told}"))
    })?;
    Ok(())
}
