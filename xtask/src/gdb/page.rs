//! `cargo xtask gdb --tour --html`: a recorded boot as one page, to read in a browser.
//!
//! 1. `recording` is what gdb's script has seen (gdb/doorstep/record.py).
//! 2. Each part of the page is a module: the stops, the BIOS calls, the memory map, the page tables.
//! 3. `page.css` and `page.js` go into the page, which needs no network and no other file. All text is there without the
//!    script, which shows one stop at a time and takes the keys.

mod bios_calls;
mod memory_map;
mod page_tables;
mod recording;
mod stops;

use crate::checkout::Checkout;
use crate::image::write_atomically;
use crate::output;
use anyhow::{Context, Result};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use recording::Recording;
use std::path::{self, Path};

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// What the page may load: nothing but what is in it.
const SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// Makes the page of a recording.
pub(super) fn write(path: &Path, recording: &[u8]) -> Result<()> {
    let recording: Recording = serde_json::from_slice(recording).context("gdb's recording of the tour")?;
    let text = page(&recording).into_string();
    let path = path::absolute(path)?;
    write_atomically(&path, text.as_bytes())?;
    output::line(&format!("{}: {} KiB", Checkout::display(&path), text.len().div_ceil(1024)));
    Ok(())
}

/// A part of the page: its anchor, its heading, and what is in it.
struct Part {
    id: &'static str,
    heading: &'static str,
    content: Markup,
}

fn page(recording: &Recording) -> Markup {
    let parts = [
        Part { id: "stops", heading: "The switches", content: stops::part(recording) },
        Part { id: "bios-calls", heading: "BIOS calls", content: bios_calls::part(recording) },
        Part { id: "memory-map", heading: "The memory map", content: memory_map::part(recording) },
        Part { id: "page-tables", heading: "The page tables", content: page_tables::part(recording) },
        Part { id: "boot-info", heading: "What the kernel is told", content: boot_info(recording) },
    ];
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(SECURITY_POLICY);
                link rel="icon" href="data:,";
                title { "Doorstep: a boot, from the boot sector to the kernel" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    div.title-line {
                        h1 { "A boot, switch by switch" }
                        button #theme type="button" hidden { "Dark" }
                    }
                    p {
                        "From the boot sector in real mode to the kernel in 64-bit mode: "
                        (recording.stops.len()) " stops and " (recording.calls.len())
                        " BIOS calls of a real run, as " code { "cargo xtask gdb --tour" } " of Doorstep saw them."
                    }
                    nav aria-label="Parts of this page" {
                        ul { @for part in &parts { li { a href={ "#" (part.id) } { (part.heading) } } } }
                    }
                }
                main {
                    @for part in &parts {
                        section id=(part.id) aria-labelledby={ (part.id) "-heading" } {
                            h2 id={ (part.id) "-heading" } { (part.heading) }
                            (part.content)
                        }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn boot_info(recording: &Recording) -> Markup {
    html! {
        p { "The boot info that RDI points to at " code { "_start" } ", as the command " code { "boot-info" } " shows it." }
        (wide_text("The boot info", html! { (recording.boot_info.trim_end()) }))
    }
}

/// Text whose lines are not broken. What is wider than the page scrolls in itself, also by keyboard.
fn wide_text(label: &str, content: Markup) -> Markup {
    html! { pre tabindex="0" role="region" aria-label=(label) { (content) } }
}

/// A name that may be broken behind its parts, if the line is too short for it.
fn breakable(name: &str) -> Markup {
    html! {
        code {
            @for part in name.split_inclusive(['_', ':', '/']) { (part) wbr; }
        }
    }
}

/// A size as people write it.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    while unit + 1 < UNITS.len() && bytes >> (10 * (unit + 1)) > 0 {
        unit += 1;
    }
    let (whole, rest) = (bytes >> (10 * unit), bytes & ((1 << (10 * unit)) - 1));
    // Tenths that are not 0 are told, rounded down.
    let tenths = (u128::from(rest) * 10) >> (10 * unit);
    let tenths = if tenths == 0 { String::new() } else { format!(".{tenths}") };
    format!("{whole}{tenths} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_the_largest_unit_that_fits() {
        let cases = [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (0x9fc00, "639 KiB"),
            (0x0028_0000, "2.5 MiB"),
            (0xfd00_0000_0000, "253 TiB"),
            (u64::MAX, "16777215.9 TiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }
}
