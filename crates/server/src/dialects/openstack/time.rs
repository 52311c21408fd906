//! Times as OpenStack writes and reads them: the Image API in whole seconds, Keystone with microseconds, both in UTC.

use domain::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// As the Image API writes it: `2026-11-21T09:30:00Z`.
pub(super) fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// As Keystone writes it: `2026-11-21T09:30:00.000000Z`.
pub(super) fn micros(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// What a client writes: with a zone, or without one and meant as UTC.
pub(super) fn read(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if !text.contains(['T', ' ']) {
        return None;
    }
    text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_both_write_them() {
        let time = read("2026-11-21T09:30:00.25Z").expect("a time");
        assert_eq!(seconds(time), "2026-11-21T09:30:00Z");
        assert_eq!(micros(time), "2026-11-21T09:30:00.250000Z");
        assert_eq!(read("2026-11-21T09:30:00"), read("2026-11-21T09:30:00Z"));
        assert_eq!(read("2026-11-21T11:30:00+02:00"), read("2026-11-21T09:30:00Z"));
        for wrong in ["", "2026-11-21", "now", "2026-13-01T00:00:00Z"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
