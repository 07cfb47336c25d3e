//! Every program that a plan for a graphics processor dispatches.

use std::collections::HashSet;

use wgpu_batchnorm::plan::{
    Access, Argument, DeviceFacts, Gradients, Kernel, Operation, ParameterGradients, Plan, Program, Statistics, Tuning,
};
use wgpu_batchnorm::{Activation, Config, DType, Error, Momentum, Shape, shader};

/// Layers of ResNet-50, a dense layer, channels last, and shapes whose planes or tensors end inside a quad: together
/// they take every walk.
fn shapes() -> Result<Vec<Shape>, Error> {
    Ok(vec![
        Shape::nchw(32, 64, 56, 56)?,
        Shape::nchw(32, 256, 14, 14)?,
        Shape::nchw(32, 512, 7, 7)?,
        Shape::nchw(8, 3, 224, 224)?,
        Shape::nchw(1, 1, 1024, 1024)?,
        Shape::nchw(4, 27, 33, 31)?,
        Shape::nchw(2, 4, 129, 131)?,
        Shape::nchw(3, 3, 129, 131)?,
        Shape::nchw(3, 5, 7, 7)?,
        Shape::nhwc(32, 56, 56, 64)?,
        Shape::nhwc(2, 160, 240, 3)?,
        Shape::nhwc(3, 5, 7, 3)?,
        Shape::nc(256, 1024)?,
        Shape::nc(8192, 64)?,
        Shape::nc(3, 70_000)?,
        Shape::nc(7, 5)?,
    ])
}

fn configs() -> Vec<Config> {
    let base = Config { running_update: true, ..Config::pytorch() };
    let without_affine = Config { gamma: false, beta: false, ..base };
    let relu = Config { activation: Activation::Relu, ..base };
    let mut configs =
        vec![base, without_affine, relu, Config { residual: true, ..base }, Config { residual: true, ..relu }];
    configs.push(Config { running_update: true, ..Config::keras() });
    configs.push(Config { momentum: Momentum::Cumulative, ..base });
    configs.push(Config { count_batches: true, ..base });
    configs
}

fn operations() -> Vec<Operation> {
    let accumulate = Gradients { parameters: ParameterGradients::Accumulate, ..Gradients::ALL };
    let gradients = [Gradients::ALL, Gradients::INPUT, Gradients::PARAMETERS, accumulate];
    let backward = gradients.into_iter().flat_map(|g| [Operation::Backward(g), Operation::FrozenBackward(g)]);
    [Operation::Training, Operation::Inference].into_iter().chain(backward).collect()
}

/// The programs, each once, in the order of the kernels.
///
/// # Errors
/// What a plan refuses, which for these shapes is nothing.
pub fn programs() -> Result<Vec<Program>, Error> {
    // A buffer of the largest shape above is larger than the default allows.
    let facts = DeviceFacts { buffer_bytes: 1 << 30, binding_bytes: 1 << 30, ..DeviceFacts::FLOOR };
    let tuning = Tuning::for_device(&facts);
    let streaming = Tuning { resident_blocks: 0, resident_element_blocks: 0, ..tuning.clone() };
    let mut seen = HashSet::new();
    let mut programs = Vec::new();
    for shape in shapes()? {
        for config in configs() {
            for dtype in DType::ALL {
                for operation in operations() {
                    let config = Config { dtype, ..config };
                    let resident = Plan::new(operation, &shape, &config, &facts, &tuning)?.dispatches;
                    let streaming = Plan::new(operation, &shape, &config, &facts, &streaming)?.dispatches;
                    for dispatch in resident.into_iter().chain(streaming) {
                        // Programs that differ only in what their kernel has no use for are one.
                        let program = dispatch.program;
                        let constants = format!("{:?}", shader::overrides(&program));
                        if seen.insert((shader::text(&program), constants)) {
                            programs.push(program);
                        }
                    }
                }
            }
        }
    }
    programs.sort_by_key(|p| Kernel::ALL.iter().position(|k| *k == p.kernel));
    Ok(programs)
}

/// What tells a program from the others of its kernel, in a few words.
pub fn variant(program: &Program) -> String {
    let arguments = program.arguments();
    let bound = |wanted: Argument| arguments.iter().any(|(argument, _)| *argument == wanted);
    let tensors = arguments.iter().any(|(argument, _)| argument.is_tensor());
    let uses = |name: &str| shader::overrides(program).iter().any(|(constant, _)| *constant == name);
    let words = [
        (tensors, program.dtype.name()),
        (program.walk.is_some(), program.walk.map_or("", |w| w.name())),
        (tensors && program.access == Access::Word, "by words"),
        (tensors && program.access == Access::Element, "by elements"),
        (uses("ALIGNED") && !program.aligned, "unaligned"),
        (uses("QUAD_PLANES") && program.quad_planes == 2, "two planes to a quad"),
        (uses("QUAD_PLANES") && program.quad_planes == 4, "four planes to a quad"),
        (program.statistics == Statistics::Running, "running statistics"),
        (bound(Argument::Gamma), "gamma"),
        (bound(Argument::Beta), "beta"),
        (tensors && program.relu, "ReLU"),
        (program.residual, "residual"),
        (program.mask, "mask"),
        (program.dgamma, "dgamma"),
        (program.dbeta, "dbeta"),
        (program.accumulate, "accumulating"),
        (program.coefficients, "coefficients"),
        (program.normalisers, "normalisers"),
        (program.whole_channels, "whole channels"),
        (program.cumulative, "cumulative"),
        (program.counted && !program.cumulative, "counting"),
        (program.unbiased, "unbiased"),
    ];
    let words: Vec<&str> = words.into_iter().filter(|w| w.0).map(|w| w.1).collect();
    let lanes = match program.workgroup_size / program.lanes_x.max(1) {
        1 => program.lanes_x.to_string(),
        rows if uses("LANES_X") => format!("{}×{rows}", program.lanes_x),
        _ => program.workgroup_size.to_string(),
    };
    let lanes = match program.kernel.is_resident() {
        true => format!("{lanes} lanes of {} quad{}", program.blocks, if program.blocks == 1 { "" } else { "s" }),
        false => format!("{lanes} lanes"),
    };
    format!("{}, {lanes}", words.join(", ")).trim_start_matches(", ").to_owned()
}

/// Whether a program is of a plain layer: gamma and beta, nothing fused.
pub fn is_plain(program: &Program) -> bool {
    let affine = match program.kernel {
        Kernel::MomentsMerge | Kernel::MomentsPartial => !program.normalisers || (program.gamma && program.beta),
        Kernel::ScaleShift => program.normalisers || (program.gamma && program.beta),
        Kernel::BackwardInput => program.gamma,
        Kernel::BackwardPartial if !program.whole_channels => true,
        Kernel::BackwardPartial | Kernel::BackwardMerge => program.dgamma && program.dbeta && !program.accumulate,
        Kernel::RunningUpdate => program.unbiased && !program.counted && !program.cumulative,
        _ => true,
    };
    let fused = program.walk.is_some() && (program.relu || program.residual || program.mask);
    let frozen = program.statistics == Statistics::Running && program.kernel != Kernel::ScaleShift;
    affine && !fused && !frozen
}
