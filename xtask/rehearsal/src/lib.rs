//! A boot without a machine: the loader's own steps in stage2's order (`boot` in stage2/src/main.rs), from the bundle's first
//! byte to the page tables. What a machine would have to do is left out, and what is refused is refused as there.
//!
//! A crate of its own, because page tables are built through pointers: whoever uses it needs no `unsafe`.

mod memory;
mod tables;

pub use memory::SparseMemory;

use boot_info::{BootInfoParts, KernelSegment, List, MemoryRegion, MemoryRegionKind};
use loader::boot_info_builder::BootInfoRoom;
use loader::bundle::{Bundle, PieceKind};
use loader::elf::Kernel;
use loader::error::Purpose;
use loader::frames::Frames;
use loader::load::{self, LoadedKernel};
use loader::paging::{AddressSpace, PagingFeatures};
use loader::plan::{self, AddressPlan, Machine as PlannedMachine};
use loader::reader::{Place, Reader};
use loader::relocate::relocate;
use loader::{BootError, Result, e820, optional};
use memory::Nowhere;
use std::ops::Range;
use tables::{Mapped, Tables};

/// A bundle's source.
pub trait Source: Reader {
    /// Makes sure that all `len` bytes of the bundle are there, where that can be known.
    ///
    /// # Errors
    /// E14, E16.
    fn check_size(&self, len: u64) -> Result<()>;
}

/// What a boot depends on besides the bundle.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What the BIOS reports of memory.
    pub reports: Vec<MemoryRegion>,
    /// What the CPU can do for paging.
    pub features: PagingFeatures,
    /// What the screen shows, for a kernel that asks for a framebuffer.
    pub framebuffer: Range<u64>,
}

/// How the loader was started.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Where the bundle lies, for messages.
    pub place: Place,
    /// Whether stage2 has its optional part.
    pub is_stage2_whole: bool,
}

/// Everything in memory as the kernel would find it.
pub struct Rehearsed {
    /// Where everything lies in virtual memory.
    pub plan: AddressPlan,
    /// The kernel, moved to where it runs.
    pub kernel: Kernel,
    /// Where it lies.
    pub pieces: Vec<KernelSegment>,
    /// The memory map at the end.
    pub regions: Vec<MemoryRegion>,
    /// The boot info's physical memory.
    pub boot_info: Range<u64>,
    /// The stack's, from its lowest address up.
    pub stack: Vec<Range<u64>>,
    /// The ramdisk's, if there is one: so many bytes from there on.
    pub ramdisk: Option<Range<u64>>,
    /// The same of the symbols.
    pub symbols: Option<Range<u64>>,
    /// The page tables' physical addresses.
    pub tables: Vec<u64>,
    /// Where they appear in virtual memory, if the kernel asks for that.
    pub recursive_addr: Option<u64>,
    /// The framebuffer's physical memory; empty where there is none.
    pub framebuffer: Range<u64>,
}

/// The way to the kernel.
///
/// # Errors
/// What the loader would say: E05, E11 to E16, E20 to E62.
pub fn rehearse(source: &mut impl Source, start: &Start, machine: &Machine) -> Result<Rehearsed> {
    // What the machine is.
    let mut reports = e820::Reports::new();
    for region in machine.reports.iter().chain(&own_reports()) {
        e820::report(&mut reports, *region)?;
    }
    let mut regions = e820::Regions::new();
    e820::overlay(&reports, &mut regions);

    // What is to be booted.
    let bundle = Bundle::read(source, start.place)?;
    source.check_size(bundle.len)?;
    let mut scratch = SparseMemory::default();
    let headers =
        load::load_piece(source, &mut scratch, PieceKind::KernelHeaders, &bundle.kernel_headers, 0)?;
    let mut loaded = Box::new(LoadedKernel::EMPTY);
    loaded.kernel.fill(headers, bundle.kernel.len)?;
    if !bundle.config.allow_write_execute {
        loaded.kernel.check_rights()?;
    }
    if optional::is_needed(&bundle.config, loaded.kernel.is_position_independent) && !start.is_stage2_whole {
        return Err(BootError::OptionalPartMissing.into());
    }
    if loaded.kernel.is_position_independent {
        let random = bundle.config.randomize_address.then_some(0);
        let slide = plan::kernel_slide(&loaded.kernel, random)?;
        loaded.kernel.slide_by(slide);
    }
    let shown = if bundle.config.framebuffer.is_some() { machine.framebuffer.clone() } else { 0..0 };
    if !shown.is_empty() {
        let region = MemoryRegion::new(shown.start, shown.end, MemoryRegionKind::FRAMEBUFFER);
        e820::report(&mut reports, region)?;
        e820::overlay(&reports, &mut regions);
    }
    let planned = PlannedMachine::new(&regions, BootInfoRoom::LEN);
    let plan = AddressPlan::new(&loaded.kernel, &bundle.config, &planned)?;

    // The kernel and what comes with it.
    let mut frames = Frames::new(&mut regions);
    let mut memory = SparseMemory::default();
    load::load_kernel(source, &mut memory, &mut frames, &bundle.kernel, &mut loaded)?;
    if loaded.kernel.is_position_independent {
        relocate(&mut memory, &loaded)?;
    }
    let room = frames.take_whole(BootInfoRoom::LEN, MemoryRegionKind::BOOTLOADER, Purpose::BootInfo)?;
    let boot_info = room..room + BootInfoRoom::LEN;
    load::load_command_line(source, &mut scratch, bundle.command_line.as_ref(), 0)?;
    let mut parts = BootInfoParts::EMPTY;
    load::load_besides(source, &mut Nowhere, &mut frames, &bundle, plan.window_addr, &mut parts)?;

    // What the kernel will see.
    let tables = Tables::default();
    let mut space = tables.address_space(&mut frames, machine.features)?;
    map(&mut space, &bundle, &plan, &loaded.pieces, &parts, &shown)?;
    space.map_stack(plan.stack)?;
    space.map_boot_info(plan.boot_info_addr, boot_info.clone())?;
    if let Some(index) = plan.recursive_index {
        space.map_tables(index)?;
    }
    let root_addr = space.root_addr();

    let physical = |list: List<u8>, piece: Option<_>| {
        let Range { start, end } = list.range();
        piece.map(|_| start - plan.window_addr..end - plan.window_addr)
    };
    let mapped = Mapped::new(tables, root_addr);
    Ok(Rehearsed {
        stack: mapped.physical(plan.stack.bottom_addr..plan.stack.top_addr),
        ramdisk: physical(parts.ramdisk, bundle.ramdisk),
        symbols: physical(parts.symbols, bundle.symbols),
        tables: mapped.table_addrs(),
        pieces: loaded.pieces.to_vec(),
        regions: frames.map().to_vec(),
        kernel: loaded.kernel,
        recursive_addr: plan.recursive_index.map(tables::addr_of_slot),
        framebuffer: shown,
        plan,
        boot_info,
    })
}

/// Maps the kernel, what comes with it, and physical memory, as far as it asks for that.
fn map(
    space: &mut AddressSpace<'_, '_, &Tables>,
    bundle: &Bundle,
    plan: &AddressPlan,
    pieces: &[KernelSegment],
    parts: &BootInfoParts,
    shown: &Range<u64>,
) -> Result<()> {
    space.map_kernel(pieces)?;
    if bundle.config.map_physical_memory {
        space.map_window(plan, pieces, shown)?;
    } else {
        space.map_file(plan, parts.ramdisk)?;
        space.map_file(plan, parts.symbols)?;
        space.map_framebuffer(plan, shown.clone(), !shown.is_empty())?;
    }
    space.map_first_mib(bundle.config.map_first_mib)
}

/// What the loader reports itself: page 0 and its own memory. The extended BIOS data area is reported by the BIOS.
fn own_reports() -> [MemoryRegion; 2] {
    [
        MemoryRegion::new(0, layout::PAGE_LEN.into(), MemoryRegionKind::RESERVED),
        MemoryRegion::new(
            layout::STACK_BOTTOM.into(),
            layout::LOADER_END.into(),
            MemoryRegionKind::BOOTLOADER,
        ),
    ]
}
