//! How fast the kernels are on the best adapter, in bytes that must move, beside a plain copy: x read and y written by the
//! copy, inference and training, x and dy read and dx written by backward. From the smallest sensible tensor to 25 MiB.
//!
//! A tensor is used again at once, and may be found in a cache; `batchnorm bench` is the one that leaves caches behind and
//! takes each time in turn with the copy's.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wgpu_batchnorm::host::Gpu;
use wgpu_batchnorm::host::timing::{CopyKernel, CopyWord, Timer};
use wgpu_batchnorm::{Config, DType, Gradients, Layer, LayerBackward, LayerForward, Mode, Shape};

/// Most steps of one submission: a driver may take one that lasts for seconds for one that hangs.
const STEPS: u64 = 100;

fn shapes() -> Vec<Shape> {
    let shapes = [
        Shape::nc(8, 16),
        Shape::nc(256, 1024),
        Shape::nchw(32, 512, 7, 7),
        Shape::nhwc(32, 7, 7, 512),
        Shape::nchw(32, 64, 56, 56),
        Shape::nhwc(32, 56, 56, 64),
    ];
    shapes.into_iter().flatten().collect()
}

/// The time of some steps with their submission and end.
fn steps(gpu: &Gpu, count: u64, record: impl Fn(&mut wgpu::ComputePass<'_>)) -> Duration {
    let start = Instant::now();
    for first in (0..count).step_by(STEPS as usize) {
        gpu.submit(|pass| (first..count.min(first + STEPS)).for_each(|_| record(pass)));
        gpu.wait().expect("the device is there");
    }
    start.elapsed()
}

fn operations(criterion: &mut Criterion) {
    let gpu = pollster::block_on(Gpu::new()).expect("an adapter");
    println!("{}", gpu.title());
    let timer = Timer::new(&gpu);
    let config = Config::pytorch();
    for shape in shapes() {
        let n = u64::from(shape.elements());
        let values: Vec<f32> = (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 * 1e-7).collect();
        let [x, dy] = ["x", "dy"].map(|label| gpu.buffer(label, bytemuck::cast_slice(&values)).expect("a tensor"));
        let [y, dx] = ["y", "dx"].map(|label| gpu.empty(label, 4 * n).expect("a tensor"));
        let copy =
            pollster::block_on(CopyKernel::best(&timer, &[[&x, &y]], 4 * n, CopyWord::Of(DType::F32))).expect("a copy");
        let copy = copy.bind(&gpu, &x, &y, 4 * n).expect("a copy");
        let layer = Layer::new(gpu.norms(), shape.channels(), &config).expect("a layer");
        let forward = LayerForward { x: x.slice(..), residual: None, y: y.slice(..), mask: None };
        let [inference, training] =
            [Mode::Eval, Mode::Train].map(|mode| layer.forward(mode, &shape, &forward).expect("a forward step"));
        let backward =
            LayerBackward { x: x.slice(..), dy: dy.slice(..), mask: None, dx: Some(dx.slice(..)), dresidual: None };
        let backward = layer.backward(Mode::Train, &shape, Gradients::ALL, &backward).expect("a backward step");

        let mut group = criterion.benchmark_group("kernels");
        group.throughput(Throughput::Bytes(8 * n));
        group.bench_function(BenchmarkId::new("copy", &shape), |bencher| {
            bencher.iter_custom(|count| steps(&gpu, count, |pass| copy.record(pass)));
        });
        for (name, bytes, bound) in
            [("inference", 8 * n, inference), ("training", 8 * n, training), ("backward", 12 * n, backward)]
        {
            group.throughput(Throughput::Bytes(bytes));
            group.bench_function(BenchmarkId::new(name, &shape), |bencher| {
                bencher.iter_custom(|count| steps(&gpu, count, |pass| bound.record(pass)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, operations);
criterion_main!(benches);
