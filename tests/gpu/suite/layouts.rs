//! The same images with the channels first and last give the same results.

use ndarray::{Array1, Array3};
use wgpu_batchnorm::check::bounds::{self, Statistics};
use wgpu_batchnorm::host::{Gpu, Inputs, Outputs, execute};
use wgpu_batchnorm::plan::Operation;
use wgpu_batchnorm::reference::{self, Apply, Backward};
use wgpu_batchnorm::{Config, DType, Gradients, Shape};

use super::{Outcome, check, noise, text, tunings};

/// `(N, C, H, W)`: planes long and short, aligned and not; channels few, odd and many; with the channels last, below and
/// above what a cache holds.
const IMAGES: [[usize; 4]; 5] = [[3, 2, 60, 61], [4, 27, 7, 7], [2, 64, 12, 12], [2, 3, 256, 256], [5, 512, 12, 12]];

/// Two results of one exact value differ by no more than their bounds add up to. A bound goes by values, not by places, so
/// that it is twice the bound of either.
pub async fn channels_first_and_last_agree(gpu: &Gpu) -> Outcome {
    let (one, other) = (Some(vec![1.0, 2.0]), Some(vec![2.0, 1.5]));
    let swapped = |i: usize| 1 - i;
    check(hold("y", [&one, &other], [0.25, 0.0].iter(), swapped).is_ok(), || "equal results differ".to_owned())?;
    check(hold("y", [&one, &other], [0.24, 0.0].iter(), swapped).is_err(), || "a difference passes".to_owned())?;
    for gpu in tunings(gpu)? {
        for (index, image) in IMAGES.into_iter().enumerate() {
            for dtype in [DType::F32, [DType::F16, DType::Bf16][index % 2]] {
                agree(&gpu, image, dtype).await.map_err(|e| format!("{image:?} {dtype}: {e}"))?;
            }
        }
    }
    Ok(())
}

async fn agree(gpu: &Gpu, [n, c, h, w]: [usize; 4], dtype: DType) -> Outcome {
    let config = Config { dtype, ..Config::pytorch() };
    let (first, last) = (Shape::new(&[n, c, h, w], 1).map_err(text)?, Shape::new(&[n, h, w, c], -1).map_err(text)?);
    let stored = |value: f64| reference::round_to(dtype, value) as f32;
    let x: Vec<f32> = (0..n * c * h * w).map(|i| stored(noise(i) + (i / (h * w) % c) as f64 * 0.1)).collect();
    let dy: Vec<f32> = (0..x.len()).map(|i| stored(noise(i + 7_000_000))).collect();
    let gamma: Vec<f32> = (0..c).map(|c| noise(c) as f32).collect();
    let beta: Vec<f32> = (0..c).map(|c| noise(c + 999) as f32).collect();
    // Element i of the channels-first tensor lies at place(i) of the other.
    let place = |i: usize| {
        let (image, channel, pixel) = (i / (c * h * w), i / (h * w) % c, i % (h * w));
        (image * h * w + pixel) * c + channel
    };
    let moved = |values: &[f32]| {
        let mut out = vec![0.0; values.len()];
        (0..values.len()).for_each(|i| out[place(i)] = values[i]);
        out
    };

    let (x_last, dy_last) = (moved(&x), moved(&dy));
    let mut results: Vec<Outputs> = Vec::new();
    for (shape, x, dy) in [(&first, &x, &dy), (&last, &x_last, &dy_last)] {
        let inputs = Inputs { x: Some(x), dy: Some(dy), gamma: Some(&gamma), beta: Some(&beta), ..Inputs::default() };
        let backward = Operation::Backward(Gradients::ALL);
        results.push(execute(gpu, backward, shape, &config, &inputs).await.map_err(text)?);
    }

    let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let tensor = |values: &[f32]| Array3::from_shape_vec(reference::view(&first), wide(values)).map_err(text);
    let (x, dy) = (tensor(&x)?, tensor(&dy)?);
    let (gamma, beta) = (Array1::from(wide(&gamma)), Array1::from(wide(&beta)));
    let moments = reference::moments(x.view());
    let (mean, variance) = (moments.mean.view(), moments.variance.view());
    let (gamma, beta) = (Some(gamma.view()), Some(beta.view()));
    let apply = Apply { x: x.view(), mean, variance, gamma, beta, residual: None };
    let backward = Backward { x: x.view(), dy: dy.view(), mean, variance, gamma, beta, residual: None, frozen: false };
    let y = bounds::apply(&apply, Statistics::Batch, &config);
    let gradients = bounds::backward(&backward, &config);

    let same = |c: usize| c;
    hold("y", [&results[0].y, &results[1].y], y.iter(), place)?;
    hold("dx", [&results[0].dx, &results[1].dx], gradients.dx.iter(), place)?;
    hold("dgamma", [&results[0].dgamma, &results[1].dgamma], gradients.dgamma.iter(), same)?;
    hold("dbeta", [&results[0].dbeta, &results[1].dbeta], gradients.dbeta.iter(), same)
}

/// Holds the first of a pair, element by element, to the place of it in the second.
fn hold<'a>(
    name: &str,
    pair: [&Option<Vec<f32>>; 2],
    bounds: impl ExactSizeIterator<Item = &'a f64>,
    place: impl Fn(usize) -> usize,
) -> Outcome {
    let [Some(first), Some(last)] = pair else { return Err(format!("{name} is not written")) };
    check(first.len() == bounds.len() && last.len() == bounds.len(), || {
        format!("{name} has {} elements", first.len())
    })?;
    for (i, bound) in bounds.enumerate() {
        let (a, b) = (f64::from(first[i]), f64::from(last[place(i)]));
        // A NaN is in no bound.
        check((a - b).abs() <= 2.0 * bound, || format!("{name}[{i}] is {a:e} and {b:e}, of {bound:e} allowed each"))?;
    }
    Ok(())
}
