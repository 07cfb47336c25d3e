//! The one comparer.

use std::fmt;

use crate::dtype::DType;

/// The element that comes closest to its bound, or exceeds it by most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worst {
    /// Where, counted in elements.
    pub index: usize,
    /// What was computed.
    pub got: f64,
    /// What the reference says.
    pub expected: f64,
    /// How far they may lie apart.
    pub bound: f64,
    /// `|got − expected| / bound`; infinite where no bound could make up for it.
    pub ratio: f64,
}

/// How a tensor compares with its expected values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Elements expected.
    pub elements: usize,
    /// Elements that came.
    pub got_elements: usize,
    /// The worst element, the first of equals; none in an empty tensor.
    pub worst: Option<Worst>,
    /// The largest difference where both values are finite.
    pub largest_error: f64,
    /// The largest magnitude of what is expected, where that is finite.
    pub largest_expected: f64,
}

impl Comparison {
    /// Whether all elements came, no more, and each within its bound.
    pub fn passed(&self) -> bool {
        self.elements == self.got_elements && self.ratio() <= 1.0
    }

    /// The worst element's share of its bound; 0 for an empty tensor.
    pub fn ratio(&self) -> f64 {
        self.worst.map_or(0.0, |w| w.ratio)
    }

    /// The largest difference in units in the last place of the largest value, as a type stores it.
    ///
    /// Each element has a bound of its own ([`Comparison::ratio`]); this is one plain number for a whole tensor, whose
    /// small values are sums of large ones and are no more exact than those.
    pub fn ulps(&self, dtype: DType) -> f64 {
        if self.largest_error == 0.0 { 0.0 } else { self.largest_error / ulp(dtype, self.largest_expected) }
    }
}

/// The distance of a value to the next one that a type can store.
fn ulp(dtype: DType, value: f64) -> f64 {
    let (fraction_bits, least_exponent) = match dtype {
        DType::F32 => (23, -126),
        DType::F16 => (10, -14),
        DType::Bf16 => (7, -126),
    };
    let exponent = value.abs().log2().floor().max(f64::from(least_exponent));
    (exponent - f64::from(fraction_bits)).exp2()
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.passed() { "passed" } else { "failed" })?;
        if self.elements != self.got_elements {
            write!(f, ": {} elements, {} expected", self.got_elements, self.elements)?;
        }
        match self.worst {
            Some(Worst { index, got, expected, bound, ratio }) => {
                write!(f, ": worst at {index}: {got:e}, expected {expected:e} ± {bound:e}, {ratio:.3} of the bound")
            }
            None => Ok(()),
        }
    }
}

/// Holds every element of `got` against `expected[i] ± bound(i)`.
///
/// Where a NaN or an infinity is expected, any of them passes and a finite value fails; where a finite value is
/// expected, a NaN or an infinity fails, but an infinite bound lets an infinity pass (what overflows in some
/// roundings only). A bound of 0 asks for equality. Another number of elements is a failure, found by
/// [`Comparison::passed`]; the elements that both have are compared nevertheless.
///
/// ```
/// use wgpu_batchnorm::check::compare;
/// assert!(compare([1.0f32, 2.0], &[1.0, 2.001], |_| 0.01).passed());
/// assert!(!compare([1.0f32, 2.0], &[1.0, 2.1], |_| 0.01).passed());
/// ```
pub fn compare(
    got: impl IntoIterator<Item = impl Into<f64>>,
    expected: &[f64],
    bound: impl Fn(usize) -> f64,
) -> Comparison {
    let mut worst: Option<Worst> = None;
    let (mut got_elements, mut largest_error, mut largest_expected) = (0, 0.0, 0.0);
    for (index, got) in got.into_iter().map(Into::into).enumerate() {
        got_elements += 1;
        let Some(&expected) = expected.get(index) else { continue };
        let bound = bound(index);
        let ratio = ratio(got, expected, bound);
        if got.is_finite() && expected.is_finite() {
            largest_error = f64::max(largest_error, (got - expected).abs());
            largest_expected = f64::max(largest_expected, expected.abs());
        }
        if worst.is_none_or(|w| ratio > w.ratio) {
            worst = Some(Worst { index, got, expected, bound, ratio });
        }
    }
    Comparison { elements: expected.len(), got_elements, worst, largest_error, largest_expected }
}

fn ratio(got: f64, expected: f64, bound: f64) -> f64 {
    match (got.is_finite(), expected.is_finite()) {
        (false, false) => 0.0,
        (true, false) => f64::INFINITY,
        (false, true) if got.is_infinite() && bound == f64::INFINITY => 0.0,
        (false, true) => f64::INFINITY,
        (true, true) if got == expected => 0.0,
        (true, true) if bound > 0.0 => (got - expected).abs() / bound,
        // A bound of 0, a negative one, or NaN: a mistake in a bound must not let anything pass.
        (true, true) => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;
    const INF: f64 = f64::INFINITY;

    fn passes(got: f64, expected: f64, bound: f64) -> bool {
        compare([got], &[expected], |_| bound).passed()
    }

    #[test]
    fn a_value_passes_up_to_its_bound_and_fails_behind_it() {
        assert!(passes(1.5, 1.0, 0.5));
        assert!(!passes(1.5 + 1e-9, 1.0, 0.5));
        assert!(!passes(0.5 - 1e-9, 1.0, 0.5));
        assert!(passes(1.0, 1.0, 0.0));
        assert!(!passes(1.0 + 1e-15, 1.0, 0.0));
    }

    #[test]
    fn what_is_not_finite_matches_only_its_like() {
        assert!(passes(NAN, INF, 0.1) && passes(-INF, NAN, 0.1) && passes(NAN, NAN, 0.1));
        assert!(!passes(1.0, NAN, 0.1) && !passes(1e30, INF, INF));
        assert!(!passes(NAN, 1.0, 0.1) && !passes(INF, 1.0, 1e300) && !passes(NAN, 1.0, INF));
        assert!(passes(INF, 65520.0, INF));
    }

    #[test]
    fn a_bound_that_is_nonsense_lets_nothing_pass() {
        assert!(!passes(1.1, 1.0, NAN) && !passes(1.1, 1.0, -1.0) && !passes(NAN, 1.0, NAN));
    }

    #[test]
    fn another_number_of_elements_is_a_failure() {
        assert!(!compare([1.0f32], &[1.0, 2.0], |_| 1.0).passed());
        assert!(!compare([1.0f32, 2.0, 3.0], &[1.0, 2.0], |_| 1.0).passed());
        assert!(!compare(Vec::<f32>::new(), &[1.0], |_| 1.0).passed());
        assert!(!compare([1.0f32], &[], |_| 1.0).passed());
        assert!(compare(Vec::<f32>::new(), &[], |_| 1.0).passed());
    }

    #[test]
    fn an_error_is_told_in_units_in_the_last_place_of_the_largest_value() {
        let of = |got: [f32; 2], dtype| compare(got, &[1.0, -3.0], |_| 1.0).ulps(dtype);
        assert_eq!(of([1.0, -3.0], DType::F32), 0.0);
        assert_eq!(of([1.0, (-3.0f32).next_up()], DType::F32), 1.0);
        // Twice the step at 1, once the step at 3.
        assert_eq!(of([1.0 + 2.0 * f32::EPSILON, -3.0], DType::F32), 1.0);
        assert_eq!(of([1.0, -3.0 + 0.001953125], DType::F16), 1.0);
        assert_eq!(of([1.0, -3.0 + 0.0625], DType::Bf16), 4.0);
        assert_eq!(compare([1e-45f32], &[0.0], |_| 1.0).ulps(DType::F32), 1.0);
        assert_eq!(compare([f32::NAN, 1.0], &[f64::NAN, 1.0], |_| 1.0).ulps(DType::F32), 0.0);
    }

    #[test]
    fn the_worst_element_is_named_with_its_numbers() {
        let c = compare([1.0f32, 2.5, 3.25], &[1.0, 2.0, 3.0], |i| [1.0, 1.0, 0.125][i]);
        assert_eq!(c.worst, Some(Worst { index: 2, got: 3.25, expected: 3.0, bound: 0.125, ratio: 2.0 }));
        assert_eq!(c.to_string(), "failed: worst at 2: 3.25e0, expected 3e0 ± 1.25e-1, 2.000 of the bound");
    }
}
