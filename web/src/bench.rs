//! Inference, training forward and backward beside the device's best plain copy, and the same on the CPU path.

use serde::Serialize;
use wasm_bindgen::JsError;
use web_time::Instant;
use wgpu_batchnorm::check::sweep::{Content, SweepCase, SweepData};
use wgpu_batchnorm::check::{Comparison, check_one};
use wgpu_batchnorm::host::timing::{Copy, CopyKernel, CopyWord, Measured, Spread, Timer, Work, milliseconds};
use wgpu_batchnorm::host::{Gpu, Placement};
use wgpu_batchnorm::plan::Operation;
use wgpu_batchnorm::{Bound, Config, DType, Gradients, Layer, LayerBackward, LayerForward, Mode, Shape, cpu, wgpu};

use crate::Listener;

/// What is measured, by the names that the page shows.
const OPERATIONS: [(&str, Operation); 3] = [
    ("inference", Operation::Inference),
    ("training forward", Operation::Training),
    ("backward", Operation::Backward(Gradients::ALL)),
];

/// Dimensions and channel axis: seconds on a software adapter.
const SMALL: [(&[usize], isize); 3] = [(&[2, 64, 32, 32], 1), (&[8, 256, 14, 14], 1), (&[8, 28, 28, 128], 3)];
/// Layers of ResNet-50 at a batch size of 32, and one with the channels last.
const LARGE: [(&[usize], isize); 4] =
    [(&[32, 64, 56, 56], 1), (&[32, 256, 14, 14], 1), (&[32, 512, 7, 7], 1), (&[32, 56, 56, 64], 3)];

/// Memory that the buffers of one shape may take; sets of buffers are used in turn, so that a cache holds less of them.
const MEMORY_BYTES: usize = 256 << 20;
const SETS_MAX: usize = 16;

/// A measurement on the CPU repeats its work until it lasts this long, in ms: two hundred times what a browser's clock
/// resolves.
const CPU_LASTS_MS: f64 = 20.0;

/// The figures.
#[derive(Serialize)]
pub struct Report {
    /// How the device was timed: `timestamps`, or `wall`.
    clock: Option<&'static str>,
    cpu: &'static str,
    results: Vec<Figures>,
}

/// The figures of one operation on one shape.
#[derive(Serialize)]
struct Figures {
    shape: String,
    operation: &'static str,
    gpu: Option<GpuFigures>,
    cpu_ms: Spread,
}

#[derive(Serialize)]
struct GpuFigures {
    ms: Spread,
    copy_ms: Spread,
    ratio_to_copy: Spread,
    /// What the bytes that must move alone cost, in units of a copy.
    ratio_limit: f64,
    copy_form: String,
    sets: usize,
    /// The largest error of what it computed, as a share of its bound.
    worst: f64,
}

/// How far a benchmark is.
struct Progress<'a> {
    listener: &'a Listener<'a>,
    steps: usize,
    done: usize,
}

impl Progress<'_> {
    async fn step(&mut self, what: String) -> Result<(), JsError> {
        self.done += 1;
        self.listener.tell(self.done as f64 / self.steps as f64, &what).await
    }
}

/// Checks and times every operation on the small or the large shapes.
pub async fn bench(gpu: Option<&Gpu>, large: bool, rounds: usize, listener: &Listener<'_>) -> Result<Report, JsError> {
    let list = if large { &LARGE[..] } else { &SMALL[..] };
    let shapes = list.iter().map(|&(dimensions, axis)| Shape::new(dimensions, axis)).collect::<Result<Vec<_>, _>>()?;
    // On the device a check of each operation, the copy, and the rounds; on the CPU each operation.
    let steps = shapes.len() * (OPERATIONS.len() + gpu.map_or(0, |_| OPERATIONS.len() + 1 + rounds));
    let mut progress = Progress { listener, steps, done: 0 };
    let timer = gpu.map(Timer::new);
    let mut results = Vec::new();
    for shape in &shapes {
        let on_gpu = match &timer {
            Some(timer) => measure(timer, shape, rounds, &mut progress).await?.into_iter().map(Some).collect(),
            None => Vec::from([const { None }; OPERATIONS.len()]),
        };
        let data = case(shape, Operation::Training).data();
        for ((name, operation), gpu) in OPERATIONS.into_iter().zip(on_gpu) {
            progress.step(format!("{shape}: {name} on the CPU path")).await?;
            let cpu_ms = measure_cpu(shape, operation, &data, rounds)?;
            results.push(Figures { shape: shape.to_string(), operation: name, gpu, cpu_ms });
        }
    }
    let clock = timer.map(|timer| timer.clock().name());
    Ok(Report { clock, cpu: "this library's CPU path in wasm: one thread, simd128", results })
}

/// An operation on a shape, with normal numbers of mean 1.
fn case(shape: &Shape, operation: Operation) -> SweepCase {
    SweepCase {
        seed: 0,
        shape: shape.clone(),
        config: Config { running_update: false, ..Config::pytorch() },
        operation,
        placement: Placement::Separate,
        windows: false,
        content: Content::Normal,
        magnitude: 1.0,
        mean_over_std: 1.0,
    }
}

/// One set of buffers and the operations on it.
struct Set {
    x: wgpu::Buffer,
    out: wgpu::Buffer,
    operations: [Bound; OPERATIONS.len()],
}

impl Set {
    fn new(gpu: &Gpu, layer: &Layer, shape: &Shape, data: &SweepData) -> Result<Self, JsError> {
        let tensor = |values: &[f32]| gpu.buffer("tensor", bytemuck::cast_slice(values));
        let (x, dy) = (tensor(&data.x)?, tensor(&data.dy)?);
        let out = gpu.empty("tensor", x.size())?;
        let forward = LayerForward { x: x.slice(..), residual: None, y: out.slice(..), mask: None };
        let dx = Some(out.slice(..));
        let backward = LayerBackward { x: x.slice(..), dy: dy.slice(..), mask: None, dx, dresidual: None };
        let operations = [
            layer.forward(Mode::Eval, shape, &forward)?,
            layer.forward(Mode::Train, shape, &forward)?,
            layer.backward(Mode::Train, shape, Gradients::ALL, &backward)?,
        ];
        Ok(Self { x, out, operations })
    }
}

/// How many sets of buffers of x, dy and the output there are.
fn sets_of(shape: &Shape) -> usize {
    (MEMORY_BYTES / (3 * 4 * shape.elements() as usize).max(1)).clamp(1, SETS_MAX)
}

/// Checks and times the operations on the device.
async fn measure(
    timer: &Timer,
    shape: &Shape,
    rounds: usize,
    progress: &mut Progress<'_>,
) -> Result<Vec<GpuFigures>, JsError> {
    let gpu = timer.gpu();
    let mut worst = Vec::new();
    for (name, operation) in OPERATIONS {
        progress.step(format!("{shape}: checking {name}")).await?;
        let verdicts = check_one(gpu, &case(shape, operation)).await?;
        if let Some(wrong) = verdicts.iter().find(|verdict| !verdict.passed()) {
            return Err(JsError::new(&format!("{shape}: {name} is wrong, and is not timed: {wrong}")));
        }
        let ratios = verdicts.iter().filter_map(|verdict| verdict.comparison.as_ref().map(Comparison::ratio));
        worst.push(ratios.fold(0.0, f64::max));
    }
    progress.step(format!("{shape}: finding the best copy")).await?;
    let layer = Layer::new(gpu.norms(), shape.channels(), &Config::pytorch())?;
    let data = case(shape, Operation::Training).data();
    let bytes = 4 * u64::from(shape.elements());
    let sets = (0..sets_of(shape)).map(|_| Set::new(gpu, &layer, shape, &data)).collect::<Result<Vec<_>, _>>()?;
    let pairs: Vec<_> = sets.iter().map(|set| [&set.x, &set.out]).collect();
    let kernel = CopyKernel::best(timer, &pairs, bytes, CopyWord::Of(DType::F32)).await?;
    let copies = pairs.iter().map(|[from, to]| kernel.bind(gpu, from, to, bytes)).collect::<Result<Vec<Copy>, _>>()?;
    let copy = Work::new(|pass, set| copies[set % copies.len()].record(pass));
    let works: Vec<Work> = (0..OPERATIONS.len())
        .map(|operation| {
            let sets = &sets;
            Work::new(move |pass: &mut wgpu::ComputePass<'_>, set| {
                sets[set % sets.len()].operations[operation].record(pass);
            })
        })
        .collect();
    let works: Vec<&Work> = works.iter().collect();
    let mut measured = vec![Measured::default(); works.len()];
    for round in 1..=rounds {
        progress.step(format!("{shape}: round {round} of {rounds}, beside the copy")).await?;
        // Round by round, so that the page can draw in between.
        for (all, one) in measured.iter_mut().zip(timer.rounds(&copy, &works, 1).await?) {
            all.work_ms.extend(one.work_ms);
            all.yardstick_ms.extend(one.yardstick_ms);
        }
    }
    let mut figures = Vec::new();
    for ((_, operation), (measured, worst)) in OPERATIONS.into_iter().zip(measured.iter().zip(worst)) {
        figures.push(GpuFigures {
            ms: measured.work(),
            copy_ms: measured.yardstick(),
            ratio_to_copy: measured.ratio(),
            ratio_limit: bytes_moved(gpu, shape, operation)? as f64 / (2 * bytes) as f64,
            copy_form: kernel.form().to_string(),
            sets: sets.len(),
            worst,
        });
    }
    Ok(figures)
}

fn bytes_moved(gpu: &Gpu, shape: &Shape, operation: Operation) -> Result<u64, JsError> {
    let (norms, config) = (gpu.norms(), Config { running_update: false, ..Config::pytorch() });
    Ok(match operation {
        Operation::Training => norms.training(shape, &config)?.plan().bytes_moved,
        Operation::Backward(gradients) => norms.backward(shape, &config, gradients)?.plan().bytes_moved,
        _ => norms.inference(shape, &config)?.plan().bytes_moved,
    })
}

/// Times an operation on the CPU path, in ms, over sets of tensors in turn, as many as on the device.
fn measure_cpu(shape: &Shape, operation: Operation, data: &SweepData, rounds: usize) -> Result<Spread, JsError> {
    let config = Config::pytorch();
    let (gamma, beta) = (Some(&data.gamma[..]), Some(&data.beta[..]));
    let channels = shape.channels() as usize;
    let mut sets = vec![(data.x.clone(), data.dy.clone(), vec![0.0; data.x.len()]); sets_of(shape)];
    let mut saved = vec![cpu::Saved::default(); channels];
    let mut gradients = [vec![0.0; channels], vec![0.0; channels]];
    let mut turn = 0;
    let mut once = |operation| {
        turn = (turn + 1) % sets.len();
        let (x, dy, out) = &mut sets[turn];
        let (x, residual) = (&x[..], None);
        match operation {
            Operation::Training => {
                let (y, saved) = (&mut out[..], &mut saved[..]);
                cpu::training(shape, &config, cpu::Training { x, gamma, beta, residual, y, saved })
            }
            Operation::Backward(_) => {
                let [dgamma, dbeta] = &mut gradients;
                let backward = cpu::Backward {
                    x,
                    dy,
                    saved: &saved,
                    gamma,
                    beta,
                    residual,
                    dx: Some(out),
                    dresidual: None,
                    dgamma: Some(dgamma),
                    dbeta: Some(dbeta),
                    frozen: false,
                };
                cpu::backward(shape, &config, backward)
            }
            _ => {
                let (mean, variance, y) = (&data.running_mean[..], &data.running_variance[..], &mut out[..]);
                cpu::inference(shape, &config, cpu::Inference { x, mean, variance, gamma, beta, residual, y })
            }
        }
    };
    // Backward reads what training saves.
    once(Operation::Training)?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let (start, mut repeats) = (Instant::now(), 0);
        while repeats == 0 || milliseconds(start) < CPU_LASTS_MS {
            once(operation)?;
            repeats += 1;
        }
        times.push(milliseconds(start) / f64::from(repeats));
    }
    Ok(Spread::of(&times))
}
