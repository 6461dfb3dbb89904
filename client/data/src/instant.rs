//! Dates and times of day as numbers: days since 1970-01-01, the same from text and from Parquet.

use std::fmt;

const SECONDS_PER_DAY: i64 = 86_400;
const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// The day that Julian day numbers, which begin at noon, call 2,440,588 in the afternoon of 1970-01-01.
const JULIAN_1970: i64 = 2_440_588;

/// A point in time, without a zone of its own: where a text names an offset, it was subtracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instant {
    /// Since 1970-01-01.
    days: i64,
    /// Nanoseconds since the day began, less than a day's.
    nanos: i64,
}

impl Instant {
    pub(crate) fn of_days(days: i32) -> Self {
        Self { days: days.into(), nanos: 0 }
    }

    /// Of units since 1970-01-01, of which `per_second`, a power of ten of at most 10^9, make a second.
    pub(crate) fn of_units(units: i64, per_second: i64) -> Self {
        let per_day = SECONDS_PER_DAY * per_second;
        let nanos = units.rem_euclid(per_day) * (NANOS_PER_SECOND / per_second);
        Self { days: units.div_euclid(per_day), nanos }
    }

    /// Of a Julian day and nanoseconds since midnight, as Parquet's INT96 has them.
    pub(crate) fn of_julian(day: u32, nanos: i64) -> Self {
        let whole = Self::of_units(nanos, NANOS_PER_SECOND);
        Self { days: whole.days + i64::from(day) - JULIAN_1970, ..whole }
    }

    /// Reads `2024-05-31`, or that with a time: `T` or a space, hours and minutes, seconds and their fraction if there are
    /// any, then `Z`, an offset from UTC such as `+02:00`, or neither (ISO 8601, the extended format).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (date, time) = match text.get(..10)? {
            date if text.len() == 10 => (date, None),
            date => (date, Some(text[10..].strip_prefix(['T', 't', ' '])?)),
        };
        let days = match *split(date, '-')?.as_slice() {
            [year, month, day] if date.as_bytes()[4] == b'-' && date.as_bytes()[7] == b'-' => {
                days(i64::from(year), month, day)?
            }
            _ => return None,
        };
        let Some(time) = time else { return Some(Self { days, nanos: 0 }) };
        let (time, offset) = zone(time)?;
        let nanos = time_of_day(time)? - offset * 60 * NANOS_PER_SECOND;
        let shifted = Self::of_units(nanos, NANOS_PER_SECOND);
        Some(Self { days: days + shifted.days, ..shifted })
    }

    /// Days since 1970-01-01, in which a microsecond is told apart for the next thousand years.
    pub(crate) fn number(self) -> f64 {
        self.days as f64 + self.nanos as f64 / (SECONDS_PER_DAY * NANOS_PER_SECOND) as f64
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.days);
        write!(f, "{year:04}-{month:02}-{day:02}")?;
        if self.nanos == 0 {
            return Ok(());
        }
        let (seconds, fraction) = (self.nanos / NANOS_PER_SECOND, self.nanos % NANOS_PER_SECOND);
        write!(f, "T{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        match fraction {
            0 => Ok(()),
            _ => write!(f, ".{}", format!("{fraction:09}").trim_end_matches('0')),
        }
    }
}

/// Digits between separators, each part of two digits, or of four at the front of a date.
fn split(text: &str, separator: char) -> Option<Vec<u32>> {
    let part = |part: &str| {
        let digits = !part.is_empty() && part.len() <= 4 && part.bytes().all(|b| b.is_ascii_digit());
        if digits { part.parse().ok() } else { None }
    };
    text.split(separator).map(part).collect()
}

/// What is left of a time without its zone, and the zone's minutes ahead of UTC.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(at) = time.find(['+', '-']) else { return Some((time, 0)) };
    let (time, offset) = time.split_at(at);
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let digits: String = offset[1..].chars().filter(|&c| c != ':').collect();
    let minutes = match (digits.len(), digits.parse::<i64>()) {
        (2, Ok(hours)) => hours * 60,
        (4, Ok(both)) if both % 100 < 60 => both / 100 * 60 + both % 100,
        _ => return None,
    };
    let valid = digits.bytes().all(|b| b.is_ascii_digit()) && minutes <= 24 * 60;
    valid.then_some((time, sign * minutes))
}

/// Nanoseconds since midnight. Digits beyond the ninth after the point are dropped.
fn time_of_day(time: &str) -> Option<i64> {
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let shape = clock.split(':').all(|part| part.len() == 2);
    let (hours, minutes, seconds) = match *split(clock, ':')?.as_slice() {
        [hours, minutes] if !time.contains('.') => (hours, minutes, 0),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        _ => return None,
    };
    let digits = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    if !(shape && digits && hours < 24 && minutes < 60 && seconds < 60) {
        return None;
    }
    let fraction = format!("{:0<9}", fraction.get(..9).unwrap_or(fraction)).parse::<i64>().ok()?;
    Some(i64::from((hours * 60 + minutes) * 60 + seconds) * NANOS_PER_SECOND + fraction)
}

/// Days since 1970-01-01 of a date (H. Hinnant, chrono-Compatible Low-Level Date Algorithms, days_from_civil).
fn days(year: i64, month: u32, day: u32) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = i64::from((153 * ((month + 9) % 12) + 2) / 5 + day - 1);
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// Year, month and day (the same source, civil_from_days).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days - era * 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Option<f64> {
        Instant::parse(text).map(Instant::number)
    }

    #[test]
    fn known_days() {
        for (text, days) in [
            ("1970-01-01", 0.0),
            ("1969-12-31", -1.0),
            ("2000-02-29", 11_016.0),
            ("2024-05-31", 19_874.0),
            ("0001-01-01", -719_162.0),
            ("9999-12-31", 2_932_896.0),
            ("1970-01-02T12:00", 1.5),
            ("1970-01-02 12:00:00.000", 1.5),
            ("1970-01-02T12:00:00Z", 1.5),
            ("1970-01-02T12:00:00+12:00", 1.0),
            ("1970-01-01T18:00-0600", 1.0),
            ("1970-01-01T06:00:00.000000000999+06", 0.0),
        ] {
            assert_eq!(number(text), Some(days), "{text}");
        }
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "2024",
            "2024-5-31",
            "24-05-31",
            "2024-13-01",
            "2024-02-30",
            "2023-02-29",
            "2024-00-10",
            "2024-05-31T",
            "2024-05-31T24:00",
            "2024-05-31T12",
            "2024-05-31T12:60",
            "2024-05-31T1:00",
            "2024-05-31T12:00:00.",
            "2024-05-31T12:00.5",
            "2024-05-31T12:00+1",
            "2024-05-31T12:00+99",
            "2024-05-31x",
            "+024-05-31",
            "2024-05-3é",
            "20240531",
            "31.05.2024",
            "2024/05/31",
            "2024-05-311",
        ] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for days in (-146_097..146_097).step_by(7) {
            let instant = Instant::of_days(days);
            assert_eq!(Instant::parse(&instant.to_string()), Some(instant), "{instant}");
        }
    }

    #[test]
    fn units_and_text_agree() {
        for (units, per_second) in
            [(-1, 1), (1_717_171_717_123, 1000), (1_717_171_717_123_456, 1_000_000), (-7, 1000)]
        {
            let instant = Instant::of_units(units, per_second);
            assert_eq!(Instant::parse(&instant.to_string()), Some(instant), "{instant}");
        }
        assert_eq!(Instant::of_julian(2_440_589, 43_200 * NANOS_PER_SECOND).number(), 1.5);
    }
}
