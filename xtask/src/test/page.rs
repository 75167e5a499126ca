//! `cargo xtask gdb --tour --html`: the page of a real run, in a real browser; and the example in the repository.

use super::Test;
use super::gdb::{fails_with, gdb, leaves_nothing};
use super::parts::Scene;
use crate::browser::{self, Browser};
use crate::child;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// Functions for the browser to look at the page with.
const CHECKS: &str = include_str!("page_checks.js");

/// The example that the README links to, and how it is made.
const EXAMPLE: &str = "xtask/gdb/example/boot.html";
const EXAMPLE_LEN_MAX: usize = 150 << 10;

pub(crate) fn tests() -> Vec<Test> {
    let lacks_browser =
        || browser::find().is_none().then_some("no Chromium here; `cargo xtask setup` brings one");
    vec![
        Test::new("page::in_a_browser", in_a_browser).needs(lacks_browser),
        Test::new("page::example_is_of_today", example_is_of_today),
        Test::new("page::bad_paths", bad_paths),
    ]
}

/// A page and how many stops the tour told of.
struct Made {
    path: PathBuf,
    stops: usize,
}

fn make(scene: &Scene) -> Result<Made> {
    let output = child::output(gdb(scene).args(["--tour", "--html", "boot.html"]))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let messages = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}\n{told}\n{messages}", output.status);
    let end = told.split_once("The tour is over: ").context("the tour tells no end")?.1;
    let stops = end.split(' ').next().unwrap_or_default().parse()?;
    leaves_nothing(scene)?;
    Ok(Made { path: scene.folder().join("boot.html"), stops })
}

fn in_a_browser(scene: &Scene) -> Result<()> {
    let page = make(scene)?;
    let mut browser = Browser::start()?;
    for (width, height, is_dark) in
        [(360, 740, true), (390, 844, false), (1280, 800, true), (1280, 800, false)]
    {
        browser.set_screen(width, height, is_dark)?;
        open(&mut browser, &page, "")?;
        looks_right(&mut browser, &page, is_dark)
            .with_context(|| format!("{width}x{height}, dark: {is_dark}"))?;
    }
    steps_by_keys(&mut browser, &page)?;
    tells_all(&mut browser)?;

    open(&mut browser, &page, "#stop-7")?;
    is_shown(&mut browser, 7, &page)?;

    browser.allow_scripts(false)?;
    open(&mut browser, &page, "")?;
    let shown = browser.value("shown().length")?;
    ensure!(shown == page.stops, "without scripts, {shown} stops are shown, expected {}", page.stops);

    let complaints = browser.complaints();
    ensure!(complaints.is_empty(), "the browser complains: {complaints:#?}");
    Ok(())
}

fn open(browser: &mut Browser, page: &Made, anchor: &str) -> Result<()> {
    browser.open(&page.path, anchor)?;
    browser.value(CHECKS).map(drop)
}

/// At each stop, with all that can be opened: nothing is wider than the screen, and all text can be told from its
/// background, in both color schemes.
fn looks_right(browser: &mut Browser, page: &Made, is_dark: bool) -> Result<()> {
    let dark = browser.value("isDark()")?;
    ensure!(dark == is_dark, "dark: {dark}, expected {is_dark}");
    browser.value("openAll()")?;
    for scheme in 0..2 {
        browser.press("Home")?;
        for stop in 1..=page.stops {
            is_shown(browser, stop, page)?;
            for check in ["tooWide()", "tooFaint()"] {
                let found = browser.value(check)?;
                ensure!(found == json!([]), "stop {stop}, color scheme {scheme}: {check}: {found}");
            }
            browser.press("ArrowRight")?;
        }
        browser.value("document.getElementById('theme').click()")?;
        let switched = browser.value("isDark()")?;
        ensure!(
            switched == (is_dark == (scheme == 1)),
            "the switch for the colors leads to dark: {switched}"
        );
    }
    let outline = browser.value("badOutline()")?;
    ensure!(outline == json!([]), "headings and landmarks: {outline}");
    Ok(())
}

fn steps_by_keys(browser: &mut Browser, page: &Made) -> Result<()> {
    let last = page.stops;
    for (key, stop) in [
        ("Home", 1),
        ("ArrowLeft", 1),
        ("ArrowRight", 2),
        ("j", 3),
        ("k", 2),
        ("ArrowLeft", 1),
        ("End", last),
        ("j", last),
        ("Home", 1),
    ] {
        browser.press(key)?;
        is_shown(browser, stop, page).with_context(|| format!("after {key}"))?;
    }
    Ok(())
}

/// One stop is shown, and said to be.
fn is_shown(browser: &mut Browser, stop: usize, page: &Made) -> Result<()> {
    let found = browser.value(
        "[shown(), \
         document.getElementById('position').textContent, \
         document.querySelector('.track [aria-current]').textContent.trim()]",
    )?;
    let expected =
        json!([[format!("stop-{stop}")], format!("Stop {stop} of {}", page.stops), stop.to_string()]);
    ensure!(found == expected, "shown: {found}, expected {expected}");
    Ok(())
}

/// What the run has to have brought about, wherever it is on the page.
fn tells_all(browser: &mut Browser) -> Result<()> {
    // Selectors, the least number of elements, and a text that one of them has.
    let expected = [
        (".change", 8, "EFER +LMA"),
        ("#stop-3 .control .changed", 1, "+PE"),
        (".stop figcaption", 2, "stage2/src/entry/boot_sector.rs:"),
        (".stop .segments .changed", 5, "code 64-bit"),
        (".calls h3", 4, "INT 15h AX=E820h: get an entry of the memory map × "),
        (".call", 10, "this is the last one"),
        (".call", 10, "packet: 64 sectors from LBA 1 of drive 80h"),
        (".memory .region", 15, "usable 639 KiB"),
        ("#memory-map td", 60, "bootloader"),
        (".tree .way > .entry", 4, "page of 4 KiB at 0x"),
        ("#boot-info pre", 1, "BootInfo at 0xffff"),
    ];
    for (selector, least, text) in expected {
        let texts = browser
            .value(&format!("[...document.querySelectorAll({selector:?})].map((one) => one.textContent)"))?;
        let texts = texts.as_array().map(Vec::as_slice).unwrap_or_default();
        let has = |found: &Value| found.as_str().is_some_and(|found| found.contains(text));
        ensure!(
            texts.len() >= least && texts.iter().any(has),
            "{selector}: expected {least} or more, one with {text:?}; found {texts:#?}"
        );
    }
    Ok(())
}

/// The example has the stops, the parts, the style and the script of a page that is made now, and tells nothing of the
/// machine that it was made on.
fn example_is_of_today(scene: &Scene) -> Result<()> {
    let example = fs::read_to_string(scene.parts.checkout.root.join(EXAMPLE)).context(EXAMPLE)?;
    let made = fs::read_to_string(make(scene)?.path)?;
    let anew = format!("make it anew: cargo xtask gdb --tour --html {EXAMPLE}");
    for (start, end) in [
        ("<style>", "</style>"),
        ("<script>", "</script>"),
        ("<h2", "</h2>"),
        ("<h3 id", "</h3>"),
        ("<h4>", "<"),
    ] {
        let [old, new] = [&example, &made].map(|page| between(page, start, end));
        ensure!(!new.is_empty(), "no {start} in the page");
        ensure!(
            old.len() == new.len(),
            "{EXAMPLE} has {start} {} times, expected {}; {anew}",
            old.len(),
            new.len()
        );
        for (old, new) in old.iter().zip(&new).flat_map(|(old, new)| old.lines().zip(new.lines())) {
            ensure!(old == new, "{EXAMPLE} has {start} with {old:?}, expected {new:?}; {anew}");
        }
    }
    ensure!(
        example.len() <= EXAMPLE_LEN_MAX,
        "{EXAMPLE} has {} bytes, expected at most {EXAMPLE_LEN_MAX}",
        example.len()
    );
    let root = scene.parts.checkout.root.display().to_string();
    for path in [&*root, "/home/", "/root/", "/tmp/"] {
        ensure!(!example.contains(path) && !made.contains(path), "a page tells of {path}");
    }
    Ok(())
}

/// What is between two texts, wherever they are.
fn between<'a>(page: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    page.split(start).skip(1).filter_map(|rest| rest.split(end).next()).collect()
}

/// Found out before the machine is started.
fn bad_paths(scene: &Scene) -> Result<()> {
    let kernel = scene.folder().join("kernel.elf");
    fs::copy(scene.parts.test_kernels.join("bss_zeroed"), &kernel)?;
    let output =
        child::output(gdb(scene).args(["--tour", "--kernel", "kernel.elf", "--html", "kernel.elf"]))?;
    fails_with(&output, "error: the page (kernel.elf) would overwrite the kernel (kernel.elf)")?;
    let output = child::output(gdb(scene).args(["--html", "boot.html"]))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2) && told.contains("--tour"), "{}: {told}", output.status);
    leaves_nothing(scene)
}
