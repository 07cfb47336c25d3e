//! An image, normalised per channel: what a batch of one image is to the layer.

use wasm_bindgen::prelude::*;
use web_time::Instant;
use wgpu_batchnorm::host::files::read_npy;
use wgpu_batchnorm::host::timing::milliseconds;
use wgpu_batchnorm::host::{Gpu, Inputs, execute};
use wgpu_batchnorm::plan::Operation;
use wgpu_batchnorm::{Config, Shape, cpu};

/// How many standard deviations about the mean are shown, on each side.
const SHOWN: f32 = 2.5;
/// Bars of a histogram.
const BARS: usize = 64;
const CHANNELS: usize = 3;

/// A photograph, as a canvas takes it.
#[wasm_bindgen(getter_with_clone)]
pub struct Photograph {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Red, green, blue and 255 for each pixel.
    pub rgba: Vec<u8>,
}

/// What normalising an image found; red, green and blue one behind the other.
#[wasm_bindgen(getter_with_clone)]
pub struct Normalised {
    /// Mean of each channel, of values from 0 to 1.
    pub mean: Vec<f64>,
    /// Population variance of each channel.
    pub variance: Vec<f64>,
    /// Mean of each channel afterwards.
    #[wasm_bindgen(js_name = meanAfter)]
    pub mean_after: Vec<f64>,
    /// Population variance of each channel afterwards.
    #[wasm_bindgen(js_name = varianceAfter)]
    pub variance_after: Vec<f64>,
    /// What is added to the variance.
    pub epsilon: f64,
    /// The image afterwards: −2.5 is black, 2.5 is white.
    pub rgba: Vec<u8>,
    /// Shares of the pixels, 64 for each channel, of values from 0 to 1.
    pub before: Vec<f64>,
    /// The same afterwards, from −2.5 to 2.5; what lies beyond is counted at the end.
    pub after: Vec<f64>,
    /// Upload, kernels and download, or the CPU, in ms.
    pub milliseconds: f64,
}

/// Normalises on the device, or else on the CPU.
pub async fn normalise(gpu: Option<&Gpu>, rgba: &[u8], width: u32, height: u32) -> Result<Normalised, JsError> {
    let shape = Shape::new(&[1, height as usize, width as usize, CHANNELS], 3)?;
    let config = Config { gamma: false, beta: false, ..Config::pytorch() };
    let x: Vec<f32> = rgba.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).map(|v| f32::from(v) / 255.0).collect();
    let inputs = Inputs { x: Some(&x), ..Inputs::default() };
    if let Some(gpu) = gpu {
        // The browser compiles the kernels; that is paid once, and not timed.
        execute(gpu, Operation::Training, &shape, &config, &inputs).await?;
    }
    let start = Instant::now();
    let (y, mean, variance): (_, Vec<f64>, Vec<f64>) = match gpu {
        Some(gpu) => {
            let outputs = execute(gpu, Operation::Training, &shape, &config, &inputs).await?;
            let saved = outputs.saved.unwrap_or_default();
            let variance = saved.variance.iter().map(|&v| f64::from(v)).collect();
            (outputs.y.unwrap_or_default(), saved.mean(), variance)
        }
        None => {
            let (mut y, mut saved) = (vec![0.0; x.len()], [cpu::Saved::default(); CHANNELS]);
            let arguments =
                cpu::Training { x: &x, gamma: None, beta: None, residual: None, y: &mut y, saved: &mut saved };
            cpu::training(&shape, &config, arguments)?;
            let of = |field: fn(&cpu::Saved) -> f32| saved.iter().map(|s| f64::from(field(s))).collect();
            (y, of(cpu::Saved::mean), of(|s| s.variance))
        }
    };
    let milliseconds = milliseconds(start);
    let shown = |v: &f32| (v + SHOWN) / (2.0 * SHOWN);
    let pixels = y.chunks_exact(CHANNELS).flat_map(|pixel| {
        let byte = |v: &f32| (255.0 * shown(v)).round().clamp(0.0, 255.0) as u8;
        [byte(&pixel[0]), byte(&pixel[1]), byte(&pixel[2]), 255]
    });
    let (mean_after, variance_after) = moments(&y);
    Ok(Normalised {
        mean,
        variance,
        mean_after,
        variance_after,
        epsilon: config.epsilon.into(),
        rgba: pixels.collect(),
        before: histograms(x.iter().copied()),
        after: histograms(y.iter().map(shown)),
        milliseconds,
    })
}

/// Mean and population variance of each channel, by the simplest sums there are, in f64.
fn moments(values: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let count = (values.len() / CHANNELS).max(1) as f64;
    let of = |channel: usize| values.iter().skip(channel).step_by(CHANNELS).map(|&v| f64::from(v));
    let mean: Vec<f64> = (0..CHANNELS).map(|c| of(c).sum::<f64>() / count).collect();
    let variance = (0..CHANNELS).map(|c| of(c).map(|v| (v - mean[c]).powi(2)).sum::<f64>() / count).collect();
    (mean, variance)
}

/// Shares of the pixels of each channel, of values from 0 to 1.
fn histograms(values: impl ExactSizeIterator<Item = f32>) -> Vec<f64> {
    let share = CHANNELS as f64 / values.len().max(1) as f64;
    let mut bars = vec![0.0; CHANNELS * BARS];
    for (index, value) in values.enumerate() {
        let bar = ((value * BARS as f32) as usize).min(BARS - 1);
        bars[index % CHANNELS * BARS + bar] += share;
    }
    bars
}

/// Reads photographs.
pub fn photographs(npy: &[u8]) -> Result<Vec<Photograph>, JsError> {
    let values = read_npy(npy)?.values;
    let &[_, height, width, CHANNELS] = values.shape() else {
        return Err(JsError::new("the file of photographs is not of shape (N, H, W, 3)"));
    };
    let rgba = |image: &[f32]| -> Vec<u8> {
        let byte = |v: f32| (255.0 * v).round().clamp(0.0, 255.0) as u8;
        image.chunks_exact(CHANNELS).flat_map(|p| [byte(p[0]), byte(p[1]), byte(p[2]), 255]).collect()
    };
    let all: Vec<f32> = values.iter().copied().collect();
    let images = all.chunks_exact(height * width * CHANNELS);
    Ok(images.map(|image| Photograph { width: width as u32, height: height as u32, rgba: rgba(image) }).collect())
}
