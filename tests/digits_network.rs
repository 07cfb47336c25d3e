//! The gradients of the training example's network: against PyTorch's, and against finite differences.
#![cfg(feature = "cli")]

#[allow(dead_code, reason = "the example needs more of it")]
#[path = "../examples/train_digits/data.rs"]
mod data;
#[allow(dead_code, reason = "the example needs more of it")]
#[path = "../examples/train_digits/network.rs"]
mod network;

use data::Digits;
use network::{Network, Parameter, Settings};
use wgpu_batchnorm::Error;
use wgpu_batchnorm::host::Gpu;

/// Deterministic values in [−1, 1).
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 40) as f64 / (1u64 << 23) as f64 - 1.0) as f32
    };
    (0..count).map(|_| next()).collect()
}

/// The first 64 digits of the file, as one batch.
fn batch() -> Digits {
    data::all().unwrap().pick(&(0..64).collect::<Vec<_>>())
}

/// The network with made-up parameters, and a learning rate of 0, so that an epoch leaves gradients and changes nothing.
fn network(gpu: &Gpu, batch_norm: bool) -> Network {
    let settings = Settings { batch_norm, rate: 0.0, seed: 0 };
    let network = Network::new(gpu, &settings, &batch(), &Digits::default()).unwrap();
    for parameter in network.parameters() {
        let (layer, kind) = parameter.name.split_once('.').unwrap();
        let index = u64::from(layer.as_bytes()[layer.len() - 1] - b'1');
        let (from, reach, seed) = match kind {
            "weights" => (0.0, 0.125, index),
            "gamma" => (1.0, 0.5, 10 + index),
            _ => (0.0, 0.5, 20 + index),
        };
        let values: Vec<f32> = noise(parameter.count, seed).iter().map(|v| from + reach * v).collect();
        gpu.queue().write_buffer(&parameter.value, 0, bytemuck::cast_slice(&values));
    }
    network
}

async fn loss(network: &Network) -> f64 {
    let order: Vec<u32> = (0..64).collect();
    network.epoch(&order).await.unwrap().loss
}

async fn gradient(gpu: &Gpu, parameter: &Parameter) -> Vec<f32> {
    gpu.read_f32(&parameter.gradient, parameter.count).await.unwrap()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Whether there is batch normalisation; the loss; of each parameter's gradient, the norm and the product with
/// `noise(count, 100 + index)`.
type Expected = (bool, f64, &'static [(&'static str, f64, f64)]);

/// PyTorch 2.15, in f64:
/// ```python
/// import gzip, numpy as np, torch
/// torch.set_default_dtype(torch.float64)
///
/// def noise(count, state):
///     values = []
///     for _ in range(count):
///         state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
///         values.append((state >> 40) / 2**23 - 1)
///     return np.array(values, np.float32)
///
/// rows = np.array([line.split(",") for line in gzip.open("examples/data/digits.csv.gz", "rt")], np.float32)[:64]
/// images, labels = torch.tensor(rows[:, :64]).double(), torch.tensor(rows[:, 64]).long()
/// widths = [64, 128, 128, 10]
/// for batch_norm in [True, False]:
///     values = []
///     for i, (a, b) in enumerate(zip(widths, widths[1:])):
///         values.append((f"dense{i + 1}.weights", np.float32(0.125) * noise((a + 1) * b, i).reshape(a + 1, b)))
///     for i in range(2 if batch_norm else 0):
///         values.append((f"norm{i + 1}.gamma", 1 + np.float32(0.5) * noise(128, 10 + i)))
///         values.append((f"norm{i + 1}.beta", np.float32(0.5) * noise(128, 20 + i)))
///     p = {name: torch.tensor(value).double().requires_grad_() for name, value in values}
///     h = images
///     for i in range(3):
///         w = p[f"dense{i + 1}.weights"]
///         h = h @ w[:-1] + w[-1]
///         if i < 2 and batch_norm:
///             h = torch.nn.functional.batch_norm(
///                 h, None, None, p[f"norm{i + 1}.gamma"], p[f"norm{i + 1}.beta"], training=True, eps=float(np.float32(1e-5)))
///         if i < 2:
///             h = torch.relu(h)
///     loss = torch.nn.functional.cross_entropy(h, labels)
///     loss.backward()
///     print(f"({str(batch_norm).lower()}, {loss.item():.9}, &[")
///     for i, (name, value) in enumerate(p.items()):
///         g = value.grad.flatten()
///         along = (g @ torch.tensor(noise(len(g), 100 + i)).double()).item()
///         print(f'    ("{name}", {g.norm().item():.9}, {along:.9}),')
///     print("]),")
/// ```
const EXPECTED: [Expected; 2] = [
    (
        true,
        2.42307231,
        &[
            ("dense1.weights", 1.92067135, -1.70545466),
            ("dense2.weights", 1.64165507, -0.682976588),
            ("dense3.weights", 1.56950355, -1.6950637),
            ("norm1.gamma", 0.0924427102, -0.108684392),
            ("norm1.beta", 0.0793771963, 0.00322816973),
            ("norm2.gamma", 0.10205132, 0.0388677833),
            ("norm2.beta", 0.0784230726, -0.0649809587),
        ],
    ),
    (
        false,
        3.2796287,
        &[
            ("dense1.weights", 6.44991507, -0.759030732),
            ("dense2.weights", 7.03564149, 5.28155769),
            ("dense3.weights", 7.48958892, -4.57908006),
        ],
    ),
];

#[pollster::test]
async fn gradients_are_those_of_pytorch_on_the_same_weights() {
    let gpu = Gpu::new().await.unwrap();
    for (batch_norm, expected_loss, expected) in EXPECTED {
        let network = network(&gpu, batch_norm);
        let got = loss(&network).await;
        assert!((got - expected_loss).abs() < 1e-5, "loss {got}, PyTorch has {expected_loss}");
        let parameters = network.parameters();
        assert_eq!(parameters.len(), expected.len());
        for (index, (parameter, &(name, norm, along))) in parameters.iter().zip(expected).enumerate() {
            assert_eq!(parameter.name, name);
            let got = gradient(&gpu, parameter).await;
            let (got_norm, got_along) =
                (dot(&got, &got).sqrt(), dot(&got, &noise(parameter.count, 100 + index as u64)));
            // Three dense layers of up to 129 terms in f32, each relative to what it adds up: some 1e-5 of the norm.
            let bound = 5e-5 * norm;
            assert!((got_norm - norm).abs() < bound, "{name}, batch norm {batch_norm}: norm {got_norm}, not {norm}");
            assert!((got_along - along).abs() < bound, "{name}, batch norm {batch_norm}: {got_along}, not {along}");
        }
    }
}

#[pollster::test]
async fn gradients_agree_with_finite_differences() {
    let gpu = Gpu::new().await.unwrap();
    for batch_norm in [true, false] {
        let network = network(&gpu, batch_norm);
        loss(&network).await;
        let mut gradients = Vec::new();
        for parameter in network.parameters() {
            gradients.push(gradient(&gpu, &parameter).await);
        }
        for (parameter, gradient) in network.parameters().iter().zip(&gradients) {
            let norm = dot(gradient, gradient).sqrt();
            let values = gpu.read_f32(&parameter.value, parameter.count).await.unwrap();
            // Along the gradient the loss rises by its norm; a step of 1e-2 in all is 1e-4 of a weight and less.
            let step = 1e-2;
            let mut losses = [0.0; 2];
            for (loss_at, sign) in losses.iter_mut().zip([-1.0, 1.0]) {
                let by = sign * step / norm;
                let moved: Vec<f32> = values.iter().zip(gradient).map(|(v, g)| v + by as f32 * g).collect();
                gpu.queue().write_buffer(&parameter.value, 0, bytemuck::cast_slice(&moved));
                *loss_at = loss(&network).await;
            }
            gpu.queue().write_buffer(&parameter.value, 0, bytemuck::cast_slice(&values));
            let quotient = (losses[1] - losses[0]) / (2.0 * step);
            // A loss in f32 errs by 1e-6, thus the quotient by 1e-4; the rest is what bends within the step.
            let bound = 1e-4 + 5e-3 * norm;
            let name = &parameter.name;
            assert!((quotient - norm).abs() < bound, "{name}, batch norm {batch_norm}: {quotient}, but {norm}");
        }
    }
}

#[pollster::test]
async fn a_saved_network_resumes_to_the_same_figures() {
    let gpu = Gpu::new().await.unwrap();
    let all = data::all().unwrap();
    // 150 = two whole batches and a smaller one.
    let train = all.pick(&(0..150).collect::<Vec<_>>());
    let held_out = all.pick(&(150..250).collect::<Vec<_>>());
    let new = |seed| {
        let settings = Settings { batch_norm: true, rate: 0.1, seed };
        Network::new(&gpu, &settings, &train, &held_out).unwrap()
    };
    let (first, second) = (new(1), new(2));
    let mut went_on = Vec::new();
    for epoch in 0..4 {
        let order = data::order(train.count(), 1, epoch);
        let figures = first.epoch(&order).await.unwrap();
        went_on.push(figures);
        if epoch == 1 {
            let file = first.save().await.unwrap();
            assert!(matches!(second.load(&file[..file.len() - 4]), Err(Error::State(_))));
            second.load(&file).unwrap();
        }
        if epoch > 1 {
            assert_eq!(second.epoch(&order).await.unwrap(), figures, "epoch {epoch}");
        }
    }
    assert!(went_on[3].loss < went_on[0].loss, "{went_on:?}");
    assert_eq!(first.save().await.unwrap(), second.save().await.unwrap());
}
