//! Times what a device does: kernels beside a plain copy of the same bytes, in turn, in one run.
//!
//! A time alone means little: a machine is shared, a clock changes. What holds is the ratio to the best plain copy of
//! the same bytes on the same device in the same minute. So every figure here is taken in rounds, copy, kernel, copy,
//! kernel, and read as medians with their quartiles.

mod cache;
mod copy;
mod spread;

use std::cell::Cell;
#[cfg(not(target_family = "wasm"))]
use std::time::Instant;
#[cfg(target_family = "wasm")]
use web_time::Instant;

pub use cache::last_level_cache_bytes;
pub use copy::{Copy, CopyForm, CopyKernel, CopyWord};
pub use spread::Spread;

use super::Gpu;
use crate::error::Error;

/// How a timer reads the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The device's own timestamps around a pass: kernels alone.
    Timestamps,
    /// The host's clock around a submission and its end: repeated until the submission's share is small.
    Wall,
}

impl Clock {
    /// The name that tables and files use.
    pub const fn name(self) -> &'static str {
        match self {
            Clock::Timestamps => "timestamps",
            Clock::Wall => "wall",
        }
    }
}

/// A measurement repeats its work until it lasts this long, in ms: fifty times what the coarsest timestamps resolve
/// (browsers, 0.1 ms), a hundred times what a submission costs.
const TIMESTAMPS_LAST_MS: f64 = 5.0;
const WALL_LAST_MS: f64 = 20.0;
/// Most dispatches of a work in one submission.
const REPEATS_MAX: u32 = 1000;

type Record<'a> = Box<dyn Fn(&mut wgpu::ComputePass<'_>, usize) + 'a>;

/// Something to be timed, with as many instances as there are sets of buffers.
pub struct Work<'a> {
    record: Record<'a>,
    /// Found by the first measurement.
    repeats: Cell<Option<u32>>,
}

impl<'a> Work<'a> {
    /// `record` records one instance, told by a number that goes up with each: where it is taken modulo the number of
    /// sets, the work rotates over all of them; where it is ignored, it stays in the cache.
    pub fn new(record: impl Fn(&mut wgpu::ComputePass<'_>, usize) + 'a) -> Self {
        Self { record: Box::new(record), repeats: Cell::new(None) }
    }
}

/// Measures works on one device.
#[derive(Debug)]
pub struct Timer {
    gpu: Gpu,
    queries: Option<(wgpu::QuerySet, wgpu::Buffer)>,
    /// Goes on from measurement to measurement, so that no work finds the set of the one before it in the cache.
    turn: Cell<usize>,
}

impl Timer {
    /// A timer that uses the device's timestamps where it has them.
    pub fn new(gpu: &Gpu) -> Self {
        let queries = gpu.device().features().contains(wgpu::Features::TIMESTAMP_QUERY).then(|| {
            let set = gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("batchnorm.timing"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            });
            let resolved = gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("batchnorm.timing"),
                size: 16,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            });
            (set, resolved)
        });
        Self { gpu: gpu.clone(), queries, turn: Cell::new(0) }
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// How the time is read.
    pub fn clock(&self) -> Clock {
        if self.queries.is_some() { Clock::Timestamps } else { Clock::Wall }
    }

    /// The time of one instance of a work on the device, in ms: the mean of as many in one submission as it takes to
    /// last long enough.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is lost
    pub async fn measure(&self, work: &Work<'_>) -> Result<f64, Error> {
        let repeats = match work.repeats.get() {
            Some(repeats) => repeats,
            None => {
                // The first run may still compile or allocate; the second tells how many it takes.
                self.run(work, 1).await?;
                let once = self.run(work, 1).await?.max(1e-6);
                let last = match self.clock() {
                    Clock::Timestamps => TIMESTAMPS_LAST_MS,
                    Clock::Wall => WALL_LAST_MS,
                };
                let repeats = (last / once).ceil().clamp(1.0, f64::from(REPEATS_MAX)) as u32;
                work.repeats.set(Some(repeats));
                if repeats == 1 {
                    return Ok(once);
                }
                repeats
            }
        };
        self.run(work, repeats).await
    }

    /// Measures works in turn, round after round: for each, one time per round, in ms.
    ///
    /// Between two works, and at both ends, stands the yardstick; its times come second, the mean of the two that
    /// stand around each work.
    ///
    /// # Errors
    /// As [`Timer::measure`].
    pub async fn rounds(
        &self,
        yardstick: &Work<'_>,
        works: &[&Work<'_>],
        rounds: usize,
    ) -> Result<Vec<Measured>, Error> {
        let mut measured = vec![Measured::default(); works.len()];
        for work in works {
            self.measure(work).await?;
        }
        for _ in 0..rounds {
            let mut before = self.measure(yardstick).await?;
            for (work, measured) in works.iter().zip(&mut measured) {
                measured.work_ms.push(self.measure(work).await?);
                let after = self.measure(yardstick).await?;
                measured.yardstick_ms.push((before + after) / 2.0);
                before = after;
            }
        }
        Ok(measured)
    }

    /// The wall time of one instance with its recording, submission and end, in ms.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is lost
    pub async fn submission(&self, work: &Work<'_>) -> Result<f64, Error> {
        let turn = self.next(1);
        let start = Instant::now();
        self.gpu.submit(|pass| (work.record)(pass, turn));
        self.gpu.done().await?;
        Ok(milliseconds(start))
    }

    /// The wall time of the driver's own `copy_buffer_to_buffer` of `bytes` bytes, in ms: a second yardstick, repeated
    /// over the pairs of buffers until the submission's share is small.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is lost
    pub async fn driver_copy(&self, pairs: &[[&wgpu::Buffer; 2]], bytes: u64) -> Result<f64, Error> {
        let run = async |repeats: u32| {
            let mut encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let turn = self.next(repeats);
            for index in 0..repeats as usize {
                if let Some([from, to]) = pairs.get(turn.wrapping_add(index) % pairs.len().max(1)) {
                    encoder.copy_buffer_to_buffer(from, 0, to, 0, bytes.next_multiple_of(4));
                }
            }
            let commands = encoder.finish();
            let start = Instant::now();
            self.gpu.queue().submit([commands]);
            self.gpu.done().await?;
            Ok(milliseconds(start) / f64::from(repeats))
        };
        let once: f64 = run(1).await?;
        run((WALL_LAST_MS / once.max(1e-6)).ceil().clamp(1.0, f64::from(REPEATS_MAX)) as u32).await
    }

    fn next(&self, count: u32) -> usize {
        self.turn.replace(self.turn.get().wrapping_add(count as usize))
    }

    async fn run(&self, work: &Work<'_>, repeats: u32) -> Result<f64, Error> {
        let turn = self.next(repeats);
        let mut encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let writes = self.queries.as_ref().map(|(set, _)| wgpu::ComputePassTimestampWrites {
            query_set: set,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        });
        {
            let mut pass =
                encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes: writes });
            for index in 0..repeats as usize {
                (work.record)(&mut pass, turn.wrapping_add(index));
            }
        }
        let elapsed = match &self.queries {
            Some((set, resolved)) => {
                encoder.resolve_query_set(set, 0..2, resolved, 0);
                self.gpu.queue().submit([encoder.finish()]);
                let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&self.gpu.read(resolved, 16).await?);
                let elapsed = ticks.get(1).zip(ticks.first()).map_or(0, |(end, start)| end.saturating_sub(*start));
                elapsed as f64 * f64::from(self.gpu.queue().get_timestamp_period()) / 1e6
            }
            None => {
                let commands = encoder.finish();
                let start = Instant::now();
                self.gpu.queue().submit([commands]);
                self.gpu.done().await?;
                milliseconds(start)
            }
        };
        Ok(elapsed / f64::from(repeats))
    }
}

/// Times of a work, one per round, each beside the time of the yardstick around it.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// The work, in ms.
    pub work_ms: Vec<f64>,
    /// The yardstick, in ms.
    pub yardstick_ms: Vec<f64>,
}

impl Measured {
    /// The work's time, in ms.
    pub fn work(&self) -> Spread {
        Spread::of(&self.work_ms)
    }

    /// The yardstick's time, in ms.
    pub fn yardstick(&self) -> Spread {
        Spread::of(&self.yardstick_ms)
    }

    /// The fastest round of the work in units of the yardstick's fastest: what noise disturbs least.
    pub fn ratio_of_fastest(&self) -> f64 {
        let fastest = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
        fastest(&self.work_ms) / fastest(&self.yardstick_ms)
    }

    /// The work in units of the yardstick beside it.
    pub fn ratio(&self) -> Spread {
        let ratios: Vec<f64> = self.work_ms.iter().zip(&self.yardstick_ms).map(|(work, copy)| work / copy).collect();
        Spread::of(&ratios)
    }
}

/// Milliseconds since a moment.
pub fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
