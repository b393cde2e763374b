//! The table for people and the file for machines.
#![forbid(unsafe_code)]

use crate::samples::{Samples, Unit};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

/// The most that may be measured.
#[derive(Debug, Clone, Copy)]
enum Bar {
    /// As many times what the peer takes.
    Ratio(f64),
    /// At least as many times what the peer gives.
    AtLeast(f64),
    /// In the benchmark's own unit.
    Value(f64),
}

/// What is promised. A benchmark that is not here is for information.
const BARS: [(&str, Bar); 11] = [
    ("sandbox_cold", Bar::Ratio(1.3)),
    ("sandbox_second", Bar::Ratio(0.4)),
    ("sandbox_pool", Bar::Ratio(0.1)),
    ("sandbox_process", Bar::Ratio(2.0)),
    ("sandbox_shim", Bar::Ratio(1.1)),
    ("request", Bar::Value(200.0)),
    ("idle_daemon_rss", Bar::Value(14.0)),
    ("idle_relay_rss", Bar::Value(3.0)),
    ("idle_init_rss", Bar::Value(2.0)),
    ("sandbox_pss", Bar::Ratio(1.15)),
    ("stream_out", Bar::AtLeast(0.5)),
];

/// One line of the table.
#[derive(Debug, Clone)]
struct Row {
    name: String,
    value: f64,
    unit: Unit,
    p99: Option<f64>,
    count: usize,
    peer: Option<(String, f64)>,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.peer.as_ref().map(|(_, peer)| self.value / peer)
    }

    fn bar(&self) -> Option<Bar> {
        BARS.iter().find(|(name, _)| *name == self.name).map(|(_, bar)| *bar)
    }

    /// Whether it keeps to its bar, if it has one.
    fn kept(&self) -> Option<bool> {
        let (found, most) = match self.bar()? {
            Bar::AtLeast(least) => return Some(self.ratio().is_some_and(|ratio| ratio >= least)),
            Bar::Ratio(most) => (self.ratio().unwrap_or(f64::INFINITY), most),
            Bar::Value(most) => (self.value, most),
        };
        Some(found <= most)
    }

    fn cells(&self) -> [String; 9] {
        let optional = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), rounded);
        let bar = match self.bar() {
            Some(Bar::AtLeast(least)) => format!("ratio at least {least}"),
            Some(Bar::Ratio(most)) => format!("ratio {most}"),
            Some(Bar::Value(most)) => format!("{most} {}", self.unit.name()),
            None => "-".to_owned(),
        };
        [
            self.name.clone(),
            rounded(self.value),
            self.unit.name().to_owned(),
            optional(self.p99),
            self.count.to_string(),
            self.peer
                .as_ref()
                .map_or_else(|| "-".to_owned(), |(name, value)| format!("{name} {}", rounded(*value))),
            optional(self.ratio()),
            bar,
            match self.kept() {
                Some(true) => "ok",
                Some(false) => "over",
                None => "",
            }
            .to_owned(),
        ]
    }
}

/// Three figures are more than a shared machine gives.
fn rounded(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
    failed: Vec<String>,
}

impl Report {
    /// Times beside those of a peer.
    pub(crate) fn versus(&mut self, name: &str, unit: Unit, ours: &Samples, peer: &str, theirs: &Samples) {
        self.times(name, unit, ours);
        if let Some(row) = self.rows.last_mut() {
            row.peer = Some((peer.to_owned(), theirs.median(unit)));
        }
    }

    /// Times with nothing to compare to.
    pub(crate) fn times(&mut self, name: &str, unit: Unit, samples: &Samples) {
        let (value, p99, count) = (samples.median(unit), Some(samples.p99(unit)), samples.len());
        self.rows.push(Row { name: name.to_owned(), value, unit, p99, count, peer: None });
    }

    /// A number that was found without a distribution of single times.
    pub(crate) fn value(&mut self, name: &str, unit: Unit, value: f64, count: usize) {
        self.rows.push(Row { name: name.to_owned(), value, unit, p99: None, count, peer: None });
    }

    /// Such a number beside a peer's.
    pub(crate) fn beside(
        &mut self,
        name: &str,
        unit: Unit,
        ours: f64,
        peer: &str,
        theirs: f64,
        count: usize,
    ) {
        let (name, peer) = (name.to_owned(), Some((peer.to_owned(), theirs)));
        self.rows.push(Row { name, value: ours, unit, p99: None, count, peer });
    }

    /// Something a reader of the table must know.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Something that was to be timed and did not work. It is not among the times.
    pub(crate) fn failed(&mut self, what: impl Into<String>) {
        self.failed.push(what.into());
    }

    /// Whether everything that was timed worked.
    pub(crate) fn is_whole(&self) -> bool {
        self.failed.is_empty()
    }

    /// Whether something is over its bar, or was not measured at all.
    pub(crate) fn over(&self) -> bool {
        BARS.iter().any(|(name, _)| {
            !self.rows.iter().find(|row| row.name == *name).and_then(Row::kept).unwrap_or(false)
        })
    }

    pub(crate) fn print(&self) {
        let head = ["benchmark", "median", "unit", "p99", "n", "peer (median)", "ratio", "bar", ""]
            .map(str::to_owned);
        let rows: Vec<_> = std::iter::once(head).chain(self.rows.iter().map(Row::cells)).collect();
        let mut widths = [0; 9];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &rows {
            let line = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
                // Numbers stand by their last digit.
                1 | 3 | 4 | 6 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            });
            println!("{}", line.collect::<Vec<_>>().join("  ").trim_end());
        }
        self.notes.iter().for_each(|note| println!("* {note}"));
        self.failed.iter().for_each(|what| println!("FAILED: {what}"));
    }

    pub(crate) fn write(&self, path: &Path) {
        let all: Map<String, Value> = self
            .rows
            .iter()
            .map(|row| {
                let value = json!({
                    "value": row.value,
                    "unit": row.unit.name(),
                    "p99": row.p99,
                    "n": row.count,
                    "peer": row.peer.as_ref().map(|(name, _)| name),
                    "ratio": row.ratio(),
                });
                (row.name.clone(), value)
            })
            .collect();
        let text = serde_json::to_string_pretty(&Value::Object(all)).unwrap();
        fs::write(path, text + "\n").unwrap();
    }
}
