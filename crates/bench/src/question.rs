//! The questions, each as the APIs ask it (contract for Acronis clients, section 14: what real clients ask all the time;
//! lists of the Yandex dialect page by page).

use domain::{SignedDuration, Timestamp, Uuid};

use crate::answer::Api;
use crate::generate::Manifest;
use crate::history;
use crate::yandex::{Asked, Listing};

/// How many pages of a list are read one after the other.
pub(crate) const WALK_PAGES: usize = 50;

/// How many changes lie behind a poller, about: those of some seconds, and those of a long break.
const POLLED: [u64; 4] = [10, 50, 200, 1000];

/// How many tasks a page by number has.
const PAGE: u64 = 100;

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
    /// Machines.
    Machines,
    /// Counts by tenant and result.
    Counts,
    /// Tasks, known by their uuids.
    Uuids,
    /// One task, known by its uuid.
    One,
    /// Something new.
    Made,
}

/// Which pages of a list are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pages {
    /// The first one.
    First,
    /// Many, in turn: the walk goes on by itself.
    Walk,
    /// The one in which such a walk ends.
    Deep,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    /// The path and query of a GET.
    Get(String),
    /// The path of a POST, and its body. It is sent as the administrator.
    Post(&'static str, &'static str),
    /// A call by gRPC.
    Grpc(Asked),
}

impl Request {
    /// The same for the page behind this place.
    pub(crate) fn page(&self, next: &str) -> Request {
        match self {
            Request::Get(url) => Request::Get(format!("{url}&{next}")),
            // What is made has no pages.
            Request::Post(..) => self.clone(),
            Request::Grpc(asked) => Request::Grpc(asked.page(next)),
        }
    }
}

/// A question in the words of the APIs that have it. Several addresses are the same question about several things, asked in
/// turn.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) name: &'static str,
    pub(crate) who: Who,
    pub(crate) holds: Holds,
    pub(crate) pages: Pages,
    pub(crate) native: Vec<Request>,
    pub(crate) acronis: Vec<Request>,
    pub(crate) yandex: Option<Listing>,
    pub(crate) clumio: Vec<Request>,
    pub(crate) openstack: Vec<Request>,
}

impl Question {
    /// A question of the whole tree about first pages, which no API has yet.
    fn new(name: &'static str, holds: Holds) -> Question {
        Question {
            name,
            who: Who::Root,
            holds,
            pages: Pages::First,
            native: Vec::new(),
            acronis: Vec::new(),
            yandex: None,
            clumio: Vec::new(),
            openstack: Vec::new(),
        }
    }

    /// How an API is asked; nothing if it does not have the question.
    pub(crate) fn requests(&self, api: Api) -> Vec<Request> {
        match api {
            Api::Native => self.native.clone(),
            Api::Acronis => self.acronis.clone(),
            Api::OpenStack => self.openstack.clone(),
            Api::Grpc => self.yandex.iter().map(|listing| Request::Grpc(listing.grpc())).collect(),
            Api::Rest => self.yandex.iter().map(|listing| Request::Get(listing.rest())).collect(),
            Api::Clumio => self.clumio.clone(),
        }
    }

    /// Whether it is asked where these APIs are: what only dialects have that are not asked says nothing.
    pub(crate) fn is_for(&self, apis: &[Api]) -> bool {
        let dialects: Vec<_> = apis.iter().filter(|api| **api != Api::Native).collect();
        dialects.is_empty() || dialects.iter().any(|api| !self.requests(**api).is_empty())
    }
}

/// The parts of a ledger that have the longest lists.
#[derive(Debug, Clone)]
pub(crate) struct Busy {
    /// The id of the machine with the most tasks, in the native API and in the Yandex dialect.
    pub(crate) machine: (Uuid, String),
    /// The tenant with the most machines.
    pub(crate) folder: Uuid,
}

/// The questions that clients of the Acronis dialect ask, to a ledger that was made up so.
pub(crate) fn questions(manifest: &Manifest) -> Vec<Question> {
    let day_ago = manifest.end - SignedDuration::from_hours(24);
    let tasks = |name, who, native: &str, acronis: &str| Question {
        who,
        native: vec![native_tasks(native)],
        acronis: vec![acronis_tasks(acronis)],
        ..Question::new(name, Holds::Tasks)
    };
    let search = |who| Question {
        who,
        native: WORDS.map(|w| native_tasks(&format!("contains={w}&limit=100"))).into(),
        acronis: WORDS.map(|w| acronis_tasks(&format!("resourceName=like({w})&limit=100"))).into(),
        ..Question::new("name search", Holds::Tasks)
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
            native: resources
                .clone()
                .map(|id| native_tasks(&format!("resource_id={id}&order=-completed_at&limit=100")))
                .collect(),
            acronis: resources
                .map(|id| acronis_tasks(&format!("resourceId={id}&order=desc(completedAt)&limit=100")))
                .collect(),
            ..Question::new("one resource's history", Holds::Tasks)
        },
        Question {
            pages: Pages::Walk,
            ..tasks("mirror by cursor, 1000", Who::Root, "limit=1000", "limit=1000&lod=long")
        },
        Question {
            native: polled
                .iter()
                .map(|t| native_tasks(&format!("updated_at_from={}&order=updated_at&limit=1000", after(*t))))
                .collect(),
            acronis: polled
                .iter()
                .map(|t| acronis_tasks(&format!("updatedAt=gt({t})&order=asc(updatedAt)&limit=1000")))
                .collect(),
            ..Question::new("poll by updatedAt", Holds::Tasks)
        },
        tasks("what runs now", Who::Root, "state=started,paused&limit=200", "state=started&state=paused&limit=200"),
        tasks("what runs now", Who::Middle, "state=started,paused&limit=200", "state=started&state=paused&limit=200"),
        search(Who::Middle),
        search(Who::Leaf),
        Question {
            native: vec![get(format!("/api/v1/tasks/counts?by=tenant,result&completed_at_from={}", after(day_ago)))],
            acronis: vec![acronis_tasks(&format!("lod=count&groupBy=tenant,resultCode&completedAt=gt({day_ago})"))],
            ..Question::new("counts since 1 day by tenant, result", Holds::Counts)
        },
    ]
}

/// The lists of the Yandex dialect, whose pages are small or as large as may be, at the beginning and deep.
pub(crate) fn listings(busy: &Busy) -> Vec<Question> {
    let Busy { machine: (machine, name), folder } = busy;
    let of_machine = |size| Listing::Tasks { machine: name.clone(), size };
    let in_folder = |size| Listing::Machines { folder: *folder, size };
    let tasks = |size: u16| native_tasks(&format!("resource_id={machine}&limit={size}"));
    let machines = |size: u16| {
        get(format!("/api/v1/resources?tenant={folder}&kind=compute_vm,bare_metal&order=created_at&limit={size}"))
    };
    let question = |name, holds, pages, native, listing| Question {
        pages,
        native: vec![native],
        yandex: Some(listing),
        ..Question::new(name, holds)
    };
    let tasks = |name, size, pages| question(name, Holds::Tasks, pages, tasks(size), of_machine(size));
    let machines = |name, size, pages| question(name, Holds::Machines, pages, machines(size), in_folder(size));
    vec![
        tasks("a machine's tasks, 100", 100, Pages::First),
        tasks("a machine's tasks, 100, deep", 100, Pages::Deep),
        tasks("a machine's tasks, 1000", 1000, Pages::First),
        tasks("a machine's tasks, 1000, deep", 1000, Pages::Deep),
        machines("a folder's machines, 100", 100, Pages::First),
        machines("a folder's machines, 100, deep", 100, Pages::Deep),
        machines("a folder's machines, 1000", 1000, Pages::First),
        machines("a folder's machines, 1000, deep", 1000, Pages::Deep),
    ]
}

/// The lists of the Clumio dialect: a filter of three fields with its total, at the beginning and in the middle.
pub(crate) fn pages(manifest: &Manifest) -> Vec<Question> {
    let since = manifest.end - SignedDuration::from_hours(24 * 150);
    // Whole seconds, as this API knows times.
    let since = Timestamp::from_second(since.as_second()).unwrap_or(since);
    let filter = format!(
        "%7B%22category%22:%7B%22$in%22:[%22backup%22]%7D,%22status%22:%7B%22$in%22:[%22completed%22]%7D,\
         %22created_timestamp%22:%7B%22$gte%22:%22{since}%22%7D%7D"
    );
    let question = |name, page: u64| Question {
        native: vec![native_tasks(&format!(
            "type=backup&result=ok,warning&created_at_from={since}&limit={PAGE}&page={page}"
        ))],
        clumio: vec![get(format!("/tasks?start={page}&limit={PAGE}&filter={filter}"))],
        ..Question::new(name, Holds::Tasks)
    };
    // About half of the tasks are such, so this is about in the middle.
    let middle = (manifest.tasks / PAGE / 4).max(1);
    vec![question("three filters with total, page 1", 1), question("three filters with total, middle page", middle)]
}

/// A task in a ledger, and how many are newer.
#[derive(Debug, Clone)]
pub(crate) struct Marker {
    /// Its uuid.
    pub(crate) uuid: String,
    /// It and those that are newer: a multiple of a hundred.
    pub(crate) place: u64,
}

/// The lists of the Image API's tasks, and one of them.
pub(crate) fn image_tasks(marker: &Marker) -> Vec<Question> {
    let Marker { uuid, place } = marker;
    let question = |name, holds, native, openstack| Question {
        native: vec![native],
        openstack: vec![openstack],
        ..Question::new(name, holds)
    };
    let list = |name, native: &str, openstack: &str| {
        question(name, Holds::Uuids, native_tasks(native), get(format!("/image/v2/tasks{openstack}")))
    };
    let page = place / 100 + 1;
    vec![
        list("image tasks", "limit=25", ""),
        list("image tasks, failed", "standing=failure&limit=100", "?limit=100&status=failure"),
        list("image tasks behind nine tenths", &format!("limit=100&page={page}"), &format!("?limit=100&marker={uuid}")),
        list("image tasks, oldest change", "order=updated_at&limit=25", "?sort_key=updated_at&sort_dir=asc"),
        list("image tasks by status", "order=-standing&limit=20", "?limit=20&sort_key=status&sort_dir=desc"),
        list("image tasks by id", "order=-uuid&limit=25", "?sort_key=id"),
        question(
            "an image task",
            Holds::One,
            get(format!("/api/v1/tasks/{uuid}")),
            get(format!("/image/v2/tasks/{uuid}")),
        ),
    ]
}

/// An import is created: a task, a resource and an entry of the audit. The native API makes no tasks by themselves; it adds
/// a resource, with the entry of the audit. The image is never fetched, as no agent is there.
pub(crate) fn import() -> Question {
    let resource = r#"{"name": "debian-13", "kind": "bare_metal"}"#;
    let task = r#"{"type": "import", "input": {"import_from": "http://127.0.0.1:9/debian-13.raw",
        "import_from_format": "raw", "image_properties": {"name": "debian-13"}}}"#;
    Question {
        native: vec![Request::Post("/api/v1/resources", resource)],
        openstack: vec![Request::Post("/image/v2/tasks", task)],
        ..Question::new("an import is created (native: a resource)", Holds::Made)
    }
}

fn get(url: String) -> Request {
    Request::Get(url)
}

fn native_tasks(query: &str) -> Request {
    get(format!("/api/v1/tasks?{query}"))
}

fn acronis_tasks(query: &str) -> Request {
    get(format!("/api/task_manager/v2/tasks?{query}"))
}

/// The native API has "at this time or later" where the other one has "later".
fn after(t: Timestamp) -> Timestamp {
    t + SignedDuration::from_nanos(1)
}
