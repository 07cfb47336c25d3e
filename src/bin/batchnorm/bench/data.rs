//! What the measured operations compute with.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wgpu_batchnorm::host::{decode, encode};
use wgpu_batchnorm::{DType, Shape};

/// The tensors and parameters of one shape; tensors are exact in the storage type.
pub struct Data {
    /// Input, `[outer, channels, inner]`.
    pub x: Vec<f32>,
    /// Gradient of the output, likewise.
    pub dy: Vec<f32>,
    /// Scale, `[channels]`.
    pub gamma: Vec<f32>,
    /// Shift, `[channels]`.
    pub beta: Vec<f32>,
    /// Running mean, `[channels]`.
    pub mean: Vec<f32>,
    /// Running variance, `[channels]`.
    pub variance: Vec<f32>,
}

impl Data {
    /// Random numbers from a seed: x about 0.5 ± 1.2, what a layer sees in training; dy about 0 ± 0.6.
    pub fn new(shape: &Shape, dtype: DType, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |count: u32, low: f32, high: f32| -> Vec<f32> {
            (0..count).map(|_| low + (high - low) * random.random::<f32>()).collect()
        };
        let (elements, channels) = (shape.elements(), shape.channels());
        let exact = |values: Vec<f32>| decode(&encode(values.into_iter(), dtype), dtype);
        Self {
            x: exact(draw(elements, -1.5, 2.5)),
            dy: exact(draw(elements, -1.0, 1.0)),
            gamma: draw(channels, 0.5, 1.5),
            beta: draw(channels, -0.5, 0.5),
            mean: draw(channels, 0.4, 0.6),
            variance: draw(channels, 1.2, 1.5),
        }
    }
}
