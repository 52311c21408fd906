//! What a message says: to programs as JSON, to people as text.

use std::fmt::Write as _;

use domain::channel::{Channel, Event, Sending};
use domain::task::{Task, TaskRef};
use domain::tenant::Tenant;
use domain::{Caller, Result, Scope, Timestamp, Uuid, if_found};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Found;
use crate::service::Service;
use crate::service::not_run::local;

/// How many tasks a digest shows; the rest it counts.
const MOST_SHOWN: usize = 50;
/// How long a text of somebody else's may be in a message, in characters.
const LONGEST_TEXT: usize = 1000;
/// How long a name may be in a subject, in characters.
const LONGEST_NAME: usize = 80;

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Notice {
    /// The same for every try.
    pub(super) id: Uuid,
    /// What sort of message it is: `task.failed`, `task.missed`, `task.recovered`, `digest`, `test`.
    pub(super) kind: &'static str,
    /// When it happened.
    pub(super) at: Timestamp,
    /// For programs.
    pub(super) data: Value,
    /// In a line.
    pub(super) subject: String,
    /// For people.
    pub(super) text: String,
}

impl Notice {
    /// What webhooks are sent.
    pub(super) fn body(&self) -> String {
        json!({ "type": self.kind, "timestamp": self.at, "data": self.data }).to_string()
    }
}

/// A task that is told of.
struct Told {
    event: Event,
    task: Task,
    tenant: Option<Tenant>,
}

impl Service {
    /// The message about what was found; none if nothing of it is there any more.
    pub(super) async fn notice(&self, channel: &Channel, sending: &Sending, found: &[Found]) -> Result<Option<Notice>> {
        let mut told = Vec::new();
        for found in found {
            if told.len() == MOST_SHOWN {
                break;
            }
            let task = if_found(self.ledger.task(&Scope::everything(), TaskRef::Id(found.task)).await)?;
            told.extend(task.map(|task| Told { event: found.event, task, tenant: None }));
        }
        let tenants = told.iter().map(|t| t.task.spec.tenant).chain([channel.tenant]);
        let tenants = self.tenants_by_id(&Caller::server(), tenants).await?;
        for told in &mut told {
            told.tenant = tenants.get(&told.task.spec.tenant).cloned();
        }
        let Some(first) = told.first() else { return Ok(None) };
        // Whoever waits for a digest gets one, though there be one thing to tell.
        if channel.digest.is_none() && found.len() == 1 {
            return Ok(Some(self.single(channel, sending.id, first)));
        }
        let count = |event| found.iter().filter(|f| f.event == event).count();
        let counts = [(Event::Failure, "failed"), (Event::Missed, "missed"), (Event::Recovery, "recovered")]
            .map(|(event, word)| (count(event), word));
        let in_words: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
        let in_words = in_words.join(", ");
        let left_out = found.len() - told.len();
        let (from, until) = (found.first().map(|f| f.at), found.last().map(|f| f.at));
        let zone = zone_of(tenants.get(&channel.tenant));
        let at = |time: Option<Timestamp>| time.map_or_else(String::new, |t| local(t, &zone));
        let mut text = format!("{in_words}, from {} to {}.\n\n", at(from), at(until));
        for told in &told {
            let _ = writeln!(text, "{}  {}", at(told.task.completed_at()), told.line());
            if let Some(why) = told.why() {
                let _ = writeln!(text, "    {why}");
            }
        }
        if left_out > 0 {
            let _ = writeln!(text, "and {left_out} more.");
        }
        text.push_str(&footer(channel));
        let data = json!({
            "channel": { "id": channel.id, "name": channel.name },
            "from": from,
            "until": until,
            "counts": counts.iter().map(|(n, word)| ((*word).to_owned(), json!(n))).collect::<serde_json::Map<_, _>>(),
            "tasks": told.iter().map(|t| self.shown(t)).collect::<Vec<_>>(),
            "left_out": left_out,
        });
        Ok(Some(Notice {
            id: sending.id,
            kind: "digest",
            at: sending.until,
            data,
            subject: format!("[backstay] {in_words}"),
            text,
        }))
    }

    fn single(&self, channel: &Channel, id: Uuid, told: &Told) -> Notice {
        let mut data = self.shown(told);
        data["channel"] = json!({ "id": channel.id, "name": channel.name });
        let kind = match told.event {
            Event::Failure => "task.failed",
            Event::Missed => "task.missed",
            Event::Recovery => "task.recovered",
        };
        let task = &told.task;
        let zone = zone_of(told.tenant.as_ref());
        let mut text = format!("{}\n\n", told.line());
        let mut line = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = writeln!(text, "{:<10} {value}", format!("{name}:"));
            }
        };
        line("Why", told.why());
        line("Task", Some(task.id.to_string()));
        line("Tenant", told.tenant.as_ref().map(|t| one_line(&t.name, LONGEST_TEXT)));
        line("Started", task.started_at().map(|t| local(t, &zone)));
        line("Ended", task.completed_at().map(|t| local(t, &zone)));
        line("More", Some(format!("backstay task show {}", task.id)));
        line("Link", self.link(task));
        text.push_str(&footer(channel));
        let at = task.completed_at().unwrap_or(task.status.updated_at);
        Notice { id, kind, at, data, subject: format!("[backstay] {}", told.line()), text }
    }

    /// The message that says that it is a test.
    pub(super) async fn test_notice(&self, channel: &Channel) -> Result<Notice> {
        let name = one_line(&channel.name, LONGEST_NAME);
        Ok(Notice {
            id: Uuid::now_v7(),
            kind: "test",
            at: self.moment().now,
            data: json!({ "channel": { "id": channel.id, "name": channel.name } }),
            subject: format!("[backstay] test of the channel {name}"),
            text: format!("This is a test: messages reach you.\n{}", footer(channel)),
        })
    }

    /// A task and its end, for programs.
    fn shown(&self, told: &Told) -> Value {
        let Told { event, task, tenant } = told;
        let named = |n: &domain::task::Named| json!({ "id": n.id, "type": n.kind, "name": n.name });
        let mut shown = json!({
            "event": event,
            "tenant": { "id": task.spec.tenant },
            "task": {
                "id": task.id.0,
                "uuid": task.spec.uuid,
                "type": task.spec.kind,
                "created_at": task.created_at,
                "completed_at": task.completed_at(),
            },
        });
        if let Some(tenant) = tenant {
            shown["tenant"]["name"] = json!(tenant.name);
        }
        if let Some(at) = task.started_at() {
            shown["task"]["started_at"] = json!(at);
        }
        for (name, value) in [("policy", &task.spec.policy), ("resource", &task.spec.resource)] {
            if let Some(value) = value {
                shown["task"][name] = named(value);
            }
        }
        if let Some(result) = task.result() {
            shown["result"] = json!({ "code": result.code });
            if let Some(error) = &result.error {
                let message: String = error.message.chars().take(LONGEST_TEXT).collect();
                shown["result"]["error"] = json!({ "domain": error.domain, "code": error.code, "message": message });
            }
        }
        if let Some(link) = self.link(task) {
            shown["link"] = json!(link);
        }
        shown
    }

    /// Where the task is shown, if this server was told where it is reached.
    fn link(&self, task: &Task) -> Option<String> {
        self.cloud.url.as_ref().map(|url| format!("{url}/api/v1/tasks/{}", task.id))
    }
}

impl Told {
    /// What happened, in a line.
    fn line(&self) -> String {
        let how = match self.event {
            Event::Failure => "failed",
            Event::Missed => "missed",
            Event::Recovery => "recovered",
        };
        let spec = &self.task.spec;
        let mut line = format!("{how}: {}", one_line(&spec.kind.replace('_', " "), LONGEST_NAME));
        if let Some(resource) = &spec.resource {
            let _ = write!(line, " of {}", one_line(&resource.name, LONGEST_NAME));
        }
        if let Some(policy) = &spec.policy {
            let _ = write!(line, " (policy {})", one_line(&policy.name, LONGEST_NAME));
        }
        line
    }

    fn why(&self) -> Option<String> {
        let error = self.task.result()?.error.as_ref()?;
        let code = format!("{}/{}", error.domain, error.code);
        Some(format!("{} ({})", one_line(&error.message, LONGEST_TEXT), one_line(&code, LONGEST_NAME)))
    }
}

fn footer(channel: &Channel) -> String {
    format!("\n-- \nBackstay, channel '{}'\n", one_line(&channel.name, LONGEST_NAME))
}

fn zone_of(tenant: Option<&Tenant>) -> TimeZone {
    tenant.and_then(|t| TimeZone::get(&t.time_zone).ok()).unwrap_or(TimeZone::UTC)
}

/// A text of somebody else's on one line, not too long.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let words: Vec<_> = text.split(|c: char| c.is_control() || c == ' ').filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}
