//! Filters, orders and pages over one set of tasks.

use domain::task::{Affinity, Named, Priority, TaskSpec};
use domain::{Role, Uuid};
use serde_json::Value;

use crate::talk::{Reply, Talk};
use crate::world::World;

/// Ten tasks: every third a recovery, every fourth urgent; of `web` and of `web, old`.
async fn ten_tasks(world: &World) -> Talk {
    for n in 1..=10 {
        let kind = if n % 3 == 0 { "recovery" } else { "backup" };
        let mut spec = TaskSpec::new(Uuid::now_v7(), kind, "agents", world.acme);
        spec.priority = if n % 4 == 0 { Priority::High } else { Priority::Normal };
        let name = if n % 2 == 0 { "web" } else { "Web, old" };
        spec.resource = Some(Named::ours(Uuid::from_u128(n % 2), "", name));
        spec.tags = vec![format!("n{}", n % 5).into(), "all".into()];
        spec.affinity = Affinity { agent: Some("nobody".into()), cluster: None };
        world.create_task(spec).await;
    }
    world.create_task(TaskSpec::new(Uuid::now_v7(), "backup", "agents", world.globex)).await;
    world.talk(Role::Operator).await
}

fn ids(reply: &Reply) -> Vec<i64> {
    let items = reply.body["items"].as_array().unwrap_or_else(|| panic!("no list: {}", reply.body));
    items.iter().map(|t| t["id"].as_i64().expect("a number")).collect()
}

#[tokio::test]
async fn filters_say_what_they_mean() {
    let world = World::new().await;
    let mut talk = ten_tasks(&world).await;
    talk.ask(axum::http::Method::POST, "/tasks/2/cancel", None).await;
    let odd = Uuid::from_u128(1);
    let expected: &[(&str, &[i64])] = &[
        ("", &[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
        ("state=completed", &[2]),
        ("result=cancelled", &[2]),
        ("state=enqueued,completed&type=recovery", &[9, 6, 3]),
        ("type=recovery&type=verification", &[9, 6, 3]),
        ("priority=high", &[8, 4]),
        ("queue=nowhere", &[]),
        ("tag=n1,n2", &[7, 6, 2, 1]),
        ("resource=web", &[10, 8, 6, 4, 2]),
        ("resource=Web\\, old", &[9, 7, 5, 3, 1]),
        (&format!("resource={odd}"), &[9, 7, 5, 3, 1]),
        (&format!("resource={}", odd.to_string().to_uppercase()), &[9, 7, 5, 3, 1]),
        ("contains=OLD", &[9, 7, 5, 3, 1]),
        ("contains=EB", &[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
        ("id=3,4,11,999", &[4, 3]),
        ("cancel_requested=true", &[2]),
        ("order=id&limit=3", &[1, 2, 3]),
        ("order=-priority,id&limit=4", &[4, 8, 1, 2]),
        ("order=completed_at,id&limit=2", &[2, 1]),
        ("since=2000-01-01T00:00:00Z&until=2001-01-01T00:00:00Z", &[]),
        ("created_at_from=2000-01-01T00:00:00Z&limit=1", &[10]),
    ];
    for (query, wanted) in expected {
        let encoded = query.replace(' ', "%20").replace('\\', "%5C");
        assert_eq!(ids(&talk.get(&format!("/tasks?{encoded}")).await), *wanted, "?{query}");
    }
    let counts = talk.get("/tasks/counts?by=type,state").await.body;
    insta::assert_snapshot!(serde_json::to_string_pretty(&counts).expect("prints"));
}

#[tokio::test]
async fn a_range_takes_its_first_moment_and_leaves_its_last() {
    let world = World::new().await;
    let mut talk = ten_tasks(&world).await;
    let created = talk.get("/tasks/4").await.body["created_at"].as_str().expect("a time").to_owned();
    assert_eq!(ids(&talk.get(&format!("/tasks?since={created}&order=id&limit=1")).await), [4]);
    assert_eq!(ids(&talk.get(&format!("/tasks?until={created}&limit=1")).await), [3]);
}

#[tokio::test]
async fn cursors_walk_through_everything_once() {
    let world = World::new().await;
    let mut talk = ten_tasks(&world).await;
    for order in ["-id", "id", "-priority,id", "type,-id", "result", "-resource_name"] {
        let whole = ids(&talk.get(&format!("/tasks?order={order}")).await);
        let (mut walked, mut cursor) = (Vec::new(), String::new());
        loop {
            let reply = talk.get(&format!("/tasks?order={order}&limit=3{cursor}")).await;
            walked.extend(ids(&reply));
            let Some(next) = reply.body["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
            // What comes between two parts shifts nothing.
            if order == "-id" {
                world.create_task(TaskSpec::new(Uuid::now_v7(), "late", "agents", world.acme)).await;
            }
        }
        assert_eq!(walked, whole, "order={order}");
    }
}

#[tokio::test]
async fn a_cursor_fits_its_own_question_only() {
    let world = World::new().await;
    let mut talk = ten_tasks(&world).await;
    let next = talk.get("/tasks?type=backup&limit=2").await.body["next"].as_str().expect("more").to_owned();
    assert_eq!(ids(&talk.get(&format!("/tasks?type=backup&limit=5&cursor={next}")).await), [7, 5, 4, 2, 1]);
    for other in ["/tasks?", "/tasks?type=recovery&", "/tasks?type=backup&order=id&", "/activities?type=backup&"] {
        let reply = talk.get(&format!("{other}cursor={next}")).await;
        assert_eq!(reply.code(), "invalid_cursor", "{other}");
    }
    let mut damaged = next.clone();
    damaged.replace_range(14..15, if &next[14..15] == "A" { "B" } else { "A" });
    assert_eq!(talk.get(&format!("/tasks?type=backup&cursor={damaged}")).await.code(), "invalid_cursor");
}

#[tokio::test]
async fn pages_have_exact_totals() {
    let world = World::new().await;
    let mut talk = ten_tasks(&world).await;
    let mut page = async |query: &str| {
        let reply = talk.get(&format!("/tasks?{query}")).await;
        let body = &reply.body;
        let number = |key: &str| body.get(key).and_then(Value::as_u64);
        (ids(&reply), number("total"), number("page"), number("pages"), body.get("next").is_some())
    };
    assert_eq!(page("page=1&limit=4").await, (vec![10, 9, 8, 7], Some(10), Some(1), Some(3), false));
    assert_eq!(page("page=3&limit=4").await, (vec![2, 1], Some(10), Some(3), Some(3), false));
    assert_eq!(page("page=4&limit=4").await, (vec![], Some(10), Some(4), Some(3), false));
    assert_eq!(page("page=18446744073709551615&limit=1000").await.0, Vec::<i64>::new());
    assert_eq!(page("page=1&limit=4&queue=nowhere").await, (vec![], Some(0), Some(1), Some(0), false));
    assert_eq!(page("limit=4&total=true").await, (vec![10, 9, 8, 7], Some(10), None, None, true));
    assert_eq!(page("limit=4").await, (vec![10, 9, 8, 7], None, None, None, true));
}
