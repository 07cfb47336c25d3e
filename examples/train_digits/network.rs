//! A multilayer perceptron 64–128–128–10 on the device: dense layers of its own, batch normalisation and ReLU from the
//! crate.
//!
//! Everything is bound once; an epoch is one submission and one readback.

use std::collections::HashMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, tensor::TensorView};
use wgpu_batchnorm::host::{Gpu, State, files};
use wgpu_batchnorm::plan::{AdapterKind, Gradients};
use wgpu_batchnorm::wgpu::util::{BufferInitDescriptor, DeviceExt};
use wgpu_batchnorm::wgpu::{self, BufferSlice};
use wgpu_batchnorm::{Activation, Bound, Config, Error, Layer, LayerBackward, LayerForward, Mode, Shape};

use crate::data::{Digits, PIXELS};

/// Values that go from one dense layer to the next.
pub const WIDTHS: [usize; 4] = [PIXELS, 128, 128, 10];
/// Images in a batch. Their places in the epoch's order are 256 bytes: what an offset must be a multiple of.
pub const BATCH: usize = 64;

/// What differs between runs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub batch_norm: bool,
    /// The learning rate.
    pub rate: f32,
    /// Of the first weights.
    pub seed: u64,
}

/// What an epoch tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Mean cross-entropy of the images trained on, each as its batch met it.
    pub loss: f64,
    /// Share of the held-out images that are recognised after the epoch.
    pub accuracy: f64,
}

/// A trained tensor.
pub struct Parameter {
    pub name: String,
    pub count: usize,
    pub value: wgpu::Buffer,
    pub gradient: wgpu::Buffer,
}

/// Something that is recorded.
enum Work {
    Own { pipeline: wgpu::ComputePipeline, bind_group: wgpu::BindGroup, workgroups: [u32; 3] },
    Norm(Bound),
}

/// The steps on a batch of one size.
struct Body {
    forward: Vec<Work>,
    backward: Vec<Work>,
}

/// A batch: which images it takes, and where its losses go.
struct Batch {
    gather: Work,
    loss: Work,
    body: usize,
}

pub struct Network {
    gpu: Gpu,
    dense: Vec<Parameter>,
    norms: Vec<Layer>,
    bodies: Vec<Body>,
    batches: Vec<Batch>,
    evaluation: Vec<Work>,
    order: wgpu::Buffer,
    /// A loss for each image trained on, then from `hits_at` a hit for each held out.
    figures: wgpu::Buffer,
    trained: usize,
    hits_at: usize,
    held_out: usize,
}

impl Network {
    pub fn new(gpu: &Gpu, settings: &Settings, train: &Digits, held_out: &Digits) -> Result<Self, Error> {
        let kernels = Kernels::new(gpu);
        let floats = |label: &str, count: usize| gpu.empty(label, 4 * count as u64);
        let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
        let mut dense = Vec::new();
        for (index, pair) in WIDTHS.windows(2).enumerate() {
            // He et al. 2015: uniform with a variance of 2 / inputs; the bias, which is the last row, begins as 0.
            let (inputs, outputs) = (pair[0], pair[1]);
            let reach = (6.0 / inputs as f32).sqrt();
            let mut weights: Vec<f32> =
                (0..inputs * outputs).map(|_| (2.0 * random.random::<f32>() - 1.0) * reach).collect();
            weights.resize((inputs + 1) * outputs, 0.0);
            dense.push(Parameter {
                name: format!("dense{}.weights", index + 1),
                count: weights.len(),
                value: gpu.buffer("weights", bytemuck::cast_slice(&weights))?,
                gradient: floats("dweights", weights.len())?,
            });
        }
        let config = Config { activation: Activation::Relu, ..Config::pytorch() };
        let hidden = if settings.batch_norm { &WIDTHS[1..3] } else { &[] };
        let norms = hidden
            .iter()
            .map(|&width| Layer::new(gpu.norms(), width as u32, &config))
            .collect::<Result<Vec<_>, _>>()?;

        let rows = BATCH.max(held_out.count());
        let hits_at = train.count().next_multiple_of(BATCH);
        let mut network = Self {
            gpu: gpu.clone(),
            dense,
            norms,
            bodies: Vec::new(),
            batches: Vec::new(),
            evaluation: Vec::new(),
            order: floats("order", train.count())?,
            figures: floats("figures", hits_at + held_out.count())?,
            trained: train.count(),
            hits_at,
            held_out: held_out.count(),
        };
        let tensors = |label: &str, widths: &[usize]| -> Result<Vec<_>, Error> {
            widths.iter().map(|width| floats(label, rows * width)).collect()
        };
        let tensors = Tensors {
            x: floats("x", rows * PIXELS)?,
            labels: floats("labels", rows)?,
            z: tensors("z", &WIDTHS[1..])?,
            dz: tensors("dz", &WIDTHS[1..])?,
            h: tensors("h", &WIDTHS[1..3])?,
            dh: tensors("dh", &WIDTHS[1..3])?,
        };
        let images = gpu.buffer("images", bytemuck::cast_slice(&train.images))?;
        let labels = gpu.buffer("labels", bytemuck::cast_slice(&train.labels))?;
        let mut sizes = Vec::new();
        for first in (0..train.count()).step_by(BATCH) {
            let rows = BATCH.min(train.count() - first);
            if !sizes.contains(&rows) {
                sizes.push(rows);
                let forward = network.forward(&kernels, &tensors, &tensors.x, rows, Mode::Train)?;
                let backward = network.backward(&kernels, &tensors, rows, settings.rate)?;
                network.bodies.push(Body { forward, backward });
            }
            let (order, batch_labels) = (words(&network.order, first, rows), tensors.labels.slice(..));
            let gather = [images.slice(..), labels.slice(..), order, tensors.x.slice(..), batch_labels];
            let (logits, dlogits) = (tensors.z[2].slice(..), tensors.dz[2].slice(..));
            let loss = [logits, batch_labels, words(&network.figures, first, rows), dlogits];
            network.batches.push(Batch {
                gather: kernels.work("gather", Sizes::new(rows, PIXELS, 0), &gather, [PIXELS, 1, rows]),
                loss: kernels.work("cross_entropy", Sizes::new(rows, 0, 10), &loss, [rows, 1, 1]),
                body: sizes.iter().position(|&size| size == rows).unwrap_or(0),
            });
        }
        if held_out.count() > 0 {
            let count = held_out.count();
            let images = gpu.buffer("held-out images", bytemuck::cast_slice(&held_out.images))?;
            let labels = gpu.buffer("held-out labels", bytemuck::cast_slice(&held_out.labels))?;
            let mut evaluation = network.forward(&kernels, &tensors, &images, count, Mode::Eval)?;
            let bindings = [tensors.z[2].slice(..), labels.slice(..), words(&network.figures, hits_at, count)];
            evaluation.push(kernels.work("hits", Sizes::new(count, 0, 10), &bindings, [count, 1, 1]));
            network.evaluation = evaluation;
        }
        Ok(network)
    }

    /// From the images to the logits.
    fn forward(
        &self,
        kernels: &Kernels,
        tensors: &Tensors,
        images: &wgpu::Buffer,
        rows: usize,
        mode: Mode,
    ) -> Result<Vec<Work>, Error> {
        let mut work = Vec::new();
        for (index, dense) in self.dense.iter().enumerate() {
            let (inputs, outputs) = (WIDTHS[index], WIDTHS[index + 1]);
            let input = if index == 0 { images } else { &tensors.h[index - 1] };
            let z = tensors.z[index].slice(..);
            let sizes = Sizes::new(rows, inputs, outputs);
            let bindings = [input.slice(..), dense.value.slice(..), z];
            work.push(kernels.work("dense", sizes, &bindings, [outputs, rows.div_ceil(4), 1]));
            let Some(h) = tensors.h.get(index).map(|h| h.slice(..)) else { continue };
            match self.norms.get(index) {
                Some(norm) => {
                    let shape = Shape::nc(rows, outputs)?;
                    let buffers = LayerForward { x: z, residual: None, y: h, mask: None };
                    work.push(Work::Norm(norm.forward(mode, &shape, &buffers)?));
                    if mode == Mode::Train {
                        work.push(Work::Norm(norm.running_update(&shape)?));
                    }
                }
                None => work.push(kernels.own_relu("relu", sizes, &[z, h])),
            }
        }
        Ok(work)
    }

    /// From the gradient of the logits to those of all parameters, and a step down.
    fn backward(&self, kernels: &Kernels, tensors: &Tensors, rows: usize, rate: f32) -> Result<Vec<Work>, Error> {
        let mut work = Vec::new();
        for (index, dense) in self.dense.iter().enumerate().rev() {
            let (inputs, outputs) = (WIDTHS[index], WIDTHS[index + 1]);
            let input = if index == 0 { &tensors.x } else { &tensors.h[index - 1] };
            let dz = tensors.dz[index].slice(..);
            let sizes = Sizes::new(rows, inputs, outputs);
            let bindings = [input.slice(..), dz, dense.gradient.slice(..)];
            work.push(kernels.work("dense_weights", sizes, &bindings, [outputs, (inputs + 1).div_ceil(4), 1]));
            let Some(before) = index.checked_sub(1) else { continue };
            let (z, dh, dz_before) = (tensors.z[before].slice(..), tensors.dh[before].slice(..), &tensors.dz[before]);
            let bindings = [dz, dense.value.slice(..), dh];
            work.push(kernels.work("dense_input", sizes, &bindings, [inputs, rows.div_ceil(4), 1]));
            match self.norms.get(before) {
                Some(norm) => {
                    let dx = Some(dz_before.slice(..));
                    let buffers = LayerBackward { x: z, dy: dh, mask: None, dx, dresidual: None };
                    let shape = Shape::nc(rows, inputs)?;
                    work.push(Work::Norm(norm.backward(Mode::Train, &shape, Gradients::ALL, &buffers)?));
                }
                None => {
                    let sizes = Sizes::new(rows, 0, inputs);
                    work.push(kernels.own_relu("relu_backward", sizes, &[z, dh, dz_before.slice(..)]));
                }
            }
        }
        for parameter in self.parameters() {
            let sizes = Sizes { rate, ..Sizes::new(1, 1, parameter.count) };
            let bindings = [parameter.gradient.slice(..), parameter.value.slice(..)];
            work.push(kernels.work("descend", sizes, &bindings, [parameter.count, 1, 1]));
        }
        Ok(work)
    }

    /// Trains on every image once, in this order, and looks at those held out.
    pub async fn epoch(&self, order: &[u32]) -> Result<Figures, Error> {
        self.gpu.queue().write_buffer(&self.order, 0, bytemuck::cast_slice(order));
        self.gpu.submit(|pass| {
            for batch in &self.batches {
                let body = &self.bodies[batch.body];
                batch.gather.record(pass);
                body.forward.iter().for_each(|work| work.record(pass));
                batch.loss.record(pass);
                body.backward.iter().for_each(|work| work.record(pass));
            }
            self.evaluation.iter().for_each(|work| work.record(pass));
        });
        let figures = self.gpu.read_f32(&self.figures, self.hits_at + self.held_out).await?;
        let mean = |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        Ok(Figures { loss: mean(&figures[..self.trained]), accuracy: mean(&figures[self.hits_at..]) })
    }

    /// Everything that is trained.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut all: Vec<Parameter> = self.dense.iter().map(Parameter::share).collect();
        for (index, norm) in self.norms.iter().enumerate() {
            let count = norm.channels() as usize;
            for (name, parameter) in [("gamma", norm.gamma()), ("beta", norm.beta())] {
                let Some(parameter) = parameter else { continue };
                let (value, gradient) = (parameter.value.clone(), parameter.gradient.clone());
                all.push(Parameter { name: format!("norm{}.{name}", index + 1), count, value, gradient });
            }
        }
        all
    }

    /// A `.safetensors` file: the dense layers, and the normalisations under PyTorch's names.
    pub async fn save(&self) -> Result<Vec<u8>, Error> {
        let mut values = Vec::new();
        for dense in &self.dense {
            values.push(self.gpu.read(&dense.value, 4 * dense.count as u64).await?);
        }
        let failed = |error: safetensors::SafeTensorError| Error::State(error.to_string());
        let mut tensors = Vec::new();
        for (index, (dense, bytes)) in self.dense.iter().zip(&values).enumerate() {
            let shape = vec![WIDTHS[index] + 1, WIDTHS[index + 1]];
            tensors.push((&dense.name, TensorView::new(Dtype::F32, shape, bytes).map_err(failed)?));
        }
        let mut file = safetensors::serialize(tensors, None).map_err(failed)?;
        for (index, norm) in self.norms.iter().enumerate() {
            file = norm.state(&self.gpu).await?.write(Some(&format!("norm{}", index + 1)), Some(&file))?;
        }
        Ok(file)
    }

    /// Goes on from a file of [`Network::save`]; after an error the dense layers are as they were.
    pub fn load(&self, file: &[u8]) -> Result<(), Error> {
        let mut weights = Vec::new();
        for (index, dense) in self.dense.iter().enumerate() {
            let values = files::read_safetensors(file, &dense.name)?.values;
            let needed = [WIDTHS[index] + 1, WIDTHS[index + 1]];
            if values.shape() != needed {
                let (dimensions, needed) = (values.shape().to_vec(), needed.to_vec());
                return Err(Error::WrongDimensions { argument: "weights", dimensions, needed });
            }
            weights.push(values.into_iter().collect::<Vec<f32>>());
        }
        let name = |index: usize| format!("norm{}", index + 1);
        let states = (0..self.norms.len()).map(|index| State::read(file, Some(&name(index))));
        for (norm, state) in self.norms.iter().zip(states.collect::<Result<Vec<_>, _>>()?) {
            norm.load_state(&self.gpu, &state)?;
        }
        for (dense, weights) in self.dense.iter().zip(&weights) {
            self.gpu.queue().write_buffer(&dense.value, 0, bytemuck::cast_slice(weights));
        }
        Ok(())
    }
}

impl Parameter {
    /// The same buffers, not a copy of them.
    fn share(&self) -> Self {
        Self { name: self.name.clone(), count: self.count, value: self.value.clone(), gradient: self.gradient.clone() }
    }
}

impl Work {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        match self {
            Work::Norm(bound) => bound.record(pass),
            Work::Own { pipeline, bind_group, workgroups: [x, y, z] } => {
                pass.set_pipeline(pipeline);
                pass.set_bind_group(0, bind_group, &[]);
                pass.dispatch_workgroups(*x, *y, *z);
            }
        }
    }
}

/// What lies between the layers.
struct Tensors {
    x: wgpu::Buffer,
    labels: wgpu::Buffer,
    z: Vec<wgpu::Buffer>,
    dz: Vec<wgpu::Buffer>,
    h: Vec<wgpu::Buffer>,
    dh: Vec<wgpu::Buffer>,
}

/// Some 4-byte words of a buffer.
fn words(buffer: &wgpu::Buffer, first: usize, count: usize) -> BufferSlice<'_> {
    buffer.slice(4 * first as u64..4 * (first + count) as u64)
}

/// The uniform of the kernels.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Sizes {
    rows: u32,
    inputs: u32,
    outputs: u32,
    rate: f32,
}

impl Sizes {
    fn new(rows: usize, inputs: usize, outputs: usize) -> Self {
        Self { rows: rows as u32, inputs: inputs as u32, outputs: outputs as u32, rate: 0.0 }
    }
}

/// The pipelines of `kernels.wgsl`.
struct Kernels {
    gpu: Gpu,
    lanes: u32,
    pipelines: HashMap<&'static str, wgpu::ComputePipeline>,
}

impl Kernels {
    const NAMES: [&'static str; 9] = [
        "gather",
        "dense",
        "dense_weights",
        "dense_input",
        "relu",
        "relu_backward",
        "cross_entropy",
        "hits",
        "descend",
    ];

    fn new(gpu: &Gpu) -> Self {
        let device = gpu.device();
        // A software adapter runs eight lanes at once, a GPU 32 or 64.
        let lanes = if gpu.norms().facts().kind == AdapterKind::Cpu { 8 } else { 64 };
        let module = device.create_shader_module(wgpu::include_wgsl!("kernels.wgsl"));
        let pipeline = |name: &'static str| {
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(name),
                layout: None,
                module: &module,
                entry_point: Some(name),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &[("LANES", f64::from(lanes))],
                    ..Default::default()
                },
                cache: None,
            });
            (name, pipeline)
        };
        Self { gpu: gpu.clone(), lanes, pipelines: Self::NAMES.map(pipeline).into() }
    }

    /// A kernel on these buffers, which follow the sizes; `grid` is in lanes, rows and layers.
    fn work(&self, name: &'static str, sizes: Sizes, buffers: &[BufferSlice<'_>], grid: [usize; 3]) -> Work {
        let pipeline = self.pipelines[name].clone();
        let sizes = self.gpu.device().create_buffer_init(&BufferInitDescriptor {
            label: Some("sizes"),
            contents: bytemuck::bytes_of(&sizes),
            usage: wgpu::BufferUsages::UNIFORM,
        });
        let bindings = std::iter::once(sizes.slice(..)).chain(buffers.iter().copied());
        let entries: Vec<_> = bindings
            .enumerate()
            .map(|(binding, slice)| wgpu::BindGroupEntry {
                binding: binding as u32,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: slice.buffer(),
                    offset: slice.offset(),
                    size: wgpu::BufferSize::new(slice.size()),
                }),
            })
            .collect();
        let bind_group = self.gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(name),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let [x, y, z] = grid.map(|count| count as u32);
        Work::Own { pipeline, bind_group, workgroups: [x.div_ceil(self.lanes), y, z] }
    }

    fn own_relu(&self, name: &'static str, sizes: Sizes, buffers: &[BufferSlice<'_>]) -> Work {
        let grid = [sizes.outputs as usize, 1, sizes.rows as usize];
        self.work(name, sizes, buffers, grid)
    }
}
