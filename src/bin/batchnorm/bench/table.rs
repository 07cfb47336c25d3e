//! The figures as a person reads them.

use comfy_table::Table;
use wgpu_batchnorm::Shape;
use wgpu_batchnorm::host::timing::Spread;

use super::report::Figures;
use crate::output;

/// An empty table, for an adapter and the CPU or for the CPU alone.
pub fn new(with_gpu: bool) -> Table {
    let all =
        ["shape", "", "strategy", "ms", "× copy", "limit", "GB/s", "hot ×", "+ submit ×", "transfers", "CPU", "error"];
    if with_gpu { output::table(&all, 3) } else { output::table(&["shape", "", "CPU", "error"], 2) }
}

fn spread(spread: &Spread) -> String {
    format!("{} ({}–{})", output::figure(spread.median), output::figure(spread.low), output::figure(spread.high))
}

fn ratio(value: &Spread, of: &Spread) -> String {
    format!("{} ({:.1} ×)", output::figure(value.median), value.median / of.median)
}

/// Adds the rows of one shape: the copies, then each operation.
pub fn add(table: &mut Table, shape: &Shape, figures: &[Figures]) {
    let mut title = shape.to_string();
    let cpu_copy = figures.iter().find_map(|f| f.cpu_copy_ms).map_or_else(String::new, |ms| output::figure(ms.median));
    let first = figures.iter().find_map(|f| Some((f.copy_ms?, f.bytes_moved?, f.details.as_ref()?)));
    if let Some((copy, bytes_moved, details)) = first {
        let copied = bytes_moved as f64 / details.ratio_limit;
        let rate = |ms: f64| format!("{:.1}", copied / ms / 1e6);
        let driver = details.driver_copy_ms;
        let one = || "1".to_owned();
        let none = String::new;
        let hot = format!("{:.2}", details.hot.copy_ms.median / copy.median);
        let form = details.copy_form.clone();
        let times = [spread(&copy), one(), one(), rate(copy.median), hot, one(), none(), cpu_copy, none()];
        table.add_row([std::mem::take(&mut title), "copy".to_owned(), form].into_iter().chain(times));
        if let Some(wide) = details.wide_copy {
            let times = [spread(&wide.ms), format!("{:.2}", wide.ratio_to_copy), none(), rate(wide.ms.median)];
            table.add_row([none(), "copy, 64 bits".to_owned(), none()].into_iter().chain(times));
        }
        let beside = format!("{:.2}", driver.median / copy.median);
        let times = [spread(&driver), beside, none(), rate(driver.median)];
        table.add_row([none(), "driver's copy".to_owned(), none()].into_iter().chain(times));
    }
    for figures in figures {
        let cpu = figures.cpu_ms.zip(figures.cpu_copy_ms).map_or_else(String::new, |(ms, copy)| ratio(&ms, &copy));
        let error = format!("{:.1e} / {:.1e}", figures.worst_error, figures.bound);
        let mut row = vec![std::mem::take(&mut title), figures.operation.to_string()];
        if let Figures {
            strategy: Some(strategy),
            gpu_ms: Some(ms),
            copy_ms: Some(copy),
            ratio_to_copy: Some(times),
            end_to_end_ms: Some(end_to_end),
            details: Some(details),
            ..
        } = figures
        {
            row.extend([
                strategy.to_string(),
                spread(ms),
                format!("{times:.2}{}", if details.conclusive { "" } else { " ?" }),
                format!("{:.2}", details.ratio_limit),
                format!("{:.1}", details.bytes_per_second / 1e9),
                format!("{:.2}", details.hot.ratio_to_copy),
                format!("{:.2}", details.submission.ratio_to_copy),
                ratio(end_to_end, copy),
            ]);
        }
        row.extend([cpu, error]);
        table.add_row(row);
    }
}

/// The mean of what is multiplied.
fn geometric_mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    (values.clone().map(f64::ln).sum::<f64>() / values.count() as f64).exp()
}

/// What the ratios say together, one sentence for each operation and layout.
pub fn summary(results: &[Figures]) -> Vec<String> {
    let mut sentences = Vec::new();
    for operation in ["inference", "training", "backward"] {
        for (layout, last) in [("channels first", false), ("channels last and dense", true)] {
            let of = |f: &&Figures| f.operation == operation && (f.axis + 1 == f.shape.len()) == last;
            let ratios = results.iter().filter(of).filter_map(|f| Some((f, f.ratio_to_copy?, f.details.as_ref()?)));
            // A tensor below 1 MiB measures the dispatches.
            let large: Vec<_> = ratios.filter(|(f, ..)| 4 * f.shape.iter().product::<usize>() >= 1 << 20).collect();
            if large.len() < 2 {
                continue;
            }
            let mean = geometric_mean(large.iter().map(|l| l.1));
            let fastest = geometric_mean(large.iter().map(|l| l.2.ratio_of_fastest));
            let wide = large.iter().filter_map(|l| Some(l.1 / l.2.wide_copy?.ratio_to_copy)).collect::<Vec<_>>();
            let wide = match wide.len() == large.len() {
                true => format!(", {:.2} × copy in words of 64 bits", geometric_mean(wide.into_iter())),
                false => String::new(),
            };
            let worst = large.iter().map(|l| l.1).fold(0.0, f64::max);
            let doubtful = large.iter().filter(|l| !l.2.conclusive).count();
            let doubt = if doubtful == 0 { String::new() } else { format!("; {doubtful} too noisy to conclude") };
            sentences.push(format!(
                "{operation}, {layout}: {mean:.2} × copy by medians, {fastest:.2} by fastest rounds{wide} (geometric means of \
                 {} shapes of 1 MiB and more); worst {worst:.2}{doubt}",
                large.len()
            ));
        }
    }
    sentences
}
