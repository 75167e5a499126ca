//! The same in Bochs, whose BIOS and CPUs are others than QEMU's: what boots, and what is told when something is wrong.
//!
//! Where it differs: the BIOS leaves the caches off, the serial port takes nothing before it is set up, floppies take
//! their time, and old CPUs refuse the instructions that they do not have. There is no device that a guest could end
//! Bochs with: the last line of a test kernel tells how it went.

use super::Test;
use super::booted::{BOUND, GLANCE, contains_wrapped};
use super::desk::bad_kernel;
use super::foreign::link;
use super::kernel::reclaiming;
use super::parts::Scene;
use crate::bare_metal::read;
use crate::bochs::{self, Bochs, Drive, Machine};
use crate::image::{DiskImage, Medium};
use crate::interrupt;
use anyhow::{Result, anyhow, ensure};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// A 64-bit CPU of before 1 GiB pages.
const NO_GIB_PAGES: &str = "core2_penryn_t9600";

pub(crate) fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = vec![
        Test::new("bochs::hello_dev", |scene| says_hello(scene, &scene.parts.kernel_dev, Machine::default())),
        Test::new("bochs::foreign_tutorial", foreign_tutorial),
        Test::new("bochs::foreign_default_address", foreign_default_address),
        Test::new("bochs::cut_off_in_stage2", cut_off_in_stage2),
        Test::new("bochs::cut_off_in_kernel", cut_off_in_kernel),
        Test::new("bochs::stack_has_room_to_spare", stack_has_room_to_spare),
        Test::new("bochs::framebuffer", framebuffer),
        Test::new("bochs::reclaim", |scene| {
            let mut booted = Booted::start(scene, &reclaiming(scene)?, Machine::default())?;
            booted.wait_for("\nACPI reclaimable: ")?;
            booted.wait_for("\ntest passed\n")
        }),
    ];
    let on = |cpu| Machine { cpu, ..Machine::default() };
    for (name, machine) in [
        ("hello_release", Machine::default()),
        ("no_gib_pages", on(NO_GIB_PAGES)),
        ("amd", on("ryzen")),
        ("floppy", Machine { drive: Drive::Floppy, ..Machine::default() }),
    ] {
        let test = move |scene: &Scene| says_hello(scene, &scene.parts.kernel_release, machine);
        tests.push(Test::new(format!("bochs::{name}"), test));
    }
    for (name, drive) in [("cd", Drive::Cd), ("cd_as_a_disk", Drive::Disk), ("cd_as_a_floppy", Drive::Floppy)]
    {
        tests.push(Test::new(format!("bochs::{name}"), move |scene| {
            let image = scene.image_for(Medium::Cd, &read(&scene.parts.kernel_release)?)?;
            says_in_both(scene, &image, Machine { drive, ..Machine::default() }, "Hello World!")
        }));
    }
    tests.push(Test::new("bochs::damaged_stage2_on_cd", |scene| {
        let mut image = scene.image_for(Medium::Cd, &read(&scene.parts.kernel_release)?)?;
        let range = image.range("stage2")?;
        image.bytes_mut()[(range.start + range.end) / 2] ^= 0x10;
        says_in_both(scene, &image, Machine { drive: Drive::Cd, ..Machine::default() }, "stage2 damaged")
    }));
    tests.push(Test::new("bochs::partition", |scene| {
        let mut image = scene.image_for(Medium::Partition, &read(&scene.parts.kernel_release)?)?;
        *image.bytes_mut() = super::partition::small_disk(scene, &image)?;
        says_in_both(scene, &image, Machine::default(), "Hello World!")
    }));
    for kernel in [
        "entry_state",
        "machine_state",
        "segment_rights",
        "guard_page",
        "null_page",
        "bss_zeroed",
        "memory_regions",
        "physical_memory",
        "without_both",
        "frame_allocator",
        "exceptions",
        "firmware",
    ] {
        let test = move |scene: &Scene| passes(scene, kernel, Machine::default());
        tests.push(Test::new(format!("bochs::{kernel}"), test));
    }
    for kernel in ["segment_rights", "physical_memory"] {
        let test = move |scene: &Scene| passes(scene, kernel, on(NO_GIB_PAGES));
        tests.push(Test::new(format!("bochs::{kernel}_no_gib_pages"), test));
    }
    // The Pentium MMX has no CMOV, which compilers use from the Pentium Pro on.
    for cpu in ["pentium_mmx", "p4_willamette"] {
        tests.push(Test::new(format!("bochs::no_long_mode_{cpu}"), move |scene| {
            says_in_both(scene, &hello(scene)?, on(cpu), "boot error E03: no long mode on this CPU")
        }));
    }
    for (piece, message) in
        [("stage2", "stage2 damaged"), ("header", "boot error E21: "), ("kernel", "boot error E25: ")]
    {
        tests.push(Test::new(format!("bochs::damaged_{piece}"), move |scene| {
            let mut image = hello(scene)?;
            let range = image.range(piece)?;
            image.bytes_mut()[(range.start + range.end) / 2] ^= 0x10;
            says_in_both(scene, &image, Machine::default(), message)
        }));
    }
    for fault in ["no_elf", "offset_past_the_end", "memory_past_the_canonical_end", "overlapping"] {
        tests.push(Test::new(format!("bochs::refused_{fault}"), move |scene| {
            let (kernel, sentence) = bad_kernel(scene, fault)?;
            let message = format!("boot error {sentence}");
            says_in_both(scene, &scene.unchecked_image(&kernel)?, Machine::default(), &message)
        }));
    }
    tests.into_iter().map(|test| test.needs(bochs::lack)).collect()
}

fn says_hello(scene: &Scene, kernel: &Path, machine: Machine) -> Result<()> {
    says_in_both(scene, &scene.image(&read(kernel)?, "")?, machine, "Hello World!")
}

/// The test kernel ends with success.
fn passes(scene: &Scene, kernel: &str, machine: Machine) -> Result<()> {
    let kernel = scene.image(&read(&scene.parts.test_kernels.join(kernel))?, "")?;
    Booted::start(scene, &kernel, machine)?.wait_for("\ntest passed\n")
}

/// The kernel finds the mode that is chosen where no display says what it prefers, and paints it.
fn framebuffer(scene: &Scene) -> Result<()> {
    let image = super::framebuffer::painting(scene, "1000x700", "1024x768x32")?;
    Booted::start(scene, &image, Machine::default())?.wait_for("painted\n")
}

/// The kernel of a tutorial speaks on the screen only.
fn foreign_tutorial(scene: &Scene) -> Result<()> {
    let kernel = read(&scene.parts.foreign_kernels.join("foreign-kernel"))?;
    let mut booted = Booted::start(scene, &scene.image(&kernel, "")?, Machine::default())?;
    booted.wait_for("jump to ")?;
    booted.wait_for_screen("Hello World!")
}

/// A kernel that checks how it was loaded.
fn foreign_default_address(scene: &Scene) -> Result<()> {
    let kernel = read(&link(scene, &[])?)?;
    let mut booted = Booted::start(scene, &scene.image(&kernel, "")?, Machine::default())?;
    booted.wait_for("foreign kernel ok, ")
}

/// stage1 says whether the BIOS failed or the bytes were wrong.
fn cut_off_in_stage2(scene: &Scene) -> Result<()> {
    let mut image = hello(scene)?;
    image.bytes_mut().truncate(33 * 512);
    says_in_both(scene, &image, Machine::default(), "stage2 read error ")
}

/// The disk ends with its first cylinder.
fn cut_off_in_kernel(scene: &Scene) -> Result<()> {
    const CYLINDER_LEN: usize = 16 * 63 * 512;
    let mut kernel = read(&scene.parts.kernel_release)?;
    kernel.resize(kernel.len().max(2 * CYLINDER_LEN), 0);
    let mut image = scene.unchecked_image(&kernel)?;
    ensure!(image.range("kernel")?.contains(&CYLINDER_LEN), "the cut was to be in the kernel");
    image.bytes_mut().truncate(CYLINDER_LEN);
    let message = "boot error E14: image cut off: disk has 1008 sectors, ";
    says_in_both(scene, &image, Machine::default(), message)
}

/// The loader's stack has room to spare above its guard, for BIOSes that need more of it than this one, which leaves
/// zeros there.
fn stack_has_room_to_spare(scene: &Scene) -> Result<()> {
    const SPARE_LEN: usize = 4096;
    let mut image = scene.image(&read(&scene.parts.kernel_dev)?, "")?;
    // Noticed when all has been loaded, and nothing else has used that memory since.
    let last = image.range("kernel")?.end - 1;
    image.bytes_mut()[last] ^= 0x10;
    let mut booted = Booted::start(scene, &image, Machine::default())?;
    booted.wait_for("boot error E25: kernel damaged: checksum of bytes 0 to ")?;
    let spare = booted.bochs.memory(layout::STACK_GUARD_END.into(), SPARE_LEN)?;
    let written = spare.iter().filter(|&&byte| byte != 0).count();
    ensure!(written == 0, booted.failure(&format!("{written} of the last {SPARE_LEN} bytes were written")));
    Ok(())
}

fn hello(scene: &Scene) -> Result<DiskImage> {
    scene.image(&read(&scene.parts.kernel_release)?, "")
}

/// A text comes on the serial line and on the screen.
fn says_in_both(scene: &Scene, image: &DiskImage, machine: Machine, message: &str) -> Result<()> {
    let mut booted = Booted::start(scene, image, machine)?;
    booted.wait_for(message)?;
    booted.wait_for_screen(message)
}

/// A guest under test. Each wait fails at the bound.
struct Booted {
    bochs: Bochs,
    bound: Instant,
}

impl Booted {
    /// Boots an image, and keeps it for whoever looks into a failure.
    fn start(scene: &Scene, image: &DiskImage, machine: Machine) -> Result<Self> {
        fs::write(scene.folder().join("disk.img"), image.bytes())?;
        Ok(Self { bochs: machine.start(image.bytes())?, bound: Instant::now() + BOUND })
    }

    /// Waits for a text on the serial line. A test kernel's failure ends the wait.
    fn wait_for(&mut self, text: &str) -> Result<()> {
        /// How often the serial line's file is looked at.
        const GLANCE: Duration = Duration::from_millis(5);
        loop {
            // In this order: what was sent last counts.
            let status = self.bochs.status()?;
            let serial = self.bochs.serial();
            if serial.contains(text) {
                return Ok(());
            }
            if serial.contains("\ntest failed\n") {
                return Err(self.failure("the test kernel failed"));
            }
            if let Some(status) = status {
                return Err(
                    self.failure(&format!("Bochs ended ({status}) before {text:?} was on the serial line"))
                );
            }
            self.pause(GLANCE, || format!("no {text:?} on the serial line"))?;
        }
    }

    /// Waits for a text on the screen, after one on the serial line.
    fn wait_for_screen(&mut self, text: &str) -> Result<()> {
        loop {
            let screen = self.bochs.screen().map_err(|error| self.failure(&format!("{error:#}")))?;
            if contains_wrapped(&screen, text) {
                return Ok(());
            }
            self.pause(GLANCE, || format!("no {text:?} on the screen"))?;
        }
    }

    fn pause(&mut self, length: Duration, failure: impl FnOnce() -> String) -> Result<()> {
        if interrupt::happened() || Instant::now() >= self.bound {
            return Err(self.failure(&failure()));
        }
        std::thread::sleep(length);
        Ok(())
    }

    /// The error of a test that ends here, with all that may help to understand it.
    fn failure(&mut self, what: &str) -> anyhow::Error {
        if interrupt::happened() {
            return anyhow!("interrupted");
        }
        let screen = self.bochs.screen().unwrap_or_else(|_| "(gone)".to_owned());
        let (serial, messages) = (self.bochs.serial(), self.bochs.messages());
        anyhow!("{what}\n--- serial line\n{serial}\n--- screen\n{screen}\n--- Bochs\n{messages}")
    }
}
