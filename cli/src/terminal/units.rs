//! Numbers for people. What does not fit is cut off, not rounded: 999.9 µs is never 1000 µs.

/// `nanoseconds` in the unit that needs the fewest digits, three of which are shown.
pub fn duration(nanoseconds: u64) -> String {
    const MICRO: u64 = 1_000;
    const MILLI: u64 = 1_000 * MICRO;
    const SECOND: u64 = 1_000 * MILLI;
    let seconds = nanoseconds / SECOND;
    match nanoseconds {
        0..MICRO => format!("{nanoseconds} ns"),
        MICRO..MILLI => format!("{} µs", three_digits(nanoseconds, MICRO)),
        MILLI..SECOND => format!("{} ms", three_digits(nanoseconds, MILLI)),
        _ if seconds < 60 => format!("{} s", three_digits(nanoseconds, SECOND)),
        _ if seconds < 3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// How long after `start` is `time`? With a sign; clocks of two processes may differ.
pub fn offset(start: u64, time: u64) -> String {
    if time >= start {
        format!("+{}", duration(time - start))
    } else {
        format!("-{}", duration(start - time))
    }
}

/// `number` with a comma between thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `value / unit`, which is below 1000, with three digits.
fn three_digits(value: u64, unit: u64) -> String {
    let whole = value / unit;
    let thousandths = value % unit * 1_000 / unit;
    match whole {
        0..10 => format!("{whole}.{:02}", thousandths / 10),
        10..100 => format!("{whole}.{}", thousandths / 100),
        _ => whole.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (12_345, "12.3 µs"),
            (999_999, "999 µs"),
            (1_234_567, "1.23 ms"),
            (999_999_999, "999 ms"),
            (1_000_000_000, "1.00 s"),
            (59_999_000_000, "59.9 s"),
            (60_000_000_000, "1 min 00 s"),
            (3_599_000_000_000, "59 min 59 s"),
            (3_661_000_000_000, "1 h 01 min"),
            (u64::MAX, "5124095 h 34 min"),
        ];
        for (nanoseconds, text) in cases {
            assert_eq!(duration(nanoseconds), text);
        }
    }

    #[test]
    fn offsets_have_a_sign() {
        assert_eq!(offset(5, 7), "+2 ns");
        assert_eq!(offset(7, 5), "-2 ns");
        assert_eq!(offset(5, 5), "+0 ns");
    }

    #[test]
    fn thousands_are_parted() {
        let texts = [0, 999, 1_000, 12_345, 1_234_567].map(count);
        assert_eq!(texts, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }
}
