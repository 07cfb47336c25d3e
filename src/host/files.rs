//! Tensors in files: `.npy` and `.safetensors`.
//!
//! What is computed with is f32 in row-major order; whatever a file holds is brought into that, and what was done is
//! told.

use std::io::Cursor;

use half::{bf16, f16};
use ndarray::{ArrayD, ArrayViewD, IxDyn, ShapeBuilder};
use ndarray_npy::WriteNpyExt;
use ndarray_npy::npy::header::Header;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::error::Error;

/// A header of an `.npy` file beyond this many bytes is refused, as numpy does by default.
const NPY_HEADER_BYTES: usize = 10_000;

/// A tensor as a file holds it, in f32.
#[derive(Clone, Debug, PartialEq)]
pub struct FileTensor {
    /// The values, in logical row-major order.
    pub values: ArrayD<f32>,
    /// The type in the file: `f64`, `u8`.
    pub stored: &'static str,
    /// What was done to bring the file's values into f32 in row-major order, as clauses: `f64 rounded to f32`.
    pub conversions: Vec<String>,
}

/// How a number is stored in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl Stored {
    const fn name(self) -> &'static str {
        match self {
            Stored::F64 => "f64",
            Stored::F32 => "f32",
            Stored::F16 => "f16",
            Stored::Bf16 => "bf16",
            Stored::I64 => "i64",
            Stored::I32 => "i32",
            Stored::I16 => "i16",
            Stored::I8 => "i8",
            Stored::U64 => "u64",
            Stored::U32 => "u32",
            Stored::U16 => "u16",
            Stored::U8 => "u8",
            Stored::Bool => "bool",
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Stored::F64 | Stored::I64 | Stored::U64 => 8,
            Stored::F32 | Stored::I32 | Stored::U32 => 4,
            Stored::F16 | Stored::Bf16 | Stored::I16 | Stored::U16 => 2,
            Stored::I8 | Stored::U8 | Stored::Bool => 1,
        }
    }

    /// Whether f32 holds every value.
    const fn is_exact(self) -> bool {
        !matches!(self, Stored::F64 | Stored::I64 | Stored::I32 | Stored::U64 | Stored::U32)
    }

    /// The value of a number's bytes, least significant first, the rest 0.
    fn value(self, bytes: [u8; 8]) -> f64 {
        let [a, b, c, d, ..] = bytes;
        match self {
            Stored::F64 => f64::from_le_bytes(bytes),
            Stored::F32 => f32::from_le_bytes([a, b, c, d]).into(),
            Stored::F16 => f16::from_le_bytes([a, b]).into(),
            Stored::Bf16 => bf16::from_le_bytes([a, b]).into(),
            Stored::I64 => i64::from_le_bytes(bytes) as f64,
            Stored::I32 => i32::from_le_bytes([a, b, c, d]).into(),
            Stored::I16 => i16::from_le_bytes([a, b]).into(),
            Stored::I8 => i8::from_le_bytes([a]).into(),
            Stored::U64 => u64::from_le_bytes(bytes) as f64,
            Stored::U32 => u32::from_le_bytes([a, b, c, d]).into(),
            Stored::U16 => u16::from_le_bytes([a, b]).into(),
            Stored::U8 => a.into(),
            Stored::Bool => f64::from(u8::from(a != 0)),
        }
    }

    fn of_safetensors(dtype: Dtype) -> Option<Self> {
        Some(match dtype {
            Dtype::F64 => Stored::F64,
            Dtype::F32 => Stored::F32,
            Dtype::F16 => Stored::F16,
            Dtype::BF16 => Stored::Bf16,
            Dtype::I64 => Stored::I64,
            Dtype::I32 => Stored::I32,
            Dtype::I16 => Stored::I16,
            Dtype::I8 => Stored::I8,
            Dtype::U64 => Stored::U64,
            Dtype::U32 => Stored::U32,
            Dtype::U16 => Stored::U16,
            Dtype::U8 => Stored::U8,
            Dtype::BOOL => Stored::Bool,
            _ => return None,
        })
    }

    /// numpy's letter and size: `f4`, `u1`.
    fn of_numpy(code: &str) -> Option<Self> {
        Some(match code {
            "f8" => Stored::F64,
            "f4" => Stored::F32,
            "f2" => Stored::F16,
            "i8" => Stored::I64,
            "i4" => Stored::I32,
            "i2" => Stored::I16,
            "i1" => Stored::I8,
            "u8" => Stored::U64,
            "u4" => Stored::U32,
            "u2" => Stored::U16,
            "u1" => Stored::U8,
            "b1" => Stored::Bool,
            _ => return None,
        })
    }
}

fn refused<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::State(message.into()))
}

/// Values of numbers one behind the other, and what was done to them.
fn decode(stored: Stored, data: &[u8], big_endian: bool) -> (Vec<f32>, Vec<String>) {
    let (mut overflown, mut inexact) = (0usize, false);
    let number = |bytes: &[u8]| {
        let mut padded = [0u8; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        if big_endian {
            padded[..bytes.len()].reverse();
        }
        let wide = stored.value(padded);
        let narrow = wide as f32;
        overflown += usize::from(narrow.is_infinite() && wide.is_finite());
        inexact |= f64::from(narrow) != wide && !wide.is_nan();
        narrow
    };
    let values = data.chunks_exact(stored.bytes()).map(number).collect();
    let mut conversions = Vec::new();
    if stored != Stored::F32 {
        let how = if inexact { "rounded" } else { "converted" };
        let exactly = if inexact || stored.is_exact() { "" } else { ", exactly" };
        conversions.push(format!("{} {how} to f32{exactly}", stored.name()));
    }
    if overflown > 0 {
        conversions.push(format!("{overflown} values beyond f32 became infinite"));
    }
    if big_endian && stored.bytes() > 1 {
        conversions.push("big-endian".to_owned());
    }
    (values, conversions)
}

/// Reads an `.npy` file: f64, f32, f16 and integers, of either byte order, in C or Fortran order.
///
/// # Errors
/// [`Error::State`] if the file is cut short, too long, no `.npy`, or of another type
///
/// numpy's format, `numpy.lib.format`, versions 1 to 3.
pub fn read_npy(file: &[u8]) -> Result<FileTensor, Error> {
    if !file.starts_with(b"\x93NUMPY") {
        return refused("this is not an .npy file: it does not begin as one");
    }
    // The length of the header stands in two bytes in version 1, and in four since.
    let (start, length) = match file.get(6..12) {
        Some(&[1, _, a, b, _, _]) => (10, u32::from_le_bytes([a, b, 0, 0]) as usize),
        Some(&[_, _, a, b, c, d]) => (12, u32::from_le_bytes([a, b, c, d]) as usize),
        _ => return refused("the .npy file is cut short within its header"),
    };
    if length > NPY_HEADER_BYTES {
        return refused(format!("the .npy header has {length} bytes; at most {NPY_HEADER_BYTES} are read"));
    }
    if file.len() < start + length {
        return refused("the .npy file is cut short within its header");
    }
    let mut reader = Cursor::new(file);
    let header =
        Header::from_reader(&mut reader).or_else(|error| refused(format!("the .npy header is not right: {error}")))?;
    let data = &file[(reader.position() as usize).min(file.len())..];

    let descriptor = header.type_descriptor.to_string();
    let descriptor = descriptor.trim_matches(['\'', '"']);
    let big_endian = match descriptor.as_bytes().first() {
        Some(b'>') => true,
        Some(b'=') => cfg!(target_endian = "big"),
        _ => false,
    };
    let Some(stored) = Stored::of_numpy(descriptor.trim_start_matches(['<', '>', '=', '|'])) else {
        return refused(format!("the .npy file holds {descriptor}; numbers of f64, f32, f16 or integers are needed"));
    };
    let elements = header.shape.iter().try_fold(1usize, |product, &d| product.checked_mul(d));
    let Some(needed) = elements.and_then(|n| n.checked_mul(stored.bytes())) else {
        return refused(format!("an array of dimensions {:?} is too large", header.shape));
    };
    if data.len() != needed {
        let (dimensions, name, held) = (&header.shape, stored.name(), data.len());
        let what = if held < needed { "is cut short" } else { "is too long" };
        return refused(format!(
            "the .npy file {what}: {dimensions:?} of {name} are {needed} bytes, and {held} follow its header"
        ));
    }
    let (values, mut conversions) = decode(stored, data, big_endian);
    let fortran = header.layout.is_fortran() && header.shape.len() > 1;
    let array = ArrayD::from_shape_vec(IxDyn(&header.shape).set_f(fortran), values)
        .map_err(|error| Error::State(error.to_string()))?;
    let values = if fortran {
        conversions.push("Fortran order brought into C order".to_owned());
        ArrayD::from_shape_vec(IxDyn(&header.shape), array.iter().copied().collect())
            .map_err(|error| Error::State(error.to_string()))?
    } else {
        array
    };
    Ok(FileTensor { values, stored: stored.name(), conversions })
}

/// An `.npy` file of f32 in C order.
///
/// # Errors
/// [`Error::State`] if the array has more dimensions than a header can name
pub fn write_npy(values: ArrayViewD<'_, f32>) -> Result<Vec<u8>, Error> {
    let mut file = Cursor::new(Vec::new());
    // In standard layout whatever the strides are, or else Fortran order would be written.
    let standard = values.as_standard_layout();
    standard.write_npy(&mut file).map_err(|error| Error::State(format!("the array cannot be written: {error}")))?;
    Ok(file.into_inner())
}

/// Opens a `.safetensors` file.
///
/// # Errors
/// [`Error::State`] if it is none, cut short, or contradicts itself
pub(crate) fn open_safetensors(file: &[u8]) -> Result<SafeTensors<'_>, Error> {
    SafeTensors::deserialize(file)
        .map_err(|error| Error::State(format!("this is not a whole .safetensors file: {error}")))
}

/// The names of the tensors in a `.safetensors` file, sorted.
///
/// # Errors
/// [`Error::State`] if it is none
pub fn tensor_names(file: &[u8]) -> Result<Vec<String>, Error> {
    let mut names: Vec<String> = open_safetensors(file)?.names().into_iter().map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

/// Reads one tensor of a `.safetensors` file: f64, f32, f16, bf16 or integers.
///
/// # Errors
/// [`Error::State`] if the file is none, has no such tensor, or holds another type
pub fn read_safetensors(file: &[u8], name: &str) -> Result<FileTensor, Error> {
    let tensors = open_safetensors(file)?;
    let Ok(view) = tensors.tensor(name) else {
        let mut names = tensors.names();
        names.sort();
        const SHOWN: usize = 12;
        let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
        names.truncate(SHOWN);
        return refused(format!("there is no tensor \"{name}\"; there are: {}{more}", names.join(", ")));
    };
    read_view(&view, name)
}

/// Reads a tensor of an open `.safetensors` file.
pub(crate) fn read_view(view: &TensorView<'_>, name: &str) -> Result<FileTensor, Error> {
    let Some(stored) = Stored::of_safetensors(view.dtype()) else {
        return refused(format!("`{name}` is {:?}; f64, f32, f16, bf16 or an integer is needed", view.dtype()));
    };
    let (values, conversions) = decode(stored, view.data(), false);
    let values = ArrayD::from_shape_vec(IxDyn(view.shape()), values)
        .map_err(|error| Error::State(format!("`{name}`: {error}")))?;
    Ok(FileTensor { values, stored: stored.name(), conversions })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;
    use std::collections::HashMap;

    fn npy(descriptor: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let mut header = format!("{{'descr': '{descriptor}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
        while (header.len() + 11) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        file.extend(data);
        file
    }

    fn says(result: Result<FileTensor, Error>, what: &str) {
        match result {
            Err(Error::State(message)) => assert!(message.contains(what), "{message}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let values = Array2::from_shape_fn((3, 5), |(i, j)| (i * 10 + j) as f32).into_dyn();
        let read = read_npy(&write_npy(values.view()).unwrap()).unwrap();
        assert_eq!((read.values, read.stored, read.conversions.len()), (values.clone(), "f32", 0));
        let turned = values.t();
        assert_eq!(read_npy(&write_npy(turned.view()).unwrap()).unwrap().values, turned);
    }

    #[test]
    fn every_storage_is_converted_and_the_conversion_named() {
        let exact = [1.0f32, -2.5, 3.0, 4.0, 5.0, 6.0];
        let bytes = |to: &dyn Fn(f32) -> Vec<u8>| exact.iter().flat_map(|&v| to(v)).collect::<Vec<u8>>();
        let cases: [(&str, Vec<u8>, &[&str]); 5] = [
            ("<f4", bytes(&|v| v.to_le_bytes().into()), &[]),
            (">f4", bytes(&|v| v.to_be_bytes().into()), &["big-endian"]),
            ("<f8", bytes(&|v| f64::from(v).to_le_bytes().into()), &["f64 converted to f32, exactly"]),
            (">f8", bytes(&|v| f64::from(v).to_be_bytes().into()), &["f64 converted to f32, exactly", "big-endian"]),
            ("<f2", bytes(&|v| f16::from_f32(v).to_le_bytes().into()), &["f16 converted to f32"]),
        ];
        for (descriptor, data, conversions) in cases {
            let read = read_npy(&npy(descriptor, "False", "(2, 3)", &data)).unwrap();
            assert_eq!(read.values.iter().copied().collect::<Vec<_>>(), exact, "{descriptor}");
            assert_eq!(read.conversions, conversions, "{descriptor}");
        }
        let bytes = read_npy(&npy("|u1", "False", "(3,)", &[0, 7, 255])).unwrap();
        assert_eq!(bytes.values.iter().copied().collect::<Vec<_>>(), [0.0, 7.0, 255.0]);
        assert_eq!(bytes.conversions, ["u8 converted to f32"]);
        let rounded = read_npy(&npy("<f8", "False", "(1,)", &0.1f64.to_le_bytes())).unwrap();
        assert_eq!(rounded.conversions, ["f64 rounded to f32"]);
        let beyond = read_npy(&npy("<f8", "False", "(1,)", &1e300f64.to_le_bytes())).unwrap();
        assert_eq!(beyond.conversions[1], "1 values beyond f32 became infinite");
    }

    #[test]
    fn fortran_order_is_brought_into_c_order() {
        let columns: Vec<u8> = [1.0f32, 4.0, 2.0, 5.0, 3.0, 6.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let read = read_npy(&npy("<f4", "True", "(2, 3)", &columns)).unwrap();
        assert_eq!(read.values, ndarray::arr2(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).into_dyn());
        assert!(read.values.is_standard_layout());
        assert_eq!(read.conversions, ["Fortran order brought into C order"]);
    }

    #[test]
    fn a_file_that_is_not_right_is_refused() {
        let whole = npy("<f4", "False", "(2, 3)", &[0; 24]);
        for length in 0..whole.len() {
            assert!(matches!(read_npy(&whole[..length]), Err(Error::State(_))), "{length} of {}", whole.len());
        }
        says(read_npy(&whole[..whole.len() - 1]), "cut short");
        says(read_npy(&[&whole[..], &[0]].concat()), "too long");
        says(read_npy(b"PK\x03\x04"), "not an .npy file");
        says(read_npy(&npy("<c8", "False", "(1,)", &[0; 8])), "holds <c8");
        says(read_npy(&npy("<f4", "Maybe", "(1,)", &[0; 4])), "header is not right");
        says(read_npy(&npy("<f4", "False", "(9223372036854775807, 9)", &[])), "too large");
        says(read_npy(b"\x93NUMPY\x02\x00\xff\xff\xff\xff"), "at most 10000");
    }

    #[test]
    fn a_tensor_is_found_by_name_and_its_type_converted() {
        let halves: Vec<u8> = [1.0f32, -2.0].iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
        let count = 7i64.to_le_bytes();
        let views = HashMap::from([
            ("a", TensorView::new(Dtype::BF16, vec![1, 2], &halves).unwrap()),
            ("b", TensorView::new(Dtype::I64, vec![], &count).unwrap()),
        ]);
        let file = safetensors::serialize(views, None).unwrap();
        let a = read_safetensors(&file, "a").unwrap();
        assert_eq!((a.values.shape(), a.values.iter().copied().collect::<Vec<_>>()), (&[1, 2][..], vec![1.0, -2.0]));
        assert_eq!(a.conversions, ["bf16 converted to f32"]);
        assert_eq!(read_safetensors(&file, "b").unwrap().values.sum(), 7.0);
        assert_eq!(tensor_names(&file).unwrap(), ["a", "b"]);
        says(read_safetensors(&file, "c"), "there are: a, b");
        for length in 0..file.len() {
            assert!(matches!(read_safetensors(&file[..length], "a"), Err(Error::State(_))), "{length}");
        }
    }
}
