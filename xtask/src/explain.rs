//! `cargo xtask explain`: what a message of the loader means, what to try, and which test brings it about.
//!
//! The answers are in stage2/loader/ERRORS.md, beside the list of errors (`pages`). Whoever runs a guest tells of this command
//! when the guest says such a message (`hint`).

mod hint;
mod pages;

pub(crate) use hint::{Hints, message};

use crate::output;
use anyhow::{Result, bail, ensure};
use clap::Args;
use pages::Page;
use std::process::ExitCode;

/// Explain a message of the loader: its cause, what to try, and the test that brings it about.
///
/// Without a message, all of them are listed.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask explain                  all there are
  cargo xtask explain E25              as does 25 or e25, or the whole message
  cargo xtask explain stage2 damaged   a message of stage1
  cargo xtask explain relocation       those with this word")]
pub(crate) struct Options {
    /// Its number, its text or a part of it
    message: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let columns = output::columns();
    let pages = pages::all()?;
    let query = options.message.join(" ");
    if query.trim().is_empty() {
        list(&pages.iter().collect::<Vec<_>>(), columns);
        return Ok(ExitCode::SUCCESS);
    }
    match &*find(&pages, &query)? {
        [page] => output::line(&page.text(columns)),
        found => list(found, columns),
    }
    Ok(ExitCode::SUCCESS)
}

/// The pages that are meant: one by its name, or all that have the text.
fn find<'a>(pages: &'a [Page], query: &str) -> Result<Vec<&'a Page>> {
    if let Some(number) = number(query) {
        return match pages.iter().find(|page| page.name == number) {
            Some(page) => Ok(vec![page]),
            None => bail!("there is no error {number}; {}", neighbours(pages, &number)),
        };
    }
    let query = query.trim().to_lowercase();
    if let Some(page) = pages.iter().find(|page| query.contains(&page.name.to_lowercase())) {
        return Ok(vec![page]);
    }
    let found: Vec<_> = pages.iter().filter(|page| page.message.to_lowercase().contains(&query)).collect();
    ensure!(
        !found.is_empty(),
        "no message has {query:?} in it{}; `cargo xtask explain` lists all of them",
        similar_word(pages, &query).map_or(String::new(), |word| format!(", but there is {word:?}"))
    );
    Ok(found)
}

/// The first error's number in a text, or the number that is all of it: `E25`.
fn number(query: &str) -> Option<String> {
    let is_number = |word: &str| word.len() == 2 && word.bytes().all(|byte| byte.is_ascii_digit());
    let mut words = query.split(|character: char| !character.is_ascii_alphanumeric());
    let digits = words.find_map(|word| word.strip_prefix(['E', 'e']).filter(|digits| is_number(digits)));
    let alone =
        Some(query.trim()).filter(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()));
    digits.or(alone).map(|digits| format!("E{digits:0>2}"))
}

/// The errors before and behind one that is not there.
fn neighbours(pages: &[Page], number: &str) -> String {
    let numbered = || pages.iter().filter(|page| page.is_numbered());
    let before = numbered().rfind(|page| *page.name < *number);
    let behind = numbered().find(|page| *page.name > *number);
    let [before, behind] = [before, behind].map(|page| page.map(|page| page.name.clone()));
    match (before, behind) {
        (Some(before), Some(behind)) => format!("its neighbours are {before} and {behind}"),
        (Some(last), None) => format!("the last one is {last}"),
        (None, first) => format!("the first one is {}", first.unwrap_or_default()),
    }
}

/// A word in a message that looks like this one.
fn similar_word(pages: &[Page], query: &str) -> Option<String> {
    const SIMILAR: f64 = 0.85;
    let words =
        pages.iter().flat_map(|page| page.message.split(|character: char| !character.is_alphanumeric()));
    let scored = words.map(|word| (strsim::jaro_winkler(&word.to_lowercase(), query), word));
    let (score, word) = scored.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (score >= SIMILAR).then(|| word.to_owned())
}

fn list(pages: &[&Page], columns: usize) {
    pages.iter().for_each(|page| output::line(&page.headline(columns)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(query: &str) -> Vec<String> {
        find(&pages::all().unwrap(), query).unwrap().iter().map(|page| page.name.clone()).collect()
    }

    #[test]
    fn a_message_is_found_by_its_number_or_its_text() {
        for query in [
            "E25",
            "e25",
            "25",
            " 25 ",
            "boot error E25: kernel damaged: checksum of",
            "error: a.elf: E25: x",
        ] {
            assert_eq!(names(query), ["E25"], "{query}");
        }
        assert_eq!(names("5"), ["E05"]);
        for query in ["stage2 damaged", "Stage2 Damaged"] {
            assert_eq!(names(query), ["stage2 damaged"], "{query}");
        }
        assert_eq!(names("stage2 read error 0C"), ["stage2 read error"]);
        assert_eq!(names("a20"), ["E01"]);
        assert!(names("relocation").contains(&"E55".to_owned()));
        assert!(names("segment").len() > 5);
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is_near() {
        let error = |query: &str| find(&pages::all().unwrap(), query).err().unwrap().to_string();
        assert_eq!(error("E45"), "there is no error E45; its neighbours are E44 and E46");
        assert_eq!(error("0"), "there is no error E00; the first one is E01");
        assert_eq!(error("E99"), "there is no error E99; the last one is E93");
        assert_eq!(error("250"), "there is no error E250; its neighbours are E25 and E26");
        let told = error("relocaton");
        assert!(told.contains("but there is \"relocation\"") && told.contains("lists all"), "{told}");
        assert!(!error("xyzzy").contains("but there is"), "{}", error("xyzzy"));
    }
}
