//! Links the kernel with `kernel.ld`.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=kernel.ld");
    // On the host, this package is a library under test.
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        println!("cargo:rustc-link-arg-bins=-T{}/kernel.ld", env::var("CARGO_MANIFEST_DIR").unwrap());
    }
}
