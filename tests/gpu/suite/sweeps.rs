//! Random cases against the reference.

use std::collections::BTreeMap;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wgpu_batchnorm::check::cases::TensorVerdict;
use wgpu_batchnorm::check::{Sweep, SweepCase, check_one};
use wgpu_batchnorm::host::Gpu;
use wgpu_batchnorm::plan::{AdapterKind, Tuning};
use wgpu_batchnorm::{Error, Options};

use super::{BRIEF, Outcome, same_bits, text, tuning_of, with_options, with_tuning};

pub async fn random_cases_pass(gpu: &Gpu, seed: u64, count: usize) -> Outcome {
    if BRIEF {
        return sweep(gpu, Sweep { seed, count }).await;
    }
    // Its own pipelines, which go with it: thousands of programs would fill the memory.
    let gpu = Gpu::from_device(gpu.device(), gpu.queue()).map_err(text)?;
    sweep(&gpu, Sweep { seed, count }).await
}

/// Tunings that nobody would choose, beside the one of the other kind of adapter: speed is theirs, results are not.
pub async fn random_cases_pass_with_other_tunings(gpu: &Gpu, count: usize) -> Outcome {
    let other = match gpu.norms().facts().kind {
        AdapterKind::Cpu => AdapterKind::Gpu,
        AdapterKind::Gpu => AdapterKind::Cpu,
    };
    let other = tuning_of(gpu, other);
    let least = Tuning {
        reduce_lanes: 1,
        apply_lanes: 1,
        merge_lanes: 1,
        reduce_workgroups: 1,
        part_quads_min: 1,
        part_quads_max: 1,
        apply_quads: 1,
        ..other.clone()
    };
    let odd = Tuning {
        reduce_lanes: 16,
        apply_lanes: 32,
        merge_lanes: 4,
        reduce_workgroups: 100,
        part_quads_min: 7,
        part_quads_max: 300,
        apply_quads: 100,
        reduce_along_quads: 9,
        sums_along_quads: 12,
        apply_along_quads: 5,
        column_rows: 4,
        ..other.clone()
    };
    for (index, (name, tuning)) in [("other", other), ("least", least), ("odd", odd)].into_iter().enumerate() {
        let gpu = with_tuning(gpu, tuning)?;
        let seed = 100_010 + 1000 * index as u64;
        // Least means a workgroup for every few elements: only as many cases as that allows.
        let count = if name == "least" { count.min(30) } else { count };
        sweep(&gpu, Sweep { seed, count }).await.map_err(|failures| format!("{name}: {failures}"))?;
    }
    Ok(())
}

/// A tuning of which each number is sensible, least, most, or anything.
fn random_tuning(rng: &mut impl Rng) -> Tuning {
    let mut number = |least: u32, most: u32| match rng.random_range(0..8) {
        0 => rng.random_range(0..2),
        1 => u32::MAX,
        2 => rng.random(),
        // As many small ones as large ones.
        _ => (f64::from(least) * (f64::from(most) / f64::from(least)).powf(rng.random())) as u32,
    };
    Tuning {
        word_bits: number(16, 128),
        reduce_lanes: number(1, 256),
        apply_lanes: number(1, 256),
        merge_lanes: number(1, 256),
        reduce_workgroups: number(1, 4096),
        part_quads_min: number(1, 10_000),
        part_quads_max: number(1, 100_000),
        apply_quads: number(1, 100_000),
        reduce_along_quads: number(4, 5000),
        sums_along_quads: number(4, 5000),
        apply_along_quads: number(4, 5000),
        apply_trip: number(1, 8),
        apply_merges: number(1, 100_000),
        reduce_lane_quads: number(1, 10_000),
        row_blocks: number(1, 16),
        column_rows: number(1, 32),
        resident_lanes_min: number(1, 256),
        resident_lanes_max: number(1, 256),
        resident_blocks: number(1, 16),
        resident_element_blocks: number(1, 16),
        resident_rows: number(1, 64),
    }
}

/// Each case under a tuning of its own, absurd ones among them: right, and the same bits again.
pub async fn random_cases_pass_and_repeat_under_random_tunings(gpu: &Gpu, count: usize) -> Outcome {
    let (sweep, mut tally) = (Sweep { seed: 300_000, count }, Tally::default());
    for case in sweep.cases() {
        let tuning = random_tuning(&mut ChaCha8Rng::seed_from_u64(case.seed));
        let under = format!(" under {tuning:?}");
        let gpu = with_tuning(gpu, tuning)?;
        tally.add(&case, check_one(&gpu, &case).await, &under);
        let data = case.data();
        let (first, again) = (case.run(&gpu, &data).await, case.run(&gpu, &data).await);
        if let (Ok(first), Ok(again)) = (first, again) {
            same_bits(&format!("{case}{under}"), &first, &again)?;
        }
    }
    tally.close(&sweep)
}

pub async fn random_cases_pass_with_guarded_differences(gpu: &Gpu, count: usize) -> Outcome {
    let gpu = with_options(gpu, Options { guard_differences: true, ..Options::default() })?;
    sweep(&gpu, Sweep { seed: 200_010, count }).await
}

async fn sweep(gpu: &Gpu, sweep: Sweep) -> Outcome {
    let mut tally = Tally::default();
    for case in sweep.cases() {
        tally.add(&case, check_one(gpu, &case).await, "");
    }
    tally.close(&sweep)
}

/// What became of many cases.
#[derive(Default)]
struct Tally {
    failures: Vec<String>,
    worst: BTreeMap<&'static str, (f64, u64)>,
}

impl Tally {
    /// Adds a case; `under` says what it ran under.
    fn add(&mut self, case: &SweepCase, verdicts: Result<Vec<TensorVerdict>, Error>, under: &str) {
        let verdicts = match verdicts {
            Ok(verdicts) => verdicts,
            Err(error) => return self.failures.push(format!("{case}{under}: {error}")),
        };
        for verdict in verdicts {
            if !verdict.passed() {
                self.failures.push(format!("{case}{under}: {verdict}"));
            }
            let ratio = verdict.comparison.map_or(f64::INFINITY, |c| c.ratio());
            let so_far = self.worst.entry(verdict.name).or_default();
            if ratio >= so_far.0 {
                *so_far = (ratio, case.seed);
            }
        }
    }

    fn close(self, sweep: &Sweep) -> Outcome {
        if !self.failures.is_empty() {
            return Err(self.failures.join("\n"));
        }
        let told = |(name, (r, seed)): (&&str, &(f64, u64))| format!("{name} {r:.3} (seed {seed})");
        let list: Vec<String> = self.worst.iter().map(told).collect();
        eprintln!("{} cases from seed {}: {}", sweep.count, sweep.seed, list.join(", "));
        Ok(())
    }
}
