//! Hands the numbers of `layout` to the linker script of the bare-metal binary; copies the assembly to `OUT_DIR` with line tables,
//! from where `global_asm!` takes it.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=stage2.ld");
    line_table::mark_sources();
    println!("cargo:rerun-if-env-changed={MAY_BE_LARGE}");
    let directory = env::var("CARGO_MANIFEST_DIR").expect("cargo tells the package's directory");
    let symbols = [
        ("LAYOUT_SECTOR_LEN", layout::SECTOR_LEN),
        ("LAYOUT_NETWORK_PROGRAM_ENTRY", layout::NETWORK_PROGRAM_ENTRY),
        ("LAYOUT_PROGRAM_ADDR", layout::PROGRAM_ADDR),
        ("LAYOUT_SAVED_ADDR", layout::SAVED_ADDR),
        ("LAYOUT_SAVED_LEN", layout::SAVED_LEN),
        ("LAYOUT_STAGE2_ADDR", layout::STAGE2_ADDR),
        ("LAYOUT_MODE_SWITCH_PAGE_END", layout::MODE_SWITCH_PAGE_END),
        ("LAYOUT_STAGE2_MAIN_PART_END", main_part_end()),
        ("LAYOUT_STAGE2_FILE_END", layout::STAGE2_FILE_END),
        ("LAYOUT_STAGE2_END", layout::STAGE2_END),
        ("stage2_may_be_large", env::var_os(MAY_BE_LARGE).is_some().into()),
    ];
    println!("cargo:rustc-link-arg-bin=stage2=--script={directory}/stage2.ld");
    for (name, value) in symbols {
        println!("cargo:rustc-link-arg-bin=stage2=--defsym={name}={value:#x}");
    }
}

/// Set in the environment by `cargo xtask size`, so that it can show what is too large to be linked.
const MAY_BE_LARGE: &str = "STAGE2_MAY_BE_LARGE";

/// The build for gdb, which is known by the folder of its profile, only has to be as small as stage1 can load.
fn main_part_end() -> u32 {
    let folder = env::var_os("OUT_DIR").expect("cargo tells the folder for results");
    let is_for_gdb = Path::new(&folder).iter().any(|name| name == "stage-debug");
    if is_for_gdb { layout::STAGE2_FILE_END } else { layout::STAGE2_MAIN_PART_END }
}
