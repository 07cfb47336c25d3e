//! Steps of a training loop: what is applied once, what adds up, and what a host's pass keeps.

use wgpu::BufferUsages;
use wgpu_batchnorm::host::{Gpu, Inputs, execute};
use wgpu_batchnorm::plan::{Operation, Plan};
use wgpu_batchnorm::{
    Config, Error, Gradients, InferenceBuffers, Momentum, ParameterGradients, RunningStatistics, Shape, TrainingBuffers,
};

use super::{BRIEF, Outcome, check, noise, sibling, text, tunings};

/// The buffers of a training step on 6 × 3 values.
struct Layer {
    shape: Shape,
    x: wgpu::Buffer,
    y: wgpu::Buffer,
    saved: wgpu::Buffer,
    mean: wgpu::Buffer,
    variance: wgpu::Buffer,
    batches: wgpu::Buffer,
}

const CONFIG: Config = Config {
    epsilon: 1e-5,
    momentum: Momentum::NewValue(0.25),
    running_variance: wgpu_batchnorm::RunningVariance::Population,
    gamma: false,
    beta: false,
    running_update: true,
    count_batches: true,
    dtype: wgpu_batchnorm::DType::F32,
    activation: wgpu_batchnorm::Activation::None,
    residual: false,
};

impl Layer {
    fn new(gpu: &Gpu) -> Result<Self, String> {
        let shape = Shape::nc(6, 3).map_err(text)?;
        let floats = |values: &[f32]| gpu.buffer("test", bytemuck::cast_slice(values)).map_err(text);
        // Channel 0 holds 0..5, channel 1 ten times that, channel 2 is 7: means 2.5, 25, 7; variances 35/12, 3500/12, 0.
        let x: Vec<f32> = (0..6).flat_map(|i| [i as f32, 10.0 * i as f32, 7.0]).collect();
        Ok(Self {
            shape,
            x: floats(&x)?,
            y: floats(&[0.0; 18])?,
            saved: gpu.empty("saved", 48).map_err(text)?,
            mean: floats(&[1.0, 1.0, 1.0])?,
            variance: floats(&[2.0, 2.0, 2.0])?,
            batches: gpu.buffer("batches", &5u32.to_le_bytes()).map_err(text)?,
        })
    }

    fn buffers(&self) -> TrainingBuffers<'_> {
        TrainingBuffers {
            x: self.x.slice(..),
            residual: None,
            gamma: None,
            beta: None,
            running: Some(RunningStatistics {
                mean: self.mean.slice(..),
                variance: self.variance.slice(..),
                batches: Some(self.batches.slice(..)),
            }),
            saved: self.saved.slice(..),
            y: self.y.slice(..),
            mask: None,
            scratch: None,
        }
    }

    /// Holds the running statistics against those after `steps` of the batch.
    async fn has_seen(&self, gpu: &Gpu, steps: u32) -> Outcome {
        let (mut mean, mut variance) = ([1.0f64; 3], [2.0f64; 3]);
        for _ in 0..steps {
            for (c, (m, v)) in [(2.5, 35.0 / 12.0), (25.0, 3500.0 / 12.0), (7.0, 0.0)].into_iter().enumerate() {
                mean[c] = 0.75 * mean[c] + 0.25 * m;
                variance[c] = 0.75 * variance[c] + 0.25 * v;
            }
        }
        let got_mean = gpu.read_f32(&self.mean, 3).await.map_err(text)?;
        let got_variance = gpu.read_f32(&self.variance, 3).await.map_err(text)?;
        let batches = gpu.read(&self.batches, 4).await.map_err(text)?;
        // A few roundings a step.
        let near = |got: &[f32], expected: [f64; 3]| {
            got.iter().zip(expected).all(|(&got, e)| (f64::from(got) - e).abs() <= 1e-6 * e.abs().max(1.0))
        };
        check(near(&got_mean, mean) && near(&got_variance, variance) && batches == (5 + steps).to_le_bytes(), || {
            format!("after {steps}: {got_mean:?} {got_variance:?} {batches:?}; expected {mean:?} {variance:?}")
        })
    }
}

pub async fn a_running_update_is_applied_once_a_record(gpu: &Gpu) -> Outcome {
    let layer = Layer::new(gpu)?;
    let training = gpu.norms().training(&layer.shape, &CONFIG).map_err(text)?;
    let step = training.bind(gpu.device(), &layer.buffers()).map_err(text)?;
    layer.has_seen(gpu, 0).await?;
    gpu.submit(|pass| step.record(pass));
    layer.has_seen(gpu, 1).await?;
    // The same pass twice, and another submission.
    gpu.submit(|pass| {
        step.record(pass);
        step.record(pass);
    });
    gpu.submit(|pass| step.record(pass));
    layer.has_seen(gpu, 4).await?;
    // Without the update, as recomputation wants it.
    let again = gpu.norms().training(&layer.shape, &Config { running_update: false, ..CONFIG }).map_err(text)?;
    let buffers = TrainingBuffers { running: None, ..layer.buffers() };
    let step = again.bind(gpu.device(), &buffers).map_err(text)?;
    gpu.submit(|pass| step.record(pass));
    layer.has_seen(gpu, 4).await
}

pub async fn a_running_update_is_not_applied_after_an_error(gpu: &Gpu) -> Outcome {
    let layer = Layer::new(gpu)?;
    let training = gpu.norms().training(&layer.shape, &CONFIG).map_err(text)?;
    let small = gpu.empty("small", 16).map_err(text)?;
    let refused = training.bind(gpu.device(), &TrainingBuffers { y: small.slice(..), ..layer.buffers() });
    check(matches!(refused, Err(Error::TooSmall { argument: "y", bytes: 16, needed: 72 })), || format!("{refused:?}"))?;
    let refused = training.bind(gpu.device(), &TrainingBuffers { running: None, ..layer.buffers() });
    check(matches!(refused, Err(Error::Missing { argument: "running_mean", .. })), || format!("{refused:?}"))?;
    gpu.submit(|_| {});
    layer.has_seen(gpu, 0).await?;
    let step = training.bind(gpu.device(), &layer.buffers()).map_err(text)?;
    gpu.submit(|pass| step.record(pass));
    layer.has_seen(gpu, 1).await
}

/// A browser tells it later, to whom waits. (Natively a device of another instance is not known at all; the host tests have
/// two of one instance.)
pub async fn a_buffer_of_another_device_is_refused(gpu: &Gpu) -> Outcome {
    let other = sibling(gpu, wgpu::Limits::default()).await?;
    let (layer, foreign) = (Layer::new(gpu)?, Layer::new(&other)?);
    let training = gpu.norms().training(&layer.shape, &CONFIG).map_err(text)?;
    let buffers = TrainingBuffers { y: foreign.y.slice(..), ..layer.buffers() };
    let refused = training.bind_async(gpu.device(), &buffers).await;
    check(matches!(refused, Err(Error::Device { .. })), || format!("{refused:?}"))?;
    let step = training.bind_async(gpu.device(), &layer.buffers()).await.map_err(text)?;
    gpu.submit(|pass| step.record(pass));
    layer.has_seen(gpu, 1).await
}

/// By a merge, and by a reduction that finishes its channels.
pub async fn gradients_accumulate(gpu: &Gpu) -> Outcome {
    let adding = Operation::Backward(Gradients { input: true, parameters: ParameterGradients::Accumulate });
    let mut finished = false;
    for gpu in tunings(gpu)? {
        for shape in [Shape::nchw(5, 7, 3, 3), Shape::nchw(1, 7, 24, 24)] {
            let shape = shape.map_err(text)?;
            let norms = gpu.norms();
            let plan = Plan::new(adding, &shape, &Config::pytorch(), norms.facts(), norms.tuning()).map_err(text)?;
            finished |= plan.dispatches.iter().any(|d| d.program.whole_channels);
            gradients_accumulate_on(&gpu, shape).await?;
        }
    }
    check(finished || BRIEF, || "no reduction finished its channels".to_owned())
}

async fn gradients_accumulate_on(gpu: &Gpu, shape: Shape) -> Outcome {
    let x: Vec<f32> = (0..shape.elements() as usize).map(|i| noise(i) as f32).collect();
    let dy: Vec<f32> = (0..x.len()).map(|i| noise(i + 12_345) as f32).collect();
    let (gamma, beta) = (vec![1.5f32; 7], vec![0.5f32; 7]);
    let (dgamma, dbeta) = (vec![100.0f32; 7], vec![-3.0f32; 7]);
    let inputs = Inputs {
        x: Some(&x),
        dy: Some(&dy),
        gamma: Some(&gamma),
        beta: Some(&beta),
        running_mean: Some(&beta),
        running_variance: Some(&gamma),
        dgamma: Some(&dgamma),
        dbeta: Some(&dbeta),
        ..Inputs::default()
    };
    let adding = Gradients { input: true, parameters: ParameterGradients::Accumulate };
    for operation in [Operation::Backward as fn(Gradients) -> Operation, Operation::FrozenBackward] {
        let run = async |gradients| {
            execute(gpu, operation(gradients), &shape, &Config::pytorch(), &inputs).await.map_err(text)
        };
        let (alone, added) = (run(Gradients::ALL).await?, run(adding).await?);
        check(alone.dx == added.dx, || "dx depends on what happens to the parameters' gradients".to_owned())?;
        for (name, alone, added, before) in
            [("dgamma", &alone.dgamma, &added.dgamma, &dgamma), ("dbeta", &alone.dbeta, &added.dbeta, &dbeta)]
        {
            let expected: Vec<f32> = alone.iter().flatten().zip(before).map(|(a, b)| a + b).collect();
            check(added.as_ref() == Some(&expected), || format!("{name}: {added:?}; expected {expected:?}"))?;
        }
    }
    Ok(())
}

/// A host's own pipeline, bind group and dispatches around ours: everything but pipeline and bind group 0 stays.
pub async fn a_pass_of_the_host_keeps_its_other_work(gpu: &Gpu) -> Outcome {
    let device = gpu.device();
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(
            "@group(1) @binding(0) var<storage, read_write> counter: array<u32>;
            @compute @workgroup_size(1) fn count() { counter[0] += 1u; }"
                .into(),
        ),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let counter = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 16,
        usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    });
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(1),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource: counter.as_entire_binding() }],
    });
    let empty = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[],
    });
    let layer = Layer::new(gpu)?;
    let config = Config { running_update: false, ..CONFIG };
    let inference = gpu.norms().inference(&layer.shape, &config).map_err(text)?;
    let step = inference
        .bind(
            device,
            &InferenceBuffers {
                x: layer.x.slice(..),
                residual: None,
                gamma: None,
                beta: None,
                running_mean: layer.mean.slice(..),
                running_variance: layer.variance.slice(..),
                y: layer.y.slice(..),
                mask: None,
            },
        )
        .map_err(text)?;
    gpu.submit(|pass| {
        pass.set_bind_group(1, &group, &[]);
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &empty, &[]);
        pass.dispatch_workgroups(1, 1, 1);
        step.record(pass);
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &empty, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    });
    let count = gpu.read(&counter, 4).await.map_err(text)?;
    check(count == 2u32.to_le_bytes(), || format!("the host's own dispatches counted {count:?}"))?;
    let y = gpu.read_f32(&layer.y, 3).await.map_err(text)?;
    let expected = [0.0, 0.0, 7.0].map(|x: f64| (x - 1.0) / (2.0 + 1e-5f64).sqrt());
    check(y.iter().zip(expected).all(|(&y, e)| (f64::from(y) - e).abs() < 1e-5), || format!("{y:?} {expected:?}"))
}
