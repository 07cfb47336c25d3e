//! What the host pays beside its kernels: a plan for each shape, a record for each step beside the same commands issued by
//! hand, and, on the best adapter, the creation of each program and a first step, which ends when the driver has compiled
//! it, too.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use wgpu_batchnorm::host::Gpu;
use wgpu_batchnorm::plan::{DeviceFacts, Operation, Plan, Program, Tuning};
use wgpu_batchnorm::{BatchNorm, Config, Gradients, Layer, LayerBackward, LayerForward, Mode, Shape, shader};

/// Steps recorded into one pass: its lists stay within a cache.
const STEPS: u64 = 100;

const OPERATIONS: [(&str, Operation); 3] = [
    ("inference", Operation::Inference),
    ("training", Operation::Training),
    ("backward", Operation::Backward(Gradients::ALL)),
];

fn shapes() -> Vec<Shape> {
    let shapes = [
        Shape::nc(8, 16),
        Shape::nc(256, 1024),
        Shape::nchw(32, 64, 56, 56),
        Shape::nhwc(32, 56, 56, 64),
        Shape::nhwc(32, 7, 7, 512),
        Shape::nchw(64, 256, 56, 56),
    ];
    shapes.into_iter().flatten().collect()
}

fn plan(criterion: &mut Criterion) {
    let facts = DeviceFacts::FLOOR;
    let (config, tuning) = (Config::pytorch(), Tuning::for_device(&facts));
    let mut group = criterion.benchmark_group("plan");
    for shape in shapes() {
        for (name, operation) in OPERATIONS {
            group.bench_function(BenchmarkId::new(name, &shape), |bencher| {
                bencher.iter(|| Plan::new(operation, &shape, &config, &facts, &tuning).expect("a plan"));
            });
        }
    }
    group.finish();
}

/// The time that some steps take to record into passes, without what wgpu does at their ends. Another way to record them
/// goes in turn with them, so that a busy machine is as busy for both.
fn recording(
    device: &wgpu::Device,
    count: u64,
    record: impl Fn(&mut wgpu::ComputePass<'_>),
    other: impl Fn(&mut wgpu::ComputePass<'_>),
) -> Duration {
    let time = |steps: u64, record: &dyn Fn(&mut wgpu::ComputePass<'_>)| {
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        let start = Instant::now();
        (0..steps).for_each(|_| record(&mut pass));
        start.elapsed()
    };
    let mut elapsed = Duration::ZERO;
    for first in (0..count).step_by(STEPS as usize) {
        let steps = STEPS.min(count - first);
        elapsed += time(steps, &record);
        time(steps, &other);
    }
    elapsed
}

/// On wgpu's stub device: a pass keeps its commands until it ends, whatever lies behind it.
fn record(criterion: &mut Criterion) {
    let (device, _queue) = wgpu::Device::noop(&Default::default());
    let norms = BatchNorm::new(&device).expect("the stub's limits");
    let shape = Shape::nchw(4, 3, 5, 5).expect("a shape");
    let layer = Layer::new(&norms, 3, &Config::pytorch()).expect("a layer");
    let buffer = || {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 1200,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        })
    };
    let [x, y, dy, dx] = [(); 4].map(|()| buffer());
    let forward = LayerForward { x: x.slice(..), residual: None, y: y.slice(..), mask: None };
    let backward =
        LayerBackward { x: x.slice(..), dy: dy.slice(..), mask: None, dx: Some(dx.slice(..)), dresidual: None };
    let [inference, training] =
        [Mode::Eval, Mode::Train].map(|mode| layer.forward(mode, &shape, &forward).expect("a forward step"));
    let backward = layer.backward(Mode::Train, &shape, Gradients::ALL, &backward).expect("a backward step");

    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(
            "@group(0) @binding(0) var<storage, read_write> a: array<u32>;
            @compute @workgroup_size(1) fn main() { a[0] = 1u; }"
                .into(),
        ),
    });
    let mut group = criterion.benchmark_group("record");
    for (name, bound) in [("inference", inference), ("training", training), ("backward", backward)] {
        let by_hand: Vec<_> = (0..bound.dispatches())
            .map(|_| {
                let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: None,
                    layout: None,
                    module: &module,
                    entry_point: None,
                    compilation_options: Default::default(),
                    cache: None,
                });
                let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: None,
                    layout: &pipeline.get_bind_group_layout(0),
                    entries: &[wgpu::BindGroupEntry { binding: 0, resource: x.as_entire_binding() }],
                });
                (pipeline, group)
            })
            .collect();
        let ours = |pass: &mut wgpu::ComputePass<'_>| bound.record(pass);
        let theirs = |pass: &mut wgpu::ComputePass<'_>| {
            for (pipeline, group) in &by_hand {
                pass.set_pipeline(pipeline);
                pass.set_bind_group(0, group, &[]);
                pass.dispatch_workgroups(1, 1, 1);
            }
        };
        group.bench_function(BenchmarkId::new(name, "ours"), |bencher| {
            bencher.iter_custom(|count| recording(&device, count, ours, theirs));
        });
        group.bench_function(BenchmarkId::new(name, "by hand"), |bencher| {
            bencher.iter_custom(|count| recording(&device, count, theirs, ours));
        });
    }
    group.finish();
}

/// A module and a pipeline, as they are made for every program that a device meets first.
fn pipeline(device: &wgpu::Device, program: &Program) -> wgpu::ComputePipeline {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(shader::text(program).into()),
    });
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some(program.kernel.name()),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &shader::overrides(program),
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    })
}

/// Mesa keeps what it compiled on disk: `MESA_SHADER_CACHE_DISABLE=true` measures what a fresh machine pays.
fn creation(criterion: &mut Criterion) {
    let gpu = pollster::block_on(Gpu::new()).expect("an adapter");
    println!("{}", gpu.title());
    let norms = gpu.norms();
    let config = Config::pytorch();
    let mut group = criterion.benchmark_group("creation");
    group.sample_size(10);
    let mut seen = Vec::new();
    // Along planes, in columns, and in rows of sixteen columns of a software adapter's lanes.
    for shape in [Shape::nchw(32, 64, 56, 56), Shape::nc(8, 16), Shape::nhwc(32, 7, 7, 512)].into_iter().flatten() {
        for (name, operation) in OPERATIONS {
            let config = Config { running_update: operation == Operation::Training, ..config };
            let plan = Plan::new(operation, &shape, &config, norms.facts(), norms.tuning()).expect("a plan");
            for dispatch in plan.dispatches {
                if seen.contains(&dispatch.program) {
                    continue;
                }
                let program = &dispatch.program;
                let walk = program.walk.map_or(String::new(), |walk| format!(" {}", walk.name()));
                let name = format!("{name}: {}{walk}", program.kernel.name());
                group.bench_function(BenchmarkId::new(name, &shape), |bencher| {
                    bencher.iter_with_large_drop(|| pipeline(gpu.device(), program));
                });
                seen.push(dispatch.program);
            }
        }
        let bytes = 4 * u64::from(shape.elements());
        let [x, y] = ["x", "y"].map(|label| gpu.empty(label, bytes).expect("a tensor"));
        group.bench_function(BenchmarkId::new("first training step", &shape), |bencher| {
            bencher.iter(|| {
                let norms = BatchNorm::new(gpu.device()).expect("the device's limits");
                let layer = Layer::new(&norms, shape.channels(), &config).expect("a layer");
                let buffers = LayerForward { x: x.slice(..), residual: None, y: y.slice(..), mask: None };
                let bound = layer.forward(Mode::Train, &shape, &buffers).expect("a forward step");
                gpu.submit(|pass| bound.record(pass));
                gpu.wait().expect("the device is there");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, plan, record, creation);
criterion_main!(benches);
