//! The page tables on the way to `_start`, as a tree: each table with all its entries, the one on the way opened.

use super::recording::{Entry, Recording, Table, Walk};
use super::size;
use maud::{Markup, html};

pub(super) fn part(recording: &Recording) -> Markup {
    let walk = &recording.walk;
    html! {
        p { "How the CPU finds " code { "_start" } " at " code { (format!("{:#x}", walk.address)) } ": each level looks at nine bits of the address." }
        (address_parts(walk))
        div.tree {
            @if let Some(root) = walk.tables.first() { p { "CR3 = " code { (format!("{:#x}", root.address)) } } }
            (table(walk, 0, 0))
        }
        p {
            "Physical address " code { (format!("{:#x}", walk.physical)) } ". What all entries on the way allow together: "
            b { (walk.rights) } "."
        }
    }
}

/// The address, cut into what each table takes of it.
fn address_parts(walk: &Walk) -> Markup {
    let last = walk.tables.last().map_or(0, |table| table.shift);
    html! {
        dl.address-parts {
            @for table in &walk.tables {
                div { dt { (table.name) } dd { (table.index) } }
            }
            div { dt { "offset" } dd { (format!("{:#x}", walk.address & ((1 << last) - 1))) } }
        }
    }
}

/// A table of some level, whose first entry maps an address.
fn table(walk: &Walk, level: usize, first: u64) -> Markup {
    let Some(table) = walk.tables.get(level) else { return html! {} };
    html! {
        ul {
            @for run in table.entries.chunk_by(|one, other| is_one_run(table, one, other)) {
                (entries(walk, level, first, table, run))
            }
        }
    }
}

/// Entries, one behind the other, that map memory the same way are told as one. The one on the way stands alone.
fn is_one_run(table: &Table, one: &Entry, other: &Entry) -> bool {
    let is_on_the_way = |entry: &Entry| entry.index == table.index;
    let follows = one.page_len.is_some_and(|len| {
        other.index == one.index + 1
            && other.page_len == Some(len)
            && other.leads_to == one.leads_to + len
            && other.bits.iter().filter(is_right).eq(one.bits.iter().filter(is_right))
    });
    follows && !is_on_the_way(one) && !is_on_the_way(other)
}

/// Whether a bit says what may be done, rather than what has been done (accessed, dirty).
fn is_right(bit: &&String) -> bool {
    !matches!(bit.as_str(), "A" | "D")
}

fn entries(walk: &Walk, level: usize, first: u64, table: &Table, run: &[Entry]) -> Markup {
    let [start, rest @ ..] = run else { return html! {} };
    let is_on_the_way = start.index == table.index;
    let maps = canonical(first + (start.index << table.shift));
    html! {
        li.way[is_on_the_way] {
            div.entry {
                span.index { (table.name) "[" (start.index) @if let Some(end) = rest.last() { "–" (end.index) } "]" }
                " " code { (format!("{maps:#x}")) } " → "
                @if let Some(len) = start.page_len {
                    @if rest.is_empty() { "page of " (size(len)) } @else { (run.len()) " pages of " (size(len)) }
                    " at "
                } @else { "table at " }
                code { (format!("{:#x}", start.leads_to)) }
                " "
                @for bit in start.bits.iter().filter(|bit| rest.is_empty() || is_right(bit)) { span.bit { (bit) } " " }
            }
            @if is_on_the_way { (self::table(walk, level + 1, maps)) }
        }
    }
}

/// An address of 48 bits, its highest bit repeated up to bit 63.
fn canonical(address: u64) -> u64 {
    if address >> 47 & 1 == 1 { address | 0xffff << 48 } else { address }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(index: u64, leads_to: u64, bits: &[&str]) -> Entry {
        Entry {
            index,
            leads_to,
            page_len: Some(0x1000),
            bits: bits.iter().map(|&bit| bit.to_owned()).collect(),
        }
    }

    #[test]
    fn pages_in_a_row_are_one_run_up_to_the_page_on_the_way() {
        let table = Table { name: "PT".into(), address: 0, shift: 12, index: 3, entries: Vec::new() };
        let pages = [
            page(0, 0x1000, &["NX"]),
            page(1, 0x2000, &["NX", "A"]),
            page(2, 0x3000, &["NX", "W"]),
            page(3, 0x4000, &["NX", "W"]),
            page(4, 0x5000, &["NX", "W"]),
            page(5, 0x9000, &["NX", "W"]),
        ];
        let runs: Vec<_> =
            pages.chunk_by(|one, other| is_one_run(&table, one, other)).map(<[_]>::len).collect();
        assert_eq!(runs, [2, 1, 1, 1, 1]);
    }

    #[test]
    fn addresses_of_the_higher_half_are_canonical() {
        assert_eq!(canonical(511 << 39), 0xffff_ff80_0000_0000);
        assert_eq!(canonical(255 << 39), 255 << 39);
    }
}
