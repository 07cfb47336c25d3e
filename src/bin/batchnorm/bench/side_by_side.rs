//! One shape on the adapter and on the CPU.

use indicatif::ProgressBar;
use wgpu_batchnorm::host::timing::Timer;
use wgpu_batchnorm::{Config, DType, Shape};

use super::data::Data;
use super::measure::{self, PHASES, Settings};
use super::report::Figures;
use super::{Operation, Wrong, cpu};
use crate::failure::Failure;

/// What measures every shape of a run.
pub struct SideBySide<'a> {
    /// The adapter, where there is one.
    pub timer: Option<&'a Timer>,
    /// Whether the CPU is measured, which computes in f32 only.
    pub with_cpu: bool,
    /// What is measured.
    pub operations: &'a [Operation],
    /// Seed of the inputs.
    pub seed: u64,
    /// Moves by [`steps`] for each shape.
    pub bar: &'a ProgressBar,
}

/// How far the bar goes for a shape.
pub fn steps(shape: &Shape) -> u64 {
    weight(shape) * (PHASES + 1)
}

/// Small shapes take their time too: for the rounds, not for the bytes.
fn weight(shape: &Shape) -> u64 {
    u64::from(shape.elements()) + 1_000_000
}

impl SideBySide<'_> {
    /// Whether anything measures a storage type.
    pub fn measures(&self, dtype: DType) -> bool {
        self.timer.is_some() || self.on_cpu(dtype)
    }

    fn on_cpu(&self, dtype: DType) -> bool {
        self.with_cpu && dtype == DType::F32
    }

    /// The figures of each operation whose results are right; a sentence for each that is not goes to `wrong`.
    pub async fn measure(
        &self,
        shape: &Shape,
        config: &Config,
        rounds: usize,
        wrong: &mut Vec<String>,
    ) -> Result<Vec<Figures>, Failure> {
        let phase = |what: &str| {
            self.bar.set_message(format!("{shape}, {}: {what}", config.dtype));
            self.bar.inc(weight(shape));
        };
        let data = Data::new(shape, config.dtype, self.seed);
        let settings = Settings { operations: self.operations, rounds, phase: &phase };
        let measured = match self.timer {
            Some(timer) => measure::measure(timer, shape, config, &data, &settings).await?,
            None => Vec::new(),
        };
        phase("timing the CPU");
        let on_cpu = match self.on_cpu(config.dtype) {
            true => cpu::measure(self.operations, shape, config, &data, rounds)?,
            false => Vec::new(),
        };
        let (mut measured, mut on_cpu) = (measured.into_iter(), on_cpu.into_iter());
        let mut results = Vec::new();
        for operation in self.operations {
            let mut right = |error: Wrong| wrong.push(format!("{shape}, {}: {error}", config.dtype));
            let gpu = measured.next().transpose().map_err(&mut right);
            let cpu = on_cpu.next().transpose().map_err(&mut right);
            let (Ok(gpu), Ok(cpu)) = (gpu, cpu) else { continue };
            let Some(verdict) = gpu.as_ref().map(|gpu| gpu.verdict).or(cpu.as_ref().map(|cpu| cpu.verdict)) else {
                continue;
            };
            results.push(Figures {
                shape: shape.dimensions().to_vec(),
                axis: shape.axis(),
                operation: operation.name().into(),
                dtype: config.dtype.name().into(),
                strategy: gpu.as_ref().map(|gpu| gpu.strategy.into()),
                bytes_moved: gpu.as_ref().map(|gpu| gpu.bytes_moved),
                gpu_ms: gpu.as_ref().map(|gpu| gpu.cold.ms),
                copy_ms: gpu.as_ref().map(|gpu| gpu.cold.copy_ms),
                ratio_to_copy: gpu.as_ref().map(|gpu| gpu.cold.ratio_to_copy),
                end_to_end_ms: gpu.as_ref().map(|gpu| gpu.end_to_end_ms),
                cpu_ms: cpu.as_ref().map(|cpu| cpu.ms),
                cpu_implementation: cpu.is_some().then_some(cpu::IMPLEMENTATION.into()),
                cpu_copy_ms: cpu.as_ref().map(|cpu| cpu.copy_ms),
                worst_tensor: verdict.tensor.into(),
                worst_error: verdict.error(),
                bound: verdict.worst.bound,
                details: gpu.map(|gpu| gpu.details),
            });
        }
        Ok(results)
    }
}
