//! Durations as the vendor writes them: the notation of Go, like `1h25m43s` (contract, section 8.1, D41).

use domain::{Error, SignedDuration};

/// Units with their nanoseconds. Both signs that Unicode has for "micro" are taken, as Go does.
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Digits of a fraction beyond these are below a nanosecond in every unit.
const FRACTION: usize = 15;

/// Reads a duration.
///
/// # Errors
/// `invalid_field` about `field` when it is none, is negative, or is longer than 64 bits of nanoseconds hold (292 years).
pub(super) fn parse(field: &str, text: &str) -> Result<SignedDuration, Error> {
    let shown: String = text.chars().take(64).collect();
    let wrong = |why: &str| {
        Error::invalid(field, format!("{field}: '{shown}' {why}"))
            .hint("like 10s, 1h25m43s or 1.5h; units are h m s ms us ns")
    };
    let nanos = nanoseconds(text).ok_or_else(|| wrong("is no duration"))?;
    if nanos < 0 {
        return Err(wrong("is negative"));
    }
    let nanos = i64::try_from(nanos).map_err(|_| wrong("is too long"))?;
    Ok(SignedDuration::from_nanos(nanos))
}

/// Prints a duration in the shortest form without zero parts; below a second in the largest unit that needs no zero
/// before the point, as Go does.
pub(super) fn print(duration: SignedDuration) -> String {
    let nanos = duration.as_nanos();
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let small = match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => Some(("ns", 1)),
        1_000..1_000_000 => Some(("us", 1_000)),
        1_000_000..1_000_000_000 => Some(("ms", 1_000_000)),
        _ => None,
    };
    if let Some((unit, size)) = small {
        return format!("{sign}{}{unit}", decimal(nanos, size));
    }
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60 * 1_000_000_000 + rest);
    let mut text = sign.to_owned();
    for (amount, unit, size) in [(hours, 'h', 1), (minutes, 'm', 1), (seconds, 's', 1_000_000_000)] {
        if amount > 0 {
            text.push_str(&decimal(amount, size));
            text.push(unit);
        }
    }
    text
}

/// `amount / size` as a decimal without needless zeros; `size` is a power of ten.
fn decimal(amount: u128, size: u128) -> String {
    let fraction = amount % size;
    if fraction == 0 {
        return (amount / size).to_string();
    }
    let width = size.ilog10() as usize;
    format!("{}.{}", amount / size, format!("{fraction:0width$}").trim_end_matches('0'))
}

/// The nanoseconds of a text in Go's notation; beyond 128 bits they stay at the largest number there is.
fn nanoseconds(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    // The one duration without a unit.
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (_, size) = UNITS.into_iter().find(|(unit, _)| *unit == &after[..end])?;
        let fraction = &fraction[..fraction.len().min(FRACTION)];
        let part = number(fraction) * size / 10i128.pow(fraction.len() as u32);
        sum = sum.saturating_add(number(whole).saturating_mul(size)).saturating_add(part);
        rest = &after[end..];
    }
    Some(if negative { -sum } else { sum })
}

/// The digits at the beginning, and what follows them.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// The number of some digits; none is 0, and too many are the largest number there is.
fn number(digits: &str) -> i128 {
    if digits.is_empty() { 0 } else { digits.parse().unwrap_or(i128::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<SignedDuration> {
        parse("lifeTime", text).ok()
    }

    #[test]
    fn the_forms_of_go_are_read() {
        // D41
        for (text, nanos) in [
            ("10s", 10_000_000_000),
            ("1m", 60_000_000_000),
            ("1h25m43s", 5_143_000_000_000),
            ("0", 0),
            ("-0s", 0),
            ("+5s", 5_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("7ns", 7),
            ("8us", 8_000),
            ("8\u{b5}s", 8_000),
            ("8\u{3bc}s", 8_000),
            ("9ms", 9_000_000),
            ("1s1s", 2_000_000_000),
            ("43s25m1h", 5_143_000_000_000),
            ("0.000000001999s", 1),
            ("0.1234567890123456789h", 444_444_440_444),
            ("9223372036854775807ns", i64::MAX),
        ] {
            assert_eq!(read(text), Some(SignedDuration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused_and_named() {
        // D41
        let long = "9".repeat(60) + "h";
        for text in [
            "", "-", "10", "s", ".s", "1d", "1 s", "1h 5m", "1S", "--1s", "1.2.3s", "1e3s", "\u{3bc}s", "٣s",
            "1\u{3bc}",
        ] {
            let error = parse("ackTimeout", text).expect_err(text);
            assert_eq!(error.message, format!("ackTimeout: '{text}' is no duration"));
            assert_eq!(error.field.as_deref(), Some("ackTimeout"));
        }
        for (text, why) in [
            ("-1s", "is negative"),
            ("-1h5m", "is negative"),
            ("9223372036854775808ns", "is too long"),
            ("2562048h", "is too long"),
            (long.as_str(), "is too long"),
        ] {
            let error = parse("ackTimeout", text).expect_err(text);
            assert!(error.message.ends_with(why), "{}", error.message);
        }
    }

    #[test]
    fn the_shortest_form_is_printed() {
        // D41
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5us"),
            (100_000_000, "100ms"),
            (999_999_999, "999.999999ms"),
            (1_000_000_000, "1s"),
            (60_000_000_000, "1m"),
            (90_500_000_000, "1m30.5s"),
            (3_600_000_000_000, "1h"),
            (3_605_000_000_000, "1h5s"),
            (5_143_000_000_000, "1h25m43s"),
            (86_400_000_000_000, "24h"),
            (1_000_000_001, "1.000000001s"),
            (-5_400_000_000_000, "-1h30m"),
        ] {
            assert_eq!(print(SignedDuration::from_nanos(nanos)), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_as_it_was(nanos in prop_oneof![0..=i64::MAX, 0..10_000_000_000i64, (0..9_000_000i64).prop_map(|s| s * 1_000_000_000)]) {
            let duration = SignedDuration::from_nanos(nanos);
            prop_assert_eq!(read(&print(duration)), Some(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9.+\\-hmnus\u{b5}\u{3bc} ]{0,40}|\\PC{0,20}") {
            if let Some(duration) = read(&text) {
                prop_assert_eq!(read(&print(duration)), Some(duration));
            }
        }
    }
}
