//! Every route of the dialect against everybody and everything that it must refuse, after which nothing has changed, and once
//! as it is meant, after which whatever has changed tells by whom. A route without an entry fails the test, so none can be
//! forgotten.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use domain::activity::{ActivityRef, ActivitySpec};
use domain::task::{Blocker, Event, Executor, LeaseToken, Message, Rules, Task, TaskRef, TaskSpec};
use domain::token::TokenKind;
use domain::{Right, Role, Scope, SignedDuration, Timestamp, Uuid};
use ledger::{Claim, Write, Written};
use serde_json::{Value, json};
use server::dialects::acronis;

use crate::changes;
use crate::shape::{BASES, as_refusal, refused};
use crate::world::{Answer, World, basic, bearer, request};

/// Tasks of `acme`: one that waits, one that was just handed out, and one that is paused and waits for an answer, with a
/// step that waits and one that is in work.
struct Made {
    waiting: Task,
    assigned: Task,
    paused: Task,
    step: (i64, Uuid),
    busy: (i64, Uuid),
}

/// The lease of a task that somebody has.
fn lease(task: &Task) -> String {
    task.lease().expect("somebody has it").0.clone()
}

impl Made {
    async fn within(world: &World) -> Made {
        let mut writes = Vec::new();
        for queue in ["waiting", "assigned", "paused"] {
            let mut spec = TaskSpec::new(Uuid::now_v7(), "index", queue, world.acme);
            let heartbeat_interval = Some(SignedDuration::from_hours(1));
            let ack_timeout = SignedDuration::from_hours(1);
            spec.rules = Rules { cancellable: true, heartbeat_interval, ack_timeout, ..Rules::default() };
            writes.push(Write::CreateTask(Box::new(spec)));
        }
        for queue in ["assigned", "paused"] {
            writes.push(Write::Claim(Claim {
                queues: vec![queue.into()],
                types: Vec::new(),
                executor: Executor { id: "e-1".into(), ..Executor::default() },
                leases: vec![LeaseToken(format!("the lease of {queue}"))],
            }));
        }
        let mut tasks = Vec::new();
        for written in world.commit(writes).await.written {
            match written {
                Written::Task { task, .. } if task.spec.queue == "waiting" => tasks.push(task),
                Written::Claimed(claimed) => tasks.extend(claimed),
                _ => {}
            }
        }
        let [waiting, assigned, paused] = <[Task; 3]>::try_from(tasks).expect("three tasks");
        let (task, lease) = (TaskRef::Id(paused.id), LeaseToken(lease(&paused)));
        let blocker = Blocker {
            id: Uuid::now_v7(),
            activity: None,
            issue: Message { key: "no.space".into(), context: Value::Null },
            possible_solutions: vec![Message { key: "retry".into(), context: Value::Null }],
            solution: None,
        };
        let step = |kind: &str, start| {
            let spec = Box::new(ActivitySpec::new(Uuid::now_v7(), kind));
            Write::CreateActivity { task, lease: lease.clone(), spec, start }
        };
        let writes = vec![
            Write::Task(task, Event::Start { lease: lease.clone() }),
            step("scan", false),
            step("copy", true),
            Write::Task(task, Event::Pause { lease: lease.clone(), blockers: vec![blocker] }),
        ];
        let committed = world.commit(writes).await;
        let steps = committed.written.iter().filter_map(|w| match w {
            Written::Activity(view) => Some((view.activity.id.0, view.activity.uuid)),
            _ => None,
        });
        let [step, busy] = <[_; 2]>::try_from(steps.collect::<Vec<_>>()).expect("two steps");
        let paused = world.ledger.task(&Scope::everything(), task).await.expect("the task");
        Made { waiting, assigned, paused, step, busy }
    }
}

/// What a route does with a body.
#[derive(Clone)]
enum Takes {
    /// It has none.
    Nothing,
    /// It may be left out.
    Perhaps(Value),
    /// It must be there.
    Body(Value),
}

/// What the test must know of a route of the task API.
struct Case {
    right: Right,
    /// The values of the path, by number and by uuid.
    ids: Vec<[String; 2]>,
    lease: Option<String>,
    takes: Takes,
    /// A body that is right, but for what another tenant has, and what is answered then.
    foreign: Option<(Value, (u16, &'static str))>,
    /// What is answered when all is right.
    status: u16,
}

impl Case {
    fn new(right: Right, takes: Takes) -> Case {
        Case { right, ids: Vec::new(), lease: None, takes, foreign: None, status: 200 }
    }

    fn of_task(self, task: &Task) -> Case {
        Case { ids: vec![[task.id.to_string(), task.spec.uuid.to_string()]], ..self }
    }

    fn of_activity(self, (id, uuid): (i64, Uuid)) -> Case {
        Case { ids: vec![[id.to_string(), uuid.to_string()]], ..self }
    }

    /// Under the lease of this task.
    fn under(self, task: &Task) -> Case {
        Case { lease: Some(lease(task)), ..self }
    }
}

fn case(method: &str, path: &str, world: &World, made: &Made) -> Option<Case> {
    use Right::{Consume, Issue, View};
    use Takes::{Body, Nothing, Perhaps};
    let Made { waiting, assigned, paused, step, busy } = made;
    let progress = json!({ "total": 100, "current": 40, "bytesProcessed": 7 });
    let completed = json!({ "result": { "code": "ok" }, "progress": progress });
    let report = |takes, task: &Task| Some(Case::new(Consume, takes).of_task(task).under(task));
    let report_step = |takes, step| Some(Case::new(Consume, takes).of_activity(step).under(paused));
    match (method, path) {
        ("get", "/tasks" | "/activities") => Some(Case::new(View, Nothing)),
        ("get", "/tasks/{id}") => Some(Case::new(View, Nothing).of_task(paused)),
        ("get", "/activities/{id}") => Some(Case::new(View, Nothing).of_activity(*step)),
        ("post", "/tasks") => {
            let body = json!({ "type": "index", "queue": "later", "tags": ["t"], "tenant": { "uuid": world.acme } });
            let foreign = Some((body.clone(), (403, "forbidden")));
            Some(Case { foreign, status: 201, ..Case::new(Issue, Body(body)) })
        }
        ("post", "/tasks/assign") => {
            Some(Case::new(Consume, Body(json!({ "queues": ["waiting"], "consumer": { "id": "e-9" } }))))
        }
        ("put", "/tasks/{id}/cancel") => Some(Case::new(Issue, Perhaps(json!({}))).of_task(waiting)),
        ("put", "/tasks/{id}/started") => report(Perhaps(json!({})), assigned),
        ("put", "/tasks/{id}/heartbeat" | "/tasks/{id}/resumed") => report(Perhaps(json!({})), paused),
        ("put", "/tasks/{id}/progress") => report(Body(progress), paused),
        ("put", "/tasks/{id}/paused") => {
            report(Perhaps(json!({ "blockers": [{ "issue": { "key": "no.tape" } }] })), paused)
        }
        ("put", "/tasks/{id}/completed") => report(Body(completed), assigned),
        ("put", "/tasks/{id}/abandoned") => report(Perhaps(json!({ "reason": "the worker stops" })), paused),
        ("put", "/tasks/{id}/blockers/{blocker}/solution") => {
            let mut case = Case::new(Issue, Body(json!({ "key": "retry" }))).of_task(paused);
            case.ids.push(["1".to_owned(), paused.status.blockers[0].id.to_string()]);
            Some(case)
        }
        ("post", "/activities") => {
            let body = json!({ "taskId": paused.id.0, "type": "verify", "state": "started" });
            let foreign = Some((body.clone(), (404, "notFound")));
            Some(Case { foreign, status: 201, ..Case::new(Consume, Body(body)).under(paused) })
        }
        ("put", "/activities/{id}/started") => report_step(Perhaps(json!({})), *step),
        ("put", "/activities/{id}/progress") => report_step(Body(progress), *busy),
        ("put", "/activities/{id}/paused" | "/activities/{id}/resumed") => report_step(Perhaps(json!({})), *busy),
        ("put", "/activities/{id}/completed") => report_step(Body(completed), *busy),
        _ => None,
    }
}

pub(crate) fn method(name: &str) -> Method {
    name.to_ascii_uppercase().parse().expect("a method")
}

/// A path with values in place of its parameters.
fn filled(path: &str, ids: &[[String; 2]], by: usize) -> String {
    let mut ids = ids.iter();
    let part = |part: &str| match part.starts_with('{') {
        true => ids.next().expect("the entry has a value for each parameter")[by].clone(),
        false => part.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

struct Checked<'a> {
    world: &'a World,
    /// The route.
    name: String,
    method: Method,
    path: String,
    by_uuid: String,
    case: Case,
}

impl Checked<'_> {
    /// A request that must leave everything as it is.
    async fn harmless(&self, request: Request<Body>) -> Answer {
        let before = changes::held(&*self.world.ledger).await;
        let answer = self.world.send(request).await;
        let after = changes::held(&*self.world.ledger).await;
        assert_eq!(after, before, "{} answered with {} and changed something", self.name, answer.0);
        answer
    }

    /// A request that is right, but for what differs.
    async fn ask(&self, path: &str, auth: &str, body: Option<&Value>) -> Answer {
        let text = body.map(|b| ("application/json", b.to_string()));
        self.send(path, auth, text.as_ref().map(|(kind, text)| (*kind, text.as_str()))).await
    }

    async fn send(&self, path: &str, auth: &str, body: Option<(&str, &str)>) -> Answer {
        self.harmless(self.request(path, auth, body)).await
    }

    fn request(&self, path: &str, auth: &str, body: Option<(&str, &str)>) -> Request<Body> {
        let mut request = request(self.method.clone(), path, auth);
        if let Some(lease) = &self.case.lease {
            request = request.header("task-lease", lease);
        }
        let body = match body {
            Some((kind, text)) => {
                request = request.header("content-type", kind);
                Body::from(text.to_owned())
            }
            None => Body::empty(),
        };
        request.body(body).expect("a request")
    }

    fn body(&self) -> Option<&Value> {
        match &self.case.takes {
            Takes::Nothing => None,
            Takes::Perhaps(body) | Takes::Body(body) => Some(body),
        }
    }

    /// A token that is just enough.
    async fn token(&self) -> String {
        let enough = Role::ALL.iter().find(|r| r.rights().contains(&self.case.right)).expect("some role is enough");
        self.world.bearer(self.world.acme, *enough).await
    }

    async fn strangers(&self) {
        let name = &self.name;
        for (what, auth) in no_callers(self.world).await {
            let answer = self.ask(&self.path, &auth, self.body()).await;
            assert_eq!(refused(&answer, name), as_refusal(401, "unauthorized"), "{name} with {what}");
        }
        // D11: also those that may do other things here.
        let below: Vec<_> = Role::ALL.iter().filter(|r| !r.rights().contains(&self.case.right)).collect();
        assert!(below.contains(&&Role::Viewer) != (self.case.right == Right::View), "{name}");
        for role in below {
            let auth = self.world.bearer(self.world.acme, *role).await;
            let answer = self.ask(&self.path, &auth, self.body()).await;
            assert_eq!(refused(&answer, name), as_refusal(403, "forbidden"), "{name} as {role}");
        }
        // D12: beside it and below it.
        for tenant in [self.world.globex, self.world.acme_east] {
            let auth = self.world.bearer(tenant, Role::Admin).await;
            if let Some((body, (status, code))) = &self.case.foreign {
                let answer = self.ask(&self.path, &auth, Some(body)).await;
                assert_eq!(refused(&answer, name), as_refusal(*status, code), "{name} for another tenant's things");
            } else if self.case.ids.is_empty() {
                let (status, _, body) = self.ask(&self.path, &auth, self.body()).await;
                assert_eq!(status, StatusCode::OK, "{name}: {body}");
                assert_eq!((&body["items"], &body["size"]), (&json!([]), &json!(0)), "{name}: {body}");
            } else {
                for path in [&self.path, &self.by_uuid] {
                    let answer = self.ask(path, &auth, self.body()).await;
                    assert_eq!(refused(&answer, name), as_refusal(404, "notFound"), "{name} of another tenant");
                }
            }
        }
    }

    async fn bodies(&self) {
        let (name, auth) = (&self.name, self.token().await);
        let whole = self.body().cloned().unwrap_or_else(|| json!({}));
        if let Takes::Nothing = self.case.takes {
            // D2: whatever a GET says of itself is not looked at.
            let request = request(Method::GET, &self.path, &auth).header("content-type", "text/plain");
            let request = request.header("accept", "text/html").header("user-agent", "\"odd");
            let (status, ..) = self.harmless(request.body(Body::empty()).expect("a request")).await;
            assert_eq!(status, StatusCode::OK, "{name}");
            return;
        }
        let mut unknown = whole.clone();
        unknown["noSuchMember"] = json!(1);
        let (unknown, list) = (unknown.to_string(), json!([whole]).to_string());
        let big = " ".repeat(1024 * 1024 + 1);
        for (kind, text, status, code) in [
            ("application/json", "{", 400, "invalidBody"),
            ("application/json", "{\"a\":1}}", 400, "invalidBody"),
            ("application/json", "\"text\"", 400, "invalidBody"),
            ("application/json", "\u{7f}", 400, "invalidBody"),
            ("application/json", &unknown, 400, "invalidBody"),
            ("application/json", &list, 400, "invalidBody"),
            ("text/plain", &whole.to_string(), 415, "unsupportedMediaType"),
            ("application/x-www-form-urlencoded", "a=b", 415, "unsupportedMediaType"),
            ("application/json", &big, 413, "requestEntityTooLarge"),
        ] {
            let answer = self.send(&self.path, &auth, Some((kind, text))).await;
            let start: String = text.chars().take(30).collect();
            assert_eq!(refused(&answer, name), as_refusal(status, code), "{name} with the {kind} body {start}");
        }
        if let Takes::Body(_) = self.case.takes {
            let answer = self.send(&self.path, &auth, None).await;
            assert_eq!(refused(&answer, name), as_refusal(400, "invalidBody"), "{name} without a body");
        }
        if self.case.lease.is_some() {
            self.leases(&auth).await;
        }
    }

    /// D69
    async fn leases(&self, auth: &str) {
        let name = &self.name;
        let long = "x".repeat(65);
        for (lease, status, code) in [
            (None, 400, "invalidParameter"),
            (Some(""), 400, "invalidParameter"),
            (Some(long.as_str()), 400, "invalidParameter"),
            (Some("another lease"), 409, "leaseLost"),
        ] {
            let mut request = request(self.method.clone(), &self.path, auth).header("content-type", "application/json");
            if let Some(lease) = lease {
                request = request.header("task-lease", lease);
            }
            let body = Body::from(self.body().map(Value::to_string).unwrap_or_default());
            let answer = self.harmless(request.body(body).expect("a request")).await;
            assert_eq!(refused(&answer, name), as_refusal(status, code), "{name} with the lease {lease:?}");
            if status == 400 {
                assert_eq!(answer.2["context"]["parameter"], "Task-Lease", "{name}");
            }
        }
    }

    async fn queries(&self) {
        let (name, auth) = (&self.name, self.token().await);
        let list = self.case.ids.is_empty() && self.method == Method::GET;
        let context = |answer: &Answer, key: &str| answer.2["context"][key].clone();
        // D2: 8 KiB, whatever stands in them.
        let longest = format!("_={}", "x".repeat(8 * 1024 - 2));
        let answer = self.ask(&format!("{}?{longest}y", self.path), &auth, self.body()).await;
        assert_eq!(refused(&answer, name), as_refusal(414, "uriTooLong"), "{name} with a long query");
        let escaped = format!("_={}", "%41".repeat(8 * 1024 - 2));
        let answer = self.ask(&format!("{}?{escaped}&", self.path), &auth, Some(&json!([]))).await;
        assert_ne!(answer.0, StatusCode::URI_TOO_LONG, "{name} with a query that is long before it is decoded");
        // D16
        let answer = self.ask(&format!("{}?tenant_id=1", self.path), &auth, self.body()).await;
        assert_eq!(refused(&answer, name), as_refusal(400, "unknownParameter"), "{name} with an unknown parameter");
        assert_eq!(context(&answer, "parameter"), "tenant_id", "{name}");
        assert_eq!(context(&answer, "suggestion"), if list { json!("tenantId") } else { Value::Null }, "{name}");
        let answer = self.ask(&format!("{}?a=%zz", self.path), &auth, self.body()).await;
        assert_eq!(refused(&answer, name), as_refusal(400, "invalidParameter"), "{name} with a broken query");
        if self.method != Method::GET {
            return;
        }
        // D17
        for twice in ["lod=full&lod=full", "allow_deleted=1&allow_deleted=1", "lod=", "allow_deleted="] {
            let answer = self.ask(&format!("{}?{twice}", self.path), &auth, None).await;
            assert_eq!(refused(&answer, name), as_refusal(400, "invalidParameter"), "{name} with {twice}");
            let parameter = twice.split('=').next().expect("a name");
            assert_eq!(context(&answer, "parameter"), parameter, "{name} with {twice}");
        }
        if !list {
            let answer = self.ask(&format!("{}?limit=1", self.path), &auth, None).await;
            assert_eq!(refused(&answer, name), as_refusal(400, "unknownParameter"), "{name} is no list");
            let answer = self.ask(&format!("{}?lod=count", self.path), &auth, None).await;
            assert_eq!(refused(&answer, name), as_refusal(400, "invalidParameter"), "{name} is no list");
            return;
        }
        for (count, status) in [(200, 200), (201, 400)] {
            for values in ["id=1&".repeat(count), format!("type=or({})", vec!["a"; count].join(","))] {
                let answer = self.ask(&format!("{}?{values}", self.path), &auth, None).await;
                assert_eq!(answer.0, status, "{name} with {count} values");
                if status == 400 {
                    assert_eq!(refused(&answer, name), as_refusal(400, "invalidParameter"), "{name}");
                }
            }
        }
        for limit in ["0", "1001", "-1", "x", "1.5", "99999999999999999999"] {
            let answer = self.ask(&format!("{}?limit={limit}", self.path), &auth, None).await;
            assert_eq!(refused(&answer, name), as_refusal(400, "invalidParameter"), "{name} with limit {limit}");
            assert_eq!(context(&answer, "value"), limit, "{name}");
        }
        // D2: the cursor does not count.
        let answer = self.ask(&format!("{}?after={}", self.path, "A".repeat(9 * 1024)), &auth, None).await;
        assert_eq!(refused(&answer, name), as_refusal(400, "invalidCursor"), "{name} with a damaged cursor");
    }

    async fn ids(&self) {
        let (name, auth) = (&self.name, self.token().await);
        for at in 0..self.case.ids.len() {
            // D14
            for (id, status, code) in [
                ("x", 400, "invalidParameter"),
                ("-1", 400, "invalidParameter"),
                ("1.0", 400, "invalidParameter"),
                ("%F0%9F", 400, "invalidParameter"),
                ("019a1c5e7d0a7c3e9b1f5a2f6c1d8e90", 400, "invalidParameter"),
                ("999999999999999999999", 404, "notFound"),
                ("4200000000", 404, "notFound"),
                ("019a1c5e-7d0a-7c3e-9b1f-5a2f6c1d8e90", 404, "notFound"),
            ] {
                let mut ids = self.case.ids.clone();
                ids[at] = [id.to_owned(), id.to_owned()];
                let path = filled(self.name.split_once(' ').expect("method and path").1, &ids, 0);
                let answer = self.ask(&path, &auth, self.body()).await;
                assert_eq!(refused(&answer, name), as_refusal(status, code), "{name} with the id {id}");
            }
        }
    }

    /// The request as it is meant, by number and by uuid; `_` is ignored (D16).
    async fn success(&self, by_uuid: bool) {
        let (name, auth) = (&self.name, self.token().await);
        let upper: Vec<_> = self.case.ids.iter().map(|[id, uuid]| [id.clone(), uuid.to_ascii_uppercase()]).collect();
        let route = self.name.split_once(' ').expect("method and path").1;
        let path = filled(route, &upper, usize::from(by_uuid));
        let text = self.body().map(Value::to_string);
        let request =
            self.request(&format!("{path}?_=1"), &auth, text.as_ref().map(|t| ("application/json", t.as_str())));
        let before = changes::held(&*self.world.ledger).await;
        let answer = self.world.send(request).await;
        let after = changes::held(&*self.world.ledger).await;
        let by = self.world.service.authenticate(auth.trim_start_matches("Bearer ")).await.expect("it was let in");
        let reads = self.case.right == Right::View;
        // Progress alone may be held back for a while.
        assert!((before == after) == reads || name.ends_with("/progress"), "{name}: it changed something, or nothing");
        // What a report changes is the executor's, whom the task names.
        if self.case.right != Right::Consume {
            changes::told(&before, &after, &by, name);
        }
        let (status, headers, body) = &answer;
        assert_eq!(status.as_u16(), self.case.status, "{name}: {body}");
        assert_eq!(headers["content-type"], "application/json", "{name}");
        assert_eq!(headers["cache-control"], "no-store", "{name}");
        assert!(body.is_object() && *body != json!({}), "{name}: {body}");
    }
}

/// Headers that let nobody in.
pub(crate) async fn no_callers(world: &World) -> Vec<(&'static str, String)> {
    let acme = Scope::subtree(&world.tenant(world.acme).await);
    let issue = |kind, until| world.service.issue(&world.root, &acme, kind, "a token".into(), Role::Admin, until);
    let (_, good) = issue(TokenKind::Api, None).await.expect("a token");
    let (_, expired) = issue(TokenKind::Api, Some(Timestamp::UNIX_EPOCH)).await.expect("a token");
    let (_, agents) = issue(TokenKind::Agent, None).await.expect("a token");
    vec![
        ("no token", String::new()),
        ("no secret", "Bearer ".into()),
        ("no scheme", good.clone()),
        ("a word", bearer("nonsense")),
        ("another secret", bearer(&format!("{good}x"))),
        ("a sign that no token has", bearer(&format!("{good}\""))),
        ("two words", bearer(&format!("{good} {good}"))),
        ("three parts that are no token", bearer("e30.e30.c2ln")),
        ("a name and a password", basic("operator", "tape")),
        ("an expired token", bearer(&expired)),
        ("an agent's token", bearer(&agents)),
    ]
}

/// The routes of the task API, below one of its bases.
fn task_routes() -> Vec<(&'static str, &'static str, String)> {
    let base = |path: &str| BASES.into_iter().find(|base| path.starts_with(&format!("{base}/")));
    acronis::routes().filter_map(|(method, path)| Some((base(&path)?, method, path))).collect()
}

fn checked<'a>(world: &'a World, made: &Made, (base, verb, path): &(&str, &str, String)) -> Checked<'a> {
    let case = case(verb, &path[base.len()..], world, made);
    let case = case.unwrap_or_else(|| panic!("the route {verb} {path} has no entry in this test"));
    let method = method(verb);
    let of = |by| filled(path, &case.ids, by);
    let (number, by_uuid) = (of(0), of(1));
    Checked { world, name: format!("{method} {path}"), method, path: number, by_uuid, case }
}

#[tokio::test]
async fn every_route_refuses_whom_it_must() {
    let world = World::new().await;
    let made = Made::within(&world).await;
    for route in task_routes() {
        checked(&world, &made, &route).strangers().await;
    }
}

#[tokio::test]
async fn every_route_refuses_what_it_cannot_read() {
    let world = World::new().await;
    let made = Made::within(&world).await;
    for route in task_routes() {
        let checked = checked(&world, &made, &route);
        checked.bodies().await;
        checked.ids().await;
        checked.queries().await;
    }
}

#[tokio::test]
async fn every_route_does_what_it_is_for() {
    let world = World::new().await;
    for route in task_routes() {
        for by_uuid in [false, true] {
            let made = Made::within(&world).await;
            checked(&world, &made, &route).success(by_uuid).await;
        }
    }
}

#[tokio::test]
async fn a_root_activity_is_read_by_all_and_written_by_nobody() {
    // D48
    let world = World::new().await;
    let made = Made::within(&world).await;
    let auth = world.bearer(world.acme, Role::Admin).await;
    let steps = world.get(&format!("{}/activities?taskId={}", BASES[0], made.paused.id), &auth).await.2;
    let roots: Vec<_> =
        steps["items"].as_array().expect("a list").iter().filter(|a| a.get("parentActivityId").is_none()).collect();
    let [root] = roots[..] else { panic!("one root: {steps}") };
    let root = root["id"].as_i64().expect("a number");
    let known = world.ledger.activity(&Scope::everything(), ActivityRef::Id(domain::activity::ActivityId(root))).await;
    assert!(known.expect("it is there").activity.is_root());
    let full = json!({ "result": { "code": "ok" } });
    for (call, body) in [
        ("started", json!({})),
        ("progress", json!({ "total": 1 })),
        ("paused", json!({})),
        ("resumed", json!({})),
        ("completed", full),
    ] {
        let path = format!("{}/activities/{root}/{call}", BASES[0]);
        let request = request(Method::PUT, &path, &auth).header("content-type", "application/json");
        let request = request.header("task-lease", lease(&made.paused)).body(Body::from(body.to_string()));
        let answer = world.send(request.expect("a request")).await;
        assert_eq!(refused(&answer, call), as_refusal(403, "forbidden"), "{call}");
    }
}
