//! The CPU implementation against a plain two-pass in f64, written out here once more.

use super::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a plain two-pass in f64 finds.
struct Expected {
    mean: Vec<f64>,
    variance: Vec<f64>,
    y: Vec<f64>,
    dgamma: Vec<f64>,
    dbeta: Vec<f64>,
    dx: Vec<f64>,
    gate: Vec<f64>,
}

/// One problem: a shape, a configuration and its data.
struct Case {
    shape: Shape,
    config: Config,
    x: Vec<f32>,
    dy: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    residual: Vec<f32>,
}

/// What the implementation under test makes of a case.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    y: Vec<f32>,
    saved: Vec<Saved>,
    dx: Vec<f32>,
    dresidual: Vec<f32>,
    dgamma: Vec<f32>,
    dbeta: Vec<f32>,
}

impl Case {
    fn new(shape: Shape, config: Config, seed: u64, mean: f32, std: f32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // The sum of twelve uniform numbers: mean 0, variance 1, nearly normal.
        let mut normal = move || (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0;
        let (n, c) = (shape.elements() as usize, shape.channels() as usize);
        Self {
            x: (0..n).map(|_| mean + std * normal()).collect(),
            dy: (0..n).map(|_| normal()).collect(),
            gamma: (0..c).map(|_| 1.0 + 0.5 * normal()).collect(),
            beta: (0..c).map(|_| normal()).collect(),
            residual: (0..n).map(|_| normal()).collect(),
            shape,
            config,
        }
    }

    fn channel(&self, i: usize) -> usize {
        i / self.shape.inner() as usize % self.shape.channels() as usize
    }

    fn gamma(&self) -> Option<&[f32]> {
        self.config.gamma.then_some(&self.gamma[..])
    }

    fn beta(&self) -> Option<&[f32]> {
        self.config.beta.then_some(&self.beta[..])
    }

    fn residual(&self) -> Option<&[f32]> {
        self.config.residual.then_some(&self.residual[..])
    }

    fn expected(&self) -> Expected {
        let c = self.shape.channels() as usize;
        let m = f64::from(self.shape.values_per_channel());
        let sums = |of: &dyn Fn(usize) -> f64| {
            let mut sums = vec![0.0; c];
            for i in 0..self.x.len() {
                sums[self.channel(i)] += of(i);
            }
            sums
        };
        let x = |i: usize| f64::from(self.x[i]);
        let mean: Vec<f64> = sums(&x).iter().map(|s| s / m).collect();
        let centred = |i: usize| x(i) - mean[self.channel(i)];
        let variance: Vec<f64> = sums(&|i| centred(i).powi(2)).iter().map(|s| s / m).collect();
        let inverse_std: Vec<f64> = variance
            .iter()
            .map(|v| {
                if *v + f64::from(self.config.epsilon) == 0.0 {
                    0.0
                } else {
                    (v + f64::from(self.config.epsilon)).sqrt().recip()
                }
            })
            .collect();
        let gamma = |c: usize| if self.config.gamma { f64::from(self.gamma[c]) } else { 1.0 };
        let beta = |c: usize| if self.config.beta { f64::from(self.beta[c]) } else { 0.0 };
        let normalised = |i: usize| centred(i) * inverse_std[self.channel(i)];
        let z = |i: usize| {
            let z = gamma(self.channel(i)) * normalised(i) + beta(self.channel(i));
            if self.config.residual { z + f64::from(self.residual[i]) } else { z }
        };
        let relu = self.config.activation == Activation::Relu;
        let gate = |i: usize| if relu && z(i) <= 0.0 { 0.0 } else { f64::from(self.dy[i]) };
        let (dbeta, dgamma) = (sums(&gate), sums(&|i| gate(i) * normalised(i)));
        let dx = |i: usize| {
            let c = self.channel(i);
            gamma(c) * inverse_std[c] * (gate(i) - dbeta[c] / m - normalised(i) * dgamma[c] / m)
        };
        let all = |of: &dyn Fn(usize) -> f64| (0..self.x.len()).map(of).collect::<Vec<f64>>();
        let y = all(&|i| if relu { z(i).max(0.0) } else { z(i) });
        Expected { y, dx: all(&dx), gate: all(&gate), mean, variance, dgamma, dbeta }
    }

    fn run(&self, machine: Machine) -> Found {
        let (n, c) = (self.x.len(), self.gamma.len());
        // Poisoned: whatever is not written shows.
        let mut found = Found {
            y: vec![f32::NAN; n],
            saved: vec![Saved::default(); c],
            dx: vec![f32::NAN; n],
            dresidual: vec![f32::NAN; n],
            dgamma: vec![f32::NAN; c],
            dbeta: vec![f32::NAN; c],
        };
        let parameters = Parameters { gamma: self.gamma(), beta: self.beta() };
        let (shape, config) = (&self.shape, &self.config);
        machine.training(shape, config, &parameters, &self.x, self.residual(), &mut found.y, &mut found.saved);
        let gradient = backward::Gradient {
            simd: machine.simd,
            x: &self.x,
            dy: &self.dy,
            residual: self.residual(),
            relu: config.activation == Activation::Relu,
            frozen: false,
        };
        gradient.run(
            machine,
            shape,
            &parameters,
            &found.saved,
            backward::Outputs {
                dx: Some(&mut found.dx),
                dresidual: Some(&mut found.dresidual),
                dgamma: Some(&mut found.dgamma),
                dbeta: Some(&mut found.dbeta),
            },
        );
        found
    }

    /// Compares with the two-pass. With condition number `κ = √(1 + mean²/variance)` the mean may be off by an ULP of
    /// itself split in two f32, the variance by 1e-5 (KNOWLEDGE's bound up to κ = 1e4), and outputs by a few ULPs of
    /// their own magnitude plus what the variance contributes.
    fn check(&self, found: &Found) {
        let expected = self.expected();
        let scale = |v: &[f64]| v.iter().fold(1.0f64, |m, v| m.max(v.abs()));
        let close = |what: &str, found: &[f32], expected: &[f64], bound: f64| {
            assert_eq!(found.len(), expected.len());
            for (i, (f, e)) in found.iter().zip(expected).enumerate() {
                assert!(
                    (f64::from(*f) - e).abs() <= bound,
                    "{what}[{i}] is {f}, {e} expected, bound {bound:e}, of {} with {:?}",
                    self.shape,
                    self.config
                );
            }
        };
        for (c, saved) in found.saved.iter().enumerate() {
            let (mean, variance) = (expected.mean[c], expected.variance[c]);
            let std = variance.sqrt();
            let found = f64::from(saved.anchor) + f64::from(saved.offset);
            assert!(
                (found - mean).abs() <= 1e-6 * std + 1e-13 * mean.abs() + 1e-30,
                "mean[{c}] {found} {mean} of {}",
                self.shape
            );
            let error = (f64::from(saved.variance) - variance).abs();
            assert!(error <= 1e-5 * variance + 1e-30, "variance[{c}] {} {variance} of {}", saved.variance, self.shape);
        }
        let m = f64::from(self.shape.values_per_channel());
        close("y", &found.y, &expected.y, 1e-5 * scale(&expected.y));
        close("dbeta", &found.dbeta, &expected.dbeta, 1e-6 * m.max(10.0));
        close("dgamma", &found.dgamma, &expected.dgamma, 1e-5 * m.max(10.0));
        close("dx", &found.dx, &expected.dx, 2e-5 * scale(&expected.dx));
        close("dresidual", &found.dresidual, &expected.gate, 0.0);
    }
}

fn native(threads: usize) -> Machine {
    Machine { simd: Arch::new(), threads, spare: 1 }
}

/// Shapes that reach every strategy: planes small, ragged and of several blocks; columns in registers, narrow, wide, with and
/// without a shorter last row; owned by tasks or shared out.
fn shapes() -> Vec<Shape> {
    let ragged: &[(&[usize], isize)] = &[
        (&[1], 0),
        (&[5], 0),
        (&[1, 1], 1),
        (&[7, 1], 1),
        (&[100, 1, 3], 1),
        (&[17, 3], 1),
        (&[1000, 3], 1),
        (&[3, 7000], 1),
        (&[256, 1024], 1),
        (&[2100, 65], -1),
        (&[1001, 100, 3], -1),
        (&[50, 40, 31], 1),
        (&[3, 5, 7, 2], 2),
        (&[33, 70, 49], 1),
        (&[4, 27, 33, 31], 1),
        (&[2, 40, 4097], 1),
        (&[2, 3, 70_001], 1),
        (&[1, 1, 300, 301], 1),
        (&[300, 7, 3], 0),
        (&[30_001, 3], 1),
        (&[20_003, 5], 1),
        (&[5001, 2, 4], 1),
        (&[2000, 32], 1),
        (&[70, 1048], 1),
    ];
    ragged.iter().map(|(dimensions, axis)| Shape::new(dimensions, *axis).unwrap()).collect()
}

#[test]
fn forward_and_backward_match_two_passes_in_f64() {
    for (seed, shape) in shapes().into_iter().enumerate() {
        // Where m is 1 or 2 a variance near 0 makes any gradient ill-conditioned: epsilon keeps it tame.
        let config = Config { epsilon: 0.1, ..Config::pytorch() };
        let case = Case::new(shape, config, seed as u64, 3.0, 2.0);
        for threads in [1, 2] {
            case.check(&case.run(native(threads)));
        }
    }
}

#[test]
fn activation_and_residual_match_two_passes_in_f64() {
    for (seed, shape) in shapes().into_iter().enumerate() {
        for (gamma, beta, residual) in
            [(true, true, true), (true, true, false), (false, false, true), (false, true, false)]
        {
            let config =
                Config { epsilon: 0.1, gamma, beta, residual, activation: Activation::Relu, ..Config::pytorch() };
            let mut case = Case::new(shape.clone(), config, seed as u64, 1.0, 1.0);
            // Where z is within rounding of 0 the two may disagree about its sign: move those away.
            let z = Case { config: Config { activation: Activation::None, ..config }, ..case }.expected_y();
            case = Case::new(shape.clone(), config, seed as u64, 1.0, 1.0);
            for (dy, z) in case.dy.iter_mut().zip(z) {
                if z.abs() < 1e-4 {
                    *dy = 0.0;
                }
            }
            case.check(&case.run(native(1)));
            case.check(&case.run(native(2)));
        }
    }
}

impl Case {
    fn expected_y(self) -> Vec<f64> {
        self.expected().y
    }
}

#[test]
fn results_are_bitwise_the_same_for_every_thread_count_and_simd_level() {
    for (seed, shape) in shapes().into_iter().enumerate() {
        let case = Case::new(shape, Config::pytorch(), seed as u64, 10.0, 1.0);
        let one = case.run(native(1));
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for simd in [Arch::new(), Arch::Scalar] {
                let found = pool.install(|| case.run(Machine { simd, threads, spare: 1 }));
                assert!(found == one, "{threads} threads, {simd:?}, of {}", case.shape);
            }
        }
    }
}

#[test]
fn statistics_hold_at_large_means_and_misleading_beginnings() {
    for shape in [Shape::nchw(3, 2, 120, 130), Shape::nhwc(3, 120, 130, 5), Shape::nc(20_000, 70)] {
        let shape = shape.unwrap();
        for mean in [0.0, 1e2, 1e3, 1e4] {
            let mut case = Case::new(shape.clone(), Config::pytorch(), 9, mean, 1.0);
            let row = shape.channels() as usize * shape.inner() as usize;
            for misled in ["not", "x[0] = 0", "a first row of zeros", "a constant first tile"] {
                match misled {
                    "x[0] = 0" => case.x[0] = 0.0,
                    "a first row of zeros" => case.x[..row].fill(0.0),
                    "a constant first tile" => case.x[..row].fill(mean + 3.0),
                    _ => {}
                }
                for machine in [native(1), native(2), Machine { simd: Arch::Scalar, threads: 1, spare: 0 }] {
                    let found = case.run(machine);
                    let expected = case.expected();
                    for (c, saved) in found.saved.iter().enumerate() {
                        let error = f64::from(saved.variance) / expected.variance[c] - 1.0;
                        assert!(error.abs() <= 1e-5, "{misled}, mean {mean}, variance[{c}] off by {error:e}, {shape}");
                    }
                    for (i, (y, e)) in found.y.iter().zip(&expected.y).enumerate() {
                        // A few ULPs of the output, and half of the variance's error.
                        assert!(
                            (f64::from(*y) - e).abs() <= 6e-6 * e.abs().max(1.0),
                            "{misled}, y[{i}] {y} {e}, {shape}"
                        );
                    }
                }
            }
        }
    }
}

/// There the anchor is off the mean by a few hundredths of a standard deviation, in every sum and every output.
#[test]
fn outputs_and_gradients_keep_their_digits_at_a_mean_of_a_million_standard_deviations() {
    for shape in [Shape::nchw(2, 3, 64, 64), Shape::nc(8192, 3)] {
        let case = Case::new(shape.unwrap(), Config { epsilon: 0.0, ..Config::pytorch() }, 4, 1e6, 1.0);
        let (found, expected) = (case.run(native(1)), case.expected());
        for (y, e) in found.y.iter().zip(&expected.y) {
            assert!((f64::from(*y) - e).abs() <= 2e-5 * e.abs().max(1.0), "{y} {e}");
        }
        for (dx, e) in found.dx.iter().zip(&expected.dx) {
            assert!((f64::from(*dx) - e).abs() <= 2e-5 * e.abs().max(1.0), "{dx} {e}");
        }
        let m = f64::from(case.shape.values_per_channel());
        for (dgamma, e) in found.dgamma.iter().zip(&expected.dgamma) {
            assert!((f64::from(*dgamma) - e).abs() <= 1e-5 * m, "{dgamma} {e}");
        }
        assert!(
            found.saved.iter().any(|saved| (saved.offset * saved.inverse_std).abs() > 0.003),
            "nothing was rounded"
        );
    }
}

#[test]
fn a_mean_that_was_not_rounded_takes_nothing_away() {
    assert_eq!(super::without_offset(2.0, 0.0, f64::INFINITY), 2.0);
    assert_eq!(super::without_offset(2.0, 0.5, 3.0), 0.5);
}

#[test]
fn a_constant_channel_gives_beta_exactly() {
    for shape in shapes() {
        for epsilon in [1e-5, 0.0] {
            let mut case = Case::new(shape.clone(), Config { epsilon, ..Config::pytorch() }, 1, 0.0, 1.0);
            case.x.fill(123.456);
            let found = case.run(native(2));
            for (i, y) in found.y.iter().enumerate() {
                assert_eq!(*y, case.beta[case.channel(i)], "{shape}");
            }
            for saved in &found.saved {
                assert_eq!((saved.mean(), saved.variance), (123.456, 0.0), "{shape}");
                assert_eq!(saved.inverse_std == 0.0, epsilon == 0.0, "{shape}");
            }
            assert!(epsilon > 0.0 || found.dx.iter().all(|dx| *dx == 0.0), "{shape}");
        }
    }
}

#[test]
fn a_nan_stays_in_its_channel() {
    for shape in shapes().into_iter().filter(|s| s.channels() > 1 && s.values_per_channel() > 1) {
        let clean = Case::new(shape.clone(), Config::pytorch(), 2, 1.0, 1.0);
        let mut case = Case::new(shape.clone(), Config::pytorch(), 2, 1.0, 1.0);
        let poisoned = case.x.len() / 2;
        case.x[poisoned] = f32::NAN;
        let (clean, found) = (clean.run(native(2)), case.run(native(2)));
        for i in 0..case.x.len() {
            let other = case.channel(i) != case.channel(poisoned);
            assert_eq!(other, !found.y[i].is_nan(), "y[{i}] of {shape}");
            assert!(!other || (found.y[i], found.dx[i]) == (clean.y[i], clean.dx[i]), "[{i}] of {shape}");
        }
    }
}

#[test]
fn no_gradient_in_gives_no_gradient_out() {
    for shape in shapes() {
        let mut case = Case::new(shape.clone(), Config::pytorch(), 3, 5.0, 1.0);
        case.dy.fill(0.0);
        let found = case.run(native(2));
        assert!(found.dx.iter().chain(&found.dgamma).chain(&found.dbeta).all(|d| *d == 0.0), "{shape}");
    }
}

/// Additions of one f32 to a sum all round the same way while the sum stays between two powers of two, so that errors do not
/// cancel: n of them lose up to 0.375 · n roundings, most where the sum ends at four thirds of a power of two. Each of these values
/// loses more than 60 in 256 additions; of 129, which a running sum has with a shorter row at the end, 48 is the most, and lanes
/// that are added up and a result that is stored make three more.
#[test]
fn gradients_of_one_sign_keep_their_digits() {
    let long = [Shape::nc(3000, 1048), Shape::nc(40_000, 32), Shape::nc(9000, 200), Shape::ncl(500, 2, 33)]
        .map(Result::unwrap);
    let most = 0.375 * (partition::SUM_VALUES + 1) as f64 + 3.0;
    for shape in shapes().into_iter().chain(long) {
        let mut case = Case::new(shape.clone(), Config::pytorch(), 4, 0.0, 1.0);
        for value in [0.996_833_8f32, 0.936_988_83, 1.946_182_4] {
            case.dy.fill(value);
            let expected = f64::from(shape.values_per_channel()) * f64::from(value);
            for (channel, dbeta) in case.run(native(2)).dbeta.iter().enumerate() {
                let off = (f64::from(*dbeta) / expected - 1.0).abs() * 2f64.powi(24);
                assert!(off <= most, "dbeta[{channel}] of {shape} is off by {off} roundings of {value}");
            }
        }
    }
}

#[test]
fn inference_uses_the_statistics_it_is_given() {
    for shape in shapes() {
        let case = Case::new(shape.clone(), Config::pytorch(), 5, 2.0, 1.0);
        let c = shape.channels() as usize;
        let (mean, variance) = (vec![0.5f32; c], vec![4.0f32; c]);
        let mut y = vec![f32::NAN; case.x.len()];
        inference(
            &shape,
            &case.config,
            Inference {
                x: &case.x,
                mean: &mean,
                variance: &variance,
                gamma: case.gamma(),
                beta: case.beta(),
                residual: None,
                y: &mut y,
            },
        )
        .unwrap();
        for (i, y) in y.iter().enumerate() {
            let c = case.channel(i);
            let e = f64::from(case.gamma[c]) * (f64::from(case.x[i]) - 0.5) / (4.0f64 + 1e-5).sqrt()
                + f64::from(case.beta[c]);
            assert!((f64::from(*y) - e).abs() < 1e-6 * e.abs().max(1.0), "y[{i}] {y} {e} of {shape}");
        }
    }
}

#[test]
fn a_frozen_gradient_does_not_touch_the_statistics() {
    for shape in shapes() {
        let mut case = Case::new(shape.clone(), Config::pytorch(), 6, 2.0, 1.0);
        case.x[0] = f32::INFINITY;
        let saved = vec![Saved::from_running(0.5, 4.0, case.config.epsilon); case.gamma.len()];
        let mut dx = vec![f32::NAN; case.x.len()];
        backward(
            &shape,
            &case.config,
            Backward {
                x: &case.x,
                dy: &case.dy,
                saved: &saved,
                gamma: case.gamma(),
                beta: None,
                residual: None,
                dx: Some(&mut dx),
                dresidual: None,
                dgamma: None,
                dbeta: None,
                frozen: true,
            },
        )
        .unwrap();
        for (i, dx) in dx.iter().enumerate() {
            assert_eq!(*dx, case.dy[i] * (case.gamma[case.channel(i)] * saved[0].inverse_std), "dx[{i}] of {shape}");
        }
    }
}

/// Large outputs go past the caches, those of their parts do not.
#[test]
fn a_large_tensor_becomes_what_its_parts_become() {
    for [outer, channels, inner] in [[6, 64, 11_200], [70_000, 64, 1]] {
        let values: Vec<f32> = (0..channels).map(|c| 1.0 + c as f32).collect();
        let saved: Vec<Saved> = values.iter().map(|v| Saved::from_running(*v, *v, 1e-5)).collect();
        let config = Config { activation: Activation::Relu, ..Config::pytorch() };
        let normalise = |x: &[f32], dy: &[f32]| {
            let shape = Shape::new(&[x.len() / channels / inner, channels, inner], 1).unwrap();
            let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
            let (gamma, beta, mean, residual) = (Some(&values[..]), Some(&values[..]), &values[..], None);
            let forward = Inference { x, gamma, beta, mean, variance: mean, residual, y: &mut y };
            inference(&shape, &config, forward).unwrap();
            let (dresidual, dgamma, dbeta, frozen) = (None, None, None, true);
            let dx_out = Some(&mut dx[..]);
            let gradient =
                Backward { x, dy, saved: &saved, gamma, beta, residual, dx: dx_out, dresidual, dgamma, dbeta, frozen };
            backward(&shape, &config, gradient).unwrap();
            (y, dx)
        };
        let n = outer * channels * inner;
        let x: Vec<f32> = (0..n).map(|i| (i % 1009) as f32 - 300.0).collect();
        let dy: Vec<f32> = (0..n).map(|i| (i % 997) as f32 - 500.0).collect();
        let part = n / 2;
        assert!(4 * n >= store::STREAMED_BYTES && 4 * part < store::STREAMED_BYTES);
        let (y, dx) = normalise(&x, &dy);
        for range in [0..part, part..n] {
            let (part_y, part_dx) = normalise(&x[range.clone()], &dy[range.clone()]);
            assert!(
                y[range.clone()] == part_y && dx[range.clone()] == part_dx,
                "{range:?} of {outer} × {channels} × {inner}"
            );
        }
    }
}

#[test]
fn running_statistics_follow_the_batch() {
    let shape = Shape::nc(2, 1).unwrap();
    let saved = [Saved { anchor: 3.0, offset: 0.0, inverse_std: 1.0, variance: 1.0 }];
    let update = |config: &Config, times: usize| {
        let (mut mean, mut variance, mut batches) = ([1.0f32], [1.0f32], 0);
        for _ in 0..times {
            let arguments =
                RunningUpdate { saved: &saved, mean: &mut mean, variance: &mut variance, batches: &mut batches };
            running_update(&shape, config, arguments).unwrap();
        }
        (mean[0], variance[0], batches)
    };
    let near = |found: (f32, f32, u64), e: (f32, f32, u64)| {
        assert!((found.0 - e.0).abs() < 1e-6 && (found.1 - e.1).abs() < 1e-6 && found.2 == e.2, "{found:?} {e:?}");
    };
    near(update(&Config::pytorch(), 1), (1.2, 1.1, 1));
    near(update(&Config::flax(), 1), (1.02, 1.0, 1));
    near(update(&Config { momentum: Momentum::Cumulative, ..Config::pytorch() }, 3), (3.0, 2.0, 3));
}

#[test]
fn an_empty_batch_is_an_empty_output() {
    let shape = Shape::nchw(0, 3, 4, 4).unwrap();
    let config = Config::pytorch();
    let (parameters, mut saved) = ([1.0; 3], [Saved::default(); 3]);
    training(
        &shape,
        &config,
        Training {
            x: &[],
            gamma: Some(&parameters),
            beta: Some(&parameters),
            residual: None,
            y: &mut [],
            saved: &mut saved,
        },
    )
    .unwrap();
    let (mut dgamma, mut dbeta) = ([f32::NAN; 3], [f32::NAN; 3]);
    backward(
        &shape,
        &config,
        Backward {
            x: &[],
            dy: &[],
            saved: &saved,
            gamma: Some(&parameters),
            beta: None,
            residual: None,
            dx: Some(&mut []),
            dresidual: None,
            dgamma: Some(&mut dgamma),
            dbeta: Some(&mut dbeta),
            frozen: false,
        },
    )
    .unwrap();
    assert_eq!((dgamma, dbeta), ([0.0; 3], [0.0; 3]));
    let (mut mean, mut variance, mut batches) = ([7.0; 3], [8.0; 3], 5);
    running_update(
        &shape,
        &config,
        RunningUpdate { saved: &saved, mean: &mut mean, variance: &mut variance, batches: &mut batches },
    )
    .unwrap();
    assert_eq!((mean, variance, batches), ([7.0; 3], [8.0; 3], 5));
}

#[test]
fn what_cannot_be_computed_is_refused_with_its_numbers() {
    let shape = Shape::nc(2, 3).unwrap();
    let config = Config::pytorch();
    let (x, three, mut saved) = ([0.0; 6], [0.0; 3], [Saved::default(); 3]);
    let mut y = [0.0; 5];
    let mut run = |config: &Config, gamma, beta, residual| {
        training(&shape, config, Training { x: &x, gamma, beta, residual, y: &mut y, saved: &mut saved })
    };
    let refused = run(&config, Some(&three[..]), Some(&three[..]), None);
    assert_eq!(refused, Err(Error::TooSmall { argument: "y", bytes: 20, needed: 24 }));
    let mut y = [0.0; 6];
    let mut run = |config: &Config, gamma, beta, residual| {
        training(&shape, config, Training { x: &x, gamma, beta, residual, y: &mut y, saved: &mut saved })
    };
    assert!(matches!(run(&config, None, Some(&three[..]), None), Err(Error::Missing { argument: "gamma", .. })));
    assert!(matches!(
        run(&config, Some(&three[..]), Some(&three[..]), Some(&x[..])),
        Err(Error::Unexpected { argument: "residual", .. })
    ));
    let half = Config { dtype: DType::F16, ..config };
    assert!(matches!(run(&half, None, None, None), Err(Error::Unexpected { argument: "dtype", .. })));
    let one = Shape::nc(1, 3).unwrap();
    let (mut mean, mut variance, mut batches) = ([0.0; 3], [0.0; 3], 0);
    let arguments = RunningUpdate { saved: &saved, mean: &mut mean, variance: &mut variance, batches: &mut batches };
    assert_eq!(running_update(&one, &config, arguments), Err(Error::TooFewValues { values: 1 }));
}

/// Each task runs once, and no more threads work than are asked for, whether the caller is one of the pool's or not.
#[test]
fn a_spare_helper_does_no_work_twice_and_takes_no_seat_more() {
    for (threads, spare) in [(1, 1), (2, 0), (2, 1), (3, 1)] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (working, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let done: Vec<AtomicUsize> = (0..500).map(|_| AtomicUsize::new(0)).collect();
        let machine = Machine { simd: Arch::new(), threads, spare };
        let run = || {
            machine.each((0..done.len()).collect(), |task| {
                most.fetch_max(working.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                done[task].fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(std::time::Duration::from_micros(20));
                working.fetch_sub(1, Ordering::SeqCst);
            });
        };
        pool.install(run);
        // The global pool helps a caller that is none of its threads.
        run();
        assert!(done.iter().all(|done| done.load(Ordering::SeqCst) == 2), "{threads} threads, {spare} spare");
        assert!(most.load(Ordering::SeqCst) <= threads, "{most:?} of {threads} threads, {spare} spare");
    }
}
