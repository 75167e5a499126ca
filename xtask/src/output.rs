//! What a person reads: results on the standard output, everything else on the standard error.
//!
//! Unlike `println!`, these functions do not end the program when the reader has gone (`cargo xtask image | head -1`):
//! the work is finished all the same, and the exit code tells how it went.

use std::fmt::Display;
use std::io::Write;

/// Prints a line of the command's result.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a line about what is going on.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// How wide the terminal is that shows the results; where there is none, as wide as they used to be.
pub(crate) fn columns() -> usize {
    console::Term::stdout().size_checked().map_or(80, |(_, columns)| columns.into())
}

/// Prints a command that is about to be run.
pub(crate) fn command(command: &impl Display) {
    note(&format!("$ {command}"));
}

/// A command line that a shell takes as it stands, with no more quotes than it needs.
pub(crate) fn shell_line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_=,.:/+@%".contains(character);
    let quote = |word: &'a str| {
        let needs_none = !word.is_empty() && word.chars().all(is_plain);
        if needs_none { word.into() } else { shell_words::quote(word) }
    };
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// Lays out rows in columns: the first column to the left, the others to the right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_a_table_line_up() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text =
            table(&[row(["piece", "LBA", "bytes"]), row(["kernel", "7", "123456"]), row(["image", "", "9"])]);
        assert_eq!(text, "piece   LBA   bytes\nkernel    7  123456\nimage             9");
    }

    #[test]
    fn a_printed_command_survives_the_shell() {
        assert_eq!(shell_line(["qemu", "file=/a b/c.img", ""]), "qemu 'file=/a b/c.img' ''");
        assert_eq!(shell_line(["qemu", "format=raw,file=/c.img"]), "qemu format=raw,file=/c.img");
    }
}
