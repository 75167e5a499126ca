//! Links the boot program to start at offset 0 of its segment.

fn main() {
    println!("cargo:rerun-if-changed=odd-bios.ld");
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells the package's directory");
    println!("cargo:rustc-link-arg-bins=--script={directory}/odd-bios.ld");
}
