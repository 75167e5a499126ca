//! Links the test kernels as the kernel is linked.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=../../../kernel/kernel.ld");
    println!(
        "cargo:rustc-link-arg-bins=-T{}/../../../kernel/kernel.ld",
        env::var("CARGO_MANIFEST_DIR").unwrap()
    );
}
