//! Times and numbers for people.

use std::time::Duration;

use crate::trace::{SpanKind, Timestamp};

/// A time as it is read at a glance: three digits, or two units.
pub(super) fn duration(time: Duration) -> String {
    let nanos = time.as_nanos();
    let seconds = time.as_secs();
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{} µs", digits(time.as_secs_f64() * 1e6)),
        1_000_000..1_000_000_000 => format!("{} ms", digits(time.as_secs_f64() * 1e3)),
        _ if seconds < 60 => format!("{:.1} s", time.as_secs_f64()),
        _ if seconds < 3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ if seconds < 86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// The same, in whole seconds where it is a second or more: what changes from one look to the next.
pub(super) fn age(time: Duration) -> String {
    match time.as_secs() {
        0 => "< 1 s".into(),
        1..60 => format!("{} s", time.as_secs()),
        _ => duration(time),
    }
}

fn digits(number: f64) -> String {
    match number {
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// A number with its thousands apart.
pub(super) fn count(number: impl TryInto<u64>) -> String {
    let number = number.try_into().unwrap_or(u64::MAX).to_string();
    let mut grouped = String::with_capacity(number.len() + number.len() / 3);
    for (place, digit) in number.char_indices() {
        if place > 0 && (number.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 call`, `2 calls`.
pub(super) fn several(number: usize, one: &str, more: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{} {more}", count(number as u64)),
    }
}

/// A moment in UTC, to the millisecond.
pub(super) fn moment(time: Timestamp) -> String {
    let millis = time.unix_nanos() / 1_000_000;
    let (days, of_day) = (millis / 86_400_000, millis % 86_400_000);
    let (year, month, day) = date(days);
    let (hours, minutes) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (seconds, millis) = (of_day / 1_000 % 60, of_day % 1_000);
    format!("{year}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}.{millis:03} UTC")
}

/// Year, month and day, so many days after 1970-01-01: Hinnant's `civil_from_days`.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// On which side of it this process stands.
pub(super) fn side(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Internal => "internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_three_digits_or_two_units() {
        for (nanos, expected) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_500, "1.50 µs"),
            (45_670_000, "45.7 ms"),
            (456_700_000, "457 ms"),
            (4_200_000_000, "4.2 s"),
            (192_000_000_000, "3 min 12 s"),
            (7_500_000_000_000, "2 h 5 min"),
            (273_600_000_000_000, "3 d 4 h"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanos)), expected);
        }
        assert_eq!(age(Duration::from_millis(4_900)), "4 s");
        assert_eq!(age(Duration::ZERO), "< 1 s");
    }

    #[test]
    fn thousands_stand_apart() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number as u64), expected);
        }
        assert_eq!(
            (&*several(1, "call", "calls"), &*several(0, "call", "calls")),
            ("1 call", "0 calls")
        );
    }

    #[test]
    fn a_moment_is_a_date_and_a_time() {
        for (millis, expected) in [
            (0, "1970-01-01 00:00:00.000 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00.000 UTC"),
            (1_796_036_400_123, "2026-11-30 11:00:00.123 UTC"),
        ] {
            let time = Timestamp::from_unix_nanos(millis * 1_000_000);
            assert_eq!(moment(time), expected);
        }
    }
}
