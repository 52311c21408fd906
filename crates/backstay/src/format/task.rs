//! Tasks and recovery points in words: how far one is, how it ended, what it left.

use api::{Backup, Progress, Task, TaskError};
use domain::task::{ResultCode, State, kind};
use domain::work::{BackupDone, ForgetDone, Gone, Live, RecoveryDone, Unread, VerificationDone};
use jiff::tz::TimeZone;

use super::{clean, clean_line, count, counted, duration, size, speed, stamp};

/// How many warnings are shown before the rest is only counted.
const SHOWN_WARNINGS: usize = 5;

/// A task in a few words: `task 12, backup of 'home'`.
pub(crate) fn title(task: &Task) -> String {
    let what = match task.kind.as_str() {
        kind::RECOVERY => "restore",
        kind::FILE_RECOVERY => "restore of files",
        other => other,
    };
    let name = task.resource.as_ref().and_then(|r| r.name.as_deref());
    let whose = name.map_or_else(String::new, |n| format!(" of '{n}'"));
    clean_line(&format!("task {}, {what}{whose}", task.id))
}

/// Where an open task is, in a word or a few.
pub(crate) fn standing(task: &Task) -> String {
    if task.cancel_requested && task.state != State::Completed {
        return "being cancelled".to_owned();
    }
    match task.state {
        State::Enqueued if task.assign_count > 0 => format!("waits to be tried again ({} so far)", task.assign_count),
        State::Enqueued => "waits for an agent".to_owned(),
        State::Assigned => "starting".to_owned(),
        State::Started => "running".to_owned(),
        State::Paused => "paused".to_owned(),
        State::Completed => task.result.as_ref().map_or("completed", |r| r.code.name()).to_owned(),
    }
}

/// How far, from 0 to 1, where that is known: by bytes, which move evenly, else by the executor's own units.
pub(crate) fn fraction(p: &Progress) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a fraction for a bar; 53 bits are plenty")]
    let of = |done: u64, all: u64| (all > 0).then(|| (done as f64 / all as f64).clamp(0.0, 1.0));
    let units = |n: i64| u64::try_from(n).unwrap_or(0);
    of(p.bytes_processed, p.bytes_total).or_else(|| of(units(p.current), units(p.total)))
}

/// How far, in words, the most telling first: `1.2 GiB of 3.0 GiB, 85.0 MiB/s, 3m 20s left, 17 of 1 234 files`.
pub(crate) fn progress(p: &Progress) -> String {
    let mut parts = Vec::new();
    if p.bytes_total > 0 {
        parts.push(format!("{} of {}", size(p.bytes_processed), size(p.bytes_total)));
    } else if p.bytes_processed > 0 {
        parts.push(size(p.bytes_processed));
    }
    parts.extend(p.speed.filter(|s| *s > 0.0).map(speed));
    let left = p.left.as_ref().and_then(|l| l.parse().ok());
    parts.extend(left.map(|l| format!("{} left", duration(l))));
    if p.files_total > 0 {
        parts.push(format!("{} of {}", count(p.files_processed), counted(p.files_total, "file", "files")));
    } else if p.files_processed > 0 {
        parts.push(counted(p.files_processed, "file", "files"));
    }
    parts.join(", ")
}

/// How a task ended, why, and what it did; several lines.
pub(crate) fn finished_task(task: &Task) -> String {
    let Some(result) = &task.result else { return format!("{}: {}", title(task), standing(task)) };
    let took = match (task.started_at, task.completed_at) {
        (Some(from), Some(to)) => format!(" after {}", duration(to.duration_since(from))),
        _ => String::new(),
    };
    let ended = match result.code {
        ResultCode::Ok => "done",
        ResultCode::Warning => "done, with warnings,",
        ResultCode::Error => "failed",
        ResultCode::Cancelled => "cancelled",
        ResultCode::Abandoned => "abandoned",
        ResultCode::TimedOut => "timed out",
    };
    let mut lines = vec![format!("{}: {ended}{took}", title(task))];
    if let Some(done) = payload(task) {
        lines.push(format!("  {done}"));
    }
    if let Some(error) = &result.error {
        lines.extend(reasons(error));
    }
    let texts: Vec<_> = result.warnings.iter().map(|w| clean(&w.message)).collect();
    lines.extend(texts.iter().take(SHOWN_WARNINGS).map(|w| format!("  warning: {w}")));
    if texts.len() > SHOWN_WARNINGS {
        lines.push(format!("  and {} more; `backstay task show {}`", texts.len() - SHOWN_WARNINGS, task.id));
    }
    let (listed, total) = left_out(task);
    lines.extend(listed.iter().take(SHOWN_WARNINGS).cloned());
    if let Some(more) = total.checked_sub(SHOWN_WARNINGS as u64).filter(|n| *n > 0) {
        lines.push(format!("  and {}; `backstay task show {}`", counted(more, "other", "others"), task.id));
    }
    lines.join("\n")
}

/// The paths that could not be read or written, or are damaged, a line each with the reason, and how many there were in all.
pub(crate) fn left_out(task: &Task) -> (Vec<String>, u64) {
    let Some(result) = &task.result else { return (Vec::new(), 0) };
    let list = |field: &str| -> Vec<Unread> {
        result.payload.get(field).and_then(|v| serde_json::from_value(v.clone()).ok()).unwrap_or_default()
    };
    let (listed, total) = match task.kind.as_str() {
        kind::BACKUP => (list("unreadable"), result.payload.get("unreadable_total")),
        kind::RECOVERY | kind::FILE_RECOVERY => (list("unwritten"), result.payload.get("unwritten_total")),
        kind::VERIFICATION => (list("damaged"), result.payload.get("damaged_total")),
        _ => return (Vec::new(), 0),
    };
    let lines: Vec<_> =
        listed.iter().map(|u| format!("  {}: {}", clean_line(&u.path), clean_line(&u.message))).collect();
    let total = total.and_then(serde_json::Value::as_u64).unwrap_or(0).max(lines.len() as u64);
    (lines, total)
}

/// An error and what led to it, a line each.
pub(crate) fn reasons(error: &TaskError) -> Vec<String> {
    let mut lines = Vec::new();
    let mut next = Some(error);
    while let Some(e) = next {
        let label = if lines.is_empty() { "error" } else { "because" };
        let text = if e.message.is_empty() { &e.code } else { &e.message };
        lines.push(format!(
            "  {label}: {} ({}/{})",
            clean(text).trim_end_matches('.'),
            clean_line(&e.domain),
            clean_line(&e.code)
        ));
        next = e.cause.as_deref();
    }
    lines
}

/// What a task of our own agents did, in a line.
pub(crate) fn payload(task: &Task) -> Option<String> {
    let value = &*task.result.as_ref()?.payload;
    let skipped = |listed: &[Unread], total: u64, verb: &str| match total.max(listed.len() as u64) {
        0 => String::new(),
        n => format!("; {} could not be {verb}", counted(n, "path", "paths")),
    };
    match task.kind.as_str() {
        kind::BACKUP => {
            let done: BackupDone = serde_json::from_value(value.clone()).ok()?;
            let (read, added) = (size(done.size), size(done.added));
            let unread = skipped(&done.unreadable, done.unreadable_total, "read");
            Some(format!("{read} in {}, {added} newly stored{unread}", counted(done.files, "file", "files")))
        }
        kind::RECOVERY | kind::FILE_RECOVERY => {
            let done: RecoveryDone = serde_json::from_value(value.clone()).ok()?;
            let unwritten = skipped(&done.unwritten, done.unwritten_total, "written");
            Some(format!("{} in {} written back{unwritten}", size(done.bytes), counted(done.files, "file", "files")))
        }
        kind::VERIFICATION => {
            let done: VerificationDone = serde_json::from_value(value.clone()).ok()?;
            let read = format!("{} in {} read", size(done.bytes), counted(done.files, "file", "files"));
            let damaged = match done.damaged_total {
                0 => String::new(),
                n => format!("; damage in {}", counted(n, "place", "places")),
            };
            let sampled = done.sampled.map(|s| {
                let same = s.picked.iter().filter(|file| file.live == Live::Same).count() as u64;
                let seed = s.sample.seed;
                format!(", picked of {} by the seed {seed}; {same} compared with the machine", count(s.of))
            });
            Some(format!("{read}{}{damaged}", sampled.unwrap_or_default()))
        }
        kind::RETENTION => {
            let done: ForgetDone = serde_json::from_value(value.clone()).ok()?;
            let gone = |gone: &Gone| {
                let id = crate::output::short_ids(&[gone.backup]).remove(0);
                format!("\n  {id}: {}", gone.because.join("; "))
            };
            let listed: String = done.gone.iter().map(gone).collect();
            Some(format!("{} removed{}", counted(done.removed, "backup", "backups"), clean(&listed)))
        }
        _ => None,
    }
}

/// A recovery point, and the command that gets it back.
pub(crate) fn recovery_point(backup: &Backup) -> String {
    let id = crate::output::short_ids(&[backup.id]).remove(0);
    format!(
        "backup {id} of {}: {} in {}\n  get it back with: backstay restore {id} --to DIR",
        stamp(backup.created_at, &TimeZone::system()),
        size(backup.size),
        counted(backup.files, "file", "files"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn task(more: serde_json::Value) -> Task {
        let mut value = json!({
            "id": 12, "uuid": "0193a4b2-7c11-7000-8000-000000000001", "type": "backup", "state": "started",
            "cancel_requested": false, "tenant": "00000000-0000-0000-0000-000000000000",
            "resource": {"id": "r", "name": "home"}, "queue": "agents", "priority": "normal", "tags": [],
            "seeding": true, "assign_count": 1, "created_at": "2026-11-21T10:00:00Z",
            "enqueued_at": "2026-11-21T10:00:00Z", "started_at": "2026-11-21T10:00:01Z",
            "updated_at": "2026-11-21T10:00:00Z",
            "rules": {"cancellable": true, "sustainable": false, "max_assign_count": 3, "ack_timeout": "1m"},
        });
        for (key, v) in more.as_object().expect("an object") {
            value[key] = v.clone();
        }
        serde_json::from_value(value).expect("a task")
    }

    #[test]
    fn where_a_task_is() {
        assert_eq!(title(&task(json!({}))), "task 12, backup of 'home'");
        let says = |more| standing(&task(more));
        assert_eq!(says(json!({})), "running");
        assert_eq!(says(json!({"cancel_requested": true})), "being cancelled");
        assert_eq!(says(json!({"state": "enqueued", "assign_count": 2})), "waits to be tried again (2 so far)");
    }

    #[test]
    fn how_far_it_is() {
        let p = Progress {
            bytes_processed: 512,
            bytes_total: 2048,
            files_processed: 3,
            files_total: 1234,
            ..Progress::default()
        };
        assert_eq!((progress(&p).as_str(), fraction(&p)), ("512 B of 2.0 KiB, 3 of 1 234 files", Some(0.25)));
        let p =
            Progress { current: 5, total: 10, speed: Some(2048.0), left: Some("3m 20s".into()), ..Progress::default() };
        assert_eq!((progress(&p).as_str(), fraction(&p)), ("2.0 KiB/s, 3m 20s left", Some(0.5)));
        assert_eq!(fraction(&Progress::default()), None);
    }

    #[test]
    fn how_it_ended() {
        let payload = json!({
            "snapshot": "s", "created_at": "2026-11-21T10:00:00Z", "incremental": false, "size": 2048, "added": 1024,
            "files": 3, "files_new": 3, "files_changed": 0, "unreadable_total": 1,
            "unreadable": [{"path": "/x", "message": "cannot be read"}],
        });
        let warning = json!({"domain": "engine", "code": "unreadable", "message": "cannot read /x"});
        let done = task(json!({
            "state": "completed", "completed_at": "2026-11-21T10:00:13Z",
            "result": {"code": "warning", "payload": payload, "warnings": vec![warning; 7]},
        }));
        let text = finished_task(&done);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "task 12, backup of 'home': done, with warnings, after 12s");
        assert_eq!(lines[1], "  2.0 KiB in 3 files, 1.0 KiB newly stored; 1 path could not be read");
        assert_eq!(lines[2], "  warning: cannot read /x");
        assert_eq!(lines[7..], ["  and 2 more; `backstay task show 12`", "  /x: cannot be read"]);

        let failed = task(json!({
            "state": "completed", "type": "recovery", "started_at": null,
            "result": {"code": "error", "error": {
                "domain": "engine", "code": "noSpace", "message": "the disk is full",
                "cause": {"domain": "os", "code": "28"},
            }},
        }));
        assert_eq!(
            finished_task(&failed),
            "task 12, restore of 'home': failed\n  error: the disk is full (engine/noSpace)\n  because: 28 (os/28)"
        );
    }
}
