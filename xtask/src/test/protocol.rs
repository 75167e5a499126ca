//! Kernels written for another boot loader's structures boot as they are, and are handed what they know.

use super::Test;
use super::parts::Scene;
use crate::bare_metal::{RECURSIVE_KERNEL, TUTORIAL_KERNEL, read};
use crate::guest::Machine;
use crate::project::Boot;
use crate::strip::find_objcopy;
use crate::{child, image};
use anyhow::{Result, ensure};
use boot_info::{KernelConfig, Protocol};
use xshell::{Shell, cmd};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("protocol::tutorial", |scene| tutorial(scene, Machine::default())),
        Test::new("protocol::tutorial_above_4_gib", |scene| {
            let machine = Some("pc,max-ram-below-4g=64M".to_owned());
            tutorial(scene, Machine { machine, memory: Some("256M".to_owned()), ..Machine::default() })
        }),
        Test::new("protocol::own_start", |scene| succeeds(scene, "own-start")),
        Test::new("protocol::recursive_page_table", |scene| succeeds(scene, RECURSIVE_KERNEL.name)),
        Test::new("protocol::a_kernel_without_a_note_is_ours", without_a_note),
    ]
}

/// Segments without one for data, interrupts of timer and keyboard, paging, a heap, text on the screen.
fn tutorial(scene: &Scene, machine: Machine) -> Result<()> {
    let kernel = scene.parts.kernels_of_0_9.join(TUTORIAL_KERNEL.name);
    let mut booted = scene.boot_kernel(&kernel, "", machine)?;
    booted.says("Hello World!")?;
    booted.says("press a key")?;
    // The guest may end by the key before QEMU says that it was sent.
    let pressed = booted.press_key();
    booted.wait_for_success().map_err(|error| pressed.err().unwrap_or(error))
}

fn succeeds(scene: &Scene, name: &str) -> Result<()> {
    let kernel = scene.parts.kernels_of_0_9.join(name);
    scene.boot_kernel(&kernel, "", Machine::default())?.wait_for_success()
}

/// It is the note, or its copy by name, and nothing else, that tells.
fn without_a_note(scene: &Scene) -> Result<()> {
    let marked = scene.parts.kernels_of_0_9.join("own-start");
    let [by_symbol, unmarked] = ["by symbol", "unmarked"].map(|name| scene.folder().join(name));
    let shell = Shell::new()?;
    let objcopy = find_objcopy(&shell)?;
    let remove = "--remove-section=.note.doorstep";
    child::run(&mut cmd!(shell, "{objcopy} {remove} {marked} {by_symbol}").into())?;
    child::run(&mut cmd!(shell, "{objcopy} {remove} --strip-all {marked} {unmarked}").into())?;
    let theirs = Protocol::BOOTLOADER_0_9;
    for (kernel, expected) in [(marked, theirs), (by_symbol, theirs), (unmarked, Protocol::DOORSTEP)] {
        let found = image::resolve(&read(&kernel)?, &Boot::default())?;
        let expected = KernelConfig { protocol: expected, ..KernelConfig::DEFAULT };
        ensure!(found == expected, "found {found:?}, expected {expected:?}");
    }
    Ok(())
}
