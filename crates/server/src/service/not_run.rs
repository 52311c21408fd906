//! Runs that do not happen: each is in the history, as a task that is over with the commit that passes its time by. So nobody
//! has to notice that something is not there.

use domain::plan::{LeftOut, MOST_COUNTED, Plan, Why};
use domain::policy::{Application, Policy};
use domain::resource::Resource;
use domain::task::{Event, NotRun, State, Task, TaskRef, TaskSpec};
use domain::{Result, Scope, Timestamp, if_found};
use jiff::tz::TimeZone;
use ledger::Write;
use serde_json::{Value, json};

use super::Service;
use super::runs::By;
use super::zones::Planning;

/// Why a waiting run is ended that its window leaves no time for.
const CLOSED: &str = "The run was missed: it still waited to be handed out when its window closed.";

impl Service {
    /// What tells of the runs that a plan leaves out: one task, whatever their number.
    pub(super) async fn left_out(
        &self,
        plan: &Plan,
        app: &Application,
        policy: &Policy,
        resource: &Resource,
        planning: &Planning,
    ) -> Result<Vec<Write>> {
        let Some(left_out) = plan.left_out else { return Ok(Vec::new()) };
        let run = domain::plan::asked(app, policy, &planning.around());
        let mut spec: TaskSpec = self.backup_spec(app, policy, resource, &run, By::Schedule, planning).await?;
        // What never begins is not the first of anything.
        spec.seeding = false;
        let former = match left_out.why {
            Why::Busy => self.open_task(app).await?,
            Why::Late | Why::Closed => None,
        };
        let made_up_for = matches!(plan.decision, domain::plan::Decision::Run(_));
        let skip = Event::Skip {
            why: kind_of(left_out.why),
            reason: reason(left_out, former.as_ref(), made_up_for, planning),
            context: context(left_out, former.as_ref()),
        };
        spec.tags = vec![kind_of(left_out.why).name().into()];
        let task = TaskRef::Uuid(spec.uuid);
        Ok(vec![Write::CreateTask(Box::new(spec)), Write::Task(task, skip)])
    }

    /// What ends a run at the end of its window: one that never began was missed, one under way is stopped.
    pub(super) async fn stop_at_the_end(&self, task: domain::Uuid, by: &str) -> Result<Event> {
        let waits = if_found(self.ledger.task(&Scope::everything(), TaskRef::Uuid(task)).await)?;
        Ok(match waits.is_some_and(|t| t.state() == State::Enqueued && t.status.assign_count == 0) {
            true => Event::Skip { why: NotRun::Missed, reason: CLOSED.to_owned(), context: Value::Null },
            false => Event::Cancel { by: by.to_owned() },
        })
    }
}

fn kind_of(why: Why) -> NotRun {
    match why {
        Why::Busy => NotRun::Skipped,
        Why::Late | Why::Closed => NotRun::Missed,
    }
}

/// Which runs, and why, in one or two sentences.
fn reason(left_out: LeftOut, former: Option<&Task>, made_up_for: bool, planning: &Planning) -> String {
    let LeftOut { why, count, first, last } = left_out;
    let at = |time| local(time, &planning.zone);
    let runs = match count {
        1 => format!("The run due at {}", at(last)),
        n => {
            let n = if n >= MOST_COUNTED as u64 { format!("{n} runs or more") } else { format!("{n} runs") };
            format!("{n}, due from {} to {},", at(first), at(last))
        }
    };
    let were = if count == 1 { "was" } else { "were" };
    let up_since = planning.moment.up_since;
    let told = match (why, former) {
        (Why::Busy, Some(former)) => {
            let how = if former.state() == State::Enqueued { "waited to be handed out" } else { "was not done" };
            format!("{runs} {were} skipped: task {}, the run before, still {how}.", former.id)
        }
        (Why::Busy, None) => format!("{runs} {were} skipped: the run before was not done."),
        (Why::Closed, _) => format!("{runs} {were} missed: the window had closed before anybody looked."),
        (Why::Late, _) if last < up_since && !planning.clock_was_set => {
            format!("{runs} {were} missed: the server was not running.")
        }
        (Why::Late, _) if first < up_since && !planning.clock_was_set => {
            format!("{runs} {were} missed: the server was not running, or the run before was not done.")
        }
        (Why::Late, _) => {
            format!("{runs} {were} missed: the server's machine slept, its clock was set, or it was too busy.")
        }
    };
    if made_up_for { format!("{told} One run makes up for it now.") } else { told }
}

/// The same for programs.
fn context(left_out: LeftOut, former: Option<&Task>) -> Value {
    let mut context = json!({ "count": left_out.count, "first": left_out.first, "last": left_out.last });
    if let Some(former) = former {
        context["task"] = json!(former.id.0);
    }
    context
}

/// A time as the clocks of a schedule show it.
pub(super) fn local(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}
