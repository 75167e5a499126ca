//! Each BIOS call, in order: what went in, and what came out. Of equal ones in a row, the first and the last are shown, and
//! the rest on demand.

use super::breakable;
use super::recording::{BiosCall, Recording};
use maud::{Markup, html};

pub(super) fn part(recording: &Recording) -> Markup {
    html! {
        p {
            "For each, the CPU goes back to real mode, and to 32-bit mode behind it; the boot sector is in real mode anyway. "
            "Of the registers that came out, those are shown that the BIOS changed."
        }
        ol.calls {
            @for group in recording.calls.chunk_by(is_alike) { (calls(group)) }
        }
    }
}

/// Whether two calls, one behind the other, are for the same function and from the same place.
fn is_alike(one: &BiosCall, other: &BiosCall) -> bool {
    (&one.title, &one.caller) == (&other.title, &other.caller)
}

fn calls(group: &[BiosCall]) -> Markup {
    html! {
        li {
            @if let [first, rest @ ..] = group {
                h3 {
                    (first.title)
                    @if !rest.is_empty() { span.times { " × " (group.len()) } }
                }
                p {
                    "from " (breakable(&first.caller)) ", "
                    @if first.is_behind_stop { "behind " } @else { "on the way to " }
                    a href={ "#stop-" (first.stop) } { "stop " (first.stop) }
                }
                (call(first))
                @if let [middle @ .., last] = rest {
                    @if !middle.is_empty() {
                        details {
                            summary { (middle.len()) " more" }
                            @for one in middle { (call(one)) }
                        }
                    }
                    (call(last))
                }
            }
        }
    }
}

fn call(call: &BiosCall) -> Markup {
    let changed = || call.before.iter().zip(&call.after).filter(|(old, new)| old != new).map(|(_, new)| new);
    html! {
        dl.call {
            div { dt { "in" } dd { @for register in &call.before { (self::register(register)) " " } } }
            div {
                dt { "out" }
                dd {
                    @for register in changed() { (register_changed(register)) " " }
                    span.register { "carry " (u8::from(call.carry)) @if call.carry { " (failed)" } }
                }
            }
            @for note in &call.notes { div { dt {} dd { (note) } } }
        }
    }
}

fn register((name, value): &(String, u64)) -> Markup {
    html! { span.register.zero[*value == 0] { (name) "=" (digits(name, *value)) } }
}

fn register_changed((name, value): &(String, u64)) -> Markup {
    html! { b.register { (name) "=" (digits(name, *value)) } }
}

/// As many digits as the register has: a segment register's name has two letters.
fn digits(name: &str, value: u64) -> String {
    if name.len() == 2 { format!("{value:04x}") } else { format!("{value:08x}") }
}
