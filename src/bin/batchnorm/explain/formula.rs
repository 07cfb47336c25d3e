//! The formula with a tensor's own numbers in it.

use wgpu_batchnorm::{Config, Momentum, RunningVariance, Shape};

/// The names of a tensor's indices: `c` on the channel axis, letters that stand for nothing else on the others.
fn indices(shape: &Shape) -> Vec<String> {
    let rank = shape.dimensions().len();
    let usual: &[&str] = match (rank, shape.axis()) {
        (2, 1) => &["n", "c"],
        (3, 1) => &["n", "c", "l"],
        (4, 1) => &["n", "c", "w", "l"],
        (4, 3) => &["n", "h", "w", "c"],
        (5, 1) => &["n", "c", "d", "h", "w"],
        _ => &[],
    };
    let numbered = |axis: usize| if axis == shape.axis() { "c".to_owned() } else { format!("i{axis}") };
    (0..rank).map(|axis| usual.get(axis).map_or_else(|| numbered(axis), |&name| name.to_owned())).collect()
}

/// A list in words: `a, b and c`.
fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// What is averaged over, how many numbers there are of each kind, and the formulas of all operations.
pub fn formula(shape: &Shape, config: &Config) -> Vec<String> {
    let names = indices(shape);
    let (channels, values) = (shape.channels(), shape.values_per_channel());
    let dimensions = shape.dimensions();
    let others: Vec<usize> = (0..dimensions.len()).filter(|&axis| axis != shape.axis()).collect();
    let at = names.join(", ");
    let ranges: Vec<String> = names.iter().zip(dimensions).map(|(name, size)| format!("{name} < {size}")).collect();
    let averaged: Vec<String> = others.iter().map(|axis| axis.to_string()).collect();
    let product = others.iter().map(|&axis| dimensions[axis].to_string()).collect::<Vec<_>>().join(" · ");
    let sum = others.iter().map(|&axis| names[axis].clone()).collect::<Vec<_>>().join(", ");
    let epsilon = config.epsilon;
    let affine = |text: &'static str, present: bool| if present { text } else { "" };

    let mut lines = vec![
        format!("x[{at}]: {}", ranges.join(", ")),
        format!(
            "seen as x[outer, channel, inner]: {} · {channels} · {} = {} elements",
            shape.outer(),
            shape.inner(),
            shape.elements()
        ),
        String::new(),
    ];
    if values == 0 {
        lines.push("An empty batch: y is empty, gradients are 0, running statistics stay as they are.".to_owned());
    } else if others.is_empty() {
        lines.push(format!("Nothing is averaged over: each of the {channels} channels has one value, m = 1."));
    } else {
        lines.push(format!(
            "Averaged over {} {}: m = {product}{} values for each of the {channels} channels.",
            if others.len() == 1 { "axis" } else { "axes" },
            listed(&averaged),
            if others.len() == 1 { String::new() } else { format!(" = {values}") },
        ));
    }
    let (kinds, trained) =
        (2 + u32::from(config.gamma) + u32::from(config.beta), u32::from(config.gamma) + u32::from(config.beta));
    lines.extend([format!(
        "Parameters: mean, variance, gamma and beta have one value per channel and none per sample: \
             {kinds} · {channels} = {}, of which {} trained (gamma and beta).",
        u64::from(kinds) * u64::from(channels),
        u64::from(trained) * u64::from(channels)
    )]);
    if values == 0 {
        return lines;
    }
    lines.extend([String::new(), "Training".to_owned()]);
    let over = if sum.is_empty() { String::new() } else { format!(" over {sum}") };
    lines.extend([
        format!("  mean[c]     = 1/{values} · Σ x[{at}]{over}"),
        format!("  variance[c] = 1/{values} · Σ (x[{at}] − mean[c])²"),
        format!("  x̂[{at}]{} = (x[{at}] − mean[c]) / √(variance[c] + {epsilon:e})", pad(&at, 9)),
        format!(
            "  y[{at}]{} = {}x̂[{at}]{}",
            pad(&at, 9),
            affine("gamma[c] · ", config.gamma),
            affine(" + beta[c]", config.beta)
        ),
        format!("  {}", running(config, values)),
        "Inference: the same with running_mean and running_variance for mean and variance".to_owned(),
        "Backward".to_owned(),
        format!("  dbeta[c]    = Σ dy[{at}]{over}"),
        format!("  dgamma[c]   = Σ dy[{at}] · x̂[{at}]"),
        format!(
            "  dx[{at}]{} = {}1/√(variance[c] + {epsilon:e}) · (dy[{at}] − dbeta[c]/{values} − x̂[{at}] · dgamma[c]/{values})",
            pad(&at, 8),
            affine("gamma[c] · ", config.gamma)
        ),
    ]);
    lines
}

/// What aligns the equals signs behind an index, as far as it is short.
fn pad(at: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(at.len() + 1))
}

/// How the running statistics follow, with their numbers.
fn running(config: &Config, values: u32) -> String {
    let factor = match config.running_variance {
        RunningVariance::Unbiased => format!(" · {values}/{}", i64::from(values) - 1),
        RunningVariance::Population => String::new(),
    };
    match config.momentum {
        Momentum::NewValue(new) => {
            let (old, new) = (digits(1.0 - new), digits(new));
            format!(
                "running_mean = {old} · running_mean + {new} · mean, running_variance = {old} · running_variance + {new} · \
                 variance{factor}"
            )
        }
        Momentum::Cumulative => format!(
            "running_mean and running_variance: the averages of mean and variance{factor} over all batches so far"
        ),
    }
}

/// A weight with as many digits as f32 has of it near 1: 0.01, not 0.00999999.
pub fn digits(weight: f32) -> String {
    let text = format!("{weight:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(dimensions: &[usize], axis: isize) -> String {
        formula(&Shape::new(dimensions, axis).unwrap(), &Config::pytorch()).join("\n")
    }

    #[test]
    fn an_image_with_channels_last_has_120_parameters() {
        let text = text(&[32, 100, 200, 30], 3);
        for part in [
            "x[n, h, w, c]: n < 32, h < 100, w < 200, c < 30",
            "640000 · 30 · 1 = 19200000 elements",
            "Averaged over axes 0, 1 and 2: m = 32 · 100 · 200 = 640000 values for each of the 30 channels.",
            "4 · 30 = 120, of which 60 trained",
            "mean[c]     = 1/640000 · Σ x[n, h, w, c] over n, h, w",
            "variance · 640000/639999",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn a_dense_layer_has_200_parameters() {
        let text = text(&[32, 50], 1);
        assert!(text.contains("4 · 50 = 200, of which 100 trained"), "{text}");
        assert!(text.contains("Averaged over axis 0: m = 32 values for each of the 50 channels."), "{text}");
    }

    #[test]
    fn odd_shapes_are_told_too() {
        assert!(text(&[7], 0).contains("Nothing is averaged over"));
        assert!(text(&[0, 3], 1).contains("An empty batch"));
        assert!(text(&[2, 3, 4], 0).contains("x[c, i1, i2]: c < 2, i1 < 3, i2 < 4"));
    }
}
