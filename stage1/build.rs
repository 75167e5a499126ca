//! Hands the addresses and offsets of `layout` to the linker script.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=stage1.ld");
    println!("cargo::rustc-link-arg-bins=--script={}/stage1.ld", env!("CARGO_MANIFEST_DIR"));
    for (symbol, value) in [
        ("STAGE1_ADDR", layout::STAGE1_ADDR),
        ("STAGE2_ADDR", layout::STAGE2_ADDR),
        ("JUMP_LEN", layout::JUMP_LEN),
        ("BPB_END", layout::BPB_END),
        ("DESCRIPTOR_OFFSET", layout::DESCRIPTOR_OFFSET),
        ("BOOT_SIGNATURE_OFFSET", layout::BOOT_SIGNATURE_OFFSET),
        ("SECTOR_LEN", layout::SECTOR_LEN),
    ] {
        println!("cargo::rustc-link-arg-bins=--defsym={symbol}={value:#x}");
    }
}
