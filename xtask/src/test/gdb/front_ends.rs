//! Other front ends than gdb on its command line: its windows, another gdb, lldb, and VS Code's protocol.

use super::terminal::{PROMPT, Terminal};
use super::{gdb, in_order, leaves_nothing, temporary};
use crate::child::{self, Running};
use crate::test::Test;
use crate::test::parts::Scene;
use crate::tools;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub(super) fn tests() -> Vec<Test> {
    let lacks_lldb = || find_lldb().is_none().then_some("lldb is missing (Debian: lldb)");
    let lacks_adapter = || find_adapter().is_none().then_some("lldb-dap is missing (Debian: lldb)");
    vec![
        Test::new("gdb::windows", windows),
        Test::new("gdb::listen", listen),
        Test::new("gdb::listen_to_lldb", listen_to_lldb).needs(lacks_lldb),
        Test::new("gdb::listen_to_lldb_with_static_pie", listen_to_lldb_with_static_pie).needs(lacks_lldb),
        Test::new("gdb::listen_to_vs_code", listen_to_vs_code).needs(lacks_adapter),
    ]
}

fn find_lldb() -> Option<PathBuf> {
    tools::find("lldb")
}

/// The program behind VS Code's extension lldb-dap, by its names in the course of time.
fn find_adapter() -> Option<PathBuf> {
    ["lldb-dap", "lldb-vscode", "lldb-vscode-14"].iter().find_map(tools::find)
}

/// Source and disassembly stand above the commands, ours among them.
fn windows(scene: &Scene) -> Result<()> {
    let mut command = gdb(scene);
    command.arg("--tui");
    // A kind without colours, which would be between the words.
    let mut session = Terminal::start_on(scene, command, "vt100")?;
    let drawn = session.transcript.clone();
    in_order(&drawn, &["Source, disassembly and commands:", "REAL 16-bit", "<stage1_entry>"])?;
    session.write("break stage2::boot\n")?;
    session.wait_for("main.rs")?;
    session.write("continue\n")?;
    session.wait_for("PROTECTED 32-bit")?;
    // The line of source, in its window.
    session.wait_for("let Tables {")?;
    session.wait_for(PROMPT)?;
    session.write("mode\n")?;
    session.wait_for("GDT at 0x")?;
    session.quit()
}

/// `cargo xtask gdb --listen` on any port, and what it says.
struct Listener {
    xtask: Running,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Listener {
    fn start(mut command: Command) -> Result<Self> {
        let mut xtask = Running::start(command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()))?;
        let lines = BufReader::new(xtask.child.stdout.take().context("no output")?).lines();
        let mut listener = Self { xtask, lines };
        listener.line("QEMU waits on 127.0.0.1:")?;
        Ok(listener)
    }

    /// The rest of the next line that starts so.
    fn line(&mut self, start: &str) -> Result<String> {
        for line in self.lines.by_ref() {
            if let Some(rest) = line?.trim_start().strip_prefix(start) {
                return Ok(rest.to_owned());
            }
        }
        bail!("no line that starts with {start:?}")
    }

    /// The next piece of JSON.
    fn json(&mut self) -> Result<Value> {
        let mut text = String::new();
        for line in self.lines.by_ref() {
            let line = line?;
            if line == "{" || !text.is_empty() {
                text += &line;
            }
            if line == "}" {
                return Ok(serde_json::from_str(&text)?);
            }
        }
        bail!("no JSON: {text}")
    }

    /// Waits for the end that its machine's has brought about.
    fn ended(self, scene: &Scene) -> Result<()> {
        let status = self.xtask.end()?;
        ensure!(status.success(), "{status}");
        leaves_nothing(scene)
    }

    /// Ends it as Ctrl-C does.
    fn end(self, scene: &Scene) -> Result<()> {
        kill_process(Pid::from_child(&self.xtask.child), Signal::INT)?;
        let status = self.xtask.end()?;
        ensure!(status.code() == Some(130), "{status}");
        leaves_nothing(scene)
    }
}

/// Another gdb connects, with the script that was named.
fn listen(scene: &Scene) -> Result<()> {
    let mut listener = Listener::start(gdb(scene))?;
    let script = listener.line("gdb -q -x ")?;
    // Another session, such as one of another run of this test, has another address.
    ensure!(script.starts_with(&*temporary(scene).to_string_lossy()), "not a script of its own: {script}");
    listener.line("\"miDebuggerServerAddress\": \"127.0.0.1:")?;
    let arguments = ["-q", "-nx", "-batch", "-x", script.trim(), "-ex", "next-switch", "-ex", "kernel"];
    let output = child::output(Command::new("gdb").args(arguments))?;
    let told = String::from_utf8_lossy(&output.stdout);
    in_order(
        &told,
        &["REAL 16-bit", "stage1_entry", "<stage2_entry_set_pe>", "LONG 64-bit", "kernel  _start"],
    )?;
    listener.end(scene)
}

/// lldb, started by the line that is printed, is right in real mode when it is told so, and has the kernel's source.
fn listen_to_lldb(scene: &Scene) -> Result<()> {
    let commands = [
        "breakpoint set --address 0x7c00",
        "continue",
        "disassemble -A i386-unknown-unknown-code16 -s 0x7c00 -c 1",
        "breakpoint set --name kernel_main",
        "continue",
        "frame variable",
        "bt",
    ];
    let expected = [
        "gdb-remote 127.0.0.1:",
        "0x7c00: jmp    0x7c5a",
        "kernel::kernel_main(boot_info=0xffffff00",
        "main.rs:",
        "boot_info = 0xffffff00",
        "frame #1",
        "_start",
    ];
    lldb(scene, gdb(scene), &commands, &expected)
}

/// A kernel that runs anywhere is where its symbols are.
fn listen_to_lldb_with_static_pie(scene: &Scene) -> Result<()> {
    let mut command = gdb(scene);
    command.arg("--kernel").arg(scene.parts.test_kernels_anywhere.join("backtrace"));
    let commands = ["breakpoint set --func-regex rust_begin_unwind", "continue", "bt"];
    let expected =
        ["target modules load", "frame #0: 0xffffffff800", "panic_fmt", "inner", "outer", "_start"];
    lldb(scene, command, &commands, &expected)
}

fn lldb(scene: &Scene, command: Command, commands: &[&str], expected: &[&str]) -> Result<()> {
    let mut listener = Listener::start(command)?;
    let arguments = shell_words::split(&listener.line("lldb ")?)?;
    let output = child::output(
        Command::new(find_lldb().context("no lldb")?)
            .args(["--no-lldbinit", "--batch"])
            .args(arguments)
            .args(commands.iter().flat_map(|command| ["-o", command])),
    )?;
    in_order(&String::from_utf8_lossy(&output.stdout), expected)?;
    // lldb has ended the machine.
    listener.ended(scene)
}

/// VS Code's protocol, spoken to the program that its extension runs, with the configuration that was printed: a breakpoint
/// in the kernel, a stop, callers with source lines, a variable.
fn listen_to_vs_code(scene: &Scene) -> Result<()> {
    let mut listener = Listener::start(gdb(scene))?;
    let cppdbg = listener.json()?;
    ensure!(cppdbg["type"] == "cppdbg", "{cppdbg}");
    let configuration = listener.json()?;
    ensure!(configuration["type"] == "lldb-dap", "{configuration}");
    let mut adapter = Adapter::start()?;
    adapter.request("initialize", &json!({ "adapterID": "lldb-dap", "pathFormat": "path" }))?;
    adapter.answer("initialize")?;
    adapter.request("attach", &configuration)?;
    adapter.event("initialized")?;
    adapter.request("setFunctionBreakpoints", &json!({ "breakpoints": [{ "name": "kernel_main" }] }))?;
    let set = adapter.answer("setFunctionBreakpoints")?;
    ensure!(set["breakpoints"][0]["verified"] == true, "{set}");
    adapter.request("configurationDone", &json!({}))?;
    adapter.event("stopped")?;
    adapter.request("continue", &json!({ "threadId": 1 }))?;
    let stopped = adapter.event("stopped")?;
    ensure!(stopped["reason"] == "breakpoint", "{stopped}");
    adapter.request("stackTrace", &json!({ "threadId": stopped["threadId"], "levels": 5 }))?;
    let stack = adapter.answer("stackTrace")?;
    let frame = &stack["stackFrames"][0];
    ensure!(frame["name"] == "kernel::kernel_main" && frame["source"]["name"] == "main.rs", "{stack}");
    ensure!(stack["stackFrames"][1]["name"] == "_start", "{stack}");
    adapter.request("scopes", &json!({ "frameId": frame["id"] }))?;
    let scopes = adapter.answer("scopes")?;
    let locals = &scopes["scopes"][0]["variablesReference"];
    adapter.request("variables", &json!({ "variablesReference": locals }))?;
    let variables = adapter.answer("variables")?;
    let value = variables["variables"][0]["value"].as_str().unwrap_or_default();
    ensure!(value.starts_with("0xffffff00"), "{variables}");
    drop(adapter);
    listener.end(scene)
}

/// A program that speaks the Debug Adapter Protocol. Ends with this value.
struct Adapter {
    program: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    requests: u32,
}

impl Drop for Adapter {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

impl Adapter {
    fn start() -> Result<Self> {
        let mut command = Command::new(find_adapter().context("no adapter")?);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut program = command.spawn()?;
        let input = program.stdin.take().context("no input")?;
        let output = BufReader::new(program.stdout.take().context("no output")?);
        Ok(Self { program, input, output, requests: 0 })
    }

    fn request(&mut self, command: &str, arguments: &Value) -> Result<()> {
        self.requests += 1;
        let request =
            json!({ "seq": self.requests, "type": "request", "command": command, "arguments": arguments })
                .to_string();
        write!(self.input, "Content-Length: {}\r\n\r\n{request}", request.len())?;
        Ok(self.input.flush()?)
    }

    /// The body of the answer to a request, which has to be a good one.
    fn answer(&mut self, command: &str) -> Result<Value> {
        let answer =
            self.message(|message| message["type"] == "response" && message["command"] == command)?;
        ensure!(answer["success"] == true, "{answer}");
        Ok(answer["body"].clone())
    }

    /// The body of the next event of a kind.
    fn event(&mut self, kind: &str) -> Result<Value> {
        let is_it = |message: &Value| message["type"] == "event" && message["event"] == kind;
        Ok(self.message(is_it)?["body"].clone())
    }

    /// The next message that is meant; those before it are passed over, but a request that failed is not.
    fn message(&mut self, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        loop {
            let message = self.next()?;
            if is_it(&message) {
                return Ok(message);
            }
            ensure!(message["success"] != false, "{message}");
        }
    }

    fn next(&mut self) -> Result<Value> {
        let mut len = 0;
        loop {
            let mut line = String::new();
            ensure!(self.output.read_line(&mut line)? > 0, "the adapter has ended");
            match line.trim() {
                "" => break,
                line => {
                    if let Some(text) = line.strip_prefix("Content-Length: ") {
                        len = text.parse()?;
                    }
                }
            }
        }
        let mut body = vec![0; len];
        self.output.read_exact(&mut body)?;
        Ok(serde_json::from_slice(&body)?)
    }
}
