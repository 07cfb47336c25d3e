//! The worst errors of many cases, by what was computed of what.

use serde::{Deserialize, Serialize};
use wgpu_batchnorm::check::cases::TensorVerdict;
use wgpu_batchnorm::{DType, Shape};

/// The cases of one operation, storage type and layout.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Cell {
    /// The operation.
    pub operation: String,
    /// Storage type.
    pub dtype: String,
    /// `channels first`, or `channels last` where one place follows the other at once.
    pub layout: String,
    /// How many cases.
    pub cases: usize,
    /// How many of them had a value out of its bound, or were refused.
    pub wrong: usize,
    /// The largest error, in units in the last place of the largest value of its tensor, as that tensor is stored.
    pub worst_ulps: f64,
    /// The tensor that has it.
    pub worst_ulps_tensor: String,
    /// The largest share of an element's bound that its error takes up: 1 is all of it.
    pub worst_share: f64,
    /// The tensor that has it.
    pub worst_share_tensor: String,
}

/// The cells that cases have reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix(Vec<Cell>);

/// The name of a layout.
fn layout(shape: &Shape) -> &'static str {
    if shape.inner() > 1 { "channels first" } else { "channels last" }
}

/// How a tensor of a case is stored: what has one value per channel is f32 throughout.
fn stored_as(tensor: &str, dtype: DType) -> DType {
    if matches!(tensor, "y" | "dx" | "dresidual") { dtype } else { DType::F32 }
}

impl Matrix {
    /// Adds what came of a case; none if it was refused.
    pub fn add(&mut self, operation: &str, shape: &Shape, dtype: DType, verdicts: Option<&[TensorVerdict]>) {
        let layout = layout(shape);
        let is_it = |cell: &Cell| {
            (cell.operation.as_str(), cell.dtype.as_str(), cell.layout.as_str()) == (operation, dtype.name(), layout)
        };
        let index = self.0.iter().position(is_it).unwrap_or_else(|| {
            self.0.push(Cell {
                operation: operation.to_owned(),
                dtype: dtype.name().to_owned(),
                layout: layout.to_owned(),
                cases: 0,
                wrong: 0,
                worst_ulps: 0.0,
                worst_ulps_tensor: String::new(),
                worst_share: 0.0,
                worst_share_tensor: String::new(),
            });
            self.0.len() - 1
        });
        let Some(cell) = self.0.get_mut(index) else { return };
        cell.cases += 1;
        cell.wrong += usize::from(!verdicts.is_some_and(|verdicts| verdicts.iter().all(TensorVerdict::passed)));
        for TensorVerdict { name, comparison } in verdicts.unwrap_or_default() {
            let Some(comparison) = comparison else { continue };
            let (ulps, share) = (comparison.ulps(stored_as(name, dtype)), comparison.ratio());
            if ulps > cell.worst_ulps {
                (cell.worst_ulps, cell.worst_ulps_tensor) = (ulps, (*name).to_owned());
            }
            // A file has no infinity.
            if share.min(f64::MAX) > cell.worst_share {
                (cell.worst_share, cell.worst_share_tensor) = (share.min(f64::MAX), (*name).to_owned());
            }
        }
    }

    /// The cells, in the order of operation, type and layout.
    pub fn into_cells(self) -> Vec<Cell> {
        let mut cells = self.0;
        let place = |list: &[&str], word: &str| list.iter().position(|w| *w == word).unwrap_or(list.len());
        cells.sort_by_key(|cell| {
            let operations = ["inference", "frozen forward", "training", "backward", "frozen backward"];
            let types = DType::ALL.map(DType::name);
            (place(&operations, &cell.operation), place(&types, &cell.dtype), cell.layout.clone())
        });
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu_batchnorm::check::compare;

    #[test]
    fn the_worst_of_many_cases_is_kept_with_its_tensor() {
        let shape = Shape::nc(2, 1).unwrap();
        let verdict = |name, got: f32| TensorVerdict { name, comparison: Some(compare([got], &[1.0], |_| 1e-3)) };
        let mut matrix = Matrix::default();
        matrix.add("training", &shape, DType::F16, Some(&[verdict("y", 1.0), verdict("mean", 1.0)]));
        matrix.add("training", &shape, DType::F16, Some(&[verdict("y", 1.0005), verdict("mean", 1.0001)]));
        matrix.add("training", &shape, DType::F16, None);
        matrix.add("inference", &Shape::ncl(1, 1, 2).unwrap(), DType::F32, Some(&[verdict("y", 1.1)]));
        let cells = matrix.into_cells();
        assert_eq!(
            (cells[0].operation.as_str(), cells[0].layout.as_str(), cells[0].wrong),
            ("inference", "channels first", 1)
        );
        let cell = &cells[1];
        assert_eq!((cell.cases, cell.wrong), (3, 1));
        // Half a step of f16 in y is little beside a thousand steps of f32 in the mean.
        assert_eq!((cell.worst_ulps_tensor.as_str(), cell.worst_share_tensor.as_str()), ("mean", "y"));
        assert!((cell.worst_share - 0.5).abs() < 1e-3 && (800.0..900.0).contains(&cell.worst_ulps), "{cell:?}");
    }
}
