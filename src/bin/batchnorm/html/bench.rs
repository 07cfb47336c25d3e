//! What `bench` measured, as a page.

use maud::{Markup, html};
use wgpu_batchnorm::host::timing::Spread;

use super::crossover::{Crossover, crossover};
use super::matrix::{self, matrix};
use super::plot::{Bar, Colour, Line, Lines, Shares, Stroke, key};
use super::{machine, page, table};
use crate::adapters::bytes;
use crate::bench::report::{Figures, Report};
use crate::failure::Failure;
use crate::output::figure;

const OPERATIONS: [&str; 3] = ["inference", "training", "backward"];

/// The page; `figures` is the report as JSON.
pub fn page_of(report: &Report, figures: &str) -> Result<String, Failure> {
    let sections = [
        ("correctness", "Correctness", correctness(report)),
        ("throughput", "Throughput by size", throughput(report)?),
        ("crossover", "When the GPU overtakes the CPU", overtaking(report)?),
        ("time", "Where the time goes", time(report)?),
        ("shapes", "Shape by shape", shapes(report)),
        ("plans", "Plans, and why", plans(report)),
    ];
    let title = format!("Batch normalisation on {}", report.device.name);
    let body = html! {
        h1 { (title) }
        p.soft { "wgpu-batchnorm " (report.version) ", measured by " code { "batchnorm bench" } }
        (facts(report))
        nav aria-label="Sections" { ul {
            @for (id, heading, _) in &sections { li { a href={ "#" (id) } { (heading) } } }
            li { a href="#raw" { "The figures" } }
        } }
        @for (id, heading, content) in &sections { section { h2 id=(id) { (heading) } (content) } }
    };
    Ok(page(&title, &body, figures, "bench.json"))
}

fn facts(report: &Report) -> Markup {
    let device = &report.device;
    let clock = match &*report.timing {
        "timestamps" => "the device's timestamps around the kernels",
        _ => "the host's clock over repeated dispatches",
    };
    html! {
        dl.facts {
            dt { "Adapter" } dd { (device.name) " (" (device.backend) ", " (device.r#type) ")" }
            @if !device.driver.is_empty() { dt { "Driver" } dd { (device.driver) } }
            @if device.measured_tuning { dt { "Tuning" } dd { "measured on this adapter" } }
            @if let Some(here) = &report.machine { (machine(here)) }
            dt { "CPU side" } dd { (report.threads) " threads" }
            dt { "Clock" } dd { (clock) }
        }
        @if device.r#type == "software" {
            p { strong { "This adapter is software." } " It computes on the processor's own cores, so that nothing here tells how fast a \
                graphics processor is; what carries over is the ratio to a plain copy of the same bytes." }
        }
    }
}

fn correctness(report: &Report) -> Markup {
    html! {
        @match &report.correctness_of {
            None => p { "No random cases were run: there is no adapter here." },
            Some(of) => {
                @let (cases, wrong) = report.correctness.iter().fold((0, 0), |(c, w), cell| (c + cell.cases, w + cell.wrong));
                p {
                    strong { (cases - wrong) " of " (cases) " random cases are right" } " (" (of) "). Every element of every output is \
                    held against a reference in f64, under a bound of its own that is derived from the arithmetic. "
                    (matrix::LEGEND)
                }
                (matrix(&format!("Worst errors on {}", report.device.name), &report.correctness))
            }
        }
    }
}

// ---- Sizes.

/// Bytes of x.
fn size(figures: &Figures) -> f64 {
    let bytes = if figures.dtype == "f32" { 4.0 } else { 2.0 };
    figures.shape.iter().product::<usize>() as f64 * bytes
}

fn is_last(figures: &Figures) -> bool {
    figures.axis + 1 == figures.shape.len()
}

/// The series of an operation, type and layout, sizes going up.
fn series<'a>(report: &'a Report, operation: &str, dtype: &str, last: bool) -> Vec<&'a Figures> {
    let is_it = |f: &&Figures| f.operation == operation && f.dtype == dtype && is_last(f) == last;
    report.by_size.iter().filter(is_it).collect()
}

/// GB of x in a second.
fn rate(figures: &Figures, ms: f64) -> (f64, f64) {
    (size(figures), size(figures) / ms / 1e6)
}

fn throughput(report: &Report) -> Result<Markup, Failure> {
    let mut plots = Vec::new();
    for dtype in ["f32", "f16"] {
        for operation in OPERATIONS {
            let [first, last] = [false, true].map(|last| series(report, operation, dtype, last));
            let rates = |of: &[&Figures], ms: fn(&Figures) -> Option<f64>| -> Vec<(f64, f64)> {
                of.iter().filter_map(|f| Some(rate(f, ms(f)?))).collect()
            };
            let kernels = |f: &Figures| f.gpu_ms.map(|ms| ms.median);
            let copy = |f: &Figures| f.copy_ms.map(|ms| ms.median);
            let wide = |f: &Figures| Some(f.details.as_ref()?.wide_copy?.ms.median);
            let limit = |f: &Figures| Some(f.copy_ms?.median * f.details.as_ref()?.ratio_limit);
            let cpu = |f: &Figures| f.cpu_ms.map(|ms| ms.median);
            let line = |name, colour, stroke, points| Line { name, colour, stroke, points };
            let lines = [
                line("plain copy of x", Colour::Grey, Stroke::Plain, rates(&first, copy)),
                line("copy, 64 bits", Colour::Grey, Stroke::Dashes, rates(&first, wide)),
                line("limit by traffic", Colour::Pink, Stroke::Dashes, rates(&first, limit)),
                line("channels first", Colour::Blue, Stroke::Points, rates(&first, kernels)),
                line("channels last", Colour::Orange, Stroke::Points, rates(&last, kernels)),
                line("CPU, channels first", Colour::Green, Stroke::Dashes, rates(&first, cpu)),
            ];
            let lines: Vec<Line> = lines.into_iter().filter(|line| !line.points.is_empty()).collect();
            if !lines.is_empty() {
                plots.push(Lines {
                    id: format!("throughput-{operation}-{dtype}"),
                    title: format!("{operation}, {dtype}"),
                    unit: "GB of x in a second",
                    lines,
                });
            }
        }
    }
    if plots.is_empty() {
        return Ok(html! { p { "No series of sizes was measured." } });
    }
    let legend = key(plots.iter().flat_map(|plot| &plot.lines));
    let drawn = plots.iter().map(Lines::figure).collect::<Result<Vec<_>, _>>()?;
    Ok(html! {
        p {
            "Kernels alone, on buffers that no cache holds. The copy is the best plain kernel that copies x in its own type, on the \
             same device in the same minute; where tensors go in words of 64 bits, as on software adapters that have them, a kernel \
             may come above it and its limit, and the best copy in such words is drawn, too. The limit is what the copy would \
             leave possible if nothing counted but the bytes that must move: as fast as the copy for inference, 1.5 times its time \
             for training, 2.5 times for backward. The tensors have 16 channels of 16 × 16 places, and as many samples as the size \
             asks for."
        }
        (legend)
        div.plots { @for plot in &drawn { (plot) } }
    })
}

fn overtaking(report: &Report) -> Result<Markup, Failure> {
    let mut plots = Vec::new();
    let mut rows = Vec::new();
    for operation in OPERATIONS {
        let of = series(report, operation, "f32", false);
        let submitted = |f: &Figures| f.details.as_ref().map(|details| details.submission.ms.median);
        let transferred = |f: &Figures| f.end_to_end_ms.map(|ms| ms.median);
        let cpu = |f: &Figures| f.cpu_ms.map(|ms| ms.median);
        let against = |gpu: &dyn Fn(&Figures) -> Option<f64>| -> Vec<(f64, f64, f64)> {
            of.iter().filter_map(|f| Some((size(f), gpu(f)?, cpu(f)?))).collect()
        };
        let (without, with) = (against(&submitted), against(&transferred));
        if without.is_empty() {
            continue;
        }
        rows.push((operation, told(&without), told(&with)));
        let line = |name, colour, stroke, points| Line { name, colour, stroke, points };
        let times = |of: &[(f64, f64, f64)]| of.iter().map(|t| (t.0, t.1)).collect::<Vec<_>>();
        let cpu_times = without.iter().map(|t| (t.0, t.2)).collect();
        let lines = vec![
            line("GPU, data already there", Colour::Blue, Stroke::Points, times(&without)),
            line("GPU, with transfers", Colour::Orange, Stroke::Points, times(&with)),
            line("CPU", Colour::Green, Stroke::Dashes, cpu_times),
        ];
        plots.push(Lines {
            id: format!("crossover-{operation}"),
            title: format!("{operation}, f32, channels first"),
            unit: "ms",
            lines,
        });
    }
    if rows.is_empty() {
        return Ok(html! { p { "Not measured: that takes an adapter, the CPU and the series of sizes." } });
    }
    let legend = key(plots.iter().flat_map(|plot| &plot.lines));
    let drawn = plots.iter().map(Lines::figure).collect::<Result<Vec<_>, _>>()?;
    Ok(html! {
        p {
            "The size of x from which on this GPU takes less time than this CPU, by the host's clock: with the data already on the \
             device, submission and waiting included; and from arrays to array, upload and download included."
        }
        (table("The GPU takes less time than the CPU", &html! {
            thead { tr { th.text scope="col" { "operation" } th.text scope="col" { "data already there" } th.text scope="col" { "with transfers" } } }
            tbody { @for (operation, without, with) in &rows { tr {
                th scope="row" { (operation) } td.text { (without) } td.text { (with) }
            } } }
        }))
        (legend)
        div.plots { @for plot in &drawn { (plot) } }
    })
}

fn told(times: &[(f64, f64, f64)]) -> String {
    let range = times.first().zip(times.last());
    let at = |size: f64| bytes(size as u64);
    match (crossover(times), range) {
        (Some(Crossover::Always), Some((first, _))) => format!("at every size, from {} on", at(first.0)),
        (Some(Crossover::From(size)), _) => format!("from about {} on", at(size)),
        (Some(Crossover::Never), Some((_, last))) => format!("not up to {}", at(last.0)),
        _ => "not measured".to_owned(),
    }
}

// ---- Shapes.

fn name(figures: &Figures) -> String {
    let numbers: Vec<String> = figures.shape.iter().map(usize::to_string).collect();
    let axis = if figures.axis == 1 { String::new() } else { format!(" @{}", figures.axis) };
    format!("{}{axis}", numbers.join("×"))
}

fn time(report: &Report) -> Result<Markup, Failure> {
    let parts = [("upload", Colour::Blue), ("kernels", Colour::Orange), ("download", Colour::Green)];
    let of = |f: &Figures| {
        let details = f.details.as_ref()?;
        Some([details.upload_ms?.median, f.gpu_ms?.median, details.download_ms?.median])
    };
    let mut plots = Vec::new();
    for operation in OPERATIONS {
        let bar = |f: &Figures| Some(Bar { name: name(f), parts: of(f)?.to_vec() });
        let bars: Vec<Bar> = report.results.iter().filter(|f| f.operation == operation).filter_map(bar).collect();
        if !bars.is_empty() {
            plots.push(Shares { id: format!("time-{operation}"), title: operation.to_owned(), parts: &parts, bars });
        }
    }
    if plots.is_empty() {
        return Ok(html! { p { "Not measured: there is no adapter here." } });
    }
    let legend = plots.first().map(Shares::key);
    let drawn = plots.iter().map(Shares::figure).collect::<Result<Vec<_>, _>>()?;
    let rows = report.results.iter().filter_map(|f| Some((f, of(f)?, f.end_to_end_ms?)));
    Ok(html! {
        p {
            "Each part measured alone, to its end. What goes on in one submission overlaps, so that the whole can take less than \
             the sum. Backward uploads the gradient of the output too. A shape ends with its channel axis where that is not 1."
        }
        @if let Some(legend) = legend { (legend) }
        div.plots { @for plot in &drawn { (plot) } }
        details { summary { "Their figures" } (table("Where the time goes, in ms", &html! {
            thead { tr {
                th.text scope="col" { "shape" } th.text scope="col" { "operation" }
                th scope="col" { "upload" } th scope="col" { "kernels" } th scope="col" { "download" } th scope="col" { "in one go" }
            } }
            tbody { @for (figures, parts, whole) in rows { tr {
                th scope="row" { (name(figures)) } td.text { (figures.operation) }
                @for part in parts { td { (figure(part)) } }
                td { (figure(whole.median)) }
            } } }
        })) }
    })
}

fn spread(spread: Option<Spread>) -> Markup {
    match spread {
        Some(Spread { median, low, high }) => {
            html! { td { (figure(median)) small { (figure(low)) "–" (figure(high)) } } }
        }
        None => html! { td { "–" } },
    }
}

fn shapes(report: &Report) -> Markup {
    let share = |f: &Figures| if f.bound > 0.0 { format!("{:.2}", f.worst_error / f.bound) } else { "0".to_owned() };
    html! {
        p {
            "Times are medians in ms with their quartiles. " strong { "× copy" } " is the time in units of the best plain copy of x beside \
             it, and below it the limit that the bytes alone set; a question mark stands where rounds disagree by more than a quarter. "
            strong { "Error" } " is the worst element's, and below it its share of what is allowed."
        }
        (table("Shape by shape", &html! {
            thead { tr {
                th.text scope="col" { "shape" small { "@ channel axis" } } th.text scope="col" { "operation" } th.text scope="col" { "type" }
                th scope="col" { "kernels" } th scope="col" { "copy" } th scope="col" { "× copy" small { "limit" } } th scope="col" { "GB/s moved" }
                th scope="col" { "with transfers" } th scope="col" { "CPU" } th scope="col" { "error" small { "of its bound" } }
            } }
            tbody { @for f in &report.results { tr {
                th scope="row" { (name(f)) }
                td.text { (f.operation) } td.text { (f.dtype) }
                (spread(f.gpu_ms)) (spread(f.copy_ms))
                @match (f.ratio_to_copy, &f.details) {
                    (Some(ratio), Some(details)) => {
                        td { (format!("{ratio:.2}")) @if !details.conclusive { " ?" } small { (format!("{:.2}", details.ratio_limit)) } }
                        td { (format!("{:.1}", details.bytes_per_second / 1e9)) }
                    },
                    _ => { td { "–" } td { "–" } }
                }
                (spread(f.end_to_end_ms)) (spread(f.cpu_ms))
                td { (format!("{:.1e}", f.worst_error)) small { (share(f)) } }
            } } }
        }))
    }
}

/// Several dispatches of one kernel are told once.
fn dispatches(list: &[String]) -> Vec<String> {
    let mut told: Vec<(String, usize)> = Vec::new();
    for one in list {
        match told.last_mut() {
            Some((last, count)) if last == one => *count += 1,
            _ => told.push((one.clone(), 1)),
        }
    }
    told.into_iter().map(|(one, count)| if count == 1 { one } else { format!("{count} times {one}") }).collect()
}

fn plans(report: &Report) -> Markup {
    let planned: Vec<_> =
        report.results.iter().filter_map(|f| Some((f, f.strategy.as_ref()?, f.details.as_ref()?))).collect();
    if planned.is_empty() {
        return html! { p { "Nothing was planned: there is no adapter here." } };
    }
    html! {
        p { "What is dispatched for each shape, and why the tensor is walked that way. " code { "batchnorm explain" } " tells it for any shape." }
        (table("Plans", &html! {
            thead { tr {
                th.text scope="col" { "shape" } th.text scope="col" { "operation" } th.text scope="col" { "strategy, and why" }
                th.text scope="col" { "dispatches" } th scope="col" { "moved" }
            } }
            tbody { @for (f, strategy, details) in &planned { tr {
                th scope="row" { (name(f)) }
                td.text { (f.operation) }
                td.text { (strategy) small { (details.reason) } }
                td.text { @for one in dispatches(&details.dispatches) { small { (one) } } }
                td { (bytes(f.bytes_moved.unwrap_or_default())) }
            } } }
        }))
    }
}
