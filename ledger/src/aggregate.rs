//! Refusals, counted.
//!
//! Anyone who may connect can be refused as often as they like. So that this fills neither disk nor memory:
//! the first refusal of a uid and code in a window is recorded at once, the rest are one record at the
//! window's end; the number of counters is bounded, and so is the number of records in a window, whatever
//! was refused. What finds no room is still counted, together, as `others`.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use crate::record::{Fields, Value, rfc3339};

/// The bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How long refusals are counted before they are recorded, in milliseconds.
    pub window_ms: u64,
    /// How many pairs of uid and code are counted apart.
    pub counters: usize,
    /// How many records a window may make, the one of `others` not counted.
    pub records: usize,
}

impl Default for Bounds {
    /// A minute, 4096 counters, 256 records: at most some 40 KB of log a minute.
    fn default() -> Bounds {
        Bounds { window_ms: 60_000, counters: 4096, records: 256 }
    }
}

/// The counters of the window.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    bounds: Bounds,
    /// When the window began: at its first refusal.
    since_ms: Option<u64>,
    /// How many were refused and not recorded yet. A key with 0 had its one refusal recorded at once.
    counters: BTreeMap<(u32, u32), u64>,
    others: u64,
    recorded: usize,
}

impl Refusals {
    /// No refusal yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Refusals {
        Refusals { bounds, ..Refusals::default() }
    }

    /// Notes a refusal of `uid` with the stable `code`. Gives back what is to be recorded at once, if anything:
    /// a record of kind [`Refusals`](crate::record::Kind::Refusals).
    ///
    /// Call [`Refusals::due`] first: a window that has ended keeps counting until then.
    pub fn note(&mut self, now_ms: u64, uid: u32, code: u32) -> Option<Fields> {
        self.since_ms.get_or_insert(now_ms);
        if let Some(count) = self.counters.get_mut(&(uid, code)) {
            *count = count.saturating_add(1);
            return None;
        }
        if self.counters.len() >= self.bounds.counters {
            self.others = self.others.saturating_add(1);
            return None;
        }
        // Half of the records are kept for the window's end, where each says more.
        let at_once = self.recorded < self.bounds.records / 2;
        self.counters.insert((uid, code), u64::from(!at_once));
        if !at_once {
            return None;
        }
        self.recorded += 1;
        Some(refused(uid, code, 1))
    }

    /// Gives back the records of the window if it has ended by `now_ms`; else nothing.
    #[must_use = "the counts are gone from here"]
    pub fn due(&mut self, now_ms: u64) -> Vec<Fields> {
        let ended = self.since_ms.is_some_and(|since| now_ms.saturating_sub(since) >= self.bounds.window_ms);
        if ended { self.drain(now_ms) } else { Vec::new() }
    }

    /// Ends the window now and gives back its records: for a daemon that stops.
    #[must_use = "the counts are gone from here"]
    pub fn drain(&mut self, now_ms: u64) -> Vec<Fields> {
        let since_ms = self.since_ms.take().unwrap_or(now_ms);
        let room = self.bounds.records.saturating_sub(std::mem::take(&mut self.recorded));
        let mut counted: Vec<_> =
            std::mem::take(&mut self.counters).into_iter().filter(|(_, count)| *count > 0).collect();
        // Who was refused most is named, whoever else hides behind many uids.
        counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let beyond = counted.split_off(room.min(counted.len()));
        let others = beyond
            .iter()
            .fold(std::mem::take(&mut self.others), |sum, (_, count)| sum.saturating_add(*count));

        let window = |fields: Fields| {
            fields.with("from", Value::text(rfc3339(since_ms))).with("to", Value::text(rfc3339(now_ms)))
        };
        let mut records: Vec<Fields> =
            counted.into_iter().map(|((uid, code), count)| window(refused(uid, code, count))).collect();
        if others > 0 {
            let all = Fields::new().with("others", Value::Bool(true)).with("count", Value::Number(others));
            records.push(window(all));
        }
        records
    }
}

fn refused(uid: u32, code: u32, count: u64) -> Fields {
    Fields::new()
        .with("uid", Value::Number(uid.into()))
        .with("code", Value::Number(code.into()))
        .with("count", Value::Number(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(fields: &Fields) -> u64 {
        match fields.get("count") {
            Some(Value::Number(count)) => *count,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_is_recorded_at_once_and_the_rest_as_one() {
        let mut refusals = Refusals::new(Bounds::default());
        assert_eq!(refusals.note(1000, 5, 7), Some(refused(5, 7, 1)));
        for _ in 0..1_000_000 {
            assert_eq!(refusals.note(1001, 5, 7), None);
        }
        assert_eq!(refusals.note(1001, 5, 8), Some(refused(5, 8, 1)));
        assert_eq!(refusals.due(60_999), []);
        let due = refusals.due(61_000);
        assert_eq!(due.iter().map(count).collect::<Vec<_>>(), [1_000_000]);
        assert_eq!(due[0].get("from"), Some(&Value::text("1970-01-01T00:00:01.000Z")));
        assert_eq!(refusals.due(200_000), []);
        assert_eq!(refusals.note(200_000, 5, 7), Some(refused(5, 7, 1)), "a new window");
    }

    #[test]
    fn many_uids_fill_neither_memory_nor_disk() {
        let mut refusals = Refusals::new(Bounds::default());
        let at_once = (0..100_000).filter_map(|uid| refusals.note(0, uid, 1)).count();
        assert_eq!(refusals.counters.len(), 4096);
        let due = refusals.due(60_000);
        assert!(at_once + due.len() <= 257, "{at_once} at once, {} later", due.len());
        assert_eq!(at_once as u64 + due.iter().map(count).sum::<u64>(), 100_000);
        assert_eq!(due.last().and_then(|fields| fields.get("others")), Some(&Value::Bool(true)));
    }

    #[test]
    fn whoever_is_refused_most_is_named_among_many() {
        let mut refusals = Refusals::new(Bounds { window_ms: 10, counters: 100, records: 4 });
        for uid in 0..100 {
            let _ = refusals.note(0, uid, 1);
        }
        let _ = (0..50).filter_map(|_| refusals.note(0, 77, 1)).count();
        assert_eq!(refusals.due(10)[0].get("uid"), Some(&Value::Number(77)));
    }

    #[test]
    fn a_clock_that_goes_back_ends_no_window() {
        let mut refusals = Refusals::new(Bounds::default());
        let _ = refusals.note(100_000, 5, 7);
        let _ = refusals.note(100_000, 5, 7);
        assert_eq!(refusals.due(0), []);
        assert_eq!(refusals.due(u64::MAX).len(), 1);
    }

    proptest! {
        #[test]
        fn every_refusal_is_counted_once(notes in prop::collection::vec((0u64..200, 0u32..9, 0u32..4), 0..300)) {
            let bounds = Bounds { window_ms: 50, counters: 8, records: 6 };
            let mut refusals = Refusals::new(bounds);
            let mut counted = 0;
            for (now, uid, code) in &notes {
                let due = refusals.due(*now);
                prop_assert!(due.len() <= bounds.records + 1);
                counted += due.iter().map(count).sum::<u64>();
                counted += refusals.note(*now, *uid, *code).iter().map(count).sum::<u64>();
            }
            counted += refusals.drain(1000).iter().map(count).sum::<u64>();
            prop_assert_eq!(counted, notes.len() as u64);
        }
    }
}
