//! The way of an image to a stick, from the top.

use super::Options;
use super::disks::{Connection, System};
use super::target::Target;
use super::writing::{compare, write};
use crate::image::open_image;
use crate::{interrupt, output};
use anyhow::{Context, Result, ensure};
use indicatif::DecimalBytes;
use rustix::fs::{Advice, fadvise};
use std::env;
use std::fs::File;
use std::io::{IsTerminal, Seek, stdin};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let system = System::new("/");
    let Some(device) = &options.device else { return list(&system) };
    let target = Target::find(&system, device)?;
    target.check(options.internal)?;
    ensure!(
        options.yes || stdin().is_terminal(),
        "nobody to ask whether {target} may be overwritten: --yes says so"
    );
    // From here on, nobody else can mount it.
    let mut stick = target.open().with_context(|| cannot_open(options, &target))?;
    let file = match &target {
        Target::File { path, .. } => Some(("the device", &**path)),
        Target::Disk(_) => None,
    };
    let (mut image, len) = open_image(&options.image(file)?)?;
    target.check_room(len)?;
    output::note(&format!("{target}: everything on it will be lost"));
    if !options.yes {
        ask_for(&target.name())?;
    }

    let _guard = interrupt::Guard::new();
    let written = write_and_compare(&mut image, len, &mut stick, &target.name());
    if let Err(error) = &written
        && interrupt::happened()
    {
        // Otherwise it would go without saying.
        output::note(&format!("{error:#}"));
    }
    written?;
    let end = if file.is_some() { "" } else { "; it can be unplugged" };
    output::line(&format!("{} holds the image, and was read back without a difference{end}", target.name()));
    Ok(ExitCode::SUCCESS)
}

/// What there is to do about a target that cannot be opened.
fn cannot_open(options: &Options, target: &Target) -> String {
    let name = target.name();
    let xtask = env::current_exe().unwrap_or_else(|_| "xtask".into());
    let image = options.image.as_deref().unwrap_or(Path::new("IMAGE"));
    let words = ["sudo".as_ref(), &*xtask, "flash".as_ref(), name.as_ref(), "--image".as_ref(), image];
    let words = words.map(|word| word.to_string_lossy());
    let line = output::shell_line(words.iter().map(|word| &**word));
    format!("cannot write to {name}; if it takes other rights, build the image first, then run `{line}`")
}

/// The disks that an image could go to, and what there is to say of them.
fn list(system: &System) -> Result<ExitCode> {
    let disks = system.disks()?;
    let removable: Vec<_> = disks.iter().filter(|disk| disk.connection == Connection::Removable).collect();
    for disk in &removable {
        let uses = disk.uses.iter().map(|found| format!("; {found}"));
        output::line(&format!("{disk}{}", uses.collect::<String>()));
    }
    match &*removable {
        [] => output::note("no removable disk is there, nor one on USB"),
        [first, ..] => {
            let device = first.device();
            output::note(&format!("name one of them to write to it, as in `cargo xtask flash {device}`"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Has a name typed.
fn ask_for(name: &str) -> Result<()> {
    output::note(&format!("Type {name} to go on:"));
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    let answer = answer.trim();
    let is_its_name = [answer.to_owned(), format!("/dev/{answer}")].iter().any(|answer| answer == name);
    ensure!(is_its_name, "found {answer:?}, expected {name}; nothing was written");
    Ok(())
}

fn write_and_compare(image: &mut File, len: u64, stick: &mut File, name: &str) -> Result<()> {
    transfer(image, len, stick)
        .with_context(|| format!("{name} holds only a part of the image now; write it again"))?;
    verify(image, len, stick)
        .with_context(|| format!("the image was written to {name}, but did not prove to be there"))
}

/// Writes the image, and waits until it has arrived.
fn transfer(image: &mut File, len: u64, stick: &mut File) -> Result<()> {
    let started = Instant::now();
    write(image, len, stick, &interrupt::happened)?;
    stick.sync_all().context("cannot write all of it")?;
    report("written", len, started);
    Ok(())
}

/// Reads the image back, from where it was written to and not from memory.
fn verify(image: &mut File, len: u64, stick: &mut File) -> Result<()> {
    let started = Instant::now();
    image.rewind()?;
    stick.rewind()?;
    // For files: disks are not read by way of memory.
    fadvise(&*stick, 0, None, Advice::DontNeed)?;
    compare(image, len, stick, &interrupt::happened)?;
    report("compared", len, started);
    Ok(())
}

fn report(what: &str, len: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    let speed = len as f64 / 1e6 / seconds.max(1e-3);
    output::note(&format!("{what}: {} in {seconds:.1} s, {speed:.1} MB/s", DecimalBytes(len)));
}
