//! What every device must pass, as a list of `async fn` that a native and a browser runner iterate alike.

mod accuracy;
pub mod cases;
mod codec;
mod layouts;
mod places;
mod steps;
mod sweeps;

use std::pin::Pin;

use wgpu_batchnorm::host::{Gpu, Outputs};
use wgpu_batchnorm::plan::{AdapterKind, DeviceFacts, Tuning};
use wgpu_batchnorm::{Options, Shape};

/// Why a test failed.
pub type Outcome = Result<(), String>;

/// A test under way.
pub type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// A test that a device must pass.
pub struct Test {
    /// Its name, a sentence.
    pub name: String,
    /// Runs it.
    pub run: Box<dyn for<'a> Fn(&'a Gpu) -> Running<'a> + Send + Sync>,
}

/// How much to test.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Random cases of the sweep.
    pub sweep: usize,
    /// Whether to run what needs gigabytes.
    pub slow: bool,
}

/// A browser's software adapter (SwiftShader) takes 0.2 seconds and more to compile a program: for the whole list two
/// browsers take 8 minutes. There, unless `BATCHNORM_FULL` is set while the suite is built, each test keeps to the
/// device's own tuning and pipelines, and only the sweep and [`places`] lay arguments elsewhere: 3 minutes.
const BRIEF: bool = cfg!(target_family = "wasm") && option_env!("BATCHNORM_FULL").is_none();

/// Cases of a sweep that one test runs.
const SWEEP_CHUNK: usize = if BRIEF { 20 } else { 100 };

/// Every test, in order.
pub fn list(scope: &Scope) -> Vec<Test> {
    let mut list = Vec::new();
    macro_rules! tests {
        ($($module:ident::$name:ident),* $(,)?) => {
            $(list.push(Test { name: stringify!($name).to_owned(), run: Box::new(|gpu| Box::pin($module::$name(gpu))) });)*
        };
    }
    tests![cases::every_conformance_case_passes];
    if !BRIEF {
        tests![cases::every_conformance_case_passes_in_one_buffer_and_in_place, accuracy::layouts_reach_every_walk,];
    }
    tests![
        accuracy::variance_is_exact_at_large_means_on_every_walk,
        accuracy::a_constant_channel_has_no_variance_and_becomes_beta,
        accuracy::a_constant_channel_without_epsilon_has_no_gradient,
        accuracy::a_channel_of_more_than_2_to_24_values_has_the_right_mean,
        accuracy::differences_are_kept_as_written,
        accuracy::not_a_number_stays_in_its_channel,
        accuracy::no_gradient_in_means_none_out,
        accuracy::gradients_of_the_input_cancel_in_each_channel,
        accuracy::an_empty_batch_changes_nothing,
        layouts::channels_first_and_last_agree,
        codec::every_half_is_unpacked_bit_for_bit,
        codec::every_midpoint_is_packed_bit_for_bit,
        places::one_buffer_and_in_place_give_the_same_bits,
        places::words_of_any_length_give_the_same_bits,
        places::few_records_give_the_same_bits_wherever_they_are_merged,
        places::a_hundred_repeats_give_the_same_bits,
        places::shapes_beyond_the_grid_pass,
        steps::a_running_update_is_applied_once_a_record,
        steps::a_running_update_is_not_applied_after_an_error,
        steps::gradients_accumulate,
        steps::a_pass_of_the_host_keeps_its_other_work,
    ];
    // A browser gives no device less than WebGPU's default limits, under which these tensors are not cut.
    if cfg!(not(target_family = "wasm")) {
        tests![places::windows_give_the_same_bits];
    } else {
        tests![steps::a_buffer_of_another_device_is_refused];
    }
    if scope.slow {
        tests![places::a_tensor_above_the_default_buffer_limit_passes];
    }
    for first in (0..scope.sweep).step_by(SWEEP_CHUNK) {
        let count = SWEEP_CHUNK.min(scope.sweep - first);
        list.push(Test {
            name: format!("random_cases_{first}_to_{}_pass", first + count - 1),
            run: Box::new(move |gpu| Box::pin(sweeps::random_cases_pass(gpu, first as u64, count))),
        });
    }
    // Other seeds, and few of them: another tuning is another set of programs.
    let others = scope.sweep / if BRIEF { 10 } else { 5 };
    if others > 0 && !BRIEF {
        list.push(Test {
            name: "random_cases_pass_with_other_tunings".to_owned(),
            run: Box::new(move |gpu| Box::pin(sweeps::random_cases_pass_with_other_tunings(gpu, others))),
        });
    }
    let tunings = scope.sweep * 2 / 5;
    if tunings > 0 && !BRIEF {
        list.push(Test {
            name: "random_cases_pass_and_repeat_under_random_tunings".to_owned(),
            run: Box::new(move |gpu| Box::pin(sweeps::random_cases_pass_and_repeat_under_random_tunings(gpu, tunings))),
        });
    }
    if others > 0 {
        list.push(Test {
            name: "random_cases_pass_with_guarded_differences".to_owned(),
            run: Box::new(move |gpu| Box::pin(sweeps::random_cases_pass_with_guarded_differences(gpu, others))),
        });
    }
    list
}

/// An error as a failure.
fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The same device under another tuning.
fn with_tuning(gpu: &Gpu, tuning: Tuning) -> Result<Gpu, String> {
    with_options(gpu, Options { tuning: Some(tuning), ..Options::default() })
}

fn with_options(gpu: &Gpu, options: Options) -> Result<Gpu, String> {
    Gpu::from_device_with(gpu.device(), gpu.queue(), options).map_err(text)
}

/// The built-in tuning for a kind of adapter, on this device.
fn tuning_of(gpu: &Gpu, kind: AdapterKind) -> Tuning {
    Tuning::for_device(&DeviceFacts { kind, ..gpu.norms().facts().clone() })
}

/// The same device under the tunings of a processor and of a graphics processor, where nothing stays resident, and where
/// what fits does: all walks between them.
fn tunings(gpu: &Gpu) -> Result<Vec<Gpu>, String> {
    if BRIEF {
        return Ok(vec![gpu.clone()]);
    }
    let table = |kind| tuning_of(gpu, kind);
    let streaming = |kind| Tuning { resident_blocks: 0, resident_element_blocks: 0, ..table(kind) };
    let all = [streaming(AdapterKind::Cpu), streaming(AdapterKind::Gpu), table(AdapterKind::Gpu)];
    all.into_iter().map(|tuning| with_tuning(gpu, tuning)).collect()
}

/// Another device on the same adapter, with other limits and the same tuning.
async fn sibling(gpu: &Gpu, limits: wgpu::Limits) -> Result<Gpu, String> {
    let own = gpu.device().adapter_info();
    let adapters = Gpu::adapters().await;
    let found = adapters.iter().find(|a| a.info.name == own.name && a.info.backend == own.backend);
    let index = found.map(|a| a.index.to_string()).ok_or("the adapter is gone")?;
    let options = Options { tuning: Some(gpu.norms().tuning().clone()), ..Options::default() };
    Gpu::select_with(Some(&index), limits, options).await.map_err(text)
}

/// Shapes that between them reach every walk under [`tunings`].
const LAYOUTS: [(&[usize], isize); 10] = [
    // Planes of every length and alignment: along them, across them, and as columns.
    (&[3, 2, 60, 61], 1),
    (&[2, 2, 16_400], 1),
    (&[130, 6, 7, 7], 1),
    (&[64, 4, 8, 8], 1),
    (&[300, 5, 3], 1),
    // Four and two planes that end together where a quad ends, in several parts and in one.
    (&[40, 8, 13, 13], 1),
    (&[9, 12, 9, 6], 1),
    // Channels last: few, many, and an odd number.
    (&[700, 6], 1),
    (&[20, 25, 132], -1),
    (&[9, 31, 35], -1),
];

fn layouts() -> Result<Vec<Shape>, String> {
    LAYOUTS.iter().map(|&(dimensions, axis)| Shape::new(dimensions, axis).map_err(text)).collect()
}

/// Deterministic noise of mean 0 and variance 1, uniform (SplitMix64).
fn noise(index: usize) -> f64 {
    let mut z = (index as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let uniform = ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
    (2.0 * uniform - 1.0) * 3f64.sqrt()
}

/// The channel of an element.
fn channel_of(shape: &Shape, element: usize) -> usize {
    element / shape.inner() as usize % shape.channels() as usize
}

/// Holds two runs' outputs together, bit for bit.
fn same_bits(what: &str, a: &Outputs, b: &Outputs) -> Outcome {
    same_bits_where(what, a, b, |_, _| true)
}

/// [`same_bits`] for the elements that are asked for, by the name of the output and the element's index.
fn same_bits_where(what: &str, a: &Outputs, b: &Outputs, asked: impl Fn(&str, usize) -> bool) -> Outcome {
    let (a_saved, b_saved) = (a.saved.clone().unwrap_or_default(), b.saved.clone().unwrap_or_default());
    let none = Vec::new();
    let of = |v: &Option<Vec<f32>>| v.clone().unwrap_or_default();
    for (name, a, b) in [
        ("y", of(&a.y), of(&b.y)),
        ("anchor", a_saved.anchor, b_saved.anchor),
        ("offset", a_saved.offset, b_saved.offset),
        ("inverse_std", a_saved.inverse_std, b_saved.inverse_std),
        ("variance", a_saved.variance, b_saved.variance),
        ("running_mean", of(&a.running_mean), of(&b.running_mean)),
        ("running_variance", of(&a.running_variance), of(&b.running_variance)),
        ("batches", a.batches.map_or(none.clone(), |n| vec![n as f32]), b.batches.map_or(none, |n| vec![n as f32])),
        ("dx", of(&a.dx), of(&b.dx)),
        ("dgamma", of(&a.dgamma), of(&b.dgamma)),
        ("dbeta", of(&a.dbeta), of(&b.dbeta)),
        ("dresidual", of(&a.dresidual), of(&b.dresidual)),
    ] {
        if a.len() != b.len() {
            return Err(format!("{what}: {name} has {} and {} elements", a.len(), b.len()));
        }
        let differs = (0..a.len()).find(|&i| a[i].to_bits() != b[i].to_bits() && asked(name, i));
        if let Some(i) = differs {
            return Err(format!("{what}: {name}[{i}] is {:e} and {:e}", a[i], b[i]));
        }
    }
    Ok(())
}

fn check(holds: bool, message: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(message()) }
}
