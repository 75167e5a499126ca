//! Gives assembly that is built into Rust a line table, so that debuggers show it by file, line and comment.
//!
//! LLVM writes line tables for Rust code, and for assembly in files of its own, but none for `global_asm!`. So a build script
//! has [`mark_sources`] write a copy of each file, in which every instruction is preceded by a macro call that notes its
//! address and line in `.debug_line`. What the copy begins and ends with, `prologue.s` and `epilogue.s`, makes a compilation
//! unit of it. All of this is in debug sections: the machine code is what it was.
//!
//! A mark stands in the line that it belongs to, so that a message of the assembler, which shows that line, shows its number.
//!
//! Source: DWARF 4, sections 3.1.1 (units), 6.2 (line tables), 7.5 (abbreviations).

#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// For a build script: writes a marked copy of each file `*.s` in the package's folder `src` to the same place in `OUT_DIR`.
///
/// # Panics
///
/// If a file cannot be read or written, or has a line that is not understood.
pub fn mark_sources() {
    let [package, out] = ["CARGO_MANIFEST_DIR", "OUT_DIR"]
        .map(|name| PathBuf::from(env::var_os(name).unwrap_or_else(|| panic!("cargo tells {name}"))));
    // rustc names the workspace's files as they are called there, too.
    let workspace = package.parent().expect("the workspace has the package");
    println!("cargo:rerun-if-env-changed={WITHOUT}");
    let is_without = env::var_os(WITHOUT).is_some();
    let files = assembly_in(&package.join("src")).expect("the folder src can be read");
    for file in files {
        println!("cargo:rerun-if-changed={}", file.display());
        let source = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let [path, place] = [workspace, &package.join("src")]
            .map(|folder| file.strip_prefix(folder).expect("it was found there"));
        let marked = if is_without {
            source
        } else {
            mark(&source, &path.to_string_lossy(), &workspace.to_string_lossy())
                .unwrap_or_else(|error| panic!("{}:{error}", path.display()))
        };
        let copy = out.join(place);
        fs::create_dir_all(copy.parent().expect("it is in OUT_DIR"))
            .and_then(|()| fs::write(&copy, marked))
            .unwrap_or_else(|error| panic!("{}: {error}", copy.display()));
    }
}

/// Set in the environment by a test of `cargo xtask test`, which compares the machine code with and without line tables.
const WITHOUT: &str = "WITHOUT_LINE_TABLE";

fn assembly_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(assembly_in(&path)?);
        } else if path.extension() == Some(OsStr::new("s")) {
            files.push(path);
        }
    }
    Ok(files)
}

/// The source of a file, marked. `path` is what debuggers call it, `directory` what that is relative to.
///
/// # Errors
///
/// `LINE: MESSAGE`, if a line has a directive that is not known: whether there are instructions behind it has to be.
pub fn mark(source: &str, path: &str, directory: &str) -> Result<String, String> {
    let unit: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let fill_in = |text: &str| {
        text.replace("<unit>", &unit)
            .replace("<path>", &as_string(path))
            .replace("<directory>", &as_string(directory))
    };
    let mut marked = fill_in(include_str!("prologue.s"));
    let mut is_in_macro = false;
    for (number, line) in (1..).zip(source.lines()) {
        let statement = statement_in(line);
        let word = statement.split_whitespace().next().unwrap_or("");
        let mark = match kind(word) {
            Kind::MacroStart => {
                is_in_macro = true;
                String::new()
            }
            Kind::MacroEnd => {
                is_in_macro = false;
                String::new()
            }
            _ if is_in_macro => String::new(),
            Kind::Nothing => String::new(),
            Kind::Instruction => format!("line_table_row {number}; "),
            Kind::Other => "line_table_end; ".into(),
            Kind::Unknown => {
                return Err(format!("{number}: {word} is not known here: name it in line-table's lib.rs"));
            }
        };
        marked += &format!("{mark}{line}\n");
    }
    Ok(marked + &fill_in(include_str!("epilogue.s")))
}

/// As it is written in a string of assembly, and that in a template of `global_asm!`.
fn as_string(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('{', "{{").replace('}', "}}")
}

/// What a line has beside labels and a comment.
fn statement_in(line: &str) -> &str {
    let mut statement = line.split_once("//").map_or(line, |(code, _)| code).trim();
    while let Some((label, rest)) = statement.split_once(':')
        && label.chars().all(|c| c.is_ascii_alphanumeric() || "_.$".contains(c))
    {
        statement = rest.trim_start();
    }
    statement
}

enum Kind {
    /// Or a macro's name, which stands for some.
    Instruction,
    /// Puts no bytes into the section.
    Nothing,
    /// Data, or a change of section: the instructions before it have an end.
    Other,
    MacroStart,
    MacroEnd,
    Unknown,
}

/// By the first word of a statement.
fn kind(word: &str) -> Kind {
    match word {
        "" | ".code16" | ".code32" | ".code64" | ".else" | ".endif" | ".endr" | ".global" | ".globl"
        | ".if" | ".ifeq" | ".irp" | ".rept" | ".set" | ".size" | ".type" => Kind::Nothing,
        _ if word.starts_with(".cfi_") => Kind::Nothing,
        ".ascii" | ".balign" | ".byte" | ".long" | ".org" | ".quad" | ".section" | ".short" | ".text"
        | ".word" | ".zero" => Kind::Other,
        ".macro" => Kind::MacroStart,
        ".endm" => Kind::MacroEnd,
        _ if word.starts_with('.') => Kind::Unknown,
        _ => Kind::Instruction,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of the source in its marked copy.
    fn marked_lines(source: &str) -> Vec<String> {
        let marked = mark(source, "some/file.s", "/some/folder").expect("nothing unknown");
        let prologue = include_str!("prologue.s").lines().count();
        marked.lines().skip(prologue).take(source.lines().count()).map(str::to_owned).collect()
    }

    #[test]
    fn instructions_are_marked_with_their_line() {
        assert_eq!(
            marked_lines(
                "start:\n    mov eax, 1 // as: this\n2:  inc eax\n// a comment: none\n\n    call16 it"
            ),
            [
                "start:",
                "line_table_row 2;     mov eax, 1 // as: this",
                "line_table_row 3; 2:  inc eax",
                "// a comment: none",
                "",
                "line_table_row 6;     call16 it",
            ]
        );
    }

    #[test]
    fn segment_overrides_are_no_labels() {
        assert_eq!(marked_lines("2:  xor al, es:[di]"), ["line_table_row 1; 2:  xor al, es:[di]"]);
    }

    #[test]
    fn data_and_other_sections_end_the_instructions() {
        assert_eq!(
            marked_lines("    .section .mode_switch, \"awx\"\n    .code32\n    ret\ntable:\n    .long 0, 1"),
            [
                "line_table_end;     .section .mode_switch, \"awx\"",
                "    .code32",
                "line_table_row 3;     ret",
                "table:",
                "line_table_end;     .long 0, 1",
            ]
        );
    }

    /// What they stand for belongs to the line that they are used in.
    #[test]
    fn macros_are_left_alone() {
        assert_eq!(
            marked_lines(".macro ret16\n    .byte 0xc3\n.endm\n    ret16"),
            [".macro ret16", "    .byte 0xc3", ".endm", "line_table_row 4;     ret16"]
        );
    }

    #[test]
    fn repeated_lines_are_marked_each_time() {
        assert_eq!(
            marked_lines("    .rept 32\n    push 1\n    .balign 8\n    .endr"),
            ["    .rept 32", "line_table_row 2;     push 1", "line_table_end;     .balign 8", "    .endr"]
        );
    }

    #[test]
    fn unknown_directives_are_refused_with_their_line() {
        let error = mark("    nop\n    .incbin \"logo\"\n", "file.s", "/folder").expect_err("it is data");
        assert_eq!(error, "2: .incbin is not known here: name it in line-table's lib.rs");
    }

    #[test]
    fn names_are_written_as_strings_of_a_template() {
        let marked = mark("", "src/a.s", "/home/{me}/a \"folder\"").expect("nothing unknown");
        assert!(marked.contains(".asciz \"/home/{{me}}/a \\\"folder\\\"\""), "{marked}");
        assert!(marked.contains(".Lline_table_src_a_s_lines:"), "{marked}");
        assert!(!marked.contains('<'), "a name was not filled in: {marked}");
    }
}
