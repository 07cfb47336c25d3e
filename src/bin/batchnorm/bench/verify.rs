//! Holds what an operation computed against the reference.

use ndarray::{Array1, Array3, ArrayView1, ArrayView3, Axis, s};
use rayon::prelude::*;
use wgpu_batchnorm::check::compare::Worst;
use wgpu_batchnorm::check::{bounds, compare};
use wgpu_batchnorm::{Config, Error, Shape, reference};

use super::Operation;
use super::data::Data;

/// Elements of a slab of channels: what the reference needs for one stays near the cores.
const SLAB_ELEMENTS: usize = 1 << 17;

/// What an operation wrote.
#[derive(Default)]
pub struct Written {
    /// y or dx, `[outer, channels, inner]`.
    pub out: Vec<f32>,
    /// dgamma and dbeta, `[channels]`; empty where the operation has none.
    pub gradients: [Vec<f32>; 2],
}

/// The element that is nearest to its bound, or furthest beyond it.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// Which tensor it is of.
    pub tensor: &'static str,
    /// The element; its index counts in the tensor.
    pub worst: Worst,
}

/// Compares with the reference, channels in parallel.
pub fn verify(
    operation: Operation,
    shape: &Shape,
    config: &Config,
    data: &Data,
    written: &Written,
) -> Result<Verdict, Error> {
    let dimensions = reference::view(shape);
    let refused = |_| Error::WrongDimensions {
        argument: "the output",
        dimensions: vec![written.out.len()],
        needed: dimensions.to_vec(),
    };
    let out = ArrayView3::from_shape(dimensions, &written.out).map_err(refused)?;
    let x = ArrayView3::from_shape(dimensions, &data.x).map_err(refused)?;
    let dy = ArrayView3::from_shape(dimensions, &data.dy).map_err(refused)?;
    let [outer, channels, inner] = dimensions;
    let width = (SLAB_ELEMENTS / (outer * inner).max(1)).clamp(1, channels);
    let starts: Vec<usize> = (0..channels).step_by(width).collect();
    let slab = |start: &usize| {
        let range = *start..(*start + width).min(channels);
        let part = |all: ArrayView3<f32>| all.slice(s![.., range.clone(), ..]).mapv(f64::from);
        let values = |all: &[f32]| Array1::from_iter(all[range.clone()].iter().map(|&v| f64::from(v)));
        let slab = Slab {
            x: part(x),
            dy: part(dy),
            gamma: values(&data.gamma),
            beta: values(&data.beta),
            mean: values(&data.mean),
            variance: values(&data.variance),
        };
        let out = part(out);
        let gradients = if operation == Operation::Backward {
            [values(&written.gradients[0]), values(&written.gradients[1])]
        } else {
            Default::default()
        };
        let mut verdict = slab.verify(operation, config, &out, &gradients)?;
        // From the index within the slab to the one within the tensor.
        let index = verdict.worst.index;
        verdict.worst.index = if verdict.tensor.len() > 2 {
            range.start + index
        } else {
            let (plane, place) = (index / inner, index % inner);
            ((plane / range.len()) * channels + range.start + plane % range.len()) * inner + place
        };
        Some(verdict)
    };
    let worst =
        starts.par_iter().filter_map(slab).reduce_with(|a, b| if b.worst.ratio > a.worst.ratio { b } else { a });
    worst.ok_or(Error::Missing { argument: "the output", reason: "there is nothing to compare" })
}

struct Slab {
    x: Array3<f64>,
    dy: Array3<f64>,
    gamma: Array1<f64>,
    beta: Array1<f64>,
    mean: Array1<f64>,
    variance: Array1<f64>,
}

impl Slab {
    fn verify(
        &self,
        operation: Operation,
        config: &Config,
        out: &Array3<f64>,
        gradients: &[Array1<f64>; 2],
    ) -> Option<Verdict> {
        let batch = reference::moments(self.x.view());
        let (statistics, mean, variance) = match operation {
            Operation::Inference => (bounds::Statistics::Given, &self.mean, &self.variance),
            Operation::Training | Operation::Backward => (bounds::Statistics::Batch, &batch.mean, &batch.variance),
        };
        let forward = reference::Apply {
            x: self.x.view(),
            mean: mean.view(),
            variance: variance.view(),
            gamma: Some(self.gamma.view()),
            beta: Some(self.beta.view()),
            residual: None,
        };
        if operation != Operation::Backward {
            return worst("y", out, &reference::apply(&forward, config), &bounds::apply(&forward, statistics, config));
        }
        let backward = reference::Backward {
            x: self.x.view(),
            dy: self.dy.view(),
            mean: mean.view(),
            variance: variance.view(),
            gamma: Some(self.gamma.view()),
            beta: Some(self.beta.view()),
            residual: None,
            frozen: false,
        };
        let (exact, bound) = (reference::backward(&backward, config), bounds::backward(&backward, config));
        let line = |values: ArrayView1<f64>| values.to_owned().insert_axis(Axis(0)).insert_axis(Axis(2));
        let per_channel = |name, got: &Array1<f64>, exact: &Array1<f64>, bound: &Array1<f64>| {
            worst(name, &line(got.view()), &line(exact.view()), &line(bound.view()))
        };
        let all = [
            worst("dx", out, &exact.dx, &bound.dx),
            per_channel("dgamma", &gradients[0], &exact.dgamma, &bound.dgamma),
            per_channel("dbeta", &gradients[1], &exact.dbeta, &bound.dbeta),
        ];
        all.into_iter().flatten().max_by(|a, b| a.worst.ratio.total_cmp(&b.worst.ratio))
    }
}

fn worst(tensor: &'static str, got: &Array3<f64>, exact: &Array3<f64>, bound: &Array3<f64>) -> Option<Verdict> {
    let (exact, bound): (Vec<f64>, Vec<f64>) = (exact.iter().copied().collect(), bound.iter().copied().collect());
    let comparison = compare(got.iter().copied(), &exact, |index| bound[index]);
    comparison.worst.map(|worst| Verdict { tensor, worst })
}
