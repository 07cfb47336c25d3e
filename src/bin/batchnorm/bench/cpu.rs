//! The same operations on the CPU, each beside its own plain copy.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;
use wgpu_batchnorm::cpu::{self, Saved};
use wgpu_batchnorm::host::timing::{Measured, Spread, last_level_cache_bytes, milliseconds};
use wgpu_batchnorm::plan::AdapterKind;
use wgpu_batchnorm::{Config, Error, Shape};

use super::data::{Case, Data};
use super::subject::sets_for;
use super::{Operation, Wrong};
use crate::verify::Verdict;

/// What computes.
pub const IMPLEMENTATION: &str = "cpu, f32, SIMD";
/// An operation is measured until its rounds are done or this much time has passed, in ms.
const ENOUGH_MS: f64 = 1500.0;

/// The CPU's figures of one operation.
pub struct CpuFigures {
    /// The operation, in ms.
    pub ms: Spread,
    /// A copy of x by all threads beside it, in ms.
    pub copy_ms: Spread,
    /// The element nearest to its bound.
    pub verdict: Verdict,
}

/// The tensors of one step; every set holds the same values elsewhere in memory.
struct Set {
    x: Vec<f32>,
    dy: Vec<f32>,
    out: Vec<f32>,
}

/// Checks and times each operation on the CPU, in turn with a copy of x by all threads, on tensors that no cache holds.
pub fn measure(
    operations: &[Operation],
    shape: &Shape,
    config: &Config,
    data: &Data,
    rounds: usize,
) -> Result<Vec<Result<CpuFigures, Wrong>>, Error> {
    let (elements, channels) = (shape.elements() as usize, shape.channels() as usize);
    let count = sets_for(12 * elements as u64, last_level_cache_bytes(AdapterKind::Cpu));
    let set = |_| Set { x: data.x.clone(), dy: data.dy.clone(), out: vec![f32::NAN; elements] };
    let mut sets: Vec<Set> = (0..count).map(set).collect();
    let mut kept = Kept {
        saved: vec![Saved::default(); channels],
        gradients: [vec![f32::NAN; channels], vec![f32::NAN; channels]],
    };
    let mut figures = Vec::new();
    for &operation in operations {
        let case = Case { operation, shape, config, data };
        if operation == Operation::Backward {
            // It reads what training saves.
            run(&Case { operation: Operation::Training, ..case }, &mut sets[0], &mut kept)?;
        }
        run(&case, &mut sets[0], &mut kept)?;
        let empty = Error::Missing { argument: "x", reason: "there is nothing to measure in an empty tensor" };
        let verdict = case.verify(&sets[0].out, &kept.gradients)?.ok_or(empty)?;
        if !verdict.passed() {
            figures.push(Err(Wrong { operation, processor: "CPU", verdict }));
            continue;
        }
        let (begin, mut turn, mut measured) = (Instant::now(), 0, Measured::default());
        let mut next = || {
            turn = (turn + 1) % sets.len();
            turn
        };
        let places: Vec<[usize; 2]> = (0..rounds).map(|_| [next(), next()]).collect();
        for [copied, used] in places {
            if !measured.work_ms.is_empty() && milliseconds(begin) > ENOUGH_MS {
                break;
            }
            let start = Instant::now();
            copy(&mut sets[copied]);
            measured.yardstick_ms.push(milliseconds(start));
            let start = Instant::now();
            run(&case, &mut sets[used], &mut kept)?;
            measured.work_ms.push(milliseconds(start));
        }
        figures.push(Ok(CpuFigures { ms: measured.work(), copy_ms: measured.yardstick(), verdict }));
    }
    Ok(figures)
}

/// What an operation keeps or writes per channel.
struct Kept {
    saved: Vec<Saved>,
    gradients: [Vec<f32>; 2],
}

fn run(case: &Case, set: &mut Set, kept: &mut Kept) -> Result<(), Error> {
    let Case { operation, shape, config, data } = *case;
    let (gamma, beta) = (Some(&data.gamma[..]), Some(&data.beta[..]));
    let (x, y) = (&set.x[..], &mut set.out[..]);
    match operation {
        Operation::Inference => {
            let (mean, variance) = (&data.mean[..], &data.variance[..]);
            cpu::inference(shape, config, cpu::Inference { x, mean, variance, gamma, beta, residual: None, y })
        }
        Operation::Training => {
            let saved = &mut kept.saved;
            cpu::training(shape, config, cpu::Training { x, gamma, beta, residual: None, y, saved })
        }
        Operation::Backward => {
            let [dgamma, dbeta] = &mut kept.gradients;
            let backward = cpu::Backward {
                x,
                dy: &set.dy,
                saved: &kept.saved,
                gamma,
                beta,
                residual: None,
                dx: Some(y),
                dresidual: None,
                dgamma: Some(dgamma),
                dbeta: Some(dbeta),
                frozen: false,
            };
            cpu::backward(shape, config, backward)
        }
    }
}

/// A copy of x by all threads.
fn copy(set: &mut Set) {
    let piece = set.x.len().div_ceil(rayon::current_num_threads()).max(1);
    set.out.par_chunks_mut(piece).zip(set.x.par_chunks(piece)).for_each(|(to, from)| to.copy_from_slice(from));
    black_box(&mut set.out);
}
