//! What candidates are measured on: tensors of every layout, and two tunings in turn over them.

use std::ops::Range;

use crate::batch_norm::BatchNorm;
use crate::config::Config;
use crate::error::Error;
use crate::host::Gpu;
use crate::host::timing::{Spread, Timer, Work, last_level_cache_bytes};
use crate::operation::{BackwardBuffers, InferenceBuffers, TrainingBuffers};
use crate::plan::{AdapterKind, Gradients, Operation, Plan};
use crate::shape::Shape;

/// Long planes, short ones, very short ones and channels so small that they stay resident with the channels first; many
/// channels and few with the channels last: 1.2 to 1.6 million elements each. And a dense layer of a fifth of that, whose
/// few records may need no merge of their own.
const SHAPES: [(&[usize], isize); 7] = [
    (&[8, 16, 112, 112], 1),
    (&[32, 256, 14, 14], 1),
    (&[64, 512, 7, 7], 1),
    (&[2, 2560, 16, 16], 1),
    (&[32, 14, 14, 256], -1),
    (&[8, 224, 224, 3], -1),
    (&[256, 1024], 1),
];

/// A graphics processor reads so many millions in a few microseconds, which tell little: batches are this much larger.
const GPU_BATCHES: usize = 8;

const OPERATIONS: [Operation; 3] = [Operation::Inference, Operation::Training, Operation::Backward(Gradients::ALL)];

/// A candidate behind by this much in the first round is dropped.
const HOPELESS: f64 = 1.15;

/// Buffers of one step.
struct Set {
    x: wgpu::Buffer,
    dy: wgpu::Buffer,
    out: wgpu::Buffer,
}

/// The tensors of all shapes, on one device.
pub struct Course {
    timer: Timer,
    /// Each shape with its saved statistics.
    shapes: Vec<(Shape, wgpu::Buffer)>,
    /// Every shape uses the first part of each; together they leave the cache behind.
    sets: Vec<Set>,
    /// Ones: gamma, beta, mean and variance.
    parameters: wgpu::Buffer,
    gradients: [wgpu::Buffer; 2],
}

/// One operation on one shape under two tunings, measured in turn.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The shape.
    pub shape: Shape,
    /// What is computed.
    pub operation: Operation,
    /// Under the one tuning, in ms.
    pub before_ms: Spread,
    /// Under the other, in ms.
    pub after_ms: Spread,
    /// The other's time in units of the one's, round by round: below 1 it is faster.
    pub ratio: Spread,
}

/// Two tunings over everything that they plan differently.
#[derive(Clone, Debug)]
pub struct Race {
    /// The geometric mean of all ratios, round by round.
    pub overall: Spread,
    /// One by one.
    pub each: Vec<Compared>,
}

/// One operation on one shape under two tunings, and their times by round.
pub struct Pair<'a> {
    shape: &'a Shape,
    operation: Operation,
    works: [Work<'a>; 2],
    times: [Vec<f64>; 2],
}

impl Course {
    /// Uploads the tensors.
    pub async fn new(gpu: &Gpu) -> Result<Self, Error> {
        let kind = gpu.norms().facts().kind;
        let times = if kind == AdapterKind::Gpu { GPU_BATCHES } else { 1 };
        let shape = |(dimensions, axis): (&[usize], isize)| {
            let mut dimensions = dimensions.to_vec();
            dimensions[0] *= times;
            Shape::new(&dimensions, axis)
        };
        let shapes = SHAPES.into_iter().map(shape).collect::<Result<Vec<_>, _>>()?;
        let elements = shapes.iter().map(Shape::elements).max().unwrap_or(0);
        let channels = shapes.iter().map(Shape::channels).max().unwrap_or(0) as usize;
        let values: Vec<f32> = (0..elements).map(noise).collect();
        let (contents, bytes) = (bytemuck::cast_slice(&values), 4 * u64::from(elements));
        // Twice the cache: what one work leaves in it is gone when its turn comes again.
        let count = (2 * last_level_cache_bytes(kind)).div_ceil(3 * bytes.max(1)).clamp(2, 8);
        let set = |_| {
            let (x, dy) = (gpu.buffer("x", contents)?, gpu.buffer("dy", contents)?);
            Ok(Set { x, dy, out: gpu.empty("out", bytes)? })
        };
        let saved = |shape: Shape| {
            let buffer = gpu.empty("saved", 16 * u64::from(shape.channels()))?;
            Ok((shape, buffer))
        };
        let course = Self {
            timer: Timer::new(gpu),
            shapes: shapes.into_iter().map(saved).collect::<Result<_, Error>>()?,
            sets: (0..count).map(set).collect::<Result<_, Error>>()?,
            parameters: gpu.buffer("parameters", bytemuck::cast_slice(&vec![1.0f32; channels]))?,
            gradients: [gpu.empty("dgamma", 4 * channels as u64)?, gpu.empty("dbeta", 4 * channels as u64)?],
        };
        // Backward reads what training saves.
        for index in 0..course.shapes.len() {
            let training = course.work(gpu.norms(), index, Operation::Training)?;
            course.timer.submission(&training).await?;
        }
        Ok(course)
    }

    /// An operation on a shape, over all sets.
    fn work(&self, norms: &BatchNorm, index: usize, operation: Operation) -> Result<Work<'_>, Error> {
        let (shape, saved) = &self.shapes[index];
        let (device, config) = (norms.device(), Config::pytorch());
        let tensor: Range<u64> = 0..4 * u64::from(shape.elements());
        let ones = self.parameters.slice(..4 * u64::from(shape.channels()));
        let [dgamma, dbeta] = &self.gradients;
        let bound = match operation {
            Operation::Inference => {
                let prepared = norms.inference(shape, &config)?;
                let bind = |set: &Set| {
                    let (x, y) = (set.x.slice(tensor.clone()), set.out.slice(tensor.clone()));
                    let buffers = InferenceBuffers::new(x, ones, ones, y);
                    prepared.bind(device, &InferenceBuffers { gamma: Some(ones), beta: Some(ones), ..buffers })
                };
                self.sets.iter().map(bind).collect::<Result<Vec<_>, _>>()?
            }
            Operation::Training => {
                let prepared = norms.training(shape, &config)?;
                let bind = |set: &Set| {
                    let (x, y) = (set.x.slice(tensor.clone()), set.out.slice(tensor.clone()));
                    let buffers = TrainingBuffers::new(x, saved.slice(..), y);
                    prepared.bind(device, &TrainingBuffers { gamma: Some(ones), beta: Some(ones), ..buffers })
                };
                self.sets.iter().map(bind).collect::<Result<Vec<_>, _>>()?
            }
            _ => {
                let prepared = norms.backward(shape, &config, Gradients::ALL)?;
                let bind = |set: &Set| {
                    let (x, dy) = (set.x.slice(tensor.clone()), set.dy.slice(tensor.clone()));
                    let buffers = BackwardBuffers {
                        gamma: Some(ones),
                        beta: Some(ones),
                        dx: Some(set.out.slice(tensor.clone())),
                        dgamma: Some(dgamma.slice(..)),
                        dbeta: Some(dbeta.slice(..)),
                        ..BackwardBuffers::new(x, dy, saved.slice(..))
                    };
                    prepared.bind(device, &buffers)
                };
                self.sets.iter().map(bind).collect::<Result<Vec<_>, _>>()?
            }
        };
        Ok(Work::new(move |pass, set| bound[set % bound.len()].record(pass)))
    }

    /// What two tunings plan differently, ready to be measured.
    pub fn pairs(&self, before: &BatchNorm, after: &BatchNorm) -> Result<Vec<Pair<'_>>, Error> {
        let mut pairs = Vec::new();
        for (index, (shape, _)) in self.shapes.iter().enumerate() {
            for operation in OPERATIONS {
                let plan =
                    |norms: &BatchNorm| Plan::new(operation, shape, &Config::pytorch(), norms.facts(), norms.tuning());
                if plan(before)? != plan(after)? {
                    let works = [self.work(before, index, operation)?, self.work(after, index, operation)?];
                    pairs.push(Pair { shape, operation, works, times: Default::default() });
                }
            }
        }
        Ok(pairs)
    }

    /// Measures both works of each pair in turn.
    pub async fn race(&self, mut pairs: Vec<Pair<'_>>, rounds: usize) -> Result<Race, Error> {
        // The first measurement of a work finds how often to repeat it.
        for work in pairs.iter().flat_map(|pair| &pair.works) {
            self.timer.measure(work).await?;
        }
        let mut overall = Vec::new();
        for round in 0..rounds {
            for pair in &mut pairs {
                // The one that goes second finds the caches as the other leaves them: each has that place in its turn.
                for which in [round % 2, 1 - round % 2] {
                    pair.times[which].push(self.timer.measure(&pair.works[which]).await?);
                }
            }
            let logarithms = pairs.iter().filter_map(|pair| Some((pair.times[1].last()? / pair.times[0].last()?).ln()));
            overall.push((logarithms.sum::<f64>() / pairs.len() as f64).exp());
            if overall.first().is_some_and(|&ratio| ratio > HOPELESS) {
                break;
            }
        }
        Ok(Race { overall: Spread::of(&overall), each: pairs.into_iter().map(Pair::compared).collect() })
    }
}

impl Pair<'_> {
    fn compared(self) -> Compared {
        let [before, after] = &self.times;
        let ratios: Vec<f64> = after.iter().zip(before).map(|(after, before)| after / before).collect();
        Compared {
            shape: self.shape.clone(),
            operation: self.operation,
            before_ms: Spread::of(before),
            after_ms: Spread::of(after),
            ratio: Spread::of(&ratios),
        }
    }
}

/// Numbers about 0.5 ± 1.2, without order: what a layer sees in training.
fn noise(index: u32) -> f32 {
    let mixed = (index ^ (index >> 15)).wrapping_mul(0x2c1b_3c6d);
    let mixed = (mixed ^ (mixed >> 12)).wrapping_mul(0x297a_2d39);
    ((mixed ^ (mixed >> 15)) >> 8) as f32 / (1 << 22) as f32 - 1.5
}
