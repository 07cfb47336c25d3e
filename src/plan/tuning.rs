//! The numbers that belong to an adapter and never to a shader.

use super::facts::{AdapterKind, DeviceFacts};
use super::geometry::{RESIDENT_BLOCKS, STRETCH_ELEMENTS};

/// Trips through its loops that an invocation is given, about and at most. llvmpipe stops an invocation's loops, without a
/// word, at 65 535 trips of all of them together (`LP_MAX_TGSI_LOOP_ITERATIONS`), and what takes four trips is one here.
pub const TRIPS: u32 = 16_384;

/// Sizes and thresholds for one kind of adapter. Results are right under any values; only the speed changes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "tune", derive(serde::Serialize, serde::Deserialize))]
pub struct Tuning {
    /// Bits of the words that quads are accessed in: 32, or 64 where shaders have integers of so many.
    pub word_bits: u32,
    /// Invocations of a reducing workgroup; a power of two.
    pub reduce_lanes: u32,
    /// Invocations of an elementwise workgroup; a power of two.
    pub apply_lanes: u32,
    /// Invocations of a merging workgroup; a power of two.
    pub merge_lanes: u32,
    /// Workgroups that fill the adapter: a reduction is cut into parts until there are as many.
    pub reduce_workgroups: u32,
    /// A part of a reduction has at least this many quads, unless the channel has fewer.
    pub part_quads_min: u32,
    /// A part of a reduction has at most about this many quads.
    pub part_quads_max: u32,
    /// Quads that an elementwise workgroup covers.
    pub apply_quads: u32,
    /// Quads that a lane of an elementwise workgroup fetches before it writes.
    pub apply_trip: u32,
    /// Times that the lanes of all elementwise workgroups together prepare a channel, at most, where they merge its few records
    /// themselves, each time again; elsewhere, and everywhere with 0, a dispatch of its own merges them. Where the statistics are
    /// given dx needs none of it, and each channel counts once (not measured).
    pub apply_merges: u32,
    /// Planes of at least this many quads are reduced along the plane; smaller ones as columns, where scratch allows. Moments go along
    /// planes from 12 quads on, where each channel is one part of a lane that keeps to its planes.
    pub reduce_along_quads: u32,
    /// The same for the sums of backward, which read two tensors. Where scratch does not allow columns, planes count as long from
    /// the smaller of both on; what stays resident goes by `reduce_along_quads` alone.
    pub sums_along_quads: u32,
    /// Planes of at least this many quads are written along the plane; smaller ones as columns.
    pub apply_along_quads: u32,
    /// A part of a reduction that one lane goes along by itself has at most about this many quads; 0 where lanes share
    /// their parts, also of planes that end together.
    pub reduce_lane_quads: u32,
    /// Columns that a lane holds, at most, where rows are swept in the order of memory, and at most sixteen where a row has
    /// more than that; a power of two, or 0 where each lane keeps to one column and walks down the rows.
    pub row_blocks: u32,
    /// Columns that the lanes of a workgroup span where rows are long, as a divisor of the lanes (1: all lanes in x).
    pub column_rows: u32,
    /// Invocations of a resident workgroup, at least; a power of two.
    pub resident_lanes_min: u32,
    /// Invocations of a resident workgroup, at most; a power of two.
    pub resident_lanes_max: u32,
    /// Quads that a lane of a resident workgroup holds, at most, x and dy together; 0 where no channel stays resident. Where lanes
    /// keep to their planes, training stays resident only where each lane has all its quads.
    pub resident_blocks: u32,
    /// The same where channels do not begin with a quad, so that elements are accessed one by one.
    pub resident_element_blocks: u32,
    /// Lanes that share a column in a resident workgroup, at most; a power of two.
    pub resident_rows: u32,
}

impl Tuning {
    /// The built-in table for a device.
    pub fn for_device(facts: &DeviceFacts) -> Self {
        let tuning = match facts.kind {
            // One lane of the workgroup per lane of the CPU's vectors: a loop in a larger workgroup is run lane group
            // by lane group with its state spilled (measured on lavapipe: 3 to 9 times slower at 64 and 256).
            AdapterKind::Cpu => {
                let lanes = if facts.subgroup_size == 0 { 8 } else { facts.subgroup_size.clamp(4, 64) };
                Self {
                    // lavapipe accesses a vector component by component and lane by lane: half as many components of twice
                    // the size (measured: a copy takes 0.75 of its time, reading 0.4 for 0.5). SwiftShader has no such words;
                    // WARP was not measured.
                    word_bits: 64,
                    reduce_lanes: lanes,
                    apply_lanes: lanes,
                    merge_lanes: lanes,
                    reduce_workgroups: 16,
                    part_quads_min: 1024,
                    part_quads_max: 16_384,
                    apply_quads: 4096,
                    // Two, so that short planes leave few lanes without a quad (measured on lavapipe: planes of 14 × 14 cost
                    // a tenth more with four, and long planes a fortieth more with one).
                    apply_trip: 2,
                    // A merge costs a dispatch, 50 µs, and each time that a lane merges 2 to 7 ns (measured on lavapipe: of
                    // (256, 1024), which prepares 2048 times, 0.05 copies for 0.21; of planes of 14 × 14, 65 536 times, 0.11 for
                    // 0.04). SwiftShader and WARP were not measured.
                    apply_merges: 4096,
                    reduce_along_quads: 3 * lanes,
                    // Of two tensors, lanes that each keep to a plane leave too little ahead in each (measured on lavapipe:
                    // planes of 14 × 14 cost 1.5 copies for 1.25, of 13 × 13 2.3 for 1.3; from 28 × 28 on they are level).
                    sums_along_quads: 16 * lanes,
                    apply_along_quads: 3 * lanes,
                    reduce_lane_quads: 4096,
                    // 16 blocks of 8 lanes: a row of 512 channels is read in one piece (measured on lavapipe: with 4 blocks
                    // such rows cost 1.8 copies, with 16 they cost 1.05), and one of 1024 by 32. SwiftShader, with four lanes,
                    // compiles 32 for minutes.
                    row_blocks: if facts.subgroup_size < 8 { 16 } else { 32 },
                    column_rows: 1,
                    // Eight vectors that meet twice cost less than a second pass; with sixteen and more they cost more
                    // (measured on lavapipe: 3.0 copies with 32, where streaming takes 2.0 to 2.4).
                    resident_lanes_min: lanes,
                    resident_lanes_max: 8 * lanes,
                    resident_blocks: 16,
                    // A place and a condition for each element cost more than a second pass (measured on lavapipe: 7 copies
                    // for planes of 7 × 7, where streaming takes 3).
                    resident_element_blocks: 0,
                    // Rows are read in the order of memory only if each workgroup goes on where the last one ended.
                    resident_rows: 1,
                }
            }
            // 256 invocations of four 16-byte accesses are the common optimum in published WebGPU copy measurements.
            AdapterKind::Gpu => Self {
                word_bits: 32,
                reduce_lanes: 256,
                apply_lanes: 256,
                merge_lanes: 64,
                reduce_workgroups: 1024,
                part_quads_min: 4096,
                part_quads_max: 65_536,
                apply_quads: 4096,
                apply_trip: 4,
                // Not measured on any.
                apply_merges: 0,
                reduce_along_quads: 8,
                sums_along_quads: 8,
                apply_along_quads: 4096,
                reduce_lane_quads: 0,
                row_blocks: 0,
                column_rows: 8,
                resident_lanes_min: 64,
                resident_lanes_max: 256,
                // 64 to 100 registers a lane; with 16 AMD's compiler takes 136 to 208, and spilled in 72 programs.
                resident_blocks: 8,
                resident_element_blocks: 8,
                resident_rows: 32,
            },
        };
        tuning.fitted(facts)
    }

    /// The same numbers brought into the device's limits.
    pub fn fitted(&self, facts: &DeviceFacts) -> Self {
        let most = most_lanes(facts);
        let lanes = |n: u32| n.clamp(1, most).next_power_of_two();
        let (reduce_lanes, apply_lanes) = (lanes(self.reduce_lanes), lanes(self.apply_lanes));
        // What a workgroup reads lies within one binding of any device; and a plane of a few quads is a trip of all lanes.
        let most_reduced = (STRETCH_ELEMENTS / 4).min(TRIPS * reduce_lanes);
        let most_applied = TRIPS * apply_lanes.min(4);
        let part_quads_min = self.part_quads_min.clamp(reduce_lanes, most_reduced);
        Self {
            word_bits: if self.word_bits >= 64 && facts.shader_int64 { 64 } else { 32 },
            reduce_lanes,
            apply_lanes,
            merge_lanes: lanes(self.merge_lanes),
            reduce_workgroups: self.reduce_workgroups.max(1),
            part_quads_min,
            part_quads_max: self.part_quads_max.clamp(part_quads_min, most_reduced),
            apply_quads: self.apply_quads.clamp(1, most_applied),
            apply_trip: self.apply_trip.clamp(1, 8),
            apply_merges: self.apply_merges.min(TRIPS),
            reduce_along_quads: self.reduce_along_quads.max(4),
            sums_along_quads: self.sums_along_quads.max(4),
            apply_along_quads: self.apply_along_quads.max(4),
            reduce_lane_quads: self.reduce_lane_quads.min(TRIPS / 2),
            row_blocks: if self.row_blocks > 0 { self.row_blocks.min(32).next_power_of_two() } else { 0 },
            column_rows: lanes(self.column_rows).min(reduce_lanes),
            resident_lanes_min: lanes(self.resident_lanes_min),
            resident_lanes_max: lanes(self.resident_lanes_max.max(self.resident_lanes_min)),
            resident_blocks: self.resident_blocks.min(RESIDENT_BLOCKS),
            resident_element_blocks: self.resident_element_blocks.min(RESIDENT_BLOCKS),
            resident_rows: lanes(self.resident_rows),
        }
    }
}

/// The most invocations that any kernel can have in a workgroup; a power of two.
pub fn most_lanes(facts: &DeviceFacts) -> u32 {
    // A lane's largest state in workgroup memory is four moments records, 64 bytes.
    let memory_lanes = (facts.workgroup_memory / 64).max(1);
    1 << facts.workgroup_size.min(memory_lanes).max(1).ilog2()
}
