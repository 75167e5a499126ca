//! Programs that do a piece of work for us, such as cargo and objcopy: none of them outlives us.
//!
//! Each leads a process group of its own. Whatever asks us to end, be it Ctrl-C or `kill`, ends all of that group: cargo
//! does not pass on what it is told to the compilers that it has started. Their standard input is empty, for only the
//! terminal's own group may read from it.

use crate::bare_metal::both;
use crate::interrupt::{self, Guard};
use crate::{output, platform};
use anyhow::{Context, Result, ensure};
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

/// Runs a program to its end, which has to be a good one.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    ensure!(status.success(), "`{}` failed ({status})", line(command));
    Ok(())
}

/// Runs a program to its end.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    Running::start(command)?.end()
}

/// Runs a program to its end, which has to be a good one, and gives what it wrote on its standard output, without the
/// last line's end.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let mut running = Running::start(command.stdout(Stdio::piped()))?;
    let text = read_all(running.child.stdout.take())?;
    let status = running.end()?;
    ensure!(status.success(), "`{}` failed ({status})", line(command));
    let text = String::from_utf8(text).with_context(|| format!("`{}` wrote no UTF-8", line(command)))?;
    Ok(text.trim_end_matches('\n').to_owned())
}

/// Runs a program to its end, and gives what it wrote.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let (stdout, stderr) = (running.child.stdout.take(), running.child.stderr.take());
    let (stdout, stderr) = both(|| read_all(stdout), || read_all(stderr));
    Ok(Output { status: running.end()?, stdout: stdout?, stderr: stderr? })
}

/// Runs a program that may ask the person something on the terminal, as sudo does. It stays in our group, which Ctrl-C
/// reaches; it alone is told of other requests to end.
pub(crate) fn run_on_terminal(command: &mut Command) -> Result<()> {
    let status = Running::start_on_terminal(command)?.end()?;
    ensure!(status.success(), "`{}` failed ({status})", line(command));
    Ok(())
}

/// A program that has been started. Ends with this value, if not before.
pub(crate) struct Running {
    /// To talk to. It is not to be waited for but with [`Self::end`].
    pub(crate) child: Child,
    guard: Guard,
    has_ended: bool,
}

impl Running {
    /// Starts a program in a process group of its own.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let mut running = Self::spawn(platform::lead_a_group(command.stdin(Stdio::null())))?;
        running.guard.watch_group(&running.child);
        Ok(running)
    }

    /// The same for one that is talked to by its standard input and output.
    #[cfg(unix)]
    pub(crate) fn start_to_talk(command: &mut Command) -> Result<Self> {
        let mut running =
            Self::spawn(platform::lead_a_group(command.stdin(Stdio::piped()).stdout(Stdio::piped())))?;
        running.guard.watch_group(&running.child);
        Ok(running)
    }

    fn start_on_terminal(command: &mut Command) -> Result<Self> {
        let mut running = Self::spawn(command)?;
        running.guard.watch(&running.child);
        Ok(running)
    }

    fn spawn(command: &mut Command) -> Result<Self> {
        interrupt::check()?;
        // Before the program is there: in between, an interruption would leave it behind.
        let guard = Guard::new();
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
        Ok(Self { child, guard, has_ended: false })
    }

    /// Waits for its end. Without a status when there was an interruption, whatever the status says.
    pub(crate) fn end(mut self) -> Result<ExitStatus> {
        let status = self.wait()?;
        interrupt::check()?;
        Ok(status)
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        self.has_ended = true;
        // Its number stays its own until the second wait.
        platform::wait_for_end(&mut self.child)?;
        self.guard.forget_child();
        Ok(self.child.wait()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended {
            self.guard.terminate_child();
            // Nobody is left to tell.
            let _ = self.wait();
        }
    }
}

fn read_all(pipe: Option<impl Read>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.context("a program without output")?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The command as a person would type it.
fn line(command: &Command) -> String {
    let words: Vec<_> = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    output::shell_line(words.iter().map(|word| &**word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let (shell, option) = if cfg!(windows) { ("cmd", "/c") } else { ("sh", "-c") };
        let mut command = Command::new(shell);
        command.args([option, script]);
        command
    }

    #[test]
    fn a_failure_is_told_with_the_command_and_its_status() {
        let error = run(&mut shell("exit 3")).unwrap_err().to_string();
        let (line, status) = if cfg!(windows) {
            ("cmd /c \"exit 3\"", "exit code: 3")
        } else {
            ("sh -c 'exit 3'", "exit status: 3")
        };
        assert_eq!(error, format!("`{line}` failed ({status})"));
        let error = format!("{:#}", run(&mut Command::new("/no such program")).unwrap_err());
        assert!(error.starts_with("cannot run /no such program: "), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn more_output_than_a_pipe_holds_arrives_on_both_ways() {
        let output =
            output(&mut shell("yes 1 | head -c 300000; yes 2 | head -c 300000 >&2; exit 3")).unwrap();
        assert_eq!((output.stdout.len(), output.stderr.len()), (300_000, 300_000));
        assert_eq!(output.status.code(), Some(3));
    }

    #[test]
    fn a_program_that_reads_finds_nothing_instead_of_waiting_for_the_terminal() {
        let script = if cfg!(windows) { "set /p line= & echo end" } else { "cat; echo end" };
        assert_eq!(read(&mut shell(script)).unwrap().trim(), "end");
    }

    /// They hold the other end of the pipe as long as they are there.
    #[test]
    fn what_a_program_has_started_ends_with_it() {
        let script =
            if cfg!(windows) { "ping -t 127.0.0.1 & rem" } else { "echo started; sleep 1000000; true" };
        let mut running = Running::start(shell(script).stdout(Stdio::piped())).unwrap();
        let mut output = running.child.stdout.take().unwrap();
        assert_ne!(output.read(&mut [0; 4]).unwrap(), 0);
        drop(running);
        read_all(Some(output)).unwrap();
    }
}
