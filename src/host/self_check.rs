//! Whether a driver keeps the differences of the kernels as they are written.

use ndarray::ArrayView3;

use super::{Gpu, Inputs, execute};
use crate::config::Config;
use crate::error::Error;
use crate::plan::Operation;
use crate::reference;
use crate::shape::Shape;

/// What [`self_check`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SelfCheck {
    /// The device computes right as it is.
    Passed,
    /// Its fast math makes `x − (K + d)` of `(x − K) − d`: right with [`Options::guard_differences`](crate::Options).
    NeedsGuard,
    /// It computes wrong with the guard, too.
    Failed,
}

/// The mean of the data, a million of its standard deviations; values are a few eighths from it, which f32 still tells apart.
const MEAN: f32 = 1_048_576.0;

/// A device that keeps the differences is off by some 1e-6 at most, and one that does not by half an eighth.
const MOST: f64 = 1e-3;

/// Normalises data whose mean is a million standard deviations, and compares with the reference.
///
/// Compiles up to seven programs for each answer; once after a device was made is enough.
///
/// # Errors
/// As [`execute`].
pub async fn self_check(gpu: &Gpu) -> Result<SelfCheck, Error> {
    for (guard, found) in [(gpu.norms().guards_differences(), SelfCheck::Passed), (true, SelfCheck::NeedsGuard)] {
        if is_right(&gpu.with_guarded_differences(guard)).await? {
            return Ok(found);
        }
    }
    Ok(SelfCheck::Failed)
}

/// Dimensions with the channels second, by what the built-in tables do with them: a channel stays resident, it is merged from
/// several parts, or, on software adapters, the elementwise kernel merges it itself, where K and d are made beside `(x − K) − d`.
/// (A reduction of which it is one part leaves it as a merge does.)
const SHAPES: [&[usize]; 3] = [&[2, 2, 768], &[2, 2, 16_388], &[300, 128]];

async fn is_right(gpu: &Gpu) -> Result<bool, Error> {
    for dimensions in SHAPES {
        let shape = Shape::new(dimensions, 1)?;
        let x: Vec<f32> = (0..shape.elements()).map(value).collect();
        let config = Config { gamma: false, beta: false, ..Config::pytorch() };
        let inputs = Inputs { x: Some(&x), ..Inputs::default() };
        let y = execute(gpu, Operation::Training, &shape, &config, &inputs).await?.y.unwrap_or_default();
        if !is_near(&y, &expected(&shape, &x, &config)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn value(i: u32) -> f32 {
    MEAN + (i.wrapping_mul(2_654_435_761) >> 27) as f32 / 8.0
}

fn expected(shape: &Shape, x: &[f32], config: &Config) -> Result<Vec<f64>, Error> {
    let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
    let x = ArrayView3::from_shape(reference::view(shape), &x).map_err(|error| Error::State(error.to_string()))?;
    let batch = reference::moments(x);
    let (mean, variance) = (batch.mean.view(), batch.variance.view());
    let apply = reference::Apply { x, mean, variance, gamma: None, beta: None, residual: None };
    Ok(reference::apply(&apply, config).into_iter().collect())
}

fn is_near(y: &[f32], expected: &[f64]) -> bool {
    y.len() == expected.len() && y.iter().zip(expected).all(|(&y, &e)| (f64::from(y) - e).abs() <= MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{AdapterKind, DeviceFacts, Kernel, Plan, Tuning};

    #[test]
    fn a_mean_rounded_to_f32_is_seen() {
        let shape = Shape::new(SHAPES[0], 1).unwrap();
        let x: Vec<f32> = (0..shape.elements()).map(value).collect();
        let expected = expected(&shape, &x, &Config::pytorch()).unwrap();
        let right: Vec<f32> = expected.iter().map(|&y| y as f32).collect();
        assert!(is_near(&right, &expected));
        assert!(!is_near(&right[1..], &expected));
        assert!(!is_near(&vec![f32::NAN; expected.len()], &expected));
        // What is left where fast math adds K and d first: x less a mean that is rounded to an eighth.
        let undone = |(i, &x): (usize, &f32)| {
            let values = || shape_values(&shape, channel_of(&shape, i)).map(|at| f64::from(value(at)));
            let m = f64::from(shape.values_per_channel());
            let mean = values().sum::<f64>() / m;
            let std = (values().map(|v| (v - mean).powi(2)).sum::<f64>() / m + 1e-5).sqrt();
            (x - mean as f32) / std as f32
        };
        let undone: Vec<f32> = x.iter().enumerate().map(undone).collect();
        assert!(!is_near(&undone, &expected));
    }

    #[test]
    fn every_way_from_records_to_y_is_looked_at_on_every_kind_of_adapter() {
        let config = Config { gamma: false, beta: false, ..Config::pytorch() };
        let widths = [0, 4, 8, 16, 32, 64];
        let software = widths.map(|subgroup_size| DeviceFacts { subgroup_size, ..DeviceFacts::SOFTWARE });
        for facts in [DeviceFacts::FLOOR].into_iter().chain(software) {
            let plan = |dimensions| {
                let shape = Shape::new(dimensions, 1).unwrap();
                Plan::new(Operation::Training, &shape, &config, &facts, &Tuning::for_device(&facts)).unwrap()
            };
            let [resident, merged, merging] = SHAPES.map(plan);
            assert_eq!(resident.dispatches.len(), 1, "{facts:?}");
            assert!(resident.dispatches[0].program.kernel.is_resident());
            assert!(merged.dispatches.iter().any(|d| d.program.kernel == Kernel::MomentsMerge), "{facts:?}");
            let itself = merging.dispatches.iter().any(|d| d.program.few_records > 0);
            assert_eq!(itself, facts.kind == AdapterKind::Cpu, "{facts:?}");
        }
    }

    fn shape_values(shape: &Shape, channel: usize) -> impl Iterator<Item = u32> {
        (0..shape.elements()).filter(move |i| channel_of(shape, *i as usize) == channel)
    }

    fn channel_of(shape: &Shape, element: usize) -> usize {
        element / shape.inner() as usize % shape.channels() as usize
    }
}
