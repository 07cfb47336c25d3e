//! The figures as a person reads them.

use comfy_table::Table;
use wgpu_batchnorm::Shape;
use wgpu_batchnorm::host::timing::Spread;

use super::report::Figures;
use crate::output;

/// An empty table.
pub fn new() -> Table {
    output::table(
        &["shape", "", "strategy", "ms", "× copy", "limit", "GB/s", "hot ×", "+ submit ×", "transfers", "CPU", "error"],
        3,
    )
}

/// Three significant digits.
fn short(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

fn spread(spread: &Spread) -> String {
    format!("{} ({}–{})", short(spread.median), short(spread.low), short(spread.high))
}

/// Adds the rows of one shape: the copies, then each operation.
pub fn add(table: &mut Table, shape: &Shape, figures: &[Figures]) {
    let empty = String::new;
    let mut title = shape.to_string();
    if let Some(gpu) = figures.iter().find_map(|f| f.gpu.as_ref()) {
        let copied = 2.0 * gpu.bytes_moved as f64 / gpu.ratio_limit / 2.0;
        let rate = |ms: f64| format!("{:.1}", copied / ms / 1e6);
        let cpu_copy = figures[0].cpu_copy_ms.map_or_else(empty, |ms| short(ms.median));
        table.add_row([
            std::mem::take(&mut title),
            "copy".to_owned(),
            gpu.copy_form.clone(),
            spread(&gpu.copy_ms),
            "1".to_owned(),
            "1".to_owned(),
            rate(gpu.copy_ms.median),
            format!("{:.2}", gpu.hot.copy_ms.median / gpu.copy_ms.median),
            "1".to_owned(),
            empty(),
            cpu_copy,
            empty(),
        ]);
        table.add_row([
            empty(),
            "driver's copy".to_owned(),
            empty(),
            spread(&gpu.driver_copy_ms),
            format!("{:.2}", gpu.driver_copy_ms.median / gpu.copy_ms.median),
            empty(),
            rate(gpu.driver_copy_ms.median),
        ]);
    }
    for figures in figures {
        let cpu = match (&figures.cpu_ms, &figures.cpu_copy_ms) {
            (Some(ms), Some(copy)) => format!("{} ({:.1} ×)", short(ms.median), ms.median / copy.median),
            _ => empty(),
        };
        let mut row = vec![std::mem::take(&mut title), figures.operation.to_owned()];
        match &figures.gpu {
            Some(gpu) => row.extend([
                gpu.strategy.to_owned(),
                spread(&gpu.gpu_ms),
                format!("{:.2}{}", gpu.ratio_to_copy, if gpu.conclusive { "" } else { " ?" }),
                format!("{:.2}", gpu.ratio_limit),
                format!("{:.1}", gpu.bytes_per_second / 1e9),
                format!("{:.2}", gpu.hot.ratio_to_copy),
                format!("{:.2}", gpu.submission.ratio_to_copy),
                format!("{} ({:.1} ×)", short(gpu.end_to_end_ms.median), gpu.end_to_end_ms.median / gpu.copy_ms.median),
                cpu,
                format!("{:.1e} / {:.1e}", gpu.worst_error, gpu.bound),
            ]),
            None => row.extend((0..8).map(|_| empty()).chain([cpu])),
        }
        table.add_row(row);
    }
}

/// What the ratios say together, one sentence for each operation.
pub fn summary(results: &[Figures]) -> Vec<String> {
    let mut sentences = Vec::new();
    for operation in ["inference", "training", "backward"] {
        for (layout, last) in [("channels first", false), ("channels last", true)] {
            let of = |f: &&Figures| f.operation == operation && (f.axis + 1 == f.shape.len()) == last;
            let gpu: Vec<_> = results.iter().filter(of).filter_map(|f| f.gpu.as_ref()).collect();
            // A tensor below 1 MiB measures the dispatches.
            let large: Vec<_> =
                gpu.iter().filter(|g| g.bytes_moved as f64 / g.ratio_limit >= (2 << 20) as f64).collect();
            if large.len() < 2 {
                continue;
            }
            let mean = (large.iter().map(|g| g.ratio_to_copy.ln()).sum::<f64>() / large.len() as f64).exp();
            let worst = large.iter().map(|g| g.ratio_to_copy).fold(0.0, f64::max);
            let doubtful = large.iter().filter(|g| !g.conclusive).count();
            let doubt = if doubtful == 0 { String::new() } else { format!("; {doubtful} with too wide a spread") };
            sentences.push(format!(
                "{operation}, {layout}: {mean:.2} × copy (geometric mean of {} shapes of 1 MiB and more, worst {worst:.2}{doubt})",
                large.len()
            ));
        }
    }
    sentences
}
