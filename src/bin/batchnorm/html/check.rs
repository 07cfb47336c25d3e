//! What `check` found, as a page.

use maud::html;

use super::matrix::{self, matrix};
use super::{machine, page};
use crate::check::Report;

/// The page; `figures` is the report as JSON.
pub fn page_of(report: &Report, figures: &str) -> String {
    let body = html! {
        h1 { "Batch normalisation: what devices compute" }
        p.soft { "wgpu-batchnorm " (report.version) ", " (report.source) }
        p {
            strong { (report.passed) " passed, " (report.failed) " failed." }
            " Every element of every output is held against a reference in f64, under a bound of its own that is derived \
              from the arithmetic."
        }
        dl.facts { (machine(&report.machine)) }
        p { (matrix::LEGEND) }
        @for (index, device) in report.devices.iter().enumerate() {
            h2 { (device.device) }
            p.soft { (device.driver) }
            p { (device.passed) " passed, " (device.failures.len()) " failed." }
            (matrix(&format!("Worst errors on {}", device.device), &device.matrix))
            @if !device.failures.is_empty() {
                h3 id={ "failures-" (index) } { "What failed" }
                ul { @for failure in &device.failures { li { (failure) } } }
            }
        }
    };
    page("Batch normalisation: what devices compute", &body, figures, "check.json")
}
