//! What the statistics and the gradients must hold, whatever the walk, the layout and the tuning.

use std::collections::BTreeSet;

use wgpu_batchnorm::check::bounds;
use wgpu_batchnorm::host::{Gpu, Inputs, Outputs, Placement, SelfCheck, execute, execute_placed, self_check};
use wgpu_batchnorm::plan::{Kernel, Operation, Walk};
use wgpu_batchnorm::{Activation, Config, DType, Gradients, ParameterGradients, Shape, reference};

use super::{Outcome, channel_of, check, layouts, noise, same_bits_where, text, tunings};

/// Holds [`super::LAYOUTS`] to their purpose.
pub async fn layouts_reach_every_walk(gpu: &Gpu) -> Outcome {
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    for gpu in tunings(gpu)? {
        for shape in layouts()? {
            let masked = Config { residual: true, activation: Activation::Relu, ..Config::pytorch() };
            for config in [Config::pytorch(), masked] {
                let plan = gpu.norms().training(&shape, &config).map_err(text)?.plan().clone();
                for program in plan.dispatches.iter().map(|d| &d.program) {
                    reached.extend(program.walk.map(|walk| match (program.kernel, walk) {
                        (Kernel::MomentsPartial, Walk::Along) => "reduce along",
                        (Kernel::MomentsPartial, Walk::Columns) => "reduce columns",
                        (Kernel::MomentsPartial, Walk::Rows) => "reduce rows",
                        (_, Walk::Along) => "apply along",
                        // Reductions alone go so.
                        (_, Walk::Lanes) => "reduce lanes",
                        (_, Walk::Together) => "reduce together",
                        (_, Walk::Columns) => "apply columns",
                        (_, Walk::Rows) => "apply rows",
                        (_, Walk::Groups) => "apply groups",
                    }));
                }
            }
        }
    }
    let wanted = ["along", "columns", "rows"].map(|walk| ["reduce", "apply"].map(|k| format!("{k} {walk}")));
    let others = ["reduce lanes", "reduce together", "apply groups"].map(str::to_owned);
    let missing: Vec<String> =
        wanted.into_iter().flatten().chain(others).filter(|w| !reached.contains(w.as_str())).collect();
    check(missing.is_empty(), || format!("no layout reaches: {}", missing.join(", ")))
}

/// Mean and population variance of each channel, in f64.
fn moments(shape: &Shape, x: &[f32]) -> Vec<(f64, f64)> {
    let channels = shape.channels() as usize;
    let m = f64::from(shape.values_per_channel());
    let mut of = vec![(0.0, 0.0); channels];
    for (i, &v) in x.iter().enumerate() {
        of[channel_of(shape, i)].0 += f64::from(v) / m;
    }
    for (i, &v) in x.iter().enumerate() {
        let (mean, variance) = &mut of[channel_of(shape, i)];
        *variance += (f64::from(v) - *mean).powi(2) / m;
    }
    of
}

async fn train(gpu: &Gpu, shape: &Shape, config: &Config, x: &[f32], beta: f32) -> Result<Outputs, String> {
    let channels = shape.channels() as usize;
    let (gamma, beta) = (vec![1.25; channels], vec![beta; channels]);
    let inputs = Inputs { x: Some(x), gamma: Some(&gamma), beta: Some(&beta), ..Inputs::default() };
    execute(gpu, Operation::Training, shape, config, &inputs).await.map_err(|e| format!("{shape}: {e}"))
}

/// Rule: the variance within 1e-5 up to a mean of 1e4 standard deviations, 1e-4 at 1e5, and never negative.
pub async fn variance_is_exact_at_large_means_on_every_walk(gpu: &Gpu) -> Outcome {
    let starts = ["plain", "the first value is 0", "the first row is 0", "the first tile is constant"];
    for gpu in tunings(gpu)? {
        for shape in layouts()? {
            let inner = shape.inner() as usize;
            let row = inner.min(224);
            let walk = gpu.norms().training(&shape, &Config::pytorch()).map_err(text)?.plan().strategy();
            for (ratio, allowed) in [(0.0, 1e-5), (1e2, 1e-5), (1e3, 1e-5), (1e4, 1e-5), (1e5, 1e-4)] {
                for start in starts {
                    let mut x: Vec<f32> =
                        (0..shape.elements() as usize).map(|i| (ratio * 0.7 + 0.7 * noise(i)) as f32).collect();
                    // How many of each channel's values have been replaced.
                    let mut replaced = vec![0; shape.channels() as usize];
                    let first: Vec<f32> = (0..replaced.len()).map(|c| x[c * inner]).collect();
                    for (i, v) in x.iter_mut().enumerate() {
                        let c = channel_of(&shape, i);
                        let (most, value) = match start {
                            "plain" => (0, 0.0),
                            "the first value is 0" => (1, 0.0),
                            "the first row is 0" => (row, 0.0),
                            _ => (32, first[c]),
                        };
                        if replaced[c] < most {
                            replaced[c] += 1;
                            *v = value;
                        }
                    }
                    let outputs = train(&gpu, &shape, &Config::pytorch(), &x, 0.5).await?;
                    let saved = outputs.saved.unwrap_or_default();
                    let means = saved.mean();
                    for (c, (mean, variance)) in moments(&shape, &x).into_iter().enumerate() {
                        let got = f64::from(saved.variance[c]);
                        let error = (got / variance - 1.0).abs();
                        let mean_error = (means[c] - mean).abs() / variance.sqrt();
                        check(got >= 0.0 && error <= allowed && mean_error <= allowed, || {
                            format!(
                                "{shape} {walk}, mean/std {ratio:e}, {start}: channel {c} has a mean of {:e} and a variance \
                                 of {got:e}; expected {mean:e} ({mean_error:e} std off) and {variance:e} ({error:e} off)",
                                means[c]
                            )
                        })?;
                    }
                }
            }
        }
    }
    Ok(())
}

pub async fn a_constant_channel_has_no_variance_and_becomes_beta(gpu: &Gpu) -> Outcome {
    for (turn, gpu) in tunings(gpu)?.into_iter().enumerate() {
        for (index, shape) in layouts()?.into_iter().enumerate() {
            for dtype in [DType::F32, [DType::F16, DType::Bf16][(index + turn) % 2]] {
                // In some channels only, so that its neighbours are of other kinds.
                let values = [123.456, 0.1, -7.75e4, 3e-5].map(|v| reference::round_to(dtype, v) as f32);
                let values = values.map(|v| if v.is_finite() { v } else { 1000.0 });
                let x: Vec<f32> = (0..shape.elements() as usize)
                    .map(|i| match channel_of(&shape, i) {
                        c if c % 3 == 1 => reference::round_to(dtype, noise(i)) as f32,
                        c => values[c % 4],
                    })
                    .collect();
                let config = Config { dtype, ..Config::pytorch() };
                // Exact in every storage type.
                let outputs = train(&gpu, &shape, &config, &x, 0.375).await?;
                let saved = outputs.saved.unwrap_or_default();
                let y = outputs.y.unwrap_or_default();
                for c in (0..shape.channels() as usize).filter(|c| c % 3 != 1) {
                    let (k, d, variance) = (saved.anchor[c], saved.offset[c], saved.variance[c]);
                    check(variance == 0.0 && k + d == values[c % 4], || {
                        format!(
                            "{shape} {dtype}: constant {} has mean {k:e} + {d:e}, variance {variance:e}",
                            values[c % 4]
                        )
                    })?;
                }
                for (i, &y) in y.iter().enumerate().filter(|(i, _)| channel_of(&shape, *i) % 3 != 1) {
                    check(y == 0.375, || format!("{shape} {dtype}: y[{i}] of a constant channel is {y:e}, not beta"))?;
                }
            }
        }
    }
    Ok(())
}

/// `variance + epsilon = 0`: inverse_std is 0, so that y is beta and dx is 0, not infinite.
pub async fn a_constant_channel_without_epsilon_has_no_gradient(gpu: &Gpu) -> Outcome {
    let config = Config { epsilon: 0.0, ..Config::pytorch() };
    for gpu in tunings(gpu)? {
        for shape in layouts()? {
            let channels = shape.channels() as usize;
            let x = vec![123.456f32; shape.elements() as usize];
            let dy: Vec<f32> = (0..x.len()).map(|i| noise(i) as f32).collect();
            let (gamma, beta) = (vec![1.5; channels], vec![-0.25; channels]);
            let inputs =
                Inputs { x: Some(&x), dy: Some(&dy), gamma: Some(&gamma), beta: Some(&beta), ..Inputs::default() };
            let backward = Operation::Backward(Gradients::ALL);
            let outputs = execute(&gpu, backward, &shape, &config, &inputs).await.map_err(text)?;
            let saved = outputs.saved.unwrap_or_default();
            for (name, values, expected) in [
                ("inverse_std", saved.inverse_std, 0.0),
                ("variance", saved.variance, 0.0),
                ("y", outputs.y.unwrap_or_default(), -0.25),
                ("dx", outputs.dx.unwrap_or_default(), 0.0),
                ("dgamma", outputs.dgamma.unwrap_or_default(), 0.0),
            ] {
                let wrong = values.iter().position(|&v| v != expected);
                check(wrong.is_none() && !values.is_empty(), || {
                    format!("{shape}: {name} is not {expected}: {wrong:?}")
                })?;
            }
        }
    }
    Ok(())
}

/// f32 counts stall at 2²⁴. The last value is so large that leaving it out, or counting one too few of such sizes, shows.
pub async fn a_channel_of_more_than_2_to_24_values_has_the_right_mean(gpu: &Gpu) -> Outcome {
    let count = (1usize << 24) + 1;
    let mut x: Vec<f32> = (0..count).map(|i| noise(i) as f32).collect();
    x[count - 1] = 1e6;
    for dimensions in [[1, 1, count], [count, 1, 1]] {
        let shape = Shape::new(&dimensions, 1).map_err(text)?;
        let (mean, variance) = moments(&shape, &x)[0];
        let config = Config { gamma: false, beta: false, ..Config::pytorch() };
        let inputs = Inputs { x: Some(&x), ..Inputs::default() };
        // In place: two tensors of this size need not be held at once.
        let training = Operation::Training;
        let outputs =
            execute_placed(gpu, training, &shape, &config, &inputs, Placement::InPlace).await.map_err(text)?;
        let saved = outputs.saved.unwrap_or_default();
        let (got, got_variance) = (saved.mean()[0], f64::from(saved.variance[0]));
        check((got - mean).abs() < 1e-6 * variance.sqrt() && (got_variance / variance - 1.0).abs() < 1e-5, || {
            format!("{shape}: mean {got:e}, variance {got_variance:e}; expected {mean:e}, {variance:e}")
        })?;
    }
    Ok(())
}

/// The other channels do not merely stay finite: not one bit of them changes.
pub async fn not_a_number_stays_in_its_channel(gpu: &Gpu) -> Outcome {
    for gpu in tunings(gpu)? {
        for shape in layouts()? {
            for (dtype, activation) in [(DType::F32, Activation::None), (DType::F16, Activation::Relu)] {
                let config = Config { dtype, activation, running_update: true, ..Config::pytorch() };
                let channels = shape.channels() as usize;
                let round = |v: f64| reference::round_to(dtype, v) as f32;
                let x: Vec<f32> = (0..shape.elements() as usize).map(|i| round(noise(i) + 3.0)).collect();
                let dy: Vec<f32> = (0..x.len()).map(|i| round(noise(i + 1_000_000))).collect();
                let ones = vec![1.0; channels];
                let inputs = Inputs {
                    x: Some(&x),
                    dy: Some(&dy),
                    gamma: Some(&ones),
                    beta: Some(&ones),
                    running_mean: Some(&ones),
                    running_variance: Some(&ones),
                    ..Inputs::default()
                };
                let spoilt = x.len() / 2 + 1;
                let channel = channel_of(&shape, spoilt);
                for value in [f32::NAN, f32::INFINITY] {
                    for in_gradient in [false, true] {
                        let (mut bad_x, mut bad_dy) = (x.clone(), dy.clone());
                        if in_gradient {
                            bad_dy[spoilt] = value
                        } else {
                            bad_x[spoilt] = value
                        };
                        let bad = Inputs { x: Some(&bad_x), dy: Some(&bad_dy), ..inputs };
                        for operation in [Operation::Training, Operation::Backward(Gradients::ALL)] {
                            let what = format!("{value} in channel {channel} of {shape} {dtype}");
                            let clean = execute(&gpu, operation, &shape, &config, &inputs).await.map_err(text)?;
                            let got = execute(&gpu, operation, &shape, &config, &bad).await.map_err(text)?;
                            let other = |name: &str, i: usize| match name {
                                "y" | "dx" => channel_of(&shape, i) != channel,
                                _ => i != channel,
                            };
                            same_bits_where(&what, &clean, &got, other)?;
                            let mean = got.saved.map_or(0.0, |s| s.mean()[channel]);
                            check(mean.is_finite() == in_gradient, || format!("{what}: its mean is {mean}"))?;
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

pub async fn no_gradient_in_means_none_out(gpu: &Gpu) -> Outcome {
    for (turn, gpu) in tunings(gpu)?.into_iter().enumerate() {
        for (index, shape) in layouts()?.into_iter().enumerate() {
            for dtype in [DType::F32, [DType::F16, DType::Bf16][(index + turn) % 2]] {
                let channels = shape.channels() as usize;
                let config = Config { dtype, ..Config::pytorch() };
                let x: Vec<f32> = (0..shape.elements() as usize)
                    .map(|i| reference::round_to(dtype, noise(i) + 90.0) as f32)
                    .collect();
                let zeros = vec![0.0; x.len()];
                let (gamma, beta) = (vec![1.5; channels], vec![0.5; channels]);
                let inputs = Inputs {
                    x: Some(&x),
                    dy: Some(&zeros),
                    gamma: Some(&gamma),
                    beta: Some(&beta),
                    running_mean: Some(&beta),
                    running_variance: Some(&gamma),
                    ..Inputs::default()
                };
                for operation in [Operation::Backward(Gradients::ALL), Operation::FrozenBackward(Gradients::ALL)] {
                    let outputs = execute(&gpu, operation, &shape, &config, &inputs).await.map_err(text)?;
                    for (name, values) in [("dx", outputs.dx), ("dgamma", outputs.dgamma), ("dbeta", outputs.dbeta)] {
                        let wrong = values.unwrap_or(vec![1.0]).iter().position(|&v| v != 0.0);
                        check(wrong.is_none(), || {
                            format!("{shape} {dtype} {operation:?}: {name} at {wrong:?} is not 0")
                        })?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// `Σ dx = 0` and `Σ dx · x̂ = 0` per channel: no more may be left than the bounds of the elements add up to, of which
/// all but the part that is common to a channel (the errors of its two sums) cancels.
pub async fn gradients_of_the_input_cancel_in_each_channel(gpu: &Gpu) -> Outcome {
    let config = Config::pytorch();
    for gpu in tunings(gpu)? {
        for shape in layouts()? {
            let channels = shape.channels() as usize;
            let x: Vec<f32> = (0..shape.elements() as usize).map(|i| (noise(i) * 2.0 + 1.0) as f32).collect();
            let dy: Vec<f32> = (0..x.len()).map(|i| (noise(i + 1_000_000) + 1.0) as f32).collect();
            let gamma = vec![1.5; channels];
            let inputs =
                Inputs { x: Some(&x), dy: Some(&dy), gamma: Some(&gamma), beta: Some(&gamma), ..Inputs::default() };
            let gradients = Gradients { input: true, parameters: ParameterGradients::None };
            let outputs =
                execute(&gpu, Operation::Backward(gradients), &shape, &config, &inputs).await.map_err(text)?;
            let dx = outputs.dx.unwrap_or_default();
            let moments = moments(&shape, &x);
            let mut sums = vec![(0.0, 0.0, 0.0); channels];
            for (i, (&dx, &x)) in dx.iter().zip(&x).enumerate() {
                let c = channel_of(&shape, i);
                let (mean, variance) = moments[c];
                let normalised = (f64::from(x) - mean) / (variance + f64::from(config.epsilon)).sqrt();
                let (dx, sum) = (f64::from(dx), &mut sums[c]);
                *sum = (sum.0 + dx, sum.1 + dx * normalised, sum.2 + dx.abs() * normalised.abs().max(1.0));
            }
            for (c, (sum, product, size)) in sums.into_iter().enumerate() {
                let allowed = bounds::LAMBDA * (bounds::BLOCK + bounds::MERGES).sqrt() * bounds::U * size
                    + f64::from(config.epsilon) * size;
                check(size > 0.0 && sum.abs() <= allowed && product.abs() <= allowed, || {
                    format!("{shape}: channel {c}: Σdx {sum:e}, Σdx·x̂ {product:e}, allowed {allowed:e} of {size:e}")
                })?;
            }
        }
    }
    Ok(())
}

pub async fn an_empty_batch_changes_nothing(gpu: &Gpu) -> Outcome {
    for dtype in DType::ALL {
        let config = Config { dtype, running_update: true, count_batches: true, ..Config::pytorch() };
        for (dimensions, axis) in [(&[0usize, 5, 7][..], 1), (&[3, 5, 0], 1), (&[4, 0, 5], -1)] {
            let shape = Shape::new(dimensions, axis).map_err(text)?;
            let (mean, variance) = ([1.0, 2.0, 3.0, 4.0, 5.0], [0.5; 5]);
            let inputs = Inputs {
                x: Some(&[]),
                dy: Some(&[]),
                gamma: Some(&variance),
                beta: Some(&mean),
                running_mean: Some(&mean),
                running_variance: Some(&variance),
                batches: 7,
                dgamma: Some(&mean),
                dbeta: Some(&mean),
                ..Inputs::default()
            };
            let run = async |operation| execute(gpu, operation, &shape, &config, &inputs).await.map_err(text);
            let trained = run(Operation::Training).await?;
            let accumulated =
                run(Operation::Backward(Gradients { input: true, parameters: ParameterGradients::Accumulate })).await?;
            let written = run(Operation::Backward(Gradients::ALL)).await?;
            let inferred = run(Operation::Inference).await?;
            let same = |got: &Option<Vec<f32>>, expected: &[f32]| got.as_deref() == Some(expected);
            for (what, holds) in [
                ("y of training", same(&trained.y, &[])),
                ("running mean", same(&trained.running_mean, &mean)),
                ("running variance", same(&trained.running_variance, &variance)),
                ("batches", trained.batches == Some(7)),
                ("saved mean", trained.saved.as_ref().is_some_and(|s| s.mean() == [0.0; 5])),
                ("saved variance", trained.saved.as_ref().is_some_and(|s| s.variance == [0.0; 5])),
                ("y of inference", same(&inferred.y, &[])),
                ("dx", same(&written.dx, &[])),
                ("dgamma", same(&written.dgamma, &[0.0; 5])),
                ("dbeta", same(&written.dbeta, &[0.0; 5])),
                ("dgamma accumulated", same(&accumulated.dgamma, &mean)),
                ("dbeta accumulated", same(&accumulated.dbeta, &mean)),
            ] {
                check(holds, || {
                    format!("{shape} {dtype}: {what}: {trained:?} {written:?} {accumulated:?} {inferred:?}")
                })?;
            }
        }
    }
    Ok(())
}

/// A million standard deviations from 0, guarded or not; what would be seen if they were not is told by the check's own test.
pub async fn differences_are_kept_as_written(gpu: &Gpu) -> Outcome {
    for guard in [false, true] {
        let found = self_check(&gpu.with_guarded_differences(guard)).await.map_err(text)?;
        check(found == SelfCheck::Passed, || format!("guarded: {guard}, found {found:?}"))?;
    }
    Ok(())
}
