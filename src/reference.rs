//! The oracle: batch normalisation in f64, written to be read beside the paper.
//!
//! Everything takes views `[outer, channel, inner]` (see [`view`]) and one value per channel. Nothing here is fast,
//! shares code with a kernel, or rounds to a storage type; [`round_to`] does that apart.
//!
//! Ioffe & Szegedy 2015, "Batch Normalization", algorithms 1 and 2 and the gradients of section 3.

use half::{bf16, f16};
use ndarray::{Array1, Array3, ArrayView1, ArrayView3, Axis, Zip, s};

use crate::config::{Activation, Config, Momentum, RunningVariance};
use crate::dtype::DType;
use crate::shape::Shape;

/// The dimensions `[outer, channels, inner]` under which a densely packed tensor of this shape is seen.
pub fn view(shape: &Shape) -> [usize; 3] {
    [shape.outer() as usize, shape.channels() as usize, shape.inner() as usize]
}

/// What [`moments`] finds in a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Values per channel, `m = outer · inner`.
    pub count: usize,
    /// `1/m · Σ x`, `[channels]`; 0 for an empty batch.
    pub mean: Array1<f64>,
    /// `1/m · Σ (x − mean)²`, the population variance, `[channels]`; 0 for an empty batch.
    pub variance: Array1<f64>,
}

/// What [`apply`] normalises, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Apply<'a> {
    /// The input, `[outer, channels, inner]`.
    pub x: ArrayView3<'a, f64>,
    /// The mean of each channel, `[channels]`: of the batch in training, the running one in inference.
    pub mean: ArrayView1<'a, f64>,
    /// The population variance of each channel, `[channels]`.
    pub variance: ArrayView1<'a, f64>,
    /// The scale of each channel, `[channels]`; 1 if absent.
    pub gamma: Option<ArrayView1<'a, f64>>,
    /// The shift of each channel, `[channels]`; 0 if absent.
    pub beta: Option<ArrayView1<'a, f64>>,
    /// Added before the activation, as large as `x`; 0 if absent.
    pub residual: Option<ArrayView3<'a, f64>>,
}

/// The running statistics before a batch.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// The running mean, `[channels]`.
    pub mean: ArrayView1<'a, f64>,
    /// The running variance, `[channels]`.
    pub variance: ArrayView1<'a, f64>,
    /// Batches seen before this one: what a cumulative average is weighted by.
    pub batches_before: u64,
}

/// What [`backward`] differentiates.
#[derive(Clone, Copy, Debug)]
pub struct Backward<'a> {
    /// The input of the forward pass, `[outer, channels, inner]`.
    pub x: ArrayView3<'a, f64>,
    /// The gradient that comes in at `y`, as large as `x`.
    pub dy: ArrayView3<'a, f64>,
    /// The mean that the forward pass used, `[channels]`.
    pub mean: ArrayView1<'a, f64>,
    /// The population variance that the forward pass used, `[channels]`.
    pub variance: ArrayView1<'a, f64>,
    /// The scale of each channel, `[channels]`; 1 if absent.
    pub gamma: Option<ArrayView1<'a, f64>>,
    /// The shift of each channel, `[channels]`; 0 if absent. It decides the mask of a ReLU.
    pub beta: Option<ArrayView1<'a, f64>>,
    /// What the forward pass added before the activation; its gradient is asked for by its presence.
    pub residual: Option<ArrayView3<'a, f64>>,
    /// Whether mean and variance are constants (running statistics) and not functions of `x`.
    pub frozen: bool,
}

/// What [`backward`] finds.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// The gradient of `x`, `[outer, channels, inner]`.
    pub dx: Array3<f64>,
    /// The gradient of gamma, `[channels]`.
    pub dgamma: Array1<f64>,
    /// The gradient of beta, `[channels]`.
    pub dbeta: Array1<f64>,
    /// The gradient of the residual, as large as `x`, if there is one.
    pub dresidual: Option<Array3<f64>>,
}

/// One value per channel, spread over `[1, channels, 1]` so that arithmetic with a tensor repeats it.
pub(crate) fn spread(per_channel: ArrayView1<'_, f64>) -> ArrayView3<'_, f64> {
    per_channel.insert_axis(Axis(0)).insert_axis(Axis(2))
}

/// The sum over outer and inner: one value per channel.
pub(crate) fn sum(x: &Array3<f64>) -> Array1<f64> {
    x.sum_axis(Axis(2)).sum_axis(Axis(0))
}

/// Mean and population variance of each channel, in two passes.
///
/// `mean = 1/m · Σ x`, `variance = 1/m · Σ (x − mean)²`
///
/// Both are taken of `x − x₀`, x₀ the channel's first value, so that a constant channel has a variance of exactly 0.
pub fn moments(x: ArrayView3<f64>) -> Moments {
    let (outer, channels, inner) = x.dim();
    let count = outer * inner;
    if count == 0 {
        return Moments { count, mean: Array1::zeros(channels), variance: Array1::zeros(channels) };
    }
    let m = count as f64;
    let first = x.slice(s![0, .., 0]);
    let shifted = &x - &spread(first);
    let mean = sum(&shifted) / m;
    let variance = sum(&(&shifted - &spread(mean.view())).mapv(|d| d * d)) / m;
    Moments { count, mean: mean + first, variance }
}

/// `1 / √(variance + epsilon)`, and 0 where variance + epsilon is 0.
pub fn inverse_std(variance: ArrayView1<f64>, epsilon: f64) -> Array1<f64> {
    variance.mapv(|v| if v + epsilon == 0.0 { 0.0 } else { 1.0 / (v + epsilon).sqrt() })
}

/// The input centred and scaled to variance 1: `x̂ = (x − mean) · inverse_std`.
fn normalised(a: &Apply, config: &Config) -> Array3<f64> {
    let inverse_std = inverse_std(a.variance, f64::from(config.epsilon));
    (&a.x - &spread(a.mean)) * spread(inverse_std.view())
}

/// What the activation is applied to: `z = gamma · x̂ + beta (+ residual)`.
pub(crate) fn before_activation(a: &Apply, config: &Config) -> Array3<f64> {
    let mut z = normalised(a, config);
    if let Some(gamma) = a.gamma {
        z *= &spread(gamma);
    }
    if let Some(beta) = a.beta {
        z += &spread(beta);
    }
    if let Some(residual) = a.residual {
        z += &residual;
    }
    z
}

/// Normalises, scales and shifts with given statistics, adds the residual and applies the activation.
///
/// `z = gamma · (x − mean) / √(variance + epsilon) + beta (+ residual)`, `y = z` or `max(z, 0)`; NaN stays NaN.
///
/// Takes epsilon and activation from `config`; gamma, beta and residual are there if they are given.
pub fn apply(a: &Apply, config: &Config) -> Array3<f64> {
    let z = before_activation(a, config);
    match config.activation {
        Activation::None => z,
        Activation::Relu => z.mapv_into(|z| if z <= 0.0 { 0.0 } else { z }),
    }
}

/// The running statistics after a batch, `(mean, variance)`.
///
/// `running = (1 − w) · running + w · batch`, w the momentum or `1 / (batches_before + 1)`; the batch's variance is
/// divided by `m − 1` or `m`. An empty batch changes nothing; m = 1 has no unbiased variance and makes NaN.
pub fn running_update(running: &Running, batch: &Moments, config: &Config) -> (Array1<f64>, Array1<f64>) {
    if batch.count == 0 {
        return (running.mean.to_owned(), running.variance.to_owned());
    }
    let m = batch.count as f64;
    let weight = weight(running, config);
    let variance = match config.running_variance {
        RunningVariance::Unbiased => &batch.variance * m / (m - 1.0),
        RunningVariance::Population => batch.variance.clone(),
    };
    let follow = |old: ArrayView1<f64>, new: &Array1<f64>| &old * (1.0 - weight) + new * weight;
    (follow(running.mean, &batch.mean), follow(running.variance, &variance))
}

/// The weight of the new value.
pub(crate) fn weight(running: &Running, config: &Config) -> f64 {
    match config.momentum {
        Momentum::NewValue(weight) => f64::from(weight),
        Momentum::Cumulative => 1.0 / (running.batches_before as f64 + 1.0),
    }
}

impl<'a> Backward<'a> {
    /// The forward pass that is differentiated.
    pub(crate) fn forward(&self) -> Apply<'a> {
        let Backward { x, mean, variance, gamma, beta, residual, .. } = *self;
        Apply { x, mean, variance, gamma, beta, residual }
    }

    /// x̂, and the gradient at z: `dy' = dy` where the activation lets it pass, 0 elsewhere.
    pub(crate) fn normalised_and_masked(&self, config: &Config) -> (Array3<f64>, Array3<f64>) {
        let mut masked = self.dy.to_owned();
        if config.activation == Activation::Relu {
            let z = before_activation(&self.forward(), config);
            Zip::from(&mut masked).and(&z).for_each(|dy, &z| *dy = if z > 0.0 { *dy } else { 0.0 });
        }
        (normalised(&self.forward(), config), masked)
    }
}

/// The gradients of everything that [`apply`] took.
///
/// `dbeta = Σ dy'`, `dgamma = Σ dy'·x̂`, `dresidual = dy'`, where dy' is dy behind the activation (ReLU: 0 where z ≤ 0);
/// `dx = gamma · inverse_std · (dy' − dbeta/m − x̂·dgamma/m)`, and `gamma · inverse_std · dy'` with frozen statistics.
pub fn backward(b: &Backward, config: &Config) -> Gradients {
    let (normalised, masked) = b.normalised_and_masked(config);
    let m = (b.x.len_of(Axis(0)) * b.x.len_of(Axis(2))) as f64;
    let dbeta = sum(&masked);
    let dgamma = sum(&(&masked * &normalised));
    let mut dx = masked.clone();
    // Without this condition an empty batch would divide by 0 for nothing.
    if !b.frozen && !dx.is_empty() {
        dx -= &spread((&dbeta / m).view());
        dx -= &(&normalised * &spread((&dgamma / m).view()));
    }
    dx *= &spread(inverse_std(b.variance, f64::from(config.epsilon)).view());
    if let Some(gamma) = b.gamma {
        dx *= &spread(gamma);
    }
    Gradients { dx, dgamma, dbeta, dresidual: b.residual.map(|_| masked) }
}

/// The value of a storage type nearest to `value`, ties to even; what overflows becomes an infinity.
pub fn round_to(dtype: DType, value: f64) -> f64 {
    match dtype {
        DType::F32 => f64::from(value as f32),
        DType::F16 => f16::from_f32(to_odd(value)).to_f64(),
        DType::Bf16 => bf16::from_f32(to_odd(value)).to_f64(),
    }
}

/// An f32 beside `value` whose last bit is set where it is inexact, so that rounding it again cannot meet a false tie.
///
/// Boldo & Melquiond 2008, "Emulation of a FMA and correctly rounded sums".
fn to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    let wide = f64::from(nearest);
    if wide == value || !nearest.is_finite() {
        return nearest;
    }
    let away = u32::from(wide.abs() > value.abs());
    f32::from_bits((nearest.to_bits() - away) | 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{arr1, array};

    /// Deterministic values in (−1, 1).
    fn noise(dimensions: [usize; 3], seed: u64) -> Array3<f64> {
        let mut state = seed;
        Array3::from_shape_simple_fn(dimensions, || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
    }

    #[test]
    fn a_small_example_agrees_with_pencil_and_paper() {
        // Channel 0 holds 1, 3, 5, 7: mean 4, variance 5. Channel 1 holds 2 four times.
        let x = array![[[1.0, 3.0], [2.0, 2.0]], [[5.0, 7.0], [2.0, 2.0]]];
        let m = moments(x.view());
        assert_eq!((m.count, &m.mean, &m.variance), (4, &arr1(&[4.0, 2.0]), &arr1(&[5.0, 0.0])));

        let config = Config { epsilon: 4.0, momentum: Momentum::NewValue(0.5), ..Config::pytorch() };
        assert_eq!(inverse_std(m.variance.view(), 4.0), arr1(&[1.0 / 3.0, 0.5]));
        let (gamma, beta) = (arr1(&[3.0, 1.0]), arr1(&[10.0, -1.0]));
        let a = Apply {
            x: x.view(),
            mean: m.mean.view(),
            variance: m.variance.view(),
            gamma: Some(gamma.view()),
            beta: Some(beta.view()),
            residual: None,
        };
        assert_eq!(apply(&a, &config), array![[[7.0, 9.0], [-1.0, -1.0]], [[11.0, 13.0], [-1.0, -1.0]]]);
        let relu = Config { activation: Activation::Relu, ..config };
        assert_eq!(apply(&a, &relu), array![[[7.0, 9.0], [0.0, 0.0]], [[11.0, 13.0], [0.0, 0.0]]]);

        let (old_mean, old_variance) = (arr1(&[0.0, 0.0]), arr1(&[1.0, 1.0]));
        let running = Running { mean: old_mean.view(), variance: old_variance.view(), batches_before: 3 };
        assert_eq!(running_update(&running, &m, &config), (arr1(&[2.0, 1.0]), arr1(&[0.5 + 10.0 / 3.0, 0.5])));
        let cumulative =
            Config { momentum: Momentum::Cumulative, running_variance: RunningVariance::Population, ..config };
        assert_eq!(running_update(&running, &m, &cumulative), (arr1(&[1.0, 0.5]), arr1(&[2.0, 0.75])));

        // dy picks the first value of channel 0: x̂ = −1 there, so dbeta = 1, dgamma = −1,
        // dx = 1 · (dy − 1/4 + x̂/4) with x̂ = −1, −1/3, 1/3, 1.
        let mut dy = Array3::zeros((2, 2, 2));
        dy[[0, 0, 0]] = 1.0;
        let b = Backward {
            x: x.view(),
            dy: dy.view(),
            mean: m.mean.view(),
            variance: m.variance.view(),
            gamma: Some(gamma.view()),
            beta: None,
            residual: None,
            frozen: false,
        };
        let g = backward(&b, &config);
        assert_eq!((&g.dgamma, &g.dbeta), (&arr1(&[-1.0, 0.0]), &arr1(&[1.0, 0.0])));
        let expected = [0.5, -1.0 / 3.0, -1.0 / 6.0, 0.0];
        for (got, expected) in g.dx.index_axis(Axis(1), 0).iter().zip(expected) {
            assert!((got - expected).abs() < 1e-15, "{got} {expected}");
        }
        assert_eq!(g.dx.index_axis(Axis(1), 1), Array3::<f64>::zeros((2, 2, 2)).index_axis(Axis(1), 1));
        assert_eq!(backward(&Backward { frozen: true, ..b }, &config).dx, dy);
    }

    /// Everything that can be differentiated, as one owner.
    #[derive(Clone)]
    struct Point {
        x: Array3<f64>,
        gamma: Option<Array1<f64>>,
        beta: Option<Array1<f64>>,
        residual: Option<Array3<f64>>,
        frozen: Option<Moments>,
    }

    impl Point {
        fn moments(&self) -> Moments {
            self.frozen.clone().unwrap_or_else(|| moments(self.x.view()))
        }

        fn loss(&self, dy: &Array3<f64>, config: &Config) -> f64 {
            let m = self.moments();
            let a = Apply {
                x: self.x.view(),
                mean: m.mean.view(),
                variance: m.variance.view(),
                gamma: self.gamma.as_ref().map(|v| v.view()),
                beta: self.beta.as_ref().map(|v| v.view()),
                residual: self.residual.as_ref().map(|v| v.view()),
            };
            (apply(&a, config) * dy).sum()
        }

        fn gradients(&self, dy: &Array3<f64>, config: &Config) -> Gradients {
            let m = self.moments();
            let b = Backward {
                x: self.x.view(),
                dy: dy.view(),
                mean: m.mean.view(),
                variance: m.variance.view(),
                gamma: self.gamma.as_ref().map(|v| v.view()),
                beta: self.beta.as_ref().map(|v| v.view()),
                residual: self.residual.as_ref().map(|v| v.view()),
                frozen: self.frozen.is_some(),
            };
            backward(&b, config)
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let d = [3, 2, 5];
        let dy = noise(d, 2);
        for case in 0..32u32 {
            let has = |bit: u32| case & (1 << bit) != 0;
            let activation = if has(0) { Activation::Relu } else { Activation::None };
            let config = Config { activation, epsilon: 1e-3, ..Config::pytorch() };
            let point = Point {
                x: noise(d, 1) * 2.0 + 0.5,
                gamma: has(1).then(|| arr1(&[1.3, -0.7])),
                beta: has(2).then(|| arr1(&[0.2, -0.1])),
                residual: has(3).then(|| noise(d, 3)),
                frozen: has(4).then(|| Moments { count: 15, mean: arr1(&[0.4, 0.6]), variance: arr1(&[1.1, 0.8]) }),
            };
            let g = point.gradients(&dy, &config);
            let step = 1e-6;
            // The difference quotient errs by step² times a third derivative of order 10, and by 1e-15 / step.
            let check = |what: &str, got: f64, move_by: &dyn Fn(&mut Point, f64)| {
                let loss = |by: f64| {
                    let mut p = point.clone();
                    move_by(&mut p, by);
                    p.loss(&dy, &config)
                };
                let expected = (loss(step) - loss(-step)) / (2.0 * step);
                assert!((got - expected).abs() < 1e-7, "case {case}: {what}: {got} but {expected}");
            };
            for (index, &dx) in g.dx.indexed_iter() {
                check("dx", dx, &|p, by| p.x[index] += by);
                if let Some(dresidual) = &g.dresidual {
                    check("dresidual", dresidual[index], &|p, by| {
                        if let Some(r) = &mut p.residual {
                            r[index] += by;
                        }
                    });
                }
            }
            assert_eq!(g.dresidual.is_some(), has(3));
            for c in 0..2 {
                if has(1) {
                    check("dgamma", g.dgamma[c], &|p, by| p.gamma.iter_mut().for_each(|v| v[c] += by));
                }
                if has(2) {
                    check("dbeta", g.dbeta[c], &|p, by| p.beta.iter_mut().for_each(|v| v[c] += by));
                }
            }
        }
    }

    #[test]
    fn one_value_per_channel_has_no_variance_and_becomes_beta() {
        let x = array![[[7.5], [-3.0]]];
        let m = moments(x.view());
        assert_eq!((m.count, &m.mean, &m.variance), (1, &arr1(&[7.5, -3.0]), &arr1(&[0.0, 0.0])));
        let beta = arr1(&[0.25, 0.5]);
        let point = Point { x, gamma: None, beta: Some(beta.clone()), residual: None, frozen: None };
        let a = Apply {
            x: point.x.view(),
            mean: m.mean.view(),
            variance: m.variance.view(),
            gamma: None,
            beta: Some(beta.view()),
            residual: None,
        };
        assert_eq!(apply(&a, &Config::keras()), array![[[0.25], [0.5]]]);
        let g = point.gradients(&array![[[2.0], [3.0]]], &Config::keras());
        assert_eq!((g.dx, g.dgamma, g.dbeta), (Array3::zeros((1, 2, 1)), arr1(&[0.0, 0.0]), arr1(&[2.0, 3.0])));
    }

    #[test]
    fn an_empty_batch_changes_nothing() {
        let x = Array3::zeros((0, 2, 3));
        let m = moments(x.view());
        assert_eq!((m.count, &m.mean, &m.variance), (0, &arr1(&[0.0, 0.0]), &arr1(&[0.0, 0.0])));
        let (mean, variance) = (arr1(&[1.0, 2.0]), arr1(&[3.0, 4.0]));
        let running = Running { mean: mean.view(), variance: variance.view(), batches_before: 0 };
        assert_eq!(running_update(&running, &m, &Config::pytorch()), (mean, variance));
        let point = Point { x: x.clone(), gamma: None, beta: None, residual: None, frozen: None };
        let g = point.gradients(&x, &Config::pytorch());
        assert_eq!((g.dx, g.dgamma, g.dbeta), (x, arr1(&[0.0, 0.0]), arr1(&[0.0, 0.0])));
    }

    #[test]
    fn a_constant_channel_without_epsilon_has_inverse_std_0() {
        let config = Config { epsilon: 0.0, ..Config::pytorch() };
        let x = Array3::from_elem((7, 1, 11), 123.456);
        assert_eq!(moments(x.view()).variance[0], 0.0);
        let point = Point { x, gamma: Some(arr1(&[2.0])), beta: None, residual: None, frozen: None };
        let g = point.gradients(&noise([7, 1, 11], 5), &config);
        assert_eq!(g.dx, Array3::<f64>::zeros((7, 1, 11)));
        assert_eq!(g.dgamma[0], 0.0);
        assert_eq!(point.loss(&noise([7, 1, 11], 5), &config), 0.0);
    }

    #[test]
    fn nan_stays_in_its_channel() {
        let mut x = noise([3, 3, 4], 9);
        x[[1, 1, 2]] = f64::NAN;
        let config = Config { activation: Activation::Relu, ..Config::pytorch() };
        let m = moments(x.view());
        let a = Apply {
            x: x.view(),
            mean: m.mean.view(),
            variance: m.variance.view(),
            gamma: None,
            beta: None,
            residual: None,
        };
        let y = apply(&a, &config);
        let point = Point { x: x.clone(), gamma: None, beta: None, residual: None, frozen: None };
        let g = point.gradients(&noise([3, 3, 4], 8), &Config::pytorch());
        for c in 0..3 {
            for values in [&y, &g.dx] {
                assert!(values.index_axis(Axis(1), c).iter().all(|v| v.is_finite() != (c == 1)), "channel {c}");
            }
            assert_eq!(m.mean[c].is_nan(), c == 1);
            assert_eq!(g.dgamma[c].is_nan(), c == 1);
        }
    }

    #[test]
    fn rounding_goes_to_the_nearest_and_once() {
        assert_eq!(round_to(DType::F32, 0.1), f64::from(0.1f32));
        assert_eq!(round_to(DType::F16, 65519.9), 65504.0);
        assert_eq!(round_to(DType::F16, 65520.0), f64::INFINITY);
        assert_eq!(round_to(DType::F16, -(2f64.powi(-25))), 0.0);
        assert_eq!(round_to(DType::F16, 2f64.powi(-25) * 1.0001), 2f64.powi(-24));
        // Halfway between two values of the storage type, and a little above it by less than an f32 resolves.
        for (dtype, digits) in [(DType::F16, 11), (DType::Bf16, 8)] {
            let half = 2f64.powi(-digits);
            assert_eq!(round_to(dtype, 1.0 + half), 1.0);
            assert_eq!(round_to(dtype, 1.0 + half + 1e-12), 1.0 + 2.0 * half);
            assert_eq!(round_to(dtype, -1.0 - half - 1e-12), -1.0 - 2.0 * half);
            assert_eq!(round_to(dtype, 1.0 + 3.0 * half), 1.0 + 4.0 * half);
            assert!(round_to(dtype, f64::NAN).is_nan());
            assert_eq!(round_to(dtype, f64::NEG_INFINITY), f64::NEG_INFINITY);
        }
    }
}
