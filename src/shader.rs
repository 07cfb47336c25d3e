//! Which parts make which program: text and override values only.

use crate::dtype::DType;
use crate::plan::{
    ADDITIONS_PER_FOLD, Access, Argument, Kernel, Program, STEPS_PER_FOLD, Statistics, Walk, written_with,
};

macro_rules! part {
    ($name:literal) => {
        include_str!(concat!("../shaders/parts/", $name, ".wgsl"))
    };
}

/// The WGSL of a program: declarations of what it binds, the shared parts it uses, and its kernel.
///
/// Module scope is free of order in WGSL, so joining the pieces is a complete import system.
pub fn text(program: &Program) -> String {
    let mut text = String::with_capacity(16 << 10);
    let walks = program.walk.is_some();
    declare_overrides(program, &mut text);
    declare_bindings(program, &mut text);
    let mut add = |part: &str| {
        text.push_str(part);
        text.push('\n');
    };
    add(part!("parameters"));
    add(if program.guarded { part!("difference_guarded") } else { part!("difference_plain") });
    use Kernel::*;
    let kernel = program.kernel;
    let merges = program.few_records > 0;
    if matches!(kernel, MomentsPartial | MomentsMerge) || (kernel == ScaleShift && merges) {
        add(part!("record"));
        add(part!("moments"));
    }
    if matches!(kernel, BackwardPartial | BackwardMerge) || (kernel == BackwardInput && merges) {
        add(part!("sums"));
    }
    if kernel == MomentsMerge || (kernel == ScaleShift && merges) {
        add(part!("merge_moments"));
    }
    if program.finishes_moments() || (kernel == ScaleShift && merges) {
        add(part!("saved_of"));
    }
    if program.finishes_moments() {
        add(part!("finish_moments"));
    }
    if kernel == BackwardMerge || (kernel == BackwardInput && merges) {
        add(part!("merge_sums"));
    }
    if program.finishes_sums() || (kernel == BackwardInput && merges) {
        add(part!("gradients_of"));
    }
    if program.finishes_sums() {
        add(part!("finish_sums"));
    }
    if merges {
        add(part!("merged_record"));
        if program.writes_merged() {
            add(part!("merge_channels"));
        }
        if kernel == BackwardInput {
            add(part!("coefficients_merged"));
        }
    }
    match (kernel, program.walk) {
        (MomentsPartial | BackwardPartial, Some(walk)) => {
            add(part!("steps"));
            match walk {
                Walk::Along => {
                    add(part!("tree"));
                    add(part!("anchor_spread"));
                    add(part!("reduce_along"));
                }
                Walk::Lanes => {
                    add(part!("anchor_spread"));
                    add(part!("reduce_lanes"));
                }
                Walk::Together => {
                    add(part!("anchor_spread"));
                    add(part!("together_of_moments"));
                    add(&along_together(part!("reduce_together"), program.blocks));
                }
                Walk::Rows => {
                    add(if kernel == MomentsPartial { part!("rows_of_moments") } else { part!("rows_of_sums") });
                    add(&along_rows(part!("reduce_rows"), program.blocks));
                    add(part!("write_column"));
                }
                Walk::Columns | Walk::Groups => {
                    add(part!("tree_columns"));
                    add(part!("reduce_columns"));
                    add(part!("write_column"));
                }
            }
        }
        (TrainingResident | BackwardResident, Some(walk)) => {
            add(if program.access == Access::Element { part!("unit_element") } else { part!("unit_quad") });
            add(part!("totals"));
            if walk == Walk::Along {
                let sums = resident_sums(program);
                add(&format!("const SUMS = {sums}u;"));
                add(&written_out(part!("resident_along"), "TERM", sums));
            } else {
                add(part!("resident_columns"));
            }
        }
        (_, Some(Walk::Along)) => add(&written_out(part!("apply_along"), "BLOCK", program.trip)),
        // No plan has an elementwise kernel that goes so.
        (_, Some(Walk::Lanes | Walk::Together)) => {}
        (_, Some(Walk::Rows)) => add(&along_rows(part!("apply_rows"), program.blocks)),
        (_, Some(Walk::Groups)) => add(part!("apply_groups")),
        (_, Some(Walk::Columns)) => add(&written_out(part!("apply_columns"), "BLOCK", program.trip)),
        (MomentsMerge | BackwardMerge, None) => add(part!("tree")),
        (_, None) => {}
    }
    if walks {
        add(part!("places_of"));
    }
    let normalises =
        matches!(kernel, ScaleShift | TrainingResident | BackwardPartial | BackwardInput | BackwardResident);
    if normalises {
        add(part!("normalise"));
    }
    if matches!(kernel, BackwardInput | BackwardResident) {
        add(part!("gradient"));
    }
    let finds_none = (kernel == MomentsPartial && !program.finishes()) || kernel == RunningUpdate;
    if !finds_none && !program.reads_normalisers() {
        add(part!("inverse_std"));
    }
    if program.finds_normalisers() {
        add(part!("normaliser_from"));
    }
    if kernel.prepares() {
        add(part!("normaliser"));
        add(match (program.reads_normalisers(), program.access) {
            (false, _) => part!("normalisers_found"),
            (true, Access::Wide) => part!("normalisers_read_wide"),
            (true, _) => part!("normalisers_read"),
        });
        if kernel != BackwardInput {
            add(part!("prepare_normaliser"));
        }
        add(part!("prepare_quad"));
    }
    if (kernel.prepares() && !program.reads_normalisers()) || kernel == BackwardMerge {
        add(match program.statistics {
            Statistics::Saved if kernel == ScaleShift && merges => part!("statistics_merged"),
            Statistics::Saved => part!("statistics_saved"),
            Statistics::Running => part!("statistics_running"),
        });
    }
    if kernel == RunningUpdate {
        add(if program.cumulative { part!("weight_cumulative") } else { part!("weight_given") });
        add(if program.counted { part!("batches_counted") } else { part!("batches_uncounted") });
    }
    if walks {
        match program.dtype {
            DType::F32 => {}
            DType::F16 => add(part!("pack_f16")),
            DType::Bf16 => add(part!("pack_bf16")),
        }
        for (argument, written) in program.arguments().into_iter().filter(|(a, _)| a.is_tensor()) {
            for text in codec(program, written) {
                add(&text.replace("TENSOR", argument.name()));
            }
        }
    }
    add(&choices(program));
    add(&kernel_text(program));
    text
}

/// The override constants of a program, by name.
pub fn overrides(program: &Program) -> Vec<(&'static str, f64)> {
    let mut list = vec![("WORKGROUP_SIZE", f64::from(program.workgroup_size))];
    if uses_lanes_x(program) {
        list.push(("LANES_X", f64::from(program.lanes_x)));
    }
    let resident_along = program.kernel.is_resident() && program.walk == Some(Walk::Along);
    if program.walk == Some(Walk::Rows) || resident_along {
        list.push(("GROUP", f64::from(program.blocks * program.lanes_x)));
    }
    if matches!(program.kernel, Kernel::ScaleShift | Kernel::BackwardInput)
        && matches!(program.walk, Some(Walk::Along | Walk::Columns))
    {
        list.push(("TRIP", f64::from(program.trip)));
    }
    if matches!(program.walk, Some(Walk::Along | Walk::Lanes | Walk::Rows | Walk::Groups))
        || program.kernel.is_resident()
    {
        list.push(("ALIGNED", f64::from(u8::from(program.aligned))));
    }
    if program.tells_planes() {
        list.push(("QUAD_PLANES", f64::from(program.quad_planes)));
    }
    if program.few_records > 0 {
        list.push(("FEW_RECORDS", f64::from(program.few_records)));
    }
    if program.kernel == Kernel::RunningUpdate {
        list.push(("UNBIASED", f64::from(u8::from(program.unbiased))));
    }
    list
}

/// Whether a binding is declared `read_write`.
pub fn is_read_write(program: &Program, argument: Argument, written: bool) -> bool {
    program.shared || written_with(&program.arguments(), argument, written)
}

/// A part with each line that has the name in its code written so many times, a number in place of the name: registers have
/// no index.
fn written_out(part: &str, name: &str, times: u32) -> String {
    written_out_by(part, name, times, |line, number| line.replace(name, &number.to_string()))
}

fn written_out_by(part: &str, name: &str, times: u32, numbered: impl Fn(&str, u32) -> String) -> String {
    let has_name = |line: &str| line.split("//").next().is_some_and(|code| code.contains(name));
    let numbers = |line: &str| 0..if has_name(line) { times } else { 1 };
    let lines = part.lines().flat_map(|line| numbers(line).map(|number| numbered(line, number)).collect::<Vec<_>>());
    lines.collect::<Vec<_>>().join("\n")
}

/// A walk along rows. All registers of all columns move in each trip in which columns enter or leave, so that these are as many
/// at a time as comes out even, up to four.
fn along_rows(part: &str, blocks: u32) -> String {
    let turn = [4, 2].into_iter().find(|&turn| blocks.is_multiple_of(turn)).unwrap_or(1);
    let part = written_out(&part.replace("TURN", &turn.to_string()), "ENTER", turn);
    written_out_by(&part, "BLOCK", blocks, |line, block| {
        line.replace("BLOCK", &block.to_string()).replace("AFTER", &((block + turn) % blocks).to_string())
    })
}

/// A walk along planes that end together: what is done with each of them, and between each and the next.
fn along_together(part: &str, planes: u32) -> String {
    let part = written_out_by(&part.replace("TOGETHER", &planes.to_string()), "NEXT", planes - 1, |line, plane| {
        line.replace("BEFORE", &plane.to_string()).replace("NEXT", &(plane + 1).to_string())
    });
    written_out(&part, "PLANE", planes)
}

/// Sums that each lane of a resident workgroup adds up: those of all lanes, where that costs no more than to meet twice.
fn resident_sums(program: &Program) -> u32 {
    if program.workgroup_size > 64 { 16 } else { program.workgroup_size }
}

fn uses_lanes_x(program: &Program) -> bool {
    matches!(program.kernel, Kernel::MomentsMerge | Kernel::BackwardMerge)
        || matches!(program.walk, Some(Walk::Columns | Walk::Lanes | Walk::Together))
        || program.kernel.is_resident()
}

fn kernel_text(program: &Program) -> String {
    let text = match program.kernel {
        Kernel::MomentsPartial => include_str!("../shaders/moments_partial.wgsl"),
        Kernel::MomentsMerge => include_str!("../shaders/moments_merge.wgsl"),
        Kernel::RunningUpdate => include_str!("../shaders/running_update.wgsl"),
        Kernel::ScaleShift => include_str!("../shaders/scale_shift.wgsl"),
        Kernel::TrainingResident => include_str!("../shaders/training_resident.wgsl"),
        Kernel::BackwardPartial => include_str!("../shaders/backward_partial.wgsl"),
        Kernel::BackwardMerge => include_str!("../shaders/backward_merge.wgsl"),
        Kernel::BackwardInput => include_str!("../shaders/backward_input.wgsl"),
        Kernel::BackwardResident => include_str!("../shaders/backward_resident.wgsl"),
    };
    if program.kernel.is_resident() { written_out(text, "BLOCK", program.blocks) } else { text.to_owned() }
}

/// How a tensor is read, and how it is written where it is.
fn codec(program: &Program, written: bool) -> Vec<&'static str> {
    let (load, store) = match (program.dtype, program.access) {
        (_, Access::Element) => (part!("codec_f32_element"), part!("codec_f32_element_store")),
        (DType::F32, Access::Quad) => (part!("codec_f32_quad"), part!("codec_f32_quad_store")),
        (DType::F32, Access::Wide) => (part!("codec_f32_wide"), part!("codec_f32_wide_store")),
        (DType::F32, Access::Word) => (part!("codec_f32_word"), part!("codec_f32_word_store")),
        (_, Access::Quad) => (part!("codec_half_quad"), part!("codec_half_quad_store")),
        (_, Access::Wide) => (part!("codec_half_wide"), part!("codec_half_wide_store")),
        (_, Access::Word) => (part!("codec_half_word"), part!("codec_half_word_store")),
    };
    match (written, program.kernel.is_resident() && program.access != Access::Element) {
        (false, _) => vec![load],
        (true, false) => vec![load, store],
        (true, true) => vec![load, store, part!("put_quad")],
    }
}

fn declare_overrides(program: &Program, text: &mut String) {
    for (name, _) in overrides(program) {
        let kind = if matches!(name, "ALIGNED" | "UNBIASED") { "bool" } else { "u32" };
        text.push_str(&format!("override {name}: {kind};\n"));
    }
    text.push_str(&format!("const STEPS_PER_FOLD = {STEPS_PER_FOLD}u;\n"));
    text.push_str(&format!("const ADDITIONS_PER_FOLD = {ADDITIONS_PER_FOLD}u;\n"));
}

fn declare_bindings(program: &Program, text: &mut String) {
    text.push_str("@group(0) @binding(0) var<uniform> uniform_parameters: Parameters;\n");
    for (index, (argument, written)) in program.arguments().into_iter().enumerate() {
        let access = if is_read_write(program, argument, written) { "read_write" } else { "read" };
        let element = match argument {
            a if a.is_tensor() => match (program.dtype, program.access) {
                (DType::F32, Access::Quad) => "vec4<f32>",
                (DType::F32, Access::Wide) => "vec2<u64>",
                (DType::F32, Access::Word | Access::Element) => "f32",
                (_, Access::Quad) => "vec2<u32>",
                (_, Access::Wide) => "u64",
                (_, Access::Word | Access::Element) => "u32",
            },
            Argument::Normalisers if !written && program.access == Access::Wide => "vec2<u64>",
            Argument::Saved | Argument::Normalisers => "vec4<f32>",
            Argument::Records | Argument::Merged => "vec4<u32>",
            Argument::Sums | Argument::MergedSums | Argument::Coefficients => "vec2<f32>",
            Argument::Batches | Argument::Mask => "u32",
            _ => "f32",
        };
        let (binding, name) = (index + 1, argument.name());
        text.push_str(&format!("@group(0) @binding({binding}) var<storage, {access}> {name}: array<{element}>;\n"));
    }
}

/// The functions that have one form where an argument or a fusion is there and another where it is not.
fn choices(program: &Program) -> String {
    let bound = |argument| program.arguments().iter().any(|(a, _)| *a == argument);
    let choose = |condition: bool, yes: &'static str, no: &'static str| if condition { yes } else { no };
    let mut text = String::new();
    let mut function = |head: &str, body: &str| text.push_str(&format!("fn {head} {{ {body} }}\n"));
    let per_channel = "(channel: u32) -> f32";
    use Kernel::*;
    let kernel = program.kernel;
    // Where a value of a tensor lies.
    let place = if program.access == Access::Element { "vec4<u32>" } else { "u32" };
    let one_channel = program.walk == Some(Walk::Along);
    let mut per_strand = |name: &str, value: &str| {
        let of = |i: char| value.replace("CHANNEL", &format!("channel.{i}"));
        let all = if one_channel { of('x') } else { ['x', 'y', 'z', 'w'].map(of).join(", ") };
        function(&format!("{name}(channel: vec4<u32>) -> vec4<f32>"), &format!("return vec4<f32>({all});"));
    };
    if matches!(kernel, TrainingResident) {
        per_strand("gammas", "gamma_of(CHANNEL)");
        per_strand("betas", "beta_of(CHANNEL)");
    }
    if matches!(kernel, BackwardResident) {
        per_strand("inverse_stds", "statistics(CHANNEL).z");
    }
    if program.finds_normalisers() || kernel == TrainingResident {
        function(
            &format!("gamma_of{per_channel}"),
            choose(bound(Argument::Gamma), "return gamma[channel];", "return 1.0;"),
        );
        function(
            &format!("beta_of{per_channel}"),
            choose(bound(Argument::Beta), "return beta[channel];", "return 0.0;"),
        );
    }
    if matches!(kernel, ScaleShift | TrainingResident) {
        function(
            &format!("add_residual(z: vec4<f32>, place: {place}) -> vec4<f32>"),
            choose(program.residual, "return z + load_residual(place);", "return z;"),
        );
        // NaN is not below zero and so stays.
        function(
            "activate(z: vec4<f32>) -> vec4<f32>",
            choose(program.relu, "return select(z, vec4<f32>(0.0), z < vec4<f32>(0.0));", "return z;"),
        );
        if program.in_place {
            function(&format!("load_x(place: {place}) -> vec4<f32>"), "return load_y(place);");
        }
    }
    if matches!(kernel, BackwardPartial | BackwardInput | BackwardResident) {
        // Without a residual the mask is found again from x, by the expression that forward has.
        let positive = "normalise(n, x) > vec4<f32>(0.0)";
        let kept =
            "((vec4<u32>(mask[place / 8u] >> (4u * (place % 8u))) & vec4<u32>(1u, 2u, 4u, 8u)) != vec4<u32>(0u))";
        let masked = format!("return select(vec4<f32>(0.0), dy, {});", if program.mask { kept } else { positive });
        function(
            &format!("gradient_of_z(n: Normaliser, dy: vec4<f32>, x: vec4<f32>, place: {place}) -> vec4<f32>"),
            if program.relu { &masked } else { "return dy;" },
        );
    }
    if matches!(kernel, BackwardInput | BackwardResident) {
        let frozen = program.statistics == Statistics::Running;
        function(
            "gradient_of_x(g: Gradient, dz: vec4<f32>, x: vec4<f32>) -> vec4<f32>",
            choose(
                frozen,
                "return g.normaliser.scale * dz;",
                "return g.normaliser.scale * (rounded(dz - g.mean_dy) - centred(g.normaliser, x) * g.projection);",
            ),
        );
        if kernel == BackwardResident {
            function(
                &format!("pass_to_residual(place: {place}, dz: vec4<f32>, present: vec4<bool>)"),
                choose(program.residual, "put_dresidual(place, dz, present);", ""),
            );
        } else {
            function(
                "pass_to_residual(place: u32, dz: vec4<f32>)",
                choose(program.residual, "store_dresidual(place, dz);", ""),
            );
            let coefficients = match (frozen, program.few_records) {
                (true, _) => "return vec2<f32>(0.0);",
                (false, 0) => "return coefficients[channel];",
                (false, _) => "return merged_gradients(channel).coefficients;",
            };
            function("coefficients_of(channel: u32) -> vec2<f32>", coefficients);
            function(
                "input_of(place: u32) -> vec4<f32>",
                choose(bound(Argument::X), "return load_x(place);", "return vec4<f32>(0.0);"),
            );
        }
        if program.in_place {
            function(&format!("load_dy(place: {place}) -> vec4<f32>"), "return load_dx(place);");
        }
    }
    if matches!(kernel, ScaleShift | BackwardInput) && !program.writes_merged() {
        function("merge_channels(index: u32, lane: u32)", "");
    }
    if matches!(kernel, MomentsPartial | BackwardPartial) {
        let (record, leave) = match kernel {
            MomentsPartial => ("Moments", "records[index] = to_memory(record);"),
            _ => ("vec2<f32>", "sums[index] = record;"),
        };
        // Where a channel is one part, its record has the channel's index.
        function(
            &format!("write_record(index: u32, record: {record})"),
            choose(program.finishes(), "finish(index, record);", leave),
        );
    }
    if program.finishes_moments() {
        function(
            "write_saved(channel: u32, value: vec4<f32>)",
            choose(bound(Argument::Saved), "saved[channel] = value;", ""),
        );
        function(
            "write_merged(channel: u32, value: Moments)",
            choose(bound(Argument::Merged), "merged[channel] = to_memory(value);", ""),
        );
        function(
            "write_normaliser(channel: u32, value: vec4<f32>)",
            choose(program.normalisers, "normalisers[channel] = normaliser_from(value, channel);", ""),
        );
    }
    if program.finishes_sums() || kernel == RunningUpdate {
        function(
            "values_of(channel: u32) -> u32",
            choose(program.merged, "return merged[channel].x;", "return parameters.values;"),
        );
    }
    let write = |present: bool, name: &str| match (present, program.accumulate) {
        (false, _) => String::new(),
        (true, false) => format!("{name}[channel] = value;"),
        (true, true) => format!("{name}[channel] += value;"),
    };
    if program.finishes_sums() || kernel == BackwardResident || (kernel == BackwardInput && program.few_records > 0) {
        function("write_dgamma(channel: u32, value: f32)", &write(program.dgamma, "dgamma"));
        function("write_dbeta(channel: u32, value: f32)", &write(program.dbeta, "dbeta"));
    }
    if program.finishes_sums() {
        function(
            "write_merged(channel: u32, value: vec2<f32>)",
            choose(bound(Argument::MergedSums), "merged_sums[channel] = value;", ""),
        );
        function(
            "write_coefficients(channel: u32, value: vec2<f32>)",
            choose(program.coefficients, "coefficients[channel] = value;", ""),
        );
    }
    text
}
