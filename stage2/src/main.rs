//! stage2: from the jump out of the boot sector to the kernel's entry point.
//!
//! Entered in real mode at `stage2_entry` (entry.s) with DL = boot drive. Runs in 32-bit protected mode without
//! paging and with interrupts off, and drops to real mode for each BIOS call (bios/call.s). Leaves in long mode
//! (hand_off.s). [`boot`] tells the way from top to bottom.

#![no_std]
#![no_main]

mod a20;
mod bios;
mod console;
mod cpu;
mod exceptions;
mod hand_off;
mod physical_memory;
mod port;
mod protected_mode;
mod screen;
mod serial;
mod source;
mod stop;
mod tables;

use crate::console::println;
use crate::hand_off::{BootInfoRoom, Facts};
use crate::physical_memory::IdentityMemory;
use crate::source::bios_drive::BiosDisk;
use crate::tables::Tables;
use boot_info::TimeStamps;
use core::convert::Infallible;
use loader::BootError;
use loader::e820;
use loader::frames::Frames;
use loader::load::{Disk, load_kernel};
use loader::manifest::{Manifest, Sector, Stage2Descriptor};
use loader::paging::AddressSpace;

/// The first Rust function: called by entry.s, on the loader's stack.
extern "C" fn stage2_main(drive: u8) -> ! {
    exceptions::init();
    console::init();
    match boot(drive) {
        Ok(never) => match never {},
        Err(error) => stop::stop(&error),
    }
}

/// The way to the kernel.
fn boot(drive: u8) -> Result<Infallible, BootError> {
    println!("Doorstep {}", env!("CARGO_PKG_VERSION"));
    let Tables { reports, regions, loaded } = tables::take();

    // What the machine is.
    let features = cpu::detect()?;
    if !features.no_execute {
        println!("CPU has no NX: data can be executed");
    }
    let mut time_stamps = TimeStamps { stage2_entry: cpu::time_stamp(), ..TimeStamps::default() };
    a20::open()?;
    bios::memory_map::fetch(reports)?;
    e820::overlay(reports, regions);
    time_stamps.memory_map_fetched = cpu::time_stamp();
    println!("memory: {} KiB usable", e820::usable_len(regions) / 1024);

    // What is to be booted.
    let mut disk = BiosDisk::open(drive)?;
    let manifest_lba = descriptor().manifest_lba();
    let sector =
        Sector::try_from(disk.read(manifest_lba, layout::MANIFEST_SECTORS)?).expect("one sector was read");
    let manifest = Manifest::from_sector(manifest_lba, &sector)?;
    disk.check_size(manifest.image_sectors)?;

    // The kernel, straight to the memory it will live in.
    let mut frames = Frames::new(regions);
    // SAFETY: what is written through it below goes to frames that were taken.
    let mut memory = unsafe { IdentityMemory::new() };
    load_kernel(&mut disk, &mut memory, &mut frames, &manifest, loaded)?;
    time_stamps.kernel_loaded = cpu::time_stamp();
    println!("kernel: {} bytes from drive {drive:02X}h", manifest.kernel.len);

    // What it will see.
    let boot_info_room = BootInfoRoom::take(&mut frames)?;
    // SAFETY: paging is off, and frames that were taken for tables are used for nothing else.
    let mut address_space = unsafe { AddressSpace::new(&mut frames, memory, features)? };
    address_space.map_kernel(&loaded.pieces)?;
    address_space.map_physical_memory(&manifest.config, regions)?;
    address_space.map_first_mib()?;
    let stack = address_space.map_stack(manifest.config.stack_len)?;
    let root_addr = address_space.root_addr();

    // What it is told.
    hand_off::report_own_memory(reports, frames.taken())?;
    e820::overlay(reports, regions);
    let segments = &loaded.pieces;
    let facts = Facts { manifest: &manifest, regions, segments, stack, boot_drive: drive, time_stamps };
    let boot_info_addr = boot_info_room.fill(&facts);

    // And there it goes.
    protected_mode::check_stack()?;
    println!("jump to {:#x}", loaded.kernel.entry_addr);
    // SAFETY: the tables map the mode-switch page, the kernel, its stack and the boot info.
    unsafe { hand_off::jump(loaded.kernel.entry_addr, stack.top_addr, boot_info_addr, root_addr, features) }
}

/// Where stage2 came from: the boot sector is still in memory.
fn descriptor() -> Stage2Descriptor {
    let addr = layout::STAGE1_ADDR + layout::DESCRIPTOR_OFFSET;
    // SAFETY: the boot sector lies below the loader's memory and nothing writes to it; any bytes are a descriptor.
    unsafe { (addr as *const Stage2Descriptor).read_unaligned() }
}
