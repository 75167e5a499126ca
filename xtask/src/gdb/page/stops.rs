//! The stops: each with its code, what it changed, and the CPU's registers before and after.

use super::recording::{BiosCall, DescriptorTable, Moment, Recording, Source, Stop};
use super::{breakable, wide_text};
use maud::{Markup, html};

pub(super) fn part(recording: &Recording) -> Markup {
    let total = recording.stops.len();
    html! {
        p { "The machine is shown in front of each instruction that switches the CPU's mode, or prepares it to, and behind it." }
        div.stepper {
            (track(&recording.stops))
            div.controls hidden {
                button #previous type="button" { "← Previous" }
                p #position role="status" { "Stop 1 of " (total) }
                button #next type="button" { "Next →" }
            }
            p.keys hidden {
                "Keys: " kbd { "←" } " " kbd { "→" } " or " kbd { "k" } " " kbd { "j" } " step, "
                kbd { "Home" } " " kbd { "End" } " go to the first and the last stop."
            }
        }
        @for (index, stop) in recording.stops.iter().enumerate() {
            (article(index + 1, stop, &recording.calls))
        }
    }
}

/// The way as a row of squares, each in the color of its mode.
fn track(stops: &[Stop]) -> Markup {
    html! {
        nav aria-label="Stops" {
            ol.track {
                @for (index, stop) in stops.iter().enumerate() {
                    @let mode = stop.moments.last().map_or("", |moment| &moment.mode);
                    li {
                        a class=(mode_class(mode)) href={ "#stop-" (index + 1) } title={ (stop.place) ", " (mode) } {
                            (index + 1)
                        }
                    }
                }
            }
        }
    }
}

fn article(number: usize, stop: &Stop, calls: &[BiosCall]) -> Markup {
    let id = format!("stop-{number}");
    html! {
        article.stop id=(id) aria-labelledby={ (id) "-heading" } {
            h3 id={ (id) "-heading" } { span.number { (number) } " " (breakable(&stop.place)) }
            p { (sentence(&stop.says)) }
            @for note in &stop.notes { p { code { (note) } } }
            (calls_at(number, calls, false))
            @if let Some(before) = stop.moments.first() {
                @let after = stop.moments.get(1);
                (modes(before, after))
                (changes("Changed since the stop before", &before.changes))
                @if let Some(after) = after { (changes("Changed by this instruction", &after.changes)) }
                div.code {
                    (instructions(if after.is_some() { "Before" } else { "Here" }, before))
                    @if let Some(after) = after { (instructions("After", after)) }
                }
                @if let Some(source) = &before.source { (source_lines(source)) }
                @let after = after.unwrap_or(before);
                (control_registers(before, after))
                (general_registers(before, after))
                (segments(before, after))
                (descriptor_table(before, after))
            }
            (calls_at(number, calls, true))
        }
    }
}

/// Which BIOS calls happened on the way to a stop, or right behind it.
fn calls_at(number: usize, calls: &[BiosCall], is_behind: bool) -> Markup {
    let count = calls.iter().filter(|call| call.stop == number && call.is_behind_stop == is_behind).count();
    let when = if is_behind { "Behind it" } else { "On the way here" };
    html! {
        @if count > 0 {
            p { (when) ": " a href="#bios-calls" { (count) " BIOS call" @if count > 1 { "s" } } "." }
        }
    }
}

fn modes(before: &Moment, after: Option<&Moment>) -> Markup {
    html! {
        p.modes {
            (mode(before))
            @if let Some(after) = after.filter(|after| after.mode != before.mode) {
                " → " (mode(after))
            }
            " " span.stage { (before.stage) }
        }
    }
}

fn mode(moment: &Moment) -> Markup {
    html! { span class={ "mode " (mode_class(&moment.mode)) } { (moment.mode) } }
}

/// The style of a mode: its name up to what tells the width of compatibility mode's code.
fn mode_class(mode: &str) -> &'static str {
    match mode {
        "REAL 16-bit" => "real",
        "PROTECTED 16-bit" => "protected-16",
        "PROTECTED 32-bit" => "protected-32",
        "LONG 64-bit" => "long",
        _ => "compatibility",
    }
}

fn changes(heading: &str, changes: &[String]) -> Markup {
    html! {
        @if !changes.is_empty() {
            p { (heading) ": " @for change in changes { b.change { (change) } " " } }
        }
    }
}

fn instructions(heading: &str, moment: &Moment) -> Markup {
    html! {
        div {
            h4 { (heading) " " span.place { (moment.headline) } }
            (wide_text(&format!("Instructions {heading}", heading = heading.to_lowercase()), html! {
                @for line in &moment.instructions {
                    @if line.starts_with("=>") { mark { (line) } } @else { (line) }
                    "\n"
                }
            }))
        }
    }
}

fn source_lines(source: &Source) -> Markup {
    html! {
        figure {
            figcaption { (breakable(&format!("{}:{}", source.file, source.line))) }
            (wide_text("Source", html! {
                @for (number, line) in (source.first..).zip(&source.lines) {
                    @let text = format!("{number:4}  {line}");
                    @if number == source.line { mark { (text) } } @else { (text) }
                    "\n"
                }
            }))
        }
    }
}

fn control_registers(before: &Moment, after: &Moment) -> Markup {
    html! {
        h4 { "Control registers" }
        dl.control {
            @for ((name, old, old_bits), (_, new, new_bits)) in before.control.iter().zip(&after.control) {
                div.changed[old != new] {
                    dt { (name) }
                    dd {
                        (value(&format!("{old:08x}"), &format!("{new:08x}")))
                        @for bit in new_bits {
                            " " @if old_bits.contains(bit) { span.bit { (bit) } } @else { b.change { "+" (bit) } }
                        }
                        @for bit in old_bits.iter().filter(|bit| !new_bits.contains(bit)) {
                            " " b.change { "-" (bit) }
                        }
                    }
                }
            }
        }
    }
}

/// In 64-bit mode, registers have other names than before.
fn general_registers(before: &Moment, after: &Moment) -> Markup {
    let width = if after.mode == "LONG 64-bit" { 16 } else { 8 };
    let pairs = after.registers.iter().enumerate().map(|(index, (name, new))| {
        // Those that 64-bit mode adds were there before, but nobody could see them.
        let old = before.registers.get(index).map_or(new, |(_, old)| old);
        (name, *old, *new)
    });
    html! {
        h4 { "Registers" }
        dl.registers {
            @for (name, old, new) in pairs {
                div.changed[old != new] {
                    dt { (name) }
                    dd {
                        (value(&format!("{old:0width$x}"), &format!("{new:0width$x}")))
                        @if name.ends_with("FL") { @for flag in &after.flags { " " (flag) } }
                    }
                }
            }
        }
    }
}

fn segments(before: &Moment, after: &Moment) -> Markup {
    html! {
        h4 { "Segment registers and their caches" }
        dl.segments {
            @for ((name, old, old_words), (_, new, new_words)) in before.segments.iter().zip(&after.segments) {
                div.changed[(old, old_words) != (new, new_words)] {
                    dt { (name) }
                    dd {
                        (value(&format!("{old:04x}"), &format!("{new:04x}"))) "  "
                        @if old_words != new_words { s { (old_words) } " → " }
                        (new_words)
                    }
                }
            }
        }
    }
}

/// Opened where the switch loads a segment from it.
fn descriptor_table(before: &Moment, moment: &Moment) -> Markup {
    let DescriptorTable { base, limit, entries } = &moment.gdt;
    // A table of the BIOS's, or none, says nothing about the switch.
    let is_in_use = moment.mode != "REAL 16-bit" && !entries.is_empty();
    let is_loaded = before.segments != moment.segments;
    let used = |selector: u64| -> Vec<_> {
        let names = moment.segments.iter().filter(|(_, of, _)| of & !7 == selector && *of != 0);
        names.map(|(name, ..)| name.as_str()).collect()
    };
    html! {
        @if is_in_use {
            details open[is_loaded] {
                summary { "GDT at " (format!("{base:#x}, limit {limit:#x}")) ", " (entries.len()) " entries" }
                dl.segments {
                    @for (selector, descriptor, words) in entries {
                        @let names = used(*selector);
                        div.changed[!names.is_empty()] {
                            dt { (format!("{selector:04x}")) }
                            dd {
                                (format!("{descriptor:016x}")) "  " (words)
                                @if !names.is_empty() { " " b { "← " (names.join(" ")) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A value, or two if it has changed.
fn value(old: &str, new: &str) -> Markup {
    html! { code { @if old != new { s { (old) } " → " b { (new) } } @else { (new) } } }
}

/// A phrase as a sentence.
fn sentence(phrase: &str) -> String {
    let mut characters = phrase.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(characters).chain(['.']).collect()
}
