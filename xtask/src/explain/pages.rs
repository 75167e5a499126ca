//! The pages of ERRORS.md: a section for each message, which begins with the message as it is shown.
//!
//! ```text
//! ## E25
//!
//! 'boot error E25: kernel damaged: …' in a block of its own
//!
//! Cause: …
//!
//! Try: …
//!
//! Test: `damaged::kernel`
//! ```

use anyhow::{Context, Result, ensure};
use textwrap::Options;

const ERRORS: &str = include_str!("../../../stage2/loader/ERRORS.md");

/// What stage2 says before an error.
pub(super) const ERROR: &str = "boot error ";

/// What stage1 says, which has no room for numbers.
pub(super) const STAGE1_MESSAGES: [&str; 2] = ["stage2 read error", "stage2 damaged"];

/// What there is to say of one message.
#[derive(Debug)]
pub(super) struct Page {
    /// `E25`, or what stage1 says.
    pub(super) name: String,
    /// As it is shown, with values as they occur.
    pub(super) message: String,
    cause: String,
    way_out: String,
    test: String,
}

/// All pages, in the order of the document.
pub(super) fn all() -> Result<Vec<Page>> {
    ERRORS.split("\n## ").skip(1).map(Page::parse).collect()
}

impl Page {
    /// From a section without the mark of its title.
    fn parse(section: &str) -> Result<Self> {
        let (name, rest) = section.split_once('\n').context("a title alone")?;
        let page = || format!("ERRORS.md, {name}");
        let (_, rest) = rest.split_once("```text\n").with_context(page)?;
        let (message, rest) = rest.split_once("\n```\n").with_context(page)?;
        let paragraph = |start: &str| {
            let found = rest.split("\n\n").find_map(|paragraph| paragraph.trim().strip_prefix(start));
            let words: Vec<_> = found.unwrap_or_default().split_whitespace().collect();
            ensure!(!words.is_empty(), "{}: no {start:?}", page());
            Ok(words.join(" "))
        };
        Ok(Self {
            name: name.to_owned(),
            message: message.to_owned(),
            cause: paragraph("Cause: ")?,
            way_out: paragraph("Try: ")?,
            test: paragraph("Test: ")?,
        })
    }

    /// Whether it is one of stage2's.
    pub(super) fn is_numbered(&self) -> bool {
        !STAGE1_MESSAGES.contains(&&*self.name)
    }

    /// Its place in a list.
    pub(super) fn headline(&self, columns: usize) -> String {
        let message = self.message.strip_prefix(ERROR).unwrap_or(&self.message);
        wrapped(message, "", "     ", columns)
    }

    /// The page, for a terminal.
    pub(super) fn text(&self, columns: usize) -> String {
        let part = |title: &str, text: &str| format!("{title}\n{}", wrapped(text, "  ", "  ", columns));
        [
            wrapped(&self.message, "", "", columns),
            part("Cause", &self.cause),
            part("What to try", &self.way_out),
            part("How the tests bring it about", &self.test),
        ]
        .join("\n\n")
    }
}

/// Long lines are hard to read, however wide the terminal is.
const COLUMNS_MAX: usize = 110;

fn wrapped(text: &str, first: &str, rest: &str, columns: usize) -> String {
    let options = Options::new(columns.min(COLUMNS_MAX)).initial_indent(first).subsequent_indent(rest);
    textwrap::fill(text, options.break_words(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bare_metal::read;
    use loader::BootError;
    use std::path::Path;

    #[test]
    fn there_is_a_page_for_every_error_and_for_what_stage1_says() {
        let pages = all().unwrap();
        let numbered: Vec<_> = pages.iter().filter(|page| page.is_numbered()).collect();
        let errors = BootError::examples();
        for (error, page) in errors.iter().zip(&numbered) {
            let message = error.to_string();
            assert_eq!(page.message, format!("{ERROR}{message}"), "in ERRORS.md");
            assert!(message.starts_with(&format!("{}: ", page.name)), "{message} under {}", page.name);
        }
        assert_eq!(numbered.len(), errors.len());
        let stage1 = include_str!("../../../stage1/src/boot.s");
        for message in STAGE1_MESSAGES {
            assert!(stage1.contains(&format!(".ascii \"{message}")), "stage1 does not say {message:?}");
            let page = pages.iter().find(|page| page.name == message).unwrap();
            assert!(page.message.starts_with(message), "{}", page.message);
        }
    }

    /// What is quoted in the text.
    fn quoted(text: &str) -> impl Iterator<Item = &str> {
        text.split('`').skip(1).step_by(2)
    }

    #[test]
    fn every_page_names_a_test_that_exists() {
        let boot_tests = crate::test::names();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for Page { name, test, .. } in all().unwrap() {
            let (boot, host): (Vec<_>, Vec<_>) = quoted(&test).partition(|name| name.contains("::"));
            let says_why = test.starts_with("none in an emulator: ");
            assert_ne!(boot.is_empty(), !says_why, "{name}: {test}");
            for found in boot {
                assert!(boot_tests.iter().any(|test| test == found), "{name}: there is no test {found}");
            }
            for function in host {
                // As in "`a_test` in stage2/loader/src/load.rs".
                let (_, rest) =
                    test.split_once(&format!("`{function}` in ")).unwrap_or_else(|| panic!("{name}: {test}"));
                let file = rest.split([' ', ',', ';', ')']).next().unwrap().trim_end_matches('.');
                let source = String::from_utf8(read(&root.join(file)).unwrap()).unwrap();
                assert!(
                    source.contains(&format!("#[test]\nfn {function}() {{")),
                    "{name}: no {function} in {file}"
                );
            }
        }
    }

    #[test]
    fn commands_that_are_told_exist() {
        use clap::CommandFactory;
        let command = crate::Cli::command();
        for Page { name, way_out, .. } in all().unwrap() {
            for words in quoted(&way_out).filter_map(|quoted| quoted.strip_prefix("cargo xtask ")) {
                let subcommand = words.split(' ').next().unwrap();
                let found = command.find_subcommand(subcommand);
                let found = found.unwrap_or_else(|| panic!("{name}: no command {subcommand}"));
                for option in words.split(' ').filter_map(|word| word.strip_prefix("--")) {
                    let is_there = found.get_arguments().any(|argument| argument.get_long() == Some(option));
                    assert!(option.is_empty() || is_there, "{name}: {subcommand} without --{option}");
                }
            }
        }
    }

    #[test]
    fn a_page_is_as_wide_as_the_terminal() {
        let pages = all().unwrap();
        let page = pages.iter().find(|page| page.name == "E25").unwrap();
        let text = page.text(60);
        assert!(text.lines().all(|line| line.len() <= 60), "{text}");
        assert!(text.starts_with("boot error E25: ") && text.contains("\n\nWhat to try\n  "), "{text}");
    }
}
