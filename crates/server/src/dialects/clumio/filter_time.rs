//! Times in filters (D26): as clients write them, and as bounds of what is shown in whole seconds.

use domain::Timestamp;
use jiff::civil;
use jiff::tz::TimeZone;

/// A point in time, as whole seconds see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound {
    floor: i64,
    exact: bool,
}

impl Bound {
    /// This point.
    pub(super) fn of(time: Timestamp) -> Bound {
        let nanos = time.as_nanosecond();
        let floor = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(i64::MAX);
        Bound { floor, exact: nanos.rem_euclid(1_000_000_000) == 0 }
    }

    /// A whole number.
    pub(super) fn whole(n: i64) -> Bound {
        Bound { floor: n, exact: true }
    }

    /// The whole second in which it lies.
    pub(super) fn floor(self) -> i64 {
        self.floor
    }

    /// The first whole second that is not before it.
    pub(super) fn ceiling(self) -> i64 {
        if self.exact { self.floor } else { self.floor.saturating_add(1) }
    }
}

/// A point in time: RFC 3339, also without an offset (UTC) or only the date; a plus that became a space in the query is read
/// as one.
pub(super) fn read(text: &str) -> Option<Bound> {
    let text = text.trim();
    let plus = match text.rsplit_once(' ') {
        Some((before, offset)) if before.contains(':') && is_offset(offset) => Some(format!("{before}+{offset}")),
        _ => None,
    };
    let text = plus.as_deref().unwrap_or(text);
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(Bound::of(time));
    }
    // Without an offset. A zone that was not understood above must not be passed over.
    let is_plain = text.bytes().all(|b| b.is_ascii_digit() || b"-:.T t".contains(&b));
    let there = is_plain.then(|| text.parse::<civil::DateTime>().ok()).flatten()?;
    there.to_zoned(TimeZone::UTC).ok().map(|z| Bound::of(z.timestamp()))
}

fn is_offset(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 5 && bytes[2] == b':' && bytes.iter().enumerate().all(|(i, b)| i == 2 || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_clients_write_them() {
        let at = |text: &str| read(text).map(|b| (b.floor(), b.ceiling()));
        let noon = Some((1_769_860_800, 1_769_860_800));
        for text in [
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00:00",
            "2026-01-31T14:00:00+02:00",
            "2026-01-31T14:00:00 02:00",
            "2026-01-31T12:00:00.000Z",
            " 2026-01-31t12:00:00z ",
        ] {
            assert_eq!(at(text), noon, "{text}");
        }
        assert_eq!(at("2026-01-31"), Some((1_769_817_600, 1_769_817_600)));
        assert_eq!(at("2026-01-31T12:00:00.5Z"), Some((1_769_860_800, 1_769_860_801)));
        assert_eq!(at("1969-12-31T23:59:59.5Z"), Some((-1, 0)));
        for text in ["", "now", "2026-13-01", "2026-01-31T12:00:00 Europe/Berlin", "12:00", "1769860800"] {
            assert_eq!(at(text), None, "{text}");
        }
    }
}
