//! `cargo xtask gdb --listen`: QEMU alone, and how other debuggers connect to it.

use super::facts::facts;
use super::session::write_front_end_script;
use super::{Options, USUAL_NAMES, build, machine, qemu_ended};
use crate::bare_metal::Profile;
use crate::checkout::Checkout;
use crate::guest::{Event, Guest};
use crate::temporary::TemporaryFolder;
use crate::{interrupt, output, platform, tools};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// QEMU says at once what it does not like.
const SETTLED: Duration = Duration::from_millis(300);

pub(super) fn run(options: &Options, address: &str) -> Result<ExitCode> {
    let is_any_port = address.ends_with(":0");
    let address = free_address(address)?;
    let (image, elf_files) = build(options)?;
    // VS Code's configuration tells where the script is, so that it stays there; but nobody comes back to a port that was
    // any.
    let temporary = is_any_port.then(TemporaryFolder::new).transpose()?;
    let name = script_name(address);
    let facts = facts(&elf_files, options.contents.kernel.as_deref())?;
    let script = write_front_end_script(
        &temporary.as_ref().map_or(&*elf_files, TemporaryFolder::path).join(name),
        &facts,
        &address.to_string(),
    )?;

    let mut machine = machine(options, &image)?;
    machine.arguments.extend(["-S".to_owned(), "-gdb".to_owned(), format!("tcp:{address}")]);
    output::command(&machine.command_line()?);
    let mut guest = machine.start_alone()?;
    if let Event::Ended(status) = guest.next(Some(Instant::now() + SETTLED))? {
        bail!(qemu_ended(&guest, status));
    }
    output::line(&instructions(address, &script, &elf_files, &facts)?);
    serve(&mut guest)
}

/// The address to listen on, when nobody else does.
fn free_address(text: &str) -> Result<SocketAddr> {
    let text = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.to_owned() };
    let address =
        text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next()).with_context(|| {
            format!("{text} is no address to listen on, expected ADDR:PORT such as 127.0.0.1:1234")
        })?;
    let listener = TcpListener::bind(address).with_context(|| {
        format!(
            "cannot listen on {address}; another port: --listen {}:{}",
            address.ip(),
            another_port(address)
        )
    })?;
    // With port 0, the system chooses.
    Ok(listener.local_addr()?)
}

fn another_port(address: SocketAddr) -> u16 {
    address.port().checked_add(1).unwrap_or(1234)
}

/// Passes the guest's serial line on until it ends, or the user does not want any more.
fn serve(guest: &mut Guest) -> Result<ExitCode> {
    loop {
        match guest.next(None)? {
            Event::Output(bytes) => {
                let mut terminal = std::io::stdout();
                if terminal.write_all(&bytes).and_then(|()| terminal.flush()).is_err() {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Event::Quiet => {}
            Event::Ended(status) => {
                interrupt::check()?;
                output::note(&format!("QEMU ended ({status}) {}", guest.messages().trim()));
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

/// What a person pastes into the front end.
fn instructions(address: SocketAddr, script: &Path, elf_files: &Path, facts: &Value) -> Result<String> {
    let kernel = Path::new(facts["kernel"]["elf"].as_str().context("a kernel's path that is not UTF-8")?);
    let slide = facts["kernel"]["slide"].as_u64().filter(|&slide| slide != 0);
    let launch = serde_json::to_string_pretty(&vs_code(address, script, kernel))?;
    let attach = serde_json::to_string_pretty(&vs_code_with_lldb(address, kernel, slide))?;
    let quoted = |path: &Path| output::shell_line([&*path.to_string_lossy()]);
    let [stage1, stage2] = ["stage1.elf", "stage2.elf"].map(|name| quoted(&elf_files.join(name)));
    let script = quoted(script);
    let create = format!("target create --arch x86_64 {}", lldb_path(kernel));
    let lldb = output::shell_line(
        [create]
            .into_iter()
            .chain(lldb_commands(address, kernel, slide))
            .flat_map(|command| ["-o".to_owned(), command])
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str),
    );
    Ok(format!(
        "\
QEMU waits on {address}, stopped before its first instruction. Ctrl-C ends it.

gdb, right in every mode, with all commands of `cargo xtask gdb`:
  gdb -q -x {script}

VS Code, with the extension ms-vscode.cpptools; for .vscode/launch.json:
{launch}
  It runs gdb with the same script: source lines, breakpoints and the disassembly view are right in every mode, variables
  in 32-bit and 64-bit code.
  Breakpoints in assembly files need its setting \"debug.allowBreakpointsEverywhere\": true.

VS Code, with the extension llvm-vs-code-extensions.lldb-dap; for the kernel alone:
{attach}

lldb:
  lldb {lldb}
  64-bit code: everything, source and variables included.
  32-bit code: breakpoints by address, registers; show code with `disassemble -A i386-unknown-unknown -s ADDR -c 5`.
  16-bit code: the same with `-A i386-unknown-unknown-code16`. In both, ADDR is the segment's base plus the offset, and
  there are no variables. For addresses of symbols: `nm -C {stage1}`, `nm -C {stage2}`.
"
    ))
}

/// What lldb does once it has the kernel's file. One that runs anywhere is where the loader puts it, unless it draws a
/// random address.
fn lldb_commands(address: SocketAddr, kernel: &Path, slide: Option<u64>) -> Vec<String> {
    let load =
        slide.map(|slide| format!("target modules load --file {} --slide {slide:#x}", lldb_path(kernel)));
    [Some(format!("gdb-remote {address}")), load].into_iter().flatten().collect()
}

/// A path as lldb's commands take it.
fn lldb_path(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

/// The contents of a project's .vscode/launch.json, for its kernel.
pub(crate) fn launch_json(checkout: &Checkout, xtask: &str, kernel: &str) -> Result<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], 1234));
    let folder = checkout.output().join(Profile::Dev.name()).join("gdb");
    let launch = vs_code(address, &folder.join(script_name(address)), Path::new(kernel));
    let listen = output::shell_line([xtask, "gdb", "--listen", "--kernel"]);
    let kernel = kernel.replace("${workspaceFolder}/", "");
    let configurations = json!({ "version": "0.2.0", "configurations": [launch] });
    Ok(format!(
        "// With the extension ms-vscode.cpptools; build it and start this first, which waits for VS Code:\n\
         //   {listen} {kernel}\n{}\n",
        serde_json::to_string_pretty(&configurations)?
    ))
}

/// Each address has a script of its own, for it tells of the address.
fn script_name(address: SocketAddr) -> String {
    format!("script-{}", address.port())
}

/// What VS Code calls: gdb by its name where `PATH` has it.
fn debugger() -> String {
    let name = USUAL_NAMES.into_iter().find(|name| tools::find(name).is_some()).unwrap_or(USUAL_NAMES[0]);
    tools::as_typed(name.into()).to_string_lossy().into_owned()
}

/// A configuration for cppdbg, which connects gdb by itself and sources our script then.
fn vs_code(address: SocketAddr, script: &Path, kernel: &Path) -> Value {
    json!({
        "name": "Doorstep",
        "type": "cppdbg",
        "request": "launch",
        "MIMode": "gdb",
        "miDebuggerPath": debugger(),
        "miDebuggerServerAddress": address.to_string(),
        "program": kernel.to_string_lossy(),
        "cwd": "${workspaceFolder}",
        "stopAtConnect": true,
        "postRemoteConnectCommands": [{ "text": format!("source {}", platform::with_slashes(script)) }],
    })
}

/// A configuration for lldb-dap, whose lldb connects by itself.
fn vs_code_with_lldb(address: SocketAddr, kernel: &Path, slide: Option<u64>) -> Value {
    json!({
        "name": "Doorstep's kernel, with lldb",
        "type": "lldb-dap",
        "request": "attach",
        "program": kernel.to_string_lossy(),
        "attachCommands": lldb_commands(address, kernel, slide),
        "stopOnEntry": true,
    })
}
