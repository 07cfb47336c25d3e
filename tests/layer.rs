//! A layer on the device: its modes against the reference, and its state in and out of files.
#![cfg(feature = "cli")]

use ndarray::{Array1, Array3, ArrayView1, ArrayView3};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use wgpu_batchnorm::check::{bounds, compare};
use wgpu_batchnorm::host::{Gpu, State, files};
use wgpu_batchnorm::plan::Gradients;
use wgpu_batchnorm::{
    Activation, Config, Error, Layer, LayerBackward, LayerForward, Mode, RunningVariance, Shape, mask_bytes, reference,
    wgpu,
};

const STATE: &[u8] = include_bytes!("../examples/data/crepe_tiny_state.safetensors");
const ACTIVATIONS: &[u8] = include_bytes!("../examples/data/crepe_tiny_activations.safetensors");
/// The published network's epsilon, Keras' 0.001 as an f32.
const CREPE_EPSILON: f32 = 0.001;

/// Deterministic values in (−1, 1).
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 40) as f64 / (1u64 << 23) as f64 - 1.0) as f32
    };
    (0..count).map(|_| next()).collect()
}

fn wide(shape: &Shape, values: &[f32]) -> Array3<f64> {
    ArrayView3::from_shape(reference::view(shape), values).unwrap().mapv(f64::from)
}

fn wide1(values: &[f32]) -> Array1<f64> {
    ArrayView1::from(values).mapv(f64::from)
}

/// Holds values against the reference, element by element.
fn hold<'a>(
    what: &str,
    got: &[f32],
    expected: impl IntoIterator<Item = &'a f64>,
    bound: impl IntoIterator<Item = &'a f64>,
) {
    let (expected, bound): (Vec<f64>, Vec<f64>) =
        (expected.into_iter().copied().collect(), bound.into_iter().copied().collect());
    let comparison = compare(got.iter().copied(), &expected, |i| bound[i]);
    assert!(comparison.passed(), "{what}: {comparison}");
}

#[pollster::test]
async fn the_six_layers_of_a_published_network_load_and_three_give_the_expected_activations() {
    let gpu = Gpu::new().await.unwrap();
    for index in 1..=6 {
        let state = State::read(STATE, Some(&format!("conv{index}_BN"))).unwrap();
        let channels = state.channels().unwrap();
        let config = Config { epsilon: CREPE_EPSILON, ..Config::pytorch() };
        let layer = Layer::new(gpu.norms(), channels as u32, &config).unwrap();
        layer.load_state(&gpu, &state).unwrap();
        assert_eq!(layer.state(&gpu).await.unwrap(), State { batches: state.batches.or(Some(0)), ..state.clone() });
        if ![1, 3, 6].contains(&index) {
            continue;
        }
        let tensor = |what| files::read_safetensors(ACTIVATIONS, &format!("conv{index}_BN.{what}")).unwrap().values;
        let (input, expected) = (tensor("input"), tensor("expected"));
        let shape = Shape::new(input.shape(), 1).unwrap();
        let values: Vec<f32> = input.iter().copied().collect();
        let x = gpu.buffer("x", bytemuck::cast_slice(&values)).unwrap();
        let y = gpu.empty("y", 4 * values.len() as u64).unwrap();
        let buffers = LayerForward { x: x.slice(..), y: y.slice(..), residual: None, mask: None };
        let forward = layer.forward(Mode::Eval, &shape, &buffers).unwrap();
        gpu.submit(|pass| forward.record(pass));
        let y = gpu.read_f32(&y, values.len()).await.unwrap();
        let fields = [&state.running_mean, &state.running_variance, &state.gamma, &state.beta];
        let [mean, variance, gamma, beta] = fields.map(|field| wide1(field.as_ref().unwrap()));
        let x = wide(&shape, &values);
        let apply = reference::Apply {
            x: x.view(),
            mean: mean.view(),
            variance: variance.view(),
            gamma: Some(gamma.view()),
            beta: Some(beta.view()),
            residual: None,
        };
        let bound = bounds::apply(&apply, bounds::Statistics::Given, &config);
        let expected: Vec<f64> = expected.iter().map(|&v| f64::from(v)).collect();
        // The expected values are themselves rounded to f32.
        let bound: Vec<f64> =
            bound.iter().zip(&expected).map(|(b, e)| b + e.abs() * f64::from(f32::EPSILON) / 2.0).collect();
        hold(&format!("layer {index} {shape}"), &y, &expected, &bound);
    }
}

#[pollster::test]
async fn what_is_saved_loads_again_under_pytorchs_and_keras_names() {
    let gpu = Gpu::new().await.unwrap();
    let layer = Layer::new(gpu.norms(), 3, &Config::pytorch()).unwrap();
    assert_eq!(layer.state(&gpu).await.unwrap(), State::new(3));
    let state = State {
        gamma: Some(vec![1.0, -2.0, 0.5]),
        beta: Some(vec![0.0, 1.0, 2.0]),
        running_mean: Some(vec![9.0, 8.0, 7.0]),
        running_variance: Some(vec![0.1, 0.2, 0.3]),
        batches: Some(41),
    };
    layer.load_state(&gpu, &state).unwrap();
    let file = layer.state(&gpu).await.unwrap().write(Some("block.norm"), None).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let counter = tensors.tensor("block.norm.num_batches_tracked").unwrap();
    assert_eq!((counter.dtype(), counter.shape()), (Dtype::I64, &[] as &[usize]));
    assert_eq!(tensors.tensor("block.norm.weight").unwrap().shape(), [3]);
    let again = Layer::new(gpu.norms(), 3, &Config::pytorch()).unwrap();
    again.load_state(&gpu, &State::read(&file, Some("block.norm")).unwrap()).unwrap();
    assert_eq!(again.state(&gpu).await.unwrap(), state);

    let bytes: Vec<u8> = [4.0f32, 5.0, 6.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let keras = ["gamma", "beta", "moving_mean", "moving_variance"]
        .map(|name| (format!("bn/{name}"), TensorView::new(Dtype::F32, vec![3], &bytes).unwrap()));
    let file = safetensors::serialize(keras, None).unwrap();
    again.load_state(&gpu, &State::read(&file, None).unwrap()).unwrap();
    let of_keras = Some(vec![4.0, 5.0, 6.0]);
    let expected = State {
        gamma: of_keras.clone(),
        beta: of_keras.clone(),
        running_mean: of_keras.clone(),
        running_variance: of_keras,
        batches: Some(0),
    };
    assert_eq!(again.state(&gpu).await.unwrap(), expected);
}

#[pollster::test]
async fn a_state_that_is_not_right_leaves_the_layer_as_it_was() {
    let gpu = Gpu::new().await.unwrap();
    let state = State::read(STATE, Some("conv2_BN")).unwrap();
    let channels = state.channels().unwrap();
    let layer = Layer::new(gpu.norms(), channels as u32, &Config::pytorch()).unwrap();
    layer.load_state(&gpu, &state).unwrap();
    let before = layer.state(&gpu).await.unwrap();

    let from = |file: &[u8], name| State::read(file, Some(name)).and_then(|state| layer.load_state(&gpu, &state));
    assert!(matches!(from(&STATE[..STATE.len() - 1], "conv2_BN"), Err(Error::State(_))));
    assert!(matches!(from(STATE, "conv9_BN"), Err(Error::State(_))));
    let fewer = State::new(channels - 1);
    assert!(matches!(layer.load_state(&gpu, &fewer), Err(Error::WrongDimensions { argument: "gamma", .. })));
    let late = State { running_variance: Some(vec![2.0]), ..State::new(channels) };
    let refused = layer.load_state(&gpu, &late);
    assert!(matches!(refused, Err(Error::WrongDimensions { argument: "running_variance", .. })));
    let no_beta = State { beta: None, ..State::new(channels) };
    assert!(matches!(layer.load_state(&gpu, &no_beta), Err(Error::Missing { argument: "beta", .. })));
    let many = State { batches: Some(1 << 32), ..State::new(channels) };
    assert!(matches!(layer.load_state(&gpu, &many), Err(Error::State(_))));
    assert_eq!(layer.state(&gpu).await.unwrap(), before);

    let bare = Layer::new(gpu.norms(), 2, &Config { gamma: false, ..Config::pytorch() }).unwrap();
    assert!(matches!(bare.load_state(&gpu, &State::new(2)), Err(Error::Unexpected { argument: "gamma", .. })));
}

#[pollster::test]
async fn what_a_layer_cannot_do_is_refused() {
    let gpu = Gpu::new().await.unwrap();
    assert_eq!(Layer::new(gpu.norms(), 0, &Config::pytorch()).unwrap_err(), Error::NoChannels { axis: 0 });
    let layer = Layer::new(gpu.norms(), 4, &Config::pytorch()).unwrap();
    let (x, y) = (gpu.empty("x", 256).unwrap(), gpu.empty("y", 256).unwrap());
    let shape = Shape::nc(16, 4).unwrap();
    let over = LayerForward { x: x.slice(..), y: x.slice(..), residual: None, mask: None };
    for mode in [Mode::Train, Mode::Frozen] {
        let refused = layer.forward(mode, &shape, &over).unwrap_err();
        assert!(matches!(refused, Error::Overlap { first: "x", second: "y", first_end: 256, .. }), "{refused}");
    }
    assert!(layer.forward(Mode::Eval, &shape, &over).is_ok());
    let apart = LayerForward { y: y.slice(..), ..over };
    let wrong = layer.forward(Mode::Train, &Shape::nc(16, 3).unwrap(), &apart).unwrap_err();
    assert_eq!(wrong, Error::WrongChannels { channels: 3, needed: 4 });
    let back = LayerBackward { x: x.slice(..), dy: y.slice(..), mask: None, dx: Some(y.slice(..)), dresidual: None };
    assert!(matches!(
        layer.backward(Mode::Eval, &shape, Gradients::ALL, &back),
        Err(Error::Unexpected { argument: "dy", .. })
    ));
    // One value per channel trains, but has no unbiased variance that a running one could follow.
    let single = Shape::nc(1, 4).unwrap();
    assert!(layer.forward(Mode::Train, &single, &apart).is_ok());
    assert_eq!(layer.running_update(&single).unwrap_err(), Error::TooFewValues { values: 1 });
    let population = Config { running_variance: RunningVariance::Population, ..Config::pytorch() };
    assert!(Layer::new(gpu.norms(), 4, &population).unwrap().running_update(&single).is_ok());
}

#[pollster::test]
async fn every_mode_matches_the_reference_and_recomputation_updates_once() {
    every_mode(false).await;
}

#[pollster::test]
async fn every_mode_with_a_residual_matches_the_reference() {
    every_mode(true).await;
}

async fn every_mode(with_residual: bool) {
    let gpu = Gpu::new().await.unwrap();
    let config = Config { activation: Activation::Relu, residual: with_residual, ..Config::pytorch() };
    let channels = 5;
    let layer = Layer::new(gpu.norms(), channels as u32, &config).unwrap();
    let (gamma, beta) = (noise(channels, 1), noise(channels, 2));
    let mut state = State { gamma: Some(gamma.clone()), beta: Some(beta.clone()), ..State::new(channels) };
    layer.load_state(&gpu, &state).unwrap();
    let (gamma, beta) = (wide1(&gamma), wide1(&beta));
    // A whole batch and a smaller last one, twice: what is prepared for the one serves beside the other.
    for (round, rows) in [33, 7, 33, 7].into_iter().enumerate() {
        let shape = Shape::ncl(rows, channels, 6).unwrap();
        let count = shape.elements() as usize;
        let (x, dy) = (noise(count, 10 + round as u64), noise(count, 20 + round as u64));
        let tensor = |values: &[f32]| gpu.buffer("tensor", bytemuck::cast_slice(values)).unwrap();
        let (x_buffer, dy_buffer) = (tensor(&x), tensor(&dy));
        let residual = noise(count, 30 + round as u64);
        let (residual_buffer, dresidual) = (tensor(&residual), gpu.empty("dresidual", 4 * count as u64).unwrap());
        let mask = gpu.empty("mask", mask_bytes(&shape)).unwrap();
        let if_any = |buffer| Some(wgpu::Buffer::slice(buffer, ..)).filter(|_| with_residual);
        let (y, dx) = (gpu.empty("y", 4 * count as u64).unwrap(), gpu.empty("dx", 4 * count as u64).unwrap());
        let (residual_slice, mask) = (if_any(&residual_buffer), if_any(&mask));
        let forward = LayerForward { x: x_buffer.slice(..), y: y.slice(..), residual: residual_slice, mask };
        let dx_slice = Some(dx.slice(..));
        let (x_slice, dy_slice) = (x_buffer.slice(..), dy_buffer.slice(..));
        let back = LayerBackward { x: x_slice, dy: dy_slice, mask, dx: dx_slice, dresidual: if_any(&dresidual) };
        let x = wide(&shape, &x);
        let dy = wide(&shape, &dy);
        let residual = with_residual.then(|| wide(&shape, &residual));

        let before = (state.running_mean.clone().unwrap(), state.running_variance.clone().unwrap());
        let (old_mean, old_variance) = (wide1(&before.0), wide1(&before.1));
        for mode in [Mode::Frozen, Mode::Train, Mode::Eval] {
            let what = format!("{mode:?} {shape} round {round}");
            let running = mode != Mode::Train;
            let batch = reference::moments(x.view());
            let (mean, variance) = if running { (&old_mean, &old_variance) } else { (&batch.mean, &batch.variance) };
            let apply = reference::Apply {
                x: x.view(),
                mean: mean.view(),
                variance: variance.view(),
                gamma: Some(gamma.view()),
                beta: Some(beta.view()),
                residual: residual.as_ref().map(|r| r.view()),
            };
            let kind = if running { bounds::Statistics::Given } else { bounds::Statistics::Batch };
            let step = layer.forward(mode, &shape, &forward).unwrap();
            gpu.submit(|pass| step.record(pass));
            let got = gpu.read_f32(&y, count).await.unwrap();
            hold(&what, &got, &reference::apply(&apply, &config), &bounds::apply(&apply, kind, &config));
            if mode == Mode::Eval {
                continue;
            }
            let step = layer.backward(mode, &shape, Gradients::ALL, &back).unwrap();
            gpu.submit(|pass| step.record(pass));
            let backward = reference::Backward {
                x: x.view(),
                dy: dy.view(),
                mean: mean.view(),
                variance: variance.view(),
                gamma: Some(gamma.view()),
                beta: Some(beta.view()),
                residual: residual.as_ref().map(|r| r.view()),
                frozen: running,
            };
            let (expected, bound) = (reference::backward(&backward, &config), bounds::backward(&backward, &config));
            let got = gpu.read_f32(&dx, count).await.unwrap();
            hold(&format!("dx {what}"), &got, &expected.dx, &bound.dx);
            if let (Some(expected), Some(bound)) = (&expected.dresidual, &bound.dresidual) {
                let got = gpu.read_f32(&dresidual, count).await.unwrap();
                hold(&format!("dresidual {what}"), &got, expected, bound);
            }
            let [dgamma, dbeta] = [layer.gamma(), layer.beta()].map(|p| &p.unwrap().gradient);
            let got = gpu.read_f32(dgamma, channels).await.unwrap();
            hold(&format!("dgamma {what}"), &got, &expected.dgamma, &bound.dgamma);
            let got = gpu.read_f32(dbeta, channels).await.unwrap();
            hold(&format!("dbeta {what}"), &got, &expected.dbeta, &bound.dbeta);
        }
        assert_eq!(layer.state(&gpu).await.unwrap(), state, "no forward or backward changes the state");

        // The forward pass twice, as where activations are computed again, and the update once.
        let step = layer.forward(Mode::Train, &shape, &forward).unwrap();
        let update = layer.running_update(&shape).unwrap();
        gpu.submit(|pass| {
            step.record(pass);
            update.record(pass);
            step.record(pass);
        });
        state = layer.state(&gpu).await.unwrap();
        assert_eq!(state.batches, Some(round as u64 + 1));
        let running =
            reference::Running { mean: old_mean.view(), variance: old_variance.view(), batches_before: round as u64 };
        let batch = reference::moments(x.view());
        let (mean, variance) = reference::running_update(&running, &batch, &config);
        let bound = bounds::running_update(&running, &batch, &config);
        hold("running mean", state.running_mean.as_ref().unwrap(), &mean, &bound.0);
        hold("running variance", state.running_variance.as_ref().unwrap(), &variance, &bound.1);
    }
}
