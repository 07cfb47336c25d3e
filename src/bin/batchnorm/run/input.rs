//! Tensors from files, as the command line names them.

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use ndarray::{ArrayD, Axis, IxDyn, Slice};
use wgpu_batchnorm::host::files::{FileTensor, read_npy, read_safetensors, tensor_names};

use crate::failure::Failure;

/// A file, and the tensor within it where it holds several.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// The tensor in a `.safetensors` file.
    pub tensor: Option<String>,
}

impl std::str::FromStr for Source {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Only behind this ending, since a path can hold a colon of its own.
        const ENDING: &str = ".safetensors:";
        Ok(match text.find(ENDING).map(|at| text.split_at(at + ENDING.len() - 1)) {
            Some((path, tensor)) => Self { path: path.into(), tensor: Some(tensor[1..].to_owned()) },
            None => Self { path: text.into(), tensor: None },
        })
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())?;
        self.tensor.as_ref().map_or(Ok(()), |tensor| write!(f, ":{tensor}"))
    }
}

/// Reads a file as a whole.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::Failed(format!("{} cannot be read: {error}", path.display())))
}

impl Source {
    /// Reads the tensor, or these columns of it; where a file is text, the other columns need not be numbers.
    pub fn read(&self, columns: Option<&Columns>) -> Result<FileTensor, Failure> {
        let within = |error: wgpu_batchnorm::Error| Failure::Failed(format!("{}: {error}", self.path.display()));
        let name = self.path.to_string_lossy().to_lowercase();
        let mut read = if name.ends_with(".npy") {
            read_npy(&read_file(&self.path)?).map_err(within)?
        } else if name.ends_with(".csv") {
            return self.read_csv(&read_file(&self.path)?, columns);
        } else if name.ends_with(".csv.gz") {
            let mut text = Vec::new();
            let unpacked = MultiGzDecoder::new(&read_file(&self.path)?[..]).read_to_end(&mut text);
            unpacked.map_err(|e| Failure::Failed(format!("{} cannot be unpacked: {e}", self.path.display())))?;
            return self.read_csv(&text, columns);
        } else if name.ends_with(".safetensors") {
            let file = read_file(&self.path)?;
            let tensor = match &self.tensor {
                Some(tensor) => tensor.clone(),
                None => self.only_tensor(tensor_names(&file).map_err(within)?)?,
            };
            read_safetensors(&file, &tensor).map_err(within)?
        } else {
            return Err(Failure::Usage(format!(
                "{self} is of no kind that is read; give a .npy, a .csv, a .csv.gz or FILE.safetensors:TENSOR"
            )));
        };
        if let Some(columns) = columns {
            let &[_, count] = read.values.shape() else {
                let shape = read.values.shape();
                let sentence = format!("--columns needs rows and columns; {self} has dimensions {shape:?}");
                return Err(Failure::Usage(sentence));
            };
            let part = read.values.slice_axis(Axis(1), Slice::from(columns.within(count)?));
            read.values = part.as_standard_layout().into_owned();
        }
        Ok(read)
    }

    fn only_tensor(&self, mut names: Vec<String>) -> Result<String, Failure> {
        match (names.pop(), names.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                const SHOWN: usize = 12;
                let all = names.iter().chain([&last]).take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
                let more = if names.len() + 1 > SHOWN { ", and more" } else { "" };
                let path = self.path.display();
                Err(Failure::Usage(format!("{path} holds several tensors; name one as {path}:TENSOR of {all}{more}")))
            }
            (None, _) => Err(Failure::Failed(format!("{} holds no tensor", self.path.display()))),
        }
    }

    /// Rows of numbers; a first row without any number is taken for headings.
    fn read_csv(&self, text: &[u8], columns: Option<&Columns>) -> Result<FileTensor, Failure> {
        let path = self.path.display();
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(text);
        let (mut values, mut width, mut rows, mut headings) = (Vec::new(), 0, 0, false);
        for (index, record) in reader.records().enumerate() {
            let record = record.map_err(|error| Failure::Failed(format!("{path}: {error}")))?;
            if index == 0 && record.iter().all(|field| field.parse::<f32>().is_err()) {
                headings = true;
                continue;
            }
            let line = record.position().map_or(0, csv::Position::line);
            if rows > 0 && record.len() != width {
                let found = record.len();
                let counts = format!("line {line} has {found} columns and the one before it {width}");
                return Err(Failure::Failed(format!("{path}: {counts}")));
            }
            width = record.len();
            rows += 1;
            let wanted = columns.map_or(Ok(0..width), |columns| columns.within(width))?;
            for column in wanted {
                let field = record.get(column).unwrap_or_default();
                values.push(field.parse::<f32>().map_err(|_| {
                    let place = format!("line {line}, column {column} (the first is 0)");
                    let advice = "leave its column out with --columns FROM..TO";
                    Failure::Failed(format!("{path}, {place}: \"{field}\" is not a number; {advice}"))
                })?);
            }
        }
        if rows == 0 {
            return Err(Failure::Failed(format!("{path} holds no row of numbers")));
        }
        let values = ArrayD::from_shape_vec(IxDyn(&[rows, values.len() / rows]), values)
            .map_err(|error| Failure::Failed(format!("{path}: {error}")))?;
        let mut conversions = vec!["text read as f32".to_owned()];
        if headings {
            conversions.push("a line of headings left out".to_owned());
        }
        Ok(FileTensor { values, stored: "text", conversions })
    }
}

/// A range of columns, `0..64`; either end may be left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    start: Option<usize>,
    end: Option<usize>,
}

impl std::str::FromStr for Columns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("\"{text}\" is no range of columns; write 0..64 for the first 64");
        let (start, end) = text.split_once("..").ok_or_else(wrong)?;
        let number = |text: &str| match text.trim() {
            "" => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| wrong()),
        };
        Ok(Self { start: number(start)?, end: number(end)? })
    }
}

impl Columns {
    /// These columns of so many.
    fn within(&self, count: usize) -> Result<Range<usize>, Failure> {
        let Range { start, end } = self.start.unwrap_or(0)..self.end.unwrap_or(count);
        if start >= end || end > count {
            let sentence = format!("--columns {start}..{end} is out of range: the input has columns 0..{count}");
            return Err(Failure::Usage(sentence));
        }
        Ok(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_is_named_behind_its_file() {
        let source = |text: &str| text.parse::<Source>().unwrap();
        let named = Source { path: "a.safetensors".into(), tensor: Some("x.input".to_owned()) };
        assert_eq!(source("a.safetensors:x.input"), named);
        assert_eq!(source("C:\\a.npy"), Source { path: "C:\\a.npy".into(), tensor: None });
        assert_eq!(source("a.safetensors").tensor, None);
    }

    #[test]
    fn columns_are_found_and_wrong_ones_refused() {
        let columns = |text: &str| text.parse::<Columns>().unwrap().within(3);
        assert_eq!(columns("0..2").unwrap(), 0..2);
        assert_eq!(columns("1..").unwrap(), 1..3);
        assert_eq!(columns("..").unwrap(), 0..3);
        for wrong in ["2..2", "0..4", "3.."] {
            assert!(columns(wrong).is_err(), "{wrong}");
        }
        for wrong in ["4", "a..b", "0-4"] {
            assert!(wrong.parse::<Columns>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn text_is_read_row_by_row() {
        let source = "t.csv".parse::<Source>().unwrap();
        let read = |text: &str, columns: Option<&str>| {
            let columns = columns.map(|columns| columns.parse().unwrap());
            source.read_csv(text.as_bytes(), columns.as_ref()).map(|read| (read.values, read.conversions.len()))
        };
        let table = ndarray::arr2(&[[1.0, 2.0], [3.0, 4.5]]).into_dyn();
        assert_eq!(read("1,2\n3, 4.5\n", None).unwrap(), (table.clone(), 1));
        assert_eq!(read("a,b\n1,2\n3,4.5", None).unwrap(), (table.clone(), 2));
        assert_eq!(read("1,2,setosa\n3,4.5,virginica\n", Some("0..2")).unwrap(), (table, 1));
        for wrong in ["", "a,b\n", "1,2\n3\n", "1,2\n3,x\n"] {
            assert!(matches!(read(wrong, None), Err(Failure::Failed(_))), "{wrong:?}");
        }
    }
}
