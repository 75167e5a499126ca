//! Links the test kernels as the kernel is linked.

use std::env;

fn main() {
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap();
    for script in ["../../../kernel/kernel.ld", "thread_local.ld"] {
        println!("cargo:rerun-if-changed={script}");
    }
    println!("cargo:rustc-link-arg-bins=-T{folder}/../../../kernel/kernel.ld");
    println!("cargo:rustc-link-arg-bin=thread_local=-T{folder}/thread_local.ld");
}
