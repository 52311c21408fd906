//! The questions, each as both APIs ask it (contract for Acronis clients, section 14: what real clients ask all the time).

use domain::{SignedDuration, Timestamp};

use crate::generate::Manifest;
use crate::history;

/// How often pages of the long walk are read.
pub(crate) const WALK_PAGES: usize = 50;

/// How many changes lie behind a poller, about: those of some seconds, and those of a long break.
const POLLED: [u64; 4] = [10, 50, 200, 1000];

/// What people look for: frequent words, a rare one, and one that is nowhere.
const WORDS: [&str; 5] = ["web", "laptop", "MAIL", "sales.support", "nothing-is-called-so"];

/// Who asks: a token that opens this part of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Root,
    Middle,
    Leaf,
}

impl Who {
    pub(crate) const ALL: [Who; 3] = [Who::Root, Who::Middle, Who::Leaf];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Who::Root => "root",
            Who::Middle => "middle",
            Who::Leaf => "leaf",
        }
    }
}

/// What an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Tasks.
    Tasks,
    /// Tasks, and the address of what follows: the walk goes on by itself.
    Walk,
    /// Counts by tenant and result.
    Counts,
}

/// A question in both APIs' words. Several addresses are the same question about several things, asked in turn.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) name: &'static str,
    pub(crate) who: Who,
    pub(crate) holds: Holds,
    pub(crate) native: Vec<String>,
    pub(crate) acronis: Vec<String>,
}

/// All questions to a ledger that was made up so.
pub(crate) fn questions(manifest: &Manifest) -> Vec<Question> {
    let day_ago = manifest.end - SignedDuration::from_hours(24);
    let tasks = |name, who, native: &str, acronis: &str| Question {
        name,
        who,
        holds: Holds::Tasks,
        native: vec![native_tasks(native)],
        acronis: vec![acronis_tasks(acronis)],
    };
    let search = |who| Question {
        name: "name search",
        who,
        holds: Holds::Tasks,
        native: WORDS.map(|w| native_tasks(&format!("contains={w}&limit=100"))).into(),
        acronis: WORDS.map(|w| acronis_tasks(&format!("resourceName=like({w})&limit=100"))).into(),
    };
    let newest = |who| tasks("newest 100", who, "limit=100", "limit=100");
    let resources = manifest.resources.iter();
    let polled = POLLED.map(|rows| manifest.end - history::time_for(rows, manifest.tasks));
    vec![
        newest(Who::Root),
        newest(Who::Middle),
        newest(Who::Leaf),
        tasks(
            "failed backups since 1 day",
            Who::Root,
            &format!("completed_at_from={}&policy_type=backup&result=error&limit=100", after(day_ago)),
            &format!("completedAt=gt({day_ago})&policyType=backup&resultCode=error&limit=100"),
        ),
        Question {
            name: "one resource's history",
            who: Who::Root,
            holds: Holds::Tasks,
            native: resources
                .clone()
                .map(|id| native_tasks(&format!("resource_id={id}&order=-completed_at&limit=100")))
                .collect(),
            acronis: resources
                .map(|id| acronis_tasks(&format!("resourceId={id}&order=desc(completedAt)&limit=100")))
                .collect(),
        },
        Question {
            holds: Holds::Walk,
            ..tasks("mirror by cursor, 1000", Who::Root, "limit=1000", "limit=1000&lod=long")
        },
        Question {
            name: "poll by updatedAt",
            who: Who::Root,
            holds: Holds::Tasks,
            native: polled
                .iter()
                .map(|t| native_tasks(&format!("updated_at_from={}&order=updated_at&limit=1000", after(*t))))
                .collect(),
            acronis: polled
                .iter()
                .map(|t| acronis_tasks(&format!("updatedAt=gt({t})&order=asc(updatedAt)&limit=1000")))
                .collect(),
        },
        tasks("what runs now", Who::Root, "state=started,paused&limit=200", "state=started&state=paused&limit=200"),
        tasks("what runs now", Who::Middle, "state=started,paused&limit=200", "state=started&state=paused&limit=200"),
        search(Who::Middle),
        search(Who::Leaf),
        Question {
            name: "counts since 1 day by tenant, result",
            who: Who::Root,
            holds: Holds::Counts,
            native: vec![format!("/api/v1/tasks/counts?by=tenant,result&completed_at_from={}", after(day_ago))],
            acronis: vec![acronis_tasks(&format!("lod=count&groupBy=tenant,resultCode&completedAt=gt({day_ago})"))],
        },
    ]
}

fn native_tasks(query: &str) -> String {
    format!("/api/v1/tasks?{query}")
}

fn acronis_tasks(query: &str) -> String {
    format!("/api/task_manager/v2/tasks?{query}")
}

/// The native API has "at this time or later" where the other one has "later".
fn after(t: Timestamp) -> Timestamp {
    t + SignedDuration::from_nanos(1)
}
