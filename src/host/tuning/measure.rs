//! From the built-in table to the tuning that is faster: one number after the other.

use super::course::{Compared, Course, Race};
use super::numbers::NUMBERS;
use crate::error::Error;
use crate::host::Gpu;
use crate::host::timing::Spread;
use crate::plan::Tuning;

/// A gain or a loss below this share is no reason.
const MARGIN: f64 = 0.03;
/// Rounds of two tunings in turn, and in the end.
const ROUNDS: usize = 7;
const LAST_ROUNDS: usize = 11;

/// Phases of a measurement that are told: one for each number, and the last comparison.
pub const PHASES: usize = NUMBERS.len() + 1;

/// A value that was tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Which number.
    pub name: &'static str,
    /// Its value before.
    pub from: u32,
    /// The value tried.
    pub to: u32,
    /// Its time in units of the time before, over everything whose plan it changes: below 1 it is faster.
    pub ratio: Spread,
    /// Whether it stays.
    pub taken: bool,
}

/// What measuring an adapter found.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Where it began.
    pub built_in: Tuning,
    /// What is fastest; the built-in table where nothing was faster than that.
    pub tuning: Tuning,
    /// What was tried, in order.
    pub trials: Vec<Trial>,
    /// All moves together against the built-in table, over everything whose plan they change; none where nothing moved.
    pub overall: Option<Spread>,
    /// The same, shape by shape and operation by operation.
    pub each: Vec<Compared>,
}

impl Race {
    /// Whether the second tuning is faster by more than the noise, and clearly slower nowhere.
    fn is_won(&self) -> bool {
        self.overall.high < 1.0 - MARGIN && self.each.iter().all(|compared| compared.ratio.low < 1.0 + MARGIN)
    }
}

/// [`Tuning::measure`] that tells what was tried; `phase` hears what is measured next, [`PHASES`] times.
///
/// # Errors
/// As [`Tuning::measure`].
pub async fn measure(gpu: &Gpu, phase: &dyn Fn(&str)) -> Result<Measurement, Error> {
    let course = Course::new(gpu).await?;
    let built_in = gpu.norms().with_tuning(&Tuning::for_device(gpu.norms().facts()));
    let mut best = built_in.clone();
    let mut trials = Vec::new();
    for number in NUMBERS {
        phase(number.name);
        let start = number.of(best.tuning());
        for direction in number.directions(start) {
            // Where one direction won, the other leads back.
            if number.of(best.tuning()) != start {
                break;
            }
            for to in direction {
                let from = number.of(best.tuning());
                let candidate = best.with_tuning(&number.with(best.tuning(), to));
                if number.of(candidate.tuning()) != to {
                    break;
                }
                // A driver may refuse what its limits allow: no candidate then. Nor is one on which nothing depends.
                let Ok(pairs) = course.pairs(&best, &candidate) else { break };
                if pairs.is_empty() {
                    break;
                }
                let race = course.race(pairs, ROUNDS).await?;
                let taken = race.is_won();
                trials.push(Trial { name: number.name, from, to, ratio: race.overall, taken });
                if !taken {
                    break;
                }
                best = candidate;
            }
        }
    }
    phase("all together");
    let pairs = course.pairs(&built_in, &best)?;
    let race = if pairs.is_empty() { None } else { Some(course.race(pairs, LAST_ROUNDS).await?) };
    let stays = race.as_ref().is_some_and(Race::is_won);
    let (overall, each) = race.map_or((None, Vec::new()), |race| (Some(race.overall), race.each));
    let tuning = if stays { best.tuning().clone() } else { built_in.tuning().clone() };
    Ok(Measurement { built_in: built_in.tuning().clone(), tuning, trials, overall, each })
}
