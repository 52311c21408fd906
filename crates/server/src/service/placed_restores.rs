//! Recovery points are restored to a folder of their own on a machine of the caller's choosing (contract for Clumio clients,
//! D33): below what the machine's agent permits, new or empty, so that nothing is overwritten.

use domain::agent::{AGENT_QUEUE, Agent};
use domain::backup::Backup;
use domain::resource::Resource;
use domain::task::{Affinity, Named, Task, TaskSpec, kind};
use domain::work::{Place, RecoveryWork};
use domain::{Caller, Code, Error, Result, Right, Scope, Uuid, if_found};
use ledger::Write;
use serde_json::json;

use super::Service;
use super::asked::Asked;
use super::recovering::{check_system_of, work_on};
use super::runs::{named_resource, own_rules};

/// The longest name of a folder, in bytes: what file systems allow, less the number of a task.
const MAX_NAME: usize = 200;

/// Where a recovery point is to be restored.
#[derive(Debug, Clone, PartialEq)]
pub struct PlacedRestore {
    /// The recovery point.
    pub backup: Uuid,
    /// The agent of the machine to write to; it must be one that the caller sees.
    pub agent: Uuid,
    /// The folder that the new one is made in, in the agent's text form; none = the agent's usual one.
    pub root: Option<String>,
    /// The name of the new folder; none = made from that of the resource and the number of the task.
    pub name: Option<String>,
}

impl Service {
    /// Restores a recovery point to a folder of its own: a task for the machine's agent, which need not be connected.
    ///
    /// # Errors
    /// `forbidden` below operator, `not_found` for the backup, `invalid_field` for a folder that the agent does not permit,
    /// `system_mismatch`.
    pub async fn restore_to_place(&self, caller: &Caller, wish: PlacedRestore, asked: Asked) -> Result<Task> {
        let scope = caller.may(Right::Operate)?;
        let everything = Scope::everything();
        let backup = self.ledger.get::<Backup>(scope, wish.backup).await.map_err(|e| e.field("backup"))?.value;
        if backup.deleted_at.is_some() {
            return Err(Error::not_found("backup", backup.id).field("backup"));
        }
        let agent = self.ledger.get::<Agent>(&everything, wish.agent).await.map_err(|e| e.field("agent"))?.value;
        check_system_of(&backup, &agent, &agent.name)?;
        let root = match &wish.root {
            None => String::new(),
            Some(root) => permitted(root, &agent)?,
        };
        let name = wish.name.as_deref().map(one_component).filter(|name| !name.is_empty());
        let numbered = name.is_none();
        let name = name.unwrap_or_else(|| one_component(&format!("{}-restored", backup.resource_name)));
        let resource = if_found(self.ledger.get::<Resource>(&everything, backup.resource).await)?.map(|r| r.value);
        let tenant = self.tenant_for(resource.as_ref().map_or(backup.tenant, |r| r.tenant), &agent).await?;
        let mut spec = TaskSpec::new(Uuid::now_v7(), kind::RECOVERY, AGENT_QUEUE, tenant);
        let place = Some(Place { root, name: name.clone(), numbered });
        spec.argument = json!(RecoveryWork { place, ..work_on(&backup) }).into();
        let title = format!("Restoring everything of '{}' to '{name}' on '{}'", backup.resource_name, agent.name);
        spec.context = json!({ "title": title, "run_mode": "manual" }).into();
        let of_backup = || Named::ours(backup.resource, "", &backup.resource_name);
        spec.resource = Some(resource.as_ref().map_or_else(of_backup, named_resource));
        spec.affinity = Affinity::to(Some(agent.id));
        spec.started_by = Some(caller.name.as_str().into());
        spec.issuer.id = caller.issuer_id().into();
        spec.rules = own_rules();
        asked.write_into(&mut spec);
        let (id, named) = (backup.id.to_string(), backup.resource_name.clone());
        let entry = self.audit_entry(caller, "backup.restore", tenant, id, named);
        let committed =
            self.ledger.commit(&everything, self.moment(), vec![Write::CreateTask(Box::new(spec)), entry]).await?;
        self.deliver(&committed);
        committed.task().cloned().ok_or_else(|| Error::new(Code::Internal, "the new task is not in the commit"))
    }

    /// The owner of a task about something of this tenant that this agent does: the tenant, unless the agent takes no tasks
    /// from there.
    async fn tenant_for(&self, tenant: Uuid, agent: &Agent) -> Result<Uuid> {
        let (of_task, of_agent) = (self.locator_of(tenant).await?, self.locator_of(agent.tenant).await?);
        Ok(if of_task.starts_with(&of_agent) { tenant } else { agent.tenant })
    }
}

/// Whether a text is an absolute path on machines of this family of systems.
#[must_use]
pub fn is_absolute(text: &str, system: &str) -> bool {
    if system == "windows" {
        let mut chars = text.chars();
        let drive = (chars.next(), chars.next(), chars.next());
        return text.starts_with("\\\\")
            || matches!(drive, (Some(letter), Some(':'), Some('\\' | '/')) if letter.is_ascii_alphabetic());
    }
    text.starts_with('/')
}

/// The folder without its detours, if it lies below what the agent permits.
fn permitted(root: &str, agent: &Agent) -> Result<String> {
    let windows = agent.system == "windows";
    let wanted = plain(root, windows);
    let below = |permitted: &String| {
        let permitted = plain(permitted, windows);
        let fold = |parts: &[String]| -> Vec<String> {
            parts.iter().map(|p| if windows { p.to_lowercase() } else { p.clone() }).collect()
        };
        fold(&wanted).starts_with(&fold(&permitted))
    };
    if is_absolute(root, &agent.system) && agent.restore_roots.iter().any(below) {
        return Ok(if windows { wanted.join("\\") } else { format!("/{}", wanted.join("/")) });
    }
    let roots = agent.restore_roots.join("', '");
    let hint = match agent.restore_roots.is_empty() {
        true => "the agent permits no folder; start it with --restore-root DIR".to_owned(),
        false => format!("a folder below '{roots}'"),
    };
    Err(Error::invalid("root", format!("'{root}' lies below no folder that '{}' restores to", agent.name)).hint(hint))
}

/// The parts of a path, with `.` and `..` followed.
fn plain(path: &str, windows: bool) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in path.split(|c| c == '/' || (windows && c == '\\')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name.to_owned()),
        }
    }
    parts
}

/// A name as one component of a path on any system.
fn one_component(name: &str) -> String {
    let mut kept: String =
        name.chars()
            .map(|c| {
                if c.is_control() || matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|') {
                    '_'
                } else {
                    c
                }
            })
            .collect();
    while kept.len() > MAX_NAME {
        kept.pop();
    }
    let kept = kept.trim().trim_end_matches('.').to_owned();
    if kept.chars().all(|c| c == '.') { String::new() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_component() {
        for (name, reduced) in [
            ("db01 copy", "db01 copy"),
            ("../../etc/passwd", ".._.._etc_passwd"),
            ("a\\b:c", "a_b_c"),
            ("..", ""),
            (" . ", ""),
            ("ends.", "ends"),
            ("", ""),
        ] {
            assert_eq!(one_component(name), reduced, "{name}");
        }
        assert_eq!(one_component(&"ü".repeat(200)).len(), MAX_NAME);
    }

    #[test]
    fn detours_do_not_lead_out() {
        assert_eq!(plain("/a/./b/../c//d/", false), ["a", "c", "d"]);
        assert_eq!(plain("/../..", false), Vec::<String>::new());
        assert_eq!(plain(r"C:\a\..\b/c", true), ["C:", "b", "c"]);
        assert!(is_absolute("/a", "linux") && !is_absolute("a", "linux") && !is_absolute(r"C:\a", "linux"));
        assert!(is_absolute(r"C:\a", "windows") && !is_absolute("/a", "windows") && !is_absolute("C:a", "windows"));
    }
}
