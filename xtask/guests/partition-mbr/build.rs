//! Hands the place that the boot sector moves to to the linker script, and the script to the linker.

fn main() {
    println!("cargo:rerun-if-changed=partition-mbr.ld");
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells the package's directory");
    println!("cargo:rustc-link-arg-bins=--script={directory}/partition-mbr.ld");
    println!("cargo:rustc-link-arg-bins=--defsym=LAYOUT_BIOS_DATA_END={:#x}", layout::BIOS_DATA_END);
}
