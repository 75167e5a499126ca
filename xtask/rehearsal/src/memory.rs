//! Physical memory to load to, without a machine.

use loader::load::PhysicalMemory;
use std::collections::BTreeMap;

/// As many bytes as stay together: the most that are asked for in one piece.
const BLOCK_LEN: usize = layout::KERNEL_HEADERS_MAX as usize;

/// Memory that is all zeros at first and of which only what is written to takes room: a kernel may have gigabytes of `.bss`.
#[derive(Default)]
pub struct SparseMemory(BTreeMap<u64, Box<[u8]>>);

impl SparseMemory {
    /// Calls for each block that has some of these addresses: its number, its part, and where that is among the addresses.
    fn parts(addr: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>, usize)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let (block, start) = Self::locate(addr + done as u64);
            let part_len = (BLOCK_LEN - start).min(len - done);
            let part = (block, start..start + part_len, done);
            done += part_len;
            (part_len > 0).then_some(part)
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "less than a block has")]
    fn locate(addr: u64) -> (u64, usize) {
        (addr / BLOCK_LEN as u64, (addr % BLOCK_LEN as u64) as usize)
    }
}

impl PhysicalMemory for SparseMemory {
    fn write(&mut self, addr: u64, bytes: &[u8]) {
        for (block, part, done) in Self::parts(addr, bytes.len()) {
            let block = self.0.entry(block).or_insert_with(|| vec![0; BLOCK_LEN].into());
            let len = part.len();
            block[part].copy_from_slice(&bytes[done..done + len]);
        }
    }

    fn zero(&mut self, addr: u64, len: u64) {
        let (first, last) = (addr / BLOCK_LEN as u64, addr.saturating_add(len) / BLOCK_LEN as u64);
        for (number, block) in self.0.range_mut(first..=last) {
            let start = number * BLOCK_LEN as u64;
            let inside = |addr: u64| {
                usize::try_from(addr.saturating_sub(start)).map_or(BLOCK_LEN, |addr| addr.min(BLOCK_LEN))
            };
            block[inside(addr)..inside(addr.saturating_add(len))].fill(0);
        }
    }

    fn read(&self, addr: u64, target: &mut [u8]) {
        for (block, part, done) in Self::parts(addr, target.len()) {
            let target = &mut target[done..done + part.len()];
            match self.0.get(&block) {
                Some(block) => target.copy_from_slice(&block[part]),
                None => target.fill(0),
            }
        }
    }

    /// # Panics
    /// When they do not lie in one block, or were never written to.
    fn bytes(&self, addr: u64, len: u64) -> &[u8] {
        let (block, start) = Self::locate(addr);
        let len = usize::try_from(len).expect("no more than a block has");
        &self.0[&block][start..start + len]
    }
}

/// Memory that nobody looks at again.
pub(crate) struct Nowhere;

impl PhysicalMemory for Nowhere {
    fn write(&mut self, _: u64, _: &[u8]) {}

    fn zero(&mut self, _: u64, _: u64) {}

    fn read(&self, _: u64, target: &mut [u8]) {
        target.fill(0);
    }

    fn bytes(&self, _: u64, _: u64) -> &[u8] {
        &[]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_across_blocks_and_the_rest_is_zero() {
        let mut memory = SparseMemory::default();
        let bytes: Vec<u8> = (1..=250).cycle().take(3 * BLOCK_LEN).collect();
        memory.write(0x1_2345_6789, &bytes);
        let mut read = vec![0xff; bytes.len() + 20];
        memory.read(0x1_2345_6789 - 10, &mut read);
        assert_eq!(read[10..bytes.len() + 10], bytes);
        assert!(read[..10].iter().chain(&read[bytes.len() + 10..]).all(|byte| *byte == 0));
        memory.zero(0x1_2345_6789 + 5, bytes.len() as u64 - 6);
        memory.read(0x1_2345_6789 - 10, &mut read);
        assert_eq!(read[10..15], bytes[..5]);
        assert!(read[15..bytes.len() + 9].iter().all(|byte| *byte == 0));
        assert_eq!(read[bytes.len() + 9], bytes[bytes.len() - 1]);
        memory.zero(0, u64::MAX);
    }

    #[test]
    fn bytes_of_one_block_are_lent() {
        let mut memory = SparseMemory::default();
        memory.write(BLOCK_LEN as u64 * 7, &[5; BLOCK_LEN]);
        assert_eq!(memory.bytes(BLOCK_LEN as u64 * 7, BLOCK_LEN as u64), [5; BLOCK_LEN]);
    }
}
