//! Shapes as the command line writes them.

use wgpu_batchnorm::Shape;

use crate::failure::Failure;

/// Numbers with commas between them: `32,64,56,56`.
pub fn dimensions(text: &str) -> Result<Vec<usize>, Failure> {
    let number = |part: &str| {
        part.trim().parse().map_err(|_| {
            Failure::Usage(format!("`{part}` in the shape \"{text}\" is not a number; write it as 32,64,56,56"))
        })
    };
    text.split(',').map(number).collect()
}

/// Shapes with semicolons between them, each with its axis behind an `@` (1 without one): `32,64,56,56;8,3,224,224@3`.
pub fn list(text: &str) -> Result<Vec<Shape>, Failure> {
    let shape = |item: &str| {
        let (numbers, axis) = match item.split_once('@') {
            Some((numbers, axis)) => {
                let wrong = || Failure::Usage(format!("`{axis}` in \"{item}\" is not an axis; write 8,224,224,3@3"));
                (numbers, axis.trim().parse().map_err(|_| wrong())?)
            }
            None => (item, 1),
        };
        Shape::new(&dimensions(numbers)?, axis).map_err(|error| Failure::Usage(format!("\"{item}\": {error}")))
    };
    text.split(';').map(str::trim).filter(|item| !item.is_empty()).map(shape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_with_and_without_an_axis() {
        let shapes = list("32,64,56,56; 8,224,224,3@-1;").unwrap();
        assert_eq!(shapes, [Shape::nchw(32, 64, 56, 56).unwrap(), Shape::nhwc(8, 224, 224, 3).unwrap()]);
        for wrong in ["32,x", "32,64@y", "32,64@2", "5"] {
            assert!(matches!(list(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
