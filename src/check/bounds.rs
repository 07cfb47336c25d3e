//! How far a careful f32 kernel may lie from the reference: derived, not guessed.
//!
//! Each function stands beside the one of [`mod@reference`] that it bounds and takes the same argument:
//! the exact one, in f64, of inputs that the storage type holds exactly. The bounds come in the same layout, for
//! [`compare`](crate::check::compare()) to use by index.
//!
//! The scheme that is bounded, with u = 2⁻²⁴, the largest relative error of one f32 rounding:
//! - sums are taken of differences `x − K` from an anchor K inside the data, at most [`BLOCK`] additions in a row, then
//!   merged by Chan's formula, at most [`MERGES`] records in a chain and [`TREE`] levels of a tree;
//! - the mean stays a pair `K + d`, d at most about a standard deviation;
//! - `y = ((x − K) − d) · (gamma · inverse_std) + beta (+ residual)`, each operation rounded once or fused;
//! - `inverseSqrt` is within 2 ULP, a division within 2.5 ULP (WGSL's limits); 1 ULP is at most 2u.
//!
//! A sum of n rounded additions errs by at most n·u, but as a random walk by √n·u: the error exceeds λ·√n·u with a
//! probability below 2·exp(−λ²/2) if the roundings are independent of mean 0 (Higham & Mary 2019, "A new approach to
//! probabilistic rounding error analysis"). n is 400, far too few for the worst case to be met by chance, and the
//! worst case would let pass what is wrong; so the bounds take λ·√n with λ = 4. Partial sums are smaller than the sum,
//! which leaves a further factor of 2 to 3.
//!
//! Subnormal f32 may be flushed to 0 by a device: every bound has an absolute term for that, and none holds where
//! `variance + epsilon` itself is subnormal.

use ndarray::{Array1, Array3, ArrayView1, Zip};

use crate::config::{Activation, Config, Momentum, RunningVariance};
use crate::dtype::DType;
use crate::reference::{self, Apply, Backward, Moments, Running, spread, sum};

/// The largest relative error of one f32 rounding, 2⁻²⁴.
pub const U: f64 = 1.0 / (1u64 << 24) as f64;
/// Additions in a row before an accumulator is folded: 4 096 values over the 32 accumulators of an unrolled loop.
///
/// Kernels that sweep rows (`Walk::Rows`, on software adapters) fold once a part, after 512 additions and with few merges to follow,
/// of which these bounds grant √(416/544)·λ, 3.5 deviations; in tensors of more than 200 MB parts are up to twice as long.
pub const BLOCK: f64 = 128.0;
/// Records merged one after the other: the blocks of an invocation, then the parts of a channel.
pub const MERGES: f64 = 256.0;
/// Levels of the tree between the two, and of the trees that fold accumulators: log₂ of 2³².
pub const TREE: f64 = 32.0;
/// How many standard deviations of a random walk are granted.
pub const LAMBDA: f64 = 4.0;
/// The smallest normal f32: what flushing may cost.
const FLUSHED: f64 = f32::MIN_POSITIVE as f64;
/// Relative error of `inverseSqrt(variance + epsilon)`: the addition, and 2 ULP; 1 / √v by division stays within it
/// where a device rounds both correctly.
const INVERSE_STD: f64 = 6.0 * U;
/// Relative error of a division, 2.5 ULP, and of the rounding of its operands.
const DIVISION: f64 = 6.0 * U;

/// Relative error of a sum of `count` values of one sign: λ·√n·u, n the roundings between a value and the result.
///
/// Few values pass fewer additions: at most `count` of them, and a merge rounds about four times.
fn sum_error(count: usize) -> f64 {
    let roundings = (16.0 + 4.0 * count as f64).min(BLOCK + MERGES + TREE);
    LAMBDA * roundings.sqrt() * U
}

/// Where the statistics of a normalisation come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// A kernel computes them from `x`: mean and variance err.
    Batch,
    /// They are f32 numbers given to the kernel: mean and variance are exact, `inverse_std` is computed.
    Given,
}

/// Absolute bounds for what [`reference::moments`] and [`reference::inverse_std`] find, all `[channels]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MomentsBounds {
    /// For the mean as a pair, `K + d`.
    pub mean_pair: Array1<f64>,
    /// For the mean as one f32.
    pub mean: Array1<f64>,
    /// For the population variance.
    pub variance: Array1<f64>,
    /// For `1 / √(variance + epsilon)`. Infinite where variance + epsilon is subnormal and not 0.
    pub inverse_std: Array1<f64>,
}

/// Bounds for the statistics of a batch.
///
/// With s the standard deviation and e = λ·√n·u (4.9e-6 for many values):
/// - `|δmean| ≤ e·s + 2u·s + 2u²·|mean|` for the pair. The sum of `x − K` errs by e times the mean distance from K,
///   which is at most s for an anchor inside the data; `d` is rounded, and holds what K's own rounding (u·|mean|) left.
///   One f32 adds `u·|mean|`.
/// - `|δvariance| ≤ 2e·variance` (1e-5): `Σ(x − K)² − (Σ(x − K))²/m` has a condition of `1 + (K − mean)²/variance`,
///   at most 2. Where one ulp of x is no longer small against s (mean/std = r above 1e4; there it is 1e-3 s), the
///   error is granted in proportion, `2e·r/1e4`: 1e-4 at 1e5. That is still 1/60 of what half an ulp in x, u·r·s, can
///   do to the variance, `2u·r`, so it asks for a kernel more exact than its input is likely to be.
/// - `|δinverse_std| ≤ inverse_std · (½·δvariance / (variance + epsilon) + 6u)`.
pub fn moments(moments: &Moments, config: &Config) -> MomentsBounds {
    let e = sum_error(moments.count);
    let variance = Zip::from(&moments.mean).and(&moments.variance).map_collect(|&mean: &f64, &variance: &f64| {
        if variance == 0.0 {
            return FLUSHED;
        }
        let mean_over_std = mean.abs() / variance.sqrt();
        2.0 * e * variance * (mean_over_std / 1e4).max(1.0) + FLUSHED
    });
    let mean_pair = Zip::from(&moments.mean).and(&moments.variance).map_collect(|&mean: &f64, &variance: &f64| {
        // In a constant channel every x − K is 0, and K is x.
        if variance == 0.0 { FLUSHED } else { (e + 2.0 * U) * variance.sqrt() + 2.0 * U * U * mean.abs() + FLUSHED }
    });
    let mean = &mean_pair + &moments.mean.mapv(|mean| U * mean.abs());
    let relative = relative_inverse_std(moments.variance.view(), variance.view(), config);
    let inverse_std = reference::inverse_std(moments.variance.view(), f64::from(config.epsilon)) * relative;
    MomentsBounds { mean_pair, mean, variance, inverse_std }
}

/// Relative error of inverse_std, from the error of the variance.
fn relative_inverse_std(variance: ArrayView1<f64>, error: ArrayView1<f64>, config: &Config) -> Array1<f64> {
    Zip::from(variance).and(error).map_collect(|&variance: &f64, &error: &f64| {
        match variance + f64::from(config.epsilon) {
            0.0 => 0.0,
            sum if sum < FLUSHED => f64::INFINITY,
            sum => 0.5 * error / sum + INVERSE_STD,
        }
    })
}

/// The errors with which statistics enter a normalisation: of the mean, absolute; of inverse_std, relative.
fn errors_of(
    statistics: Statistics,
    count: usize,
    mean: ArrayView1<f64>,
    variance: ArrayView1<f64>,
    config: &Config,
) -> (Array1<f64>, Array1<f64>) {
    match statistics {
        Statistics::Batch => {
            let known = Moments { count, mean: mean.to_owned(), variance: variance.to_owned() };
            let bounds = moments(&known, config);
            (bounds.mean_pair, relative_inverse_std(variance, bounds.variance.view(), config))
        }
        Statistics::Given => {
            let exact = Array1::zeros(mean.len());
            let relative = relative_inverse_std(variance, exact.view(), config);
            (exact, relative)
        }
    }
}

/// A bound with the rounding to a storage type added: half an ulp of it, half a step where it is subnormal.
///
/// `error` is the bound of the f32 that is rounded. Infinite where the value may overflow the storage type.
fn stored(dtype: DType, value: f64, error: f64) -> f64 {
    // (half an ulp relative to the value, half a subnormal step or what flushing costs, where rounding overflows)
    let (relative, absolute, overflow) = match dtype {
        DType::F32 => (0.0, FLUSHED, f64::from(f32::MAX)),
        DType::F16 => (2f64.powi(-11), 2f64.powi(-25), 65520.0),
        DType::Bf16 => (2f64.powi(-8), FLUSHED, f64::from(f32::MAX) * (1.0 - 2f64.powi(-9))),
    };
    let reach = value.abs() + error;
    if reach >= overflow { f64::INFINITY } else { error + relative * reach + absolute }
}

/// Bounds for what [`reference::apply`] makes, `[outer, channels, inner]`.
///
/// With `p = gamma · x̂`, r the relative error of inverse_std and δmean that of the mean:
/// `|δz| ≤ |p|·(r + 4u) + |gamma|·inverse_std·δmean + u·|p + beta| + u·|z|`, then the rounding of the storage type.
/// Four roundings reach p: two differences, gamma · inverse_std, the product. An activation stretches nothing.
pub fn apply(a: &Apply, statistics: Statistics, config: &Config) -> Array3<f64> {
    let error = before_activation(a, statistics, config);
    let y = reference::apply(a, config);
    Zip::from(&y).and(&error).map_collect(|&y, &error| stored(config.dtype, y, error))
}

/// The bound of z as an f32.
fn before_activation(a: &Apply, statistics: Statistics, config: &Config) -> Array3<f64> {
    let (outer, _, inner) = a.x.dim();
    let (mean_error, relative) = errors_of(statistics, outer * inner, a.mean, a.variance, config);
    let inverse_std = reference::inverse_std(a.variance, f64::from(config.epsilon));
    let scale = inverse_std * a.gamma.map_or(Array1::ones(a.mean.len()), |gamma| gamma.mapv(f64::abs));
    let unshifted = reference::before_activation(&Apply { beta: None, residual: None, ..*a }, config).mapv(f64::abs);
    let shifted = reference::before_activation(&Apply { residual: None, ..*a }, config).mapv(f64::abs);
    let z = reference::before_activation(a, config).mapv(f64::abs);
    unshifted * spread((relative + 4.0 * U).view()) + spread((scale * mean_error).view()) + (shifted + z) * U + FLUSHED
}

/// Bounds for what [`reference::running_update`] makes of a batch, `(mean, variance)`.
///
/// `|δ| ≤ |w|·δbatch + 3u·(|1 − w|·|running| + |w|·|batch|)`: 1 − w, a product, the sum. A cumulative weight is a
/// division, 2.5 ULP off, and moves both terms. The variance of the batch is multiplied by `m / (m − 1)`, a division.
pub fn running_update(running: &Running, batch: &Moments, config: &Config) -> (Array1<f64>, Array1<f64>) {
    if batch.count == 0 {
        return (Array1::zeros(batch.mean.len()), Array1::zeros(batch.mean.len()));
    }
    let bounds = moments(batch, config);
    let weight = reference::weight(running, config);
    let weight_error = match config.momentum {
        Momentum::NewValue(_) => 0.0,
        Momentum::Cumulative => DIVISION * weight,
    };
    let (factor, factor_error) = match config.running_variance {
        RunningVariance::Unbiased => (batch.count as f64 / (batch.count as f64 - 1.0), DIVISION + 2.0 * U),
        RunningVariance::Population => (1.0, 0.0),
    };
    let follow = |old: ArrayView1<f64>, new: &Array1<f64>, error: &Array1<f64>| {
        Zip::from(old).and(new).and(error).map_collect(|old, new, error| {
            let rounding = 3.0 * U * ((1.0 - weight).abs() * old.abs() + weight.abs() * new.abs());
            weight.abs() * error + rounding + weight_error * (old.abs() + new.abs()) + FLUSHED
        })
    };
    let variance = &batch.variance * factor;
    let variance_error = &bounds.variance * factor + &variance * factor_error;
    (follow(running.mean, &batch.mean, &bounds.mean), follow(running.variance, &variance, &variance_error))
}

/// Absolute bounds for what [`reference::backward`] finds, in its layouts.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientsBounds {
    /// For dx, `[outer, channels, inner]`.
    pub dx: Array3<f64>,
    /// For dgamma, `[channels]`.
    pub dgamma: Array1<f64>,
    /// For dbeta, `[channels]`.
    pub dbeta: Array1<f64>,
    /// For dresidual, as large as x, if there is one.
    pub dresidual: Option<Array3<f64>>,
}

/// Bounds for the gradients.
///
/// With e = λ·√n·u, r and δmean as in [`apply`], i = inverse_std, all sums over the channel:
/// - `|δdbeta| ≤ e·Σ|dy'|`
/// - `|δdgamma| ≤ (e + 4u)·Σ|dy'·x̂| + r·|dgamma| + i·(δmean·|dbeta| + u·s·Σ|dy'|)`: an error of the mean or of
///   inverse_std is the same for all terms and multiplies the sum; the rounding of `(x − K) − d` is not.
/// - `|δdx| ≤ |gamma|·i·(δdbeta/m + |x̂|·δdgamma/m + |dgamma|/m·((r + 4u)·|x̂| + i·δmean) + 6u·T) + (r + 3u)·|dx|`
///   with `T = |dy'| + |dbeta|/m + |x̂·dgamma|/m`, the terms of the difference, each a division by m and two roundings
///   away from exact; then the rounding of the storage type. Frozen, only `(r + 3u)·|dx|` remains.
/// - dresidual is dy' itself: the bound is its flushed subnormals.
///
/// Where z is nearer to 0 than its own bound, a ReLU's mask may fall either way: the element's dy is then added to the
/// bounds of everything it enters.
pub fn backward(b: &Backward, config: &Config) -> GradientsBounds {
    let (outer, _, inner) = b.x.dim();
    let count = outer * inner;
    let statistics = if b.frozen { Statistics::Given } else { Statistics::Batch };
    let (mean_error, relative) = errors_of(statistics, count, b.mean, b.variance, config);
    let inverse_std = reference::inverse_std(b.variance, f64::from(config.epsilon));
    let std = b.variance.mapv(f64::sqrt);
    let exact = reference::backward(b, config);
    let (normalised, masked) = b.normalised_and_masked(config);
    let (normalised, masked) = (normalised.mapv(f64::abs), masked.mapv(f64::abs));

    let mut undecided = Array3::<f64>::zeros(b.x.dim());
    if config.activation == Activation::Relu {
        let z = reference::before_activation(&b.forward(), config);
        let error = before_activation(&b.forward(), statistics, config);
        let either = Zip::from(&z).and(&error).map_collect(|z, error| f64::from(z.abs() <= *error));
        undecided = either * b.dy.mapv(f64::abs);
    }

    let e = sum_error(count);
    let sum_of_dy = sum(&masked) + sum(&undecided);
    let sum_of_products = sum(&(&masked * &normalised));
    let undecided_products = sum(&(&undecided * &normalised));
    let (dgamma, dbeta) = (exact.dgamma.mapv(f64::abs), exact.dbeta.mapv(f64::abs));
    let dbeta_error = &sum_of_dy * e + sum(&undecided) + FLUSHED;
    let dgamma_error = (&sum_of_products + &undecided_products) * (e + 4.0 * U)
        + &undecided_products
        + &relative * &(&dgamma + &undecided_products)
        + &inverse_std * &(&mean_error * &(&dbeta + &sum(&undecided)) + std * U * &sum_of_dy)
        + FLUSHED;

    let gain = &inverse_std * &b.gamma.map_or(Array1::ones(b.mean.len()), |gamma| gamma.mapv(f64::abs));
    let mut inside = undecided.clone();
    if !b.frozen && count > 0 {
        let m = count as f64;
        let per_value = |v: &Array1<f64>| v / m;
        let product = &normalised * &spread(per_value(&dgamma).view());
        let terms = &masked + &spread(per_value(&dbeta).view()) + &product;
        inside += &(&normalised * &spread(per_value(&dgamma_error).view()));
        inside += &spread(per_value(&dbeta_error).view());
        inside += &(product * spread((&relative + 4.0 * U).view()));
        inside += &spread((per_value(&dgamma) * &inverse_std * &mean_error).view());
        inside += &(terms * (6.0 * U));
    }
    let dx_error = inside * spread(gain.view()) + exact.dx.mapv(f64::abs) * spread((relative + 3.0 * U).view());
    let dx = Zip::from(&exact.dx).and(&dx_error).map_collect(|&dx, &error| stored(config.dtype, dx, error));
    let dresidual = exact.dresidual.map(|_| undecided + FLUSHED);
    GradientsBounds { dx, dgamma: dgamma_error, dbeta: dbeta_error, dresidual }
}

#[cfg(test)]
mod tests;
