//! What a task did, what came of it, and how long it took.

use std::time::{Duration, Instant};

use crate::failure::Failure;

/// The steps of a task, in order.
#[derive(Default)]
pub struct Ledger {
    entries: Vec<Entry>,
}

struct Entry {
    step: String,
    time: Duration,
    passed: bool,
}

impl Ledger {
    /// Runs a step and notes it, whatever comes of it.
    pub fn step<T>(&mut self, step: &str, run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        println!("\n== {step}");
        let start = Instant::now();
        let done = run();
        self.note(step, start.elapsed(), done.is_ok());
        done
    }

    /// Runs a step and goes on after it: what failed is told by [`Ledger::close`].
    pub fn attempt(&mut self, step: &str, run: impl FnOnce() -> Result<(), Failure>) {
        if let Err(failure) = self.step(step, run) {
            eprintln!("error: {failure}");
        }
    }

    /// Notes a step that ran elsewhere.
    pub fn note(&mut self, step: &str, time: Duration, passed: bool) {
        self.entries.push(Entry { step: step.to_owned(), time, passed });
    }

    /// The table of all steps.
    pub fn table(&self) -> String {
        let total: Duration = self.entries.iter().map(|e| e.time).sum();
        let width = self.entries.iter().map(|e| e.step.chars().count()).max().unwrap_or(0).max(5);
        let row = |step: &str, time: Duration, result: &str| {
            let share = 100.0 * time.as_secs_f64() / total.as_secs_f64().max(1e-9);
            format!("{step:width$}  {:>8}  {share:>4.0} %  {result}\n", minutes(time))
        };
        let mut text: String =
            self.entries.iter().map(|e| row(&e.step, e.time, if e.passed { "passed" } else { "FAILED" })).collect();
        text.push_str(&row("total", total, ""));
        text
    }

    /// Fails, with the names of the steps that failed, if any did.
    pub fn close(&self) -> Result<(), Failure> {
        let failed: Vec<_> = self.entries.iter().filter(|e| !e.passed).map(|e| e.step.as_str()).collect();
        match failed.as_slice() {
            [] => Ok(()),
            [one] => Err(Failure::new(format!("this step failed: {one}"))),
            several => Err(Failure::new(format!("{} steps failed: {}", several.len(), several.join(", ")))),
        }
    }
}

fn minutes(time: Duration) -> String {
    let tenths = (time.as_secs_f64() * 10.0).round() as u64;
    format!("{}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_named_and_the_rest_still_ran() {
        let mut ledger = Ledger::default();
        ledger.attempt("first", || Err(Failure::new("no")));
        ledger.attempt("second", || Ok(()));
        assert_eq!(ledger.close().unwrap_err().to_string(), "this step failed: first");
        assert_eq!(ledger.entries.len(), 2);
    }

    #[test]
    fn times_are_minutes_and_seconds() {
        assert_eq!(minutes(Duration::from_millis(61_960)), "1:02.0");
        assert_eq!(minutes(Duration::from_millis(250)), "0:00.3");
    }
}
