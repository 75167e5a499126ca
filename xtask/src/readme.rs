//! What the README says in numbers is checked against the code.

use crate::Cli;
use crate::bare_metal::{KERNEL, Package};
use crate::checkout::runner_lines;
use crate::project::{KEYS, Settings};
use crate::toolchain::BUILD_STD;
use clap::CommandFactory;
use loader::BootError;

const README: &str = include_str!("../../README.md");

/// The README's memory map.
fn memory_map() -> String {
    use layout::{
        BOUNCE_BUFFER_ADDR, BOUNCE_BUFFER_LEN, FIRST_MIB_END, KERNEL_HEADERS_ADDR, LOADER_END,
        MODE_SWITCH_PAGE_END, NETWORK_PROGRAM_ENTRY, STACK_BOTTOM, STACK_TOP, STAGE1_ADDR, STAGE1_END,
        STAGE2_ADDR, STAGE2_END, STAGE2_FILE_END,
    };
    let bounce_end = BOUNCE_BUFFER_ADDR + BOUNCE_BUFFER_LEN;
    [
        (0, STACK_BOTTOM, "interrupt vectors, BIOS data area: the BIOS's own"),
        (STACK_BOTTOM, STACK_TOP, "the loader's stack, in every mode"),
        (STAGE1_ADDR, STAGE1_END, "stage1, with the stage2 descriptor"),
        (NETWORK_PROGRAM_ENTRY, STAGE2_ADDR, "what a PXE ROM enters, in a network boot program"),
        (STAGE2_ADDR, MODE_SWITCH_PAGE_END, "stage2: the mode-switch page (entry, BIOS calls, hand-off, GDT)"),
        (MODE_SWITCH_PAGE_END, STAGE2_FILE_END, "stage2: the rest, as far as it may reach"),
        (STAGE2_FILE_END, STAGE2_END, "room for stage2's .bss, which begins where its file ends"),
        (BOUNCE_BUFFER_ADDR, bounce_end, "bounce buffer for disk reads"),
        (KERNEL_HEADERS_ADDR, LOADER_END, "the kernel's ELF headers"),
        (LOADER_END, FIRST_MIB_END, "not used: rest of conventional memory, EBDA, video memory, BIOS"),
    ]
    .into_iter()
    .map(|(start, end, what)| format!("0x{start:06x} .. 0x{end:06x}  {what}\n"))
    .chain([format!("0x{FIRST_MIB_END:06x} ..           kernel, boot info, page tables and stack, where the map has room\n")])
    .collect()
}

/// The README's map of the boot sector.
fn boot_sector_map() -> String {
    use layout::{
        BOOT_SIGNATURE_OFFSET, BPB_END, DESCRIPTOR_OFFSET, DISK_SIGNATURE_OFFSET, JUMP_LEN,
        PARTITION_TABLE_OFFSET,
    };
    [
        (0, "jump over the next area"),
        (JUMP_LEN, "left to the BIOS: some write a parameter block there"),
        (BPB_END, "code and messages"),
        (DESCRIPTOR_OFFSET, "stage2 descriptor: checksum, LBA, sectors, bytes in a sector"),
        (DISK_SIGNATURE_OFFSET, "disk signature"),
        (PARTITION_TABLE_OFFSET, "partition table: one active partition over the rest, type 7Fh"),
        (BOOT_SIGNATURE_OFFSET, "55h AAh"),
    ]
    .into_iter()
    .map(|(offset, what)| format!("{offset:3}  {what}\n"))
    .collect()
}

/// How cargo boots the kernel by its runner, on one line.
fn cargo_run() -> String {
    let [build_std, json_target] = BUILD_STD;
    let Package { name, target, options, .. } = KERNEL;
    let features = options.join(" ");
    format!("cargo run {build_std} {features} {json_target} -p {name} --target targets/{target}.json")
}

#[test]
fn the_readme_and_the_runners_help_tell_how_cargo_boots_the_kernel() {
    let one_line = |text: &str| text.replace('\\', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    let help = Cli::command().find_subcommand("runner").unwrap().get_long_about().unwrap().to_string();
    for text in [README, &help] {
        assert!(one_line(text).contains(&cargo_run()), "no {:?} in:\n\n{text}", cargo_run());
    }
}

#[test]
fn the_readmes_settings_are_taken_and_are_all_there_are() {
    let start = README.find("[package.metadata.doorstep]").unwrap();
    let text = README[start..].split("```").next().unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    assert!(Settings::parse(&manifest, false).unwrap().is_given);
    let mut told: Vec<_> = manifest["package"]["metadata"]["doorstep"].as_table().unwrap().keys().collect();
    let mut keys = KEYS.to_vec();
    told.sort_unstable();
    keys.sort_unstable();
    assert_eq!(told, keys);
}

#[test]
fn the_readme_tells_how_other_projects_run_kernels() {
    let lines = runner_lines("/path/to/doorstep/target/debug/xtask");
    let help = Cli::command().find_subcommand("runner").unwrap().clone().render_long_help().to_string();
    assert!(README.contains(&lines), "no {lines} in the README");
    for line in lines.lines() {
        assert!(help.contains(line), "no {line} in: {help}");
    }
}

#[test]
fn each_row_of_the_readmes_comparison_names_a_test() {
    let start = README.find("### What each loader gives").unwrap();
    let rows = README[start..].lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
    assert!(!rows.is_empty());
    let tests = crate::test::names();
    for row in rows {
        let name = row.trim_end_matches(" |").rsplit("| ").next().unwrap().trim_matches('`');
        assert!(tests.iter().any(|test| test == name), "no test {name:?}: {row}");
    }
}

#[test]
fn the_readmes_message_is_one_of_the_loaders() {
    let told: Vec<_> = README.lines().filter_map(|line| line.strip_prefix("boot error ")).collect();
    let all = BootError::examples().map(|error| error.to_string());
    assert!(!told.is_empty() && told.iter().all(|told| all.iter().any(|error| error == told)), "{told:?}");
}

#[test]
fn the_readme_has_the_memory_map() {
    let map = memory_map();
    assert!(README.contains(&map), "the README's memory map is to be:\n\n{map}");
}

#[test]
fn the_readme_tells_how_large_the_loader_may_be() {
    let [sectors, kib] = [layout::STAGE2_MAX_SECTORS, layout::LOADER_MAX_LEN / 1024];
    for told in [format!("at most {sectors} sectors"), format!("with stage1, at most {kib} KiB")] {
        assert!(README.contains(&told), "no {told:?} in the README");
    }
}

#[test]
fn the_readme_has_the_map_of_the_boot_sector() {
    let map = boot_sector_map();
    assert!(README.contains(&map), "the README's map of the boot sector is to be:\n\n{map}");
}

/// What a person has ahead who reads the boot chain: files that are there, with as many lines as is said.
#[test]
fn the_readme_tells_how_much_there_is_to_read() {
    let start = README.find("### Read it in an afternoon").unwrap();
    let rows = README[start..].lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let mut together = 0;
    for row in rows.take_while(|line| line.starts_with('|')) {
        let [file, told, ..] = row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("expected a file and its lines: {row}");
        };
        let lines = match file.strip_prefix('`').and_then(|file| file.strip_suffix('`')) {
            Some(file) => {
                let text = std::fs::read_to_string(crate::checkout::root().join(file));
                text.unwrap_or_else(|error| panic!("{file}: {error}")).lines().count()
            }
            None => together,
        };
        assert_eq!(told, lines.to_string(), "{row}");
        together += lines;
    }
    assert!(together > 0, "no file");
}
