//! Hands the place of a boot sector to the linker script, and the script to the linker.

fn main() {
    println!("cargo:rerun-if-changed=bare-reads.ld");
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells the package's directory");
    println!("cargo:rustc-link-arg-bins=--script={directory}/bare-reads.ld");
    println!("cargo:rustc-link-arg-bins=--defsym=LAYOUT_STAGE1_ADDR={:#x}", layout::STAGE1_ADDR);
}
