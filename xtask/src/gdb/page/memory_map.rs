//! The memory map before and after it is resolved: three columns on one scale, and the same in numbers.
//!
//! The scale is cut into pieces wherever anything starts or ends. A piece's height grows with the logarithm of its length,
//! so that 1 KiB and 12 GiB can be seen side by side; a piece that nobody tells of is a gap of fixed height.

use super::recording::{Recording, Region};
use super::size;
use maud::{Markup, html};

pub(super) fn part(recording: &Recording) -> Markup {
    let by_bios = said_by_bios(recording);
    let by_loader = added_by_loader(&recording.reports, &by_bios);
    let columns = [
        Column { heading: "The BIOS says", regions: by_bios },
        Column { heading: "The loader adds", regions: by_loader },
        Column { heading: "The kernel is told", regions: recording.regions.iter().map(known).collect() },
    ];
    html! {
        p {
            "Left, what INT 15h AX=E820h returned, in its order; it may overlap. Where reports disagree, the less usable kind "
            "holds. Right, what follows from it and from what the loader has taken. Heights grow with the logarithm of the "
            "length; gaps are cut short."
        }
        (picture(&columns))
        @for column in &columns { (numbers(column)) }
    }
}

struct Column<'a> {
    heading: &'static str,
    regions: Vec<Known<'a>>,
}

/// A region and what is known of it.
struct Known<'a> {
    start: u64,
    end: u64,
    kind: &'a str,
}

fn known(Region(start, end, kind): &Region) -> Known<'_> {
    Known { start: *start, end: *end, kind }
}

/// The entries that the BIOS returned. Their kinds are as the loader names them: it reports what counts in the same order.
fn said_by_bios(recording: &Recording) -> Vec<Known<'_>> {
    let entries = recording.calls.iter().filter_map(|call| call.entry);
    let kind_of = |start: u64, end: u64, number: u32| {
        let report = recording.reports.iter().find(|report| (report.0, report.1) == (start, end));
        report.map_or(if number == 1 { "usable" } else { "reserved" }, |report| &report.2)
    };
    entries
        .map(|(base, len, number)| {
            let end = base.saturating_add(len);
            Known { start: base, end, kind: kind_of(base, end, number) }
        })
        .collect()
}

/// What of the reports is not the BIOS's. Those of the BIOS come first, in its order, and some may not have counted.
fn added_by_loader<'a>(reports: &'a [Region], by_bios: &[Known<'_>]) -> Vec<Known<'a>> {
    let mut entries = by_bios.iter();
    let is_bios = |report: &&Region| entries.any(|entry| (entry.start, entry.end) == (report.0, report.1));
    reports.iter().skip_while(is_bios).map(known).collect()
}

/// The columns as a grid, a row for each piece of the scale.
fn picture(columns: &[Column<'_>]) -> Markup {
    let regions =
        || columns.iter().flat_map(|column| &column.regions).filter(|region| region.start < region.end);
    let mut bounds: Vec<u64> = regions().flat_map(|region| [region.start, region.end]).collect();
    bounds.sort_unstable();
    bounds.dedup();
    let pieces: Vec<_> = bounds
        .windows(2)
        .map(|ends| {
            let (start, end) = (ends[0], ends[1]);
            (start, end, regions().any(|region| region.start <= start && end <= region.end))
        })
        .collect();
    // The first row has the headings, the first column the addresses.
    let row = |bound: u64| bounds.partition_point(|&other| other < bound) + 2;
    let heights: Vec<_> = pieces.iter().map(|&(start, end, is_told)| height(end - start, is_told)).collect();
    html! {
        div.memory role="img" aria-label="The memory map as three columns; the numbers follow as tables"
            style={ "grid-template-rows: auto " (heights.join(" ")) " auto" } {
            @for (index, column) in columns.iter().enumerate() {
                div.heading style={ "grid-area: 1 / " (index + 2) } { (column.heading) }
                @for region in column.regions.iter().filter(|region| region.start < region.end) {
                    div class={ "region " (kind_class(region.kind)) }
                        style={ "grid-area: " (row(region.start)) " / " (index + 2) " / " (row(region.end)) } {
                        (region.kind) " " span.size { (size(region.end - region.start)) }
                    }
                }
            }
            @for &(start, end, is_told) in &pieces {
                div.address style={ "grid-area: " (row(start)) " / 1" } { (format!("{start:x}")) }
                @if !is_told {
                    div.gap style={ "grid-area: " (row(start)) " / 2 / auto / 5" } { "nothing told, " (size(end - start)) }
                }
            }
            @if let Some(&end) = bounds.last() {
                div.address style={ "grid-area: " (row(end)) " / 1" } { (format!("{end:x}")) }
            }
        }
    }
}

/// A row's height: two lines of text for a page or less, more for more.
fn height(len: u64, is_told: bool) -> String {
    const LINE: u32 = 225;
    const GAP: u32 = 180;
    const DOUBLING: u32 = 17;
    let pages = (len / u64::from(layout::PAGE_LEN)).max(1);
    let hundredths = if is_told { LINE + DOUBLING * pages.ilog2() } else { GAP };
    format!("{}.{:02}rem", hundredths / 100, hundredths % 100)
}

/// The style of a kind.
fn kind_class(kind: &str) -> &'static str {
    match kind {
        "usable" => "usable",
        "bootloader" => "bootloader",
        "kernel" | "ramdisk" => "kernel",
        "framebuffer" => "framebuffer",
        "ACPI reclaimable" | "ACPI NVS" => "acpi",
        _ => "reserved",
    }
}

fn numbers(column: &Column<'_>) -> Markup {
    html! {
        details {
            summary { (column.heading) ": " (column.regions.len()) " regions in numbers" }
            div.scroll tabindex="0" role="region" aria-label=(column.heading) {
                table {
                    thead { tr { th { "from" } th { "up to" } th { "length" } th { "kind" } } }
                    tbody {
                        @for Known { start, end, kind } in &column.regions {
                            tr {
                                td { code { (format!("{start:#x}")) } }
                                td { code { (format!("{end:#x}")) } }
                                td { (size(end - start)) }
                                td { (kind) }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(start: u64, end: u64) -> Region {
        Region(start, end, "reserved".into())
    }

    #[test]
    fn what_the_loader_adds_is_told_from_what_the_bios_says() {
        let reports = [region(0, 0x1000), region(0x5000, 0x6000), region(0, 0x1000)];
        // One entry that does not count, such as an empty one, is in between.
        let by_bios = [(0, 0x1000), (0x3000, 0x3000), (0x5000, 0x6000)].map(|(start, end)| Known {
            start,
            end,
            kind: "reserved",
        });
        let added: Vec<_> =
            added_by_loader(&reports, &by_bios).iter().map(|region| (region.start, region.end)).collect();
        assert_eq!(added, [(0, 0x1000)]);
    }

    #[test]
    fn a_larger_piece_is_higher_and_a_gap_is_not() {
        assert_eq!(height(1, true), "2.25rem");
        assert_eq!(height(4096 << 10, true), "3.95rem");
        assert_eq!(height(1 << 40, false), height(1, false));
    }
}
