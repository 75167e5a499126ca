//! The clock, the size of the boot drive, and where ACPI and SMBIOS begin are told, and are what they seem.
//!
//! With `no-acpi` on the command line, there is no ACPI.

#![no_std]
#![no_main]

use boot_info::BootInfo;
use kernel::println;

test_kernels::test_kernel!(test);

fn test(boot_info: &'static BootInfo) {
    match boot_info.wall_clock() {
        Some(clock) => println!("clock: {clock}, {} seconds since 1970", clock.unix_seconds()),
        None => println!("clock: none"),
    }
    let size = boot_info.drive_size().expect("a BIOS with EDD");
    println!("drive: {} sectors of {} bytes", size.sectors, size.sector_len);

    let window = test_kernels::window(boot_info);
    let bytes = |addr: u64, len: usize| {
        // SAFETY: all memory is mapped in the window, and nobody writes to firmware's tables.
        unsafe { core::slice::from_raw_parts((window + addr) as *const u8, len) }
    };
    let sum = |bytes: &[u8]| bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));

    let rsdp = boot_info.rsdp_addr();
    println!("RSDP: {rsdp:x?}");
    assert_eq!(rsdp.is_none(), boot_info.command_line() == "no-acpi");
    if let Some(addr) = rsdp {
        let rsdp = bytes(addr, 20);
        assert!(rsdp.starts_with(b"RSD PTR ") && sum(rsdp) == 0, "{rsdp:x?}");
        // It leads to the RSDT.
        let rsdt_addr = u32::from_le_bytes([rsdp[16], rsdp[17], rsdp[18], rsdp[19]]);
        assert_eq!(bytes(rsdt_addr.into(), 4), b"RSDT");
    }

    let smbios = boot_info.smbios_addr().expect("every BIOS has SMBIOS");
    let signature = bytes(smbios, 5);
    println!("SMBIOS: {smbios:#x}");
    assert!(signature.starts_with(b"_SM_") || signature == b"_SM3_", "{signature:x?}");
}
