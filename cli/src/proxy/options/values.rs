//! What a value may look like, the same on the command line and in a file.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use serde::de::value::StrDeserializer;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// A number of bytes: `4096`, `64MiB`, `1GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A time: `100us`, `500ms`, `30s`, `5min`, `1h30min`, `2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(pub Duration);

/// A limit, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrNone<T>(pub Option<T>);

/// The longest first: they are tried in this order, to be read and to be written.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

const PERIODS: [(&str, u64); 7] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("min", 60_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// In microseconds. A clock can add it to what it shows.
const LONGEST: u64 = 366 * 86_400_000_000;

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no size: write 4096, 64KiB or 1GiB");
        let (number, unit, rest) = quantity(text.trim()).ok_or_else(wrong)?;
        let factor = match unit {
            "" => 1,
            _ => factor(&SIZES, unit).ok_or_else(wrong)?,
        };
        if !rest.is_empty() {
            return Err(wrong());
        }
        let bytes = number.checked_mul(factor);
        let bytes = bytes.filter(|bytes| i64::try_from(*bytes).is_ok());
        bytes
            .map(Self)
            .ok_or_else(|| format!("'{text}' is more than there can be"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = &SIZES[..4];
        let fits = binary
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match fits {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no time: write 500ms, 30s, 5min, 1h30min or 2d");
        let mut rest = text.trim();
        let mut total = 0_u64;
        loop {
            let (number, unit, after) = quantity(rest).ok_or_else(wrong)?;
            let factor = factor(&PERIODS, unit).ok_or_else(wrong)?;
            let part = number.checked_mul(factor);
            total = part
                .and_then(|part| total.checked_add(part))
                .filter(|total| *total <= LONGEST)
                .ok_or_else(|| format!("'{text}' is longer than a year"))?;
            rest = after;
            if rest.is_empty() {
                return Ok(Self(Duration::from_micros(total)));
            }
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        let fits = PERIODS.iter().find(|(_, factor)| {
            let factor = u128::from(*factor);
            micros >= factor && micros.is_multiple_of(factor)
        });
        match fits {
            Some((unit, factor)) => write!(f, "{}{unit}", micros / u128::from(*factor)),
            None => write!(f, "{micros}us"),
        }
    }
}

/// A number, the letters after it, and what follows.
fn quantity(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text
        .find(|it: char| !it.is_ascii_digit())
        .unwrap_or(text.len());
    let number = text[..digits].parse().ok()?;
    let unit = text[digits..].trim_start();
    let letters = unit
        .find(|it: char| !it.is_ascii_alphabetic())
        .unwrap_or(unit.len());
    Some((number, &unit[..letters], unit[letters..].trim_start()))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    let found = units.iter().find(|(name, _)| *name == unit)?;
    Some(found.1)
}

impl<T: FromStr> FromStr for OrNone<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        match text {
            "none" => Ok(Self(None)),
            _ => text.parse().map(|limit| Self(Some(limit))),
        }
    }
}

impl<T: fmt::Display> fmt::Display for OrNone<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(limit) => limit.fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// In a file as on the command line: text, or a number where a number is meant.
macro_rules! as_text {
    ($($of:ident)::+ $(<$param:ident>)?) => {
        impl$(<$param: std::fmt::Display>)? serde::Serialize for $($of)::+$(<$param>)? {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de $(, $param: std::str::FromStr<Err: std::fmt::Display>)?> serde::Deserialize<'de>
            for $($of)::+$(<$param>)?
        {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any(crate::proxy::options::values::Text::new())
            }
        }
    };
}

as_text!(Size);
as_text!(Period);
as_text!(OrNone<T>);
as_text!(crate::proxy::address::Address);
as_text!(crate::proxy::listen::Listen);
as_text!(crate::proxy::rules::Pattern);

/// Reads what has a text form.
pub(super) struct Text<T>(PhantomData<T>);

impl<T> Text<T> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

/// A list, or a single value of one.
pub(super) fn one_or_more<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct OneOrMore<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMore<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("text, or a list of texts")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
            T::deserialize(StrDeserializer::new(text)).map(|only| vec![only])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = list.next_element()? {
                all.push(one);
            }
            if all.is_empty() {
                // `allow = []` would read as if it refused everything, or nothing.
                return Err(A::Error::custom("the list is empty: leave the key out"));
            }
            Ok(all)
        }
    }

    from.deserialize_any(OneOrMore(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_as_people_write_them() {
        for (text, bytes, written) in [
            ("0", 0, "0B"),
            ("4096", 4096, "4KiB"),
            ("64MiB", 64 << 20, "64MiB"),
            ("1 GiB", 1 << 30, "1GiB"),
            ("3TiB", 3 << 40, "3TiB"),
            ("1GB", 1_000_000_000, "1000000000B"),
            ("12kB", 12_000, "12000B"),
            ("7B", 7, "7B"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!(size, Size(bytes), "{text}");
            assert_eq!(size.to_string(), written);
            assert_eq!(written.parse(), Ok(size));
        }
        for wrong in [
            "",
            "MiB",
            "-1",
            "1.5MiB",
            "64mib",
            "64 M",
            "1MiB2",
            "1e3",
            "99999999999TiB",
            "18446744073709551616",
        ] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_units_and_may_have_several() {
        for (text, millis, written) in [
            ("0s", 0, "0us"),
            ("500ms", 500, "500ms"),
            ("1500ms", 1_500, "1500ms"),
            ("30s", 30_000, "30s"),
            ("90 s", 90_000, "90s"),
            ("5m", 300_000, "5min"),
            ("1h30min", 5_400_000, "90min"),
            ("1h 1ms", 3_600_001, "3600001ms"),
            ("2d", 172_800_000, "2d"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!(period, Period(Duration::from_millis(millis)), "{text}");
            assert_eq!(period.to_string(), written);
            assert_eq!(written.parse(), Ok(period));
        }
        let short: Period = "1ms 50us".parse().unwrap();
        assert_eq!(short, Period(Duration::from_micros(1_050)));
        assert_eq!(short.to_string(), "1050us");
        for wrong in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "30 seconds",
            "1h30",
            "367d",
            "366d1ms",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(wrong.parse::<Period>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_limit_may_be_none() {
        assert_eq!("none".parse(), Ok(OrNone::<Size>(None)));
        assert_eq!("1".parse(), Ok(OrNone(Some(Size(1)))));
        assert_eq!(OrNone::<Size>(None).to_string(), "none");
        assert!("never".parse::<OrNone<Size>>().is_err());
    }
}
