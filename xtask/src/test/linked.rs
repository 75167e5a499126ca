//! Kernels linked the ways people link them: each shape that linkers and linker scripts make boots, or is refused with the
//! ways out. All of them are the kernel that checks how it was loaded (`xtask/guests/foreign-kernel`).

use super::Test;
use super::elf::{Elf, program_header};
use super::foreign::{link, link_archive};
use super::parts::Scene;
use crate::bare_metal::read;
use crate::child;
use crate::guest::Machine;
use crate::image;
use crate::project::Boot;
use anyhow::{Context, Result, bail, ensure};
use boot_info::KernelConfig;
use elf::ElfBytes;
use elf::endian::LittleEndian;
use std::collections::BTreeSet;
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

const OK: &str = "foreign kernel ok, payload of 0 bytes";

/// Sections as most scripts have them, for a script that only differs in its addresses and headers.
const SECTIONS: &str = "
    .text : { *(.text .text.*) } :text
    .rodata : { *(.rodata .rodata.*) } :rodata
    .data : { *(.data .data.*) } :data
    .bss : { *(.bss .bss.*) } :data
    /DISCARD/ : { *(.eh_frame*) }";

/// A kernel in one segment that can be written and executed: the commonest script of all.
const ONE_SEGMENT: &str = "
    PHDRS { all PT_LOAD FLAGS(7); }
    SECTIONS {
        . = 0x100000;
        .text : { *(.text .text.*) } :all
        .rodata : { *(.rodata .rodata.*) } :all
        .data : { *(.data .data.*) } :all
        .bss : { *(.bss .bss.*) } :all
        /DISCARD/ : { *(.eh_frame*) }
    }";

/// What the large code model may put anywhere lies 1 TiB from the rest.
const FAR_AWAY: &str = "
    SECTIONS {
        . = 0x200000;
        .text : { *(.text .text.*) }
        . = ALIGN(4096);
        .rodata : { *(.rodata .rodata.*) }
        . = ALIGN(4096);
        .data : { *(.data .data.* .got .got.*) }
        .bss : { *(.bss .bss.*) }
        . = 0x10000000000;
        .ltext : { *(.ltext .ltext.*) }
        . = ALIGN(4096);
        .lrodata : { *(.lrodata .lrodata.*) }
        . = ALIGN(4096);
        .ldata : { *(.ldata .ldata.*) }
        .lbss : { *(.lbss .lbss.*) }
        /DISCARD/ : { *(.eh_frame* .gcc_except_table*) }
    }";

const ALLOWED: KernelConfig = KernelConfig { allow_write_execute: true, ..KernelConfig::DEFAULT };

pub(crate) fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = vec![
        Test::new("linked::in_one_segment_is_refused", |scene| {
            is_refused(scene, &script(scene, ONE_SEGMENT)?)
        }),
        Test::new("linked::with_n_is_refused", |scene| is_refused(scene, &["-N".to_owned()])),
        Test::new("linked::in_one_segment_boots_where_allowed", |scene| {
            boots_as_allowed(scene, &script(scene, ONE_SEGMENT)?)
        }),
        Test::new("linked::with_n_boots_where_allowed", |scene| boots_as_allowed(scene, &["-N".to_owned()])),
        Test::new("linked::with_small_pages", small_pages),
        Test::new("linked::static_pie", |scene| position_independent(scene, &[])),
        Test::new("linked::static_pie_with_packed_relocations", |scene| {
            position_independent(scene, &["--pack-dyn-relocs=relr"])
        }),
        Test::new("linked::static_pie_at_an_address_of_its_own", |scene| {
            let line = boot_pie(scene, &["--image-base=0xffffffffa0000000"], KernelConfig::DEFAULT)?;
            ensure!(line.starts_with("jump to 0xffffffffa0"), "{line}");
            Ok(())
        }),
        Test::new("linked::static_pie_at_random_addresses", random_addresses),
        Test::new("linked::static_pie_above_4_gib", |scene| above_4_gib(scene, &[])),
        Test::new("linked::static_pie_above_4_gib_with_packed_relocations", |scene| {
            above_4_gib(scene, &["--pack-dyn-relocs=relr"])
        }),
        Test::new("linked::many_segments", many_segments),
        Test::new("linked::at_64_kib_with_nothing_besides", |scene| {
            let kernel = link_with(scene, &script(scene, &separate(". = 0x10000;"))?)?;
            let nothing =
                KernelConfig { map_physical_memory: false, map_first_mib: false, ..KernelConfig::DEFAULT };
            boots(scene, &kernel, nothing, OK).map(drop)
        }),
        Test::new("linked::relro_is_read_only", relro_is_read_only),
        Test::new("linked::stack_size", stack_size),
        Test::new("linked::with_the_large_code_model", |scene| large_code_model(scene, &[])),
        Test::new("linked::with_the_large_code_model_far_away", |scene| {
            large_code_model(scene, &script(scene, FAR_AWAY)?)
        }),
        Test::new("linked::unknown_relocation", |scene| {
            // R_X86_64_GLOB_DAT in place of R_X86_64_RELATIVE.
            let message = "boot error E55: relocation of type 6 (R_X86_64_GLOB_DAT) at 0x";
            spoiled_pie(scene, ".rela.dyn", |section| section[8] = 6, message)
        }),
        Test::new("linked::dynamic_table_that_leads_nowhere", |scene| {
            let spoil = |section: &mut [u8]| {
                const DT_RELA: u8 = 7;
                let entry =
                    section.chunks_exact_mut(16).find(|entry| entry[..8] == [DT_RELA, 0, 0, 0, 0, 0, 0, 0]);
                if let Some(entry) = entry {
                    entry[8..].copy_from_slice(&(1u64 << 40).to_le_bytes());
                }
            };
            spoiled_pie(scene, ".dynamic", spoil, "boot error E56: kernel's dynamic table: an address is 0x")
        }),
    ];
    let shapes: [(&str, &[&str], String); 11] = [
        ("at_1_mib", &["--image-base=0x100000"], String::new()),
        ("at_2_mib_pages", &["-zmax-page-size=0x200000", "-zseparate-loadable-segments"], String::new()),
        ("without_separate_code", &["-znoseparate-code"], String::new()),
        ("at_64_kib", &[], separate(". = 0x10000;")),
        ("in_the_last_2_mib", &[], separate(". = 0xffffffffffe00000;")),
        (
            "with_headers_in_the_first_segment",
            &[],
            "PHDRS { headers PT_PHDR PHDRS; text PT_LOAD FILEHDR PHDRS FLAGS(5); data PT_LOAD FLAGS(6); note PT_NOTE FLAGS(4); }
             SECTIONS {
                 . = 0x200000 + SIZEOF_HEADERS;
                 .note : { LONG(4) LONG(4) LONG(1) LONG(0x54534554) LONG(0) } :text :note
                 .text : { *(.text .text.*) } :text
                 .rodata : { *(.rodata .rodata.*) } :text
                 . = ALIGN(4096);
                 .data : { *(.data .data.*) } :data
                 .bss : { *(.bss .bss.*) } :data
                 /DISCARD/ : { *(.eh_frame*) }
             }"
            .to_owned(),
        ),
        (
            "with_segments_in_any_order",
            &[],
            "PHDRS { data PT_LOAD FLAGS(6); rodata PT_LOAD FLAGS(4); text PT_LOAD FLAGS(5); }
             SECTIONS {
                 . = 0x600000;
                 .data : { *(.data .data.*) } :data
                 .bss : { *(.bss .bss.*) } :data
                 . = 0x500000;
                 .rodata : { *(.rodata .rodata.*) } :rodata
                 . = 0x400000;
                 .text : { *(.text .text.*) } :text
                 /DISCARD/ : { *(.eh_frame*) }
             }"
            .to_owned(),
        ),
        (
            "with_several_zeroed_segments",
            &[],
            "PHDRS { text PT_LOAD FLAGS(5); rodata PT_LOAD FLAGS(4); data PT_LOAD FLAGS(6); one PT_LOAD FLAGS(6);
                     two PT_LOAD FLAGS(6); none PT_LOAD FLAGS(6); stack PT_GNU_STACK FLAGS(6); }
             SECTIONS {
                 . = 0x400000;
                 .text : { *(.text .text.*) } :text
                 .rodata : { *(.rodata .rodata.*) } :rodata
                 . = ALIGN(4096);
                 .data : { *(.data .data.*) } :data
                 . = ALIGN(4096);
                 .bss (NOLOAD) : { *(.bss .bss.*) } :one
                 . += 0x10010;
                 .more (NOLOAD) : { . += 0x3000; } :two
                 /DISCARD/ : { *(.eh_frame*) }
             }"
            .to_owned(),
        ),
        ("with_the_default_layout", &[], String::new()),
        ("with_a_hash_style_and_build_id", &["--build-id"], String::new()),
        ("with_its_own_relro", &["-zrelro", "-znow"], String::new()),
    ];
    for (name, options, text) in shapes {
        tests.push(Test::new(format!("linked::{name}"), move |scene| {
            let mut options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
            if !text.is_empty() {
                options.extend(script(scene, &text)?);
            }
            boots(scene, &link_with(scene, &options)?, KernelConfig::DEFAULT, OK).map(drop)
        }));
    }
    tests
}

/// A script with a segment for each kind of section, from an address on.
fn separate(address: &str) -> String {
    format!(
        "PHDRS {{ text PT_LOAD FLAGS(5); rodata PT_LOAD FLAGS(4); data PT_LOAD FLAGS(6); }} SECTIONS {{ {address} {SECTIONS} }}"
    )
    .replace(".rodata :", ". = ALIGN(4096); .rodata :")
    .replace(".data :", ". = ALIGN(4096); .data :")
}

/// The options that make the linker take a script.
fn script(scene: &Scene, text: &str) -> Result<Vec<String>> {
    fs::write(scene.folder().join("kernel.ld"), text)?;
    Ok(vec!["--script=kernel.ld".to_owned()])
}

fn link_with(scene: &Scene, options: &[String]) -> Result<PathBuf> {
    link(scene, &options.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A position-independent kernel with so much zeroed memory that it lies above 4 GiB is relocated there.
fn above_4_gib(scene: &Scene, options: &[&str]) -> Result<()> {
    let mut elf = Elf(read(&link_pie(scene, options)?)?);
    let segment = elf.loaded_segments()?.pop().context("no segment")?;
    elf.set_segment(segment, program_header::P_MEMSZ, 16 << 20)?;
    let image = scene.configured_image(&elf.0, KernelConfig::DEFAULT)?;
    let mut booted = scene.boot(&image, Machine::with_low_memory("8M"))?;
    booted.wait_for_success()?;
    booted.wait_for(OK)
}

/// Boots a kernel with a configuration until it says something; gives the line by which stage2 tells where it goes.
fn boots(scene: &Scene, kernel: &Path, config: KernelConfig, says: &str) -> Result<String> {
    let image = scene.configured_image(&read(kernel)?, config)?;
    let mut booted = scene.boot(&image, Machine::default())?;
    booted.wait_for_success()?;
    booted.wait_for(says)?;
    let serial = booted.serial();
    Ok(serial.lines().find(|line| line.starts_with("jump to ")).context("no jump")?.to_owned())
}

/// Refused at the desk and by stage2, with all three ways out.
fn is_refused(scene: &Scene, options: &[String]) -> Result<()> {
    const WAYS_OUT: [&str; 4] = ["E47: segment ", "without -N", "PHDRS separate FLAGS", "--allow-wx"];
    let kernel = read(&link_with(scene, options)?)?;
    let Err(error) = scene.configured_image(&kernel, KernelConfig::DEFAULT) else {
        bail!("the desk check finds nothing wrong")
    };
    let sentence = error.to_string();
    ensure!(WAYS_OUT.iter().all(|way| sentence.contains(way)), "{sentence}");
    scene.boot(&scene.unchecked_image(&kernel)?, Machine::default())?.says(&format!("boot error {sentence}"))
}

/// Boots with `--allow-wx`, and the boot says so.
fn boots_as_allowed(scene: &Scene, options: &[String]) -> Result<()> {
    let kernel = link_with(scene, options)?;
    boots(scene, &kernel, ALLOWED, "kernel has pages that are writable and executable, as allowed, from 0x")?;
    boots(scene, &kernel, ALLOWED, OK).map(drop)
}

/// Code and variables share a page: refused with the ways out, and boots where it is allowed.
fn small_pages(scene: &Scene) -> Result<()> {
    let kernel = link(scene, &["-zmax-page-size=16", "-n", "--no-rosegment"])?;
    let Err(error) = scene.configured_image(&read(&kernel)?, KernelConfig::DEFAULT) else {
        bail!("the desk check finds nothing wrong")
    };
    let sentence = error.to_string();
    ensure!(sentence.starts_with("E48: segment ") && sentence.contains("--allow-wx"), "{sentence}");
    boots(scene, &kernel, ALLOWED, OK).map(drop)
}

/// Links the kernel as `x86_64-unknown-none` does by default, and boots it.
fn boot_pie(scene: &Scene, options: &[&str], config: KernelConfig) -> Result<String> {
    boots(scene, &link_pie(scene, options)?, config, OK)
}

fn link_pie(scene: &Scene, options: &[&str]) -> Result<PathBuf> {
    let options = [&["-pie", "--no-dynamic-linker", "-ztext"], options].concat();
    link_archive(scene, &scene.parts.foreign_kernels_anywhere, &options)
}

/// A PIE with a spoilt section is refused at the desk and by stage2, in the same words.
fn spoiled_pie(scene: &Scene, section: &str, spoil: fn(&mut [u8]), message: &str) -> Result<()> {
    let options = ["-pie", "--no-dynamic-linker", "-ztext"];
    let path = link_archive(scene, &scene.parts.foreign_kernels_anywhere, &options)?;
    let mut kernel = read(&path)?;
    let range = {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(&kernel)?;
        let header = elf.section_header_by_name(section)?.context("no such section")?;
        let start = usize::try_from(header.sh_offset)?;
        start..start + usize::try_from(header.sh_size)?
    };
    spoil(&mut kernel[range]);
    let Err(error) = image::check_kernel(&kernel, &KernelConfig::DEFAULT) else {
        bail!("the desk check finds nothing wrong")
    };
    let sentence = format!("boot error {error}");
    ensure!(sentence.starts_with(message), "{sentence}");
    let message = &sentence;
    scene.boot(&scene.unchecked_image(&kernel)?, Machine::default())?.says(message)
}

/// The address is the same one at each boot.
fn position_independent(scene: &Scene, options: &[&str]) -> Result<()> {
    let line = boot_pie(scene, options, KernelConfig::DEFAULT)?;
    ensure!(line.starts_with("jump to 0xffffffff80"), "{line}");
    ensure!(boot_pie(scene, options, KernelConfig::DEFAULT)? == line, "not {line} the second time");
    Ok(())
}

/// Ten boots at ten addresses, with and without the CPU's generator.
fn random_addresses(scene: &Scene) -> Result<()> {
    let config = KernelConfig { randomize_address: true, ..KernelConfig::DEFAULT };
    let kernel = link_archive(
        scene,
        &scene.parts.foreign_kernels_anywhere,
        &["-pie", "--no-dynamic-linker", "-ztext"],
    )?;
    let image = scene.configured_image(&read(&kernel)?, config)?;
    let mut seen = BTreeSet::new();
    for cpu in ["qemu64", "max"] {
        for _ in 0..5 {
            let mut booted = scene.boot(&image, Machine { cpu: Some(cpu.into()), ..Machine::default() })?;
            booted.wait_for_success()?;
            seen.insert(booted.wait_for_line(&["jump to "])?);
        }
    }
    ensure!(seen.len() == 10, "ten boots at {} addresses: {seen:?}", seen.len());
    Ok(())
}

/// More segments than most loaders take: 200, each with a page of its own.
fn many_segments(scene: &Scene) -> Result<()> {
    const SEGMENTS: usize = 200;
    let (mut headers, mut sections) = (String::new(), String::new());
    for index in 0..SEGMENTS {
        write!(headers, "p{index} PT_LOAD FLAGS(4); ")?;
        write!(sections, ". = ALIGN(4096); .s{index} : {{ LONG({index}) }} :p{index} ")?;
    }
    let text = separate(". = 0x400000;")
        .replace("data PT_LOAD FLAGS(6); ", &format!("data PT_LOAD FLAGS(6); {headers}"))
        .replace("/DISCARD/", &format!("{sections} /DISCARD/"));
    let kernel = link_with(scene, &script(scene, &text)?)?;
    boots(scene, &kernel, KernelConfig::DEFAULT, OK).map(drop)
}

/// What only relocations write to, also where it begins amid a page, and also in a kernel that has to be where it is.
fn relro_is_read_only(scene: &Scene) -> Result<()> {
    let ways: [&[&str]; 2] = [&["-pie", "--no-dynamic-linker", "-ztext"], &[]];
    for way in ways {
        let options = [way, &["-zrelro", "--defsym=relro_word=RELOCATED"]].concat();
        let kernel = link_archive(scene, &scene.parts.foreign_kernels_anywhere, &options)?;
        boots(scene, &kernel, KernelConfig::DEFAULT, "RELRO at 0x")?;
    }
    Ok(())
}

/// The linker's option is the kernel's stack size, unless another one is said; one that is out of range is refused.
fn stack_size(scene: &Scene) -> Result<()> {
    let linked = |len: &str, told: &str| -> Result<Vec<u8>> {
        let (size, told) = (format!("-zstack-size={len}"), format!("--defsym=stack_len={told}"));
        read(&link(scene, &[&size, &told])?)
    };
    let image = |kernel: &[u8], boot: &Boot| image::image(&scene.parts.stages, kernel, boot);
    let said = KernelConfig { stack_len: 0x3000, ..KernelConfig::DEFAULT };
    let said = Boot { config: said, is_stack_len_said: true, ..Boot::default() };
    for (kernel, boot, says) in [
        (linked("0x5001", "0x5001")?, &Boot::default(), "stack of 0x5001 bytes"),
        (linked("0x400000", "0x400000")?, &Boot::default(), "stack of 0x400000 bytes"),
        (linked("0x400000", "0x3000")?, &said, "stack of 0x3000 bytes"),
    ] {
        let mut booted = scene.boot(&image(&kernel, boot)?, Machine::default())?;
        booted.wait_for_success()?;
        booted.wait_for(says)?;
    }
    let Err(error) = image(&linked("0x4000001", "0")?, &Boot::default()) else {
        bail!("a stack of more than 64 MiB is taken")
    };
    let sentence = error.to_string();
    ensure!(
        sentence.starts_with("PT_GNU_STACK: p_memsz is 0x4000001, expected at most 0x4000000"),
        "{sentence}"
    );
    Ok(())
}

/// The same kernel, compiled for addresses anywhere: `.ltext`, `.lrodata`, `.ldata`, `.lbss`.
fn large_code_model(scene: &Scene, options: &[String]) -> Result<()> {
    let source = scene.parts.checkout.root.join("xtask/guests/foreign-kernel/src/checked.rs");
    let archive = scene.folder().join("libchecked_kernel.a");
    let shell = Shell::new()?;
    // For the host, whose `core` need not be compiled first. It knows of unwinding, which happens nowhere.
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let code = ["-Ccode-model=large", "-Crelocation-model=static", "-Cpanic=abort", "-Copt-level=2"];
    let command =
        cmd!(shell, "{rustc} --edition 2024 --crate-type staticlib {code...} {source} -o {archive}");
    child::run(&mut command.into())?;
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let options = [&options[..], &["--defsym=rust_eh_personality=0"]].concat();
    let kernel = link_archive(scene, scene.folder(), &options)?;
    ensure!(has_section(&read(&kernel)?, ".ldata")?, "the code model has no effect");
    boots(scene, &kernel, KernelConfig::DEFAULT, OK).map(drop)
}

fn has_section(kernel: &[u8], name: &str) -> Result<bool> {
    Ok(ElfBytes::<LittleEndian>::minimal_parse(kernel)?.section_header_by_name(name)?.is_some())
}
