//! How a tensor is cut into parts, and parts into dispatches: integers only.

use std::ops::Range;

use super::{Access, DeviceFacts, Parameters, Tuning, Walk};
use crate::dtype::DType;
use crate::error::Error;
use crate::shape::Shape;

/// Steps of a lane between two folds: at most this many values are summed before their mean becomes the next anchor, but for
/// sweeps along rows, whose parts are short, and planes that end together.
pub const STEPS_PER_FOLD: u32 = 64;

/// Values of a strand that a lane sums between two folds along planes that end together: as many as the error bounds grant.
pub const ADDITIONS_PER_FOLD: u32 = 128;

/// A part of a reduction lies in a stretch of at most this many elements (or in one row, if that is longer), so that a
/// tensor above the binding limit can be cut between parts: 8 MiB of f32.
pub const STRETCH_ELEMENTS: u32 = 2 << 20;

/// Where parts of that size would leave too many records, they may grow to this: just below 128 MiB of f32, the least
/// binding limit.
const LONGEST_STRETCH_ELEMENTS: u64 = 31 << 20;

/// Quads that keep a record, 16 bytes as they are, below a hundredth of what is read for it.
const QUADS_PER_RECORD: u64 = 100;

/// Rows of a part along rows, before rows are parted evenly: what is prepared for a column, or left of it, is paid for by so many quads.
const ROWS_PER_PART: u64 = 128;

/// Rows of a part that is reduced along rows, at most: one anchor serves them.
const MOST_ROWS_PER_PART: u64 = 512;

/// Quads that a lane of a resident workgroup can hold: 64 registers, a quarter of what the largest processors have.
pub const RESIDENT_BLOCKS: u32 = 16;

/// Quads that the rows of a resident workgroup are wide, at least, where the tensor is: a line of 128 bytes.
const RESIDENT_WIDTH: u32 = 8;

/// Elements that the planes of a workgroup span, at most, where each lane goes along its own.
const LANES_ELEMENTS: u32 = 256 << 10;

/// A lane that goes along its own part has at least so many quads, unless the channel has fewer.
const LANE_QUADS: u64 = 128;

/// From so many quads on, moments go along shorter planes, too, where each lane finishes its channels. (Measured on lavapipe: planes of
/// 8 × 8 cost 0.83 of a copy for 0.89 along rows, of 7 × 7 0.76 for 0.95, of 6 × 6 0.9 for 0.75.)
const SHORT_QUADS: u32 = 12;

/// Up to so many rows a walk down columns is a walk along memory, too.
const FEW_ROWS: u64 = 4;

/// A stretch of a tensor that one dispatch binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First element bound; a multiple of what the device's offset alignment holds.
    pub first_element: u64,
    /// Elements bound.
    pub elements: u64,
}

/// How one kernel goes through one shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Geometry {
    /// The walk.
    pub walk: Walk,
    /// Invocations per workgroup.
    pub lanes: u32,
    /// Lanes in x where lanes are two-dimensional.
    pub lanes_x: u32,
    /// Columns that a lane holds along rows, planes that it goes along where these end together, or quads of a resident channel.
    pub blocks: u32,
    /// Quads that a lane fetches before it writes, in an elementwise walk along planes or down columns.
    pub trip: u32,
    /// Whether nothing is incomplete; see `Program::aligned`.
    pub aligned: bool,
    /// The grid's numbers, before windows.
    pub parameters: Parameters,
    /// Parts, each with all its columns.
    pub parts: u32,
    /// Workgroups per part.
    pub columns_per_part: u32,
    /// Parts that are never separated: together they cover one stretch of the tensor.
    pub parts_per_stretch: u32,
    /// Why this walk.
    pub reason: &'static str,
}

/// Blocks of a lane, rounded up so that few programs serve all shapes: at most a fifth is held in vain.
fn few(blocks: u32) -> u32 {
    match blocks {
        ..=8 => blocks,
        9..=16 => blocks.next_multiple_of(2),
        _ => blocks.next_multiple_of(4),
    }
}

/// The next power of two, of what may be beyond any number of lanes.
fn power_of_two(n: u64) -> u32 {
    n.min(1 << 31).next_power_of_two() as u32
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// The period, in quads, after which the channels of a flat tensor repeat.
fn period_quads(shape: &Shape) -> u64 {
    let row = u64::from(shape.channels()) * u64::from(shape.inner());
    row / greatest_common_divisor(row, 4)
}

/// Quads that a plane reaches into, at most: where planes follow each other, one can begin at any multiple of what `inner`
/// and a quad have in common.
fn quads_of_plane(inner: u32) -> u32 {
    let last_beginning = 4 - (1 << inner.trailing_zeros().min(2));
    (last_beginning + inner).div_ceil(4)
}

/// Records of a row of so many columns: one for each quad of each plane.
fn records_per_row(shape: &Shape, columns: u64) -> u64 {
    4 * columns / u64::from(shape.inner()) * u64::from(quads_of_plane(shape.inner()))
}

/// Quads per row for a walk down columns: the period, repeated until a row fills the lanes evenly.
fn columns_for(shape: &Shape, lanes: u32) -> u64 {
    let period = period_quads(shape);
    let lanes = u64::from(lanes);
    let quads = u64::from(shape.elements()).div_ceil(4);
    let mut columns = period;
    if period < 4 * lanes {
        let even = period * (lanes / greatest_common_divisor(period, lanes));
        // Never at the price of too few rows.
        if even * 4 <= quads {
            columns = even;
        }
    }
    columns
}

/// Quads per row and columns that a lane holds, for a walk along rows: the period, repeated until rows fill the lanes, in one
/// group if the registers hold it, so that rows follow each other without a gap.
fn rows_for(shape: &Shape, lanes: u32, tuning: &Tuning) -> (u64, u32) {
    let period = period_quads(shape);
    let lanes = u64::from(lanes);
    let most = u64::from(tuning.row_blocks);
    let even = period / greatest_common_divisor(period, lanes);
    let periods = if even <= most.min(8) {
        // Two blocks at least, so that a trip of the loop does something.
        lanes * if even == 1 { most.min(2) } else { even } / period
    } else {
        let busy = |n: &u64| 5 * n * period >= 4 * (n * period).next_multiple_of(lanes);
        (1..=most * lanes / period).find(busy).unwrap_or(1)
    };
    let columns = periods * period;
    let blocks = columns.div_ceil(lanes);
    if blocks <= most {
        return (columns, few(blocks as u32).min(most as u32));
    }
    // There is a gap anyway.
    let most = most.min(16);
    (columns, few(blocks.div_ceil(blocks.div_ceil(most)) as u32).min(most as u32))
}

fn parts_wanted(quads_per_column: u64, columns: u64, tuning: &Tuning) -> u64 {
    let fill = u64::from(tuning.reduce_workgroups).div_ceil(columns.max(1));
    let most = (quads_per_column / u64::from(tuning.part_quads_min)).max(1);
    let least = quads_per_column.div_ceil(u64::from(tuning.part_quads_max)).max(1);
    fill.min(most).max(least)
}

/// Bytes of scratch that an operation may take: a hundredth of x in a 16-bit type, 1 MiB or 32 bytes a channel, whichever is
/// most. Records are given theirs first.
pub fn scratch_allowed(shape: &Shape) -> u64 {
    (u64::from(shape.elements()) * 2 / 100).max(1 << 20).max(32 * u64::from(shape.channels()))
}

/// Records of a channel that scratch has room for.
fn records_allowed(shape: &Shape) -> u64 {
    (scratch_allowed(shape) / (16 * u64::from(shape.channels()))).max(1)
}

/// Rows of a part: as many as are wanted, within one stretch of the tensor, unless their records would be too many.
fn rows_per_part(wanted: u64, rows: u64, row_elements: u64, record_bytes_per_row: u64, shape: &Shape) -> u32 {
    let fewest = rows.div_ceil((scratch_allowed(shape) / record_bytes_per_row).max(1));
    // What one binding holds on any device needs no cut.
    let longest = if shape.elements() <= 32 << 20 { rows } else { LONGEST_STRETCH_ELEMENTS / row_elements };
    let stretch = (u64::from(STRETCH_ELEMENTS) / row_elements).max(fewest.min(longest)).max(1);
    wanted.max(fewest).min(stretch).clamp(1, rows) as u32
}

/// Rows of the shortest kind, after which the channels of a flat tensor repeat.
fn periods(shape: &Shape) -> u64 {
    u64::from(shape.elements()).div_ceil(4) / period_quads(shape)
}

impl Geometry {
    /// How the moments of a shape that is not empty are reduced.
    pub fn moments(shape: &Shape, tuning: &Tuning) -> Self {
        Self::moments_together(shape, tuning).unwrap_or_else(|| Self::reduce(shape, tuning.reduce_along_quads, tuning))
    }

    /// How the sums of backward of a shape that is not empty are reduced.
    pub fn sums(shape: &Shape, tuning: &Tuning) -> Self {
        Self::reduce(shape, tuning.sums_along_quads, tuning)
    }

    /// Each lane along neighbouring planes that end together, where the tuning wants lanes to keep to planes and those of every row
    /// end so. Shorter planes than others only where each channel is one part, so that none is merged.
    fn moments_together(shape: &Shape, tuning: &Tuning) -> Option<Self> {
        let (outer, channels, inner) = (shape.outer(), shape.channels(), shape.inner());
        let planes = 4 / greatest_common_divisor(inner.into(), 4) as u32;
        // One fold after each row at least.
        let fits = channels.is_multiple_of(planes) && (SHORT_QUADS..ADDITIONS_PER_FOLD).contains(&(inner / 4));
        if tuning.reduce_lane_quads == 0 || !fits {
            return None;
        }
        let (lanes_x, lanes_y) = Self::lanes_across(channels / planes, planes * inner, tuning);
        let parts = Self::lane_parts(shape, planes, tuning);
        let wanted = u64::from(outer).div_ceil(parts);
        let row = u64::from(channels) * u64::from(inner) * u64::from(lanes_y);
        let planes_per_part = rows_per_part(wanted, outer.into(), row, 16 * u64::from(channels), shape);
        let slots = outer.div_ceil(planes_per_part);
        if slots > 1 && inner / 4 < tuning.reduce_along_quads {
            return None;
        }
        Some(Self {
            walk: Walk::Together,
            lanes: tuning.reduce_lanes,
            lanes_x,
            blocks: planes,
            trip: 1,
            aligned: true,
            parameters: Parameters { planes_per_part, chunk: inner / 4, slots, ..Parameters::of(shape) },
            parts: slots.div_ceil(lanes_y),
            columns_per_part: (channels / planes).div_ceil(lanes_x),
            parts_per_stretch: 1,
            reason: "this processor reads as fast where each lane keeps to its own planes, which end together where a quad ends",
        })
    }

    /// How many neighbouring groups of channels, and parts of them, the lanes of a workgroup take: as many groups as leave at most a
    /// fifth of the lanes idle, unless their planes are so long that a workgroup would reach too far.
    fn lanes_across(groups: u32, group_elements: u32, tuning: &Tuning) -> (u32, u32) {
        let lanes = tuning.reduce_lanes;
        let most = (lanes.min(LANES_ELEMENTS / group_elements).max(1)).ilog2();
        let busy = |x: &u32| 5 * u64::from(groups) >= 4 * u64::from(groups.next_multiple_of(*x));
        let lanes_x = (0..=most).rev().map(|n| 1 << n).find(busy).unwrap_or(1);
        (lanes_x, lanes / lanes_x)
    }

    /// Parts of each channel where a lane takes one part of so many channels: as many as fill the adapter, none too short or too long.
    fn lane_parts(shape: &Shape, channels: u32, tuning: &Tuning) -> u64 {
        let per_channel = u64::from(shape.outer()) * u64::from((shape.inner() / 4).max(1));
        let most = records_allowed(shape);
        let lanes = u64::from(tuning.reduce_workgroups) * u64::from(tuning.reduce_lanes);
        let fill = lanes.div_ceil(u64::from(shape.channels() / channels));
        let fewest = (per_channel * u64::from(channels)).div_ceil(tuning.reduce_lane_quads.into());
        fill.min(per_channel / LANE_QUADS).max(fewest).clamp(1, most)
    }

    /// How a reduction goes through a shape that is not empty; planes of so many quads are long.
    fn reduce(shape: &Shape, along_quads: u32, tuning: &Tuning) -> Self {
        let quads = shape.inner() / 4;
        if quads < along_quads {
            let across = match tuning.row_blocks {
                0 => Self::reduce_columns(shape, tuning),
                _ => Self::reduce_rows(shape, tuning),
            };
            if 16 * u64::from(shape.channels()) * u64::from(across.parameters.slots) <= scratch_allowed(shape) {
                return across;
            }
        }
        if quads < along_quads.min(tuning.reduce_along_quads) {
            return Self::reduce_along(shape, tuning, "records of columns would take too much scratch");
        }
        Self::reduce_lanes(shape, tuning)
            .unwrap_or_else(|| Self::reduce_along(shape, tuning, "planes are long enough for the lanes of a workgroup"))
    }

    fn reduce_along(shape: &Shape, tuning: &Tuning, reason: &'static str) -> Self {
        let (outer, channels, inner) = (shape.outer(), shape.channels(), shape.inner());
        let row = u64::from(channels) * u64::from(inner);
        let plane_quads = (inner / 4).max(1);
        let per_channel = u64::from(outer) * u64::from(plane_quads);
        // Whatever a tuning asks for.
        let most = records_allowed(shape);
        let parts = parts_wanted(per_channel, u64::from(channels), tuning).min(most);
        let (planes_per_part, chunks) = if parts <= u64::from(outer) {
            let wanted = u64::from(outer).div_ceil(parts);
            (rows_per_part(wanted, outer.into(), row, 16 * u64::from(channels), shape), 1)
        } else {
            (1, parts.div_ceil(u64::from(outer)).min(most / u64::from(outer)) as u32)
        };
        // A chunk is whole trips of all lanes, so that only the last is ragged.
        let trip = 4 * tuning.reduce_lanes;
        let chunk = if chunks == 1 { plane_quads } else { plane_quads.div_ceil(chunks).next_multiple_of(trip) };
        let chunks = plane_quads.div_ceil(chunk);
        let phases = 4 / greatest_common_divisor(row, 4) as u32;
        let parts = outer.div_ceil(planes_per_part) * chunks;
        Self {
            walk: Walk::Along,
            lanes: tuning.reduce_lanes,
            lanes_x: tuning.reduce_lanes,
            blocks: 1,
            trip: 1,
            aligned: inner.is_multiple_of(4),
            parameters: Parameters { planes_per_part, phases, chunk, chunks, slots: parts, ..Parameters::of(shape) },
            parts,
            columns_per_part: channels,
            parts_per_stretch: chunks,
            reason,
        }
    }

    /// Each lane along its own part, where the tuning wants that and its records are not too many.
    fn reduce_lanes(shape: &Shape, tuning: &Tuning) -> Option<Self> {
        if tuning.reduce_lane_quads == 0 {
            return None;
        }
        let (outer, channels, inner) = (shape.outer(), shape.channels(), shape.inner());
        let (lanes_x, lanes_y) = Self::lanes_across(channels, inner, tuning);
        let plane_quads = (inner / 4).max(1);
        let most = records_allowed(shape);
        let parts = Self::lane_parts(shape, 1, tuning);
        let row = u64::from(channels) * u64::from(inner);
        let (planes_per_part, chunk, chunks) = if parts <= u64::from(outer) {
            let wanted = u64::from(outer).div_ceil(parts);
            let records = 16 * u64::from(channels);
            (rows_per_part(wanted, outer.into(), row * u64::from(lanes_y), records, shape), plane_quads, 1)
        } else {
            // The lanes of a workgroup share a plane, so that a window can show it to them.
            let wanted = parts.div_ceil(outer.into()).next_multiple_of(lanes_y.into());
            let most = most / u64::from(outer) / u64::from(lanes_y) * u64::from(lanes_y);
            if most == 0 {
                return None;
            }
            // An odd number of lines, so that lanes do not meet in one set of a cache.
            let lines = plane_quads.div_ceil(wanted.min(most) as u32).div_ceil(4);
            let chunk = 4 * (lines + 1 - lines % 2);
            (1, chunk, plane_quads.div_ceil(chunk).next_multiple_of(lanes_y))
        };
        let slots = outer.div_ceil(planes_per_part) * chunks;
        Some(Self {
            walk: Walk::Lanes,
            lanes: tuning.reduce_lanes,
            lanes_x,
            blocks: 1,
            trip: 1,
            aligned: inner.is_multiple_of(4),
            parameters: Parameters { planes_per_part, chunk, chunks, slots, ..Parameters::of(shape) },
            parts: slots.div_ceil(lanes_y),
            columns_per_part: channels.div_ceil(lanes_x),
            parts_per_stretch: chunks.div_ceil(lanes_y),
            reason: "this processor reads as fast where each lane keeps to its own plane",
        })
    }

    fn reduce_columns(shape: &Shape, tuning: &Tuning) -> Self {
        let lanes = tuning.reduce_lanes;
        let columns = columns_for(shape, lanes);
        let lanes_x = Self::lanes_x(columns, lanes, tuning.column_rows);
        let rows = u64::from(shape.elements()).div_ceil(4).div_ceil(columns);
        let groups = columns.div_ceil(u64::from(lanes_x));
        let most = rows * columns / (QUADS_PER_RECORD * records_per_row(shape, columns));
        let parts = parts_wanted(rows * u64::from(lanes_x), groups, tuning).min(most.max(1));
        let wanted = rows.div_ceil(parts);
        Self::across(Walk::Columns, shape, columns, lanes, [lanes_x, 1], wanted)
    }

    fn reduce_rows(shape: &Shape, tuning: &Tuning) -> Self {
        let lanes = tuning.reduce_lanes;
        let (columns, blocks) = rows_for(shape, lanes, tuning);
        let rows = u64::from(shape.elements()).div_ceil(4).div_ceil(columns);
        let groups = columns.div_ceil(u64::from(lanes * blocks));
        let wanted = rows.div_ceil(u64::from(tuning.reduce_workgroups).div_ceil(groups));
        let wanted = wanted.clamp(ROWS_PER_PART, MOST_ROWS_PER_PART);
        Self::across(Walk::Rows, shape, columns, lanes, [lanes, blocks], wanted)
    }

    /// A walk over rows of columns, in parts of about as many rows as are wanted.
    fn across(walk: Walk, shape: &Shape, columns: u64, lanes: u32, [lanes_x, blocks]: [u32; 2], wanted: u64) -> Self {
        let rows = u64::from(shape.elements()).div_ceil(4).div_ceil(columns);
        let records = records_per_row(shape, columns);
        let most = rows_per_part(wanted, rows, 4 * columns, 16 * records, shape);
        let parts = (rows as u32).div_ceil(most);
        let rows_per_part = match walk {
            // As many in each: a few left over would pay for all that their columns need (measured on lavapipe: 264 rows in parts of
            // 128 cost 1.5 times as much as evenly). Down columns whole trips count more, and little is prepared.
            Walk::Rows => (rows as u32).div_ceil(parts),
            _ => most,
        };
        let groups = columns.div_ceil(u64::from(lanes_x * blocks)) as u32;
        // So many that a reduction refuses them, where they are more than a word counts; others leave none.
        let slots = (u64::from(parts) * records / u64::from(shape.channels())).min(u32::MAX.into()) as u32;
        let (columns, rows) = (columns as u32, rows as u32);
        let aligned = match walk {
            Walk::Rows => {
                columns.is_multiple_of(lanes_x * blocks)
                    && u64::from(shape.elements()).is_multiple_of(4 * u64::from(columns))
            }
            _ => shape.inner().is_multiple_of(4),
        };
        Self {
            walk,
            lanes,
            lanes_x,
            blocks,
            trip: 1,
            aligned,
            parameters: Parameters {
                chunks: quads_of_plane(shape.inner()),
                columns,
                rows,
                rows_per_part,
                slots,
                ..Parameters::of(shape)
            },
            parts,
            columns_per_part: groups,
            parts_per_stretch: 1,
            reason: match walk {
                Walk::Rows => "rows hold many channels and this processor fetches ahead along memory",
                _ => "neighbours in memory belong to different channels, so each lane keeps to its column",
            },
        }
    }

    /// How an elementwise kernel goes through a shape that is not empty.
    pub fn apply(shape: &Shape, tuning: &Tuning) -> Self {
        if shape.inner() / 4 >= tuning.apply_along_quads {
            return Self::apply_along(shape, tuning);
        }
        let lanes = tuning.apply_lanes;
        let quads = u64::from(tuning.apply_quads);
        // Few rows are as many streams to fetch ahead, whichever way they are gone through.
        if tuning.row_blocks > 0 && periods(shape) > FEW_ROWS {
            let (columns, blocks) = rows_for(shape, lanes, tuning);
            let wanted = (quads / u64::from(lanes * blocks)).max(ROWS_PER_PART);
            return Self::across(Walk::Rows, shape, columns, lanes, [lanes, blocks], wanted);
        }
        // A tensor can end before its channels repeat.
        let columns = columns_for(shape, lanes).min(u64::from(shape.elements()).div_ceil(4));
        let rows = u64::from(shape.elements()).div_ceil(4).div_ceil(columns);
        // Lanes for which there is no row take further columns.
        let lanes_x = Self::lanes_x(columns, lanes, tuning.column_rows.min(power_of_two(rows)));
        let wanted = quads / u64::from(lanes_x);
        let across = Self::across(Walk::Columns, shape, columns, lanes, [lanes_x, 1], wanted);
        // A trip looks so far ahead that where rows are few and long, an index could run beyond 32 bits.
        let ahead = |trip: &u32| (rows + u64::from(trip * (lanes / lanes_x))) * columns;
        let trip = (1..=tuning.apply_trip).rev().find(|trip| ahead(trip) <= u32::MAX.into()).unwrap_or(1);
        Self { trip, ..across }
    }

    fn apply_along(shape: &Shape, tuning: &Tuning) -> Self {
        let lanes = tuning.apply_lanes;
        let planes = shape.outer() * shape.channels();
        let trip = 4 * lanes;
        // A plane of an unaligned tensor can own one quad more than it can fill.
        let owned = shape.inner().div_ceil(4);
        let chunk = if owned <= tuning.apply_quads {
            owned
        } else {
            owned.div_ceil(owned.div_ceil(tuning.apply_quads)).next_multiple_of(trip)
        };
        let chunks = owned.div_ceil(chunk);
        let planes_per_part = if chunks == 1 { (tuning.apply_quads / owned).max(1) } else { 1 };
        Self {
            walk: Walk::Along,
            lanes,
            lanes_x: lanes,
            blocks: 1,
            trip: tuning.apply_trip,
            aligned: shape.inner().is_multiple_of(4),
            parameters: Parameters { planes_per_part, chunk, chunks, ..Parameters::of(shape) },
            parts: planes.div_ceil(planes_per_part) * chunks,
            columns_per_part: 1,
            parts_per_stretch: 1,
            reason: "planes are long enough for all lanes of a workgroup",
        }
    }

    /// How an elementwise kernel that keeps a mask goes through a shape that is not empty.
    pub fn groups(shape: &Shape, tuning: &Tuning) -> Self {
        let groups = shape.elements().div_ceil(32);
        let chunk = (tuning.apply_quads / 8).max(tuning.apply_lanes).min(groups);
        Self {
            walk: Walk::Groups,
            lanes: tuning.apply_lanes,
            lanes_x: tuning.apply_lanes,
            blocks: 1,
            trip: 1,
            aligned: shape.inner().is_multiple_of(4),
            parameters: Parameters { chunk, ..Parameters::of(shape) },
            parts: groups.div_ceil(chunk),
            columns_per_part: 1,
            parts_per_stretch: 1,
            reason: "each invocation owns the 32 elements of one word of the mask",
        }
    }

    /// How one dispatch does a whole operation, if the channels of a workgroup fit its registers: so many tensors are held.
    pub fn resident(shape: &Shape, access: Access, tensors: u32, tuning: &Tuning) -> Option<Self> {
        let most = match access {
            Access::Element => tuning.resident_element_blocks / tensors,
            _ => tuning.resident_blocks / tensors,
        };
        if most == 0 {
            return None;
        }
        if shape.inner() == 1 {
            Self::resident_columns(shape, access, most, tuning)
        } else {
            // Where lanes keep to their planes, moments that are streamed cost less than a condition on every block. (Measured on
            // lavapipe, training of (4, 128, 28, 28): 1.5 copies for 1.9; of two tensors, whose sums are streamed along rows, more.)
            let streams = tensors == 1 && tuning.reduce_lane_quads > 0;
            Self::resident_along(shape, most, tuning).filter(|resident| resident.aligned || !streams)
        }
    }

    fn resident_along(shape: &Shape, most: u32, tuning: &Tuning) -> Option<Self> {
        // Short planes lie too far apart.
        if shape.inner() / 4 < tuning.reduce_along_quads {
            return None;
        }
        let quads = shape.values_per_channel().div_ceil(4);
        let widths =
            (0..=tuning.resident_lanes_max.ilog2()).map(|n| 1 << n).filter(|&n| n >= tuning.resident_lanes_min);
        let fits = widths.map(|lanes: u32| (lanes, few(quads.div_ceil(lanes)))).filter(|&(_, blocks)| blocks <= most);
        // The fewer reads that are in vain the better, and then the fewer lanes that must meet.
        let (lanes, blocks) = fits.min_by_key(|(lanes, blocks)| lanes * blocks)?;
        // Where most lanes would idle, there are better ways.
        if lanes * blocks > 2 * quads {
            return None;
        }
        Some(Self {
            walk: Walk::Along,
            lanes,
            lanes_x: tuning.resident_lanes_min.min(lanes),
            blocks,
            trip: 1,
            aligned: shape.values_per_channel() == 4 * lanes * blocks,
            parameters: Parameters {
                planes_per_part: shape.outer(),
                chunk: shape.inner().div_ceil(4),
                ..Parameters::of(shape)
            },
            parts: 1,
            columns_per_part: shape.channels(),
            parts_per_stretch: 1,
            reason: "a channel fits the registers of one workgroup, so that each value is read once",
        })
    }

    fn resident_columns(shape: &Shape, access: Access, most: u32, tuning: &Tuning) -> Option<Self> {
        let (rows, channels) = (shape.outer(), shape.channels());
        // An odd limit is no number of blocks.
        let lanes_y = rows.div_ceil(if most > 8 { most & !1 } else { most }).next_power_of_two();
        let columns = channels.div_ceil(4);
        let wide = (tuning.resident_lanes_min / lanes_y).max(RESIDENT_WIDTH).min(columns.next_power_of_two());
        let (lanes, lanes_x) = (wide * lanes_y, wide);
        if lanes_y > tuning.resident_rows || lanes > tuning.resident_lanes_max {
            return None;
        }
        let blocks = few(rows.div_ceil(lanes_y));
        let groups = columns.div_ceil(lanes_x);
        let whole = match access {
            Access::Element => channels.is_multiple_of(4 * lanes_x),
            _ => columns.is_multiple_of(lanes_x),
        };
        Some(Self {
            walk: Walk::Columns,
            lanes,
            lanes_x,
            blocks,
            trip: 1,
            aligned: whole && rows == lanes_y * blocks,
            parameters: Parameters { columns, rows, rows_per_part: rows, ..Parameters::of(shape) },
            parts: 1,
            columns_per_part: groups,
            parts_per_stretch: 1,
            reason: "all rows of some channels fit the registers of one workgroup, so that each value is read once",
        })
    }

    /// Columns that the lanes of a workgroup span where so many of them share a column, if columns are many.
    fn lanes_x(columns: u64, lanes: u32, lanes_y: u32) -> u32 {
        let wide = (lanes / lanes_y).max(1);
        (columns.next_power_of_two().min(u64::from(wide))) as u32
    }

    /// Planes that a quad can reach into where the walk takes them together.
    pub fn quad_planes(&self, inner: u32) -> u32 {
        match (self.walk, inner) {
            (Walk::Along | Walk::Lanes | Walk::Together, _) => 1,
            (_, inner) if inner.is_multiple_of(4) => 1,
            (_, 2..) => 2,
            _ => 4,
        }
    }

    /// Times that lanes prepare a channel, in an elementwise kernel; without the few that prepare a next plane's, too.
    pub fn prepared(&self, shape: &Shape) -> u64 {
        let (p, lanes) = (&self.parameters, u64::from(self.lanes));
        let workgroups = u64::from(self.parts) * u64::from(self.columns_per_part);
        let strands = u64::from(self.quad_planes(shape.inner()));
        match self.walk {
            Walk::Along | Walk::Lanes | Walk::Together => {
                u64::from(shape.outer()) * u64::from(shape.channels()) * u64::from(p.chunks) * lanes
            }
            Walk::Columns | Walk::Rows => workgroups * lanes * u64::from(self.blocks) * strands,
            Walk::Groups => u64::from(shape.elements()).div_ceil(4) * strands,
        }
    }

    /// Elements that a rectangle of the grid touches: one stretch of the flat tensor.
    fn stretch(&self, shape: &Shape, parts: Range<u32>, columns: Range<u32>) -> Range<u64> {
        let p = &self.parameters;
        let row = u64::from(shape.channels()) * u64::from(shape.inner());
        let plane = u64::from(shape.inner());
        let (from, to) = match self.walk {
            Walk::Columns | Walk::Rows => {
                let width = 4 * u64::from(p.columns);
                let part = width * u64::from(p.rows_per_part);
                if p.rows_per_part == 1 && parts.len() == 1 {
                    let block = 4 * u64::from(self.lanes_x * self.blocks);
                    let start = u64::from(parts.start) * width;
                    (start + u64::from(columns.start) * block, start + (u64::from(columns.end) * block).min(width))
                } else {
                    (u64::from(parts.start) * part, u64::from(parts.end) * part)
                }
            }
            Walk::Groups => {
                let part = 32 * u64::from(p.chunk);
                (u64::from(parts.start) * part, u64::from(parts.end) * part)
            }
            // Whole rows, planes or parts of one plane.
            Walk::Lanes | Walk::Together => {
                let lanes_y = self.lanes / self.lanes_x;
                let (first, end) = (parts.start * lanes_y, (parts.end * lanes_y).min(p.slots));
                let (first_plane, end_plane) = (first / p.chunks, end.div_ceil(p.chunks));
                let start = u64::from(first_plane) * row * u64::from(p.planes_per_part);
                if end_plane - first_plane > 1 || p.planes_per_part > 1 {
                    (start, u64::from(end_plane) * row * u64::from(p.planes_per_part))
                } else {
                    let across = self.lanes_x * self.blocks;
                    let channels = columns.start * across..(columns.end * across).min(p.channels);
                    let start = start + u64::from(channels.start) * plane;
                    if channels.len() > 1 {
                        (start, start + channels.len() as u64 * plane)
                    } else {
                        let chunk = 4 * u64::from(p.chunk);
                        let last = end.is_multiple_of(p.chunks);
                        let stop = if last { plane } else { plane.min(u64::from(end % p.chunks) * chunk + 4) };
                        (start + u64::from(first % p.chunks) * chunk, start + stop)
                    }
                }
            }
            Walk::Along => {
                let (groups, chunks) = (parts.start / p.chunks..parts.end.div_ceil(p.chunks), p.chunks);
                let one_plane = groups.len() == 1 && p.planes_per_part == 1;
                // Elementwise parts are planes of all channels; a reduction has its channels as columns.
                let group = if self.columns_per_part == 1 { plane } else { row } * u64::from(p.planes_per_part);
                let start = u64::from(groups.start) * group;
                if one_plane && columns.len() == 1 {
                    let start = start + u64::from(columns.start) * plane;
                    let chunk = 4 * u64::from(p.chunk);
                    let last = parts.end.is_multiple_of(chunks);
                    let end = if last { plane } else { plane.min(u64::from(parts.end % chunks) * chunk + 4) };
                    (start + u64::from(parts.start % chunks) * chunk, start + end)
                } else if one_plane {
                    (start + u64::from(columns.start) * plane, start + u64::from(columns.end) * plane)
                } else {
                    (start, u64::from(groups.end) * group)
                }
            }
        };
        let elements = u64::from(shape.elements());
        from.min(elements) / 4 * 4..to.next_multiple_of(4).min(elements)
    }

    /// Cuts the grid into dispatches whose tensors fit a binding; the parts, and so the results, stay the same.
    ///
    /// # Errors
    /// [`Error::DeviceLimit`] if one part alone does not fit
    pub fn windows(
        &self,
        shape: &Shape,
        dtype: DType,
        facts: &DeviceFacts,
    ) -> Result<Vec<(Parameters, Window)>, Error> {
        let mut dispatches = Vec::new();
        self.cut(shape, dtype, facts, 0..self.parts, 0..self.columns_per_part, &mut dispatches)?;
        Ok(dispatches)
    }

    fn cut(
        &self,
        shape: &Shape,
        dtype: DType,
        facts: &DeviceFacts,
        parts: Range<u32>,
        columns: Range<u32>,
        dispatches: &mut Vec<(Parameters, Window)>,
    ) -> Result<(), Error> {
        let stretch = self.stretch(shape, parts.clone(), columns.clone());
        // Windows start where both the device's alignment and the quads allow.
        let grain = (facts.offset_alignment / dtype.bytes()).max(4);
        let first_element = stretch.start / grain * grain;
        let bytes = dtype.tensor_bytes(stretch.end - first_element);
        if bytes <= facts.binding_bytes {
            let window = Window { first_element, elements: stretch.end - first_element };
            let workgroups = u64::from(parts.end - parts.start) * u64::from(columns.end - columns.start);
            let parameters = Parameters {
                window: (first_element / 4) as u32,
                first_part: parts.start,
                first_column: columns.start,
                column_count: columns.end - columns.start,
                workgroups: workgroups as u32,
                grid_width: grid(workgroups, facts)?[0],
                ..self.parameters
            };
            dispatches.push((parameters, window));
            return Ok(());
        }
        let unit = self.parts_per_stretch;
        let halves = |range: &Range<u32>, unit: u32| {
            let middle = range.start + (range.end - range.start).div_ceil(unit) / 2 * unit;
            [range.start..middle, middle..range.end]
        };
        if parts.end - parts.start > unit {
            for half in halves(&parts, unit) {
                self.cut(shape, dtype, facts, half, columns.clone(), dispatches)?;
            }
        } else if columns.end - columns.start > 1 {
            for half in halves(&columns, 1) {
                self.cut(shape, dtype, facts, parts.clone(), half, dispatches)?;
            }
        } else if parts.end - parts.start > 1 && matches!(self.walk, Walk::Along | Walk::Lanes | Walk::Together) {
            for half in halves(&parts, 1) {
                self.cut(shape, dtype, facts, half, columns.clone(), dispatches)?;
            }
        } else {
            return Err(Error::DeviceLimit {
                what: "one part of the tensor",
                needed: bytes,
                limit: facts.binding_bytes,
                name: "max_storage_buffer_binding_size",
            });
        }
        Ok(())
    }
}

/// A grid of at least `workgroups` workgroups in two dimensions.
///
/// # Errors
/// [`Error::DeviceLimit`] above the square of the device's limit per dimension
pub fn grid(workgroups: u64, facts: &DeviceFacts) -> Result<[u32; 3], Error> {
    let most = u64::from(facts.workgroups_per_dimension);
    let height = workgroups.div_ceil(most.max(1));
    if height > most || workgroups > u64::from(u32::MAX) {
        return Err(Error::DeviceLimit {
            what: "the grid",
            needed: workgroups,
            limit: most * most,
            name: "max_compute_workgroups_per_dimension",
        });
    }
    let width = workgroups.div_ceil(height.max(1));
    Ok([width as u32, height as u32, 1])
}
