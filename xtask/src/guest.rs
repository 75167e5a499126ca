//! A machine that QEMU plays, described and then running: used by `cargo xtask qemu` and by the boot tests.

use crate::interrupt;
use crate::qmp::{Qmp, escape_commas};
use crate::temporary::TemporaryFolder;
use crate::{output, platform, tools};
use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{self, Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use wait4::{ResUse, Wait4};

/// The exit status that a guest's success gives: 10h written to the port of isa-debug-exit, which QEMU turns into
/// `value << 1 | 1`. Other values are failures, and 0 is a machine that was switched off.
pub(crate) const SUCCESS: i32 = 0x10 << 1 | 1;

/// How the image is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Drive {
    /// QEMU's default: an IDE disk on `pc`, an AHCI disk on `q35`.
    #[default]
    Disk,
    /// A virtio block device.
    Virtio,
    /// A USB stick.
    Usb,
    /// The first floppy drive.
    Floppy,
    /// The devices that `-device` takes, from the controller to the one that names `drive=disk`.
    On(&'static [&'static str]),
}

/// What QEMU boots without a disk, by Multiboot.
#[derive(Clone, Debug)]
pub(crate) struct Direct {
    /// stage2's ELF file.
    pub(crate) program: PathBuf,
    /// The bundle.
    pub(crate) bundle: PathBuf,
}

impl Direct {
    /// QEMU's options.
    fn options(&self) -> Result<Vec<String>> {
        let path = |path: &PathBuf| path.to_str().map(str::to_owned).context("a path that is not UTF-8");
        let (program, bundle) = (path(&self.program)?, escape_commas(&path(&self.bundle)?));
        Ok(vec!["-kernel".to_owned(), program, "-initrd".to_owned(), bundle])
    }

    /// The same, with a link in this folder to a bundle whose path has a space: QEMU takes what follows on one for an argument of
    /// the module's.
    fn without_space(&self, folder: &Path) -> Result<Self> {
        if !self.bundle.to_string_lossy().contains(' ') {
            return Ok(self.clone());
        }
        let bundle = folder.join("bundle");
        platform::link(&path::absolute(&self.bundle)?, &bundle)?;
        Ok(Self { bundle, ..self.clone() })
    }
}

/// A machine for QEMU to play.
#[derive(Clone, Default)]
pub(crate) struct Machine {
    /// The disk image.
    pub(crate) image: PathBuf,
    /// QEMU's name of the image's format [default: raw].
    pub(crate) format: Option<&'static str>,
    /// What is booted in its place.
    pub(crate) direct: Option<Direct>,
    /// How it is attached.
    pub(crate) drive: Drive,
    /// Whether what the guest writes reaches the image. Otherwise it is in a temporary file, and gone at the end; the
    /// image is only read, as several guests may do at once.
    pub(crate) writable: bool,
    /// `-machine`: `pc` (the default), `q35`.
    pub(crate) machine: Option<String>,
    /// `-m`.
    pub(crate) memory: Option<String>,
    /// `-cpu`.
    pub(crate) cpu: Option<String>,
    /// `-accel`.
    pub(crate) accel: Option<String>,
    /// `-display`; QEMU's default opens a window.
    pub(crate) display: Option<String>,
    /// Whether there is no serial port: standard output stays empty.
    pub(crate) no_serial_port: bool,
    /// Whether to leave out the device by which a guest ends QEMU: its screen is gone with it.
    pub(crate) stays: bool,
    /// More for QEMU's command line. What they say of serial line, screen and isa-debug-exit takes the place of the usual.
    pub(crate) arguments: Vec<String>,
    /// Another program than [`program`], and options in place of the usual disk; `{}` is the image's path. Empty for the
    /// usual.
    pub(crate) command: Vec<String>,
}

impl Machine {
    /// A machine of 64 MiB, of which so much lies below 4 GiB.
    pub(crate) fn with_low_memory(len: &str) -> Self {
        let machine = Some(format!("pc,max-ram-below-4g={len}"));
        Self { machine, memory: Some("64M".to_owned()), ..Self::default() }
    }

    /// The program's arguments. A QEMU gets what connects it with us, as far as they do not say so themselves.
    fn all_arguments(&self) -> Result<Vec<String>> {
        let disk = self.disk()?;
        if !self.is_qemu() {
            return Ok([disk, self.arguments.clone()].concat());
        }
        let mut arguments = Vec::new();
        let options = [
            ("-machine", &self.machine),
            ("-accel", &self.accel),
            ("-cpu", &self.cpu),
            ("-m", &self.memory),
            ("-display", if self.says(SCREEN_OPTIONS) { &None } else { &self.display }),
        ];
        for (option, value) in options {
            if let Some(value) = value {
                arguments.extend([option.to_owned(), value.clone()]);
            }
        }
        arguments.extend(disk);
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(|&word| word.to_owned()));
        if !self.says(&["serial", "nographic"]) && !self.given().any(|word| word.contains("stdio")) {
            add(&["-serial", if self.no_serial_port { "none" } else { "stdio" }]);
        }
        if !self.stays && !self.given().any(|word| word.starts_with("isa-debug-exit")) {
            add(&["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
        }
        arguments.extend(self.arguments.iter().cloned());
        Ok(arguments)
    }

    /// How the image is attached: as [`Self::drive`] says, or another command's options.
    fn disk(&self) -> Result<Vec<String>> {
        let path = self.image.to_str().context("an image path that is not UTF-8")?;
        let file = escape_commas(path);
        if let (true, Some(direct)) = (self.command.is_empty(), &self.direct) {
            return direct.options();
        }
        if let Some((_, options)) = self.command.split_first() {
            // Within `-drive`, a comma would end the path.
            let with_path =
                |option: &String| option.replace("file={}", &format!("file={file}")).replace("{}", path);
            return Ok(options.iter().map(with_path).collect());
        }
        let snapshot = if self.writable { "" } else { "snapshot=on," };
        let format = self.format.unwrap_or("raw");
        let drive = |interface: &str| format!("format={format},{snapshot}{interface}file={file}");
        let mut arguments = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(|&word| word.to_owned()));
        match self.drive {
            Drive::Disk => add(&["-drive", &drive("")]),
            Drive::Virtio => add(&["-drive", &drive("if=virtio,")]),
            Drive::Floppy => add(&["-drive", &drive("if=floppy,")]),
            Drive::Usb => {
                add(&["-drive", &drive("if=none,id=stick,")]);
                add(&["-device", "qemu-xhci", "-device", "usb-storage,drive=stick"]);
            }
            Drive::On(devices) => {
                add(&["-drive", &drive("if=none,id=disk,")]);
                devices.iter().for_each(|device| add(&["-device", device]));
            }
        }
        Ok(arguments)
    }

    /// What is given for the command line by others.
    fn given(&self) -> impl Iterator<Item = &String> {
        self.command.iter().skip(1).chain(&self.arguments)
    }

    /// Whether one of these options of QEMU is given, with one dash or two.
    fn says(&self, names: &[&str]) -> bool {
        let options = self.given().filter_map(|word| word.strip_prefix('-'));
        options.map(|name| name.trim_start_matches('-')).any(|name| names.contains(&name))
    }

    /// The program to run.
    fn program(&self) -> OsString {
        match self.command.first() {
            Some(other) if other != USUAL_PROGRAM => other.into(),
            _ => program(),
        }
    }

    /// Whether that is a QEMU, which takes orders from us.
    fn is_qemu(&self) -> bool {
        let Some(program) = self.command.first() else { return true };
        Path::new(program).file_name().is_some_and(|name| name.to_string_lossy().starts_with("qemu-system-"))
    }

    fn find_program(&self) -> Result<PathBuf> {
        let program = self.program();
        tools::find(&program).ok_or_else(|| {
            let name = program.to_string_lossy();
            if self.is_qemu() { tools::missing(&name) } else { anyhow!("{name} (run-command) not found") }
        })
    }

    /// The command that [`Self::start`] runs, ready to be pasted into a shell. The connection by which we control QEMU is
    /// left out: it would not be there.
    pub(crate) fn command_line(&self) -> Result<String> {
        let program = tools::as_typed(self.program());
        let arguments = self.all_arguments()?;
        Ok(output::shell_line(
            [&*program.to_string_lossy()].into_iter().chain(arguments.iter().map(String::as_str)),
        ))
    }

    /// Starts QEMU with the terminal's keyboard on the serial line.
    pub(crate) fn start(&self) -> Result<Guest> {
        self.spawn(Command::new(self.find_program()?), |_| Ok(Stdio::inherit()))
    }

    /// Starts QEMU with nothing but us to talk to.
    pub(crate) fn start_alone(&self) -> Result<Guest> {
        let mut command = Command::new(self.find_program()?);
        // A Ctrl-C on the terminal is for us, and we end QEMU; or it is for gdb, and QEMU goes on.
        platform::lead_a_group(command.stdin(Stdio::null()));
        self.spawn(command, |messages| Ok(File::create(messages)?.into()))
    }

    fn spawn(&self, mut command: Command, messages: impl FnOnce(&Path) -> Result<Stdio>) -> Result<Guest> {
        interrupt::check()?;
        let folder = TemporaryFolder::new()?;
        let direct = self.direct.as_ref().map(|direct| direct.without_space(folder.path())).transpose()?;
        let qmp = if self.is_qemu() { Some(Qmp::listen(folder.path())?) } else { None };
        let mut guard = interrupt::Guard::new();
        let mut child = command
            .args(Self { direct, ..self.clone() }.all_arguments()?)
            .args(qmp.iter().flat_map(Qmp::arguments))
            .stdout(Stdio::piped())
            .stderr(messages(&folder.path().join(MESSAGES))?)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
        guard.watch(&child);
        let mut stdout = child.stdout.take().context("QEMU without output")?;
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..len].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Guest {
            child: Some(child),
            status: None,
            cpu_time: Duration::ZERO,
            output,
            serial: Vec::new(),
            qmp,
            folder,
            guard,
        })
    }
}

/// `$QEMU`, or the usual name.
pub(crate) fn program() -> OsString {
    env::var_os("QEMU").unwrap_or_else(|| USUAL_PROGRAM.into())
}

const USUAL_PROGRAM: &str = "qemu-system-x86_64";

/// QEMU's options that say where the screen is shown.
const SCREEN_OPTIONS: &[&str] = &["display", "nographic", "curses", "vnc", "spice"];

/// QEMU's own messages, in a guest's folder.
const MESSAGES: &str = "messages";

/// What a guest did next.
pub(crate) enum Event {
    /// It wrote this on its serial line.
    Output(Vec<u8>),
    /// It did nothing until the given time.
    Quiet,
    /// It ended, with this status of QEMU.
    Ended(ExitStatus),
}

/// A running machine. Ends with this value, if not before.
pub(crate) struct Guest {
    /// None when it has ended.
    child: Option<Child>,
    status: Option<ExitStatus>,
    /// What it had used of the processors when it ended.
    cpu_time: Duration,
    output: Receiver<Vec<u8>>,
    serial: Vec<u8>,
    /// None for a program that takes no orders.
    qmp: Option<Qmp>,
    folder: TemporaryFolder,
    guard: interrupt::Guard,
}

impl Guest {
    /// Waits for what the guest does next, until a moment in time or, without one, for as long as it takes.
    pub(crate) fn next(&mut self, until: Option<Instant>) -> Result<Event> {
        if let Some(status) = self.status {
            return Ok(Event::Ended(status));
        }
        let received = match until {
            Some(until) => self.output.recv_timeout(until.saturating_duration_since(Instant::now())),
            None => self.output.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(bytes) => {
                self.serial.extend(&bytes);
                Ok(Event::Output(bytes))
            }
            Err(RecvTimeoutError::Timeout) => Ok(Event::Quiet),
            Err(RecvTimeoutError::Disconnected) => {
                self.guard.forget_child();
                self.wait().map(Event::Ended)
            }
        }
    }

    /// Everything on the serial line so far.
    pub(crate) fn serial(&self) -> String {
        String::from_utf8_lossy(&self.serial).replace('\r', "")
    }

    /// What QEMU used of the processors, in user mode and in the system's, until it ended.
    pub(crate) fn cpu_time(&self) -> Duration {
        self.cpu_time
    }

    /// What QEMU had to say itself, when it was started alone.
    pub(crate) fn messages(&self) -> String {
        fs::read_to_string(self.folder.path().join(MESSAGES)).unwrap_or_default()
    }

    /// The 25 lines of the VGA text screen.
    pub(crate) fn screen(&mut self) -> Result<String> {
        Ok(screen_text(&self.physical_memory(0xb8000, 80 * 25 * 2)?))
    }

    /// What lies in the guest's physical memory.
    pub(crate) fn physical_memory(&mut self, addr: u64, len: u64) -> Result<Vec<u8>> {
        let dump = self.folder.path().join("memory");
        self.qmp()?.save_memory(addr, len, &dump)?;
        Ok(fs::read(&dump)?)
    }

    /// A picture of the screen, in PNG.
    pub(crate) fn screenshot(&mut self) -> Result<Vec<u8>> {
        let path = self.folder.path().join("screen.png");
        self.qmp()?.screenshot(&path, "png")?;
        Ok(fs::read(&path)?)
    }

    /// The pixels of the screen.
    pub(crate) fn pixels(&mut self) -> Result<Picture> {
        let path = self.folder.path().join("screen.ppm");
        self.qmp()?.screenshot(&path, "ppm")?;
        Picture::parse(&fs::read(&path)?).context("the picture that QEMU made")
    }

    /// Presses a key of the guest's keyboard, by QEMU's name for it, and releases it after so many milliseconds.
    pub(crate) fn press_key(&mut self, key: &str, milliseconds: u32) -> Result<()> {
        let keys = json!([{ "type": "qcode", "data": key }]);
        self.qmp()?.execute("send-key", json!({ "keys": keys, "hold-time": milliseconds }))?;
        Ok(())
    }

    /// Whether QEMU has come so far that it takes orders. It has opened everything by then that others connect to.
    pub(crate) fn takes_orders(&mut self) -> Result<bool> {
        let qmp = self.qmp()?;
        // One that ends on its way there answers no more.
        Ok(qmp.is_connected().unwrap_or(false) && qmp.execute("query-status", json!({})).is_ok())
    }

    fn qmp(&mut self) -> Result<&mut Qmp> {
        self.qmp.as_mut().context("only QEMU takes orders")
    }

    /// Ends QEMU, politely first: it has to give the terminal back as it was.
    pub(crate) fn end(&mut self) -> Result<()> {
        if self.status.is_some() {
            return Ok(());
        }
        if self.qmp().and_then(|qmp| qmp.execute("quit", json!({}))).is_err() {
            self.guard.terminate_child();
        }
        let deadline = Instant::now() + Duration::from_secs(3);
        loop {
            match self.next(Some(deadline))? {
                Event::Output(_) if Instant::now() < deadline => {}
                Event::Ended(_) => return Ok(()),
                Event::Output(_) | Event::Quiet => break,
            }
        }
        self.guard.forget_child();
        if let Some(child) = &mut self.child {
            child.kill()?;
        }
        self.wait()?;
        Ok(())
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        let child = self.child.take().context("QEMU has been waited for")?;
        let ResUse { status, rusage } = child.wait4()?;
        self.cpu_time = rusage.utime + rusage.stime;
        self.status = Some(status);
        Ok(status)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.end();
    }
}

/// Pixels: red, green and blue of each, row by row.
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// Reads a PPM file as QEMU writes it: `P6`, width and height, the greatest value, each on its line.
    fn parse(file: &[u8]) -> Option<Self> {
        let mut lines = file.splitn(4, |&byte| byte == b'\n');
        let mut line = || lines.next();
        let (magic, size, max, pixels) = (line()?, line()?, line()?, line()?);
        let (width, height) = std::str::from_utf8(size).ok()?.split_once(' ')?;
        let (width, height): (usize, usize) = (width.parse().ok()?, height.parse().ok()?);
        let pixels: Vec<_> = pixels.as_chunks().0.to_vec();
        let is_right = magic == b"P6" && max == b"255" && pixels.len() == width * height;
        is_right.then_some(Self { width, height, pixels })
    }
}

/// The text in the memory of a VGA text screen.
pub(crate) fn screen_text(cells: &[u8]) -> String {
    let character = |cell: &[u8]| if matches!(cell[0], b' '..=b'~') { char::from(cell[0]) } else { ' ' };
    let line = |cells: &[u8]| cells.chunks(2).map(character).collect::<String>().trim_end().to_owned();
    cells.chunks(80 * 2).map(line).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// QEMU's exit status as a number, when it ended by itself.
pub(crate) fn exit_code(status: ExitStatus) -> Result<i32> {
    let signal = platform::signal(status);
    ensure!(signal.is_none(), "QEMU was ended by signal {}", signal.unwrap_or_default());
    status.code().context("QEMU ended without an exit code")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_pasted_whatever_the_image_is_called() {
        let machine =
            Machine { image: "/my disks/a,b.img".into(), memory: Some("64M".into()), ..Machine::default() };
        let line = machine.command_line().unwrap();
        let drive = output::shell_line(["-drive", "format=raw,snapshot=on,file=/my disks/a,,b.img"]);
        assert!(line.contains(&format!("-m 64M {drive} -serial stdio")), "{line}");
    }

    #[test]
    fn only_a_writable_image_is_written_to() {
        let line = |writable| Machine { writable, ..Machine::default() }.command_line().unwrap();
        assert!(line(false).contains("snapshot=on"));
        assert!(!line(true).contains("snapshot=on"));
    }

    #[test]
    fn what_the_arguments_say_is_not_said_twice() {
        let line = |command: &[&str], arguments: &[&str]| {
            let [command, arguments] =
                [command, arguments].map(|words| words.iter().map(|&word| word.to_owned()).collect());
            let display = Some("none".to_owned());
            Machine { image: "/a,b.img".into(), display, command, arguments, ..Machine::default() }
                .all_arguments()
                .unwrap()
                .join(" ")
        };
        let exit = "-device isa-debug-exit,iobase=0xf4,iosize=0x04";
        let told =
            line(&[], &["-device", "isa-debug-exit,iobase=0xf5", "-serial", "mon:stdio", "-display", "sdl"]);
        assert!(
            told.ends_with(",,b.img -device isa-debug-exit,iobase=0xf5 -serial mon:stdio -display sdl"),
            "{told}"
        );
        assert_eq!(
            line(&["/bin/qemu-system-i386", "-drive", "format=raw,file={}"], &["-nographic"]),
            format!("-drive format=raw,file=/a,,b.img {exit} -nographic")
        );
        assert_eq!(
            line(&["/bin/qemu-system-i386", "-hda", "{}"], &[]),
            format!("-display none -hda /a,b.img -serial stdio {exit}")
        );
        assert_eq!(line(&["./run", "{}"], &["-x"]), "/a,b.img -x");
    }

    #[test]
    fn success_is_33() {
        assert_eq!(SUCCESS, 33);
    }
}
