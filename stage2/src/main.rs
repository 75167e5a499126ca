//! stage2: from the jump out of the boot sector to the kernel's entry point.
//!
//! Whoever loaded it enters by one of the ways in `entry`. It runs in 32-bit protected mode without paging and with
//! interrupts off, and drops to real mode for each BIOS call (bios/call.s). It leaves in long mode (hand_off.s).
//! [`boot`] tells the way from top to bottom; the logic that it calls is in the crate `loader`.

#![no_std]
#![no_main]

extern crate alloc;

mod a20;
mod bios;
mod console;
mod cpu;
mod entry;
mod exceptions;
mod firmware_tables;
mod hand_off;
mod heap;
mod high_memory;
mod memory_functions;
mod optional_part;
mod physical_memory;
mod port;
mod protected_mode;
mod screen;
mod serial;
mod source;
mod stop;
mod tables;

use crate::console::println;
use crate::hand_off::Room;
use crate::physical_memory::IdentityMemory;
use crate::tables::Tables;
use boot_info::{BootInfoParts, Milestone, MilestoneId};
use core::convert::Infallible;
use loader::Result;
use loader::boot_info_builder::{BootInfoRoom, Lists, Milestones};
use loader::bundle::{Bundle, PieceKind};
use loader::e820;
use loader::frames::Frames;
use loader::load;
use loader::multiboot;
use loader::paging::AddressSpace;
use loader::plan::{self, AddressPlan, Machine};
use loader::reader::BootSource;
use loader::relocate::relocate;

/// Where all entries meet, on the loader's stack.
fn stage2_main(source: Result<BootSource>) -> ! {
    let started = cpu::first_time_stamp();
    exceptions::init();
    console::init();
    println!("Doorstep {}", env!("CARGO_PKG_VERSION"));
    let error = match source {
        Ok(source) => match boot(&source, started) {
            Ok(never) => match never {},
            Err(error) => error,
        },
        Err(error) => error,
    };
    stop::stop(&error)
}

/// The way to the kernel.
// Not inlined: gdb knows it by its name.
#[inline(never)]
fn boot(source: &BootSource, started: Option<u64>) -> Result<Infallible> {
    let Tables { reports, command_line, regions, loaded, milestones } = tables::take();
    milestones.extend(started.map(|ticks| Milestone::new(MilestoneId::STAGE2, ticks)));

    // What the machine is.
    let features = cpu::detect()?;
    if !features.no_execute {
        println!("CPU has no NX: data can be executed");
    }
    a20::open()?;
    bios::memory_map::fetch(reports)?;
    source::report(&source.place, reports)?;
    e820::overlay(reports, regions);
    println!("memory: {} KiB usable", e820::usable_len(regions) / 1024);
    pass(milestones, MilestoneId::MACHINE_KNOWN);

    // What is to be booted.
    let mut reader = source::open(source, reports, regions)?;
    let bundle = Bundle::read(&mut reader, source.place)?;
    reader.check_size(bundle.len)?;
    if bundle.config.disk_dma {
        reader.use_dma();
    }
    // SAFETY: what is written through it goes to frames that are taken first, and to the place for the headers.
    let mut memory = unsafe { IdentityMemory::new() };
    let headers = load::load_piece(
        &mut reader,
        &mut memory,
        PieceKind::KernelHeaders,
        &bundle.kernel_headers,
        layout::KERNEL_HEADERS_ADDR.into(),
    )?;
    loaded.kernel.fill(headers, bundle.kernel.len)?;
    if !bundle.config.allow_write_execute {
        loaded.kernel.check_rights()?;
    } else if let Some(run) = loaded.kernel.writable_executable() {
        println!(
            "kernel has pages that are writable and executable, as allowed, from {:#x} on",
            run.virtual_addr
        );
    }
    optional_part::check(source, &bundle.config, &loaded.kernel)?;
    if loaded.kernel.is_position_independent {
        let random = bundle.config.randomize_address.then(cpu::random);
        let slide = plan::kernel_slide(&loaded.kernel, random)?;
        loaded.kernel.slide_by(slide);
    }
    let mut parts = BootInfoParts::EMPTY;
    let mode = match bundle.config.framebuffer {
        Some(wish) => bios::vbe::find(wish, reports, regions, &mut parts.framebuffer)?,
        None => None,
    };
    let plan = AddressPlan::new(&loaded.kernel, &bundle.config, &Machine::new(regions, BootInfoRoom::LEN))?;
    pass(milestones, MilestoneId::HEADERS_READ);

    // The kernel and its command line, straight to the memory they will live in.
    let mut frames = Frames::new(regions);
    load::load_kernel(&mut reader, &mut memory, &mut frames, &bundle.kernel, loaded)?;
    if loaded.kernel.is_position_independent {
        relocate(&mut memory, loaded)?;
    }
    let room = Room::take(&mut frames)?;
    let command_line_len = if command_line.is_empty() {
        let piece = bundle.command_line.as_ref();
        load::load_command_line(&mut reader, &mut memory, piece, room.command_line_addr())?
    } else {
        multiboot::write_command_line(&mut memory, command_line, room.command_line_addr())
    };
    load::load_besides(&mut reader, &mut memory, &mut frames, &bundle, plan.window_addr, &mut parts)?;
    pass(milestones, MilestoneId::KERNEL_LOADED);
    println!("kernel: {} bytes", bundle.kernel.len);

    // What the kernel will see.
    // SAFETY: paging is off, and frames that were taken for tables are used for nothing else.
    let mut address_space = unsafe { AddressSpace::new(&mut frames, memory, features)? };
    address_space.map_kernel(&loaded.pieces)?;
    let is_combined = mode.is_some() && cpu::allow_write_combining();
    let shown = parts.framebuffer.physical_range();
    if bundle.config.map_physical_memory {
        address_space.map_window(&plan, &loaded.pieces, if is_combined { &shown } else { &(0..0) })?;
    } else {
        address_space.map_file(&plan, parts.ramdisk)?;
        address_space.map_file(&plan, parts.symbols)?;
        address_space.map_framebuffer(&plan, shown, is_combined)?;
    }
    address_space.map_first_mib(bundle.config.map_first_mib)?;
    address_space.map_stack(plan.stack)?;
    address_space.map_boot_info(plan.boot_info_addr, room.physical_range())?;
    if let Some(index) = plan.recursive_index {
        address_space.map_tables(index)?;
    }
    let root_addr = address_space.root_addr();
    pass(milestones, MilestoneId::TABLES_BUILT);

    // What it is told.
    if bundle.config.map_physical_memory {
        parts.physical_memory_offset = plan.window_addr;
    }
    parts.stack = plan.stack;
    parts.boot_drive = source.drive;
    parts.recursive_index = plan.recursive_index.unwrap_or(0);
    parts.protocol = bundle.config.protocol;
    parts.kernel_slide = loaded.kernel.slide;
    parts.rsdp_addr = firmware_tables::rsdp_addr().unwrap_or(0);
    parts.smbios_addr = firmware_tables::smbios_addr().unwrap_or(0);
    if let Some(template) = loaded.kernel.tls {
        parts.tls_template = template;
    }
    if let Some(size) = reader.drive_size() {
        parts.drive_size = size;
    }
    if let Some(clock) = bios::clock::read() {
        parts.wall_clock = clock;
    }

    // There it goes.
    println!("jump to {:#x}", loaded.kernel.entry_addr);
    match mode {
        Some(mode) if bios::vbe::show(mode) => {
            // The window has all that lies below 4 GiB, or else this alone where it would be.
            parts.framebuffer.addr = plan.window_addr + parts.framebuffer.physical_addr;
        }
        _ if bundle.config.vga_320x200 => screen::show_pixels(),
        _ if !bundle.config.keep_screen => screen::clear(),
        _ => {}
    }
    protected_mode::check_stack()?;
    let lists = Lists { regions: frames.map(), segments: &loaded.pieces, command_line_len };
    room.write(&plan, &lists, &parts, milestones);
    serial::flush();
    // SAFETY: the tables map the mode-switch page, the kernel, its stack and the boot info.
    unsafe { hand_off::jump(loaded.kernel.entry_addr, &plan, root_addr, features) }
}

/// Notes that the boot has come by a milestone.
#[inline(never)]
fn pass(milestones: &mut Milestones, id: MilestoneId) {
    milestones.push(Milestone::new(id, cpu::time_stamp()));
}
