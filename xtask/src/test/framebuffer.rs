//! The framebuffer: the mode that is chosen, every pixel of it as a screenshot shows it, and what happens where there is none.

use super::Test;
use super::booted::Booted;
use super::parts::Scene;
use super::{faults_bios, inspect};
use crate::bare_metal::read;
use crate::guest::Machine;
use crate::image::{self, BundleContents, DiskImage, Medium, Stages};
use crate::project::{Boot, FramebufferChoice};
use anyhow::{Result, bail, ensure};
use boot_info::KernelConfig;
use odd_bios::Manners;
use std::path::Path;
use std::time::{Duration, Instant};

/// The card, what is wished for, and what the kernel gets. The standard card tells of a display that prefers 1280x800, unless told
/// otherwise; the other ones' BIOSes tell of none.
const CARDS: &[(&str, &[&str], &str, &str)] = &[
    ("std", &[], "1024x768", "1280x800x32"),
    ("std_24_bits", &[], "1024x768x24", "1280x800x24"),
    ("std_more_than_the_display", &[], "1400x1000", "1400x1050x32"),
    ("std_without_edid", &["-vga", "none", "-device", "VGA,edid=off"], "1000x700", "1024x768x32"),
    ("std_of_1600x900", &["-vga", "none", "-device", "VGA,xres=1600,yres=900"], "640x480", "1600x900x32"),
    ("cirrus", &["-vga", "cirrus"], "1024x768", "1024x768x24"),
    ("virtio", &["-vga", "virtio"], "1000x700", "1024x768x32"),
    ("vmware", &["-vga", "vmware"], "800x600", "800x600x32"),
    ("too_large", &[], "9000x9000", "none"),
    ("too_large_32_bits", &["-vga", "cirrus"], "1600x1200x32", "none"),
    ("no_card", &["-vga", "none"], "1024x768", "none"),
];

pub(crate) fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = vec![
        Test::new("framebuffer::report", report),
        Test::new("framebuffer::q35", |scene| {
            let machine = Machine { machine: Some("q35".to_owned()), ..Machine::default() };
            is_painted(scene, machine, "1024x768", "1280x800x32")
        }),
        Test::new("framebuffer::cpu_without_pat", |scene| {
            let machine = Machine { cpu: Some("qemu64,-pat".to_owned()), ..Machine::default() };
            is_painted(scene, machine, "1024x768", "1280x800x32,uncached")
        }),
        Test::new("framebuffer::without_optional_part", without_optional_part),
        Test::new("framebuffer::without_physical_memory", without_physical_memory),
    ];
    for &(name, arguments, wish, expected) in CARDS {
        tests.push(Test::new(format!("framebuffer::{name}"), move |scene| {
            let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
            is_painted(scene, Machine { arguments, ..Machine::default() }, wish, expected)
        }));
    }
    for (name, vbe, message) in [
        ("no_vbe", 1, "no framebuffer: the BIOS has no VBE 2.0"),
        ("mode_refused", 2, "no framebuffer: the BIOS did not set mode 0x"),
        ("where_memory_is", 3, "no framebuffer: the BIOS has no mode of 1024x768 or more"),
        ("endless_modes", 5, "no framebuffer: the BIOS has no mode of 1024x768 or more"),
    ] {
        tests.push(Test::new(format!("framebuffer::{name}"), move |scene| {
            let image = painting(scene, "1024x768", "none")?;
            let mut booted = faults_bios::boot(scene, &image, Manners { vbe, ..Manners::GOOD }, None)?;
            booted.wait_for_success()?;
            booted.wait_for(message)
        }));
    }
    tests.push(Test::new("framebuffer::error_after_the_mode_is_set", |scene| {
        let image = painting(scene, "1024x768", "none")?;
        let mut booted = faults_bios::boot(scene, &image, Manners { vbe: 4, ..Manners::GOOD }, None)?;
        booted.says("boot error E71: stage2's stack overflowed")?;
        let picture = booted.pixels()?;
        ensure!((picture.width, picture.height) == (720, 400), booted.failure("the screen shows pixels"));
        Ok(())
    }));
    tests
}

/// The kernel that paints, told what it is to find.
pub(super) fn painting(scene: &Scene, wish: &str, expected: &str) -> Result<DiskImage> {
    asking(scene, &scene.parts.test_kernels.join("framebuffer"), wish, expected)
}

fn asking(scene: &Scene, kernel: &Path, wish: &str, command_line: &str) -> Result<DiskImage> {
    let framebuffer = Some(wish.parse::<FramebufferChoice>()?);
    let boot = Boot { framebuffer, command_line: command_line.to_owned(), ..Boot::default() };
    image::image(&scene.parts.stages, &read(kernel)?, &boot)
}

/// The kernel finds what is expected, and the screen shows what it paints.
fn is_painted(scene: &Scene, machine: Machine, wish: &str, expected: &str) -> Result<()> {
    let mut booted = scene.boot(&painting(scene, wish, expected)?, machine)?;
    if expected == "none" {
        booted.wait_for_success()?;
        return booted.wait_for("no framebuffer: ");
    }
    let mut numbers = expected.split('x').map(str::parse);
    let (Some(width), Some(height)) = (numbers.next(), numbers.next()) else { bail!("no size") };
    shows_paint(&mut booted, width?, height?)
}

/// The screen shows what the test kernel paints.
fn shows_paint(booted: &mut Booted, width: usize, height: usize) -> Result<()> {
    booted.wait_for("painted\n")?;
    let expected = |x: usize, y: usize| [x, y, x ^ y ^ x >> 8].map(|color| color.to_le_bytes()[0]);
    wait_for_pixels(booted, (width, height), expected)
}

/// Waits for the screen to show a picture: the card is looked at now and then only.
fn wait_for_pixels(
    booted: &mut Booted,
    size: (usize, usize),
    expected: impl Fn(usize, usize) -> [u8; 3],
) -> Result<()> {
    let bound = Instant::now() + Duration::from_secs(20);
    loop {
        let picture = booted.pixels()?;
        let (width, height) = (picture.width, picture.height);
        let rows = picture.pixels.chunks(width.max(1)).enumerate();
        let mut places =
            rows.flat_map(|(y, row)| row.iter().enumerate().map(move |(x, pixel)| (x, y, *pixel)));
        let wrong = places.find(|&(x, y, pixel)| expected(x, y) != pixel);
        match wrong {
            None if (width, height) == size => return Ok(()),
            _ if Instant::now() < bound => booted.stays_quiet(Duration::from_millis(50))?,
            _ => {
                return Err(
                    booted.failure(&format!("found {width}x{height} pixels, first wrong one: {wrong:?}"))
                );
            }
        }
    }
}

/// Our kernel draws its report, with ramdisk and command line in it.
fn report(scene: &Scene) -> Result<()> {
    let image = asking(scene, &scene.parts.kernel_dev, "1024x768", "log=debug")?;
    let machine = Machine { stays: true, ..Machine::default() };
    let mut booted = scene.boot(&image, machine)?;
    booted.wait_for("\nScreen  1280x800, 32 bits a pixel, ")?;
    booted.wait_for("\nTime    ")?;
    let picture = booted.pixels()?;
    ensure!((picture.width, picture.height) == (1280, 800), booted.failure("another size"));
    // "Hello World!" in white on blue, up to the screen's right edge; then other colours on black.
    let colors = |rows: std::ops::Range<usize>| {
        let mut found: Vec<_> = picture.pixels[rows.start * 1280..rows.end * 1280].to_vec();
        found.sort_unstable();
        found.dedup();
        found
    };
    let (blue, white, black, gray) = ([0, 0, 0xaa], [0xff; 3], [0; 3], [0xaa; 3]);
    let (first, rest) = (colors(0..16), colors(16..800));
    ensure!(
        first.contains(&blue) && first.contains(&white) && !first.contains(&gray),
        "first row: {first:x?}"
    );
    ensure!(rest.contains(&black) && rest.contains(&gray) && !rest.contains(&blue), "other rows: {rest:x?}");
    Ok(())
}

/// It is mapped where nothing else of physical memory is.
fn without_physical_memory(scene: &Scene) -> Result<()> {
    let config = KernelConfig { map_physical_memory: false, ..KernelConfig::DEFAULT };
    let framebuffer = Some("1024x768".parse()?);
    let boot = Boot { config, framebuffer, command_line: "1280x800x32".to_owned(), ..Boot::default() };
    let kernel = read(&scene.parts.test_kernels.join("framebuffer"))?;
    let image = image::image(&scene.parts.stages, &kernel, &boot)?;
    shows_paint(&mut scene.boot(&image, Machine::default())?, 1280, 800)
}

/// An image that should have come with the optional part, and did not.
fn without_optional_part(scene: &Scene) -> Result<()> {
    let Stages { stage1, stage2, main_part_len } = &scene.parts.stages;
    let (stage1, stage2) = (stage1.clone(), stage2[..*main_part_len].to_vec());
    let stages = Stages { stage1, stage2, main_part_len: *main_part_len };
    let kernel = read(&scene.parts.test_kernels.join("framebuffer"))?;
    let framebuffer = "1024x768".parse::<FramebufferChoice>()?.wish();
    let config = KernelConfig { framebuffer, ..KernelConfig::DEFAULT };
    let bundle = BundleContents { config, ..BundleContents::of(&kernel) }.build()?;
    let mut booted = scene.boot(&bundle.into_image(Medium::Disk, &stages)?, Machine::default())?;
    booted.says("boot error E28: stage2 is without its optional part")?;
    inspect::agrees(scene, Some("boot error E28: stage2 is without its optional part"))
}
