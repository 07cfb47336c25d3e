//! How fast the CPU implementation is, in bytes that must move: x read and y written forward, x and dy read and dx
//! written backward. From the smallest sensible tensor to one that no cache holds.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wgpu_batchnorm::{Config, Shape, cpu};

fn shapes() -> Vec<Shape> {
    let shapes = [
        Shape::nc(8, 16),
        Shape::nc(256, 1024),
        Shape::nc(8192, 64),
        Shape::nchw(2, 64, 32, 32),
        Shape::nchw(32, 512, 7, 7),
        Shape::nhwc(32, 7, 7, 512),
        Shape::nchw(32, 64, 56, 56),
        Shape::nhwc(32, 56, 56, 64),
        Shape::nhwc(8, 224, 224, 3),
    ];
    shapes.into_iter().flatten().collect()
}

fn operations(criterion: &mut Criterion) {
    let config = Config::pytorch();
    for shape in shapes() {
        let (n, c) = (shape.elements() as usize, shape.channels() as usize);
        let x: Vec<f32> = (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 * 1e-7).collect();
        let (gamma, beta) = (vec![1.5; c], vec![0.5; c]);
        let (mean, variance) = (vec![0.5; c], vec![2.0; c]);
        let (mut y, mut dx) = (vec![1.0; n], vec![1.0; n]);
        let mut saved = vec![cpu::Saved::default(); c];
        let (mut dgamma, mut dbeta) = (vec![0.0; c], vec![0.0; c]);
        let (gamma, beta) = (Some(&gamma[..]), Some(&beta[..]));

        let mut group = criterion.benchmark_group("cpu");
        group.throughput(Throughput::Bytes(8 * n as u64));
        group.bench_function(BenchmarkId::new("inference", &shape), |bencher| {
            bencher.iter(|| {
                let y = &mut y[..];
                let arguments =
                    cpu::Inference { x: &x, mean: &mean, variance: &variance, gamma, beta, residual: None, y };
                cpu::inference(&shape, &config, arguments)
            });
        });
        group.bench_function(BenchmarkId::new("training", &shape), |bencher| {
            bencher.iter(|| {
                let (y, saved) = (&mut y[..], &mut saved[..]);
                cpu::training(&shape, &config, cpu::Training { x: &x, gamma, beta, residual: None, y, saved })
            });
        });
        group.throughput(Throughput::Bytes(12 * n as u64));
        group.bench_function(BenchmarkId::new("backward", &shape), |bencher| {
            bencher.iter(|| {
                let arguments = cpu::Backward {
                    x: &x,
                    dy: &y,
                    saved: &saved,
                    gamma,
                    beta: None,
                    residual: None,
                    dx: Some(&mut dx),
                    dresidual: None,
                    dgamma: Some(&mut dgamma),
                    dbeta: Some(&mut dbeta),
                    frozen: false,
                };
                cpu::backward(&shape, &config, arguments)
            });
        });
        group.finish();
    }
}

criterion_group!(benches, operations);
criterion_main!(benches);
