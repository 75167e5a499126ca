//! `cargo xtask explain`, and the line that leads there from a guest's message.

use super::Test;
use super::commands::succeed;
use super::parts::Scene;
use crate::child;
use anyhow::{Result, ensure};
use loader::BootError;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("explain::one_message", one_message),
        Test::new("explain::all_messages", all_messages),
        Test::new("explain::unknown_number", unknown_number),
        Test::new("explain::qemu_tells_of_it", qemu_tells_of_it),
    ]
}

fn one_message(scene: &Scene) -> Result<()> {
    let told = succeed(scene.xtask().args(["explain", "boot error E25: kernel damaged"]))?;
    ensure!(told.starts_with("boot error E25: kernel damaged: checksum of bytes 0 to "), "{told}");
    for part in
        ["\nCause\n  ", "\nWhat to try\n  ", "\nHow the tests bring it about\n  ", "`damaged::kernel`"]
    {
        ensure!(told.contains(part), "no {part:?}: {told}");
    }
    ensure!(told == succeed(scene.xtask().args(["explain", "25"]))?, "{told}");
    Ok(())
}

fn all_messages(scene: &Scene) -> Result<()> {
    let told = succeed(scene.xtask().arg("explain"))?;
    let starts: Vec<_> = told.lines().filter(|line| !line.starts_with(' ')).collect();
    ensure!(starts.len() == BootError::examples().len() + 2, "{told}");
    ensure!(starts[0].starts_with("stage2 read error") && starts[2].starts_with("E01: A20"), "{told}");
    Ok(())
}

fn unknown_number(scene: &Scene) -> Result<()> {
    let output = child::output(scene.xtask().args(["explain", "E45"]))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}", output.status);
    ensure!(told == "error: there is no error E45; its neighbours are E44 and E46\n", "{told}");
    Ok(())
}

fn qemu_tells_of_it(scene: &Scene) -> Result<()> {
    let picture = ["--screenshot", "error.png", "--display", "none"];
    let output =
        child::output(scene.xtask().args(["qemu", "-o", "small.img", "--memory", "1M"]).args(picture))?;
    let [told, noted] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    ensure!(output.status.success() && told.contains("boot error E60: out of memory"), "{told}\n{noted}");
    let hint = "\n`cargo xtask explain E60` tells what to try\n";
    ensure!(noted.matches(hint).count() == 1, "expected {hint:?} once: {noted}");
    Ok(())
}
