//! Whether a plane whose length is no multiple of 4 costs more than the next that is: each inner size beside it, in turn.
//!
//! `cargo run --release --example inner_sizes [LAST] [ADAPTER]` goes through the sizes from 1 to 130, or to `LAST`: 64 channels,
//! 4 MiB, inference, training and backward. The next multiple of 4 is the yardstick of [`Timer::rounds`], before and after each other
//! size, so that no change in a shared machine's speed comes between the two, as it does where sizes are measured one after the
//! other. A ratio is the median over nine rounds of the times per element; the largest come last.

use std::error::Error;

use wgpu_batchnorm::host::Gpu;
use wgpu_batchnorm::host::timing::{Spread, Timer, Work};
use wgpu_batchnorm::{BackwardBuffers, Bound, Config, Gradients, InferenceBuffers, Shape, TrainingBuffers, wgpu};

const CHANNELS: usize = 64;
const ELEMENTS: usize = 1 << 20;
const LAST: usize = 130;
/// Above it a batch of one is more.
const LONGEST: usize = ELEMENTS / CHANNELS;
const ROUNDS: usize = 9;
/// Together far more than a cache holds.
const SETS: usize = 12;
const OPERATIONS: [&str; 3] = ["inference", "training", "backward"];
/// The largest ratios that are told once more.
const LARGEST: usize = 10;

/// Buffers that every size binds: all have as many channels, and about as many elements.
struct Set {
    x: wgpu::Buffer,
    dy: wgpu::Buffer,
    out: wgpu::Buffer,
    saved: wgpu::Buffer,
    gamma: wgpu::Buffer,
    beta: wgpu::Buffer,
    mean: wgpu::Buffer,
    variance: wgpu::Buffer,
    gradients: [wgpu::Buffer; 2],
}

impl Set {
    fn new(gpu: &Gpu, elements: usize) -> Result<Self, Box<dyn Error>> {
        let values = |of: fn(usize) -> f32, count| -> Vec<f32> { (0..count).map(of).collect() };
        let tensor = |of| gpu.buffer("tensor", bytemuck::cast_slice(&values(of, elements)));
        let channels = |of| gpu.buffer("channels", bytemuck::cast_slice(&values(of, CHANNELS)));
        Ok(Self {
            x: tensor(|i| (i * 7919 % 1000) as f32 / 500.0 - 0.5)?,
            dy: tensor(|i| (i * 104_729 % 1000) as f32 / 1000.0 - 0.5)?,
            out: gpu.empty("out", 4 * elements as u64)?,
            saved: gpu.empty("saved", 16 * CHANNELS as u64)?,
            gamma: channels(|_| 1.5)?,
            beta: channels(|_| 0.5)?,
            mean: channels(|_| 0.5)?,
            variance: channels(|_| 0.3)?,
            gradients: [gpu.empty("dgamma", 4 * CHANNELS as u64)?, gpu.empty("dbeta", 4 * CHANNELS as u64)?],
        })
    }
}

/// About as many elements as every size has.
fn shape_of(inner: usize) -> Result<Shape, wgpu_batchnorm::Error> {
    let outer = (ELEMENTS as f64 / (CHANNELS * inner) as f64).round() as usize;
    Shape::new(&[outer, CHANNELS, inner], 1)
}

/// The operations of a size, each bound to every set.
struct Size {
    shape: Shape,
    bound: [Vec<Bound>; 3],
}

impl Size {
    fn new(gpu: &Gpu, sets: &[Set], inner: usize) -> Result<Self, Box<dyn Error>> {
        let (norms, device, config) = (gpu.norms(), gpu.device(), Config::pytorch());
        let shape = shape_of(inner)?;
        let inference = norms.inference(&shape, &config)?;
        let training = norms.training(&shape, &config)?;
        let backward = norms.backward(&shape, &config, Gradients::ALL)?;
        let (mut infer, mut train, mut back) = (Vec::new(), Vec::new(), Vec::new());
        for set in sets {
            let [x, dy, out, saved] = [&set.x, &set.dy, &set.out, &set.saved].map(|buffer| buffer.slice(..));
            let [gamma, beta] = [&set.gamma, &set.beta].map(|buffer| Some(buffer.slice(..)));
            let given = InferenceBuffers::new(x, set.mean.slice(..), set.variance.slice(..), out);
            infer.push(inference.bind(device, &InferenceBuffers { gamma, beta, ..given })?);
            let arguments = TrainingBuffers { gamma, beta, ..TrainingBuffers::new(x, saved, out) };
            train.push(training.bind(device, &arguments)?);
            let [dgamma, dbeta] = [0, 1].map(|i: usize| Some(set.gradients[i].slice(..)));
            let required = BackwardBuffers::new(x, dy, saved);
            let arguments = BackwardBuffers { gamma, beta, dx: Some(out), dgamma, dbeta, ..required };
            back.push(backward.bind(device, &arguments)?);
        }
        Ok(Self { shape, bound: [infer, train, back] })
    }

    fn work(&self, operation: usize) -> Work<'_> {
        let bound = &self.bound[operation];
        Work::new(|pass: &mut wgpu::ComputePass<'_>, turn: usize| bound[turn % bound.len()].record(pass))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    pollster::block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let last = arguments.first().map_or(Ok(LAST), |last| last.parse())?;
    if !(1..=LONGEST).contains(&last) {
        return Err(format!("LAST is {last}; sizes go from 1 to {LONGEST}").into());
    }
    let gpu = Gpu::select(arguments.get(1).map(String::as_str)).await?;
    println!("{}", gpu.title());
    let timer = Timer::new(&gpu);
    let mut elements = ELEMENTS;
    for inner in 1..=last.next_multiple_of(4) {
        elements = elements.max(shape_of(inner)?.elements() as usize);
    }
    let sets = (0..SETS).map(|_| Set::new(&gpu, elements)).collect::<Result<Vec<_>, _>>()?;
    let mut ratios: Vec<(Spread, usize, &str)> = Vec::new();
    for aligned in (4..=last.next_multiple_of(4)).step_by(4) {
        let yardstick = Size::new(&gpu, &sets, aligned)?;
        let inners = aligned - 3..aligned.min(last + 1);
        let others = inners.clone().map(|inner| Size::new(&gpu, &sets, inner)).collect::<Result<Vec<_>, _>>()?;
        for (operation, name) in OPERATIONS.into_iter().enumerate() {
            let works: Vec<Work> = others.iter().map(|size| size.work(operation)).collect();
            let yard = yardstick.work(operation);
            // Its first measurement is of one instance, which may compile and allocate.
            timer.measure(&yard).await?;
            let measured = timer.rounds(&yard, &works.iter().collect::<Vec<_>>(), ROUNDS).await?;
            for ((inner, size), measured) in inners.clone().zip(&others).zip(&measured) {
                let scale = f64::from(yardstick.shape.elements()) / f64::from(size.shape.elements());
                let Spread { median, low, high } = measured.ratio();
                let ratio = Spread { median: median * scale, low: low * scale, high: high * scale };
                println!("{}", told(&ratio, inner, name));
                ratios.push((ratio, inner, name));
            }
        }
    }
    ratios.sort_by(|a, b| a.0.median.total_cmp(&b.0.median));
    println!("\nof {} the largest:", ratios.len());
    for (ratio, inner, name) in ratios.iter().rev().take(LARGEST).rev() {
        println!("{}", told(ratio, *inner, name));
    }
    Ok(())
}

fn told(Spread { median, low, high }: &Spread, inner: usize, operation: &str) -> String {
    let aligned = inner.next_multiple_of(4);
    format!("{inner:>4} beside {aligned:<4} {operation:<10} {median:.2} ({low:.2} to {high:.2})")
}
