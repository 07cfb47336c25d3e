//! What holds of every plan, over thousands of random shapes, tunings and devices.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use wgpu_batchnorm::plan::{
    Access, Argument, Count, DeviceFacts, Dispatch, Kernel, Operation, Plan, Program, Tuning, Walk, Window,
};
use wgpu_batchnorm::{Activation, Config, DType, Error, Gradients, ParameterGradients, RunningVariance, Shape};

const OPERATIONS: [Operation; 14] = [
    Operation::Training,
    Operation::Inference,
    Operation::FrozenForward,
    Operation::Backward(Gradients::ALL),
    Operation::Backward(Gradients::INPUT),
    Operation::Backward(Gradients::PARAMETERS),
    Operation::FrozenBackward(Gradients::ALL),
    Operation::FrozenBackward(Gradients { input: true, parameters: ParameterGradients::Accumulate }),
    Operation::Moments,
    Operation::RunningUpdate(Count::Shape),
    Operation::ScaleShift,
    Operation::BackwardSums,
    Operation::BackwardMerge(3, Gradients::ALL, Count::Merged),
    Operation::BackwardInput,
];

fn config(dtype: usize, flags: u32) -> Config {
    let has = |bit: u32| flags & (1 << bit) != 0;
    Config {
        dtype: DType::ALL[dtype],
        gamma: has(0),
        beta: has(1),
        residual: has(2),
        activation: if has(3) { Activation::Relu } else { Activation::None },
        running_update: has(4),
        count_batches: has(5),
        running_variance: RunningVariance::Population,
        ..Config::pytorch()
    }
}

/// A number of a tuning: one that somebody might choose, or one that nobody would.
fn any_number(sensible: std::ops::Range<u32>) -> impl Strategy<Value = u32> {
    prop_oneof![8 => sensible, 1 => 0u32..3, 1 => Just(u32::MAX), 1 => any::<u32>()]
}

prop_compose! {
    fn any_tuning()(
        lanes in proptest::array::uniform3(prop_oneof![4 => (0u32..9).prop_map(|n| 1 << n), 1 => any_number(0..300)]),
        counts in proptest::array::uniform3(any_number(0..4000)),
        max in any_number(0..100_000),
        along in proptest::array::uniform3(any_number(0..100)),
        apply_trip in any_number(0..20),
        apply_merges in any_number(0..20_000),
        reduce_lane_quads in any_number(0..5000),
        row_blocks in any_number(0..40),
        column_rows in prop_oneof![4 => (0u32..5).prop_map(|n| 1 << n), 1 => any_number(0..40)],
        resident_lanes in proptest::array::uniform2(prop_oneof![4 => (0u32..9).prop_map(|n| 1 << n), 1 => any_number(0..300)]),
        resident_blocks in any_number(0..20),
        resident_element_blocks in any_number(0..20),
        resident_rows in prop_oneof![4 => (0u32..7).prop_map(|n| 1 << n), 1 => any_number(0..40)],
        word_bits in any_number(0..100),
    ) -> Tuning {
        Tuning {
            word_bits,
            reduce_lanes: lanes[0],
            apply_lanes: lanes[1],
            merge_lanes: lanes[2],
            reduce_workgroups: counts[0],
            part_quads_min: counts[1],
            part_quads_max: max,
            apply_quads: counts[2],
            reduce_along_quads: along[0],
            sums_along_quads: along[1],
            apply_along_quads: along[2],
            apply_trip,
            apply_merges,
            reduce_lane_quads,
            row_blocks,
            column_rows,
            resident_lanes_min: resident_lanes[0],
            resident_lanes_max: resident_lanes[1],
            resident_blocks,
            resident_element_blocks,
            resident_rows,
        }
    }
}

prop_compose! {
    /// Devices at and above the floor, and some that bind little at once, so that small tensors are cut.
    fn any_facts()(
        binding in prop_oneof![Just(128u64 << 20), (8u64..1000).prop_map(|n| n * 256)],
        alignment in prop_oneof![Just(256u64), Just(32)],
        dimension in prop_oneof![Just(65_535u32), 40u32..500],
        memory in prop_oneof![Just(16_384u32), Just(1024), Just(65_536)],
        shader_int64 in any::<bool>(),
    ) -> DeviceFacts {
        DeviceFacts {
            shader_int64,
            binding_bytes: binding,
            offset_alignment: alignment,
            workgroups_per_dimension: dimension,
            workgroup_memory: memory,
            ..DeviceFacts::FLOOR
        }
    }
}

prop_compose! {
    /// Up to some ten thousand elements, of which each can be looked at.
    fn small_shape()(
        channels in prop_oneof![1usize..10, 1usize..150],
        inner in prop_oneof![Just(1usize), 1usize..20, 1usize..400],
        seed in any::<usize>(),
    ) -> Shape {
        let most = (30_000 / (channels * inner)).max(1);
        Shape::new(&[1 + seed % most, channels, inner], 1).unwrap()
    }
}

prop_compose! {
    /// Up to 2³¹ elements, and up to two million channels.
    fn large_shape()(
        outer in 0u32..31,
        channels in 0u32..22,
        inner in 0u32..31,
        jitter in proptest::array::uniform3(0.5f64..1.0),
    ) -> Shape {
        let of = |exponent: u32, jitter: f64| (((1u64 << exponent) as f64 * jitter) as usize).max(1);
        let channels = of(channels, jitter[0]);
        let inner = of(inner, jitter[1]).min((1 << 31) / channels).max(1);
        let outer = of(outer, jitter[2]).min((1 << 31) / channels / inner).max(1);
        Shape::new(&[outer, channels, inner], 1).unwrap()
    }
}

/// Elements that a workgroup reduces or writes, as the head of each walk tells it.
fn elements_of(shape: &Shape, dispatch: &Dispatch, part: u32, column: u32) -> Vec<std::ops::Range<u64>> {
    let (p, program) = (&dispatch.parameters, &dispatch.program);
    let [outer, channels, inner, elements] =
        [shape.outer(), shape.channels(), shape.inner(), shape.elements()].map(u64::from);
    if program.kernel.is_resident() {
        return resident_elements(shape, program, column);
    }
    let [part, column] = [part, column].map(u64::from);
    let [planes_per_part, chunk, chunks, rows_per_part] =
        [p.planes_per_part, p.chunk, p.chunks, p.rows_per_part].map(u64::from);
    let reduces = matches!(program.kernel, Kernel::MomentsPartial | Kernel::BackwardPartial);
    let mut ranges = Vec::new();
    match program.walk {
        Some(walk @ (Walk::Along | Walk::Lanes)) if reduces => {
            let (lanes_x, lanes_y) = if walk == Walk::Along {
                (1, 1)
            } else {
                (u64::from(program.lanes_x), u64::from(program.workgroup_size / program.lanes_x))
            };
            // Each lane of the second walk is what a workgroup of the first one is.
            let parts = (part * lanes_y..(part + 1) * lanes_y).take_while(|part| *part < u64::from(p.slots));
            let columns = column * lanes_x..((column + 1) * lanes_x).min(channels);
            for (part, column) in parts.flat_map(|part| columns.clone().map(move |column| (part, column))) {
                let (group, k) = (part / chunks, part % chunks);
                for o in (group * planes_per_part..(group + 1) * planes_per_part).take_while(|o| *o < outer) {
                    let start = (o * channels + column) * inner;
                    let end = start + inner;
                    // The last chunk takes what is left, so that no quad is in two.
                    let first = start.div_ceil(4) + k * chunk;
                    let last = (first + chunk).min(end / 4);
                    if first < last {
                        ranges.push(4 * first..4 * last);
                    }
                    if k == 0 && !start.is_multiple_of(4) {
                        ranges.push(start..start.next_multiple_of(4).min(end));
                    }
                    if k == chunks - 1 && !end.is_multiple_of(4) && (end / 4 != start / 4 || start.is_multiple_of(4)) {
                        ranges.push(end / 4 * 4..end);
                    }
                }
            }
        }
        Some(Walk::Together) if reduces => {
            let lanes_x = u64::from(program.lanes_x);
            let (lanes_y, planes) = (u64::from(program.workgroup_size) / lanes_x, u64::from(program.blocks));
            let parts = (part * lanes_y..(part + 1) * lanes_y).take_while(|part| *part < u64::from(p.slots));
            let groups = column * lanes_x..((column + 1) * lanes_x).min(channels / planes);
            for (part, group) in parts.flat_map(|part| groups.clone().map(move |group| (part, group))) {
                for o in (part * planes_per_part..(part + 1) * planes_per_part).take_while(|o| *o < outer) {
                    // Where the planes begin, in quads; those that one begins and another ends in are shared.
                    let base = (o * channels + group * planes) * inner / 4;
                    for plane in 0..planes {
                        let own = base + (plane * inner).div_ceil(4)..base + (plane + 1) * inner / 4;
                        ranges.push(4 * own.start..4 * own.end);
                    }
                    let shared = (1..planes).map(|next| base + next * inner / 4);
                    ranges.extend(shared.map(|quad| 4 * quad..4 * quad + 4));
                }
            }
        }
        Some(Walk::Along) => {
            let (group, k) = (part / chunks, part % chunks);
            for plane in (group * planes_per_part..(group + 1) * planes_per_part).take_while(|o| *o < outer * channels)
            {
                let (start, end) = (plane * inner, (plane + 1) * inner);
                let first = start.div_ceil(4) + k * chunk;
                let last = (first + chunk).min(end / 4);
                if first < last {
                    ranges.push(4 * first..4 * last);
                }
                // A quad belongs to the plane in which it starts.
                if !end.is_multiple_of(4) && first <= end / 4 && end / 4 < first + chunk {
                    ranges.push(end / 4 * 4..(end / 4 * 4 + 4).min(elements));
                }
            }
        }
        Some(Walk::Columns | Walk::Rows) => {
            let block = u64::from(program.lanes_x * program.blocks);
            let columns = u64::from(p.columns);
            for row in (part * rows_per_part..(part + 1) * rows_per_part).take_while(|r| *r < u64::from(p.rows)) {
                let quads = row * columns + column * block..row * columns + ((column + 1) * block).min(columns);
                ranges.push((4 * quads.start).min(elements)..(4 * quads.end).min(elements));
            }
        }
        Some(Walk::Groups) => {
            ranges.push((32 * chunk * part).min(elements)..(32 * chunk * (part + 1)).min(elements));
        }
        // Reductions alone go lane by lane, so that an elementwise kernel would be found to cover nothing.
        Some(Walk::Lanes | Walk::Together) | None => {}
    }
    ranges.retain(|range| !range.is_empty());
    ranges
}

/// Elements that a resident workgroup holds: those of each block of each lane, as far as they are there.
fn resident_elements(shape: &Shape, program: &Program, column: u32) -> Vec<std::ops::Range<u64>> {
    let (outer, channels, inner) = (shape.outer(), shape.channels(), shape.inner());
    let (lanes, lanes_x, blocks) = (program.workgroup_size, program.lanes_x, program.blocks);
    // Elements of a unit, units of a block, and the distance of these.
    let (unit, strands) = if program.access == Access::Element { (1, 4) } else { (4, 1) };
    let mut ranges = Vec::new();
    for (lane, block, strand) in
        (0..lanes).flat_map(|l| (0..blocks).flat_map(move |b| (0..strands).map(move |s| (l, b, s))))
    {
        let (lane_x, group) = (lane % lanes_x, lane / lanes_x);
        let place = if program.walk == Some(Walk::Along) {
            let body = inner / unit;
            let number = (group * lanes_x * blocks + block * lanes_x) * strands + lane_x + strand * lanes_x;
            let place = (number / body * channels + column) * body + number % body;
            Some(place).filter(|_| program.aligned || number < outer * body)
        } else {
            let row = group + block * (lanes / lanes_x);
            let of_row = column * lanes_x * strands + lane_x + strand * lanes_x;
            let exists = row < outer && of_row * unit < channels;
            Some(row * (channels / unit) + of_row).filter(|_| program.aligned || exists)
        };
        let start = |place: u32| u64::from(place) * u64::from(unit);
        ranges.extend(place.map(|place| start(place)..start(place) + u64::from(unit)));
    }
    ranges
}

/// Records that a workgroup writes, as `slot · channels + channel`.
fn records_of(shape: &Shape, dispatch: &Dispatch, part: u32, column: u32) -> Vec<u32> {
    let (p, program, channels, inner) = (&dispatch.parameters, &dispatch.program, shape.channels(), shape.inner());
    match program.walk {
        Some(Walk::Along) => vec![part * channels + column],
        Some(Walk::Lanes | Walk::Together) => {
            let lanes_y = program.workgroup_size / program.lanes_x;
            let across = program.lanes_x * program.blocks;
            let parts = part * lanes_y..((part + 1) * lanes_y).min(p.slots);
            let columns = column * across..((column + 1) * across).min(channels);
            parts.flat_map(|part| columns.clone().map(move |column| part * channels + column)).collect()
        }
        _ => {
            let block = program.lanes_x * program.blocks;
            let planes = 4 * p.columns / inner / channels;
            let columns = column * block..((column + 1) * block).min(p.columns);
            let records = |column: u32| {
                // The planes of a quad, each once; one that ends a quad early leaves the rest of its slots empty.
                let planes_of_quad = 4 * column / inner..(4 * column + 3) / inner + 1;
                planes_of_quad.flat_map(move |plane| {
                    let (first, end) = (plane * inner / 4, ((plane + 1) * inner).div_ceil(4));
                    let stop = if column + 1 == end { p.chunks } else { column - first + 1 };
                    (column - first..stop).map(move |chunk| {
                        ((part * planes + plane / channels) * p.chunks + chunk) * channels + plane % channels
                    })
                })
            };
            columns.flat_map(records).collect()
        }
    }
}

fn window_holds(window: Window, range: &std::ops::Range<u64>, elements: u64) -> bool {
    // A quad is read whole, as far as the tensor goes.
    let (from, to) = (range.start / 4 * 4, range.end.next_multiple_of(4).min(elements));
    window.first_element <= from && to <= window.first_element + window.elements
}

/// What holds of each dispatch by itself.
fn sound(plan: &Plan, shape: &Shape, dtype: DType, facts: &DeviceFacts) -> Result<(), TestCaseError> {
    for dispatch in &plan.dispatches {
        let (p, program) = (&dispatch.parameters, &dispatch.program);
        prop_assert!(facts.shader_int64 || program.access != Access::Wide, "{:?} needs 64 bits", program.kernel);
        prop_assert!(program.arguments().len() <= 8, "{:?} binds {:?}", program.kernel, program.arguments());
        let [x, y, z] = dispatch.workgroups;
        let most = facts.workgroups_per_dimension;
        prop_assert!(x <= most && y <= most && z == 1, "{:?}: {:?} workgroups", program.kernel, dispatch.workgroups);
        prop_assert!(p.grid_width == x && u64::from(x) * u64::from(y) >= u64::from(p.workgroups));
        // Nothing there leaves early, so every workgroup must have a tile.
        prop_assert!(!program.kernel.is_resident() || (x == p.workgroups && y == 1), "{:?}", dispatch.workgroups);
        prop_assert!(program.workgroup_size.is_power_of_two() && program.workgroup_size <= facts.workgroup_size);
        prop_assert!(program.lanes_x.is_power_of_two() && program.lanes_x <= program.workgroup_size);
        // The largest state of a lane.
        prop_assert!(64 * program.workgroup_size <= facts.workgroup_memory.max(64), "{:?}", program);
        if program.walk == Some(Walk::Rows) {
            // As even as rows can be in so many parts.
            let even = p.rows.div_ceil(p.rows.div_ceil(p.rows_per_part));
            prop_assert!(p.rows_per_part == even, "{} of {} rows: {program:?}", p.rows_per_part, p.rows);
        }
        let elementwise = matches!(program.kernel, Kernel::ScaleShift | Kernel::BackwardInput);
        if elementwise && program.walk == Some(Walk::Columns) {
            // How far the end of a trip looks: an index has 32 bits.
            let lanes_y = program.workgroup_size / program.lanes_x;
            let [rows, columns, ahead] = [p.rows, p.columns, program.trip * lanes_y].map(u64::from);
            let furthest = (rows + ahead) * columns;
            prop_assert!(furthest <= u64::from(u32::MAX), "{:?} looks at quad {furthest}: {program:?}", program.kernel);
        }
        let few = program.few_records;
        // Each of several windows would write what is merged once more, or add it.
        let alone = plan.dispatches.iter().filter(|d| d.program.kernel == program.kernel).count() == 1;
        let merges_right = elementwise && alone && (few / 2 + 1..=few).contains(&p.slots) && matches!(few, 2 | 4);
        prop_assert!(few == 0 || merges_right, "{program:?}");
        if let Some(window) = dispatch.window {
            let start = window.first_element * dtype.bytes();
            let bytes = dtype.tensor_bytes(window.elements);
            prop_assert!(start.is_multiple_of(facts.offset_alignment), "window at {start}");
            prop_assert!(window.first_element.is_multiple_of(4) && u64::from(p.window) == window.first_element / 4);
            prop_assert!(bytes <= facts.binding_bytes && window.elements > 0, "{bytes} bytes bound");
            prop_assert!(window.first_element + window.elements <= u64::from(shape.elements()));
        }
    }
    // Where anything reduces, channels are finished once: by that, if each is one part, by a merge, or by the elementwise kernel.
    let count = |wanted: &dyn Fn(&Dispatch) -> bool| plan.dispatches.iter().filter(|d| wanted(d)).count();
    let reducing = count(&|d| matches!(d.program.kernel, Kernel::MomentsPartial | Kernel::BackwardPartial));
    let whole = count(&|d| d.program.whole_channels && d.parameters.slots == 1);
    let merges = count(&|d| matches!(d.program.kernel, Kernel::MomentsMerge | Kernel::BackwardMerge));
    let few = count(&|d| d.program.few_records > 0);
    prop_assert!(whole == count(&|d| d.program.whole_channels) && (whole == 0 || whole == reducing), "{plan:?}");
    prop_assert!(reducing == 0 || usize::from(whole > 0) + merges + few == 1, "{plan:?}");
    // Normalisers are left then, and what follows reads them.
    let of = |wanted: &dyn Fn(&Program) -> bool| {
        plan.dispatches.iter().filter(|d| wanted(&d.program)).map(|d| d.program.normalisers).collect::<Vec<_>>()
    };
    let (left, read) = (of(&Program::finishes), of(&|p| p.kernel == Kernel::ScaleShift));
    let training = plan.operation == Operation::Training;
    let last_finishing = plan.dispatches.iter().rposition(|d| d.program.finishes());
    let first_reading = plan.dispatches.iter().position(|d| d.program.kernel == Kernel::ScaleShift);
    match left.contains(&true) {
        true => prop_assert!(
            training && !left.contains(&false) && last_finishing < first_reading && !read.contains(&false),
            "{plan:?}"
        ),
        false => prop_assert!(!read.contains(&true), "{plan:?}"),
    }
    let mut end = 0;
    for &(argument, start, bytes) in &plan.scratch {
        prop_assert!(start >= end && start.is_multiple_of(facts.offset_alignment), "{argument:?} at {start}");
        prop_assert!(bytes <= facts.binding_bytes);
        end = start + bytes;
    }
    prop_assert_eq!(end, plan.scratch_bytes);
    Ok(())
}

/// Every element in exactly one workgroup of each pass, every record written once, and all of it within the windows.
fn covered(plan: &Plan, shape: &Shape) -> Result<(), TestCaseError> {
    let elements = u64::from(shape.elements());
    for kernel in Kernel::ALL {
        let dispatches: Vec<&Dispatch> =
            plan.dispatches.iter().filter(|d| d.program.kernel == kernel && d.program.walk.is_some()).collect();
        let Some(first) = dispatches.first() else { continue };
        let reduces = matches!(kernel, Kernel::MomentsPartial | Kernel::BackwardPartial);
        let mut seen = vec![0u8; elements as usize];
        let mut records = vec![0u8; (first.parameters.slots * shape.channels()) as usize];
        for &dispatch in &dispatches {
            let p = &dispatch.parameters;
            for index in 0..p.workgroups {
                let (part, column) = (p.first_part + index / p.column_count, p.first_column + index % p.column_count);
                for range in elements_of(shape, dispatch, part, column) {
                    let holds = dispatch.window.is_some_and(|w| window_holds(w, &range, elements));
                    prop_assert!(
                        holds,
                        "{kernel:?} {:?} {p:?}: {range:?} is outside {:?}",
                        dispatch.program.walk,
                        dispatch.window
                    );
                    seen[range.start as usize..range.end as usize].iter_mut().for_each(|n| *n += 1);
                }
                if reduces {
                    for record in records_of(shape, dispatch, part, column) {
                        prop_assert!((record as usize) < records.len(), "record {record} of {}", records.len());
                        records[record as usize] += 1;
                    }
                }
            }
        }
        let walk = first.program.walk;
        let wrong = seen.iter().position(|n| *n != 1);
        prop_assert!(
            wrong.is_none(),
            "{kernel:?} {walk:?} {:?}: element {wrong:?} is not in one workgroup",
            first.parameters
        );
        let wrong = records.iter().position(|n| *n != 1);
        prop_assert!(!reduces || wrong.is_none(), "{kernel:?} {walk:?}: record {wrong:?} is not written once");
    }
    Ok(())
}

/// Trips that an invocation makes through its loops, at most: a driver (llvmpipe) stops it at 65 535.
fn trips(shape: &Shape, dispatch: &Dispatch) -> u64 {
    let (p, program) = (&dispatch.parameters, &dispatch.program);
    let lanes = u64::from(program.workgroup_size);
    let lanes_y = lanes / u64::from(program.lanes_x);
    let [outer, channels, inner] = [shape.outer(), shape.channels(), shape.inner()].map(u64::from);
    let [planes, chunk, rows, slots] =
        [p.planes_per_part, p.chunk, p.rows_per_part.min(p.rows), p.slots].map(u64::from);
    let plane_quads = chunk.min(inner / 4 + 1);
    let merging = if program.writes_merged() { channels.div_ceil(u64::from(p.workgroups) * lanes) } else { 0 };
    merging
        + match program.walk {
            Some(Walk::Along) if matches!(program.kernel, Kernel::MomentsPartial | Kernel::BackwardPartial) => {
                let planes = planes.min(outer);
                (planes * plane_quads).div_ceil(lanes) + planes.div_ceil(lanes) + 4
            }
            Some(Walk::Along) => planes.min(outer * channels) * (1 + plane_quads.div_ceil(lanes)),
            // Each plane, each stretch of it, and in each four quads at a time and what is left.
            Some(Walk::Lanes) => planes.min(outer) * (1 + chunk.div_ceil(64) * (1 + 3) + plane_quads.div_ceil(4)),
            // Each row, and of each plane two quads at a time.
            Some(Walk::Together) => planes.min(outer) * (2 + u64::from(program.blocks) * (1 + plane_quads.div_ceil(2))),
            Some(Walk::Columns) => rows.div_ceil(lanes_y),
            Some(Walk::Rows) => rows + 2 * u64::from(program.blocks),
            Some(Walk::Groups) => 9 * chunk.div_ceil(lanes),
            None if program.kernel == Kernel::RunningUpdate => channels.div_ceil(u64::from(p.workgroups) * lanes),
            None => slots.div_ceil(4 * lanes_y),
        }
}

fn loops_are_short(plan: &Plan, shape: &Shape) -> Result<(), TestCaseError> {
    for dispatch in &plan.dispatches {
        let trips = trips(shape, dispatch);
        prop_assert!(trips < 65_535, "{trips} trips on {shape}: {dispatch:?}");
    }
    Ok(())
}

/// A hundredth of x, 1 MiB, 32 bytes a channel, or what it takes that no part is longer than a binding.
fn scratch_is_little(plan: &Plan, shape: &Shape, dtype: DType, facts: &DeviceFacts) -> Result<(), TestCaseError> {
    let (elements, channels) = (u64::from(shape.elements()), u64::from(shape.channels()));
    let x = dtype.tensor_bytes(elements);
    // A part lies within one binding, so that a channel leaves a record in each: as many as rows need that are not cut.
    let row = channels * u64::from(shape.inner());
    let bindings = if elements <= 32 << 20 { 1 } else { u64::from(shape.outer()).div_ceil(((31 << 20) / row).max(1)) };
    // Coefficients begin where the device allows.
    let records = (16 * channels * bindings).max(8 * channels * (bindings + 1) + facts.offset_alignment);
    let allowed = (x / 100).max(1 << 20).max(32 * channels).max(records);
    let used = plan.scratch_bytes;
    prop_assert!(used <= allowed, "{:?} of {shape}: {used} of scratch, {allowed} allowed", plan.operation);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_element_is_covered_once_under_any_tuning(
        shape in small_shape(),
        tuning in any_tuning(),
        facts in any_facts(),
        dtype in 0usize..3,
        flags in 0u32..64,
        operation in 0usize..OPERATIONS.len(),
    ) {
        let config = config(dtype, flags);
        match Plan::new(OPERATIONS[operation], &shape, &config, &facts, &tuning) {
            Ok(plan) => {
                sound(&plan, &shape, config.dtype, &facts)?;
                covered(&plan, &shape)?;
            }
            // A tuning may ask for parts that a small device cannot bind, or for more of them than its grid has.
            Err(Error::DeviceLimit { .. }) if facts.binding_bytes < 128 << 20 || facts.workgroups_per_dimension < 65_535 => {}
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    #[test]
    fn any_tuning_has_a_plan_at_the_floor(
        shape in large_shape(),
        tuning in any_tuning(),
        software in any::<bool>(),
        shader_int64 in any::<bool>(),
        dtype in 0usize..3,
        flags in 0u32..64,
        operation in 0usize..OPERATIONS.len(),
    ) {
        let base = if software { DeviceFacts::SOFTWARE } else { DeviceFacts::FLOOR };
        let facts = DeviceFacts { buffer_bytes: u64::MAX, shader_int64, ..base };
        let fitted = tuning.fitted(&facts);
        prop_assert_eq!(&fitted, &fitted.fitted(&facts), "what fits is left alone");
        let config = config(dtype, flags);
        let beyond = 4 * u64::from(shape.elements()) > DeviceFacts::FLOOR.buffer_bytes;
        match Plan::new(OPERATIONS[operation], &shape, &config, &facts, &tuning) {
            Ok(plan) => {
                sound(&plan, &shape, config.dtype, &facts)?;
                scratch_is_little(&plan, &shape, config.dtype, &facts)?;
                loops_are_short(&plan, &shape)?;
            }
            Err(Error::DeviceLimit { .. }) if beyond => {}
            Err(error) => prop_assert!(false, "{} of {shape} under {tuning:?}: {error}", OPERATIONS[operation].name()),
        }
    }

    #[test]
    fn any_shape_has_a_plan_at_the_floor(
        shape in large_shape(),
        software in any::<bool>(),
        dtype in 0usize..3,
        flags in 0u32..64,
        operation in 0usize..OPERATIONS.len(),
    ) {
        let base = if software { DeviceFacts::SOFTWARE } else { DeviceFacts::FLOOR };
        let facts = DeviceFacts { buffer_bytes: u64::MAX, ..base };
        let tuning = Tuning::for_device(&facts);
        let config = config(dtype, flags);
        let operation = OPERATIONS[operation];
        let elements = u64::from(shape.elements());
        let plan = Plan::new(operation, &shape, &config, &facts, &tuning);
        // Beyond the floor's buffers, the records of wide rows and the mask can be more than one binding holds.
        let beyond = 4 * elements > DeviceFacts::FLOOR.buffer_bytes;
        if beyond && matches!(plan, Err(Error::DeviceLimit { what: "scratch" | "mask", .. })) {
            return Ok(());
        }
        prop_assert!(plan.is_ok(), "{operation:?} of {shape}: {plan:?}");
        let plan = plan.unwrap();
        sound(&plan, &shape, config.dtype, &facts)?;
        scratch_is_little(&plan, &shape, config.dtype, &facts)?;
        loops_are_short(&plan, &shape)?;
        // Windows cut the same grid: as many workgroups as where everything is bound at once.
        let unlimited = DeviceFacts { binding_bytes: u64::MAX, ..facts.clone() };
        let whole = Plan::new(operation, &shape, &config, &unlimited, &tuning).unwrap();
        let workgroups = |plan: &Plan, kernel: Kernel| -> u64 {
            let of_kernel = plan.dispatches.iter().filter(|d| d.program.kernel == kernel);
            of_kernel.map(|d| u64::from(d.parameters.workgroups)).sum()
        };
        for kernel in Kernel::ALL {
            prop_assert_eq!(workgroups(&plan, kernel), workgroups(&whole, kernel), "{:?} of {}", operation, &shape);
        }
        prop_assert_eq!(plan.scratch_bytes, whole.scratch_bytes);
        prop_assert_eq!(&plan, &Plan::new(operation, &shape, &config, &facts, &tuning).unwrap());
    }
}

/// Two dispatches where the elementwise kernels merge the few records for themselves, and three where they cannot.
#[test]
fn few_records_need_no_dispatch_to_merge_them() {
    let shape = Shape::nc(256, 1024).unwrap();
    let plain = Config::pytorch();
    let relu = Config { activation: Activation::Relu, ..plain };
    let backward = Operation::Backward(Gradients::ALL);
    let facts = DeviceFacts::SOFTWARE;
    let tuning = Tuning::for_device(&facts);
    let kernels = |operation, config: &Config, facts: &DeviceFacts, tuning: &Tuning| -> Vec<Kernel> {
        let plan = Plan::new(operation, &shape, config, facts, tuning).unwrap();
        plan.dispatches.iter().map(|d| d.program.kernel).collect()
    };
    use Kernel::*;
    assert_eq!(kernels(Operation::Training, &plain, &facts, &tuning), [MomentsPartial, ScaleShift]);
    assert_eq!(kernels(backward, &plain, &facts, &tuning), [BackwardPartial, BackwardInput]);
    let never = Tuning { apply_merges: 0, ..tuning.clone() };
    assert_eq!(kernels(Operation::Training, &plain, &facts, &never), [MomentsPartial, MomentsMerge, ScaleShift]);
    assert_eq!(kernels(backward, &plain, &facts, &never), [BackwardPartial, BackwardMerge, BackwardInput]);
    // Two workgroups, each with all 1024 channels.
    let up_to = |apply_merges| Tuning { apply_merges, ..tuning.clone() };
    assert_eq!(kernels(backward, &plain, &facts, &up_to(2048)), [BackwardPartial, BackwardInput]);
    assert_eq!(kernels(backward, &plain, &facts, &up_to(2047)), [BackwardPartial, BackwardMerge, BackwardInput]);
    // dx of given statistics needs none of it: what is merged once for each channel is what counts.
    let frozen = |most| kernels(Operation::FrozenBackward(Gradients::ALL), &plain, &facts, &up_to(most));
    assert_eq!(frozen(1024), [BackwardPartial, BackwardInput]);
    assert_eq!(frozen(1023), [BackwardPartial, BackwardMerge, BackwardInput]);
    // What a ReLU's mask is found from makes nine bindings.
    assert_eq!(kernels(backward, &relu, &facts, &tuning), [BackwardPartial, BackwardMerge, BackwardInput]);
    let more = DeviceFacts { storage_buffers: 10, ..facts.clone() };
    assert_eq!(kernels(backward, &relu, &more, &tuning), [BackwardPartial, BackwardInput]);
    // A device that binds less than the floor may cut the tensor.
    let small = DeviceFacts { binding_bytes: DeviceFacts::FLOOR.binding_bytes / 2, ..facts };
    assert_eq!(kernels(Operation::Training, &plain, &small, &tuning), [MomentsPartial, MomentsMerge, ScaleShift]);
}

/// Gamma and beta go into the normalisers of what finishes a channel, in place of the elementwise kernel's bindings, unless
/// scratch is full of records to merge.
#[test]
fn whatever_finishes_channels_leaves_normalisers_where_scratch_holds_them() {
    let facts = DeviceFacts::FLOOR;
    let tuning = Tuning { resident_blocks: 0, resident_element_blocks: 0, ..Tuning::for_device(&facts) };
    let bound = |shape: Shape| -> Vec<(Kernel, bool, bool)> {
        let plan = Plan::new(Operation::Training, &shape, &Config::pytorch(), &facts, &tuning).unwrap();
        let binds = |d: &Dispatch, wanted| d.program.arguments().iter().any(|(argument, _)| *argument == wanted);
        let told = |d: &Dispatch| (d.program.kernel, binds(d, Argument::Normalisers), binds(d, Argument::Gamma));
        plan.dispatches.iter().map(told).collect()
    };
    use Kernel::*;
    let left = [(MomentsPartial, false, false), (MomentsMerge, true, true), (ScaleShift, true, false)];
    let found = [(MomentsPartial, false, false), (MomentsMerge, false, false), (ScaleShift, false, true)];
    assert_eq!(bound(Shape::nchw(32, 512, 5, 5).unwrap()), left);
    // Two records of each channel, and half as many bytes again from where any device allows: 1 MiB holds them of so many.
    assert_eq!(bound(Shape::ncl(2, 21_840, 8).unwrap()), left);
    assert_eq!(bound(Shape::ncl(2, 21_845, 8).unwrap()), found);
    // Where a channel is one part, nothing else lies there, and 32 bytes a channel always do.
    let finished = [(MomentsPartial, true, true), (ScaleShift, true, false)];
    assert_eq!(bound(Shape::nc(2, 1 << 20).unwrap()), finished);
}

/// A reduction of which each channel is one part needs no merge, whoever asks for it, unless the device binds too little.
#[test]
fn a_channel_of_one_part_is_finished_by_its_reduction() {
    let shape = Shape::nchw(32, 256, 14, 14).unwrap();
    let relu = Config { activation: Activation::Relu, ..Config::pytorch() };
    use Kernel::*;
    for facts in [DeviceFacts::FLOOR, DeviceFacts::SOFTWARE] {
        let tuning = Tuning { resident_blocks: 0, ..Tuning::for_device(&facts) };
        let kernels = |operation, along: u32, facts: &DeviceFacts| -> Vec<Kernel> {
            let tuning = Tuning { sums_along_quads: along, ..tuning.clone() };
            let plan = Plan::new(operation, &shape, &relu, facts, &tuning).unwrap();
            plan.dispatches.iter().map(|d| d.program.kernel).collect()
        };
        let backward = |gradients| Operation::Backward(gradients);
        assert_eq!(kernels(Operation::Training, 8, &facts), [MomentsPartial, ScaleShift]);
        assert_eq!(kernels(Operation::Moments, 8, &facts), [MomentsPartial]);
        assert_eq!(kernels(backward(Gradients::ALL), 8, &facts), [BackwardPartial, BackwardInput]);
        assert_eq!(kernels(backward(Gradients::PARAMETERS), 8, &facts), [BackwardPartial]);
        assert_eq!(kernels(Operation::FrozenBackward(Gradients::ALL), 8, &facts), [BackwardPartial, BackwardInput]);
        assert_eq!(kernels(Operation::BackwardSums, 8, &facts), [BackwardPartial]);
        // Columns leave a record each.
        assert_eq!(kernels(Operation::BackwardSums, 64, &facts), [BackwardPartial, BackwardMerge]);
        // x, dy, statistics, gamma and beta for the ReLU, and what a merge binds beside: eight.
        let seven = DeviceFacts { storage_buffers: 7, ..facts.clone() };
        assert_eq!(kernels(backward(Gradients::ALL), 8, &seven), [BackwardPartial, BackwardMerge, BackwardInput]);
    }
}

/// How often lanes prepare a channel decides who merges; counted by hand.
#[test]
fn merges_are_counted_by_the_lanes_that_prepare() {
    let facts = DeviceFacts::SOFTWARE;
    let masked = Config { activation: Activation::Relu, residual: true, ..Config::pytorch() };
    for (shape, config, walk, merges) in [
        // Eight lanes to each of 256 planes.
        (Shape::nchw(8, 32, 28, 28), Config::pytorch(), Walk::Along, 8 * 256),
        // Two parts of 256 quads, each of four channels.
        (Shape::nc(256, 1024), Config::pytorch(), Walk::Rows, 2 * 256 * 4),
        // Every quad, of one channel each.
        (Shape::ncl(8, 32, 256), masked, Walk::Groups, 8 * 32 * 256 / 4),
    ] {
        let shape = shape.unwrap();
        let merges_itself = |apply_merges| {
            let tuning = Tuning { apply_merges, ..Tuning::for_device(&facts) };
            let plan = Plan::new(Operation::Training, &shape, &config, &facts, &tuning).unwrap();
            let apply = plan.dispatches.iter().find(|d| d.program.kernel == Kernel::ScaleShift).unwrap();
            assert_eq!(apply.program.walk, Some(walk), "{shape}");
            apply.program.few_records > 0
        };
        assert!(merges_itself(merges) && !merges_itself(merges - 1), "{shape}: not {merges}");
    }
}

/// Few rows of many channels: with 256 lanes below each other and eight quads ahead, indices ran beyond 32 bits.
#[test]
fn no_walk_down_columns_looks_beyond_an_index() {
    let facts = DeviceFacts { buffer_bytes: u64::MAX, ..DeviceFacts::FLOOR };
    let tall =
        Tuning { row_blocks: 0, apply_lanes: 256, column_rows: 256, apply_trip: 8, ..Tuning::for_device(&facts) };
    let shapes = [
        Shape::nc(1, 2_396_745),
        Shape::ncl(1, 17_801, 10_001),
        Shape::nc(2, 1_000_003),
        Shape::ncl(5, 26_843_545, 29),
        Shape::ncl(1, 250_001, 13_999),
        Shape::ncl(3, 250_001, 5_725),
    ];
    for shape in shapes.map(Result::unwrap) {
        for tuning in [&tall, &Tuning::for_device(&facts)] {
            let plan = Plan::new(Operation::Inference, &shape, &Config::pytorch(), &facts, tuning).unwrap();
            sound(&plan, &shape, DType::F32, &facts).unwrap();
        }
    }
}

/// In tensors: what each kernel reads and writes, and a residual only where one is added or passed on.
#[test]
fn bytes_are_counted_where_they_move() {
    let shape = Shape::nchw(32, 64, 56, 56).unwrap();
    let tensor = 4 * u64::from(shape.elements());
    let relu = Config { activation: Activation::Relu, ..Config::pytorch() };
    let both = Config { residual: true, ..relu };
    let tensors = |operation, config: &Config| {
        let plan = Plan::new(operation, &shape, config, &DeviceFacts::FLOOR, &Tuning::for_device(&DeviceFacts::FLOOR));
        plan.unwrap().bytes_moved / tensor
    };
    let frozen = Operation::FrozenBackward(Gradients::ALL);
    for (operation, plain, with_relu, with_both) in [
        (Operation::Inference, 2, 2, 3),
        (Operation::Training, 3, 3, 4),
        (Operation::Backward(Gradients::ALL), 5, 5, 6),
        (Operation::Backward(Gradients::PARAMETERS), 2, 2, 2),
        (frozen, 4, 5, 5),
        (Operation::Moments, 1, 1, 1),
        (Operation::RunningUpdate(Count::Shape), 0, 0, 0),
        (Operation::BackwardSums, 2, 2, 2),
        (Operation::BackwardInput, 3, 3, 4),
    ] {
        let counted = [&Config::pytorch(), &relu, &both].map(|config| tensors(operation, config));
        assert_eq!(counted, [plain, with_relu, with_both], "{}", operation.name());
    }
}

/// Where lanes keep to their planes, training stays resident only where each lane has all its blocks: 512 quads in 32 lanes of
/// sixteen, not 392 in 32 lanes of up to fourteen.
#[test]
fn software_adapters_train_residently_without_conditions() {
    let shapes = [[2, 64, 32, 32], [2, 128, 28, 28]].map(|[n, c, h, w]| Shape::nchw(n, c, h, w).unwrap());
    let is_resident = |operation, facts: &DeviceFacts| {
        shapes.each_ref().map(|shape| {
            let plan = Plan::new(operation, shape, &Config::pytorch(), facts, &Tuning::for_device(facts)).unwrap();
            plan.dispatches[0].program.kernel.is_resident()
        })
    };
    assert_eq!(is_resident(Operation::Training, &DeviceFacts::SOFTWARE), [true, false]);
    assert_eq!(is_resident(Operation::Backward(Gradients::ALL), &DeviceFacts::SOFTWARE), [true, true]);
    assert_eq!(is_resident(Operation::Training, &DeviceFacts::FLOOR), [true, true]);
}

/// The grid of resident kernels has one dimension, of 65 535 workgroups: more channels stream.
#[test]
fn channels_stay_resident_as_far_as_one_dimension_of_a_grid_goes() {
    let facts = DeviceFacts { buffer_bytes: u64::MAX, ..DeviceFacts::FLOOR };
    for operation in [Operation::Training, Operation::Backward(Gradients::ALL)] {
        let is_resident = |channels| {
            let shape = Shape::ncl(1, channels, 400).unwrap();
            let plan = Plan::new(operation, &shape, &Config::pytorch(), &facts, &Tuning::for_device(&facts)).unwrap();
            plan.dispatches.iter().any(|dispatch| dispatch.program.kernel.is_resident())
        };
        assert_eq!([65_535, 65_536].map(is_resident), [true, false], "{}", operation.name());
    }
}

/// 264 rows make three parts of 88, not two of 128 and one of the eight that are left.
#[test]
fn rows_are_parted_evenly() {
    let parts = |outer, operation| {
        let shape = Shape::ncl(outer, 64, 62).unwrap();
        let facts = DeviceFacts::SOFTWARE;
        let plan = Plan::new(operation, &shape, &Config::pytorch(), &facts, &Tuning::for_device(&facts)).unwrap();
        assert_eq!(plan.dispatches[0].program.walk, Some(Walk::Rows));
        plan.dispatches[0].parameters.rows_per_part
    };
    for (outer, rows) in [(100, 100), (128, 128), (129, 65), (256, 128), (264, 88), (320, 107)] {
        assert_eq!(parts(outer, Operation::Inference), rows, "{outer}");
    }
    assert_eq!(parts(264, Operation::Moments), 132);
}

/// 49 elements reach into 13 quads, wherever they begin; and what reads two tensors goes along rows for longer planes. Moments go
/// along planes that end together, short ones where that finishes each channel.
#[test]
fn short_planes_leave_a_record_for_each_quad_and_go_along_rows() {
    let facts = DeviceFacts::SOFTWARE;
    let reduction = |operation, dimensions: [usize; 4]| {
        let [n, c, h, w] = dimensions;
        let shape = Shape::nchw(n, c, h, w).unwrap();
        let plan = Plan::new(operation, &shape, &Config::pytorch(), &facts, &Tuning::for_device(&facts)).unwrap();
        (plan.dispatches[0].program.walk.unwrap(), plan.dispatches[0].parameters.slots)
    };
    let (moments, sums) = (Operation::Moments, Operation::BackwardSums);
    for operation in [moments, sums] {
        assert_eq!(reduction(operation, [32, 512, 5, 5]), (Walk::Rows, 7));
        assert_eq!(reduction(operation, [32, 64, 7, 7]), (Walk::Rows, 13));
        assert_eq!(reduction(operation, [64, 256, 28, 28]).0, Walk::Lanes);
    }
    assert_eq!(reduction(sums, [32, 512, 7, 7]), (Walk::Rows, 13));
    assert_eq!(reduction(sums, [32, 256, 14, 14]), (Walk::Rows, 49));
    for whole in [[32, 512, 7, 7], [32, 256, 14, 14], [64, 256, 8, 8]] {
        assert_eq!(reduction(moments, whole), (Walk::Together, 1));
    }
    // Nine quads are too few.
    assert_eq!(reduction(moments, [64, 256, 6, 6]).0, Walk::Rows);
    assert_eq!(reduction(moments, [64, 16, 13, 13]).0, Walk::Together);
    // Channels that are no multiple of the planes that end together.
    assert_eq!(reduction(moments, [32, 257, 7, 7]).0, Walk::Rows);
    assert_eq!(reduction(moments, [32, 257, 13, 13]).0, Walk::Lanes);
}
