//! The same operations on the CPU, and its own plain copy.

use std::hint::black_box;
use std::time::Instant;

use ndarray::{Array1, ArrayView3};
use rayon::prelude::*;
use wgpu_batchnorm::host::timing::{Spread, milliseconds};
use wgpu_batchnorm::{Config, Shape, reference};

use super::Operation;
use super::data::Data;

/// What computes.
pub const IMPLEMENTATION: &str = "reference, f64, 1 thread";

/// Runs something until it has been measured five times or half a second has passed.
fn measure(mut run: impl FnMut()) -> Spread {
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.is_empty() || (times.len() < 5 && milliseconds(begin) < 500.0) {
        let start = Instant::now();
        run();
        times.push(milliseconds(start));
    }
    Spread::of(&times)
}

/// The time of each operation on the CPU, in ms.
pub fn time(operations: &[Operation], shape: &Shape, config: &Config, data: &Data) -> Vec<Spread> {
    let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let per_channel = |values: &[f32]| Array1::from(wide(values));
    let dimensions = reference::view(shape);
    let (x, dy) = (wide(&data.x), wide(&data.dy));
    let (Ok(x), Ok(dy)) = (ArrayView3::from_shape(dimensions, &x), ArrayView3::from_shape(dimensions, &dy)) else {
        return Vec::new();
    };
    let (gamma, beta) = (per_channel(&data.gamma), per_channel(&data.beta));
    let (running_mean, running_variance) = (per_channel(&data.mean), per_channel(&data.variance));
    let batch = reference::moments(x);
    let apply = |mean: &Array1<f64>, variance: &Array1<f64>| {
        let (mean, variance, gamma, beta) = (mean.view(), variance.view(), Some(gamma.view()), Some(beta.view()));
        black_box(reference::apply(&reference::Apply { x, mean, variance, gamma, beta, residual: None }, config));
    };
    let run = |operation: &Operation| match operation {
        Operation::Inference => measure(|| apply(&running_mean, &running_variance)),
        Operation::Training => measure(|| {
            let batch = reference::moments(x);
            apply(&batch.mean, &batch.variance);
        }),
        Operation::Backward => measure(|| {
            let (mean, variance) = (batch.mean.view(), batch.variance.view());
            let (gamma, beta) = (Some(gamma.view()), Some(beta.view()));
            let b = reference::Backward { x, dy, mean, variance, gamma, beta, residual: None, frozen: false };
            black_box(reference::backward(&b, config));
        }),
    };
    operations.iter().map(run).collect()
}

/// The time of a copy of so many bytes by all threads, in ms: the CPU's own yardstick.
pub fn copy(bytes: u64) -> Spread {
    let words = (bytes / 8).max(1) as usize;
    let from = vec![1u64; words];
    let mut to = vec![0u64; words];
    let piece = words.div_ceil(rayon::current_num_threads()).max(1);
    let mut run = || {
        to.par_chunks_mut(piece).zip(from.par_chunks(piece)).for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&mut to);
    };
    run();
    measure(run)
}
