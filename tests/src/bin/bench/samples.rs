//! Times that were taken, and what they come to.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// What one benchmark is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Milliseconds,
    Microseconds,
    Megabytes,
    MegabytesPerSecond,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::Megabytes => "MB",
            Self::MegabytesPerSecond => "MB/s",
        }
    }

    /// A time in this unit; what is no time is none.
    fn of(self, time: Duration) -> f64 {
        match self {
            Self::Milliseconds => time.as_secs_f64() * 1e3,
            Self::Microseconds => time.as_secs_f64() * 1e6,
            Self::Megabytes | Self::MegabytesPerSecond => f64::NAN,
        }
    }
}

/// Every time of one benchmark.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Does something and takes its time.
    pub(crate) fn time<T>(&mut self, act: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = act();
        self.push(begun.elapsed());
        result
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn median(&self, unit: Unit) -> f64 {
        let sorted = self.sorted();
        let half = sorted.len() / 2;
        let middle = match (sorted.get(half.wrapping_sub(1)), sorted.get(half)) {
            (Some(low), Some(high)) if sorted.len().is_multiple_of(2) => (*low + *high) / 2,
            (_, Some(middle)) => *middle,
            (_, None) => return f64::NAN,
        };
        unit.of(middle)
    }

    /// The smallest time that 99 in a hundred do not exceed; the largest where there are fewer than a hundred.
    pub(crate) fn p99(&self, unit: Unit) -> f64 {
        let sorted = self.sorted();
        let rank = (sorted.len() * 99).div_ceil(100);
        sorted.get(rank.wrapping_sub(1)).map_or(f64::NAN, |time| unit.of(*time))
    }

    fn sorted(&self) -> Vec<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_p99_are_those_of_the_definition() {
        let mut samples = Samples::default();
        (1..=200u64).rev().for_each(|ms| samples.push(Duration::from_millis(ms)));
        assert_eq!(samples.median(Unit::Milliseconds), 100.5);
        assert_eq!(samples.p99(Unit::Milliseconds), 198.0);
        samples.push(Duration::from_millis(201));
        assert_eq!(samples.median(Unit::Milliseconds), 101.0);
    }
}
