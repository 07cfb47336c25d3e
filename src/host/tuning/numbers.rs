//! The numbers of a tuning, and the values that are tried for each.

use crate::plan::Tuning;

/// One number of a tuning.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// The name of its field.
    pub name: &'static str,
    of: fn(&mut Tuning) -> &mut u32,
    /// What may be tried, from small to large.
    ladder: &'static [u32],
}

const WORD_BITS: &[u32] = &[32, 64];
const LANES: &[u32] = &[4, 8, 16, 32, 64, 128, 256, 512, 1024];
const WORKGROUPS: &[u32] = &[4, 16, 64, 256, 1024, 4096, 16_384];
const QUADS: &[u32] = &[64, 256, 1024, 4096, 16_384, 65_536, 262_144];
const PLANES: &[u32] = &[4, 8, 32, 128, 512, 2048, 8192];
const LANE_QUADS: &[u32] = &[0, 64, 256, 1024, 4096];
const MERGES: &[u32] = &[0, 1024, 4096, 16_384];
const TRIP: &[u32] = &[1, 2, 4, 8];
const BLOCKS: &[u32] = &[0, 4, 8, 16];
const ROW_BLOCKS: &[u32] = &[0, 4, 8, 16, 32];
const ROWS: &[u32] = &[1, 2, 4, 8, 16, 32];

/// The numbers, in the order in which they are measured: first what decides how memory is gone through.
pub const NUMBERS: [Number; 19] = [
    Number { name: "word_bits", of: |t| &mut t.word_bits, ladder: WORD_BITS },
    Number { name: "row_blocks", of: |t| &mut t.row_blocks, ladder: ROW_BLOCKS },
    Number { name: "reduce_lanes", of: |t| &mut t.reduce_lanes, ladder: LANES },
    Number { name: "apply_lanes", of: |t| &mut t.apply_lanes, ladder: LANES },
    Number { name: "column_rows", of: |t| &mut t.column_rows, ladder: ROWS },
    Number { name: "reduce_along_quads", of: |t| &mut t.reduce_along_quads, ladder: PLANES },
    Number { name: "sums_along_quads", of: |t| &mut t.sums_along_quads, ladder: PLANES },
    Number { name: "apply_along_quads", of: |t| &mut t.apply_along_quads, ladder: PLANES },
    Number { name: "reduce_lane_quads", of: |t| &mut t.reduce_lane_quads, ladder: LANE_QUADS },
    Number { name: "reduce_workgroups", of: |t| &mut t.reduce_workgroups, ladder: WORKGROUPS },
    Number { name: "part_quads_min", of: |t| &mut t.part_quads_min, ladder: QUADS },
    Number { name: "part_quads_max", of: |t| &mut t.part_quads_max, ladder: QUADS },
    Number { name: "apply_quads", of: |t| &mut t.apply_quads, ladder: QUADS },
    Number { name: "apply_trip", of: |t| &mut t.apply_trip, ladder: TRIP },
    Number { name: "apply_merges", of: |t| &mut t.apply_merges, ladder: MERGES },
    Number { name: "merge_lanes", of: |t| &mut t.merge_lanes, ladder: LANES },
    Number { name: "resident_blocks", of: |t| &mut t.resident_blocks, ladder: BLOCKS },
    Number { name: "resident_element_blocks", of: |t| &mut t.resident_element_blocks, ladder: BLOCKS },
    Number { name: "resident_lanes_max", of: |t| &mut t.resident_lanes_max, ladder: LANES },
];

impl Number {
    /// Its value in a tuning.
    pub fn of(&self, tuning: &Tuning) -> u32 {
        *(self.of)(&mut tuning.clone())
    }

    /// The same tuning with another value.
    pub(super) fn with(&self, tuning: &Tuning, value: u32) -> Tuning {
        let mut tuning = tuning.clone();
        *(self.of)(&mut tuning) = value;
        tuning
    }

    /// The values above one, upwards, and those below, downwards.
    pub(super) fn directions(&self, value: u32) -> [Vec<u32>; 2] {
        let above = self.ladder.iter().copied().filter(|&v| v > value).collect();
        let below = self.ladder.iter().rev().copied().filter(|&v| v < value).collect();
        [above, below]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::DeviceFacts;

    #[test]
    fn every_number_is_its_own_field_and_has_neighbours_on_both_kinds_of_adapter() {
        for facts in [DeviceFacts::FLOOR, DeviceFacts::SOFTWARE] {
            let tuning = Tuning::for_device(&facts);
            for (index, number) in NUMBERS.iter().enumerate() {
                let other = number.with(&tuning, 12_345);
                for (at, n) in NUMBERS.iter().enumerate() {
                    assert_eq!(n.of(&other), if at == index { 12_345 } else { n.of(&tuning) }, "{}", n.name);
                }
                assert!(format!("{other:?}").contains(&format!("{}: 12345", number.name)), "{}", number.name);
                let [above, below] = number.directions(number.of(&tuning));
                assert!(!above.is_empty() || !below.is_empty(), "{}", number.name);
            }
        }
        assert_eq!(NUMBERS[2].directions(8), [vec![16, 32, 64, 128, 256, 512, 1024], vec![4]]);
    }
}
