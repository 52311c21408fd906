//! Times and durations as people write them on a command line: `2h`, `7d`, `yesterday`, `2026-11-21`, RFC 3339.

use domain::policy::calendar::{Interval, Unit};
use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, ToSpan, Zoned};

/// A moment: RFC 3339, a local date or date and time, `now`, `today`, `yesterday`, or a time ago like `2h` or `7d`.
///
/// Days, weeks and months ago are counted on the calendar of the zone of `now`, so `1d` is the same time yesterday also
/// when the clocks changed.
pub(crate) fn parse_when(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let text = text.trim();
    let zone = now.time_zone().clone();
    let midnight = |date: Date| date.to_zoned(zone.clone()).map(|z| z.timestamp()).map_err(|e| e.to_string());
    match text.to_ascii_lowercase().as_str() {
        "now" => return Ok(now.timestamp()),
        "today" => return midnight(now.date()),
        "yesterday" => return midnight(now.date().checked_sub(1.day()).map_err(|e| e.to_string())?),
        _ => {}
    }
    if let Ok(t) = text.parse::<Timestamp>() {
        return Ok(t);
    }
    if text.len() > 10
        && let Ok(local) = text.parse::<DateTime>()
    {
        return local.to_zoned(zone).map(|z| z.timestamp()).map_err(|e| e.to_string());
    }
    if let Ok(date) = text.parse::<Date>() {
        return midnight(date);
    }
    if let Ok(span) = text.parse::<Span>() {
        return now.checked_sub(span.abs()).map(|z| z.timestamp()).map_err(|_| format!("'{text}' is too long ago"));
    }
    Err("expected a time like 2026-11-21T14:00:00Z, 2026-11-21, yesterday, or a time ago like 2h or 7d".to_owned())
}

/// The same from now on the system's clock and in its zone, for clap.
pub(crate) fn when(text: &str) -> Result<Timestamp, String> {
    parse_when(text, &Zoned::now())
}

/// A moment to come: as [`parse_when`], but `30d` is in 30 days.
pub(crate) fn parse_until(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    match text.trim().parse::<Span>() {
        Ok(span) => now.checked_add(span.abs()).map(|z| z.timestamp()).map_err(|_| format!("'{text}' is too far off")),
        Err(_) => parse_when(text, now),
    }
}

/// The same from now on the system's clock and in its zone, for clap.
pub(crate) fn until(text: &str) -> Result<Timestamp, String> {
    parse_until(text, &Zoned::now())
}

/// A duration above zero like `6h`, `90m`, `1h 30m`, `7d`. A day is 24 hours; months and years are refused, because they
/// differ.
pub(crate) fn duration(text: &str) -> Result<SignedDuration, String> {
    let wrong = || "expected a duration like 30m, 6h, 1h30m or 7d".to_owned();
    let span: Span = text.trim().parse().map_err(|_| wrong())?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err("months and years differ in length; write days or weeks".to_owned());
    }
    let d = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    if d.is_positive() { Ok(d) } else { Err("the duration must be more than nothing".to_owned()) }
}

/// A span of the calendar like `12h`, `30d`, `4w` or `1mo`.
pub(crate) fn interval(text: &str) -> Result<Interval, String> {
    let wrong = || "expected a span like 12h, 30d, 4w or 1mo".to_owned();
    let text = text.trim();
    let (count, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
    let unit = match unit.trim() {
        "h" => Unit::Hours,
        "d" => Unit::Days,
        "w" => Unit::Weeks,
        "mo" => Unit::Months,
        _ => return Err(wrong()),
    };
    Ok(Interval::of(count.parse().map_err(|_| wrong())?, unit))
}

/// A local time of day like `02:30`.
pub(crate) fn time_of_day(text: &str) -> Result<jiff::civil::Time, String> {
    let digits_and_colons = text.bytes().all(|b| b.is_ascii_digit() || b == b':');
    match text.parse::<jiff::civil::Time>() {
        Ok(t) if digits_and_colons && text.contains(':') => Ok(t),
        _ => Err("expected a time of day like 02:30".to_owned()),
    }
}

/// The name of this machine's time zone, for schedules that name none.
pub(crate) fn local_zone_name() -> String {
    jiff::tz::TimeZone::system().iana_name().unwrap_or("UTC").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        // Two days after the clocks were put forward in Berlin.
        "2026-03-31T12:00:00[Europe/Berlin]".parse().expect("a time")
    }

    fn at(text: &str) -> String {
        parse_when(text, &now()).map_or_else(|e| e, |t| t.to_string())
    }

    #[test]
    fn moments() {
        assert_eq!(at("2026-01-02T03:04:05+01:00"), "2026-01-02T02:04:05Z");
        assert_eq!(at("2h"), "2026-03-31T08:00:00Z");
        assert_eq!(at("1h30m"), "2026-03-31T08:30:00Z");
        assert_eq!(at("2h ago"), "2026-03-31T08:00:00Z");
        assert_eq!(at("yesterday"), "2026-03-29T22:00:00Z");
        assert_eq!(at("Today"), "2026-03-30T22:00:00Z");
        assert_eq!(at("now"), "2026-03-31T10:00:00Z");
        assert_eq!(at("2026-01-02"), "2026-01-01T23:00:00Z");
        assert_eq!(at("2026-01-02 10:00"), "2026-01-02T09:00:00Z");
        assert_eq!(at("2026-01-02T10:00:30"), "2026-01-02T09:00:30Z");
    }

    #[test]
    fn days_ago_are_calendar_days() {
        assert_eq!(at("7d"), "2026-03-24T11:00:00Z", "noon in Berlin, before the clocks changed");
        assert_eq!(at("1w"), at("7d"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "soon", "12", "2026-13-01", "99999999999999y"] {
            assert!(parse_when(text, &now()).is_err(), "{text}");
        }
    }

    #[test]
    fn ahead() {
        let t = |text| parse_until(text, &now()).map(|t| t.to_string());
        assert_eq!(t("2d").as_deref(), Ok("2026-04-02T10:00:00Z"));
        assert_eq!(t("2027-01-01T00:00:00Z").as_deref(), Ok("2027-01-01T00:00:00Z"));
    }

    #[test]
    fn durations() {
        assert_eq!(duration("6h"), Ok(SignedDuration::from_hours(6)));
        assert_eq!(duration("1h 30m"), Ok(SignedDuration::from_mins(90)));
        assert_eq!(duration("7d"), Ok(SignedDuration::from_hours(168)));
        assert_eq!(duration("1w"), Ok(SignedDuration::from_hours(168)));
        for text in ["", "6", "0s", "-6h", "1mo", "1y", "2h ago"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_of_the_calendar() {
        assert_eq!(interval("1mo"), Ok(Interval::of(1, Unit::Months)));
        assert_eq!(interval(" 30 d"), Ok(Interval::of(30, Unit::Days)));
        for text in ["", "30", "d", "-1d", "1d 2h", "1m", "1y"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_of_day() {
        assert_eq!(time_of_day("02:30"), Ok(jiff::civil::time(2, 30, 0, 0)));
        assert_eq!(time_of_day("23:59:59"), Ok(jiff::civil::time(23, 59, 59, 0)));
        for text in ["", "2", "24:00", "0230", "02:30Z", "T02:30"] {
            assert!(time_of_day(text).is_err(), "{text}");
        }
    }
}
