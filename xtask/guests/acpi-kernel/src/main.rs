//! Counts the machine's CPUs: from the boot info to the ACPI tables, with the crate `acpi`.
//!
//! The loader tells where the RSDP is, and maps all memory; the crate reads the tables. The MADT among them has an entry for
//! each CPU (ACPI 6.5, sections 5.2.12.2 and 5.2.12.12).

#![no_std]
#![no_main]

use acpi::madt::{Madt, MadtEntry};
use acpi::{AcpiError, AcpiHandler, AcpiTables, PhysicalMapping};
use boot_info::{BootInfo, entry_point};
use core::panic::PanicInfo;
use core::ptr::{NonNull, with_exposed_provenance_mut};
use kernel::backtrace::Backtrace;
use kernel::{console, println};

entry_point!(kernel_main);

fn kernel_main(boot_info: &'static BootInfo) -> ! {
    kernel::init(boot_info);
    match count_cpus(boot_info) {
        Ok(count) => println!("CPUs: {count}"),
        Err(error) => println!("CPUs: unknown, {error:?}"),
    }
    kernel::halt()
}

fn count_cpus(boot_info: &BootInfo) -> Result<usize, AcpiError> {
    let rsdp_addr = usize::try_from(boot_info.rsdp_addr().ok_or(AcpiError::NoValidRsdp)?).expect("64 bits");
    let offset = boot_info.physical_memory_offset().expect("this kernel does not ask to go without");
    let window = Window { offset: usize::try_from(offset).expect("64 bits") };
    // SAFETY: the loader has found the RSDP there, and the window has all memory.
    let tables = unsafe { AcpiTables::from_rsdp(window, rsdp_addr)? };
    Ok(tables.find_table::<Madt>()?.get().entries().filter(is_cpu).count())
}

/// Whether an entry of the MADT is a CPU that can be started.
fn is_cpu(entry: &MadtEntry<'_>) -> bool {
    const ENABLED: u32 = 1 << 0;
    match entry {
        MadtEntry::LocalApic(cpu) => cpu.flags & ENABLED != 0,
        MadtEntry::LocalX2Apic(cpu) => cpu.flags & ENABLED != 0,
        _ => false,
    }
}

/// Physical memory, as the loader has mapped it.
#[derive(Clone)]
struct Window {
    offset: usize,
}

impl AcpiHandler for Window {
    unsafe fn map_physical_region<T>(&self, physical_addr: usize, len: usize) -> PhysicalMapping<Self, T> {
        let start = NonNull::new(with_exposed_provenance_mut(self.offset + physical_addr));
        let start = start.expect("the window is not at the end of all addresses");
        // SAFETY: all of it is mapped there already, and stays so.
        unsafe { PhysicalMapping::new(physical_addr, start, len, len, self.clone()) }
    }

    fn unmap_physical_region<T>(_region: &PhysicalMapping<Self, T>) {}
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    console::last_words(info, Backtrace::here());
    kernel::halt()
}
