//! Times as clients of this dialect write them, in six formats (contract, section 4.5, D25), and as they are printed to
//! them (8.1).

use domain::Timestamp;
use jiff::civil::DateTime;

/// What would be right, for refusals.
pub(super) const FORMATS: &str = "unix seconds, unix nanoseconds with the suffix ns, RFC 3339, RFC 1123, RFC 850 or ANSI C: \
     1605312000, 1605312000000000000ns, 2026-11-14T00:00:00.5+02:00, Sat, 14 Nov 2026 00:00:00 GMT, \
     Saturday, 14-Nov-26 00:00:00 GMT, Sat Nov 14 00:00:00 2026";

const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Whole numbers with this many digits are nanoseconds, although nothing says so (D25).
const NANOSECOND_DIGITS: usize = 17;
const SECOND: i128 = 1_000_000_000;

/// Prints a time: UTC with `Z`, as many digits of the fraction as it has, and none on whole seconds (8.1).
pub(super) fn print(time: Timestamp) -> String {
    time.to_string()
}

/// Reads a time in any of the formats; one that lies beyond what can be stored becomes the nearest that can (D25).
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    number(text).or_else(|| rfc3339(text)).or_else(|| rfc1123(text)).or_else(|| rfc850(text)).or_else(|| ansi_c(text))
}

/// `1605312000`, `1605312000000000000ns`.
fn number(text: &str) -> Option<Timestamp> {
    let (number, suffix) = match text.strip_suffix("ns") {
        Some(number) => (number, true),
        None => (text, false),
    };
    let digits = number.strip_prefix(['-', '+']).unwrap_or(number);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // What 128 bits do not hold is far beyond the storable range on its side.
    let number = number.parse().unwrap_or(if number.starts_with('-') { i128::MIN } else { i128::MAX });
    let nanoseconds = suffix || digits.len() >= NANOSECOND_DIGITS;
    Some(stored(if nanoseconds { number } else { number.saturating_mul(SECOND) }))
}

/// `2026-11-14T00:00:00.5+02:00`. Between date and time may be a space, and where the sign of the zone should be, too: a
/// plus that was not escaped arrives as one (D25).
fn rfc3339(text: &str) -> Option<Timestamp> {
    let mut scan = Scan(text);
    let year = scan.digits(4)?;
    scan.one(&["-"])?;
    let month = scan.digits(2)?;
    scan.one(&["-"])?;
    let day = scan.digits(2)?;
    scan.one(&["T", "t", " "])?;
    let mut clock = scan.clock()?;
    if scan.one(&["."]).is_some() {
        clock.nanosecond = scan.fraction()?;
    }
    let zone = if scan.one(&["Z", "z"]).is_some() { 0 } else { scan.zone(&[("+", 1), ("-", -1), (" ", 1)], ":")? };
    scan.end(instant(year, month, day, clock, zone)?)
}

/// `Sat, 14 Nov 2026 00:00:00 GMT`, also with a zone in numbers (D25).
fn rfc1123(text: &str) -> Option<Timestamp> {
    let mut scan = Scan(text);
    scan.weekday(|day| &day[..3])?;
    scan.one(&[", "])?;
    let day = scan.day()?;
    scan.one(&[" "])?;
    let month = scan.month()?;
    scan.one(&[" "])?;
    let year = scan.digits(4)?;
    scan.one(&[" "])?;
    let clock = scan.clock()?;
    scan.one(&[" "])?;
    let zone = match scan.utc() {
        Some(()) => 0,
        None => scan.zone(&[("+", 1), ("-", -1)], "")?,
    };
    scan.end(instant(year, month, day, clock, zone)?)
}

/// `Saturday, 14-Nov-26 00:00:00 GMT`. The years 69 to 99 are those of the last century (D25).
fn rfc850(text: &str) -> Option<Timestamp> {
    let mut scan = Scan(text);
    scan.weekday(|day| day)?;
    scan.one(&[", "])?;
    let day = scan.digits(2)?;
    scan.one(&["-"])?;
    let month = scan.month()?;
    scan.one(&["-"])?;
    let year = scan.digits(2)?;
    let year = if year < 69 { 2000 + year } else { 1900 + year };
    scan.one(&[" "])?;
    let clock = scan.clock()?;
    scan.one(&[" "])?;
    scan.utc()?;
    scan.end(instant(year, month, day, clock, 0)?)
}

/// `Sat Nov 14 00:00:00 2026`, UTC. A day of one digit has a second space before it.
fn ansi_c(text: &str) -> Option<Timestamp> {
    let mut scan = Scan(text);
    scan.weekday(|day| &day[..3])?;
    scan.one(&[" "])?;
    let month = scan.month()?;
    scan.one(&["  ", " "])?;
    let day = scan.day()?;
    scan.one(&[" "])?;
    let clock = scan.clock()?;
    scan.one(&[" "])?;
    let year = scan.digits(4)?;
    scan.end(instant(year, month, day, clock, 0)?)
}

/// A time of day.
struct Clock {
    hour: i16,
    minute: i16,
    second: i16,
    nanosecond: i32,
}

/// The instant of a date and time in a zone, given in seconds east of Greenwich; none if there is no such day or time. A
/// leap second is the second before it.
fn instant(year: i16, month: i16, day: i16, clock: Clock, zone: i128) -> Option<Timestamp> {
    let small = |n: i16| i8::try_from(n).unwrap_or(i8::MAX);
    let second = if clock.second == 60 { 59 } else { clock.second };
    let (hour, minute, second) = (small(clock.hour), small(clock.minute), small(second));
    let local = DateTime::new(year, small(month), small(day), hour, minute, second, clock.nanosecond).ok()?;
    let since = local.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0)).as_nanos();
    Some(stored(since - zone * SECOND))
}

/// The storable time next to these nanoseconds: they are kept in 64 bits, which hold the years 1677 to 2262.
fn stored(nanoseconds: i128) -> Timestamp {
    let clamped = nanoseconds.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    Timestamp::from_nanosecond(clamped).expect("the library's times reach from the year -9999 to 9999")
}

/// What is left to read of a text.
struct Scan<'a>(&'a str);

impl Scan<'_> {
    /// One of these words.
    fn one(&mut self, words: &[&str]) -> Option<()> {
        self.0 = words.iter().find_map(|w| self.0.strip_prefix(w))?;
        Some(())
    }

    /// A number of exactly so many digits, at most four.
    fn digits(&mut self, count: usize) -> Option<i16> {
        let digits = self.0.get(..count).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
        self.0 = &self.0[count..];
        digits.parse().ok()
    }

    /// A day of the month, of one or two digits.
    fn day(&mut self) -> Option<i16> {
        self.digits(2).or_else(|| self.digits(1))
    }

    /// Digits behind a point as nanoseconds; what is below a nanosecond is cut off.
    fn fraction(&mut self) -> Option<i32> {
        let count = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        format!("{:0<9}", &digits[..count.min(9)]).parse().ok().filter(|_| count > 0)
    }

    /// `00:00:00`.
    fn clock(&mut self) -> Option<Clock> {
        let hour = self.digits(2)?;
        self.one(&[":"])?;
        let minute = self.digits(2)?;
        self.one(&[":"])?;
        Some(Clock { hour, minute, second: self.digits(2)?, nanosecond: 0 })
    }

    /// A zone in numbers, in seconds east of Greenwich.
    fn zone(&mut self, signs: &[(&str, i128)], between: &str) -> Option<i128> {
        let (sign, east) = signs.iter().find(|(sign, _)| self.0.starts_with(sign))?;
        self.one(&[sign])?;
        let hours = self.digits(2).filter(|h| *h < 24)?;
        self.one(&[between])?;
        let minutes = self.digits(2).filter(|m| *m < 60)?;
        Some(east * (i128::from(hours) * 3600 + i128::from(minutes) * 60))
    }

    /// A name of UTC; other zones have no names here, because names of zones are ambiguous (D25).
    fn utc(&mut self) -> Option<()> {
        self.one(&["GMT", "UTC", "Z"])
    }

    /// A day of the week, in any letter case. Whether it is that day is not asked, as Go does not.
    fn weekday(&mut self, form: impl Fn(&'static str) -> &'static str) -> Option<()> {
        DAYS.iter().find_map(|day| self.word(form(day)))
    }

    /// A month by its short name, in any letter case.
    fn month(&mut self) -> Option<i16> {
        (1..).zip(MONTHS).find_map(|(number, name)| self.word(name).map(|()| number))
    }

    /// This word in any letter case.
    fn word(&mut self, word: &str) -> Option<()> {
        let found = self.0.get(..word.len()).filter(|w| w.eq_ignore_ascii_case(word))?;
        self.0 = &self.0[found.len()..];
        Some(())
    }

    /// What was read, if nothing is left.
    fn end(self, time: Timestamp) -> Option<Timestamp> {
        self.0.is_empty().then_some(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Option<String> {
        parse(text).map(print)
    }

    #[test]
    fn the_examples_of_the_contract_are_one_moment() {
        // 4.5
        for text in [
            "1605312000000000000ns",
            "1605312000",
            "2020-11-14T00:00:00Z",
            "2020-11-14T02:00:00+02:00",
            "Sat, 14 Nov 2020 00:00:00 GMT",
            "Saturday, 14-Nov-20 00:00:00 GMT",
            "Sat Nov 14 00:00:00 2020",
        ] {
            assert_eq!(at(text).as_deref(), Some("2020-11-14T00:00:00Z"), "{text}");
        }
        assert_eq!(at("2026-11-14T00:00:00.5+02:00").as_deref(), Some("2026-11-13T22:00:00.5Z"));
        assert_eq!(at("Sat, 14 Nov 2026 00:00:00 GMT").as_deref(), Some("2026-11-14T00:00:00Z"));
        assert_eq!(at("Saturday, 14-Nov-26 00:00:00 GMT").as_deref(), Some("2026-11-14T00:00:00Z"));
        assert_eq!(at("Sat Nov 14 00:00:00 2026").as_deref(), Some("2026-11-14T00:00:00Z"));
    }

    #[test]
    fn long_numbers_are_nanoseconds() {
        // D25
        assert_eq!(at("1605312000000000001").as_deref(), Some("2020-11-14T00:00:00.000000001Z"));
        assert_eq!(at("10000000000000000").as_deref(), Some("1970-04-26T17:46:40Z"), "17 digits");
        assert_eq!(parse("1000000000000000"), parse("9223372036854775807ns"), "16 digits: seconds, and far away");
        assert_eq!(at("0").as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(at("-1").as_deref(), Some("1969-12-31T23:59:59Z"));
        assert_eq!(at("-1ns").as_deref(), Some("1969-12-31T23:59:59.999999999Z"));
    }

    #[test]
    fn a_space_where_the_sign_should_be_is_a_plus() {
        // D25
        assert_eq!(at("2026-11-14T00:00:00 02:00").as_deref(), Some("2026-11-13T22:00:00Z"));
        assert_eq!(at("2026-11-14T00:00:00.25 05:30").as_deref(), Some("2026-11-13T18:30:00.25Z"));
        assert_eq!(at("2026-11-14 00:00:00-02:00").as_deref(), Some("2026-11-14T02:00:00Z"));
    }

    #[test]
    fn rfc_1123_has_zones_in_numbers_but_few_names() {
        // D25
        for (text, utc) in [
            ("Sat, 14 Nov 2026 12:00:00 +0200", "2026-11-14T10:00:00Z"),
            ("Sat, 14 Nov 2026 12:00:00 -0330", "2026-11-14T15:30:00Z"),
            ("Sat, 14 Nov 2026 12:00:00 UTC", "2026-11-14T12:00:00Z"),
            ("Sat, 14 Nov 2026 12:00:00 Z", "2026-11-14T12:00:00Z"),
            ("sat, 4 NOV 2026 12:00:00 GMT", "2026-11-04T12:00:00Z"),
        ] {
            assert_eq!(at(text).as_deref(), Some(utc), "{text}");
        }
        for text in [
            "Sat, 14 Nov 2026 12:00:00 EST",
            "Sat, 14 Nov 2026 12:00:00 CET",
            "Saturday, 14-Nov-26 12:00:00 MST",
            "Sat, 14 Nov 2026 12:00:00 GMT+2",
        ] {
            assert_eq!(at(text), None, "{text}");
        }
    }

    #[test]
    fn two_digits_of_a_year_are_of_the_last_century_from_69() {
        // D25
        for (year, full) in [("69", "1969"), ("99", "1999"), ("00", "2000"), ("68", "2068")] {
            let text = format!("Sunday, 05-Jan-{year} 00:00:00 GMT");
            assert_eq!(at(&text), Some(format!("{full}-01-05T00:00:00Z")));
        }
    }

    #[test]
    fn ansi_c_has_days_of_one_digit() {
        for text in ["Mon Jan  2 15:04:05 2006", "Mon Jan 2 15:04:05 2006", "Mon Jan 02 15:04:05 2006"] {
            assert_eq!(at(text).as_deref(), Some("2006-01-02T15:04:05Z"), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_stored_becomes_the_nearest_that_can() {
        // D25
        let (first, last) = ("1677-09-21T00:12:43.145224192Z", "2262-04-11T23:47:16.854775807Z");
        let many = "9".repeat(100);
        for text in ["0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "Mon Jan  1 00:00:00 0001", "-99999999999"] {
            assert_eq!(at(text).as_deref(), Some(first), "{text}");
        }
        for text in ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "Fri, 31 Dec 9999 23:59:59 GMT", &many] {
            assert_eq!(at(text).as_deref(), Some(last), "{text}");
        }
        assert_eq!(at(&format!("-{many}ns")).as_deref(), Some(first));
    }

    #[test]
    fn the_nanosecond_counts_and_less_is_cut_off() {
        // 4.5
        assert_eq!(at("2026-11-14T00:00:00.000000001Z").as_deref(), Some("2026-11-14T00:00:00.000000001Z"));
        assert_eq!(at("2026-11-14T00:00:00.0000000019Z").as_deref(), Some("2026-11-14T00:00:00.000000001Z"));
        assert_eq!(at("2026-11-14t00:00:60z").as_deref(), Some("2026-11-14T00:00:59Z"), "a leap second");
    }

    #[test]
    fn everything_else_is_no_time() {
        // 4.5
        for text in [
            "",
            "yesterday",
            "ns",
            "-",
            "-ns",
            "1.5",
            "1e9",
            "0x10",
            "1605312000ms",
            " 1605312000",
            "2026-11-14",
            "2026-11-14T00:00Z",
            "20261114T000000Z",
            "2026-11-14T00:00:00",
            "2026-11-14T00:00:00.Z",
            "2026-11-14T00:00:00+0200",
            "2026-11-14T00:00:00+24:00",
            "2026-11-14T00:00:00+02:60",
            "2026-13-14T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-11-14T24:00:00Z",
            "2026-11-14T00:00:61Z",
            "2026-11-14T00:00:00ZZ",
            "2026-11-14T00:00:00Z[UTC]",
            "+002026-11-14T00:00:00Z",
            "Xat, 14 Nov 2026 00:00:00 GMT",
            "Sat, 31 Nov 2026 00:00:00 GMT",
            "Saturday, 14 Nov 2026 00:00:00 GMT",
            "Sat, 14-Nov-26 00:00:00 GMT",
            "Sat Nov 14 00:00:00 2026 GMT",
            "Sat Nov 14 2026",
            "２026-11-14T00:00:00Z",
            "1605312000\u{e9}",
        ] {
            assert_eq!(at(text), None, "{text}");
        }
    }

    #[test]
    fn zeros_at_the_end_of_a_fraction_are_not_printed() {
        // 8.1
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1, "1970-01-01T00:00:00.000000001Z"),
            (200_000_000, "1970-01-01T00:00:00.2Z"),
            (450_000_000, "1970-01-01T00:00:00.45Z"),
            (1_000_000_000, "1970-01-01T00:00:01Z"),
        ] {
            assert_eq!(print(Timestamp::from_nanosecond(nanos).expect("near 1970")), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_as_it_was(nanos: i64, digits in 0..10u32) {
            let unit = 10i64.pow(digits);
            for nanos in [nanos, nanos / unit * unit] {
                let time = Timestamp::from_nanosecond(i128::from(nanos)).expect("in the library's range");
                prop_assert_eq!(parse(&print(time)), Some(time));
                prop_assert_eq!(parse(&format!("{nanos}ns")), Some(time));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9TZ:.+\\-nsGMTUCSatNov ,]{0,40}|\\PC{0,20}") {
            if let Some(time) = parse(&text) {
                prop_assert_eq!(parse(&print(time)), Some(time));
            }
        }
    }
}
