//! What the script has to know of the guest: what lies where, which files tell its symbols, and where a kernel panics.

use crate::bare_metal::read;
use anyhow::Result;
use elf::ElfBytes;
use elf::endian::LittleEndian;
use loader::elf::{Kernel, headers_len};
use loader::plan;
use serde_json::{Value, json};
use std::path::{self, Path};

/// Facts of the stages in `elf_files`, and of `kernel`, or else our own.
pub(super) fn facts(elf_files: &Path, kernel: Option<&Path>) -> Result<Value> {
    let kernel = kernel.map_or_else(|| Ok(elf_files.join("kernel.elf")), path::absolute)?;
    let stage = |name: &str, start: u32, end: u32| {
        json!({
            "elf": elf_files.join(format!("{name}.elf")).to_string_lossy(),
            "ranges": [[start, end]],
            "entry": start,
        })
    };
    Ok(json!({
        "stage1": stage("stage1", layout::STAGE1_ADDR, layout::STAGE1_END),
        "stage2": stage("stage2", layout::STAGE2_ADDR, layout::STAGE2_END),
        "kernel": kernel_facts(&kernel)?,
    }))
}

/// A kernel, where the loader puts it unless it draws a random address.
fn kernel_facts(path: &Path) -> Result<Value> {
    let bytes = read(path)?;
    let headers = &bytes[..usize::try_from(headers_len(&bytes))?];
    let mut kernel = Kernel::parse(headers, bytes.len() as u64)?;
    kernel.slide_by(plan::kernel_slide(&kernel, None)?);
    let ranges: Vec<_> = kernel
        .segments
        .iter()
        .map(|segment| [segment.virtual_addr, segment.virtual_addr.saturating_add(segment.memory_len)])
        .collect();
    Ok(json!({
        "elf": path.to_string_lossy(),
        "ranges": ranges,
        "entry": kernel.entry_addr,
        "is_movable": kernel.is_position_independent,
        "slide": kernel.slide,
        "panic": panic_handler(&function_names(&bytes)?),
    }))
}

/// The names of a kernel's functions, as they are in its file.
fn function_names(file: &[u8]) -> Result<Vec<String>> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(file)?;
    let Some((symbols, names)) = elf.symbol_table()? else { return Ok(Vec::new()) };
    Ok(symbols
        .iter()
        .filter(|symbol| symbol.st_symtype() == elf::abi::STT_FUNC)
        .filter_map(|symbol| names.get(usize::try_from(symbol.st_name).ok()?).ok())
        .map(str::to_owned)
        .collect())
}

/// The function that panics end in: its symbol, its name, and what it is given. Rust's handler, which may have become a
/// part of `panic_fmt`, or that of a kernel in C.
fn panic_handler(functions: &[String]) -> Option<Value> {
    type Test = fn(&str) -> bool;
    const KINDS: [(&str, &str, Test); 3] = [
        ("handler", "rust_begin_unwind", |symbol| symbol.ends_with("rust_begin_unwind")),
        ("panic_fmt", "core::panicking::panic_fmt", |symbol| symbol.contains("4core9panicking9panic_fmt")),
        ("c", "panic", |symbol| symbol == "panic"),
    ];
    KINDS.iter().find_map(|(kind, name, is_it)| {
        let symbol = functions.iter().find(|symbol| is_it(symbol))?;
        Some(json!({ "symbol": symbol, "name": name, "kind": kind }))
    })
}

#[cfg(test)]
mod tests {
    use super::panic_handler;

    fn found(functions: &[&str]) -> Option<(String, String)> {
        let functions: Vec<_> = functions.iter().map(|&name| name.to_owned()).collect();
        let handler = panic_handler(&functions)?;
        let field = |name: &str| handler[name].as_str().unwrap_or_default().to_owned();
        Some((field("symbol"), field("kind")))
    }

    #[test]
    fn the_handler_counts_more_than_what_calls_it() {
        let (v0, legacy) = (
            "_RNvCsfgHYwM92fyn_7___rustc17rust_begin_unwind",
            "_ZN4core9panicking9panic_fmt17h0123456789abcdefE",
        );
        assert_eq!(found(&["main", legacy, v0]), Some((v0.into(), "handler".into())));
        assert_eq!(found(&["rust_begin_unwind"]), Some(("rust_begin_unwind".into(), "handler".into())));
        assert_eq!(found(&["main", legacy]), Some((legacy.into(), "panic_fmt".into())));
    }

    #[test]
    fn a_kernel_in_c_has_one_too() {
        assert_eq!(found(&["panicked", "panic"]), Some(("panic".into(), "c".into())));
        assert_eq!(found(&["main", "kernel_panicked"]), None);
    }
}
