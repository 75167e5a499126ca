//! Links the boot program to start where a PXE ROM loads it.

fn main() {
    println!("cargo:rerun-if-changed=odd-pxe.ld");
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells the package's directory");
    println!("cargo:rustc-link-arg-bins=--script={directory}/odd-pxe.ld");
}
