//! Every tensor seen as `x[outer, channel, inner]`.

use crate::error::Error;

/// A tensor's dimensions and its channel axis, seen as `x[outer, channel, inner]`.
///
/// One mean, one variance, one gamma and one beta per channel; each is an average over `outer · inner` values.
///
/// | tensor | axis | outer | channels | inner |
/// |---|---|---|---|---|
/// | `(N, D)` | 1 | N | D | 1 |
/// | `(N, C, L)` | 1 | N | C | L |
/// | `(N, C, W, L)` | 1 | N | C | W·L |
/// | `(N, H, W, C)` | 3 | N·H·W | C | 1 |
///
/// Tensors are densely packed in row-major order. A dimension of 0 makes an empty batch, which is legal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    dimensions: Box<[usize]>,
    axis: usize,
    outer: u32,
    channels: u32,
    inner: u32,
}

impl Shape {
    /// The largest number of elements that a tensor may have: what a `u32` can index, less what the end of a step overruns.
    pub const MAX_ELEMENTS: u64 = u32::MAX as u64 - 255;

    /// A tensor of any rank from 1 up with its channels on `axis`; a negative axis counts from the end.
    ///
    /// # Errors
    /// [`Error::AxisOutOfRange`] · [`Error::NoChannels`] if the channel dimension is 0 ·
    /// [`Error::TooManyElements`] above [`Shape::MAX_ELEMENTS`]
    pub fn new(dimensions: &[usize], axis: isize) -> Result<Self, Error> {
        let rank = dimensions.len();
        let resolved = if axis < 0 { axis + rank as isize } else { axis };
        let channel_axis =
            usize::try_from(resolved).ok().filter(|&a| a < rank).ok_or(Error::AxisOutOfRange { axis, rank })?;
        if dimensions[channel_axis] == 0 {
            return Err(Error::NoChannels { axis: channel_axis });
        }
        let empty = dimensions.contains(&0);
        let product = |part: &[usize]| part.iter().try_fold(1u64, |p, &d| p.checked_mul(d as u64));
        let too_many = || Error::TooManyElements { dimensions: dimensions.to_vec(), limit: Self::MAX_ELEMENTS };
        let outer = product(&dimensions[..channel_axis]);
        let inner = product(&dimensions[channel_axis + 1..]);
        let channels = dimensions[channel_axis] as u64;
        let (outer, inner) = match (empty, outer, inner) {
            // An empty tensor has no elements however large its other dimensions are.
            (true, _, _) => (0, 1),
            (false, Some(outer), Some(inner)) => (outer, inner),
            _ => return Err(too_many()),
        };
        let fits =
            outer.checked_mul(channels).and_then(|n| n.checked_mul(inner)).is_some_and(|n| n <= Self::MAX_ELEMENTS)
                && channels <= Self::MAX_ELEMENTS;
        if !fits {
            return Err(too_many());
        }
        Ok(Self {
            dimensions: dimensions.into(),
            axis: channel_axis,
            outer: outer as u32,
            channels: channels as u32,
            inner: inner as u32,
        })
    }

    /// A batch of vectors `(N, C)`: tabular data, the output of a dense layer.
    ///
    /// # Errors
    /// As [`Shape::new`].
    pub fn nc(n: usize, c: usize) -> Result<Self, Error> {
        Self::new(&[n, c], 1)
    }

    /// A batch of sequences `(N, C, L)`.
    ///
    /// # Errors
    /// As [`Shape::new`].
    pub fn ncl(n: usize, c: usize, l: usize) -> Result<Self, Error> {
        Self::new(&[n, c, l], 1)
    }

    /// A batch of images `(N, C, H, W)`, channels first.
    ///
    /// # Errors
    /// As [`Shape::new`].
    pub fn nchw(n: usize, c: usize, h: usize, w: usize) -> Result<Self, Error> {
        Self::new(&[n, c, h, w], 1)
    }

    /// A batch of images `(N, H, W, C)`, channels last.
    ///
    /// # Errors
    /// As [`Shape::new`].
    pub fn nhwc(n: usize, h: usize, w: usize, c: usize) -> Result<Self, Error> {
        Self::new(&[n, h, w, c], 3)
    }

    /// The dimensions as given.
    pub fn dimensions(&self) -> &[usize] {
        &self.dimensions
    }

    /// The channel axis, counted from the front.
    pub fn axis(&self) -> usize {
        self.axis
    }

    /// Product of the dimensions before the channel axis (0 for an empty batch).
    pub fn outer(&self) -> u32 {
        self.outer
    }

    /// Size of the channel axis.
    pub fn channels(&self) -> u32 {
        self.channels
    }

    /// Product of the dimensions behind the channel axis.
    pub fn inner(&self) -> u32 {
        self.inner
    }

    /// Values per channel, `m = outer · inner`: what each mean and variance averages over.
    pub fn values_per_channel(&self) -> u32 {
        self.outer * self.inner
    }

    /// Number of elements, `outer · channels · inner`.
    pub fn elements(&self) -> u32 {
        self.outer * self.channels * self.inner
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(")?;
        for (i, d) in self.dimensions.iter().enumerate() {
            write!(f, "{}{d}", if i == 0 { "" } else { ", " })?;
        }
        write!(f, "{}) axis {}", if self.dimensions.len() == 1 { "," } else { "" }, self.axis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(dimensions: &[usize], axis: isize) -> (u32, u32, u32) {
        let s = Shape::new(dimensions, axis).unwrap();
        (s.outer(), s.channels(), s.inner())
    }

    #[test]
    fn any_axis_is_seen_as_outer_channel_inner() {
        assert_eq!(view(&[7, 5], 1), (7, 5, 1));
        assert_eq!(view(&[2, 3, 4, 5], 1), (2, 3, 20));
        assert_eq!(view(&[2, 3, 4, 5], -1), (24, 5, 1));
        assert_eq!(view(&[2, 3, 4, 5], 0), (1, 2, 60));
        assert_eq!(view(&[2, 3, 4, 5], 2), (6, 4, 5));
        assert_eq!(view(&[9], 0), (1, 9, 1));
        assert_eq!(view(&[0, 3, usize::MAX, 5], 1), (0, 3, 1));
    }

    #[test]
    fn bad_shapes_are_refused_with_their_numbers() {
        assert_eq!(Shape::new(&[2, 3], 2), Err(Error::AxisOutOfRange { axis: 2, rank: 2 }));
        assert_eq!(Shape::new(&[2, 3], -3), Err(Error::AxisOutOfRange { axis: -3, rank: 2 }));
        assert_eq!(Shape::new(&[], 0), Err(Error::AxisOutOfRange { axis: 0, rank: 0 }));
        assert_eq!(Shape::new(&[2, 0, 3], 1), Err(Error::NoChannels { axis: 1 }));
        assert!(matches!(Shape::new(&[65536, 65536], 1), Err(Error::TooManyElements { .. })));
        assert!(matches!(Shape::new(&[usize::MAX, 3, usize::MAX], 1), Err(Error::TooManyElements { .. })));
        assert!(Shape::new(&[65535, 65536], 1).is_ok());
        assert!(matches!(Shape::new(&[65535, 65537], 1), Err(Error::TooManyElements { .. })));
    }
}
