//! Hands the numbers of `layout` to the linker script of the bare-metal binary.

fn main() {
    println!("cargo:rerun-if-changed=stage2.ld");
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells the package's directory");
    let symbols = [
        ("LAYOUT_SECTOR_LEN", layout::SECTOR_LEN),
        ("LAYOUT_STAGE2_ADDR", layout::STAGE2_ADDR),
        ("LAYOUT_MODE_SWITCH_PAGE_END", layout::MODE_SWITCH_PAGE_END),
        ("LAYOUT_STAGE2_FILE_END", layout::STAGE2_FILE_END),
        ("LAYOUT_STAGE2_END", layout::STAGE2_END),
    ];
    println!("cargo:rustc-link-arg-bin=stage2=--script={directory}/stage2.ld");
    for (name, value) in symbols {
        println!("cargo:rustc-link-arg-bin=stage2=--defsym={name}={value:#x}");
    }
}
