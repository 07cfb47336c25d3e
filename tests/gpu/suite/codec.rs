//! The codec of halves, bit for bit, through kernels as they are.
//!
//! Where a channel has one value, its mean is that value, so that `saved` shows what was unpacked; and y is beta, so
//! that y shows what any f32 is packed to.

use half::{bf16, f16};
use wgpu_batchnorm::host::{Gpu, Inputs, Outputs, execute};
use wgpu_batchnorm::plan::Operation;
use wgpu_batchnorm::{Config, DType, Shape};

use super::{Outcome, check, text};

fn unpack(dtype: DType, bits: u16) -> f32 {
    if dtype == DType::F16 { f16::from_bits(bits).to_f32() } else { bf16::from_bits(bits).to_f32() }
}

fn pack(dtype: DType, value: f32) -> u16 {
    if dtype == DType::F16 { f16::from_f32(value).to_bits() } else { bf16::from_f32(value).to_bits() }
}

/// One value per channel.
async fn train(gpu: &Gpu, dtype: DType, x: &[f32], beta: &[f32]) -> Result<Outputs, String> {
    let shape = Shape::nc(1, x.len()).map_err(text)?;
    let config = Config { dtype, gamma: false, epsilon: 1.0, ..Config::keras() };
    let inputs = Inputs { x: Some(x), beta: Some(beta), ..Inputs::default() };
    execute(gpu, Operation::Training, &shape, &config, &inputs).await.map_err(text)
}

/// A device may flush subnormal f32, which some bf16 are, to 0; and keeps neither the sign of 0 in a sum nor the payload
/// of NaN.
fn equal(got: f32, expected: f32) -> bool {
    got.to_bits() == expected.to_bits()
        || (got.is_nan() && expected.is_nan())
        || (got == 0.0 && (expected == 0.0 || expected.is_subnormal()))
}

pub async fn every_half_is_unpacked_bit_for_bit(gpu: &Gpu) -> Outcome {
    for dtype in [DType::F16, DType::Bf16] {
        // In two orders: four to an access, and one word to an access in the other half of the words.
        for skip in [0, 1] {
            let all: Vec<u16> = (0..=u16::MAX).skip(skip).collect();
            let x: Vec<f32> = all.iter().map(|&bits| unpack(dtype, bits)).collect();
            let saved = train(gpu, dtype, &x, &vec![0.0; x.len()]).await?.saved.unwrap_or_default();
            for (i, &bits) in all.iter().enumerate() {
                // The mean of what is not finite is not a number, whichever it was.
                let (expected, got) = (unpack(dtype, bits), saved.anchor[i] + saved.offset[i]);
                let holds = if expected.is_finite() { equal(got, expected) } else { !got.is_finite() };
                check(holds, || format!("{dtype} {bits:#06x} was unpacked to {got:e}; expected {expected:e}"))?;
            }
        }
    }
    Ok(())
}

pub async fn every_midpoint_is_packed_bit_for_bit(gpu: &Gpu) -> Outcome {
    for dtype in [DType::F16, DType::Bf16] {
        let infinity = pack(dtype, f32::INFINITY);
        let mut values: Vec<f32> = Vec::new();
        for bits in 0..infinity {
            let (this, next) = (unpack(dtype, bits), unpack(dtype, bits + 1));
            // Where the next is infinite, so is all from where it would be, were there one more exponent.
            let next = if next.is_finite() {
                f64::from(next)
            } else {
                2.0 * f64::from(this) - f64::from(unpack(dtype, bits - 1))
            };
            let middle = ((f64::from(this) + next) / 2.0) as f32;
            values.extend([this, middle.next_down(), middle, middle.next_up()]);
        }
        values.extend([65520.0, 65536.0, 1e6, f32::MAX, f32::INFINITY, f32::NAN, f32::MIN_POSITIVE]);
        let negative: Vec<f32> = values.iter().map(|v| -v).collect();
        values.extend(negative);
        // A subnormal may be flushed on its way to the codec.
        values.retain(|v| !v.is_subnormal());
        for skip in [0, 1] {
            let values = &values[skip..];
            let y = train(gpu, dtype, &vec![0.0; values.len()], values).await?.y.unwrap_or_default();
            for (&value, &got) in values.iter().zip(&y) {
                let expected = unpack(dtype, pack(dtype, value));
                check(equal(got, expected), || {
                    format!("{value:e} was packed as {dtype} {got:e}; expected {expected:e}")
                })?;
            }
        }
    }
    Ok(())
}
