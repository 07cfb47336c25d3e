//! From which size on one line lies below another.

/// Where the first of two times becomes the shorter one and stays so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Crossover {
    /// At every size that was measured.
    Always,
    /// From about this size on, in bytes: between two sizes, where straight lines between their logarithms cross.
    From(f64),
    /// Not at the largest size that was measured.
    Never,
}

/// Of times by size: size, first, second; sizes go up. None without any.
pub fn crossover(times: &[(f64, f64, f64)]) -> Option<Crossover> {
    let is_below = |&(_, first, second): &(f64, f64, f64)| first < second;
    let last = times.last()?;
    if !is_below(last) {
        return Some(Crossover::Never);
    }
    let Some(before) = times.iter().rposition(|time| !is_below(time)) else { return Some(Crossover::Always) };
    let ((low, first, second), (high, later_first, later_second)) = (times.get(before)?, times.get(before + 1)?);
    let (above, below) = ((first / second).ln(), (later_first / later_second).ln());
    let share = above / (above - below);
    Some(Crossover::From((low.ln() + share * (high / low).ln()).exp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_cross_where_the_first_stays_below() {
        assert_eq!(crossover(&[]), None);
        assert_eq!(crossover(&[(1.0, 1.0, 2.0), (4.0, 2.0, 3.0)]), Some(Crossover::Always));
        assert_eq!(crossover(&[(1.0, 1.0, 2.0), (4.0, 4.0, 3.0)]), Some(Crossover::Never));
        // Half as fast again at 4, twice as fast at 16: they meet in the middle, at 8.
        let times = [(1.0, 0.5, 1.0), (4.0, 2.0, 1.0), (16.0, 1.0, 2.0)];
        let Some(Crossover::From(size)) = crossover(&times) else { panic!("no crossover") };
        assert!((size - 8.0).abs() < 1e-9, "{size}");
    }
}
