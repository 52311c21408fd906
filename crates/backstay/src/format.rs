//! Numbers, times, text and tasks as people read them.

mod task;

pub(crate) use task::{finished_task, fraction, left_out, payload, progress, reasons, recovery_point, standing, title};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Bytes, with three digits at most: `0 B`, `999 B`, `1.0 KiB`, `15.3 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown; 53 bits are plenty")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // Compared as it will be printed, so that 1023.96 KiB becomes 1.0 MiB and not 1024 KiB.
    while unit + 1 < UNITS.len() && value.round() >= 1024.0 {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from((value * 10.0).round() < 1000.0);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// Bytes a second.
pub(crate) fn speed(bytes_per_second: f64) -> String {
    if !bytes_per_second.is_finite() || bytes_per_second < 0.0 {
        return "-".to_owned();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above; casts saturate")]
    let bytes = bytes_per_second as u64;
    format!("{}/s", size(bytes))
}

/// A count with its thousands apart: `1 234 567`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

/// `1 file`, `2 files`.
pub(crate) fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// A span of time by its two largest units: `0.4s`, `12s`, `3m 20s`, `2h 05m`, `3d 4h`.
pub(crate) fn duration(d: SignedDuration) -> String {
    let d = d.abs();
    let s = d.as_secs();
    match s {
        0..10 if d.subsec_millis() >= 100 => format!("{s}.{}s", d.subsec_millis() / 100),
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// A time in a table: local, to the minute.
pub(crate) fn stamp(t: Timestamp, zone: &TimeZone) -> String {
    t.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// A time by itself: local with its offset, and how far it is from now.
pub(crate) fn full_stamp(t: Timestamp, zone: &TimeZone, now: Timestamp) -> String {
    let at = t.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string();
    let far = t.duration_since(now);
    if far.is_negative() { format!("{at} ({} ago)", duration(far)) } else { format!("{at} (in {})", duration(far)) }
}

/// Text from elsewhere without what could steer a terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// The same on one line, for a cell of a table.
pub(crate) fn clean_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The glob, in the syntax of `.gitignore`, that matches exactly this path and what lies below it.
pub(crate) fn literal_glob(path: &str) -> String {
    let mut glob = String::with_capacity(path.len());
    for c in path.chars() {
        // A space counts only at the end, where it would be dropped; escaped it means itself everywhere.
        if matches!(c, '\\' | '*' | '?' | '[' | ']' | '{' | '}' | ' ') {
            glob.push('\\');
        }
        glob.push(c);
    }
    glob
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (102_348, "99.9 KiB"),
            (102_349, "100 KiB"),
            (1_048_063, "1023 KiB"),
            (1_048_064, "1.0 MiB"),
            (15 << 30, "15.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text, "{bytes}");
        }
        assert_eq!(speed(f64::NAN), "-");
        assert_eq!(speed(1536.7), "1.5 KiB/s");
    }

    #[test]
    fn counts() {
        assert_eq!([0, 12, 999, 1000, 1_234_567].map(count), ["0", "12", "999", "1 000", "1 234 567"]);
        assert_eq!(counted(1, "file", "files"), "1 file");
        assert_eq!(counted(0, "file", "files"), "0 files");
    }

    #[test]
    fn durations() {
        let ms = SignedDuration::from_millis;
        let cases = [
            (ms(0), "0s"),
            (ms(420), "0.4s"),
            (ms(12_900), "12s"),
            (ms(-200_000), "3m 20s"),
            (ms(3_599_000), "59m 59s"),
            (ms(7_500_000), "2h 05m"),
            (SignedDuration::from_hours(76), "3d 4h"),
        ];
        for (d, text) in cases {
            assert_eq!(duration(d), text);
        }
    }

    #[test]
    fn stamps_are_local() {
        let t: Timestamp = "2026-11-21T23:30:10Z".parse().expect("a time");
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(stamp(t, &zone), "2026-11-22 01:30");
        let now = t + SignedDuration::from_mins(5);
        assert_eq!(full_stamp(t, &zone, now), "2026-11-22 01:30:10 +02:00 (5m 00s ago)");
        assert_eq!(full_stamp(now, &zone, t), "2026-11-22 01:35:10 +02:00 (in 5m 00s)");
    }

    #[test]
    fn globs_of_paths_are_literal() {
        assert_eq!(literal_glob("/srv/a [1]*?{x}"), r"/srv/a\ \[1\]\*\?\{x\}");
    }

    #[test]
    fn terminals_are_not_steered() {
        assert_eq!(clean("a\u{1b}[31mb\nc"), "a\u{fffd}[31mb\nc");
        assert_eq!(clean_line("a\nb"), "a\u{fffd}b");
    }
}
