//! The bounds against f32 emulations: of the scheme they are derived from, which must pass with room to spare, and of
//! what they are meant to reject.

use std::collections::BTreeMap;

use ndarray::{Array1, Array3, Axis};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::check::compare::compare;

/// A moments record: the mean is `k + d`.
#[derive(Clone, Copy, Default)]
struct Record {
    count: u32,
    k: f32,
    d: f32,
    m2: f32,
}

impl Record {
    fn merge(a: Record, b: Record) -> Record {
        if a.count == 0 || b.count == 0 {
            return if a.count == 0 { b } else { a };
        }
        let count = a.count + b.count;
        let delta = (b.k - a.k) + (b.d - a.d);
        let share = b.count as f32 / count as f32;
        let d = a.d + delta * share;
        let m2 = (a.m2 + b.m2) + delta * delta * (a.count as f32 * share);
        // Knuth's sum of two: the anchor follows the mean, so that d stays small whatever was merged first.
        let k = a.k + d;
        let part = k - a.k;
        Record { count, k, d: (a.k - (k - part)) + (d - part), m2 }
    }
}

#[test]
fn planes_that_end_together_are_folded_as_often_as_the_bounds_grant() {
    assert_eq!(f64::from(crate::plan::ADDITIONS_PER_FOLD), BLOCK);
}

/// Folds by halves, as a workgroup does.
fn tree<T: Copy>(mut values: Vec<T>, join: impl Fn(T, T) -> T) -> Option<T> {
    while values.len() > 1 {
        let half = values.len().div_ceil(2);
        for i in 0..values.len() - half {
            values[i] = join(values[i], values[i + half]);
        }
        values.truncate(half);
    }
    values.first().copied()
}

/// What an invocation of a workgroup of `lanes` reads of a part: every lanes-th group of four.
fn of_lane(part: &[f32], lane: usize, lanes: usize) -> Vec<f32> {
    part.iter().enumerate().filter(|(i, _)| (i / 4) % lanes == lane).map(|(_, &v)| v).collect()
}

const ACCUMULATORS: usize = 32;
const RE_ANCHOR: usize = 4096;

fn sum_in_accumulators(values: impl Iterator<Item = f32>) -> f32 {
    let mut sums = vec![0f32; ACCUMULATORS];
    values.enumerate().for_each(|(i, v)| sums[i % ACCUMULATORS] += v);
    tree(sums, |a, b| a + b).unwrap()
}

/// An invocation: anchored at its first tile, anchored anew at each block.
fn invocation(values: &[f32]) -> Record {
    let Some(&first) = values.first() else { return Record::default() };
    let tile = &values[..values.len().min(ACCUMULATORS)];
    let mut k = first + sum_in_accumulators(tile.iter().map(|x| x - first)) / tile.len() as f32;
    let mut record = Record::default();
    for block in values.chunks(RE_ANCHOR) {
        let sum = sum_in_accumulators(block.iter().map(|x| x - k));
        let squares = sum_in_accumulators(block.iter().map(|x| (x - k) * (x - k)));
        let d = sum / block.len() as f32;
        record = Record::merge(record, Record { count: block.len() as u32, k, d, m2: (squares - sum * d).max(0.0) });
        k = record.k + record.d;
    }
    record
}

fn careful_moments(values: &[f32], lanes: usize, parts: usize) -> Record {
    let part = values.len().div_ceil(parts).max(1);
    values.chunks(part).fold(Record::default(), |so_far, part| {
        let lanes = (0..lanes).map(|lane| invocation(&of_lane(part, lane, lanes))).collect();
        Record::merge(so_far, tree(lanes, Record::merge).unwrap_or_default())
    })
}

fn careful_sum(values: &[f32], lanes: usize, parts: usize) -> f32 {
    let part = values.len().div_ceil(parts).max(1);
    values.chunks(part).fold(0.0, |so_far, part| {
        let of_lanes = (0..lanes).map(|lane| {
            of_lane(part, lane, lanes)
                .chunks(RE_ANCHOR)
                .fold(0.0, |sum, block| sum + sum_in_accumulators(block.iter().copied()))
        });
        so_far + tree(of_lanes.collect(), |a, b| a + b).unwrap_or(0.0)
    })
}

fn channel(x: &Array3<f64>, c: usize) -> Vec<f32> {
    x.index_axis(Axis(1), c).iter().map(|&v| v as f32).collect()
}

fn normal(rng: &mut impl Rng) -> f64 {
    // Twelve uniform numbers less their mean: variance 1, and no tail that would need an argument of its own.
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

/// How a channel begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    Plain,
    FirstIsZero,
    FirstRowIsZero,
    FirstTileIsConstant,
}

/// Random data that the storage type holds exactly.
#[derive(Debug)]
struct Data {
    text: String,
    config: Config,
    x: Array3<f64>,
    dy: Array3<f64>,
    residual: Option<Array3<f64>>,
    gamma: Option<Array1<f64>>,
    beta: Option<Array1<f64>>,
    running: Array1<f64>,
    batches_before: u64,
    lanes: usize,
    parts: usize,
}

fn tensor(rng: &mut impl Rng, dimensions: [usize; 3], mean: f64, std: f64, dtype: DType) -> Array3<f64> {
    Array3::from_shape_simple_fn(dimensions, || reference::round_to(dtype, mean + std * normal(rng)))
}

fn pick<T: Copy>(rng: &mut impl Rng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

impl Data {
    fn random(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let rng = &mut rng;
        let dtype = pick(rng, &[DType::F32, DType::F32, DType::F16, DType::Bf16]);
        let channels = rng.random_range(1..4);
        let outer = pick(rng, &[1, 2, 3, 7, 32]);
        let inner = pick(rng, &[1, 1, 2, 5, 49, 196, 3136, if seed.is_multiple_of(100) { 30_000 } else { 9 }]);
        let dimensions = [outer, channels, inner];
        let magnitude =
            10f64.powf(if dtype == DType::F16 { rng.random_range(-2.0..2.0) } else { rng.random_range(-6.0..6.0) });
        let ratio: f64 = pick(rng, &[0.0, 1.0, 1e2, 1e3, 1e4, 1e5, 1e6]);
        let ratio = if dtype == DType::F32 { ratio } else { ratio.min(100.0) };
        // The magnitude is that of the larger of mean and standard deviation.
        let std = magnitude / ratio.max(1.0);
        let mut x = tensor(rng, dimensions, ratio * std, std, dtype);
        let start = pick(
            rng,
            &[Start::Plain, Start::Plain, Start::FirstIsZero, Start::FirstRowIsZero, Start::FirstTileIsConstant],
        );
        let replaced = match start {
            Start::Plain => 0,
            Start::FirstIsZero => 1,
            Start::FirstRowIsZero => inner.min(224),
            Start::FirstTileIsConstant => 32,
        };
        for mut values in x.axis_iter_mut(Axis(1)) {
            let constant = if start == Start::FirstTileIsConstant { *values.first().unwrap() } else { 0.0 };
            values.iter_mut().take(replaced).for_each(|v| *v = constant);
        }
        let one = |rng: &mut ChaCha8Rng| Array1::from_shape_simple_fn(channels, || f64::from(normal(rng) as f32));
        let config = Config {
            epsilon: pick(rng, &[0.0, 1e-10, 1e-5, 1e-3]),
            momentum: pick(rng, &[Momentum::NewValue(0.1), Momentum::NewValue(1.0), Momentum::Cumulative]),
            running_variance: pick(rng, &[RunningVariance::Unbiased, RunningVariance::Population]),
            dtype,
            activation: pick(rng, &[Activation::None, Activation::Relu]),
            ..Config::pytorch()
        };
        let data = Data {
            text: String::new(),
            config,
            dy: {
                let (mean, std) = (pick(rng, &[0.0, 1.0]), pick(rng, &[1e-3, 1.0, 30.0]));
                tensor(rng, dimensions, mean, std, dtype)
            },
            residual: rng.random::<bool>().then(|| tensor(rng, dimensions, 0.0, 1.0, dtype)),
            gamma: rng.random::<bool>().then(|| one(rng)),
            beta: rng.random::<bool>().then(|| one(rng)),
            running: one(rng).mapv(f64::abs),
            batches_before: rng.random_range(0..5),
            lanes: pick(rng, &[1, 8, 64, 256]),
            parts: pick(rng, &[1, 3, 16]),
            x,
        };
        let text =
            format!("seed {seed}: {dimensions:?} {dtype} mean/std {ratio:e} of {magnitude:e} {start:?} {config:?}");
        Data { text, ..data }
    }

    fn apply<'a>(&'a self, mean: ArrayView1<'a, f64>, variance: ArrayView1<'a, f64>) -> Apply<'a> {
        Apply {
            x: self.x.view(),
            mean,
            variance,
            gamma: self.gamma.as_ref().map(|v| v.view()),
            beta: self.beta.as_ref().map(|v| v.view()),
            residual: self.residual.as_ref().map(|v| v.view()),
        }
    }
}

fn careful_inverse_std(variance: f32, epsilon: f32) -> f32 {
    if variance + epsilon == 0.0 { 0.0 } else { 1.0 / (variance + epsilon).sqrt() }
}

/// Everything that the scheme computes in f32, element by element.
struct Careful {
    mean_pair: Vec<f64>,
    mean: Vec<f32>,
    variance: Vec<f32>,
    inverse_std: Vec<f32>,
    running_mean: Vec<f32>,
    running_variance: Vec<f32>,
    y: Array3<f64>,
    dx: Array3<f64>,
    dgamma: Vec<f32>,
    dbeta: Vec<f32>,
    dresidual: Array3<f64>,
}

/// The scheme in f32; `given` are statistics that are known, for inference and a frozen backward.
fn careful(data: &Data, given: Option<&Moments>) -> Careful {
    let config = &data.config;
    let channels = data.x.len_of(Axis(1));
    let mut out = Careful {
        mean_pair: vec![],
        mean: vec![],
        variance: vec![],
        inverse_std: vec![],
        running_mean: vec![],
        running_variance: vec![],
        y: Array3::zeros(data.x.dim()),
        dx: Array3::zeros(data.x.dim()),
        dgamma: vec![],
        dbeta: vec![],
        dresidual: Array3::zeros(data.x.dim()),
    };
    for c in 0..channels {
        let x = channel(&data.x, c);
        let count = x.len() as f32;
        let record = match given {
            Some(m) => Record { count: 1, k: m.mean[c] as f32, d: 0.0, m2: m.variance[c] as f32 },
            None => careful_moments(&x, data.lanes, data.parts),
        };
        let variance = record.m2 / record.count as f32;
        let inverse_std = careful_inverse_std(variance, config.epsilon);
        out.mean_pair.push(f64::from(record.k) + f64::from(record.d));
        out.mean.push(record.k + record.d);
        out.variance.push(variance);
        out.inverse_std.push(inverse_std);

        let weight = match config.momentum {
            Momentum::NewValue(weight) => weight,
            Momentum::Cumulative => 1.0 / (data.batches_before as f32 + 1.0),
        };
        let follow = |old: f64, new: f32| (1.0 - weight) * old as f32 + weight * new;
        let unbiased = match config.running_variance {
            RunningVariance::Unbiased => variance * (count / (count - 1.0)),
            RunningVariance::Population => variance,
        };
        out.running_mean.push(follow(data.running[c], record.k + record.d));
        out.running_variance.push(follow(data.running[c], unbiased));

        let gamma = data.gamma.as_ref().map_or(1.0, |v| v[c] as f32);
        let beta = data.beta.as_ref().map_or(0.0, |v| v[c] as f32);
        let residual = data.residual.as_ref().map(|r| channel(r, c)).unwrap_or(vec![0.0; x.len()]);
        let scale = gamma * inverse_std;
        let centred: Vec<f32> = x.iter().map(|x| (x - record.k) - record.d).collect();
        let z: Vec<f32> = centred.iter().zip(&residual).map(|(v, r)| (v * scale + beta) + r).collect();
        let relu = config.activation == Activation::Relu;
        let dy: Vec<f32> =
            channel(&data.dy, c).iter().zip(&z).map(|(&dy, &z)| if relu && z <= 0.0 { 0.0 } else { dy }).collect();
        let normalised: Vec<f32> = centred.iter().map(|v| v * inverse_std).collect();
        let products: Vec<f32> = normalised.iter().zip(&dy).map(|(x, dy)| x * dy).collect();
        let dbeta = careful_sum(&dy, data.lanes, data.parts);
        let dgamma = careful_sum(&products, data.lanes, data.parts);
        let store = |tensor: &mut Array3<f64>, values: &dyn Fn(usize) -> f32| {
            for (i, v) in tensor.index_axis_mut(Axis(1), c).iter_mut().enumerate() {
                *v = reference::round_to(config.dtype, f64::from(values(i)));
            }
        };
        store(&mut out.y, &|i| if relu { z[i].max(0.0) } else { z[i] });
        store(&mut out.dresidual, &|i| dy[i]);
        let (mean_dy, mean_product) = if given.is_some() { (0.0, 0.0) } else { (dbeta / count, dgamma / count) };
        store(&mut out.dx, &|i| scale * ((dy[i] - mean_dy) - normalised[i] * mean_product));
        out.dbeta.push(dbeta);
        out.dgamma.push(dgamma);
    }
    out
}

fn flat(x: &Array3<f64>) -> Vec<f64> {
    x.iter().copied().collect()
}

/// Worst ratio by output, and where.
#[derive(Default)]
struct Ledger(BTreeMap<String, (f64, String)>);

impl Ledger {
    fn hold(
        &mut self,
        output: &str,
        text: &str,
        got: impl IntoIterator<Item = impl Into<f64>>,
        expected: &[f64],
        bound: &[f64],
    ) {
        let comparison = compare(got, expected, |i| bound[i]);
        assert!(comparison.passed(), "{output} {comparison}\n{text}");
        let worst = self.0.entry(output.to_string()).or_default();
        if comparison.ratio() >= worst.0 {
            *worst = (comparison.ratio(), format!("{comparison}\n    {text}"));
        }
    }
}

#[test]
fn a_careful_kernel_passes_on_random_data() {
    let mut ledger = Ledger::default();
    for seed in 0..600 {
        let data = Data::random(seed);
        let config = &data.config;
        let exact = reference::moments(data.x.view());
        // f32 statistics that have nothing to do with the batch, for the paths that take them as given.
        let given =
            Moments { mean: &exact.mean + &data.running * 0.5, variance: data.running.clone(), ..exact.clone() };
        let given = Moments { mean: given.mean.mapv(|v| f64::from(v as f32)), ..given };
        let rounding = if config.dtype == DType::F32 { "f32" } else { "half" };
        for (statistics, m) in [(Statistics::Batch, &exact), (Statistics::Given, &given)] {
            let frozen = statistics == Statistics::Given;
            let got = careful(&data, frozen.then_some(m));
            let mut hold = |output: &str, got: Vec<f64>, expected: &[f64], bound: &[f64]| {
                let output = format!("{output:<18} {rounding} {statistics:?}");
                ledger.hold(&output, &data.text, got, expected, bound);
            };
            let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
            let a = data.apply(m.mean.view(), m.variance.view());
            if !frozen {
                let b = moments(m, config);
                let inverse_std = reference::inverse_std(m.variance.view(), f64::from(config.epsilon));
                hold("mean_pair", got.mean_pair.clone(), &m.mean.to_vec(), &b.mean_pair.to_vec());
                hold("mean", wide(&got.mean), &m.mean.to_vec(), &b.mean.to_vec());
                hold("variance", wide(&got.variance), &m.variance.to_vec(), &b.variance.to_vec());
                hold("inverse_std", wide(&got.inverse_std), &inverse_std.to_vec(), &b.inverse_std.to_vec());
                let running = Running {
                    mean: data.running.view(),
                    variance: data.running.view(),
                    batches_before: data.batches_before,
                };
                let (mean, variance) = reference::running_update(&running, m, config);
                let b = running_update(&running, m, config);
                hold("running_mean", wide(&got.running_mean), &mean.to_vec(), &b.0.to_vec());
                if m.count > 1 {
                    hold("running_variance", wide(&got.running_variance), &variance.to_vec(), &b.1.to_vec());
                }
            }
            let y = reference::apply(&a, config);
            hold("y", flat(&got.y), &flat(&y), &flat(&apply(&a, statistics, config)));
            let Apply { x, mean, variance, gamma, beta, residual } = a;
            let b = Backward { x, dy: data.dy.view(), mean, variance, gamma, beta, residual, frozen };
            let (expected, bound) = (reference::backward(&b, config), backward(&b, config));
            hold("dx", flat(&got.dx), &flat(&expected.dx), &flat(&bound.dx));
            hold("dgamma", wide(&got.dgamma), &expected.dgamma.to_vec(), &bound.dgamma.to_vec());
            hold("dbeta", wide(&got.dbeta), &expected.dbeta.to_vec(), &bound.dbeta.to_vec());
            if let (Some(expected), Some(bound)) = (&expected.dresidual, &bound.dresidual) {
                hold("dresidual", flat(&got.dresidual), &flat(expected), &flat(bound));
            }
        }
    }
    for (output, (ratio, text)) in &ledger.0 {
        println!("{output}: {ratio:.3}\n    {text}");
        // What ends in one rounding comes near its bound by nature; an error that many roundings make must not, since
        // another order of additions makes another one. First rows of zeros are the worst that a variance can meet.
        let most = match output.split(' ').next() {
            Some("mean_pair" | "dgamma" | "dbeta") => 0.25,
            Some("variance" | "inverse_std") => 0.9,
            _ => 1.0,
        };
        assert!(*ratio <= most, "{output}: {ratio:.3}\n    {text}");
    }
}

/// A channel of mean/std `ratio`, gamma and beta beside it.
fn offset(ratio: f64, seed: u64) -> Data {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let data = Data::random(3);
    let channels = 4;
    Data {
        text: format!("mean/std {ratio:e}, seed {seed}"),
        x: tensor(&mut rng, [4, channels, 1000], ratio * 0.7, 0.7, DType::F32),
        dy: tensor(&mut rng, [4, channels, 1000], 0.0, 1.0, DType::F32),
        residual: None,
        gamma: Some(Array1::from_elem(channels, 1.25)),
        beta: Some(Array1::from_elem(channels, 0.5)),
        running: Array1::ones(channels),
        config: Config::pytorch(),
        ..data
    }
}

#[test]
fn the_difference_of_two_means_is_rejected() {
    for (ratio, seed) in [(1e3, 1), (1e4, 2), (1e5, 3)] {
        let data = offset(ratio, seed);
        let exact = reference::moments(data.x.view());
        let bounds = moments(&exact, &data.config);
        // As good as it can be: sums that are exact until they are stored.
        let naive: Vec<f32> = (0..4)
            .map(|c| {
                let x = channel(&data.x, c);
                let mean_of =
                    |f: &dyn Fn(f64) -> f64| (x.iter().map(|&v| f(f64::from(v))).sum::<f64>() / x.len() as f64) as f32;
                let mean = mean_of(&|v| v);
                mean_of(&|v| v * v) - mean * mean
            })
            .collect();
        let comparison = compare(naive, &exact.variance.to_vec(), |c| bounds.variance[c]);
        assert!(!comparison.passed() && comparison.ratio() > 100.0, "{}: {comparison}", data.text);
    }
}

/// `y` of a form that is given x, the exact mean, and gamma · inverse_std and beta in f32.
fn ratio_of(data: &Data, form: impl Fn(f32, f64, f32, f32) -> f32) -> f64 {
    let exact = reference::moments(data.x.view());
    let a = data.apply(exact.mean.view(), exact.variance.view());
    let inverse_std = reference::inverse_std(exact.variance.view(), f64::from(data.config.epsilon));
    let bound = flat(&apply(&a, Statistics::Batch, &data.config));
    let mut got = data.x.clone();
    for (c, mut values) in got.axis_iter_mut(Axis(1)).enumerate() {
        let scale = (1.25 * inverse_std[c]) as f32;
        values.mapv_inplace(|x| f64::from(form(x as f32, exact.mean[c], scale, 0.5)));
    }
    compare(flat(&got), &flat(&reference::apply(&a, &data.config)), |i| bound[i]).ratio()
}

#[test]
fn a_folded_scale_and_shift_is_rejected_and_centring_is_not() {
    for seed in 0..10 {
        let data = offset(1e4, seed);
        let shift = |mean: f64, scale: f32, beta: f32| (f64::from(beta) - mean * f64::from(scale)) as f32;
        let folded = ratio_of(&data, |x, mean, scale, beta| scale * x + shift(mean, scale, beta));
        let fused = ratio_of(&data, |x, mean, scale, beta| scale.mul_add(x, shift(mean, scale, beta)));
        let single = ratio_of(&data, |x, mean, scale, beta| (x - mean as f32) * scale + beta);
        let pair = ratio_of(&data, |x, mean, scale, beta| {
            let k = mean as f32;
            ((x - k) - (mean - f64::from(k)) as f32) * scale + beta
        });
        println!("seed {seed}: folded {folded:.1}, fused {fused:.1}, one f32 mean {single:.1}, pair {pair:.3}");
        assert!(folded > 2.0 && fused > 2.0 && single > 2.0, "seed {seed}: {folded} {fused} {single}");
        assert!(pair < 0.5, "seed {seed}: {pair}");
    }
}

#[test]
fn a_gradient_without_its_mean_term_is_rejected() {
    let data = offset(10.0, 7);
    let exact = reference::moments(data.x.view());
    let Apply { x, mean, variance, gamma, beta, residual } = data.apply(exact.mean.view(), exact.variance.view());
    let b = Backward { x, dy: data.dy.view(), mean, variance, gamma, beta, residual, frozen: false };
    let (expected, bound) = (reference::backward(&b, &data.config), flat(&backward(&b, &data.config).dx));
    let frozen = reference::backward(&Backward { frozen: true, ..b }, &data.config);
    assert!(!compare(flat(&frozen.dx), &flat(&expected.dx), |i| bound[i]).passed());
    assert!(compare(flat(&expected.dx), &flat(&expected.dx), |i| bound[i]).passed());
}

#[test]
fn bounds_of_the_variance_follow_the_rule() {
    let config = Config::pytorch();
    for (mean, relative) in [(0.0, 1e-5), (1e4, 1e-5), (1e5, 1e-4), (1e6, 1e-3)] {
        let m = Moments { count: 1 << 20, mean: Array1::from_elem(1, mean), variance: Array1::ones(1) };
        let bound = moments(&m, &config).variance[0];
        assert!(bound <= relative && bound > 0.9 * relative, "{mean}: {bound}");
    }
}

#[test]
fn rounding_to_storage_is_within_half_an_ulp_and_no_more_is_granted() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for dtype in DType::ALL {
        let mut worst = 0f64;
        for _ in 0..20_000 {
            let value = normal(&mut rng) * 10f64.powf(rng.random_range(-8.0..4.0));
            let error = (reference::round_to(dtype, value) - value).abs();
            let u = if dtype == DType::F32 { U * value.abs() } else { 0.0 };
            worst = worst.max(error / stored(dtype, value, u));
        }
        assert!(worst <= 1.0 && worst > 0.9, "{dtype}: {worst}");
    }
    assert_eq!(stored(DType::F16, 65519.0, 1.0), f64::INFINITY);
}

#[test]
fn a_sum_in_one_accumulator_is_rejected() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let dy = Array3::from_shape_simple_fn([1, 1, 1 << 20], || f64::from(rng.random::<f32>()));
    let x = tensor(&mut rng, [1, 1, 1 << 20], 0.0, 1.0, DType::F32);
    let config = Config::pytorch();
    let exact = reference::moments(x.view());
    let (mean, variance) = (exact.mean.view(), exact.variance.view());
    let b =
        Backward { x: x.view(), dy: dy.view(), mean, variance, gamma: None, beta: None, residual: None, frozen: true };
    let (expected, bound) = (reference::backward(&b, &config).dbeta, backward(&b, &config).dbeta);
    let one_by_one: f32 = dy.iter().map(|&v| v as f32).fold(0.0, |sum, v| sum + v);
    let comparison = compare([one_by_one], &expected.to_vec(), |c| bound[c]);
    assert!(!comparison.passed(), "{comparison}");
    let careful = careful_sum(&channel(&dy, 0), 8, 1);
    assert!(compare([careful], &expected.to_vec(), |c| bound[c]).passed());
}

#[test]
fn nan_and_emptiness_spoil_no_other_bound() {
    let mut data = offset(1.0, 9);
    data.x[[1, 2, 3]] = f64::NAN;
    data.config.activation = Activation::Relu;
    let empty = Data { x: Array3::zeros((0, 4, 5)), dy: Array3::zeros((0, 4, 5)), ..offset(1.0, 9) };
    for (data, spoilt) in [(&data, Some(2)), (&empty, None)] {
        let m = reference::moments(data.x.view());
        let per_channel = moments(&m, &data.config);
        let Apply { x, mean, variance, gamma, beta, residual } = data.apply(m.mean.view(), m.variance.view());
        let b = Backward { x, dy: data.dy.view(), mean, variance, gamma, beta, residual, frozen: false };
        let gradients = backward(&b, &data.config);
        let y = apply(&b.forward(), Statistics::Batch, &data.config);
        for c in (0..4).filter(|&c| Some(c) != spoilt) {
            let whole = [&y, &gradients.dx].into_iter().flat_map(|v| v.index_axis(Axis(1), c).to_owned());
            let single = [&per_channel.mean, &per_channel.variance, &per_channel.inverse_std, &gradients.dgamma];
            assert!(whole.chain(single.map(|v| v[c])).all(f64::is_finite), "channel {c}");
        }
    }
}
