//! Links the test kernels as the kernel is linked, or, where they are compiled for any address, as static PIEs.

use std::env;

fn main() {
    if env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("relocation-model=pic")) {
        for option in ["-pie", "--no-dynamic-linker", "-ztext"] {
            println!("cargo:rustc-link-arg-bins={option}");
        }
        return;
    }
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap();
    for script in ["../../../kernel/kernel.ld", "thread_local.ld"] {
        println!("cargo:rerun-if-changed={script}");
    }
    println!("cargo:rustc-link-arg-bins=-T{folder}/../../../kernel/kernel.ld");
    println!("cargo:rustc-link-arg-bin=thread_local=-T{folder}/thread_local.ld");
}
