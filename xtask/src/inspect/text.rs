//! The report as a person reads it.

use super::report::{Checked, Config, Hex, Kernel, Place, Placement, Report, State};
use crate::output::table;
use anyhow::Result;

/// All of it, a section after the other.
pub(super) fn write(report: &Report) -> Result<String> {
    let mut sections = vec![head(report)];
    if let Some(bundle) = &report.bundle {
        sections.extend(pieces(bundle));
    }
    if let Some(config) = &report.config {
        sections.push(settings(config, report.command_line.as_deref())?);
    }
    sections.extend(report.kernel.as_ref().map(kernel));
    if let Some(placement) = &report.placement {
        sections.extend(places(placement, report.memory));
    }
    sections.push(verdict(report));
    Ok(sections.join("\n\n"))
}

/// What the file is, and what lies in it before the bundle.
fn head(report: &Report) -> String {
    let Report { file, format, description, len, .. } = report;
    let mut lines = vec![format!("{file}: {description} ({format}), {len} bytes")];
    lines.extend(report.disk_len.map(|len| format!("disk in it: {len} bytes")));
    for sector in &report.boot_sectors {
        let (build, offset, signature) = (sector.build, sector.offset, &sector.signature.0);
        let state = in_words(sector.state);
        lines.push(format!(
            "boot sector: for a {build}, at {offset:#x}, ends with {signature}h; stage2 at LBA {}, {} sectors of {} bytes; \
             {state}",
            sector.stage2_lba, sector.stage2_sectors, sector.sector_len
        ));
    }
    lines
        .extend(report.disk_signature.as_ref().map(|Hex(signature)| format!("disk signature: {signature}h")));
    for partition in &report.partitions {
        let active = if partition.active { "active, " } else { "" };
        lines.push(format!(
            "partition {}: {active}type {}h, {} sectors from LBA {} on",
            partition.number, partition.kind.0, partition.sectors, partition.first_lba
        ));
    }
    if let Some(stage2) = &report.stage2 {
        let offset = stage2.offset.map_or(String::new(), |offset| format!("at {offset:#x}, "));
        let part =
            if stage2.has_optional_part { "with its optional part" } else { "without its optional part" };
        let checksum = checked(&stage2.checksum, "checksum");
        lines.push(format!("stage2: {offset}{} bytes, {part}; {checksum}", stage2.len));
    }
    if let Some(bundle) = &report.bundle {
        let (offset, len, version) = (bundle.offset, bundle.len, bundle.version);
        let header = in_words(bundle.header);
        lines.push(format!("bundle: at {offset:#x}, {len} bytes, version {version}; header {header}"));
    }
    lines.join("\n")
}

fn in_words(state: State) -> &'static str {
    match state {
        State::Sound => "sound",
        State::Damaged => "DAMAGED",
        State::CutOff => "CUT OFF",
        State::Unknown => "without a checksum",
    }
}

/// What a checksum says.
fn checked(checked: &Checked, name: &str) -> String {
    let state = in_words(checked.state);
    match (&checked.found, &checked.expected) {
        (Some(Hex(found)), Some(Hex(expected))) if found != expected => {
            format!("{state}: {name} {found}h, expected {expected}h")
        }
        (Some(Hex(found)), _) => format!("{name} {found}h, {state}"),
        _ => state.to_owned(),
    }
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|&cell| cell.to_owned()).collect()
}

/// Nothing where the header tells of none.
fn pieces(bundle: &super::report::Bundle) -> Option<String> {
    let mut rows = vec![row(&["piece", "offset", "bytes", "checksum", ""])];
    for piece in &bundle.pieces {
        let Checked { state, found, .. } = &piece.checksum;
        rows.push(vec![
            piece.kind.clone(),
            format!("{:#x}", piece.offset),
            piece.len.to_string(),
            found.as_ref().map_or("-".to_owned(), |found| found.0.clone()),
            in_words(*state).to_owned(),
        ]);
    }
    (rows.len() > 1).then(|| table(&rows))
}

/// Each with its name in a Cargo.toml; what the loader chooses is "usual".
fn settings(config: &Config, command_line: Option<&str>) -> Result<String> {
    let mut rows = vec![row(&["setting", "value"])];
    if let serde_json::Value::Object(settings) = serde_json::to_value(config)? {
        for (name, value) in settings {
            let value = match value {
                serde_json::Value::Null => "usual".to_owned(),
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            };
            rows.push(vec![name, value]);
        }
    }
    rows.push(vec!["command-line".to_owned(), format!("{:?}", command_line.unwrap_or_default())]);
    rows[1..].sort();
    Ok(table(&rows))
}

fn kernel(kernel: &Kernel) -> String {
    let Kernel { class, kind, machine, entry_addr, .. } = kernel;
    let slide = kernel.slide.as_ref().map_or(String::new(), |Hex(slide)| format!(", moved by {slide}"));
    let mut rows =
        vec![row(&["segment", "rights", "virtual", "physical", "file offset", "in file", "in memory"])];
    for segment in &kernel.segments {
        rows.push(vec![
            segment.index.to_string(),
            segment.rights.clone(),
            segment.virtual_addr.0.clone(),
            segment.physical_addr.as_ref().map_or("-".to_owned(), |addr| addr.0.clone()),
            format!("{:#x}", segment.file_offset),
            format!("{:#x}", segment.file_len),
            format!("{:#x}", segment.memory_len),
        ]);
    }
    format!("kernel: {class}, {kind} for {machine}, e_entry {}{slide}\n{}", entry_addr.0, table(&rows))
}

/// Both lists.
fn places(placement: &Placement, memory: u64) -> [String; 2] {
    let at_random =
        if placement.randomized { "; the kernel's virtual addresses are others at each boot" } else { "" };
    let last = |place: &Place| {
        let start = place.addr.0.trim_start_matches("0x");
        let start = u64::from_str_radix(start, 16).unwrap_or_default();
        format!("{:#x}", start.wrapping_add(place.len - 1))
    };
    let mut rows = vec![row(&["virtual memory", "from", "to", "bytes", "rights", "physical"])];
    for place in &placement.virtual_places {
        rows.push(vec![
            place.what.clone(),
            place.addr.0.clone(),
            last(place),
            format!("{:#x}", place.len),
            place.rights.clone().unwrap_or_default(),
            place.physical_addr.as_ref().map_or("-".to_owned(), |addr| addr.0.clone()),
        ]);
    }
    let (kib, mib) = (memory >> 10, memory >> 20);
    let size = if mib << 20 == memory { format!("{mib} MiB") } else { format!("{kib} KiB") };
    let virtual_memory =
        format!("in a QEMU with {size} of memory, booting from a disk{at_random}:\n{}", table(&rows));
    let mut rows = vec![row(&["physical memory", "from", "to", "bytes"])];
    for place in &placement.physical_places {
        let (what, addr) = (place.what.clone(), place.addr.0.clone());
        rows.push(vec![what, addr, last(place), format!("{:#x}", place.len)]);
    }
    [virtual_memory, table(&rows)]
}

/// What is wrong, and what a boot does.
fn verdict(report: &Report) -> String {
    // What a boot alone comes upon is told by how it ends.
    let faults = report.faults.iter().filter(|fault| fault.part != "boot");
    let mut lines: Vec<String> = faults.map(|fault| format!("{}: {}", fault.part, fault.text)).collect();
    lines.push(match &report.refusal {
        Some(refusal) => format!("A boot ends with: {refusal}"),
        None if report.format == "stage2" => "A boot goes on to the bundle.".to_owned(),
        None => "A boot goes on to the kernel.".to_owned(),
    });
    lines.join("\n")
}
