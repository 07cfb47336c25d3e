//! A host with its own device, encoder, kernels and one pooled buffer records batch normalisation between two of its
//! own dispatches, in one compute pass.
//!
//! `cargo run --release --example embed` prints what was recorded and how far y is from an f64 computation of it.

use std::error::Error;
use std::ops::Range;

use wgpu_batchnorm::{BatchNorm, Config, Shape, TrainingBuffers, wgpu};

/// The host's kernels: one makes x, the other clamps y.
const HOST_WGSL: &str = "
@group(0) @binding(0) var<storage, read_write> tensor: array<f32>;

@compute @workgroup_size(64)
fn make(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < arrayLength(&tensor)) {
        tensor[id.x] = 100.0 + f32((id.x * 2654435761u) >> 12u) / 1048576.0;
    }
}

@compute @workgroup_size(64)
fn clamp_at_zero(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < arrayLength(&tensor)) {
        tensor[id.x] = max(tensor[id.x], 0.0);
    }
}
";

fn main() -> Result<(), Box<dyn Error>> {
    pollster::block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await?;
    let (device, queue) = adapter.request_device(&wgpu::DeviceDescriptor::default()).await?;

    let shape = Shape::nchw(8, 16, 20, 30)?;
    let (elements, channels) = (u64::from(shape.elements()), u64::from(shape.channels()));
    // Where each tensor lies in the pool.
    let alignment = u64::from(device.limits().min_storage_buffer_offset_alignment);
    let mut used = 0;
    let mut take = |bytes: u64| -> Range<u64> {
        let start = used;
        used = (start + bytes).next_multiple_of(alignment);
        start..start + bytes
    };
    let [x, y, saved] = [take(4 * elements), take(4 * elements), take(16 * channels)];
    let [gamma, beta] = [take(4 * channels), take(4 * channels)];
    let pool = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("pool"),
        size: used,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let gammas: Vec<f32> = (0..shape.channels()).map(|c| 1.0 + c as f32 / 8.0).collect();
    let betas: Vec<f32> = (0..shape.channels()).map(|c| c as f32 / 4.0 - 2.0).collect();
    queue.write_buffer(&pool, gamma.start, bytemuck::cast_slice(&gammas));
    queue.write_buffer(&pool, beta.start, bytemuck::cast_slice(&betas));
    let make = HostKernel::new(&device, "make", pool.slice(x.clone()));
    let clamp = HostKernel::new(&device, "clamp_at_zero", pool.slice(y.clone()));
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());

    // README: begin
    let norms = BatchNorm::new(&device)?; // once per device
    let training = norms.training(&shape, &Config::pytorch())?; // once per shape and configuration
    let (input, output) = (pool.slice(x.clone()), pool.slice(y.clone()));
    let buffers = TrainingBuffers {
        gamma: Some(pool.slice(gamma)), // once per set of buffers: here each is a range of one pool
        beta: Some(pool.slice(beta)),
        ..TrainingBuffers::new(input, pool.slice(saved), output)
    };
    let norm = training.bind(&device, &buffers)?;

    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    make.record(&mut pass); // a kernel of the host writes x
    norm.record(&mut pass); // once per step: cannot fail, submits nothing
    clamp.record(&mut pass); // a kernel of the host goes on with y
    drop(pass);
    // README: end

    let download = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("download"),
        size: 8 * elements,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    encoder.copy_buffer_to_buffer(&pool, x.start, &download, 0, 4 * elements);
    encoder.copy_buffer_to_buffer(&pool, y.start, &download, 4 * elements, 4 * elements);
    queue.submit([encoder.finish()]);
    download.map_async(wgpu::MapMode::Read, .., |result| result.expect("the download was mapped"));
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(&download.get_mapped_range(..)?);
    let (x, y) = values.split_at(elements as usize);

    println!("adapter   {} ({})", adapter.get_info().name, adapter.get_info().backend);
    println!("x, y      {shape}, ranges of one pool of {used} bytes");
    println!("recorded  1 dispatch of the host, {} of batch normalisation, 1 of the host", norm.dispatches());
    let expected = normalised_and_clamped(x, &shape, &gammas, &betas);
    let worst = y.iter().zip(&expected).map(|(got, want)| (f64::from(*got) - want).abs()).fold(0.0, f64::max);
    println!("worst     {worst:.1e} from the same in f64");
    // |y| stays below 8, where neighbouring f32 are 5e-7 apart; the arithmetic may be a few of those off. Neighbours near
    // 100, where x lies, are 8e-6 apart: the mean is known far better than x itself.
    if worst > 5e-6 {
        return Err(format!("y is {worst:.1e} from the f64 computation; at most 5e-6 was expected").into());
    }
    Ok(())
}

/// `max(gamma · (x − mean) / √(variance + epsilon) + beta, 0)` per channel, in f64.
fn normalised_and_clamped(x: &[f32], shape: &Shape, gamma: &[f32], beta: &[f32]) -> Vec<f64> {
    let (channels, inner) = (shape.channels() as usize, shape.inner() as usize);
    let m = f64::from(shape.values_per_channel());
    let mut y = vec![0.0; x.len()];
    for channel in 0..channels {
        let places: Vec<usize> = (0..x.len()).filter(|i| i / inner % channels == channel).collect();
        let mean = places.iter().map(|&i| f64::from(x[i])).sum::<f64>() / m;
        let variance = places.iter().map(|&i| (f64::from(x[i]) - mean).powi(2)).sum::<f64>() / m;
        let scale = f64::from(gamma[channel]) / (variance + f64::from(Config::pytorch().epsilon)).sqrt();
        for i in places {
            y[i] = ((f64::from(x[i]) - mean) * scale + f64::from(beta[channel])).max(0.0);
        }
    }
    y
}

/// A kernel of the host over one range of its pool.
struct HostKernel {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    workgroups: u32,
}

impl HostKernel {
    fn new(device: &wgpu::Device, entry_point: &str, tensor: wgpu::BufferSlice<'_>) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("host"),
            source: wgpu::ShaderSource::Wgsl(HOST_WGSL.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry_point),
            layout: None,
            module: &module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let binding = wgpu::BufferBinding {
            buffer: tensor.buffer(),
            offset: tensor.offset(),
            size: wgpu::BufferSize::new(tensor.size()),
        };
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(entry_point),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(binding) }],
        });
        let workgroups = (tensor.size() as u32 / 4).div_ceil(64);
        Self { pipeline, bind_group, workgroups }
    }

    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(self.workgroups, 1, 1);
    }
}
