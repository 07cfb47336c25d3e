//! Measures one shape on one device: checked first, then timed beside the copy.

use std::time::Instant;

use wgpu_batchnorm::host::timing::{Copy, CopyKernel, CopyWord, Measured, Spread, Timer, Work, milliseconds};
use wgpu_batchnorm::host::{Gpu, encode};
use wgpu_batchnorm::plan::Dispatch;
use wgpu_batchnorm::{Bound, Config, Shape};

use super::data::{Case, Data};
use super::report::{Beside, Details, GpuFigures, is_conclusive};
use super::subject::{Set, Subject};
use super::{Operation, Wrong};
use crate::failure::Failure;
use crate::verify::Verdict;

/// What is asked of a measurement.
pub struct Settings<'a> {
    /// The operations.
    pub operations: &'a [Operation],
    /// Rounds of copy, kernel, copy, kernel.
    pub rounds: usize,
    /// Told after each phase, so that a bar can move.
    pub phase: &'a dyn Fn(&str),
}

/// Phases of one shape that [`Settings::phase`] hears of.
pub const PHASES: u64 = 6;

/// The figures of each operation, or which of its results is wrong.
pub async fn measure(
    timer: &Timer,
    shape: &Shape,
    config: &Config,
    data: &Data,
    settings: &Settings<'_>,
) -> Result<Vec<Result<GpuFigures, Wrong>>, Failure> {
    let gpu = timer.gpu();
    let Settings { operations, rounds, phase } = settings;
    phase("uploading");
    let subject = Subject::new(gpu, shape, config, data)?;

    phase("checking");
    let mut verdicts = Vec::new();
    for &operation in *operations {
        let written = run_once(timer, &subject, shape, config, operation).await?;
        let verdict = Case { operation, shape, config, data }.verify(&written.out, &written.gradients)?;
        verdicts
            .push(verdict.ok_or_else(|| Failure::Failed(format!("{shape} is empty: there is nothing to measure")))?);
    }

    phase("finding the best copy");
    let (pairs, bytes) = (subject.pairs(), subject.tensor_bytes);
    let kernel = CopyKernel::best(timer, &pairs, bytes, CopyWord::Of(config.dtype)).await?;
    let copies = subject.copies(gpu, &kernel)?;
    // So that kernels in words of 64 bits are not held against less than such words can do.
    let wide = match gpu.norms().tuning().word_bits {
        64 => Some(subject.copies(gpu, &CopyKernel::best(timer, &pairs, bytes, CopyWord::Wide).await?)?),
        _ => None,
    };

    phase("timing cold");
    let all: Vec<&[Bound]> = operations.iter().map(|&operation| subject.bound(operation)).collect();
    let works: Vec<Work> =
        all.iter().map(|bound| operation_over(bound)).chain(wide.iter().map(|w| copy_over(w))).collect();
    let cold = timer.rounds(&copy_over(&copies), &works.iter().collect::<Vec<_>>(), *rounds).await?;
    let wide_copy = wide.as_ref().and(cold.last()).map(Beside::from);
    phase("timing hot");
    let works: Vec<Work> = all.iter().map(|bound| operation_over(&bound[..1])).collect();
    let hot = timer.rounds(&copy_over(&copies[..1]), &works.iter().collect::<Vec<_>>(), *rounds).await?;
    phase("timing submissions and transfers");
    let submission = submissions(timer, &copies, &all, *rounds).await?;
    let mut driver = Vec::new();
    for _ in 0..*rounds {
        driver.push(timer.driver_copy(&pairs, bytes).await?);
    }
    let mut figures = Vec::new();
    for (index, &operation) in operations.iter().enumerate() {
        let verdict = &verdicts[index];
        if !verdict.passed() {
            figures.push(Err(Wrong { operation, processor: "GPU", verdict: *verdict }));
            continue;
        }
        let plan = subject.plan(operation);
        let [upload_ms, download_ms] = transfers(timer, &subject, config, operation, data).await?;
        let (main, by_round) = (Beside::from(&cold[index]), cold[index].ratio());
        let details = Details {
            ratio_limit: plan.bytes_moved as f64 / (2 * bytes) as f64,
            ratio_by_round: by_round,
            ratio_of_fastest: cold[index].ratio_of_fastest(),
            conclusive: is_conclusive(&by_round),
            bytes_per_second: plan.bytes_moved as f64 / (main.ms.median / 1e3),
            copy_form: kernel.form().to_string(),
            wide_copy,
            driver_copy_ms: Spread::of(&driver),
            hot: Beside::from(&hot[index]),
            submission: Beside::from(&submission[index]),
            sets: subject.sets.len(),
            upload_ms: Some(upload_ms),
            download_ms: Some(download_ms),
            reason: plan.reason.into(),
            dispatches: plan.dispatches.iter().map(told).collect(),
        };
        figures.push(Ok(GpuFigures {
            strategy: plan.strategy(),
            bytes_moved: plan.bytes_moved,
            cold: main,
            end_to_end_ms: end_to_end(timer, &subject, config, operation, data).await?,
            verdict: *verdict,
            details,
        }));
    }
    Ok(figures)
}

/// What an operation wrote: y or dx, and dgamma and dbeta where there are any.
struct Written {
    out: Vec<f32>,
    gradients: [Vec<f32>; 2],
}

/// Runs an operation on the first set and reads what it wrote.
async fn run_once(
    timer: &Timer,
    subject: &Subject,
    shape: &Shape,
    config: &Config,
    operation: Operation,
) -> Result<Written, Failure> {
    let (gpu, set) = (timer.gpu(), &subject.sets[0]);
    // What is not written must not look right because an operation before it wrote the same.
    let poison = vec![0xFFu8; set.out.size() as usize];
    gpu.queue().write_buffer(&set.out, 0, &poison);
    gpu.submit(|pass| subject.bound(operation)[0].record(pass));
    let bytes = gpu.read(&set.out, subject.tensor_bytes).await?;
    let mut written =
        Written { out: wgpu_batchnorm::host::decode(&bytes, config.dtype), gradients: Default::default() };
    written.out.truncate(shape.elements() as usize);
    if operation == Operation::Backward {
        for (values, buffer) in written.gradients.iter_mut().zip(&set.gradients) {
            *values = gpu.read_f32(buffer, shape.channels() as usize).await?;
        }
    }
    Ok(written)
}

/// An operation over its sets.
fn operation_over(bound: &[Bound]) -> Work<'_> {
    Work::new(move |pass: &mut wgpu_batchnorm::wgpu::ComputePass<'_>, set| bound[set % bound.len()].record(pass))
}

/// A copy over all sets.
fn copy_over(copies: &[Copy]) -> Work<'_> {
    Work::new(move |pass: &mut wgpu_batchnorm::wgpu::ComputePass<'_>, set| copies[set % copies.len()].record(pass))
}

/// Times single submissions, in turn with those of the copy.
async fn submissions(
    timer: &Timer,
    copies: &[Copy],
    operations: &[&[Bound]],
    rounds: usize,
) -> Result<Vec<Measured>, Failure> {
    let yardstick = copy_over(copies);
    let mut measured = vec![Measured::default(); operations.len()];
    for _ in 0..2 * rounds {
        for (bound, measured) in operations.iter().zip(&mut measured) {
            let work = operation_over(bound);
            measured.yardstick_ms.push(timer.submission(&yardstick).await?);
            measured.work_ms.push(timer.submission(&work).await?);
        }
    }
    Ok(measured)
}

/// Kernel and grid of a dispatch.
fn told(dispatch: &Dispatch) -> String {
    let [x, y, _] = dispatch.workgroups;
    let grid = if y == 1 { x.to_string() } else { format!("{x} × {y}") };
    format!("{}: {grid} workgroups of {}", dispatch.program.kernel.name(), dispatch.program.workgroup_size)
}

/// The inputs of an operation, as the device stores them.
struct Inputs {
    x: Vec<u8>,
    dy: Option<Vec<u8>>,
}

impl Inputs {
    fn new(config: &Config, operation: Operation, data: &Data) -> Self {
        let stored = |values: &Vec<f32>| encode(values.iter().copied(), config.dtype);
        Self { x: stored(&data.x), dy: (operation == Operation::Backward).then(|| stored(&data.dy)) }
    }

    fn write(&self, gpu: &Gpu, set: &Set) {
        // A write is whole words; an odd number of halves ends in the middle of one.
        let whole = |bytes: &[u8]| bytes.len() / 4 * 4;
        gpu.queue().write_buffer(&set.x, 0, &self.x[..whole(&self.x)]);
        if let Some(dy) = &self.dy {
            gpu.queue().write_buffer(&set.dy, 0, &dy[..whole(dy)]);
        }
    }
}

/// Times upload and download of an operation, each alone and to its end.
async fn transfers(
    timer: &Timer,
    subject: &Subject,
    config: &Config,
    operation: Operation,
    data: &Data,
) -> Result<[Spread; 2], Failure> {
    let (gpu, set) = (timer.gpu(), &subject.sets[0]);
    let inputs = Inputs::new(config, operation, data);
    let (mut uploads, mut downloads) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    while uploads.is_empty() || (uploads.len() < 5 && milliseconds(begin) < 500.0) {
        let start = Instant::now();
        inputs.write(gpu, set);
        gpu.queue().submit([]);
        gpu.wait()?;
        uploads.push(milliseconds(start));
        let start = Instant::now();
        gpu.read(&set.out, subject.tensor_bytes).await?;
        downloads.push(milliseconds(start));
    }
    Ok([Spread::of(&uploads), Spread::of(&downloads)])
}

/// Times an operation from arrays to array: upload, kernels, download.
async fn end_to_end(
    timer: &Timer,
    subject: &Subject,
    config: &Config,
    operation: Operation,
    data: &Data,
) -> Result<Spread, Failure> {
    let (gpu, set) = (timer.gpu(), &subject.sets[0]);
    let inputs = Inputs::new(config, operation, data);
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.is_empty() || (times.len() < 5 && milliseconds(begin) < 1000.0) {
        let start = Instant::now();
        inputs.write(gpu, set);
        gpu.submit(|pass| subject.bound(operation)[0].record(pass));
        gpu.read(&set.out, subject.tensor_bytes).await?;
        times.push(milliseconds(start));
    }
    Ok(Spread::of(&times))
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Verdict { tensor, worst, .. } = self.verdict;
        write!(
            f,
            "{} on the {} is wrong: {tensor}[{}] is {:e}, expected {:e} ± {:e}",
            self.operation.name(),
            self.processor,
            worst.index,
            worst.got,
            worst.expected,
            worst.bound
        )
    }
}
