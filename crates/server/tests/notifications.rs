//! Notifications, with a clock that is set by hand and a receiver of this machine: what is told, to whom, in what order, and
//! what a refusal, a crash and a flood change about it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::channel::{Event as News, FLOOD};
use domain::import::{ImportRules, Network};
use domain::task::{Event, Executor, LeaseToken, Named, NotRun, Outcome, OutcomeCode, TaskError, TaskRef, TaskSpec};
use domain::tenant::Tenant;
use domain::{Caller, Code, Moment, Scope, SignedDuration, Timestamp, Uuid};
use ledger::{Expect, Ledger, MemoryLedger, Write};
use serde_json::{Value, json};
use server::Service;
use server::scheduler::notify::{UnderWay, turn};
use server::secrets::Sealer;
use server::service::{ChannelChange, ChannelView, NewChannel, NewTarget, NewTenant};
use tokio::net::{TcpListener, TcpSocket};

/// What a receiver got, and what it answers next; `200` when nothing is prepared.
#[derive(Default)]
struct Inbox {
    got: Vec<(HeaderMap, String)>,
    answers: Vec<u16>,
}

/// A receiver of webhooks.
struct Receiver {
    url: String,
    inbox: Arc<Mutex<Inbox>>,
}

impl Receiver {
    async fn new() -> Receiver {
        async fn take(State(inbox): State<Arc<Mutex<Inbox>>>, headers: HeaderMap, body: String) -> Response {
            let mut inbox = inbox.lock().unwrap_or_else(PoisonError::into_inner);
            inbox.got.push((headers, body));
            let answer = if inbox.answers.is_empty() { 200 } else { inbox.answers.remove(0) };
            match answer {
                303 => Redirect::to("/elsewhere").into_response(),
                other => StatusCode::from_u16(other).expect("a status").into_response(),
            }
        }
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let app = Router::new().route("/hook", post(take)).route("/elsewhere", get(take)).with_state(inbox.clone());
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", tcp.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(tcp, app).await });
        Receiver { url, inbox }
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn will_answer(&self, answers: &[u16]) {
        self.lock().answers.extend(answers);
    }

    /// The ids and bodies of what came since somebody asked.
    fn got(&self) -> Vec<(String, Value)> {
        let read = |(headers, body): (HeaderMap, String)| {
            let id = headers["webhook-id"].to_str().expect("text").to_owned();
            (id, serde_json::from_str(&body).expect("JSON"))
        };
        std::mem::take(&mut self.lock().got).into_iter().map(read).collect()
    }

    /// The types of what came since somebody asked, with the names of resources.
    fn told(&self) -> Vec<String> {
        let line = |(_, body): (String, Value)| {
            let word = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            format!("{} {}", word(&body["type"]), word(&body["data"]["task"]["resource"]["name"])).trim().to_owned()
        };
        self.got().into_iter().map(line).collect()
    }
}

struct World {
    ledger: Arc<MemoryLedger>,
    service: Arc<Service>,
    under_way: UnderWay,
    now: Arc<Mutex<Timestamp>>,
    acme: Uuid,
    east: Uuid,
    globex: Uuid,
}

fn service_over(ledger: &Arc<MemoryLedger>, now: &Arc<Mutex<Timestamp>>) -> Arc<Service> {
    let networks = vec![Network::parse("127.0.0.0/8").expect("a network")];
    let sealer = Sealer::new(&[7; 32]).expect("32 bytes");
    let clock = now.clone();
    let service = Service::new(ledger.clone(), sealer)
        .by_clock(move || *clock.lock().unwrap_or_else(PoisonError::into_inner))
        .notifying(ImportRules { networks, roots: Vec::new() });
    Arc::new(service)
}

impl World {
    /// Two tenants, `acme` with `east` below it, and `globex`.
    async fn new() -> World {
        let ledger = Arc::new(MemoryLedger::new());
        let now = Arc::new(Mutex::new("2026-11-23T02:00:00Z".parse().expect("a time")));
        let service = service_over(&ledger, &now);
        let root = Tenant::root("root", "UTC", service.moment().now);
        let write = Write::Put(Box::new(root.into()), Expect::New);
        ledger.commit(&Scope::everything(), service.moment(), vec![write]).await.expect("the root");
        let below = async |parent, name: &str| {
            let new = NewTenant { parent, name: name.into(), description: String::new() };
            service.create_tenant(&Caller::server(), new).await.expect("a tenant").id
        };
        let (acme, globex) = (below(None, "acme").await, below(None, "globex").await);
        let east = below(Some(acme), "east").await;
        World { ledger, under_way: UnderWay::default(), now, acme, east, globex, service }
    }

    fn pass(&self, time: SignedDuration) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) += time;
    }

    fn moment(&self) -> Moment {
        self.service.moment()
    }

    /// The server dies and starts again, over what is in the ledger.
    fn restart(&mut self) {
        self.service = service_over(&self.ledger, &self.now);
        self.under_way = UnderWay::default();
    }

    async fn commit(&self, writes: Vec<Write>) {
        self.ledger.commit(&Scope::everything(), self.moment(), writes).await.expect("a commit");
    }

    /// The scheduler looks, and what it begins ends.
    async fn turn(&mut self) {
        turn(&self.service, &mut self.under_way, 0).await;
        self.under_way.end().await;
    }

    async fn channel(&self, tenant: Uuid, name: &str, url: &str) -> ChannelView {
        self.channel_with(tenant, name, url, None).await.0
    }

    async fn channel_with(
        &self,
        tenant: Uuid,
        name: &str,
        url: &str,
        digest: Option<SignedDuration>,
    ) -> (ChannelView, String) {
        let new = NewChannel {
            tenant: Some(tenant),
            name: name.into(),
            enabled: true,
            target: NewTarget::Webhook { url: url.into() },
            events: News::ALL.to_vec(),
            digest,
        };
        let (view, secret) = self.service.create_channel(&Caller::server(), new).await.expect("a channel");
        (view, secret.expect("a webhook has a secret"))
    }

    async fn look_at(&self, channel: &ChannelView) -> ChannelView {
        self.service.channel(&Caller::server(), channel.channel.id).await.expect("the channel")
    }

    async fn change(&self, channel: &ChannelView, change: ChannelChange) -> domain::Result<ChannelView> {
        self.service.change_channel(&Caller::server(), channel.channel.id, change).await
    }

    async fn wish(&self, tenant: Uuid, resource: &str) -> Uuid {
        let named = |kind: &str, name: &str| Named { id: name.into(), kind: kind.into(), name: name.into() };
        let spec = TaskSpec {
            policy: Some(named("policy", "daily")),
            resource: Some(named("machine", resource)),
            ..TaskSpec::new(Uuid::now_v7(), "backup", "work", tenant)
        };
        let uuid = spec.uuid;
        self.commit(vec![Write::CreateTask(Box::new(spec))]).await;
        uuid
    }

    /// A backup that ends so.
    async fn ends(&self, tenant: Uuid, resource: &str, code: OutcomeCode) {
        let task = TaskRef::Uuid(self.wish(tenant, resource).await);
        let lease = LeaseToken(Uuid::now_v7().to_string());
        let error = (code == OutcomeCode::Error).then(|| TaskError {
            domain: "engine".into(),
            code: "sourceMissing".into(),
            message: format!("There is no folder of {resource}."),
            ..TaskError::default()
        });
        let outcome = Outcome { error, ..Outcome::of(code) };
        let executor = Executor { id: "w-1".into(), ..Executor::default() };
        let claim = Event::Claim { executor, lease: lease.clone() };
        let start = Event::Start { lease: lease.clone() };
        let done = Event::Complete { lease, outcome, progress: None };
        self.commit([claim, start, done].into_iter().map(|e| Write::Task(task, e)).collect()).await;
    }

    async fn fails(&self, tenant: Uuid, resource: &str) {
        self.ends(tenant, resource, OutcomeCode::Error).await;
    }

    /// A run that does not happen.
    async fn is_not_run(&self, tenant: Uuid, resource: &str, why: NotRun) {
        let task = TaskRef::Uuid(self.wish(tenant, resource).await);
        let skip = Event::Skip { why, reason: "The server was not running.".into(), context: Value::Null };
        self.commit(vec![Write::Task(task, skip)]).await;
    }
}

fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

#[tokio::test]
async fn each_end_is_told_once_as_what_it_is_and_signed() {
    let (mut world, receiver) = (World::new().await, Receiver::new().await);
    let acme = world.acme;
    let (channel, secret) = world.channel_with(acme, "ops", &receiver.url, None).await;
    world.ends(acme, "db", OutcomeCode::Ok).await;
    world.fails(acme, "web").await;
    let cancelled = world.wish(acme, "web").await;
    world.commit(vec![Write::Task(TaskRef::Uuid(cancelled), Event::Cancel { by: "ada".into() })]).await;
    world.is_not_run(acme, "web", NotRun::Skipped).await;
    world.ends(acme, "db", OutcomeCode::Warning).await;
    // What was cancelled is no end of a failure, and another machine's success is none either.
    world.ends(acme, "web", OutcomeCode::Ok).await;
    world.ends(acme, "web", OutcomeCode::Ok).await;
    world.is_not_run(acme, "db", NotRun::Missed).await;
    world.ends(acme, "db", OutcomeCode::Ok).await;
    world.turn().await;
    let raw = receiver.lock().got.clone();
    assert_eq!(receiver.told(), ["task.failed web", "task.recovered web", "task.missed db", "task.recovered db"]);

    let (headers, body) = &raw[0];
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("as the standard says")).expect("base64");
    let signed = format!("{}.{}.{body}", header("webhook-id"), header("webhook-timestamp"));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes());
    assert_eq!(header("webhook-signature"), format!("v1,{}", STANDARD.encode(tag)));
    let body: Value = serde_json::from_str(body).expect("JSON");
    let data = &body["data"];
    assert_eq!(data["tenant"]["name"], "acme");
    assert_eq!(data["channel"]["name"], "ops");
    assert_eq!(data["task"]["policy"]["name"], "daily");
    assert_eq!((&data["task"]["id"], &data["task"]["type"]), (&json!(2), &json!("backup")));
    let error = json!({ "domain": "engine", "code": "sourceMissing", "message": "There is no folder of web." });
    assert_eq!(data["result"], json!({ "code": "error", "error": error }));
    assert_eq!(body["timestamp"], data["task"]["completed_at"]);

    let ids: std::collections::HashSet<_> = raw.iter().map(|(h, _)| h["webhook-id"].clone()).collect();
    assert_eq!(ids.len(), 4, "each message has an id of its own");
    world.turn().await;
    assert_eq!(receiver.told(), [""; 0], "and is told once");
    assert!(world.look_at(&channel).await.channel.delivery.delivered_at.is_some());
}

#[tokio::test]
async fn only_what_is_wished_is_told_and_only_from_the_tenant_and_below() {
    let (mut world, receiver, other) = (World::new().await, Receiver::new().await, Receiver::new().await);
    let (acme, east, globex) = (world.acme, world.east, world.globex);
    let channel = world.channel(acme, "ops", &receiver.url).await;
    let failures = ChannelChange { events: Some(vec![News::Failure]), ..ChannelChange::default() };
    world.change(&channel, failures).await.expect("changed");
    world.channel(globex, "ops", &other.url).await;
    world.fails(acme, "a").await;
    world.fails(east, "b").await;
    world.fails(globex, "c").await;
    world.fails(Uuid::nil(), "d").await;
    world.is_not_run(acme, "a", NotRun::Missed).await;
    world.ends(acme, "a", OutcomeCode::Ok).await;
    world.turn().await;
    assert_eq!(receiver.told(), ["task.failed a", "task.failed b"]);
    assert_eq!(other.told(), ["task.failed c"]);
}

#[tokio::test]
async fn who_wishes_more_is_told_more_from_then_on_and_loses_nothing() {
    let (mut world, receiver) = (World::new().await, Receiver::new().await);
    let acme = world.acme;
    let channel = world.channel(acme, "ops", &receiver.url).await;
    let wish = |events: &[News]| ChannelChange { events: Some(events.to_vec()), ..ChannelChange::default() };
    world.change(&channel, wish(&[News::Failure])).await.expect("changed");
    world.is_not_run(acme, "passed by", NotRun::Missed).await;
    world.turn().await;
    world.fails(acme, "not looked at yet").await;
    world.change(&channel, wish(News::ALL)).await.expect("changed");
    world.is_not_run(acme, "new", NotRun::Missed).await;
    world.turn().await;
    assert_eq!(receiver.told(), ["task.failed not looked at yet", "task.missed new"]);
}

#[tokio::test]
async fn a_channel_begins_when_it_is_made_and_again_when_it_is_enabled() {
    let (mut world, receiver) = (World::new().await, Receiver::new().await);
    let acme = world.acme;
    world.fails(acme, "before").await;
    let channel = world.channel(acme, "ops", &receiver.url).await;
    world.fails(acme, "first").await;
    world.turn().await;
    assert_eq!(receiver.told(), ["task.failed first"]);
    let enabled = |enabled| ChannelChange { enabled: Some(enabled), ..ChannelChange::default() };
    world.change(&channel, enabled(false)).await.expect("off");
    world.fails(acme, "while off").await;
    world.turn().await;
    world.change(&channel, enabled(true)).await.expect("on");
    world.fails(acme, "second").await;
    world.turn().await;
    assert_eq!(receiver.told(), ["task.failed second"]);
}

#[tokio::test]
async fn what_is_refused_is_tried_again_under_the_same_id_with_growing_pauses_and_holds_up_nobody() {
    let (mut world, slow, good) = (World::new().await, Receiver::new().await, Receiver::new().await);
    let acme = world.acme;
    let channel = world.channel(acme, "slow", &slow.url).await;
    world.channel(acme, "good", &good.url).await;
    slow.will_answer(&[500, 303, 200]);
    world.fails(acme, "a").await;
    world.fails(acme, "b").await;
    world.turn().await;
    assert_eq!(good.told(), ["task.failed a", "task.failed b"], "others are told");
    let mut tries = slow.got();
    let seen = world.look_at(&channel).await;
    let sending = seen.channel.delivery.sending.expect("it goes on");
    assert_eq!((sending.tries, seen.waiting), (1, 2));
    let error = sending.error.expect("a reason");
    assert!(error.starts_with("127.0.0.1:") && error.ends_with(" answers 500 Internal Server Error"), "{error}");

    world.pass(seconds(14));
    world.turn().await;
    assert_eq!(slow.got(), [], "not before its time");
    world.pass(seconds(1));
    world.turn().await;
    tries.extend(slow.got());
    let sending = world.look_at(&channel).await.channel.delivery.sending.expect("it goes on");
    assert_eq!(sending.next_at, world.moment().now + seconds(30));
    let error = sending.error.expect("a reason");
    assert!(error.ends_with("303 See Other; redirects are not followed"), "{error}");

    world.pass(seconds(30));
    world.turn().await;
    tries.extend(slow.got());
    let resources: Vec<_> = tries.iter().map(|(_, body)| &body["data"]["task"]["resource"]["name"]).collect();
    assert_eq!(resources, ["a", "a", "a", "b"], "in order, and then the rest");
    assert!(tries[0] == tries[1] && tries[1] == tries[2], "each try says the same under the same id");
    assert_ne!(tries[2].0, tries[3].0);
    let seen = world.look_at(&channel).await;
    assert_eq!((seen.channel.delivery.sending, seen.waiting), (None, 0));
}

#[tokio::test]
async fn nothing_is_lost_or_told_again_after_a_crash() {
    let (mut world, receiver) = (World::new().await, Receiver::new().await);
    let acme = world.acme;
    let channel = world.channel(acme, "ops", &receiver.url).await;
    world.fails(acme, "a").await;
    world.turn().await;
    assert_eq!(receiver.told(), ["task.failed a"]);
    world.restart();
    world.turn().await;
    assert_eq!(receiver.told(), [""; 0], "what was told stays told");

    world.fails(acme, "b").await;
    world.restart();
    receiver.will_answer(&[503]);
    world.turn().await;
    let first = receiver.got();
    assert_eq!(first[0].1["data"]["task"]["resource"]["name"], "b", "nobody had heard of it");
    // The receiver may well have it. It comes again under its id, also when more has happened.
    world.fails(acme, "c").await;
    world.restart();
    world.pass(seconds(15));
    world.turn().await;
    let again = receiver.got();
    assert_eq!(first[0], again[0]);
    assert_eq!(again[1].1["data"]["task"]["resource"]["name"], "c");
    world.restart();
    world.turn().await;
    assert_eq!(receiver.got(), []);
    assert_eq!(world.look_at(&channel).await.channel.delivery.sending, None);
}

#[tokio::test]
async fn a_digest_comes_when_its_time_is_over_and_stays_the_same_for_every_try() {
    let (mut world, receiver) = (World::new().await, Receiver::new().await);
    let acme = world.acme;
    world.channel_with(acme, "daily", &receiver.url, Some(SignedDuration::from_hours(1))).await;
    world.fails(acme, "a").await;
    world.pass(seconds(1800));
    world.is_not_run(acme, "b", NotRun::Missed).await;
    world.turn().await;
    assert_eq!(receiver.got(), []);
    // Stamps are a little later than the clock where it stands still.
    world.pass(seconds(1801));
    receiver.will_answer(&[500]);
    world.turn().await;
    world.ends(acme, "a", OutcomeCode::Ok).await;
    world.restart();
    world.pass(seconds(15));
    world.turn().await;
    let got = receiver.got();
    assert_eq!(got.len(), 2);
    assert_eq!(got[0], got[1]);
    let (_, body) = &got[0];
    assert_eq!(body["type"], "digest");
    assert_eq!(body["data"]["counts"], json!({ "failed": 1, "missed": 1, "recovered": 0 }));
    let names: Vec<_> = body["data"]["tasks"].as_array().expect("tasks").iter().map(|t| &t["event"]).collect();
    assert_eq!(names, ["failure", "missed"]);
    world.pass(seconds(3601));
    world.turn().await;
    let counts: Vec<_> =
        receiver.got().into_iter().map(|(_, body)| body["data"]["counts"]["recovered"].clone()).collect();
    assert_eq!(counts, [1], "the next hour has its own");
}

#[tokio::test]
async fn a_flood_is_one_message() {
    let (mut world, receiver) = (World::new().await, Receiver::new().await);
    let acme = world.acme;
    let channel = world.channel(acme, "ops", &receiver.url).await;
    // More than are kept in mind at once.
    let many = 1010;
    for n in 0..many {
        world.fails(acme, &format!("m{n}")).await;
    }
    receiver.will_answer(&[500]);
    world.turn().await;
    let seen = world.look_at(&channel).await;
    assert_eq!(seen.waiting, 1000);
    world.pass(seconds(15));
    world.turn().await;
    world.turn().await;
    world.turn().await;
    let got = receiver.got();
    let digests: Vec<_> = got.iter().filter(|(_, body)| body["type"] == "digest").collect();
    assert_eq!(digests.len(), 2, "one, tried twice");
    let data = &digests[1].1["data"];
    assert_eq!((&data["counts"]["failed"], &data["left_out"]), (&json!(1000), &json!(950)));
    assert!(many - 1000 < FLOOD);
    assert_eq!(got.len(), 2 + many - 1000, "the few that are left are told one by one");
    assert_eq!(got.last().expect("the last").1["data"]["task"]["resource"]["name"], "m1009");
    assert_eq!(world.look_at(&channel).await.waiting, 0);
}

#[tokio::test]
async fn a_test_is_sent_at_once_and_says_what_is_wrong() {
    let (world, receiver) = (World::new().await, Receiver::new().await);
    let channel = world.channel(world.acme, "ops", &receiver.url).await;
    let test = async || world.service.test_channel(&Caller::server(), channel.channel.id).await.expect("tried");
    assert_eq!(test().await, Ok(()));
    assert_eq!(receiver.told(), ["test"]);
    receiver.will_answer(&[404]);
    assert!(test().await.is_err_and(|e| e.ends_with("answers 404 Not Found")));
    // Taken, so that nobody else listens there, and closed to all who come.
    let taken = TcpSocket::new_v4().expect("a socket");
    taken.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let closed = taken.local_addr().expect("an address");
    let target = Some(NewTarget::Webhook { url: format!("http://{closed}/secret") });
    world.change(&channel, ChannelChange { target, ..ChannelChange::default() }).await.expect("changed");
    let error = test().await.expect_err("nobody listens");
    assert!(error.starts_with(&format!("{closed} cannot be reached: ")) && !error.contains("secret"), "{error}");
}

#[tokio::test]
async fn channels_that_cannot_be_are_refused_by_name() {
    let world = World::new().await;
    let by = Caller::server();
    let email = |server: &str, user: Option<&str>, password: Option<&str>, to: &[&str]| NewTarget::Email {
        server: server.into(),
        user: user.map(str::to_owned),
        password: password.map(str::to_owned),
        from: "backstay@example.com".into(),
        to: to.iter().map(|to| (*to).to_owned()).collect(),
    };
    let hook = |url: &str| NewTarget::Webhook { url: url.into() };
    let new = |target| NewChannel {
        tenant: Some(world.acme),
        name: "ops".into(),
        enabled: true,
        target,
        events: vec![News::Failure],
        digest: None,
    };
    let ada = ["ada@example.com"];
    let local = "smtp://127.0.0.1:25";
    for (target, field) in [
        (hook("ftp://127.0.0.1/"), "target.url"),
        (hook("nowhere"), "target.url"),
        (hook("http://ada:tape@127.0.0.1/"), "target.url"),
        (hook("http://10.0.0.1/"), "target.url"),
        (hook("http://[::1]/"), "target.url"),
        (hook("http://169.254.169.254/latest"), "target.url"),
        (email("smtp://10.0.0.1", None, None, &ada), "target.server"),
        (email("http://127.0.0.1", None, None, &ada), "target.server"),
        (email("smtp://127.0.0.1/x", None, None, &ada), "target.server"),
        (email(local, Some("ada"), None, &ada), "target.password"),
        (email(local, None, Some("tape"), &ada), "target.user"),
        (email(local, None, None, &[]), "target.to"),
        (email(local, None, None, &["ada"]), "target.to"),
    ] {
        let error = world.service.create_channel(&by, new(target)).await.expect_err(field);
        assert_eq!(error.field.as_deref(), Some(field), "{error}");
        assert!(!error.to_string().contains("tape"), "{error}");
    }
    let unhurried = NewChannel { digest: Some(seconds(60)), ..new(hook("http://127.0.0.1/")) };
    let error = world.service.create_channel(&by, unhurried).await.expect_err("too short");
    assert_eq!(error.field.as_deref(), Some("digest"));

    let made = new(email(local, Some("ada"), Some("tape"), &ada));
    let (view, secret) = world.service.create_channel(&by, made.clone()).await.expect("a channel");
    assert_eq!(secret, None);
    assert!(!serde_json::to_string(&view.channel).expect("JSON").contains("tape"), "it is sealed");
    let error = world.service.create_channel(&by, made.clone()).await.expect_err("the name is taken");
    assert_eq!(error.code, Code::AlreadyExists);
    let elsewhere = NewChannel { tenant: Some(world.globex), ..made };
    world.service.create_channel(&by, elsewhere).await.expect("another tenant's name");
    // A password goes to no other server than the one it was given for.
    let to = |target| ChannelChange { target: Some(target), ..ChannelChange::default() };
    world.change(&view, to(email(local, Some("ada"), None, &ada))).await.expect("the same server");
    let moved = world.change(&view, to(email("smtp://127.0.0.2", Some("ada"), None, &ada))).await;
    assert_eq!(moved.expect_err("another server").field.as_deref(), Some("target.password"));
}
