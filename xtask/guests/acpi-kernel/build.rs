//! Links it as the kernel is linked.

use std::env;

fn main() {
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap();
    println!("cargo:rerun-if-changed=../../../kernel/kernel.ld");
    println!("cargo:rustc-link-arg-bins=-T{folder}/../../../kernel/kernel.ld");
}
