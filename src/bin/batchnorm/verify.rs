//! Holds what an operation computed against the reference, channels in parallel.

use ndarray::{Array1, Array3, ArrayView1, ArrayView3, Axis, s};
use rayon::prelude::*;
use wgpu_batchnorm::check::compare::Worst;
use wgpu_batchnorm::check::{bounds, compare};
use wgpu_batchnorm::{Config, Error, Shape, reference};

/// Elements of a slab of channels: what the reference needs for one stays near the cores.
const SLAB_ELEMENTS: usize = 1 << 17;

/// What was computed with: tensors `[outer, channels, inner]`, the rest `[channels]`.
#[derive(Clone, Copy)]
pub struct Problem<'a> {
    /// The shape.
    pub shape: &'a Shape,
    /// The configuration.
    pub config: &'a Config,
    /// The input.
    pub x: &'a [f32],
    /// The scale, where there is one.
    pub gamma: Option<&'a [f32]>,
    /// The shift, where there is one.
    pub beta: Option<&'a [f32]>,
    /// Mean and variance, where they are given and not the batch's own.
    pub given: Option<[&'a [f32]; 2]>,
}

/// What backward wrote, and of what.
#[derive(Clone, Copy)]
pub struct Gradients<'a> {
    /// The gradient of the output.
    pub dy: &'a [f32],
    /// The gradient of the input.
    pub dx: &'a [f32],
    /// The gradient of gamma.
    pub dgamma: &'a [f32],
    /// The gradient of beta.
    pub dbeta: &'a [f32],
}

/// The element that is nearest to its bound, or furthest beyond it.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// Which tensor it is of.
    pub tensor: &'static str,
    /// The element; its index counts in the tensor.
    pub worst: Worst,
    /// The largest difference of any element, whatever its bound; infinite where one is NaN and should not be.
    pub largest_error: f64,
}

impl Verdict {
    /// Whether every element is within its bound.
    pub fn passed(&self) -> bool {
        self.worst.ratio <= 1.0
    }

    /// How far the element is off.
    pub fn error(&self) -> f64 {
        if self.worst.got == self.worst.expected { 0.0 } else { (self.worst.got - self.worst.expected).abs() }
    }

    /// The worse of two.
    pub fn worse(self, other: Self) -> Self {
        let largest_error = self.largest_error.max(other.largest_error);
        let worse = if other.worst.ratio > self.worst.ratio { other } else { self };
        Self { largest_error, ..worse }
    }

    /// Of values against what they should be.
    pub fn new(tensor: &'static str, got: &[f64], exact: &[f64], bound: impl Fn(usize) -> f64) -> Option<Self> {
        let difference = |(&got, &exact): (&f64, &f64)| match (got.is_finite(), exact.is_finite()) {
            (true, true) => (got - exact).abs(),
            (false, false) => 0.0,
            _ => f64::INFINITY,
        };
        let largest_error = got.iter().zip(exact).map(difference).fold(0.0, f64::max);
        let worst = compare(got.iter().copied(), exact, bound).worst?;
        Some(Self { tensor, worst, largest_error })
    }
}

/// Holds y against the reference; none if it is empty.
pub fn output(problem: &Problem, y: &[f32]) -> Result<Option<Verdict>, Error> {
    problem.slabs("y", y, |slab, got| {
        let (statistics, moments) = slab.moments()?;
        let forward = slab.forward(&moments);
        let exact = reference::apply(&forward, slab.config);
        slab.worst("y", got, &exact, &bounds::apply(&forward, statistics, slab.config))
    })
}

/// Holds y against what a file expects, under the same bounds and a share of each value for the file's own rounding.
pub fn expected(problem: &Problem, y: &[f32], file: &[f32], rounding: f64) -> Result<Option<Verdict>, Error> {
    problem.slabs("y", y, |slab, got| {
        let (statistics, moments) = slab.moments()?;
        let expected = slab.part("the expected tensor", file)?;
        let bound = bounds::apply(&slab.forward(&moments), statistics, slab.config);
        let bound = bound + expected.mapv(|value| value.abs() * rounding);
        slab.worst("y", got, &expected, &bound)
    })
}

/// Holds dx, dgamma and dbeta against the reference; none if they are empty.
pub fn gradients(problem: &Problem, gradients: &Gradients) -> Result<Option<Verdict>, Error> {
    problem.slabs("dx", gradients.dx, |slab, got| {
        let (_, moments) = slab.moments()?;
        let reference::Apply { x, mean, variance, gamma, beta, residual } = slab.forward(&moments);
        let dy = slab.part("dy", gradients.dy)?;
        let frozen = slab.problem.given.is_some();
        let backward = reference::Backward { x, dy: dy.view(), mean, variance, gamma, beta, residual, frozen };
        let (exact, bound) = (reference::backward(&backward, slab.config), bounds::backward(&backward, slab.config));
        let line = |values: ArrayView1<f64>| values.to_owned().insert_axis(Axis(0)).insert_axis(Axis(2));
        let per_channel = |name, got: &[f32], exact: &Array1<f64>, bound: &Array1<f64>| {
            let got = slab.values(name, got)?;
            slab.worst(name, &line(got.view()), &line(exact.view()), &line(bound.view()))
        };
        let all = [
            slab.worst("dx", got, &exact.dx, &bound.dx)?,
            per_channel("dgamma", gradients.dgamma, &exact.dgamma, &bound.dgamma)?,
            per_channel("dbeta", gradients.dbeta, &exact.dbeta, &bound.dbeta)?,
        ];
        Ok(all.into_iter().flatten().reduce(Verdict::worse))
    })
}

/// Mean and population variance of each channel of a tensor, by the reference.
pub fn moments(shape: &Shape, values: &[f32]) -> Result<reference::Moments, Error> {
    let [outer, channels, inner] = reference::view(shape);
    let width = (SLAB_ELEMENTS / (outer * inner).max(1)).clamp(1, channels);
    let starts: Vec<usize> = (0..channels).step_by(width).collect();
    let one = |&start: &usize| {
        let part = part_of_tensor("the tensor", values, shape, &(start..(start + width).min(channels)))?;
        Ok(reference::moments(part.view()))
    };
    let parts = starts.par_iter().map(one).collect::<Result<Vec<_>, Error>>()?;
    let joined = |field: fn(&reference::Moments) -> &Array1<f64>| {
        parts.iter().flat_map(|part| field(part).iter().copied()).collect()
    };
    Ok(reference::Moments { count: outer * inner, mean: joined(|m| &m.mean), variance: joined(|m| &m.variance) })
}

/// Some neighbouring channels of a problem, in f64.
struct Slab<'a> {
    problem: &'a Problem<'a>,
    config: &'a Config,
    range: std::ops::Range<usize>,
    x: Array3<f64>,
    gamma: Option<Array1<f64>>,
    beta: Option<Array1<f64>>,
}

impl Problem<'_> {
    /// The worst of what each slab of channels finds in its part of a tensor.
    fn slabs(
        &self,
        name: &'static str,
        got: &[f32],
        judge: impl Fn(&Slab, &Array3<f64>) -> Result<Option<Verdict>, Error> + Sync,
    ) -> Result<Option<Verdict>, Error> {
        let [outer, channels, inner] = reference::view(self.shape);
        let width = (SLAB_ELEMENTS / (outer * inner).max(1)).clamp(1, channels);
        let starts: Vec<usize> = (0..channels).step_by(width).collect();
        let one = |&start: &usize| {
            let range = start..(start + width).min(channels);
            let gamma = self.gamma.map(|gamma| part_of_values("gamma", gamma, self.shape, &range)).transpose()?;
            let beta = self.beta.map(|beta| part_of_values("beta", beta, self.shape, &range)).transpose()?;
            let x = part_of_tensor("x", self.x, self.shape, &range)?;
            let slab = Slab { problem: self, config: self.config, range, x, gamma, beta };
            judge(&slab, &slab.part(name, got)?)
        };
        let found = starts.par_iter().map(one).collect::<Result<Vec<_>, Error>>()?;
        Ok(found.into_iter().flatten().reduce(Verdict::worse))
    }
}

impl Slab<'_> {
    fn part(&self, argument: &'static str, tensor: &[f32]) -> Result<Array3<f64>, Error> {
        part_of_tensor(argument, tensor, self.problem.shape, &self.range)
    }

    fn values(&self, argument: &'static str, values: &[f32]) -> Result<Array1<f64>, Error> {
        part_of_values(argument, values, self.problem.shape, &self.range)
    }

    fn moments(&self) -> Result<(bounds::Statistics, reference::Moments), Error> {
        let Some([mean, variance]) = self.problem.given else {
            return Ok((bounds::Statistics::Batch, reference::moments(self.x.view())));
        };
        let count = self.problem.shape.values_per_channel() as usize;
        let (mean, variance) = (self.values("the mean", mean)?, self.values("the variance", variance)?);
        Ok((bounds::Statistics::Given, reference::Moments { count, mean, variance }))
    }

    fn forward<'a>(&'a self, moments: &'a reference::Moments) -> reference::Apply<'a> {
        reference::Apply {
            x: self.x.view(),
            mean: moments.mean.view(),
            variance: moments.variance.view(),
            gamma: self.gamma.as_ref().map(|gamma| gamma.view()),
            beta: self.beta.as_ref().map(|beta| beta.view()),
            residual: None,
        }
    }

    /// The worst element of a part, or of one value per channel, with its index in the whole.
    fn worst(
        &self,
        tensor: &'static str,
        got: &Array3<f64>,
        exact: &Array3<f64>,
        bound: &Array3<f64>,
    ) -> Result<Option<Verdict>, Error> {
        let (outer, width, inner) = exact.dim();
        let [all_outer, channels, all_inner] = reference::view(self.problem.shape);
        let listed = |values: &Array3<f64>| values.iter().copied().collect::<Vec<f64>>();
        let (got, exact, bound) = (listed(got), listed(exact), listed(bound));
        let Some(mut verdict) = Verdict::new(tensor, &got, &exact, |index| bound[index]) else { return Ok(None) };
        let worst = &mut verdict.worst;
        let (plane, place) = (worst.index / inner, worst.index % inner);
        let channel = self.range.start + plane % width;
        let whole = (outer, inner) == (all_outer, all_inner);
        worst.index = if whole { ((plane / width) * channels + channel) * inner + place } else { channel };
        Ok(Some(verdict))
    }
}

fn part_of_tensor(
    argument: &'static str,
    tensor: &[f32],
    shape: &Shape,
    range: &std::ops::Range<usize>,
) -> Result<Array3<f64>, Error> {
    let needed = reference::view(shape);
    let dimensions = vec![tensor.len()];
    let whole = ArrayView3::from_shape(needed, tensor).map_err(|_| Error::WrongDimensions {
        argument,
        dimensions,
        needed: needed.to_vec(),
    })?;
    Ok(whole.slice(s![.., range.clone(), ..]).mapv(f64::from))
}

fn part_of_values(
    argument: &'static str,
    values: &[f32],
    shape: &Shape,
    range: &std::ops::Range<usize>,
) -> Result<Array1<f64>, Error> {
    let needed = shape.channels() as usize;
    if values.len() != needed {
        return Err(Error::WrongDimensions { argument, dimensions: vec![values.len()], needed: vec![needed] });
    }
    Ok(values[range.clone()].iter().map(|&value| f64::from(value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_element_is_found_wherever_it_is() {
        let shape = Shape::new(&[3, 700, 91], 1).unwrap();
        let config = Config::pytorch();
        let elements = shape.elements() as usize;
        let x: Vec<f32> = (0..elements).map(|i| ((i * 7919) % 1009) as f32 / 100.0).collect();
        let problem = Problem { shape: &shape, config: &config, x: &x, gamma: None, beta: None, given: None };
        let wide: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
        let view = ArrayView3::from_shape(reference::view(&shape), &wide).unwrap();
        let moments = reference::moments(view);
        let (mean, variance) = (moments.mean.view(), moments.variance.view());
        let a = reference::Apply { x: view, mean, variance, gamma: None, beta: None, residual: None };
        let mut y: Vec<f32> = reference::apply(&a, &config).iter().map(|&v| v as f32).collect();
        assert!(output(&problem, &y).unwrap().unwrap().passed());
        for index in [0, 91 * 699 + 90, elements - 1, 91 * 1234 + 5] {
            let right = std::mem::replace(&mut y[index], 9.0);
            let verdict = output(&problem, &y).unwrap().unwrap();
            assert!(!verdict.passed());
            assert_eq!((verdict.worst.index, verdict.worst.got), (index, 9.0));
            y[index] = right;
        }
        assert!(output(&problem, &y[1..]).is_err());
    }
}
