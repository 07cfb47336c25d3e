//! Which shapes are measured.

use wgpu_batchnorm::{DType, Shape};

use super::Arguments;
use crate::failure::Failure;
use crate::shapes;

/// A small, a middling and a channels-last one: seconds.
const QUICK: &str = "2,64,32,32; 8,256,14,14; 8,28,28,128@3";

/// The layers of ResNet-50 that differ in kind, at batch sizes that a training run has, a dense layer, and an image and
/// a layer with the channels last.
const USUAL: &str = "32,64,56,56; 32,256,14,14; 32,512,7,7; 16,32,112,112; 64,256,28,28; 2,64,32,32; 256,1024; \
    32,56,56,64@3; 8,224,224,3@3";

/// What `benches/` keeps figures of: channels first and last, from small to large, and what is awkward.
const FULL: &str = "32,64,56,56; 32,256,14,14; 32,512,7,7; 8,3,224,224; 16,32,112,112; 64,256,28,28; 2,64,32,32; \
    1,1,1024,1024; 4,27,33,31; 32,56,56,64@3; 32,14,14,256@3; 32,7,7,512@3; 8,224,224,3@3; 16,112,112,32@3; \
    64,28,28,256@3; 2,32,32,64@3; 1,1024,1024,1@3; 4,33,31,27@3; 256,1024; 8192,64; 3,70000";

/// The shapes that the command line asks for.
pub fn chosen(arguments: &Arguments) -> Result<Vec<Shape>, Failure> {
    let text = match (&arguments.shapes, arguments.quick, arguments.full) {
        (Some(text), _, _) => text,
        (None, true, _) => QUICK,
        (None, false, true) => FULL,
        (None, false, false) => USUAL,
    };
    let shapes = shapes::list(text)?;
    match shapes.iter().find(|shape| shape.elements() == 0) {
        Some(empty) => Err(Failure::Usage(format!("{empty} is empty: there is nothing to measure"))),
        None if shapes.is_empty() => Err(Failure::Usage("--shapes names no shape; write \"32,64,56,56\"".to_owned())),
        None => Ok(shapes),
    }
}

/// Bytes of a tensor of the series: far below what a submission costs to far above what a cache holds.
const SERIES_BYTES: [u64; 7] = [16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 32 << 20];

/// Tensors that differ in the size of the batch alone: 16 channels first, then last, of 16 × 16 places, in f32 and f16.
pub fn series(quick: bool) -> Vec<(Shape, DType)> {
    let (sizes, types) = match quick {
        true => (vec![SERIES_BYTES[0], SERIES_BYTES[2], SERIES_BYTES[4]], &[DType::F32][..]),
        false => (SERIES_BYTES.to_vec(), &[DType::F32, DType::F16][..]),
    };
    let mut series = Vec::new();
    for &dtype in types {
        for axis in [1, 3] {
            let of = |bytes: &u64| Shape::new(&[(bytes / (4096 * dtype.bytes())) as usize, 16, 16, 16], axis).ok();
            series.extend(sizes.iter().filter_map(of).map(|shape| (shape, dtype)));
        }
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_shapes() {
        for (list, count) in [(QUICK, 3), (USUAL, 9), (FULL, 21)] {
            assert_eq!(shapes::list(list).unwrap().len(), count);
        }
    }

    #[test]
    fn the_series_has_the_sizes_that_it_says_in_each_layout_and_type() {
        assert_eq!(series(false).len(), 28);
        assert_eq!(series(true).len(), 6);
        for (of_one, bytes) in series(false).chunks(7).flat_map(|one| one.iter().zip(SERIES_BYTES)) {
            assert_eq!(of_one.1.tensor_bytes(of_one.0.elements().into()), bytes);
        }
    }
}
