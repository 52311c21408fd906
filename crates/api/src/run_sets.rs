//! Schedules of several sets of runs, as the OpenAPI document shows them. The domain's types are what is read and written;
//! that both are the same is tested below.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Several sets of runs: what they say together happens, and what several say for one moment happens once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RunSets)]
pub struct RunSetsBody {
    /// The sets: 1 to 100 of them.
    pub sets: Vec<RunSetBody>,
    /// Whether they run by themselves; yes where it is not said.
    #[schema(required = false, default = true)]
    pub enabled: bool,
    /// What kinds of runs come: `custom` (each set says it, the default), `always_full`, `always_incremental`,
    /// `weekly_incremental`, `weekly_full` (the first run of a week is full) or `simple`.
    #[schema(required = false, example = "weekly_full")]
    pub scheme: String,
    /// The day on which weeks begin; `monday` where it is not said.
    #[schema(required = false, example = "sunday")]
    pub week_starts_on: String,
    /// Runs begin up to this long after their moment, each resource at its own time; never more than half the way to the
    /// next moment or to the end of the window.
    #[schema(required = false)]
    pub max_delay: Option<IntervalBody>,
    /// How many runs of the policy may be under way at one time, over all resources; 0 = no limit.
    #[schema(required = false)]
    pub max_parallel: u32,
    /// What follows when a scheduled run fails; nothing by default.
    #[schema(required = false)]
    pub again: Option<AgainBody>,
    /// Where clocks show its times: an IANA time zone name, or `agent` for the zone that the machine is set to. As the
    /// tenant's setting says where it is absent, and UTC where that says nothing.
    #[schema(required = false, example = "Europe/Berlin")]
    pub time_zone: Option<String>,
    /// When runs that were made for a moment within it have to be over: what is not is stopped. Absent = they may go on.
    #[schema(required = false)]
    pub window: Option<WindowBody>,
}

/// The part of each day in which runs go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Window)]
pub struct WindowBody {
    /// The local time of day at which it opens.
    #[schema(example = "22:00")]
    pub from: String,
    /// The local time of day at which it closes; not after `from`: of the following day.
    #[schema(example = "06:00")]
    pub to: String,
}

/// Runs that come by one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RunSet)]
pub struct RunSetBody {
    /// What they are for, where the scheme is `custom`: `auto` (the default), `full`, `incremental` or `differential`.
    #[schema(required = false, example = "full")]
    pub kind: String,
    /// When they come.
    pub when: WhenBody,
    /// Whether a run that was missed is made up for, and one that waits for its machine waits without limit.
    #[schema(required = false)]
    pub run_later: bool,
}

/// When the runs of a set come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = When)]
pub enum WhenBody {
    /// This long after the end of the last run, however it ended; at once where there was none. At least a minute.
    AfterLast(IntervalBody),
    /// By the calendar.
    Times(TimetableBody),
    /// Once, as soon as the policy is applied.
    AtOnce {},
    /// Again and again after this long, counted from when the policy was applied. At least a minute.
    Every(IntervalBody),
}

/// Local times on days of the calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Timetable)]
pub struct TimetableBody {
    /// What the days are taken from: `hourly` and `daily` all of them, `weekly` those of a week, `monthly` those of a
    /// month.
    #[schema(example = "weekly")]
    pub every: String,
    /// Hourly, daily and weekly: only these days, as `monday`. Empty = all, and weekly the day on which weeks begin.
    #[schema(required = false)]
    pub weekdays: Vec<String>,
    /// Exactly at these times of a day, `HH:MM` or `HH:MM:SS`; hourly, at their minutes in every hour.
    #[schema(required = false)]
    pub at: Vec<String>,
    /// Again and again after this long; 24 hours and more: only every so many of the days.
    #[schema(required = false)]
    pub step: Option<IntervalBody>,
    /// Where the times of a day begin; midnight by default.
    #[schema(required = false, example = "08:00")]
    pub from: Option<String>,
    /// The last time of a day that counts; the day's end by default. Before `from`: it is of the following day.
    #[schema(required = false, example = "20:00")]
    pub to: Option<String>,
    /// Monthly: on these days, from 1 to 31; a day that a month lacks is left out.
    #[schema(required = false)]
    pub monthdays: Vec<i8>,
    /// Monthly: on the last day too.
    #[schema(required = false)]
    pub last_day: bool,
    /// Monthly: only in these months, from 1 to 12. Empty = all.
    #[schema(required = false)]
    pub months: Vec<i8>,
}

/// More runs after one that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Again)]
pub struct AgainBody {
    /// How long after the end of the failed one.
    pub interval: IntervalBody,
    /// How many at most.
    pub attempts: u32,
}

/// A span of time: a count of a unit, because a month is not 30 days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Interval)]
pub struct IntervalBody {
    /// How many.
    pub count: u64,
    /// `seconds`, `minutes`, `hours`, `days`, `weeks` or `months`.
    #[schema(example = "hours")]
    pub unit: String,
}

#[cfg(test)]
mod tests {
    use domain::policy::Schedule;
    use serde_json::json;
    use utoipa::PartialSchema;

    use super::*;
    use crate::ScheduleBody;

    fn interval(count: u64, unit: &str) -> IntervalBody {
        IntervalBody { count, unit: unit.into() }
    }

    /// Everything is said, and nothing as it is by default.
    fn everything() -> RunSetsBody {
        let times = TimetableBody {
            every: "weekly".into(),
            weekdays: vec!["monday".into(), "friday".into()],
            at: vec!["08:30:00".into()],
            step: Some(interval(2, "hours")),
            from: Some("08:00:00".into()),
            to: Some("20:00:00".into()),
            monthdays: vec![1, 15],
            last_day: true,
            months: vec![1, 7],
        };
        RunSetsBody {
            sets: vec![
                RunSetBody { kind: "full".into(), when: WhenBody::Times(times), run_later: true },
                RunSetBody {
                    kind: "differential".into(),
                    when: WhenBody::AfterLast(interval(1, "days")),
                    run_later: true,
                },
                RunSetBody { kind: "full".into(), when: WhenBody::AtOnce {}, run_later: true },
                RunSetBody { kind: "full".into(), when: WhenBody::Every(interval(6, "hours")), run_later: true },
            ],
            enabled: false,
            scheme: "weekly_full".into(),
            week_starts_on: "sunday".into(),
            max_delay: Some(interval(10, "minutes")),
            max_parallel: 2,
            again: Some(AgainBody { interval: interval(5, "minutes"), attempts: 3 }),
            time_zone: Some("Europe/Berlin".into()),
            window: Some(WindowBody { from: "22:00:00".into(), to: "06:00:00".into() }),
        }
    }

    #[test]
    fn the_documented_sets_are_the_domains() {
        let json = json!(ScheduleBody::Sets(everything()));
        let schedule: Schedule = serde_json::from_value(json.clone()).expect("the domain reads it");
        assert_eq!(json!(schedule), json);
        let again: ScheduleBody = serde_json::from_value(json!(schedule)).expect("and the other way round");
        assert_eq!(again, ScheduleBody::Sets(everything()));
    }

    #[test]
    fn what_need_not_be_said_is_documented_so() {
        let least = json!({ "kind": "sets", "sets": [{ "when": { "times": { "every": "daily" } } }] });
        serde_json::from_value::<Schedule>(least).expect("the domain reads it");
        let required = |of: utoipa::openapi::RefOr<utoipa::openapi::Schema>| json!(of)["required"].clone();
        assert_eq!(required(RunSetsBody::schema()), json!(["sets"]));
        assert_eq!(required(RunSetBody::schema()), json!(["when"]));
        assert_eq!(required(TimetableBody::schema()), json!(["every"]));
        assert_eq!(required(AgainBody::schema()), json!(["interval", "attempts"]));
        assert_eq!(required(IntervalBody::schema()), json!(["count", "unit"]));
    }
}
