//! Random cases against the reference.

use std::collections::BTreeMap;

use wgpu_batchnorm::Options;
use wgpu_batchnorm::check::{Sweep, check_one};
use wgpu_batchnorm::host::Gpu;
use wgpu_batchnorm::plan::{AdapterKind, Tuning};

use super::{BRIEF, Outcome, text, tuning_of, with_options, with_tuning};

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

pub async fn random_cases_pass_with_guarded_differences(gpu: &Gpu, count: usize) -> Outcome {
    let gpu = with_options(gpu, Options { guard_differences: true, ..Options::default() })?;
    sweep(&gpu, Sweep { seed: 200_010, count }).await
}

async fn sweep(gpu: &Gpu, sweep: Sweep) -> Outcome {
    let mut failures = Vec::new();
    let mut worst: BTreeMap<&str, (f64, u64)> = BTreeMap::new();
    for case in sweep.cases() {
        let verdicts = match check_one(gpu, &case).await {
            Ok(verdicts) => verdicts,
            Err(error) => {
                failures.push(format!("{case}: {error}"));
                continue;
            }
        };
        for verdict in verdicts {
            if !verdict.passed() {
                failures.push(format!("{case}: {verdict}"));
            }
            let ratio = verdict.comparison.map_or(f64::INFINITY, |c| c.ratio());
            let so_far = worst.entry(verdict.name).or_default();
            if ratio >= so_far.0 {
                *so_far = (ratio, case.seed);
            }
        }
    }
    if failures.is_empty() {
        let list: Vec<String> = worst.iter().map(|(name, (r, seed))| format!("{name} {r:.3} (seed {seed})")).collect();
        eprintln!("{} cases from seed {}: {}", sweep.count, sweep.seed, list.join(", "));
        Ok(())
    } else {
        Err(failures.join("\n"))
    }
}
