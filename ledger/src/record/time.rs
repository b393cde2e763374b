//! Time as records carry it: RFC 3339 in UTC with milliseconds, and never going backwards.
#![forbid(unsafe_code)]

const DAY_MS: u64 = 86_400_000;
/// 9999-12-31T23:59:59.999Z: what comes later has no RFC 3339 spelling and is written as this.
const LAST_MS: u64 = 253_402_300_799_999;

/// The time of a record, derived from the clock and the record before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    time_ms: u64,
    clock_back_ms: Option<u64>,
}

impl Stamp {
    /// The stamp that follows a record of time `last_ms` when the clock shows `now_ms`, both in milliseconds
    /// since 1970. A clock that went back does not take the log back: the last time is written again, and by
    /// how much the clock is behind.
    #[must_use]
    pub fn next(last_ms: u64, now_ms: u64) -> Stamp {
        let (last, now) = (last_ms.min(LAST_MS), now_ms.min(LAST_MS));
        Stamp { time_ms: last.max(now), clock_back_ms: last.checked_sub(now).filter(|back| *back > 0) }
    }

    /// The record's time in milliseconds since 1970.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// By how much the clock was behind the record before, if it was.
    #[must_use]
    pub fn clock_back_ms(&self) -> Option<u64> {
        self.clock_back_ms
    }
}

/// Writes a time of milliseconds since 1970 as `2026-11-23T01:23:45.678Z`.
#[must_use]
pub fn rfc3339(unix_ms: u64) -> String {
    let ms = unix_ms.min(LAST_MS);
    let (year, month, day) = civil(ms / DAY_MS);
    let (h, m, s) = (ms / 3_600_000 % 24, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", ms % 1000)
}

/// Reads what [`rfc3339`] writes, and no other spelling of a time.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let [
        y0,
        y1,
        y2,
        y3,
        b'-',
        o0,
        o1,
        b'-',
        d0,
        d1,
        b'T',
        h0,
        h1,
        b':',
        m0,
        m1,
        b':',
        s0,
        s1,
        b'.',
        f0,
        f1,
        f2,
        b'Z',
    ] = *<&[u8; 24]>::try_from(text.as_bytes()).ok()?
    else {
        return None;
    };
    let (year, month, day) = (digits([y0, y1, y2, y3])?, digits([o0, o1])?, digits([d0, d1])?);
    let (h, m, s, ms) = (digits([h0, h1])?, digits([m0, m1])?, digits([s0, s1])?, digits([f0, f1, f2])?);
    if h > 23 || m > 59 || s > 59 {
        return None;
    }
    let days = days(year, month, day)?;
    Some(days * DAY_MS + h * 3_600_000 + m * 60_000 + s * 1000 + ms)
}

fn digits<const N: usize>(bytes: [u8; N]) -> Option<u64> {
    let mut number = 0;
    for byte in bytes {
        number = number * 10 + u64::from(byte.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    Some(number)
}

/// The date of a day counted from 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`: years begin in March, so that the leap day comes last).
fn civil(days: u64) -> (u64, u64, u64) {
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (date, day) = (day - (153 * month + 2) / 5 + 1, month);
    let month = if day < 10 { day + 3 } else { day - 9 };
    (era * 400 + year + u64::from(month <= 2), month, date)
}

/// The inverse of [`civil`]; `None` for what is no date since 1970.
fn days(year: u64, month: u64, date: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || date == 0 {
        return None;
    }
    let y = year - u64::from(month <= 2);
    let (era, y) = (y / 400, y % 400);
    let m = if month > 2 { month - 3 } else { month + 9 };
    let days = era * 146_097 + y * 365 + y / 4 - y / 100 + (153 * m + 2) / 5 + date - 1 - 719_468;
    (civil(days) == (year, month, date)).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pairs from `date -u -d @SECONDS`.
    #[test]
    fn times_are_what_date_says() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_001, "2024-02-29T23:59:59.001Z"),
            (1_795_397_025_678, "2026-11-23T01:23:45.678Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (LAST_MS, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
            assert_eq!(parse_rfc3339(text), Some(ms));
        }
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "2026-11-23T01:23:45Z",
            "2026-11-23T01:23:45.678+",
            "2026-02-29T00:00:00.000Z",
            "2026-13-01T00:00:00.000Z",
            "2026-00-01T00:00:00.000Z",
            "2026-04-31T00:00:00.000Z",
            "2026-04-00T00:00:00.000Z",
            "1969-12-31T23:59:59.999Z",
            "2026-11-23T24:00:00.000Z",
            "2026-11-23T23:60:00.000Z",
            "2026-11-23T23:59:60.000Z",
            "2026-11-23t01:23:45.678Z",
            "2026-11-23T01:23:45.67 Z",
            "٢026-11-23T01:23:45.67Z",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_clock_that_goes_back_leaves_the_log_where_it_was() {
        assert_eq!(Stamp::next(5, 7), Stamp { time_ms: 7, clock_back_ms: None });
        assert_eq!(Stamp::next(7, 7), Stamp { time_ms: 7, clock_back_ms: None });
        assert_eq!(Stamp::next(7, 5), Stamp { time_ms: 7, clock_back_ms: Some(2) });
        assert_eq!(Stamp::next(u64::MAX, u64::MAX).time_ms(), LAST_MS);
    }

    proptest! {
        #[test]
        fn times_go_there_and_back_in_order(a in 0..=LAST_MS, b in 0..=LAST_MS) {
            prop_assert_eq!(parse_rfc3339(&rfc3339(a)), Some(a));
            prop_assert_eq!(rfc3339(a).cmp(&rfc3339(b)), a.cmp(&b));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,30}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z") {
            if let Some(ms) = parse_rfc3339(&text) {
                prop_assert_eq!(rfc3339(ms), text);
            }
        }
    }
}
