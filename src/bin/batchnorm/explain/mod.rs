//! `batchnorm explain`: the formula and the plan of a shape.

mod formula;

use std::path::PathBuf;

use serde::Serialize;
use wgpu_batchnorm::host::Gpu;
use wgpu_batchnorm::plan::{Access, AdapterKind, DeviceFacts, Dispatch, Operation, Plan, Tuning};
use wgpu_batchnorm::{Config, Error, Gradients, Options, Shape, wgpu};

pub use formula::digits;

use crate::adapters::bytes;
use crate::failure::{Failure, too_few_values};
use crate::run::settings;
use crate::{json, output, shapes};

/// Tell what batch normalisation does to a shape: the formula with its numbers, and the plan
///
/// Which axes are averaged over, how many values each mean has, how many parameters there are; then for training,
/// inference and backward what is dispatched, how and why, what it moves and what scratch it needs. Needs no adapter:
/// without one it plans for the least that WebGPU grants.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  batchnorm explain --shape 32,100,200,30 --axis 3    images (N, H, W, C), channels last
  batchnorm explain --shape 256,50                    a dense layer (N, D)
  batchnorm explain --shape 64,64,112,112             above the binding limit: cut into windows
  batchnorm explain --shape 32,64,56,56 --dtype f16 --convention keras")]
pub struct Arguments {
    /// Dimensions with commas between them
    #[arg(long, value_name = "N,C,...")]
    shape: String,
    /// The channel axis; negative ones count from the end
    #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
    axis: isize,
    #[command(flatten)]
    settings: settings::Arguments,
    /// Adapter by index, part of its name, or backend; the best one by default, and none is needed
    #[arg(long, value_name = "WORD")]
    adapter: Option<String>,
    /// Write the plan as JSON; - for stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print nothing but errors
    #[arg(long)]
    quiet: bool,
}

/// What is told, as a file has it.
#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    version: &'static str,
    device: String,
    tuning: &'a str,
    shape: &'a [usize],
    axis: usize,
    outer: u32,
    channels: u32,
    inner: u32,
    values_per_channel: u32,
    parameters: u64,
    trained_parameters: u64,
    operations: Vec<Planned>,
    refused: Vec<Refused>,
}

/// An operation that cannot be, and why.
#[derive(Serialize)]
struct Refused {
    operation: &'static str,
    reason: String,
}

/// An operation's plan.
#[derive(Serialize)]
struct Planned {
    operation: &'static str,
    strategy: &'static str,
    /// Of the words that quads are accessed in.
    word_bits: u32,
    reason: &'static str,
    scratch_bytes: u64,
    bytes_moved: u64,
    dispatches: Vec<Row>,
}

/// A dispatch.
#[derive(Serialize)]
struct Row {
    kernel: &'static str,
    walk: Option<&'static str>,
    workgroups: [u32; 3],
    workgroup_size: u32,
    bindings: Vec<&'static str>,
    window_first_element: Option<u64>,
    window_elements: Option<u64>,
}

impl From<&Dispatch> for Row {
    fn from(dispatch: &Dispatch) -> Self {
        let program = &dispatch.program;
        Self {
            kernel: program.kernel.name(),
            walk: program.walk.map(|walk| walk.name()),
            workgroups: dispatch.workgroups,
            workgroup_size: program.workgroup_size,
            bindings: program.arguments().iter().map(|(argument, _)| argument.name()).collect(),
            window_first_element: dispatch.window.map(|window| window.first_element),
            window_elements: dispatch.window.map(|window| window.elements),
        }
    }
}

/// What a plan is made for.
struct Target {
    title: String,
    facts: DeviceFacts,
    tuning: Tuning,
    /// Where the tuning comes from.
    tuning_of: String,
}

const BUILT_IN: &str = "the built-in table";

impl Target {
    /// The adapter that is meant, or the best one, or the least that any device grants.
    async fn choose(adapter: Option<&str>, tensor_bytes: u64) -> Result<Self, Failure> {
        let default = wgpu::Limits::default();
        let limits = wgpu::Limits { max_buffer_size: default.max_buffer_size.max(tensor_bytes), ..default };
        match Gpu::select_with(adapter, limits, Options::default()).await {
            Ok(gpu) => {
                let (facts, tuning) = (gpu.norms().facts().clone(), gpu.norms().tuning().clone());
                let tuning_of =
                    gpu.tuning_file().map_or(BUILT_IN.to_owned(), |file| format!("measured, from {}", file.display()));
                Ok(Self { title: gpu.title(), facts, tuning, tuning_of })
            }
            Err(Error::NoAdapter(_)) if adapter.is_none() => {
                let floor = DeviceFacts::FLOOR;
                let facts = DeviceFacts { buffer_bytes: floor.buffer_bytes.max(tensor_bytes), ..floor };
                let tuning = Tuning::for_device(&facts);
                Ok(Self {
                    title: "no adapter here; WebGPU's default limits on a graphics processor".to_owned(),
                    facts,
                    tuning,
                    tuning_of: BUILT_IN.to_owned(),
                })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Explains.
pub async fn explain(arguments: &Arguments) -> Result<(), Failure> {
    json::check_place_of(&arguments.json)?;
    let dimensions = shapes::dimensions(&arguments.shape)?;
    let shape = Shape::new(&dimensions, arguments.axis).map_err(|error| match error {
        Error::AxisOutOfRange { axis, rank: rank @ 1.. } => Failure::Usage(format!(
            "there is no axis {axis} in {rank} dimension{}; --axis takes {} to {}",
            if rank == 1 { "" } else { "s" },
            -(rank as isize),
            rank - 1
        )),
        other => Failure::Usage(other.to_string()),
    })?;
    let config = Config { gamma: true, beta: true, running_update: true, ..arguments.settings.config()? };
    let tensor_bytes = config.dtype.tensor_bytes(shape.elements().into());
    let target = Target::choose(arguments.adapter.as_deref(), tensor_bytes).await?;
    let operations = [Operation::Training, Operation::Inference, Operation::Backward(Gradients::ALL)];
    let plans: Vec<Result<Plan, Error>> = operations
        .into_iter()
        .map(|operation| Plan::new(operation, &shape, &config, &target.facts, &target.tuning))
        .collect();

    if let Some(path) = &arguments.json {
        let channels = u64::from(shape.channels());
        json::write(
            path,
            &Report {
                schema: 1,
                version: env!("CARGO_PKG_VERSION"),
                device: target.title.clone(),
                tuning: &target.tuning_of,
                shape: shape.dimensions(),
                axis: shape.axis(),
                outer: shape.outer(),
                channels: shape.channels(),
                inner: shape.inner(),
                values_per_channel: shape.values_per_channel(),
                parameters: 4 * channels,
                trained_parameters: 2 * channels,
                operations: plans.iter().flatten().map(planned).collect(),
                refused: operations.iter().zip(&plans).filter_map(refused).collect(),
            },
        )?;
    }
    if arguments.quiet {
        return Ok(());
    }
    for line in formula::formula(&shape, &config) {
        output::line(line)?;
    }
    output::line("")?;
    output::line(format_args!("Plan for {}", target.title))?;
    output::line(format_args!("  {}", limits(&target.facts)))?;
    output::line(format_args!("  tuning: {}", target.tuning_of))?;
    let held = config.dtype.name();
    output::line(format_args!("  x is {} of {held}", bytes(tensor_bytes)))?;
    if tensor_bytes > DeviceFacts::FLOOR.buffer_bytes {
        let default = bytes(DeviceFacts::FLOOR.buffer_bytes);
        let advice = if plans.iter().all(Result::is_ok) { ": make the device with more" } else { "" };
        output::line(format_args!("  above WebGPU's default max_buffer_size of {default}{advice}"))?;
    }
    for (operation, plan) in operations.iter().zip(&plans) {
        output::line("")?;
        match plan {
            Ok(plan) => print(plan, &config, tensor_bytes)?,
            Err(error) => output::line(format_args!("{}: refused: {}", operation.name(), in_words(error)))?,
        }
    }
    Ok(())
}

fn refused((operation, plan): (&Operation, &Result<Plan, Error>)) -> Option<Refused> {
    let reason = in_words(plan.as_ref().err()?);
    Some(Refused { operation: operation.name(), reason })
}

/// A refusal in the words of the command line.
fn in_words(error: &Error) -> String {
    match *error {
        Error::TooFewValues { .. } => too_few_values(),
        Error::DeviceLimit { what, needed, limit, name } if name.ends_with("_size") => {
            let (needed, limit) = (bytes(needed), bytes(limit));
            // What has an entry for each channel is as large in every part of a batch.
            let grows = what.ends_with("the tensor") || ["mask", "scratch"].contains(&what);
            let advice = if grows { ": split the batch" } else { "" };
            format!("{what} needs {needed} and this device allows {limit} ({name}){advice}")
        }
        ref other => other.to_string(),
    }
}

fn is_wide(plan: &Plan) -> bool {
    plan.dispatches.iter().any(|dispatch| dispatch.program.access == Access::Wide)
}

fn planned(plan: &Plan) -> Planned {
    Planned {
        operation: plan.operation.name(),
        strategy: plan.strategy(),
        word_bits: if is_wide(plan) { 64 } else { 32 },
        reason: plan.reason,
        scratch_bytes: plan.scratch_bytes,
        bytes_moved: plan.bytes_moved,
        dispatches: plan.dispatches.iter().map(Row::from).collect(),
    }
}

fn limits(facts: &DeviceFacts) -> String {
    let kind = match facts.kind {
        AdapterKind::Cpu => "a software adapter",
        AdapterKind::Gpu => "a graphics processor",
    };
    let lanes = match facts.subgroup_size {
        0 => String::new(),
        size => format!(", {size} lanes in lockstep"),
    };
    format!(
        "{kind}{lanes}: {} a binding, {} storage buffers, {} invocations and {} a workgroup",
        bytes(facts.binding_bytes),
        facts.storage_buffers,
        facts.workgroup_size,
        bytes(facts.workgroup_memory.into())
    )
}

/// One operation: what it costs, why it goes as it goes, and its dispatches.
fn print(plan: &Plan, config: &Config, tensor_bytes: u64) -> Result<(), Failure> {
    let times = match tensor_bytes {
        0 => String::new(),
        size => format!(" = {:.2} × x", plan.bytes_moved as f64 / size as f64),
    };
    let count = plan.dispatches.len();
    let plural = if count == 1 { "" } else { "es" };
    let share = match (plan.scratch_bytes, tensor_bytes) {
        // Below 1 MiB a record per part is no longer small against x.
        (0, _) | (_, 0..1_048_576) => String::new(),
        (scratch, size) => format!(" ({:.2} % of x)", 100.0 * scratch as f64 / size as f64),
    };
    output::line(format_args!(
        "{}: {count} dispatch{plural}, {} moved{times}, {} of scratch{share}; no copy of x",
        plan.operation.name(),
        bytes(plan.bytes_moved),
        bytes(plan.scratch_bytes)
    ))?;
    let words = if is_wide(plan) { ", in words of 64 bits" } else { "" };
    output::line(format_args!("  {}{words}: {}", plan.strategy(), plan.reason))?;
    let mut table = output::table(&["kernel", "walk", "workgroups", "of", "elements of x", "binds"], 2);
    if let Some(binds) = table.column_mut(5) {
        binds.set_cell_alignment(comfy_table::CellAlignment::Left);
    }
    let shown = 12;
    let windows = |row: &Row| match (row.window_first_element, row.window_elements) {
        (Some(first), Some(count)) => format!("{first} to {}", (first + count).saturating_sub(1)),
        _ => String::new(),
    };
    for dispatch in plan.dispatches.iter().take(shown) {
        let row = Row::from(dispatch);
        let [x, y, _] = row.workgroups;
        table.add_row([
            row.kernel.to_owned(),
            row.walk.unwrap_or_default().to_owned(),
            if y == 1 { x.to_string() } else { format!("{x} × {y}") },
            row.workgroup_size.to_string(),
            windows(&row),
            row.bindings.join(" "),
        ]);
    }
    output::fit(&mut table, &[5, 1]);
    for line in table.lines() {
        output::line(format_args!(" {line}"))?;
    }
    if plan.dispatches.len() > shown {
        output::line(format_args!("  and {} more, which go on in the same way", plan.dispatches.len() - shown))?;
    }
    let whole = plan.dispatches.iter().filter_map(|d| d.window.map(|w| w.elements)).max().unwrap_or(0);
    let windows = plan.dispatches.iter().filter(|d| d.window.is_some_and(|w| w.first_element > 0)).count();
    if windows > 0 {
        let largest = bytes(config.dtype.tensor_bytes(whole));
        output::line(format_args!(
            "  x is bound in windows of at most {largest}, cut where parts end: the result is the same"
        ))?;
    }
    Ok(())
}
