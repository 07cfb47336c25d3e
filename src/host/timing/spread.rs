//! What many measurements of one thing say.

/// The median of many measurements, and the quartiles around it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "check", derive(serde::Serialize, serde::Deserialize))]
pub struct Spread {
    /// Half of the measurements lie below.
    pub median: f64,
    /// The lower quartile.
    pub low: f64,
    /// The upper quartile.
    pub high: f64,
}

impl Spread {
    /// The median and quartiles of some measurements, interpolated between neighbours; all 0 if there are none.
    pub fn of(measurements: &[f64]) -> Self {
        let mut sorted = measurements.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * sorted.len().saturating_sub(1) as f64;
            let (below, above) = (sorted.get(place.floor() as usize), sorted.get(place.ceil() as usize));
            match (below, above) {
                (Some(below), Some(above)) => below + (above - below) * place.fract(),
                _ => 0.0,
            }
        };
        Self { median: at(0.5), low: at(0.25), high: at(0.75) }
    }

    /// The distance between the quartiles in units of the median.
    pub fn width(&self) -> f64 {
        if self.median > 0.0 { (self.high - self.low) / self.median } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_stand_around_the_median() {
        assert_eq!(Spread::of(&[5.0, 1.0, 3.0, 2.0, 4.0]), Spread { median: 3.0, low: 2.0, high: 4.0 });
        assert_eq!(Spread::of(&[2.0, 1.0]), Spread { median: 1.5, low: 1.25, high: 1.75 });
        assert_eq!(Spread::of(&[7.0]), Spread { median: 7.0, low: 7.0, high: 7.0 });
        assert_eq!(Spread::of(&[]), Spread::default());
        assert_eq!(Spread { median: 2.0, low: 1.5, high: 2.5 }.width(), 0.5);
    }
}
