//! The milestones of a boot, as the loader keeps them: in a table of its own, which is the same whatever it then tells the
//! kernel.

use anyhow::{Result, ensure};
use boot_info::{Milestone, MilestoneId};

/// The milestones among the loader's tables, in the order of the way.
///
/// Rust does not promise where in the tables they lie; but nothing else there is a list that counts from stage2 on, entry by
/// entry, with times that never go back.
pub(super) fn find(tables: &[u8]) -> Result<Vec<Milestone>> {
    let lists = (0..tables.len()).step_by(align_of::<u32>()).map(|offset| list(&tables[offset..]));
    let found = lists.max_by_key(Vec::len).unwrap_or_default();
    ensure!(
        found.iter().any(|milestone| milestone.id == MilestoneId::TABLES_BUILT),
        "no milestones among the loader's tables: is the processor without a time stamp counter?"
    );
    Ok(found)
}

/// The longest list of milestones that begins here.
fn list(bytes: &[u8]) -> Vec<Milestone> {
    let (entries, _) = bytes.as_chunks::<{ size_of::<Milestone>() }>();
    let mut list: Vec<Milestone> = Vec::new();
    for (entry, expected) in entries.iter().zip(MilestoneId::STAGE2.0..) {
        let (words, _) = entry.as_chunks::<4>();
        let [id, reserved, low, high] = [0, 1, 2, 3].map(|index| u32::from_le_bytes(words[index]));
        let ticks = u64::from(high) << 32 | u64::from(low);
        let goes_on = list.last().map_or(ticks > 0, |before| ticks >= before.ticks);
        if id != expected || reserved != 0 || !goes_on {
            break;
        }
        list.push(Milestone::new(MilestoneId(id), ticks));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(milestones: &[(u32, u64)]) -> Vec<u8> {
        let mut bytes = vec![0xff; 20];
        // A list of another kind that looks like it, up to a point.
        for word in [1_u64, 7, 2, 5] {
            bytes.extend(word.to_le_bytes());
        }
        for (id, ticks) in milestones {
            bytes.extend(u64::from(*id).to_le_bytes());
            bytes.extend(ticks.to_le_bytes());
        }
        bytes.extend([0; 64]);
        bytes
    }

    #[test]
    fn the_list_is_found_wherever_it_lies() {
        let milestones: [(u32, u64); 5] = [(1, 100), (2, 100), (3, 1 << 40), (4, 1 << 41), (5, 1 << 42)];
        let found = find(&tables(&milestones)).unwrap();
        assert_eq!(
            found.iter().map(|milestone| (milestone.id.0, milestone.ticks)).collect::<Vec<_>>(),
            milestones
        );
    }

    #[test]
    fn a_boot_without_milestones_is_told() {
        let error = find(&tables(&[(1, 100), (2, 50), (3, 60), (4, 70), (5, 80)])).unwrap_err().to_string();
        assert!(error.contains("no milestones"), "{error}");
        assert!(find(&[]).is_err());
    }
}
