//! A trained layer, folded into the dense or convolution layer before it.

use crate::error::Error;

/// A trained layer as inference sees it; each `[channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Trained<'a> {
    /// Scale; 1 where absent.
    pub gamma: Option<&'a [f32]>,
    /// Shift; 0 where absent.
    pub beta: Option<&'a [f32]>,
    /// Running mean.
    pub mean: &'a [f32],
    /// Running variance.
    pub variance: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

/// Weights and bias that compute a dense or convolution layer and the batch normalisation behind it at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// `[out, ...]`, like the weights given.
    pub weights: Vec<f32>,
    /// `[out]`.
    pub bias: Vec<f32>,
}

/// Folds a trained layer's scale and shift into the weights and bias before it, so that inference needs no
/// normalisation.
///
/// `weights'[o, …] = s[o] · weights[o, …]`, `bias'[o] = (bias[o] − mean[o]) · s[o] + beta[o]`, where
/// `s[o] = gamma[o] / √(variance[o] + epsilon)`, 0 where variance + epsilon is 0. Computed in f64 and rounded once.
///
/// # Shapes
/// `weights`: `[out, ...]`, row-major: PyTorch's `Linear` and `Conv` · `bias`: `[out]`, 0 where absent · out is the
/// layer's number of channels
///
/// # Errors
/// [`Error::WrongDimensions`] where a length does not fit the number of channels · [`Error::NotFinite`] and
/// [`Error::Negative`] for epsilon
pub fn fold(layer: &Trained<'_>, weights: &[f32], bias: Option<&[f32]>) -> Result<Folded, Error> {
    let &Trained { gamma, beta, mean, variance, epsilon } = layer;
    if !epsilon.is_finite() {
        return Err(Error::NotFinite { argument: "epsilon", value: epsilon });
    }
    if epsilon < 0.0 {
        return Err(Error::Negative { argument: "epsilon", value: epsilon });
    }
    let out = mean.len();
    for (argument, values) in [("gamma", gamma), ("beta", beta), ("variance", Some(variance)), ("bias", bias)] {
        if let Some(values) = values.filter(|values| values.len() != out) {
            return Err(Error::WrongDimensions { argument, dimensions: vec![values.len()], needed: vec![out] });
        }
    }
    let inputs = weights.len() / out.max(1);
    if inputs * out != weights.len() {
        let (dimensions, needed) = (vec![weights.len()], vec![out, inputs]);
        return Err(Error::WrongDimensions { argument: "weights", dimensions, needed });
    }
    let mut folded = Folded { weights: Vec::with_capacity(weights.len()), bias: Vec::with_capacity(out) };
    let at = |values: Option<&[f32]>, o: usize, absent: f64| values.map_or(absent, |v| f64::from(v[o]));
    for o in 0..out {
        let widened = f64::from(variance[o]) + f64::from(epsilon);
        let scale = if widened == 0.0 { 0.0 } else { at(gamma, o, 1.0) / widened.sqrt() };
        let row = &weights[o * inputs..(o + 1) * inputs];
        folded.weights.extend(row.iter().map(|&w| (f64::from(w) * scale) as f32));
        folded.bias.push(((at(bias, o, 0.0) - f64::from(mean[o])) * scale + at(beta, o, 0.0)) as f32);
    }
    Ok(folded)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deterministic values in (−1, 1).
    fn noise(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 40) as f64 / (1u64 << 23) as f64 - 1.0) as f32
        };
        (0..count).map(|_| next()).collect()
    }

    /// A 1-D convolution `[n, in, length]` → `[n, out, length − taps + 1]` in f64; dense where length and taps are 1.
    fn convolve(x: &[f32], [n, inputs, length]: [usize; 3], weights: &[f32], bias: Option<&[f32]>) -> Vec<Vec<f64>> {
        let out = bias.map_or(5, <[f32]>::len);
        let taps = weights.len() / out / inputs;
        let mut planes = Vec::new();
        for sample in 0..n {
            for o in 0..out {
                let at = |start: usize| {
                    let mut sum = bias.map_or(0.0, |b| f64::from(b[o]));
                    for i in 0..inputs {
                        for t in 0..taps {
                            let w = weights[(o * inputs + i) * taps + t];
                            sum += f64::from(x[(sample * inputs + i) * length + start + t]) * f64::from(w);
                        }
                    }
                    sum
                };
                planes.push((0..=length - taps).map(at).collect());
            }
        }
        planes
    }

    #[test]
    fn folded_equals_running_both() {
        let (n, out) = (3, 5);
        let positive: Vec<f32> = noise(out, 4).iter().map(|v| v.abs() + 0.1).collect();
        let (gamma, beta, mean, b) = (noise(out, 1), noise(out, 2), noise(out, 3), noise(out, 5));
        // A dense layer, and a convolution of three taps; bias, gamma and beta there and absent.
        for (inputs, length, taps) in [(7, 1, 1), (4, 9, 3)] {
            for present in 0..8 {
                let has = |bit: u32| present & (1 << bit) != 0;
                let layer = Trained {
                    gamma: has(0).then_some(&gamma[..]),
                    beta: has(1).then_some(&beta[..]),
                    mean: &mean,
                    variance: &positive,
                    epsilon: 1e-3,
                };
                let bias = has(2).then_some(&b[..]);
                let (x, weights) = (noise(n * inputs * length, 6), noise(out * inputs * taps, 7));
                let both = convolve(&x, [n, inputs, length], &weights, bias);
                let folded = fold(&layer, &weights, bias).unwrap();
                let once = convolve(&x, [n, inputs, length], &folded.weights, Some(&folded.bias));
                for (plane, (both, once)) in both.iter().zip(&once).enumerate() {
                    let c = plane % out;
                    let (gamma, beta) = (layer.gamma.map_or(1.0, |g| g[c]), layer.beta.map_or(0.0, |b| b[c]));
                    let scale = f64::from(gamma) / (f64::from(positive[c]) + f64::from(1e-3f32)).sqrt();
                    for (&z, &got) in both.iter().zip(once) {
                        let expected = (z - f64::from(mean[c])) * scale + f64::from(beta);
                        // Each folded weight and the bias is rounded once: half an ULP of at most 13 terms below 4.
                        let bound = 13.0 * 4.0 * f64::from(f32::EPSILON);
                        assert!((got - expected).abs() <= bound, "{present} {plane}: {got} but {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused_by_name() {
        let layer = Trained { gamma: None, beta: None, mean: &[0.0; 3], variance: &[1.0; 3], epsilon: 0.0 };
        let refused = |layer: &Trained<'_>, weights: &[f32], bias: Option<&[f32]>, name| {
            let error = fold(layer, weights, bias).unwrap_err();
            assert!(matches!(error, Error::WrongDimensions { argument, .. } if argument == name), "{error}");
        };
        refused(&layer, &[0.0; 7], None, "weights");
        refused(&layer, &[0.0; 6], Some(&[0.0; 2]), "bias");
        refused(&Trained { gamma: Some(&[1.0]), ..layer }, &[0.0; 6], None, "gamma");
        refused(&Trained { variance: &[1.0; 4], ..layer }, &[0.0; 6], None, "variance");
        let epsilon = Trained { epsilon: -1.0, ..layer };
        assert!(matches!(fold(&epsilon, &[0.0; 6], None), Err(Error::Negative { .. })));
    }

    #[test]
    fn a_channel_without_variance_becomes_beta() {
        let layer = Trained { gamma: None, beta: Some(&[0.5]), mean: &[3.0], variance: &[0.0], epsilon: 0.0 };
        assert_eq!(fold(&layer, &[2.0, 4.0], None), Ok(Folded { weights: vec![0.0; 2], bias: vec![0.5] }));
    }
}
