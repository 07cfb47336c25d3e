//! What a user must know of a run that is right by arithmetic and yet not what was wanted.

use ndarray::ArrayD;
use wgpu_batchnorm::host::State;
use wgpu_batchnorm::{Shape, reference};

/// Channels named one by one.
const NAMED: usize = 8;

/// How many values of the output are not finite, in which channels, and whether the input or its storage brought them.
pub fn not_finite(shape: &Shape, read: &ArrayD<f32>, x: &[f32], y: &[f32]) -> Option<String> {
    let wrong = |values: &mut dyn Iterator<Item = f32>| values.filter(|v| !v.is_finite()).count();
    let of_output = wrong(&mut y.iter().copied());
    if of_output == 0 {
        return None;
    }
    let (of_input, stored) = (wrong(&mut read.iter().copied()), wrong(&mut x.iter().copied()));
    let (inner, channels) = (shape.inner() as usize, shape.channels() as usize);
    let mut spoiled: Vec<usize> =
        y.iter().enumerate().filter(|(_, v)| !v.is_finite()).map(|(i, _)| i / inner % channels).collect();
    spoiled.sort_unstable();
    spoiled.dedup();
    let named: Vec<String> = spoiled.iter().take(NAMED).map(usize::to_string).collect();
    let more = if spoiled.len() > NAMED { " …" } else { "" };
    let cause = match (of_input, stored - of_input) {
        (0, 0) => String::new(),
        (n, 0) => format!("; the input has {n}"),
        (0, n) => format!("; {n} of the input are beyond the storage type"),
        (n, m) => format!("; the input has {n}, and {m} more are beyond the storage type"),
    };
    let channel = if spoiled.len() == 1 { "channel" } else { "channels" };
    Some(format!(
        "{of_output} of {} values of the output are not finite, in {channel} {}{more}{cause}",
        y.len(),
        named.join(", ")
    ))
}

/// Whether the squares of the deviations of a channel sum up to more than f32 holds, and what to do.
pub fn overflow(batch: &reference::Moments) -> Option<String> {
    let squares = batch.variance.iter().map(|variance| variance * batch.count as f64);
    let (channel, _) = squares.enumerate().find(|(_, sum)| *sum > f64::from(f32::MAX))?;
    Some(format!(
        "; the squares of the deviations of channel {channel} sum up to more than f32 holds (3.4e38): scale the input \
         down, which normalisation takes back"
    ))
}

/// The first running statistic that is not finite.
pub fn spoiled(state: &State) -> Option<String> {
    [("running_mean", &state.running_mean), ("running_var", &state.running_variance)].into_iter().find_map(
        |(name, values)| {
            let (channel, value) = values.as_ref()?.iter().enumerate().find(|(_, value)| !value.is_finite())?;
            Some(format!("{name}[{channel}] would be {value}"))
        },
    )
}

/// The first running variance below zero.
pub fn negative(state: &State) -> Option<String> {
    let (channel, value) = state.running_variance.as_ref()?.iter().enumerate().find(|(_, value)| **value < 0.0)?;
    Some(format!("running_var[{channel}] is {value}; a variance is not negative"))
}
