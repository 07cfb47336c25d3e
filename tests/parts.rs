//! Parts of a batch on two devices, exchanged through the host, equal the whole batch on one.

use wgpu_batchnorm::host::Gpu;
use wgpu_batchnorm::operation::RunningStatistics;
use wgpu_batchnorm::parts::*;
use wgpu_batchnorm::plan::Count;
use wgpu_batchnorm::{BackwardBuffers, Config, Error, Gradients, Momentum, Shape, TrainingBuffers};

const CHANNELS: usize = 5;

fn values(seed: f32, count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i as f32 + seed) * 12.9898).sin() * 3.0 + 40.0).collect()
}

fn upload(gpu: &Gpu, values: &[f32]) -> wgpu::Buffer {
    gpu.buffer("test", bytemuck::cast_slice(values)).unwrap()
}

/// One holder of a part.
struct Holder {
    gpu: Gpu,
    shape: Shape,
    x: wgpu::Buffer,
    dy: wgpu::Buffer,
    elements: usize,
}

struct Results {
    y: Vec<f32>,
    dx: Vec<f32>,
    dgamma: Vec<f32>,
    dbeta: Vec<f32>,
    running_variance: Vec<f32>,
}

async fn whole(gpu: &Gpu, x: &[f32], dy: &[f32], config: &Config) -> std::result::Result<Results, Error> {
    let shape = Shape::new(&[x.len() / CHANNELS / 7, CHANNELS, 7], 1)?;
    let per_channel = |v: f32| upload(gpu, &[v; CHANNELS]);
    let (gamma, beta, mean, variance) = (per_channel(1.5), per_channel(0.25), per_channel(0.0), per_channel(1.0));
    let (bx, bdy) = (upload(gpu, x), upload(gpu, dy));
    let tensor = || gpu.empty("test", 4 * x.len() as u64).unwrap();
    let (y, dx, saved) = (tensor(), tensor(), gpu.empty("test", 16 * CHANNELS as u64).unwrap());
    let (dgamma, dbeta) = (per_channel(0.0), per_channel(0.0));
    let training = gpu.norms().training(&shape, &Config { running_update: true, ..*config })?.bind(
        gpu.device(),
        &TrainingBuffers {
            x: bx.slice(..),
            residual: None,
            gamma: Some(gamma.slice(..)),
            beta: Some(beta.slice(..)),
            running: Some(RunningStatistics { mean: mean.slice(..), variance: variance.slice(..), batches: None }),
            saved: saved.slice(..),
            y: y.slice(..),
            mask: None,
            scratch: None,
        },
    )?;
    let backward = gpu.norms().backward(&shape, config, Gradients::ALL)?.bind(
        gpu.device(),
        &BackwardBuffers {
            x: bx.slice(..),
            dy: bdy.slice(..),
            saved: saved.slice(..),
            gamma: Some(gamma.slice(..)),
            beta: Some(beta.slice(..)),
            mask: None,
            dx: Some(dx.slice(..)),
            dgamma: Some(dgamma.slice(..)),
            dbeta: Some(dbeta.slice(..)),
            dresidual: None,
            scratch: None,
        },
    )?;
    gpu.submit(|pass| {
        training.record(pass);
        backward.record(pass);
    });
    Ok(Results {
        y: gpu.read_f32(&y, x.len()).await?,
        dx: gpu.read_f32(&dx, x.len()).await?,
        dgamma: gpu.read_f32(&dgamma, CHANNELS).await?,
        dbeta: gpu.read_f32(&dbeta, CHANNELS).await?,
        running_variance: gpu.read_f32(&variance, CHANNELS).await?,
    })
}

async fn in_parts(holders: &[Holder], config: &Config) -> std::result::Result<Results, Error> {
    let parts = holders.len() as u32;
    // Each holder's moments, brought together through the host.
    let mut records = Vec::new();
    for holder in holders {
        let merged = holder.gpu.empty("test", 16 * CHANNELS as u64).unwrap();
        let buffers = MomentsBuffers { x: holder.x.slice(..), merged: merged.slice(..), scratch: None };
        let bound = holder.gpu.norms().moments(&holder.shape, config)?.bind(holder.gpu.device(), &buffers)?;
        holder.gpu.submit(|pass| bound.record(pass));
        records.extend(holder.gpu.read(&merged, 16 * CHANNELS as u64).await?);
    }
    let mut sums = Vec::new();
    let mut forward = Vec::new();
    let (mut ys, mut running) = (Vec::new(), Vec::new());
    for holder in holders {
        let (gpu, norms, device) = (&holder.gpu, holder.gpu.norms(), holder.gpu.device());
        let per_channel = |v: f32| upload(gpu, &[v; CHANNELS]);
        let (gamma, beta, mean, variance) = (per_channel(1.5), per_channel(0.25), per_channel(0.0), per_channel(1.0));
        let (saved, merged) =
            (gpu.empty("test", 16 * CHANNELS as u64).unwrap(), gpu.empty("test", 16 * CHANNELS as u64).unwrap());
        let merged_sums = gpu.empty("test", 8 * CHANNELS as u64).unwrap();
        let y = gpu.empty("test", 4 * holder.elements as u64).unwrap();
        let all = gpu.buffer("test", &records).unwrap();
        let merge = norms
            .merge(&holder.shape, config, parts)?
            .bind(device, &MergeBuffers { records: all.slice(..), saved: saved.slice(..), merged: merged.slice(..) })?;
        let update = norms.running_update(&holder.shape, config, Count::Merged)?.bind(
            device,
            &RunningUpdateBuffers {
                saved: saved.slice(..),
                merged: Some(merged.slice(..)),
                running: RunningStatistics { mean: mean.slice(..), variance: variance.slice(..), batches: None },
            },
        )?;
        let apply = norms.scale_shift(&holder.shape, config)?.bind(
            device,
            &ScaleShiftBuffers {
                x: holder.x.slice(..),
                residual: None,
                gamma: Some(gamma.slice(..)),
                beta: Some(beta.slice(..)),
                saved: saved.slice(..),
                y: y.slice(..),
                mask: None,
            },
        )?;
        let partial = norms.backward_sums(&holder.shape, config)?.bind(
            device,
            &BackwardSumsBuffers {
                x: holder.x.slice(..),
                dy: holder.dy.slice(..),
                saved: saved.slice(..),
                gamma: Some(gamma.slice(..)),
                beta: Some(beta.slice(..)),
                mask: None,
                merged_sums: merged_sums.slice(..),
                scratch: None,
            },
        )?;
        gpu.submit(|pass| [&merge, &update, &apply, &partial].into_iter().for_each(|step| step.record(pass)));
        ys.extend(gpu.read_f32(&y, holder.elements).await?);
        running = gpu.read_f32(&variance, CHANNELS).await?;
        sums.extend(gpu.read(&merged_sums, 8 * CHANNELS as u64).await?);
        forward.push((gamma, saved, merged));
    }
    let (mut dxs, mut gradients) = (Vec::new(), (Vec::new(), Vec::new()));
    for (holder, (gamma, saved, merged)) in holders.iter().zip(&forward) {
        let (gpu, norms, device) = (&holder.gpu, holder.gpu.norms(), holder.gpu.device());
        let coefficients = gpu.empty("test", 8 * CHANNELS as u64).unwrap();
        let (dgamma, dbeta) =
            (gpu.empty("test", 4 * CHANNELS as u64).unwrap(), gpu.empty("test", 4 * CHANNELS as u64).unwrap());
        let dx = gpu.empty("test", 4 * holder.elements as u64).unwrap();
        let all = gpu.buffer("test", &sums).unwrap();
        let merge = norms.backward_merge(&holder.shape, config, parts, Gradients::ALL, Count::Merged)?.bind(
            device,
            &BackwardMergeBuffers {
                sums: all.slice(..),
                saved: saved.slice(..),
                merged: Some(merged.slice(..)),
                coefficients: Some(coefficients.slice(..)),
                dgamma: Some(dgamma.slice(..)),
                dbeta: Some(dbeta.slice(..)),
            },
        )?;
        let input = norms.backward_input(&holder.shape, config)?.bind(
            device,
            &BackwardInputBuffers {
                x: holder.x.slice(..),
                dy: holder.dy.slice(..),
                saved: saved.slice(..),
                gamma: Some(gamma.slice(..)),
                beta: None,
                mask: None,
                coefficients: coefficients.slice(..),
                dx: dx.slice(..),
                dresidual: None,
            },
        )?;
        gpu.submit(|pass| [&merge, &input].into_iter().for_each(|step| step.record(pass)));
        dxs.extend(gpu.read_f32(&dx, holder.elements).await?);
        gradients = (gpu.read_f32(&dgamma, CHANNELS).await?, gpu.read_f32(&dbeta, CHANNELS).await?);
    }
    Ok(Results { y: ys, dx: dxs, dgamma: gradients.0, dbeta: gradients.1, running_variance: running })
}

/// Both ways round within 32 ULP of the tensor's largest value: they differ in the order of sums alone.
fn close(name: &str, a: &[f32], b: &[f32]) {
    let largest = b.iter().fold(0f32, |m, v| m.max(v.abs()));
    assert_eq!(a.len(), b.len(), "{name}");
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= 32.0 * f32::EPSILON * largest, "{name}[{i}]: {a} in parts, {b} whole");
    }
}

async fn parts_equal_the_whole(samples: &[usize]) -> std::result::Result<(), Error> {
    let config = Config::pytorch();
    let elements: usize = samples.iter().sum::<usize>() * CHANNELS * 7;
    let (x, dy) = (values(0.0, elements), values(500.0, elements));
    let dy: Vec<f32> = dy.iter().map(|v| v - 40.0).collect();
    let first = Gpu::new().await?;
    let expected = whole(&first, &x, &dy, &config).await?;
    let mut holders = Vec::new();
    let mut from = 0;
    for &n in samples {
        let gpu = Gpu::new().await?;
        let to = from + n * CHANNELS * 7;
        let shape = Shape::new(&[n, CHANNELS, 7], 1)?;
        let (x, dy) = (upload(&gpu, &x[from..to]), upload(&gpu, &dy[from..to]));
        holders.push(Holder { gpu, shape, x, dy, elements: to - from });
        from = to;
    }
    let got = in_parts(&holders, &config).await?;
    close("y", &got.y, &expected.y);
    close("dx", &got.dx, &expected.dx);
    close("dgamma", &got.dgamma, &expected.dgamma);
    close("dbeta", &got.dbeta, &expected.dbeta);
    close("running_variance", &got.running_variance, &expected.running_variance);
    Ok(())
}

#[pollster::test]
async fn two_devices_with_unequal_parts_equal_one() {
    parts_equal_the_whole(&[3, 9]).await.unwrap();
}

#[pollster::test]
async fn an_empty_part_changes_nothing() {
    parts_equal_the_whole(&[4, 0, 5]).await.unwrap();
}

/// Neither the running statistics nor the counter, by which a cumulative average weighs the batches to come.
#[pollster::test]
async fn a_batch_of_empty_parts_alone_leaves_the_running_statistics() {
    let gpu = Gpu::new().await.unwrap();
    let config = Config { momentum: Momentum::Cumulative, ..Config::pytorch() };
    let shape = Shape::new(&[0, CHANNELS, 7], 1).unwrap();
    let (records, saved, merged) = (
        gpu.empty("test", 32 * CHANNELS as u64).unwrap(),
        upload(&gpu, &[9.0; 4 * CHANNELS]),
        upload(&gpu, &[9.0; 4 * CHANNELS]),
    );
    let (mean, variance, batches) = (
        upload(&gpu, &[2.0; CHANNELS]),
        upload(&gpu, &[3.0; CHANNELS]),
        gpu.buffer("test", &5u32.to_le_bytes()).unwrap(),
    );
    let merge = gpu.norms().merge(&shape, &config, 2).unwrap();
    let merge = merge
        .bind(
            gpu.device(),
            &MergeBuffers { records: records.slice(..), saved: saved.slice(..), merged: merged.slice(..) },
        )
        .unwrap();
    let update = gpu.norms().running_update(&shape, &config, Count::Merged).unwrap();
    let running =
        RunningStatistics { mean: mean.slice(..), variance: variance.slice(..), batches: Some(batches.slice(..)) };
    let buffers = RunningUpdateBuffers { saved: saved.slice(..), merged: Some(merged.slice(..)), running };
    let update = update.bind(gpu.device(), &buffers).unwrap();
    gpu.submit(|pass| [&merge, &update].into_iter().for_each(|step| step.record(pass)));
    assert_eq!(gpu.read_f32(&mean, CHANNELS).await.unwrap(), [2.0; CHANNELS]);
    assert_eq!(gpu.read_f32(&variance, CHANNELS).await.unwrap(), [3.0; CHANNELS]);
    assert_eq!(gpu.read(&batches, 4).await.unwrap(), 5u32.to_le_bytes());
}
