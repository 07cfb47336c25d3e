//! The same bits wherever the arguments lie and however the tensors are cut, and shapes beyond the limits.

use std::collections::BTreeMap;

use wgpu_batchnorm::check::sweep::Content;
use wgpu_batchnorm::check::{SweepCase, check_one};
use wgpu_batchnorm::host::{Gpu, Inputs, Outputs, Placement, execute, execute_placed};
use wgpu_batchnorm::plan::{Access, Operation, Plan, Tuning};
use wgpu_batchnorm::{Activation, Config, DType, Gradients, Momentum, ParameterGradients, Shape, reference};

use super::{BRIEF, Outcome, check, layouts, noise, same_bits, sibling, text, tunings, with_tuning};

const OPERATIONS: [Operation; 5] = [
    Operation::Training,
    Operation::Inference,
    Operation::FrozenForward,
    Operation::Backward(Gradients::ALL),
    Operation::FrozenBackward(Gradients::ALL),
];

/// Tensors that any operation takes.
struct Data {
    x: Vec<f32>,
    dy: Vec<f32>,
    residual: Vec<f32>,
    per_channel: Vec<f32>,
}

impl Data {
    fn new(shape: &Shape, dtype: DType) -> Self {
        let tensor = |seed: usize, mean: f64| -> Vec<f32> {
            (0..shape.elements() as usize)
                .map(|i| reference::round_to(dtype, noise(i + seed * 77_777_777) + mean) as f32)
                .collect()
        };
        let per_channel = (0..shape.channels() as usize).map(|c| (noise(c) * 0.3 + 1.0) as f32).collect();
        Self { x: tensor(0, 2.0), dy: tensor(1, 0.1), residual: tensor(2, 0.0), per_channel }
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            x: Some(&self.x),
            dy: Some(&self.dy),
            residual: Some(&self.residual),
            gamma: Some(&self.per_channel),
            beta: Some(&self.per_channel),
            running_mean: Some(&self.per_channel),
            running_variance: Some(&self.per_channel),
            batches: 3,
            ..Inputs::default()
        }
    }
}

fn configs() -> [Config; 3] {
    let plain = Config { running_update: true, count_batches: true, ..Config::pytorch() };
    let relu = Config { dtype: DType::F16, activation: Activation::Relu, momentum: Momentum::Cumulative, ..plain };
    [plain, relu, Config { dtype: DType::Bf16, residual: true, ..relu }]
}

pub async fn one_buffer_and_in_place_give_the_same_bits(gpu: &Gpu) -> Outcome {
    for (turn, gpu) in tunings(gpu)?.into_iter().enumerate() {
        for (index, shape) in layouts()?.into_iter().enumerate().step_by(if BRIEF { 2 } else { 1 }) {
            // Each layout takes its turn with a configuration: compiling all programs of all three takes minutes.
            for config in [configs()[(index + turn) % 3]] {
                let data = Data::new(&shape, config.dtype);
                for operation in OPERATIONS {
                    let what = format!("{operation:?} of {shape} {}", config.dtype);
                    let run = async |placement| {
                        let inputs = data.inputs();
                        execute_placed(&gpu, operation, &shape, &config, &inputs, placement)
                            .await
                            .map_err(|e| format!("{what} {placement:?}: {e}"))
                    };
                    let separate = run(Placement::Separate).await?;
                    same_bits(&format!("{what} in one buffer"), &separate, &run(Placement::Arena).await?)?;
                    same_bits(&format!("{what} in place"), &separate, &run(Placement::InPlace).await?)?;
                }
            }
        }
    }
    Ok(())
}

/// Words of 32 and of 64 bits, where the device has integers of so many; elsewhere a tuning that asks for them is brought back.
pub async fn words_of_any_length_give_the_same_bits(gpu: &Gpu) -> Outcome {
    let mut compared = 0;
    let has_long = gpu.device().features().contains(wgpu::Features::SHADER_INT64);
    for (turn, gpu) in tunings(gpu)?.into_iter().enumerate() {
        let words = |word_bits| with_tuning(&gpu, Tuning { word_bits, ..gpu.norms().tuning().clone() });
        let (short, long) = (words(32)?, words(64)?);
        for (index, shape) in layouts()?.into_iter().enumerate() {
            let config = configs()[(index + turn) % 3];
            let data = Data::new(&shape, config.dtype);
            for operation in OPERATIONS {
                let what = format!("{operation:?} of {shape} {} in long words", config.dtype);
                let plan = |gpu: &Gpu| Plan::new(operation, &shape, &config, gpu.norms().facts(), gpu.norms().tuning());
                let is_wide = plan(&long).map_err(text)?.dispatches.iter().any(|d| d.program.access == Access::Wide);
                check(has_long || !is_wide, || format!("{what}: the device has none"))?;
                if is_wide {
                    compared += 1;
                    let run = async |gpu| execute(gpu, operation, &shape, &config, &data.inputs()).await.map_err(text);
                    same_bits(&what, &run(&short).await?, &run(&long).await?)?;
                }
            }
        }
    }
    check((compared > 0) == has_long, || format!("{compared} compared on a device that has them: {has_long}"))
}

/// In a dispatch of their own, and in each workgroup of the elementwise kernel: two to four records, of moments and of sums. What
/// is merged is added to what is there, so that a channel written twice shows.
pub async fn few_records_give_the_same_bits_wherever_they_are_merged(gpu: &Gpu) -> Outcome {
    let adding = Gradients { input: true, parameters: ParameterGradients::Accumulate };
    let operations = [
        Operation::Training,
        Operation::Backward(adding),
        Operation::Backward(Gradients::INPUT),
        Operation::FrozenBackward(adding),
    ];
    // A ReLU takes backward one binding more, or two where frozen, and a residual one: too many in some of these.
    let [plain, relu, residual] = configs();
    let fused = [
        plain,
        Config { activation: Activation::None, ..relu },
        relu,
        Config { activation: Activation::None, ..residual },
    ];
    let mut compared = BTreeMap::<_, Vec<_>>::new();
    for (turn, gpu) in tunings(gpu)?.into_iter().enumerate() {
        let own = gpu.norms().tuning();
        let short_parts = Tuning { part_quads_min: 64, reduce_workgroups: 16, ..own.clone() };
        let merging = |apply_merges| with_tuning(&gpu, Tuning { apply_merges, ..short_parts.clone() });
        let (apart, itself) = (merging(0)?, merging(u32::MAX)?);
        let many_channels = Shape::nc(300, 1024).map_err(text)?;
        for (index, shape) in layouts()?.into_iter().chain([many_channels]).enumerate() {
            let config = fused[(index + turn) % fused.len()];
            let data = Data::new(&shape, config.dtype);
            let there = Some(&data.per_channel[..]);
            let inputs = Inputs { dgamma: there, dbeta: there, ..data.inputs() };
            for operation in operations {
                let what = format!("{operation:?} of {shape} {}", config.dtype);
                let plan = Plan::new(operation, &shape, &config, itself.norms().facts(), itself.norms().tuning());
                let plan = plan.map_err(text)?;
                if let Some(merging) = plan.dispatches.iter().find(|d| d.program.few_records > 0) {
                    // Several workgroups share the channels, more than one has lanes.
                    let shared = merging.workgroups[0] > 1 && shape.channels() > merging.program.workgroup_size;
                    compared.entry(format!("{operation:?}")).or_default().push((merging.parameters.slots, shared));
                    let run = async |gpu| execute(gpu, operation, &shape, &config, &inputs).await.map_err(text);
                    same_bits(&what, &run(&apart).await?, &run(&itself).await?)?;
                }
            }
        }
    }
    let enough = |found: &Vec<(u32, bool)>| found.iter().any(|f| f.0 > 2) && found.iter().any(|f| f.1);
    let all = compared.len() == operations.len() && compared.values().all(enough);
    check(all || (BRIEF && !compared.is_empty()), || format!("compared only {compared:?}"))
}

pub async fn a_hundred_repeats_give_the_same_bits(gpu: &Gpu) -> Outcome {
    for shape in layouts()? {
        let config = Config { running_update: true, ..Config::pytorch() };
        let data = Data::new(&shape, DType::F32);
        let backward = Operation::Backward(Gradients::ALL);
        let mut first: Option<Outputs> = None;
        for repeat in 0..100 {
            let got = execute(gpu, backward, &shape, &config, &data.inputs()).await.map_err(text)?;
            match &first {
                Some(first) => same_bits(&format!("repeat {repeat} of {shape}"), first, &got)?,
                None => first = Some(got),
            }
        }
    }
    Ok(())
}

/// A part covers up to 8 MiB: the least binding that can hold it, with what an aligned start adds.
const SMALL_BINDING: u64 = 9 << 20;

pub async fn windows_give_the_same_bits(gpu: &Gpu) -> Outcome {
    let small = wgpu::Limits { max_storage_buffer_binding_size: SMALL_BINDING, ..wgpu::Limits::default() };
    let small = sibling(gpu, small).await?;
    let mut finished_in_several = false;
    for (dimensions, axis, dtype) in [
        (&[1usize, 2, 3_000_001][..], 1, DType::F32),
        (&[40, 50, 60, 57], 1, DType::F32),
        (&[30_001, 5, 37], 1, DType::F32),
        (&[50_001, 131], -1, DType::F32),
        (&[7_000_001, 1], 1, DType::F32),
        (&[1, 40_000, 9, 9], 1, DType::F32),
        (&[2_000, 4_001], 1, DType::F16),
        (&[3, 5, 1_000_001], 1, DType::Bf16),
    ] {
        let shape = Shape::new(dimensions, axis).map_err(text)?;
        let data = Data::new(&shape, dtype);
        let relu = Config { dtype, activation: Activation::Relu, ..Config::pytorch() };
        for config in [relu, Config { residual: true, ..relu }] {
            let plans = [gpu, &small].map(|g| g.norms().training(&shape, &config).map(|p| p.plan().dispatches.len()));
            check(matches!(&plans, [Ok(whole), Ok(cut)] if cut > whole), || format!("{shape} is not cut: {plans:?}"))?;
            let cut = small.norms().training(&shape, &config).map_err(text)?;
            finished_in_several |= cut.plan().dispatches.iter().filter(|d| d.program.whole_channels).count() > 1;
            let backward = Operation::Backward(Gradients::ALL);
            let whole = execute(gpu, backward, &shape, &config, &data.inputs()).await.map_err(text)?;
            let cut = execute(&small, backward, &shape, &config, &data.inputs()).await.map_err(text)?;
            same_bits(&format!("windows of {shape} {dtype}"), &whole, &cut)?;
        }
    }
    check(finished_in_several, || "no reduction that finishes its channels was cut".to_owned())
}

pub async fn shapes_beyond_the_grid_pass(gpu: &Gpu) -> Outcome {
    for (dimensions, axis) in [
        (&[2usize, 70_001, 1][..], 1),
        (&[1, 70_000, 3], 1),
        (&[70_001, 3, 2], 1),
        (&[70_000, 3], -1),
        (&[1, 1, 1_000_003], 1),
        (&[1_000_000, 1], -1),
        // One workgroup for every part of a plane: more than one dimension of a grid holds.
        (&[300, 300, 16], 1),
    ] {
        for (operation, seed) in OPERATIONS.into_iter().zip(0..) {
            let case = SweepCase {
                seed,
                shape: Shape::new(dimensions, axis).map_err(text)?,
                config: Config { running_update: true, ..Config::keras() },
                operation,
                placement: Placement::Separate,
                windows: false,
                content: Content::Normal,
                magnitude: 1.0,
                mean_over_std: 10.0,
            };
            for verdict in check_one(gpu, &case).await.map_err(|e| format!("{case}: {e}"))? {
                check(verdict.passed(), || format!("{case}: {verdict}"))?;
            }
        }
    }
    Ok(())
}

/// 300 MiB in a buffer: above the default limit of a buffer, and three times that of a binding.
pub async fn a_tensor_above_the_default_buffer_limit_passes(gpu: &Gpu) -> Outcome {
    let large = wgpu::Limits { max_buffer_size: 1 << 30, ..wgpu::Limits::default() };
    let large = sibling(gpu, large).await?;
    let shape = Shape::nchw(75, 16, 256, 256).map_err(text)?;
    let refused = gpu.norms().training(&shape, &Config::pytorch());
    check(refused.is_err(), || "300 MiB fit the default limits".to_owned())?;
    let config = Config { gamma: false, beta: false, ..Config::pytorch() };
    // Each channel has a mean of its own, so that a window at the wrong place shows.
    let mean_of = |c: usize| 3.0 * c as f64;
    let per_plane = 256 * 256;
    let x: Vec<f32> = (0..shape.elements() as usize).map(|i| (noise(i) + mean_of(i / per_plane % 16)) as f32).collect();
    let inputs = Inputs { x: Some(&x), ..Inputs::default() };
    let outputs = execute_placed(&large, Operation::Training, &shape, &config, &inputs, Placement::InPlace)
        .await
        .map_err(text)?;
    let saved = outputs.saved.unwrap_or_default();
    let y = outputs.y.unwrap_or_default();
    let mean = saved.mean();
    for (i, (&x, &y)) in x.iter().zip(&y).enumerate() {
        let c = i / per_plane % 16;
        let expected = (f64::from(x) - mean[c]) * f64::from(saved.inverse_std[c]);
        check((f64::from(y) - expected).abs() <= 1e-5, || format!("y[{i}] is {y:e}; expected {expected:e}"))?;
        if i < 16 {
            // The mean of 5e6 values of variance 1 lies within 5 / √5e6 of the distribution's.
            check((mean[i] - mean_of(i)).abs() < 2.3e-3, || format!("channel {i} has mean {:e}", mean[i]))?;
        }
    }
    Ok(())
}
