//! What a Cargo.toml says about booting the package's kernel: a pure function from its text.
//!
//! `[package.metadata.doorstep]` is ours. `[package.metadata.bootimage]` is what the tool bootimage 0.10 reads, and
//! `[package.metadata.bootloader]` what the crate bootloader 0.9 reads, so that their projects work as they are; where a
//! key of ours says something else, ours counts.

use super::framebuffer::FramebufferChoice;
use super::table::{Table, number, words};
use crate::guest;
use anyhow::{Result, ensure};
use boot_info::{AddressWish, KernelConfig};
use std::path::PathBuf;
use std::time::Duration;
use toml::Value;

/// All that was said, and the defaults for the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// What goes into the image.
    pub(crate) boot: Boot,
    /// How it is run.
    pub(crate) program: Program,
    /// Whether anything was said at all.
    pub(crate) is_given: bool,
}

/// What goes into the image besides the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Boot {
    pub(crate) config: KernelConfig,
    /// Whether somebody chose the stack's length: then it does not matter what the kernel's file says.
    pub(crate) is_stack_len_said: bool,
    pub(crate) command_line: String,
    /// What the screen is to show, if somebody chose: then it does not matter what the kernel's file says.
    pub(crate) framebuffer: Option<FramebufferChoice>,
    /// The ramdisk's path.
    pub(crate) ramdisk: Option<PathBuf>,
    /// Whether the kernel gets the symbols of its functions.
    pub(crate) symbols: bool,
}

/// What runs the image, and what it is to end with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// Another command than the usual one: words, of which `{}` is the image's path. Empty for the usual one.
    pub(crate) run_command: Vec<String>,
    /// More options for it, when it runs a kernel.
    pub(crate) run_args: Vec<String>,
    /// More options for it, when it runs a test.
    pub(crate) test_args: Vec<String>,
    /// The exit code by which a test tells of success.
    pub(crate) test_success_exit_code: i32,
    /// How long a test may take.
    pub(crate) test_timeout: Duration,
    /// Whether a test's reset is its end.
    pub(crate) test_no_reboot: bool,
    /// Whether the usual command boots without a disk.
    pub(crate) direct: bool,
}

impl Default for Program {
    fn default() -> Self {
        Self {
            run_command: Vec::new(),
            run_args: Vec::new(),
            test_args: Vec::new(),
            test_success_exit_code: guest::SUCCESS,
            test_timeout: Duration::from_secs(300),
            test_no_reboot: true,
            direct: false,
        }
    }
}

/// The keys of bootimage 0.10. `build-command` is for its other half, which cargo and xtask do here.
const BOOTIMAGE_KEYS: [&str; 7] = [
    "build-command",
    "run-command",
    "run-args",
    "test-args",
    "test-success-exit-code",
    "test-timeout",
    "test-no-reboot",
];

/// The keys of bootloader 0.9.
const BOOTLOADER_KEYS: [&str; 4] =
    ["physical-memory-offset", "kernel-stack-address", "kernel-stack-size", "boot-info-address"];

/// Ours.
pub(crate) const KEYS: [&str; 21] = [
    "run-command",
    "run-args",
    "test-args",
    "test-success-exit-code",
    "test-timeout",
    "test-no-reboot",
    "command-line",
    "ramdisk",
    "symbols",
    "physical-memory-offset",
    "stack-address",
    "stack-size",
    "boot-info-address",
    "allow-write-execute",
    "randomize-address",
    "keep-screen",
    "disk-dma",
    "direct",
    "framebuffer",
    "map-physical-memory",
    "map-first-mib",
];

const PAGE: u64 = layout::PAGE_LEN as u64;

/// The stack of a kernel for bootloader 0.9 that does not ask for another one.
const BOOTLOADER_STACK_PAGES: u64 = 512;

const STACK_PAGES_MAX: u64 = KernelConfig::STACK_LEN_MAX / PAGE;

impl Settings {
    /// Reads a Cargo.toml. `is_for_bootloader` tells whether the kernel is made for bootloader 0.9.
    pub(crate) fn parse(manifest: &toml::Table, is_for_bootloader: bool) -> Result<Self> {
        let ours = Table::open(manifest, "doorstep", &KEYS)?;
        let bootimage = Table::open(manifest, "bootimage", &BOOTIMAGE_KEYS)?;
        let bootloader = Table::open(manifest, "bootloader", &BOOTLOADER_KEYS)?;
        Ok(Self {
            boot: Boot {
                config: config(&ours, &bootloader, is_for_bootloader || bootloader.is_there())?,
                is_stack_len_said: ours.has("stack-size") || bootloader.has("kernel-stack-size"),
                command_line: ours
                    .get("command-line", "a string", |value| value.as_str().map(str::to_owned))?
                    .unwrap_or_default(),
                framebuffer: ours
                    .get("framebuffer", FramebufferChoice::EXPECTED, |value| value.as_str()?.parse().ok())?,
                ramdisk: ours.get("ramdisk", "a path", |value| value.as_str().map(PathBuf::from))?,
                symbols: ours.flag("symbols")?.unwrap_or_default(),
            },
            program: program(&ours, &bootimage)?,
            is_given: [&ours, &bootimage, &bootloader].iter().any(|table| table.is_there()),
        })
    }
}

fn program(ours: &Table<'_>, bootimage: &Table<'_>) -> Result<Program> {
    let tables = [ours, bootimage];
    // All are read, for all have to be right.
    let arguments = |key| -> Result<Vec<String>> {
        let [ours, theirs] = tables.map(|table| table.words(key));
        Ok(ours?.or(theirs?).unwrap_or_default())
    };
    let command = |table: &Table<'_>| {
        table.get("run-command", "a program and its options, with {} for the image", |value| {
            words(value).filter(|words| words.iter().any(|word| word.contains("{}")))
        })
    };
    let exit_code = |table: &Table<'_>| {
        table.get("test-success-exit-code", "an integer from 0 to 255", |value| {
            u8::try_from(value.as_integer()?).ok().map(i32::from)
        })
    };
    let timeout = |table: &Table<'_>| {
        table.get("test-timeout", "seconds, an integer from 1 to 86400", |value| {
            let seconds = u64::try_from(value.as_integer()?).ok()?;
            (1..=86400).contains(&seconds).then(|| Duration::from_secs(seconds))
        })
    };
    let default = Program::default();
    // bootimage takes any exit code as it is when it is not told which one is success.
    let default_exit_code =
        if bootimage.is_there() && !ours.is_there() { 0 } else { default.test_success_exit_code };
    Ok(Program {
        run_command: command(ours)?.or(command(bootimage)?).unwrap_or_default(),
        run_args: arguments("run-args")?,
        test_args: arguments("test-args")?,
        test_success_exit_code: exit_code(ours)?.or(exit_code(bootimage)?).unwrap_or(default_exit_code),
        test_timeout: timeout(ours)?.or(timeout(bootimage)?).unwrap_or(default.test_timeout),
        test_no_reboot: ours
            .flag("test-no-reboot")?
            .or(bootimage.flag("test-no-reboot")?)
            .unwrap_or(default.test_no_reboot),
        direct: ours.flag("direct")?.unwrap_or(default.direct),
    })
}

fn config(ours: &Table<'_>, bootloader: &Table<'_>, is_for_bootloader: bool) -> Result<KernelConfig> {
    let default = KernelConfig::DEFAULT;
    let window = |table: &Table<'_>| {
        let expected =
            "an address such as \"0xffff_8000_0000_0000\": a multiple of 1 GiB, canonical for 4 GiB";
        table.get("physical-memory-offset", expected, |value| {
            number(value).filter(|&addr| loader::plan::is_window_addr(addr))
        })
    };
    let page = |table: &Table<'_>, key: &str| {
        let expected = "an address such as \"0xffff_f000_0000_0000\": a multiple of 4096, canonical, not 0";
        table.get(key, expected, page_addr)
    };
    // The page at bootloader's address is the guard page.
    let bootloader_stack = page(bootloader, "kernel-stack-address")?.map(|addr| addr + PAGE);
    let stack_len =
        ours.get("stack-size", "bytes, a multiple of 4096 from 4096 to 67108864 (64 MiB)", |value| {
            number(value)
                .filter(|len| len.is_multiple_of(PAGE) && (PAGE..=KernelConfig::STACK_LEN_MAX).contains(len))
        })?;
    let bootloader_stack_pages =
        bootloader.get("kernel-stack-size", "pages, an integer from 1 to 16384 (64 MiB)", |value| {
            number(value).filter(|pages| (1..=STACK_PAGES_MAX).contains(pages))
        })?;
    let default_stack_len = if is_for_bootloader { BOOTLOADER_STACK_PAGES * PAGE } else { default.stack_len };
    let window_addr = window(ours)?.or(window(bootloader)?);
    let map_physical_memory = ours.flag("map-physical-memory")?.unwrap_or(default.map_physical_memory);
    ensure!(
        map_physical_memory || window_addr.is_none(),
        "[package.metadata.doorstep] map-physical-memory: found false, expected true where there is a \
         physical-memory-offset; leave one of them out"
    );
    let fixed = |addr: Option<u64>| addr.map_or(AddressWish::Default, AddressWish::Fixed);
    Ok(KernelConfig {
        stack_len: stack_len
            .or(bootloader_stack_pages.map(|pages| pages * PAGE))
            .unwrap_or(default_stack_len),
        stack_addr: fixed(page(ours, "stack-address")?.or(bootloader_stack)),
        physical_memory_offset: fixed(window_addr),
        map_physical_memory,
        map_first_mib: ours.flag("map-first-mib")?.unwrap_or(default.map_first_mib),
        boot_info_addr: fixed(page(ours, "boot-info-address")?.or(page(bootloader, "boot-info-address")?)),
        allow_write_execute: ours.flag("allow-write-execute")?.unwrap_or(default.allow_write_execute),
        randomize_address: ours.flag("randomize-address")?.unwrap_or(default.randomize_address),
        keep_screen: ours.flag("keep-screen")?.unwrap_or(default.keep_screen),
        disk_dma: ours.flag("disk-dma")?.unwrap_or(default.disk_dma),
        ..default
    })
}

fn page_addr(value: &Value) -> Option<u64> {
    number(value).filter(|&addr| is_page_addr(addr))
}

/// Whether this is the address of a page that the CPU has, and not 0.
pub(crate) fn is_page_addr(addr: u64) -> bool {
    let is_canonical = !(1 << 47..u64::MAX << 47).contains(&addr);
    addr != 0 && addr.is_multiple_of(PAGE) && is_canonical
}

#[cfg(test)]
mod tests {
    use super::*;
    use boot_info::FramebufferWish;

    fn parse(text: &str) -> Result<Settings> {
        Settings::parse(&text.parse().unwrap(), false)
    }

    #[test]
    fn a_manifest_that_says_nothing_gives_the_defaults() {
        let settings = parse("[package]\nname = 'kernel'\n[package.metadata.other]\nkey = 1").unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.boot.config, KernelConfig::DEFAULT);
    }

    #[test]
    fn each_key_of_ours_is_taken() {
        let settings = parse(
            r#"
            [package.metadata.doorstep]
            run-command = ["my-qemu", "{}"]
            run-args = ["-m", "1G"]
            test-args = ["-display", "none"]
            test-success-exit-code = 3
            test-timeout = 7
            test-no-reboot = false
            command-line = "log=debug"
            ramdisk = "files.tar"
            symbols = true
            physical-memory-offset = "0xffff_9000_0000_0000"
            stack-address = "0xFFFFFF8000001000"
            stack-size = 65536
            boot-info-address = 0x4000_0000_0000
            allow-write-execute = true
            randomize-address = true
            keep-screen = true
            disk-dma = false
            direct = true
            framebuffer = "800x600x32"
            map-physical-memory = true
            map-first-mib = false
            "#,
        );
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let expected = Settings {
            boot: Boot {
                config: KernelConfig {
                    stack_len: 65536,
                    stack_addr: AddressWish::Fixed(0xffff_ff80_0000_1000),
                    physical_memory_offset: AddressWish::Fixed(0xffff_9000_0000_0000),
                    boot_info_addr: AddressWish::Fixed(0x4000_0000_0000),
                    allow_write_execute: true,
                    randomize_address: true,
                    keep_screen: true,
                    disk_dma: false,
                    map_first_mib: false,
                    ..KernelConfig::DEFAULT
                },
                is_stack_len_said: true,
                command_line: "log=debug".to_owned(),
                framebuffer: Some(FramebufferChoice::AtLeast(FramebufferWish {
                    width: 800,
                    height: 600,
                    bits_per_pixel: 32,
                })),
                ramdisk: Some("files.tar".into()),
                symbols: true,
            },
            program: Program {
                run_command: words(&["my-qemu", "{}"]),
                run_args: words(&["-m", "1G"]),
                test_args: words(&["-display", "none"]),
                test_success_exit_code: 3,
                test_timeout: Duration::from_secs(7),
                test_no_reboot: false,
                direct: true,
            },
            is_given: true,
        };
        assert_eq!(settings.unwrap(), expected);
    }

    /// What the Cargo.toml of an operating system says that boots with 0.9.
    #[test]
    fn projects_of_bootimage_and_bootloader_are_read_as_they_are() {
        let settings = parse(
            r#"
            [package.metadata.bootimage]
            build-command = ["build"]
            test-success-exit-code = 17
            test-args = ["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-serial", "stdio"]
            [package.metadata.bootloader]
            physical-memory-offset = "0xFFFF800000000000"
            kernel-stack-address = "0xFFFFFF8000000000"
            boot-info-address = "0xFFFFFFFF80000000"
            "#,
        )
        .unwrap();
        let KernelConfig { stack_len, stack_addr, physical_memory_offset, boot_info_addr, .. } =
            settings.boot.config;
        assert_eq!(stack_len, 512 * 4096);
        assert_eq!(stack_addr, AddressWish::Fixed(0xffff_ff80_0000_1000), "behind the guard page");
        assert_eq!(physical_memory_offset, AddressWish::Fixed(0xffff_8000_0000_0000));
        assert_eq!(boot_info_addr, AddressWish::Fixed(0xffff_ffff_8000_0000));
        assert_eq!(settings.program.test_success_exit_code, 17);
        assert_eq!(settings.program.test_timeout, Duration::from_secs(300));
        assert!(settings.program.test_no_reboot);
    }

    #[test]
    fn a_kernel_for_bootloader_has_its_stack_with_and_without_a_table() {
        assert_eq!(Settings::parse(&toml::Table::new(), true).unwrap().boot.config.stack_len, 2 << 20);
        let pages = parse("[package.metadata.bootloader]\nkernel-stack-size = 128").unwrap();
        assert_eq!(pages.boot.config.stack_len, 128 * 4096);
        assert!(pages.boot.is_stack_len_said);
    }

    #[test]
    fn our_keys_count_more_than_those_of_others() {
        let settings = parse(
            "[package.metadata.bootimage]\ntest-timeout = 1\nrun-args = ['a']\n\
             [package.metadata.doorstep]\ntest-timeout = 2\n",
        )
        .unwrap();
        assert_eq!(settings.program.test_timeout, Duration::from_secs(2));
        assert_eq!(settings.program.run_args, ["a"]);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_was_found_and_what_was_expected() {
        for (table, line, expected) in [
            (
                "doorstep",
                "stak-size = 4096",
                "[package.metadata.doorstep] has no key `stak-size`; did you mean `stack-size`?",
            ),
            ("doorstep", "zzz = 1", "has no key `zzz`; expected one of run-command, run-args"),
            (
                "bootimage",
                "test-sucess-exit-code = 1",
                "[package.metadata.bootimage] has no key `test-sucess-exit-code`; did you mean `test-success-exit-code`?",
            ),
            (
                "bootloader",
                "kernel-stack = 1",
                "[package.metadata.bootloader] has no key `kernel-stack`; did you mean `kernel-stack-",
            ),
            (
                "doorstep",
                "stack-size = 'big'",
                "[package.metadata.doorstep] stack-size: found \"big\", expected bytes, a multiple of 4096",
            ),
            (
                "doorstep",
                "framebuffer = '1024'",
                "framebuffer: found \"1024\", expected `text`, or WIDTHxHEIGHT",
            ),
            ("doorstep", "stack-size = 5000", "stack-size: found 5000, expected"),
            ("doorstep", "stack-size = 0", "stack-size: found 0, expected"),
            ("doorstep", "stack-size = 0x4001000", "stack-size: found 67112960, expected"),
            (
                "doorstep",
                "stack-address = '0x800000000000'",
                "stack-address: found \"0x800000000000\", expected an address",
            ),
            ("doorstep", "stack-address = 0", "stack-address: found 0, expected an address"),
            ("doorstep", "boot-info-address = -4096", "boot-info-address: found -4096, expected an address"),
            ("doorstep", "physical-memory-offset = '0xffff800000001000'", "expected an address such as"),
            ("doorstep", "keep-screen = 1", "keep-screen: found 1, expected true or false"),
            ("doorstep", "command-line = ['a']", "command-line: found [\"a\"], expected a string"),
            ("doorstep", "run-args = '-m 1G'", "run-args: found \"-m 1G\", expected a list of strings"),
            ("bootimage", "test-args = [1]", "test-args: found [1], expected a list of strings"),
            (
                "bootimage",
                "run-command = []",
                "run-command: found [], expected a program and its options, with {}",
            ),
            (
                "bootimage",
                "run-command = ['qemu']",
                "expected a program and its options, with {} for the image",
            ),
            ("bootimage", "test-timeout = -1", "test-timeout: found -1, expected seconds"),
            (
                "bootimage",
                "test-success-exit-code = 256",
                "test-success-exit-code: found 256, expected an integer from 0 to 255",
            ),
            ("bootloader", "kernel-stack-size = 0", "kernel-stack-size: found 0, expected pages"),
            (
                "bootloader",
                "kernel-stack-address = '0x1001'",
                "kernel-stack-address: found \"0x1001\", expected an address",
            ),
        ] {
            let error = parse(&format!("[package.metadata.{table}]\n{line}\n")).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
        let parsed = parse("[package.metadata.doorstep]\nmap-physical-memory = false").unwrap();
        assert!(!parsed.boot.config.map_physical_memory);
        let addr = "physical-memory-offset = '0xffff800000000000'";
        let not_mapped = "[package.metadata.doorstep]\nmap-physical-memory = false\n";
        for between in ["", "[package.metadata.bootloader]\n"] {
            let error = parse(&format!("{not_mapped}{between}{addr}")).unwrap_err().to_string();
            assert!(error.contains("map-physical-memory: found false, expected true where"), "{error}");
        }
        let error = parse("[package.metadata]\ndoorstep = 1").unwrap_err().to_string();
        assert_eq!(error, "[package.metadata] doorstep: found 1, expected a table");
    }
}
