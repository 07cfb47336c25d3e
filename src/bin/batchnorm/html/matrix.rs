//! The worst errors by operation, layout and type, as a table.

use maud::{Markup, html};
use wgpu_batchnorm::DType;

use super::{table, ulps};
use crate::check::Cell;

/// What the numbers in the cells are.
pub const LEGEND: &str = "Each cell: the largest error in ULPs, which are units in the last place of the largest value of \
    the tensor, as the tensor is stored; the largest share of its own derived bound that any element's error takes up; and \
    the number of cases. The cases are meant to be hostile: some have means of a million standard deviations, and there \
    the bounds are as many ULPs wide.";

/// One row per operation and layout, one column per storage type.
pub fn matrix(caption: &str, cells: &[Cell]) -> Markup {
    let mut rows: Vec<(&str, &str)> = Vec::new();
    for cell in cells {
        let row = (cell.operation.as_str(), cell.layout.as_str());
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    rows.sort_by_key(|row| (place(cells, row.0), row.1));
    let of = |row: (&str, &str), dtype: &str| {
        cells
            .iter()
            .find(|cell| (cell.operation.as_str(), cell.layout.as_str(), cell.dtype.as_str()) == (row.0, row.1, dtype))
    };
    table(
        caption,
        &html! {
            thead { tr {
                th.text scope="col" { "operation" } th.text scope="col" { "layout" }
                @for dtype in DType::ALL { th scope="col" { (dtype.name()) } }
            } }
            tbody { @for &row in &rows { tr {
                th scope="row" { (row.0) }
                td.text { (row.1) }
                @for dtype in DType::ALL { (entry(of(row, dtype.name()))) }
            } } }
        },
    )
}

/// The place of an operation among the cells.
fn place(cells: &[Cell], operation: &str) -> usize {
    cells.iter().position(|cell| cell.operation == operation).unwrap_or(cells.len())
}

fn entry(cell: Option<&Cell>) -> Markup {
    let Some(cell) = cell else { return html! { td { "–" small { "no case" } } } };
    let cases = if cell.cases == 1 { "case" } else { "cases" };
    let errors = html! {
        (ulps(cell.worst_ulps)) " ULP"
        @if !cell.worst_ulps_tensor.is_empty() { small { "in " (cell.worst_ulps_tensor) } }
        small { (format!("{:.2}", cell.worst_share)) " of the bound, " (cell.cases) " " (cases) }
    };
    match cell.wrong {
        0 => html! { td { (errors) } },
        wrong => html! { td.wrong { (wrong) " wrong: " (errors) } },
    }
}
