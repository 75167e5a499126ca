//! Writes the seeds of every fuzz target to its corpus. Run it in the folder of this package.

use std::fs;
use std::io::Result;
use std::path::Path;

fn main() -> Result<()> {
    for target in
        ["bundle", "display", "e820", "elf", "firmware_tables", "load", "multiboot", "notes", "plan"]
    {
        let folder = Path::new("corpus").join(target);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (1..).zip(loader_fuzz::seeds(target)) {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
