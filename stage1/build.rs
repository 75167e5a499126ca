//! Hands the numbers of `layout` to the linker script of the boot sectors, and the script to the linker; copies the assembly to
//! `OUT_DIR` with a line table, from where `global_asm!` takes it.

fn main() {
    println!("cargo:rerun-if-changed=stage1.ld");
    line_table::mark_sources();
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells the package's directory");
    let symbols = [
        ("LAYOUT_STAGE1_ADDR", layout::STAGE1_ADDR),
        ("LAYOUT_STAGE2_ADDR", layout::STAGE2_ADDR),
        ("LAYOUT_JUMP_LEN", layout::JUMP_LEN),
        ("LAYOUT_BPB_END", layout::BPB_END),
        ("LAYOUT_DESCRIPTOR_OFFSET", layout::DESCRIPTOR_OFFSET),
        ("LAYOUT_DISK_SIGNATURE_OFFSET", layout::DISK_SIGNATURE_OFFSET),
        ("LAYOUT_BOOT_SIGNATURE_OFFSET", layout::BOOT_SIGNATURE_OFFSET),
        ("LAYOUT_SECTOR_LEN", layout::SECTOR_LEN),
    ];
    println!("cargo:rustc-link-arg-bins=--script={directory}/stage1.ld");
    for (name, value) in symbols {
        println!("cargo:rustc-link-arg-bins=--defsym={name}={value:#x}");
    }
}
