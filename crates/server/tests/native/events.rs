//! The stream of task events: what it tells, to whom, from where on, and when it ends.

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use domain::task::TaskSpec;
use domain::{Role, Uuid};
use futures::StreamExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::world::World;

/// One event as it came over the wire.
#[derive(Debug, PartialEq)]
struct Event {
    name: String,
    id: Option<i64>,
    data: Value,
}

impl Event {
    fn task(&self) -> i64 {
        assert_eq!(self.name, "task");
        self.data["task"]["id"].as_i64().expect("a number")
    }
}

struct Stream(BodyDataStream, String);

impl Stream {
    async fn open(world: &World, token: &str, query: &str, last_event_id: Option<i64>) -> Stream {
        let mut request =
            Request::get(format!("/api/v1/tasks/events{query}")).header("authorization", format!("Bearer {token}"));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response =
            world.router.clone().oneshot(request.body(Body::empty()).expect("a request")).await.expect("answers");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream(response.into_body().into_data_stream(), String::new())
    }

    /// The next event; none at the end.
    async fn next(&mut self) -> Option<Event> {
        while !self.1.contains("\n\n") {
            let bytes = self.0.next().await?.expect("the stream ends cleanly");
            self.1.push_str(std::str::from_utf8(&bytes).expect("UTF-8"));
        }
        let (event, rest) =
            self.1.split_once("\n\n").map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a whole event");
        self.1 = rest;
        let field =
            |name: &str| event.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned));
        Some(Event {
            name: field("event").unwrap_or_default(),
            id: field("id").map(|id| id.parse().expect("a revision")),
            data: field("data").map(|d| serde_json::from_str(&d).expect("JSON")).unwrap_or_default(),
        })
    }

    async fn task(&mut self) -> Event {
        let event = self.next().await.expect("an event");
        assert_eq!(event.name, "task");
        event
    }
}

fn task(tenant: Uuid, kind: &str) -> TaskSpec {
    TaskSpec::new(Uuid::now_v7(), kind, "agents", tenant)
}

#[tokio::test]
async fn changes_are_told_as_they_happen_and_only_within_the_scope() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Viewer).await;
    world.create_task(task(world.acme, "backup")).await;
    let mut stream = Stream::open(&world, &token, "", None).await;
    let ready = stream.next().await.expect("ready");
    assert_eq!(ready.name, "ready");
    assert_eq!(ready.data["revision"].as_i64(), ready.id);

    world.create_task(task(world.globex, "backup")).await;
    world.create_task(task(world.acme, "backup")).await;
    let event = stream.task().await;
    assert_eq!(
        (event.task(), event.data["revision"].as_i64()),
        (3, event.id),
        "not task 1, which was before; not globex's"
    );
    let mut talk = world.talk(Role::Operator).await;
    talk.ask(axum::http::Method::POST, "/tasks/3/cancel", None).await;
    assert_eq!(stream.task().await.data["task"]["result"]["code"], "cancelled");
}

#[tokio::test]
async fn a_client_that_comes_back_misses_nothing() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Viewer).await;
    let mut stream = Stream::open(&world, &token, "", None).await;
    stream.next().await.expect("ready");
    world.create_task(task(world.acme, "backup")).await;
    let seen = stream.task().await.id;
    drop(stream);
    for _ in 0..3 {
        world.create_task(task(world.acme, "backup")).await;
    }
    for (query, header) in [(format!("?since={}", seen.expect("an id")), None), ("?since=0".to_owned(), seen)] {
        let mut stream = Stream::open(&world, &token, &query, header).await;
        assert_eq!(stream.next().await.expect("ready").id, seen);
        let told = [stream.task().await.task(), stream.task().await.task(), stream.task().await.task()];
        assert_eq!(told, [2, 3, 4]);
    }
    let mut stream = Stream::open(&world, &token, "?since=0", None).await;
    stream.next().await.expect("ready");
    assert_eq!(stream.task().await.task(), 1, "from the very beginning");
}

#[tokio::test]
async fn only_the_last_task_of_a_revision_moves_the_position() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Viewer).await;
    let mut stream = Stream::open(&world, &token, "?type=backup", None).await;
    stream.next().await.expect("ready");
    world.create_tasks(["backup", "backup", "recovery"].map(|kind| task(world.acme, kind)).to_vec()).await;
    let (first, second) = (stream.task().await, stream.task().await);
    assert_eq!(first.id, None, "a connection that breaks here must get the second");
    assert_eq!(second.id, second.data["revision"].as_i64());
    assert_eq!((first.task(), second.task()), (1, 2));
}

#[tokio::test]
async fn it_ends_when_the_server_stops() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Viewer).await;
    let mut stream = Stream::open(&world, &token, "", None).await;
    stream.next().await.expect("ready");
    world.shutdown.cancel();
    assert_eq!(stream.next().await, None);
}
