//! `cargo xtask runner` in projects of others: their settings, their tests, and what is refused.

use super::Test;
use super::commands::{lack_of_shell, succeed, write_program};
use super::parts::Scene;
use crate::{child, guest, output};
use anyhow::{Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("runner::test_that_passes", test_that_passes),
        Test::new("runner::test_that_fails", test_that_fails),
        Test::new("runner::test_that_never_ends", test_that_never_ends),
        Test::new("runner::test_that_resets_the_machine", test_that_resets_the_machine).needs(lack_of_shell),
        Test::new("runner::settings_of_ours", settings_of_ours),
        Test::new("runner::settings_of_bootimage_and_bootloader", settings_of_bootimage_and_bootloader),
        Test::new("runner::settings_of_the_package_that_cargo_runs", settings_of_the_package_that_cargo_runs),
        Test::new("runner::another_run_command", another_run_command).needs(lack_of_shell),
        Test::new("runner::what_does_not_fit_is_refused", what_does_not_fit_is_refused),
        Test::new("runner::original_bootloader_is_refused", original_bootloader_is_refused),
        Test::new("runner::each_kernel_has_an_image_of_its_own", each_kernel_has_an_image_of_its_own),
    ]
}

/// A project with a kernel where cargo would put it.
struct Project<'a> {
    scene: &'a Scene,
    kernel: PathBuf,
}

impl<'a> Project<'a> {
    /// With these settings, and one of the test kernels in a folder of cargo's.
    fn new(scene: &'a Scene, settings: &str, kernel: &str, folder: &str) -> Result<Self> {
        let folder = scene.folder().join("target/x86_64/debug").join(folder);
        fs::create_dir_all(&folder)?;
        let project = Self { scene, kernel: folder.join(kernel) };
        fs::copy(scene.parts.test_kernels.join(kernel), &project.kernel)?;
        project.write("Cargo.toml", &format!("[package]\nname = \"theirs\"\n{settings}\n"))?;
        Ok(project)
    }

    /// A test of theirs.
    fn test(scene: &'a Scene, settings: &str, kernel: &str) -> Result<Self> {
        Self::new(scene, settings, kernel, "deps")
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.scene.folder().join(name), text)?)
    }

    /// What a runner does that knows no more than the kernel's path.
    fn runner(&self) -> Command {
        let mut command = self.scene.xtask();
        command.arg("runner").arg(&self.kernel).env_remove("CARGO_MANIFEST_DIR");
        command
    }
}

/// It fails with exit code 1, and says this.
fn refuses(output: &Output, expected: &str) -> Result<()> {
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}, expected 1\n{told}", output.status);
    ensure!(told.contains(expected), "expected: {expected}\nfound: {told}");
    Ok(())
}

fn test_that_passes(scene: &Scene) -> Result<()> {
    for settings in ["", "[package.metadata.bootimage]\ntest-success-exit-code = 33"] {
        let told = succeed(&mut Project::test(scene, settings, "bss_zeroed")?.runner())?;
        ensure!(told.contains("test passed"), "no serial line in: {told}");
    }
    Ok(())
}

fn test_that_fails(scene: &Scene) -> Result<()> {
    let output = child::output(&mut Project::test(scene, "", "panic")?.runner())?;
    refuses(&output, "error: test panic failed: exit code 35, expected 33 (test-success-exit-code)")?;
    ensure!(String::from_utf8_lossy(&output.stdout).contains("test failed"), "no serial line");
    // Whoever says so gets it.
    let other = "[package.metadata.doorstep]\ntest-success-exit-code = 35";
    succeed(&mut Project::test(scene, other, "panic")?.runner())?;
    Ok(())
}

fn test_that_never_ends(scene: &Scene) -> Result<()> {
    let project = Project::test(scene, "[package.metadata.bootimage]\ntest-timeout = 3", "panic")?;
    fs::copy(&scene.parts.kernel_release, &project.kernel)?;
    let output = child::output(&mut project.runner())?;
    refuses(&output, "error: test panic has not ended after 3 seconds (test-timeout); its screen:\n")?;
    refuses(&output, "Hello World!")
}

/// A reset ends the test, as its failure.
fn test_that_resets_the_machine(scene: &Scene) -> Result<()> {
    let project = Project::test(scene, "", "bss_zeroed")?;
    // Stands for a QEMU whose guest does so.
    let qemu = scene.folder().join("qemu");
    write_program(&qemu, "for word; do test \"$word\" = -no-reboot && exit 0; done; exit 33")?;
    let output = child::output(project.runner().env("QEMU", &qemu))?;
    refuses(&output, "failed: the machine was reset or switched off (exit code 0), expected exit code 33")?;
    let project = Project::test(
        scene,
        "[package.metadata.bootimage]\ntest-success-exit-code = 33\ntest-no-reboot = false",
        "panic",
    )?;
    succeed(project.runner().env("QEMU", &qemu))?;
    Ok(())
}

fn settings_of_ours(scene: &Scene) -> Result<()> {
    let settings = r#"
        [package.metadata.doorstep]
        command-line = "log=debug"
        physical-memory-offset = "0xffff_9000_0000_0000"
        stack-address = "0xffff_f000_0000_0000"
        stack-size = 65536
        boot-info-address = "0x4000_0000_0000"
        run-args = ["-m", "64M"]
    "#;
    let told = succeed(&mut Project::new(scene, settings, "configured", "")?.runner())?;
    for line in [
        "stack: 0xfffff00000000000 to 0xfffff00000010000\n",
        "window: 0xffff900000000000\n",
        "boot info: 0x400000000000\n",
        "command line: \"log=debug\"\n",
    ] {
        ensure!(told.replace('\r', "").contains(line), "no {line:?} in: {told}");
    }
    let memory = told.split_once("memory: ").and_then(|(_, rest)| rest.split_once(" KiB"));
    let kib: Option<u32> = memory.and_then(|(kib, _)| kib.parse().ok());
    ensure!(kib.is_some_and(|kib| kib < 64 << 10), "not 64 MiB of memory: {told}");

    // The command line counts more.
    let told = succeed(Project::new(scene, settings, "configured", "")?.runner().args(["--cmdline", ""]))?;
    ensure!(told.contains("command line: \"\""), "{told}");
    Ok(())
}

/// An operating system's Cargo.toml, which is for the loader 0.9.
fn settings_of_bootimage_and_bootloader(scene: &Scene) -> Result<()> {
    let settings = r#"
        [package.metadata.bootimage]
        build-command = ["build"]
        run-command = ["qemu-system-x86_64", "-drive", "format=raw,file={}"]
        run-args = ["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-serial", "stdio", "-display", "none"]
        [package.metadata.bootloader]
        physical-memory-offset = "0xFFFF800000000000"
        kernel-stack-address = "0xFFFFFF8000000000"
        boot-info-address = "0xFFFFFF0000000000"
    "#;
    let told = succeed(&mut Project::new(scene, settings, "configured", "")?.runner())?;
    for line in [
        "stack: 0xffffff8000001000 to 0xffffff8000201000\n",
        "window: 0xffff800000000000\n",
        "boot info: 0xffffff0000000000\n",
    ] {
        ensure!(told.replace('\r', "").contains(line), "no {line:?} in: {told}");
    }
    Ok(())
}

/// In a workspace, kernels lie in a folder that is not the package's: cargo tells which one it is.
fn settings_of_the_package_that_cargo_runs(scene: &Scene) -> Result<()> {
    let project = Project::new(scene, "", "configured", "")?;
    let member = scene.folder().join("member");
    fs::create_dir(&member)?;
    let text =
        "[package]\nname = \"member\"\n[package.metadata.doorstep]\ncommand-line = \"of the member\"\n";
    fs::write(member.join("Cargo.toml"), text)?;
    let mut runner = project.runner();
    runner.env("CARGO_MANIFEST_DIR", &member).env("CARGO_PKG_NAME", "member");
    let told = succeed(&mut runner)?;
    ensure!(told.contains("command line: \"of the member\""), "{told}");
    Ok(())
}

/// It need not be QEMU.
fn another_run_command(scene: &Scene) -> Result<()> {
    let program = scene.folder().join("my emulator");
    write_program(&program, "test -f \"$2\" && echo \"$@\" && exit 33")?;
    let settings = format!(
        "[package.metadata.bootimage]\nrun-command = [{program:?}, \"--disk\", \"{{}}\"]\nrun-args = [\"--fast\"]"
    );
    let told = succeed(&mut Project::new(scene, &settings, "bss_zeroed", "")?.runner())?;
    ensure!(told.starts_with("--disk /") && told.ends_with("/bss_zeroed.img --fast\n"), "{told}");

    let settings = "[package.metadata.doorstep]\nrun-command = [\"no-such-emulator\", \"{}\"]";
    let output = child::output(&mut Project::new(scene, settings, "bss_zeroed", "")?.runner())?;
    refuses(&output, "error: no-such-emulator (run-command) not found")
}

fn what_does_not_fit_is_refused(scene: &Scene) -> Result<()> {
    for (settings, expected) in [
        (
            "[package.metadata.doorstep]\nstak-size = 1",
            "Cargo.toml: [package.metadata.doorstep] has no key `stak-size`; did you mean `stack-size`?",
        ),
        (
            "[package.metadata.bootimage]\ntest-timeout = \"1m\"",
            "Cargo.toml: [package.metadata.bootimage] test-timeout: found \"1m\", expected seconds",
        ),
        (
            "[package.metadata.bootloader]\nkernel-stack-size = -1",
            "Cargo.toml: [package.metadata.bootloader] kernel-stack-size: found -1, expected pages",
        ),
        ("[package.metadata.doorstep", "Cargo.toml: TOML parse error at line 3"),
        // It is the desk check that refuses these.
        (
            "[package.metadata.doorstep]\nstack-address = \"0xffffffff80200000\"",
            "E54: the stack cannot be at 0xffffffff801ff000",
        ),
    ] {
        let output = child::output(&mut Project::new(scene, settings, "bss_zeroed", "")?.runner())?;
        refuses(&output, expected)?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(!told.contains("building"), "{settings}: something was built: {told}");
    }
    let project = Project::new(scene, "", "bss_zeroed", "")?;
    fs::write(&project.kernel, [b'#'; 100])?;
    refuses(&child::output(&mut project.runner())?, "bss_zeroed: E30: kernel is no ELF file")?;
    fs::remove_file(&project.kernel)?;
    refuses(&child::output(&mut project.runner())?, "bss_zeroed: No such file")?;
    let output = child::output(scene.xtask().arg("runner"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2) && told.contains("<ELF>"), "{}: {told}", output.status);
    Ok(())
}

/// Its boot info is not ours.
fn original_bootloader_is_refused(scene: &Scene) -> Result<()> {
    let project = Project::new(scene, "", "bss_zeroed", "")?;
    for (name, version) in [("bootloader", "0.9.35"), ("bootloader_api", "0.11.17")] {
        let lock_file = |source: &str| {
            format!(
                "version = 4\n[[package]]\nname = \"theirs\"\nversion = \"0.1.0\"\ndependencies = [\"{name}\"]\n\
                 [[package]]\nname = \"{name}\"\nversion = \"{version}\"\n{source}"
            )
        };
        project.write(
            "Cargo.lock",
            &lock_file("source = \"registry+https://github.com/rust-lang/crates.io-index\"\n"),
        )?;
        let output = child::output(&mut project.runner())?;
        refuses(&output, &format!("built with the crate {name} {version} from crates.io"))?;
        let root = scene.parts.checkout.root.display();
        refuses(&output, &format!("[patch.crates-io]\n{name} = {{ path = \"{root}/stage2/{name}\" }}"))?;
        project.write("Cargo.lock", &lock_file(""))?;
        succeed(&mut project.runner())?;
    }
    Ok(())
}

/// So that several can be looked at side by side, and the usual image stays as it is.
fn each_kernel_has_an_image_of_its_own(scene: &Scene) -> Result<()> {
    let mut images = Vec::new();
    for folder in ["", "deps"] {
        let project = Project::new(scene, "", "bss_zeroed", folder)?;
        let told = succeed(scene.xtask().args(["image", "--kernel"]).arg(&project.kernel))?;
        let image = told.lines().last().unwrap_or_default().to_owned();
        ensure!(image.contains("/doorstep/kernels/bss_zeroed-"), "{image}");
        ensure!(!images.contains(&image), "the same image for two kernels: {image}");
        images.push(image);
    }
    for image in images {
        let drive = format!("format=raw,snapshot=on,file={image}");
        let exit = "isa-debug-exit,iobase=0xf4,iosize=0x04";
        let mut qemu = Command::new(guest::program());
        qemu.current_dir(scene.folder()).args(["-drive", &drive, "-device", exit, "-display", "none"]);
        let code = child::status(&mut qemu)?.code();
        ensure!(code == Some(guest::SUCCESS), "{}: {code:?}", output::shell_line([&*image]));
        fs::remove_file(scene.folder().join(&image))?;
    }
    Ok(())
}
