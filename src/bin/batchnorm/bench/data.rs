//! What the measured operations compute with.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wgpu_batchnorm::host::{decode, encode};
use wgpu_batchnorm::{Config, DType, Error, Shape};

use super::Operation;
use crate::verify::{self, Gradients, Problem, Verdict};

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

/// An operation on the data of one shape.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// What is computed.
    pub operation: Operation,
    /// The shape.
    pub shape: &'a Shape,
    /// The configuration.
    pub config: &'a Config,
    /// The data.
    pub data: &'a Data,
}

impl Case<'_> {
    /// Holds y, or dx and the gradients of gamma and beta, against the reference.
    pub fn verify(&self, out: &[f32], [dgamma, dbeta]: &[Vec<f32>; 2]) -> Result<Option<Verdict>, Error> {
        let Self { operation, shape, config, data } = *self;
        let problem = Problem {
            shape,
            config,
            x: &data.x,
            gamma: Some(&data.gamma),
            beta: Some(&data.beta),
            given: (operation == Operation::Inference).then_some([&data.mean[..], &data.variance[..]]),
        };
        match operation {
            Operation::Inference | Operation::Training => verify::output(&problem, out),
            Operation::Backward => verify::gradients(&problem, &Gradients { dy: &data.dy, dx: out, dgamma, dbeta }),
        }
    }
}
