//! From arrays to arrays: one operation, run once.

use wgpu::BufferSlice;

use super::Gpu;
use super::tensor::{decode, encode};
use crate::config::{Activation, Config};
use crate::dtype::DType;
use crate::error::Error;
use crate::operation::{
    BackwardBuffers, Bound, FrozenBackwardBuffers, InferenceBuffers, RunningStatistics, TrainingBuffers,
};
use crate::plan::{Gradients, Operation, ParameterGradients, mask_bytes};
use crate::shape::Shape;

/// What an operation is given: `[elements]` in the tensor's own layout, or `[channels]`.
///
/// Tensors are rounded to the configuration's storage type as they are uploaded. What an operation does not read may
/// be absent, and is ignored where it is there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inputs<'a> {
    /// The input, `[elements]`; every operation reads it.
    pub x: Option<&'a [f32]>,
    /// The gradient of y, `[elements]`.
    pub dy: Option<&'a [f32]>,
    /// What is added before the activation, `[elements]`.
    pub residual: Option<&'a [f32]>,
    /// The scale, `[channels]`.
    pub gamma: Option<&'a [f32]>,
    /// The shift, `[channels]`.
    pub beta: Option<&'a [f32]>,
    /// The running mean, `[channels]`.
    pub running_mean: Option<&'a [f32]>,
    /// The running variance, `[channels]`.
    pub running_variance: Option<&'a [f32]>,
    /// Batches seen before.
    pub batches: u32,
    /// What the gradient of gamma is added to where it accumulates, `[channels]`; zeros if absent.
    pub dgamma: Option<&'a [f32]>,
    /// What the gradient of beta is added to where it accumulates, `[channels]`; zeros if absent.
    pub dbeta: Option<&'a [f32]>,
}

/// The statistics that training saves, each `[channels]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    /// K: the mean is K + d.
    pub anchor: Vec<f32>,
    /// d: what the anchor lacks of the mean.
    pub offset: Vec<f32>,
    /// `1 / √(variance + epsilon)`.
    pub inverse_std: Vec<f32>,
    /// The population variance.
    pub variance: Vec<f32>,
}

impl Saved {
    /// The mean of each channel, K + d, in f64, which holds the sum.
    pub fn mean(&self) -> Vec<f64> {
        self.anchor.iter().zip(&self.offset).map(|(&k, &d)| f64::from(k) + f64::from(d)).collect()
    }
}

/// What an operation computed, widened to f32; each is there where the operation writes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    /// The output, `[elements]`; of the forward step in [`Operation::Backward`].
    pub y: Option<Vec<f32>>,
    /// The statistics of the batch.
    pub saved: Option<Saved>,
    /// The running mean after the batch, `[channels]`.
    pub running_mean: Option<Vec<f32>>,
    /// The running variance after the batch, `[channels]`.
    pub running_variance: Option<Vec<f32>>,
    /// Batches seen.
    pub batches: Option<u32>,
    /// The gradient of x, `[elements]`.
    pub dx: Option<Vec<f32>>,
    /// The gradient of gamma, `[channels]`.
    pub dgamma: Option<Vec<f32>>,
    /// The gradient of beta, `[channels]`.
    pub dbeta: Option<Vec<f32>>,
    /// The gradient of the residual, `[elements]`.
    pub dresidual: Option<Vec<f32>>,
}

/// Where the arguments of an operation lie; the results are the same, bit for bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Placement {
    /// Each argument has a buffer of its own.
    #[default]
    Separate,
    /// All arguments and the scratch lie in one buffer, apart from each other.
    Arena,
    /// y lies where x was, and dx where dy was.
    InPlace,
}

/// Uploads, runs an operation once and downloads what it wrote.
///
/// [`Operation::Backward`] first runs training on the device, for the statistics and the mask that backward reads, and
/// [`Operation::FrozenBackward`] its forward; what they write is among the outputs.
///
/// Outputs and scratch hold NaN before, and what lies around them must not change: a kernel that leaves an element out
/// or writes outside its tensor does not go unseen.
///
/// # Errors
/// What [`BatchNorm`](crate::BatchNorm) and [`Prepared::bind`](crate::Prepared::bind) refuse · [`Error::Missing`] if
/// the operation reads what is absent · [`Error::WrongDimensions`] · [`Error::Device`], also if a kernel wrote outside
/// its tensors
pub async fn execute(
    gpu: &Gpu,
    operation: Operation,
    shape: &Shape,
    config: &Config,
    inputs: &Inputs<'_>,
) -> Result<Outputs, Error> {
    execute_placed(gpu, operation, shape, config, inputs, Placement::Separate).await
}

/// [`execute`] with its arguments elsewhere.
///
/// # Errors
/// As [`execute`].
pub async fn execute_placed(
    gpu: &Gpu,
    operation: Operation,
    shape: &Shape,
    config: &Config,
    inputs: &Inputs<'_>,
    placement: Placement,
) -> Result<Outputs, Error> {
    let norms = gpu.norms();
    let mut memory = Memory::new(gpu, shape, config.dtype, placement);
    memory.tensor("x", inputs.x, true)?;
    memory.tensor("residual", inputs.residual, config.residual)?;
    memory.per_channel("gamma", inputs.gamma, config.gamma)?;
    memory.per_channel("beta", inputs.beta, config.beta)?;
    match operation {
        Operation::Training => {
            let prepared = norms.training(shape, config)?;
            let counts = config.running_update && config.counts();
            memory.updated("running_mean", inputs.running_mean, config.running_update)?;
            memory.updated("running_variance", inputs.running_variance, config.running_update)?;
            memory.word("batches", inputs.batches, counts);
            memory.output("saved", 16 * u64::from(shape.channels()));
            memory.output_tensor("y", Some("x"));
            memory.mask(config);
            memory.output("scratch", prepared.scratch_bytes());
            let buffers = memory.upload()?;
            let (running_mean, running_variance) =
                (buffers.slice_if_any("running_mean"), buffers.slice_if_any("running_variance"));
            let running = running_mean.zip(running_variance).map(|(mean, variance)| RunningStatistics {
                mean,
                variance,
                batches: buffers.slice_if_any("batches"),
            });
            let bound = prepared.bind(
                gpu.device(),
                &TrainingBuffers {
                    x: buffers.slice("x")?,
                    residual: buffers.slice_if_any("residual"),
                    gamma: buffers.slice_if_any("gamma"),
                    beta: buffers.slice_if_any("beta"),
                    running,
                    saved: buffers.slice("saved")?,
                    y: buffers.slice("y")?,
                    mask: buffers.slice_if_any("mask"),
                    scratch: buffers.slice_if_any("scratch"),
                },
            )?;
            buffers.run(&[&bound]).await
        }
        Operation::Inference | Operation::FrozenForward => {
            let prepared = match operation {
                Operation::Inference => norms.inference(shape, config)?,
                _ => {
                    memory.mask(config);
                    norms.frozen_forward(shape, config)?
                }
            };
            memory.per_channel("running_mean", inputs.running_mean, true)?;
            memory.per_channel("running_variance", inputs.running_variance, true)?;
            memory.output_tensor("y", Some("x"));
            let buffers = memory.upload()?;
            let bound = prepared.bind(
                gpu.device(),
                &InferenceBuffers {
                    x: buffers.slice("x")?,
                    residual: buffers.slice_if_any("residual"),
                    gamma: buffers.slice_if_any("gamma"),
                    beta: buffers.slice_if_any("beta"),
                    running_mean: buffers.slice("running_mean")?,
                    running_variance: buffers.slice("running_variance")?,
                    y: buffers.slice("y")?,
                    mask: buffers.slice_if_any("mask"),
                },
            )?;
            buffers.run(&[&bound]).await
        }
        Operation::Backward(gradients) => {
            // A step before has updated the running statistics already.
            let forward = norms.training(shape, &Config { running_update: false, ..*config })?;
            let prepared = norms.backward(shape, config, gradients)?;
            memory.gradients(config, gradients, inputs)?;
            memory.output("saved", 16 * u64::from(shape.channels()));
            memory.output_tensor("y", None);
            memory.mask(config);
            memory.output("forward scratch", forward.scratch_bytes());
            memory.output("scratch", prepared.scratch_bytes());
            let buffers = memory.upload()?;
            let forward = forward.bind(
                gpu.device(),
                &TrainingBuffers {
                    x: buffers.slice("x")?,
                    residual: buffers.slice_if_any("residual"),
                    gamma: buffers.slice_if_any("gamma"),
                    beta: buffers.slice_if_any("beta"),
                    running: None,
                    saved: buffers.slice("saved")?,
                    y: buffers.slice("y")?,
                    mask: buffers.slice_if_any("mask"),
                    scratch: buffers.slice_if_any("forward scratch"),
                },
            )?;
            let bound = prepared.bind(
                gpu.device(),
                &BackwardBuffers {
                    x: buffers.slice("x")?,
                    dy: buffers.slice("dy")?,
                    saved: buffers.slice("saved")?,
                    gamma: buffers.slice_if_any("gamma"),
                    beta: buffers.slice_if_any("beta"),
                    mask: buffers.slice_if_any("mask"),
                    dx: buffers.slice_if_any("dx"),
                    dgamma: buffers.slice_if_any("dgamma"),
                    dbeta: buffers.slice_if_any("dbeta"),
                    dresidual: buffers.slice_if_any("dresidual"),
                    scratch: buffers.slice_if_any("scratch"),
                },
            )?;
            buffers.run(&[&forward, &bound]).await
        }
        Operation::FrozenBackward(gradients) => {
            let forward = norms.frozen_forward(shape, config)?;
            let prepared = norms.frozen_backward(shape, config, gradients)?;
            memory.per_channel("running_mean", inputs.running_mean, true)?;
            memory.per_channel("running_variance", inputs.running_variance, true)?;
            memory.gradients(config, gradients, inputs)?;
            memory.output_tensor("y", None);
            memory.mask(config);
            memory.output("scratch", prepared.scratch_bytes());
            let buffers = memory.upload()?;
            let forward = forward.bind(
                gpu.device(),
                &InferenceBuffers {
                    x: buffers.slice("x")?,
                    residual: buffers.slice_if_any("residual"),
                    gamma: buffers.slice_if_any("gamma"),
                    beta: buffers.slice_if_any("beta"),
                    running_mean: buffers.slice("running_mean")?,
                    running_variance: buffers.slice("running_variance")?,
                    y: buffers.slice("y")?,
                    mask: buffers.slice_if_any("mask"),
                },
            )?;
            let bound = prepared.bind(
                gpu.device(),
                &FrozenBackwardBuffers {
                    x: buffers.slice("x")?,
                    dy: buffers.slice("dy")?,
                    running_mean: buffers.slice("running_mean")?,
                    running_variance: buffers.slice("running_variance")?,
                    gamma: buffers.slice_if_any("gamma"),
                    beta: buffers.slice_if_any("beta"),
                    mask: buffers.slice_if_any("mask"),
                    dx: buffers.slice_if_any("dx"),
                    dgamma: buffers.slice_if_any("dgamma"),
                    dbeta: buffers.slice_if_any("dbeta"),
                    dresidual: buffers.slice_if_any("dresidual"),
                    scratch: buffers.slice_if_any("scratch"),
                },
            )?;
            buffers.run(&[&forward, &bound]).await
        }
        _ => Err(Error::Unexpected { argument: "operation", reason: "a part of one is bound by its own buffers" }),
    }
}

/// A NaN in every storage type: what outputs hold before a run.
const POISON: [u8; 4] = 0x7fff_7fff_u32.to_le_bytes();
/// What lies around each tensor.
const GUARD: [u8; 4] = 0xa5a5_a5a5_u32.to_le_bytes();
/// Bytes of guard before and behind each tensor.
const GUARD_BYTES: u64 = 256;

/// Where an argument lies.
struct Place {
    name: &'static str,
    buffer: usize,
    start: u64,
    /// Without what rounds an odd number of halves up: that is not the tensor's and must not change.
    bytes: u64,
    written: bool,
}

/// A buffer and what it holds.
struct Content {
    bytes: Vec<u8>,
    buffer: Option<wgpu::Buffer>,
}

/// The arguments of an operation, placed.
struct Memory<'a> {
    gpu: &'a Gpu,
    shape: Shape,
    dtype: DType,
    placement: Placement,
    places: Vec<Place>,
    contents: Vec<Content>,
}

impl<'a> Memory<'a> {
    fn new(gpu: &'a Gpu, shape: &Shape, dtype: DType, placement: Placement) -> Self {
        let (places, contents) = (Vec::new(), Vec::new());
        Self { gpu, shape: shape.clone(), dtype, placement, places, contents }
    }

    fn place(&mut self, name: &'static str, bytes: Vec<u8>, written: bool) {
        let facts = self.gpu.norms().facts();
        if self.contents.is_empty() || self.placement != Placement::Arena {
            self.contents.push(Content { bytes: Vec::new(), buffer: None });
        }
        let buffer = self.contents.len() - 1;
        let content = &mut self.contents[buffer].bytes;
        let before = (content.len() as u64 + GUARD_BYTES).next_multiple_of(facts.offset_alignment);
        let length = bytes.len() as u64;
        // The largest tensor that a buffer can hold has no room for guards.
        let start = if before + length + 2 * GUARD_BYTES <= facts.buffer_bytes { before } else { content.len() as u64 };
        pad(content, start);
        content.extend_from_slice(&bytes);
        pad(content, (start + length).next_multiple_of(4));
        if start == before {
            pad(content, (start + length + GUARD_BYTES).next_multiple_of(4));
        }
        self.places.push(Place { name, buffer, start, bytes: length, written });
    }

    fn tensor(&mut self, name: &'static str, values: Option<&[f32]>, used: bool) -> Result<(), Error> {
        if used {
            let values = checked(name, values, self.shape.elements())?;
            self.place(name, encode(values.iter().copied(), self.dtype), false);
        }
        Ok(())
    }

    fn per_channel(&mut self, name: &'static str, values: Option<&[f32]>, used: bool) -> Result<(), Error> {
        if used {
            let values = checked(name, values, self.shape.channels())?;
            self.place(name, bytemuck::cast_slice(values).to_vec(), false);
        }
        Ok(())
    }

    fn updated(&mut self, name: &'static str, values: Option<&[f32]>, used: bool) -> Result<(), Error> {
        if used {
            let values = checked(name, values, self.shape.channels())?;
            self.place(name, bytemuck::cast_slice(values).to_vec(), true);
        }
        Ok(())
    }

    fn word(&mut self, name: &'static str, value: u32, used: bool) {
        if used {
            self.place(name, value.to_le_bytes().to_vec(), true);
        }
    }

    fn output(&mut self, name: &'static str, bytes: u64) {
        self.place(name, POISON.iter().copied().cycle().take(bytes as usize).collect(), true);
    }

    /// The mask that forward leaves for backward, where there is one.
    fn mask(&mut self, config: &Config) {
        if config.residual && config.activation == Activation::Relu {
            self.output("mask", mask_bytes(&self.shape));
        }
    }

    fn output_tensor(&mut self, name: &'static str, over: Option<&'static str>) {
        let found = self.places.iter().find(|p| Some(p.name) == over && self.placement == Placement::InPlace);
        match found {
            Some(&Place { buffer, start, bytes, .. }) => {
                self.places.push(Place { name, buffer, start, bytes, written: true });
            }
            None => self.output(name, u64::from(self.shape.elements()) * self.dtype.bytes()),
        }
    }

    fn gradients(&mut self, config: &Config, gradients: Gradients, inputs: &Inputs<'_>) -> Result<(), Error> {
        self.tensor("dy", inputs.dy, true)?;
        if gradients.input {
            self.output_tensor("dx", Some("dy"));
            if config.residual {
                self.output_tensor("dresidual", None);
            }
        }
        let zeros = vec![0.0; self.shape.channels() as usize];
        for (name, before, there) in [("dgamma", inputs.dgamma, config.gamma), ("dbeta", inputs.dbeta, config.beta)] {
            match gradients.parameters {
                _ if !there => {}
                ParameterGradients::None => {}
                ParameterGradients::Overwrite => self.output(name, 4 * u64::from(self.shape.channels())),
                ParameterGradients::Accumulate => self.updated(name, before.or(Some(&zeros)), true)?,
            }
        }
        Ok(())
    }

    fn upload(mut self) -> Result<Self, Error> {
        let limit = self.gpu.norms().facts().buffer_bytes;
        for (index, content) in self.contents.iter_mut().enumerate() {
            let needed = content.bytes.len() as u64;
            if needed > limit {
                return Err(Error::DeviceLimit {
                    what: "a buffer of all arguments",
                    needed,
                    limit,
                    name: "max_buffer_size",
                });
            }
            content.buffer = Some(self.gpu.buffer("batchnorm.argument", &content.bytes)?);
            // What no dispatch writes is not looked at again.
            if self.places.iter().all(|p| p.buffer != index || !p.written) {
                content.bytes = Vec::new();
            }
        }
        Ok(self)
    }

    fn slice_if_any(&self, name: &str) -> Option<BufferSlice<'_>> {
        let place = self.places.iter().find(|p| p.name == name)?;
        let buffer = self.contents[place.buffer].buffer.as_ref()?;
        Some(buffer.slice(place.start..(place.start + place.bytes).next_multiple_of(4)))
    }

    fn slice(&self, name: &'static str) -> Result<BufferSlice<'_>, Error> {
        self.slice_if_any(name).ok_or(Error::Missing { argument: name, reason: "the operation needs it" })
    }

    /// Records, submits, reads back, and looks at what lies around the outputs.
    async fn run(&self, bounds: &[&Bound]) -> Result<Outputs, Error> {
        self.gpu.submit(|pass| bounds.iter().for_each(|bound| bound.record(pass)));
        let mut outputs = Outputs::default();
        for (index, content) in self.contents.iter().enumerate() {
            let Some(buffer) = content.buffer.as_ref().filter(|_| !content.bytes.is_empty()) else { continue };
            let read = self.gpu.read(buffer, content.bytes.len() as u64).await?;
            let mut written: Vec<&Place> = self.places.iter().filter(|p| p.buffer == index && p.written).collect();
            written.sort_by_key(|p| p.start);
            let mut from = 0;
            for place in &written {
                unchanged(place.name, &content.bytes, &read, from..place.start as usize)?;
                from = (place.start + place.bytes) as usize;
            }
            let last = written.last().map_or("nothing", |p| p.name);
            unchanged(last, &content.bytes, &read, from..read.len())?;
            for place in written {
                let bytes = &read[place.start as usize..(place.start + place.bytes) as usize];
                outputs.take(place.name, bytes, self.dtype);
            }
        }
        Ok(outputs)
    }
}

impl Outputs {
    fn take(&mut self, name: &str, bytes: &[u8], dtype: DType) {
        let tensor = || Some(decode(bytes, dtype));
        let single = || Some(decode(bytes, DType::F32));
        match name {
            "y" => self.y = tensor(),
            "dx" => self.dx = tensor(),
            "dresidual" => self.dresidual = tensor(),
            "running_mean" => self.running_mean = single(),
            "running_variance" => self.running_variance = single(),
            "dgamma" => self.dgamma = single(),
            "dbeta" => self.dbeta = single(),
            "batches" => self.batches = bytes.try_into().ok().map(u32::from_le_bytes),
            "saved" => {
                let values = decode(bytes, DType::F32);
                let component = |i: usize| values.iter().skip(i).step_by(4).copied().collect();
                self.saved = Some(Saved {
                    anchor: component(0),
                    offset: component(1),
                    inverse_std: component(2),
                    variance: component(3),
                });
            }
            _ => {}
        }
    }
}

fn pad(content: &mut Vec<u8>, to: u64) {
    while (content.len() as u64) < to {
        content.push(GUARD[content.len() % 4]);
    }
}

fn checked<'v>(argument: &'static str, values: Option<&'v [f32]>, needed: u32) -> Result<&'v [f32], Error> {
    let values = values.ok_or(Error::Missing { argument, reason: "the operation reads it" })?;
    if values.len() != needed as usize {
        let (dimensions, needed) = (vec![values.len()], vec![needed as usize]);
        return Err(Error::WrongDimensions { argument, dimensions, needed });
    }
    Ok(values)
}

fn unchanged(name: &str, before: &[u8], after: &[u8], range: std::ops::Range<usize>) -> Result<(), Error> {
    if before[range.clone()] == after[range.clone()] {
        return Ok(());
    }
    let at = range.clone().find(|&i| before[i] != after[i]).unwrap_or(range.start);
    Err(Error::Device {
        what: "to be trusted".to_owned(),
        message: format!("byte {at} of the buffer, outside every output, changed; `{name}` lies beside it"),
    })
}
