//! What gdb's commands show of the machine.

use super::terminal::Terminal;
use crate::test::Test;
use crate::test::parts::Scene;
use anyhow::Result;

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("gdb::memory", memory)]
}

fn memory(scene: &Scene) -> Result<()> {
    let mut session = Terminal::start(scene, &["--cmdline", "from the test"])?;
    session.say("e820", &["stage2 is not in memory"])?;
    session.say("boot-info", &["no boot info yet"])?;
    session.say("pages 0xb8000", &["Paging is off"])?;
    session.say("stage2", &["stage2_entry"])?;
    session.say("e820", &["not been fetched yet"])?;
    session.say("kernel", &["kernel  _start"])?;
    session.say("e820", &["Reported", "639 KiB  usable", "regions", "reserved", "usable"])?;
    session.say(
        "boot-info",
        &["BootInfo at 0xffffff00", "memory_regions", "r-x", "'from the test'", "boot_drive"],
    )?;
    session
        .say("pages 0xb8000", &["PML4  [  0]", "PT ", "is physical 0xb8000", "read, write; supervisor"])?;
    session.say("pages $rip", &["PML4  [511]", "read, execute; supervisor"])?;
    session.say("pages 0", &["not present", "0x0 is not mapped"])?;
    session.say("serial", &["jump to 0xffffffff8"])?;
    session.quit()
}
