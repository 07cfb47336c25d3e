//! A layer: what batch normalisation keeps between steps, on the host's device.

use std::sync::{Arc, Mutex, PoisonError};

use wgpu::BufferSlice;

use crate::batch_norm::BatchNorm;
use crate::buffer;
use crate::config::Config;
use crate::error::Error;
use crate::operation::{
    Backward, BackwardBuffers, Bound, FrozenBackward, FrozenBackwardBuffers, Inference, InferenceBuffers, Kind,
    Prepared, RunningStatistics, Training, TrainingBuffers,
};
use crate::parts::{RunningUpdate, RunningUpdateBuffers};
use crate::plan::{Count, Gradients, ParameterGradients};
use crate::shape::Shape;

/// How a layer normalises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// With the batch's own statistics, which are saved for backward.
    Train,
    /// With the running statistics. There is no backward.
    Eval,
    /// With the running statistics, for a backward that takes them as given: fine-tuning with frozen statistics.
    Frozen,
}

/// What the caller brings to a layer's forward step; tensors are `[outer, channels, inner]` in the storage type.
#[derive(Clone, Copy, Debug)]
pub struct LayerForward<'a> {
    /// Input.
    pub x: BufferSlice<'a>,
    /// Added before the activation; where the configuration has a residual.
    pub residual: Option<BufferSlice<'a>>,
    /// Output; may be exactly `x` in [`Mode::Eval`] alone.
    pub y: BufferSlice<'a>,
    /// One bit per element where z is positive, [`mask_bytes`](crate::mask_bytes) bytes; written in [`Mode::Train`] and
    /// [`Mode::Frozen`] where the configuration has a residual and a ReLU.
    pub mask: Option<BufferSlice<'a>>,
}

/// What the caller brings to a layer's backward step; tensors are `[outer, channels, inner]` in the storage type.
#[derive(Clone, Copy, Debug)]
pub struct LayerBackward<'a> {
    /// The input of the forward step.
    pub x: BufferSlice<'a>,
    /// Gradient of the output.
    pub dy: BufferSlice<'a>,
    /// What the forward step wrote; read where the configuration has a residual and a ReLU.
    pub mask: Option<BufferSlice<'a>>,
    /// Gradient of the input; may be exactly `dy`.
    pub dx: Option<BufferSlice<'a>>,
    /// Gradient of the residual; where the configuration has a residual.
    pub dresidual: Option<BufferSlice<'a>>,
}

/// Gamma, beta, running statistics, batch counter, saved statistics and gradients of one batch normalisation, as
/// buffers on the host's device, and the operations on them.
///
/// A layer binds its own buffers and those of the caller; what it returns is recorded into the caller's pass. It owns
/// no queue: the host's own kernels, or its queue, change gamma and beta in [`Layer::parameters`].
///
/// Operations are prepared when a shape first comes and kept for the last [`Layer::KEPT`] shapes, so that a smaller
/// last batch costs nothing after the first epoch.
///
/// ```no_run
/// # use wgpu_batchnorm::*;
/// # fn record(norms: &BatchNorm, pass: &mut wgpu::ComputePass<'_>, [x, y, dy, dx]: [&wgpu::Buffer; 4]) -> Result<(), Error> {
/// let layer = Layer::new(norms, 128, &Config { activation: Activation::Relu, ..Config::pytorch() })?;
/// let shape = Shape::nc(64, 128)?;
/// let (x, y) = (x.slice(..), y.slice(..));
/// let forward = layer.forward(Mode::Train, &shape, &LayerForward { x, y, residual: None, mask: None })?;
/// let update = layer.running_update(&shape)?;
/// let gradients = LayerBackward { x, dy: dy.slice(..), dx: Some(dx.slice(..)), mask: None, dresidual: None };
/// let backward = layer.backward(Mode::Train, &shape, Gradients::ALL, &gradients)?;
/// // Once per step; what is left out or repeated between forward and backward is the host's to choose.
/// forward.record(pass);
/// update.record(pass);
/// backward.record(pass);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Layer {
    norms: BatchNorm,
    config: Config,
    channels: u32,
    gamma: Option<Parameter>,
    beta: Option<Parameter>,
    running_mean: wgpu::Buffer,
    running_variance: wgpu::Buffer,
    batches: wgpu::Buffer,
    saved: wgpu::Buffer,
    training: Kept<Shape, Training>,
    inference: Kept<Shape, Inference>,
    frozen_forward: Kept<Shape, Inference>,
    update: Kept<Shape, RunningUpdate>,
    backward: Kept<(Shape, Gradients), Backward>,
    frozen_backward: Kept<(Shape, Gradients), FrozenBackward>,
}

/// A trained value and its gradient, each `[channels]` f32.
#[derive(Debug)]
pub struct Parameter {
    /// The value: what the host's optimiser changes.
    pub value: wgpu::Buffer,
    /// The gradient: what [`Layer::backward`] writes.
    pub gradient: wgpu::Buffer,
}

impl Layer {
    /// For how many shapes each operation is kept.
    pub const KEPT: usize = 8;

    /// A new layer: gamma 1, beta 0, running mean 0, running variance 1, no batches seen.
    ///
    /// The running update is a step of its own here, so `config.running_update` is not looked at; the batches are
    /// always counted.
    ///
    /// # Errors
    /// [`Error::NoChannels`] · what [`Config::validate`] refuses · [`Error::DeviceLimit`] for more channels than a binding
    /// holds · [`Error::Device`]
    pub fn new(norms: &BatchNorm, channels: u32, config: &Config) -> Result<Self, Error> {
        config.validate()?;
        if channels == 0 {
            return Err(Error::NoChannels { axis: 0 });
        }
        let device = norms.device();
        let filled = |label: &'static str, count: usize, value: f32| {
            // Before the host's memory is filled with it.
            let (needed, limit) = (4 * count as u64, norms.facts().binding_bytes);
            if needed > limit {
                let name = "max_storage_buffer_binding_size";
                return Err(Error::DeviceLimit { what: label, needed, limit, name });
            }
            buffer::filled(device, label, bytemuck::cast_slice(&vec![value; count]), buffer::STORAGE_USAGE)
        };
        let count = channels as usize;
        let parameter = |there: bool, label, value| {
            let parameter =
                || Ok(Parameter { value: filled(label, count, value)?, gradient: filled(label, count, 0.0)? });
            there.then(parameter).transpose()
        };
        Ok(Self {
            norms: norms.clone(),
            config: Config { running_update: false, count_batches: true, ..*config },
            channels,
            gamma: parameter(config.gamma, "batchnorm.gamma", 1.0)?,
            beta: parameter(config.beta, "batchnorm.beta", 0.0)?,
            running_mean: filled("batchnorm.running_mean", count, 0.0)?,
            running_variance: filled("batchnorm.running_variance", count, 1.0)?,
            batches: filled("batchnorm.batches", 1, 0.0)?,
            saved: filled("batchnorm.saved", 4 * count, 0.0)?,
            training: Kept::default(),
            inference: Kept::default(),
            frozen_forward: Kept::default(),
            update: Kept::default(),
            backward: Kept::default(),
            frozen_backward: Kept::default(),
        })
    }

    /// Normalises x into y; in [`Mode::Train`] also saves the statistics of the batch, and leaves the running ones alone.
    ///
    /// # Errors
    /// [`Error::WrongChannels`] · [`Error::Overlap`] also for y exactly over x in [`Mode::Train`] and [`Mode::Frozen`],
    /// because backward reads x · what [`BatchNorm::training`], [`BatchNorm::inference`] and [`Prepared::bind`] refuse
    pub fn forward(&self, mode: Mode, shape: &Shape, buffers: &LayerForward<'_>) -> Result<Bound, Error> {
        self.check(shape)?;
        let &LayerForward { x, residual, y, mask } = buffers;
        let device = self.norms.device();
        if mode != Mode::Eval && x.buffer() == y.buffer() && x.offset() == y.offset() {
            let (start, bytes) = (x.offset(), self.config.dtype.tensor_bytes(shape.elements().into()));
            return Err(Error::Overlap {
                first: "x",
                first_start: start,
                first_end: start + bytes,
                second: "y",
                second_start: start,
                second_end: start + bytes,
            });
        }
        let (gamma, beta) = (value(&self.gamma), value(&self.beta));
        if mode == Mode::Train {
            let training = self.training.get(shape, || self.norms.training(shape, &self.config))?;
            let saved = self.saved.slice(..);
            let buffers = TrainingBuffers { x, residual, gamma, beta, running: None, saved, y, mask, scratch: None };
            return training.bind(device, &buffers);
        }
        let prepared = match mode {
            Mode::Frozen => self.frozen_forward.get(shape, || self.norms.frozen_forward(shape, &self.config))?,
            _ => self.inference.get(shape, || self.norms.inference(shape, &self.config))?,
        };
        let (running_mean, running_variance) = (self.running_mean.slice(..), self.running_variance.slice(..));
        let buffers = InferenceBuffers { x, residual, gamma, beta, running_mean, running_variance, y, mask };
        prepared.bind(device, &buffers)
    }

    /// Lets the running statistics follow the batch that the last training forward saved, and counts it.
    ///
    /// Its own step, to be recorded once per batch: a forward pass that is computed again for backward leaves it out.
    ///
    /// # Errors
    /// [`Error::WrongChannels`] · [`Error::TooFewValues`] for an unbiased running variance of one value · what
    /// [`BatchNorm::running_update`] refuses
    pub fn running_update(&self, shape: &Shape) -> Result<Bound, Error> {
        self.check(shape)?;
        let update = self.update.get(shape, || self.norms.running_update(shape, &self.config, Count::Shape))?;
        let running = RunningStatistics {
            mean: self.running_mean.slice(..),
            variance: self.running_variance.slice(..),
            batches: Some(self.batches.slice(..)),
        };
        update.bind(self.norms.device(), &RunningUpdateBuffers { saved: self.saved.slice(..), merged: None, running })
    }

    /// The gradients of the forward step of the same mode; those of gamma and beta go to the layer's own buffers.
    ///
    /// # Errors
    /// [`Error::WrongChannels`] · [`Error::Unexpected`] in [`Mode::Eval`], which keeps nothing for backward · what
    /// [`BatchNorm::backward`], [`BatchNorm::frozen_backward`] and [`Prepared::bind`] refuse
    pub fn backward(
        &self,
        mode: Mode,
        shape: &Shape,
        gradients: Gradients,
        buffers: &LayerBackward<'_>,
    ) -> Result<Bound, Error> {
        self.check(shape)?;
        let &LayerBackward { x, dy, mask, dx, dresidual } = buffers;
        let (device, key) = (self.norms.device(), (shape.clone(), gradients));
        let (gamma, beta) = (value(&self.gamma), value(&self.beta));
        let wanted = gradients.parameters != ParameterGradients::None;
        let gradient = |p| gradient(p).filter(|_| wanted);
        let (dgamma, dbeta) = (gradient(&self.gamma), gradient(&self.beta));
        match mode {
            Mode::Train => {
                let prepared = self.backward.get(&key, || self.norms.backward(shape, &self.config, gradients))?;
                let saved = self.saved.slice(..);
                let scratch = None;
                prepared.bind(
                    device,
                    &BackwardBuffers { x, dy, saved, gamma, beta, mask, dx, dgamma, dbeta, dresidual, scratch },
                )
            }
            Mode::Frozen => {
                let prepared =
                    self.frozen_backward.get(&key, || self.norms.frozen_backward(shape, &self.config, gradients))?;
                let (running_mean, running_variance) = (self.running_mean.slice(..), self.running_variance.slice(..));
                let scratch = None;
                prepared.bind(
                    device,
                    &FrozenBackwardBuffers {
                        x,
                        dy,
                        running_mean,
                        running_variance,
                        gamma,
                        beta,
                        mask,
                        dx,
                        dgamma,
                        dbeta,
                        dresidual,
                        scratch,
                    },
                )
            }
            Mode::Eval => Err(Error::Unexpected {
                argument: "dy",
                reason: "evaluation keeps nothing for backward; use Mode::Frozen for both steps",
            }),
        }
    }

    fn check(&self, shape: &Shape) -> Result<(), Error> {
        if shape.channels() == self.channels {
            return Ok(());
        }
        Err(Error::WrongChannels { channels: shape.channels(), needed: self.channels })
    }

    /// The scale and its gradient; absent where the configuration has none.
    pub fn gamma(&self) -> Option<&Parameter> {
        self.gamma.as_ref()
    }

    /// The shift and its gradient; absent where the configuration has none.
    pub fn beta(&self) -> Option<&Parameter> {
        self.beta.as_ref()
    }

    /// Gamma and beta, as far as they are there: all that an optimiser changes.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.gamma.iter().chain(&self.beta)
    }

    /// Running mean, `[channels]` f32.
    pub fn running_mean(&self) -> &wgpu::Buffer {
        &self.running_mean
    }

    /// Running variance, `[channels]` f32.
    pub fn running_variance(&self) -> &wgpu::Buffer {
        &self.running_variance
    }

    /// Batches seen by [`Layer::running_update`], one `u32`.
    pub fn batches(&self) -> &wgpu::Buffer {
        &self.batches
    }

    /// What the last training forward saved, `[channels] × vec4<f32>`: K, d, inverse_std, variance; the mean is K + d.
    pub fn saved(&self) -> &wgpu::Buffer {
        &self.saved
    }

    /// How many channels the layer has.
    pub fn channels(&self) -> u32 {
        self.channels
    }

    /// What the layer computes.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

fn value(parameter: &Option<Parameter>) -> Option<BufferSlice<'_>> {
    parameter.as_ref().map(|p| p.value.slice(..))
}

fn gradient(parameter: &Option<Parameter>) -> Option<BufferSlice<'_>> {
    parameter.as_ref().map(|p| p.gradient.slice(..))
}

/// The operations for the keys that came last, the latest at the end.
#[derive(Debug)]
struct Kept<Key, K>(Mutex<Vec<Entry<Key, K>>>);

type Entry<Key, K> = (Key, Arc<Prepared<K>>);

impl<Key, K> Default for Kept<Key, K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Key: Clone + PartialEq, K: Kind> Kept<Key, K> {
    fn get(&self, key: &Key, prepare: impl FnOnce() -> Result<Prepared<K>, Error>) -> Result<Arc<Prepared<K>>, Error> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match kept.iter().position(|(k, _)| k == key) {
            Some(index) => kept.remove(index),
            None => (key.clone(), Arc::new(prepare()?)),
        };
        // What was bound stays alive without its operation.
        if kept.len() == Layer::KEPT {
            kept.remove(0);
        }
        let prepared = entry.1.clone();
        kept.push(entry);
        Ok(prepared)
    }
}
