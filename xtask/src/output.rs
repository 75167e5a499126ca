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

/// A command line that a shell takes as it stands, with no more quotes than it needs. On Windows, PowerShell takes it,
/// and cmd.exe does unless the program's own name or an unusual character needs quotes.
pub(crate) fn shell_line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    if cfg!(windows) { powershell_line(words) } else { unix_line(words) }
}

/// A program with these variables for it, to be followed by its arguments. In PowerShell, the variables stay set.
pub(crate) fn program_with(variables: &[(&str, &str)], program: &str) -> String {
    let set = |&(name, value): &(&str, &str)| match cfg!(windows) {
        true => format!("$env:{name} = '{}'; ", value.replace('\'', "''")),
        false => format!("{name}={} ", shell_line([value])),
    };
    let program = shell_line([program]);
    let call = if cfg!(windows) { powershell_call(&program) } else { "" };
    variables.iter().map(set).chain([call.to_owned(), program]).collect()
}

/// The same for the shell of Unix, wherever we are.
pub(crate) fn unix_line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quote =
        |word: &'a str| if is_plain(word, "-_=,.:/+@%") { word.into() } else { shell_words::quote(word) };
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// PowerShell makes a list of what has commas, and takes a quoted name for a text unless `&` says that it is to be run.
fn powershell_line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quote = |word: &'a str| match word {
        _ if is_plain(word, r"-_=.:/\+~") => word.to_owned(),
        // Within double quotes, it replaces these.
        _ if word.contains(['$', '`', '"']) => format!("'{}'", word.replace('\'', "''")),
        _ => format!("\"{word}\""),
    };
    let words: Vec<_> = words.into_iter().map(quote).collect();
    // A single word is no command, but a part of one.
    let call = if words.len() > 1 { powershell_call(&words[0]) } else { "" };
    [call, &words.join(" ")].concat()
}

/// What goes before a program's name as it was quoted.
fn powershell_call(program: &str) -> &'static str {
    if program.starts_with(['"', '\'']) { "& " } else { "" }
}

fn is_plain(word: &str, others: &str) -> bool {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || others.contains(character);
    !word.is_empty() && word.chars().all(is_plain)
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
        assert_eq!(unix_line(["qemu", "file=/a b/c.img", ""]), "qemu 'file=/a b/c.img' ''");
        assert_eq!(unix_line(["qemu", "format=raw,file=/c.img"]), "qemu format=raw,file=/c.img");
    }

    #[test]
    fn it_survives_powershell() {
        assert_eq!(powershell_line(["qemu", r"C:\a\c.img", "", "-m", "64M"]), r#"qemu C:\a\c.img "" -m 64M"#);
        let drive = r"format=raw,file=C:\a b\c.img";
        assert_eq!(powershell_line([drive]), format!("\"{drive}\""));
        assert_eq!(powershell_line([r"C:\a b\qemu.exe", "-m"]), r#"& "C:\a b\qemu.exe" -m"#);
        assert_eq!(powershell_line(["qemu", drive]), format!("qemu \"{drive}\""));
        assert_eq!(powershell_line(["qemu", "it's $5"]), "qemu 'it''s $5'");
    }
}
