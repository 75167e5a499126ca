//! Changes fields of a good kernel's ELF file, to make bad ones. Offsets from the ELF-64 object file format.

use anyhow::{Context, Result};

/// Fields of the file header: offset and length in bytes.
pub(crate) mod header {
    pub(crate) const EI_CLASS: (usize, usize) = (4, 1);
    pub(crate) const EI_DATA: (usize, usize) = (5, 1);
    pub(crate) const EI_VERSION: (usize, usize) = (6, 1);
    pub(crate) const EI_OSABI: (usize, usize) = (7, 1);
    pub(crate) const E_TYPE: (usize, usize) = (16, 2);
    pub(crate) const E_MACHINE: (usize, usize) = (18, 2);
    pub(crate) const E_VERSION: (usize, usize) = (20, 4);
    pub(crate) const E_ENTRY: (usize, usize) = (24, 8);
    pub(crate) const E_PHOFF: (usize, usize) = (32, 8);
    pub(crate) const E_SHOFF: (usize, usize) = (40, 8);
    pub(crate) const E_FLAGS: (usize, usize) = (48, 4);
    pub(crate) const E_EHSIZE: (usize, usize) = (52, 2);
    pub(crate) const E_PHENTSIZE: (usize, usize) = (54, 2);
    pub(crate) const E_PHNUM: (usize, usize) = (56, 2);
    pub(crate) const E_SHENTSIZE: (usize, usize) = (58, 2);
    pub(crate) const E_SHNUM: (usize, usize) = (60, 2);
    pub(crate) const E_SHSTRNDX: (usize, usize) = (62, 2);
}

/// Fields of a program header: offset and length in bytes.
pub(crate) mod program_header {
    pub(crate) const P_TYPE: (usize, usize) = (0, 4);
    pub(crate) const P_FLAGS: (usize, usize) = (4, 4);
    pub(crate) const P_OFFSET: (usize, usize) = (8, 8);
    pub(crate) const P_VADDR: (usize, usize) = (16, 8);
    pub(crate) const P_PADDR: (usize, usize) = (24, 8);
    pub(crate) const P_FILESZ: (usize, usize) = (32, 8);
    pub(crate) const P_MEMSZ: (usize, usize) = (40, 8);
    pub(crate) const P_ALIGN: (usize, usize) = (48, 8);
    /// Bytes in a program header.
    pub(crate) const LEN: usize = 56;
}

/// An ELF64 file in memory.
#[derive(Clone)]
pub(crate) struct Elf(pub(crate) Vec<u8>);

impl Elf {
    /// A field of the file header.
    pub(crate) fn get(&self, (offset, len): (usize, usize)) -> Result<u64> {
        let bytes = self.0.get(offset..offset + len).context("no such field")?;
        Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// Changes a field of the file header.
    pub(crate) fn set(&mut self, (offset, len): (usize, usize), value: u64) -> Result<()> {
        let bytes = self.0.get_mut(offset..offset + len).context("no such field")?;
        bytes.copy_from_slice(&value.to_le_bytes()[..len]);
        Ok(())
    }

    /// A field of a program header, for [`Self::get`] and [`Self::set`].
    pub(crate) fn field(&self, segment: usize, (offset, len): (usize, usize)) -> Result<(usize, usize)> {
        let table = usize::try_from(self.get(header::E_PHOFF)?)?;
        Ok((table + segment * program_header::LEN + offset, len))
    }

    /// Changes a field of a program header.
    pub(crate) fn set_segment(&mut self, segment: usize, field: (usize, usize), value: u64) -> Result<()> {
        self.set(self.field(segment, field)?, value)
    }

    /// The numbers of the segments that are loaded, in the order of the file.
    pub(crate) fn loaded_segments(&self) -> Result<Vec<usize>> {
        const PT_LOAD: u64 = 1;
        let count = usize::try_from(self.get(header::E_PHNUM)?)?;
        let mut loaded = Vec::new();
        for segment in 0..count {
            let has_memory = self.get(self.field(segment, program_header::P_MEMSZ)?)? > 0;
            if has_memory && self.get(self.field(segment, program_header::P_TYPE)?)? == PT_LOAD {
                loaded.push(segment);
            }
        }
        Ok(loaded)
    }
}
