//! Lists of tasks: orders, pages, filters, links, and what rows show.

use domain::Role;
use domain::task::{Outcome, OutcomeCode, Task};
use serde_json::{Value, json};

use crate::world::{World, ids};

struct Many {
    world: World,
    token: String,
    /// In the order of their creation.
    tasks: Vec<Task>,
}

impl Many {
    /// Tasks of every status, some of another tenant below.
    async fn new() -> Many {
        let world = World::new().await;
        let token = world.token(world.acme, Role::Viewer).await;
        let mut tasks = Vec::new();
        for tenant in [world.acme, world.acme_east] {
            for kind in ["backup", "import"] {
                tasks.push(world.done(tenant, kind).await);
                tasks.push(world.ended(tenant, kind, Outcome::of(OutcomeCode::Error)).await);
                tasks.push(world.ended(tenant, kind, Outcome::of(OutcomeCode::Warning)).await);
                tasks.push(world.started(tenant, kind).await);
            }
        }
        for tenant in [world.acme_east, world.acme] {
            tasks.push(world.waiting(tenant, "verification").await);
        }
        world.waiting(world.globex, "import").await;
        Many { world, token, tasks }
    }

    async fn list(&self, query: &str) -> Value {
        self.world.get(&format!("/v2/tasks{query}"), &self.token).await.expect(200)
    }

    fn sorted<K: Ord>(&self, key: impl Fn(&Task) -> K, desc: bool) -> Vec<String> {
        let mut tasks: Vec<&Task> = self.tasks.iter().collect();
        tasks.sort_by(|a, b| {
            let order = key(a).cmp(&key(b)).then(a.created_at.cmp(&b.created_at));
            if desc { order.reverse() } else { order }
        });
        tasks.iter().map(|t| t.spec.uuid.to_string()).collect()
    }
}

#[tokio::test]
async fn every_order_is_total_and_pages_follow_it() {
    let many = Many::new().await;
    for (dir, desc) in [("asc", false), ("desc", true)] {
        let orders = [
            ("created_at", many.sorted(|t| t.created_at, desc)),
            ("updated_at", many.sorted(|t| t.status.updated_at, desc)),
            ("expires_at", many.sorted(Task::completed_at, desc)),
            ("id", many.sorted(|t| t.spec.uuid.to_string(), desc)),
            ("type", many.sorted(|t| t.spec.kind.clone(), desc)),
            ("status", many.sorted(|t| t.standing().name(), desc)),
            ("owner", many.sorted(|t| t.spec.tenant.simple().to_string(), desc)),
        ];
        for (key, expected) in orders {
            let query = format!("?limit=100&sort_key={key}&sort_dir={dir}");
            assert_eq!(ids(&many.list(&query).await), expected, "{key} {dir}");
            let (mut seen, mut path) = (Vec::new(), format!("/v2/tasks?limit=4&sort_key={key}&sort_dir={dir}"));
            loop {
                let page = many.world.get(&path, &many.token).await.expect(200);
                seen.extend(ids(&page));
                match page["next"].as_str() {
                    Some(next) => path = next.to_owned(),
                    None => break,
                }
            }
            assert_eq!(seen, expected, "pages by {key} {dir}");
        }
    }
}

#[tokio::test]
async fn filters_narrow_and_add_up() {
    let many = Many::new().await;
    let count = async |query: &str| ids(&many.list(&format!("{query}&limit=100")).await).len();
    assert_eq!(count("?").await, 18, "without those of others");
    for (status, expected) in [("pending", 2), ("processing", 4), ("success", 8), ("failure", 4), ("", 0)] {
        assert_eq!(count(&format!("?status={status}")).await, expected, "{status}");
    }
    assert_eq!(count("?status=in:pending,failure").await, 6);
    assert_eq!(count("?type=import").await, 8);
    assert_eq!(count("?type=import&status=failure").await, 2);
    assert_eq!(count("?type=in:import,verification").await, 10);
    assert_eq!(count("?type=retention").await, 0, "one of ours that does not occur");
    let owner = many.world.acme_east;
    assert_eq!(count(&format!("?owner={}", owner.simple())).await, 9);
    assert_eq!(count(&format!("?owner={}", many.world.globex.simple())).await, 0);
    let one = &many.tasks[3];
    assert_eq!(count(&format!("?id={}", one.spec.uuid)).await, 1);
    let seconds = one.created_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let within = many.tasks.iter().filter(|t| t.created_at.as_second() == one.created_at.as_second()).count();
    assert_eq!(count(&format!("?created_at={seconds}")).await, within);
    let up_to = many.tasks.iter().filter(|t| t.created_at.as_second() <= one.created_at.as_second()).count();
    assert_eq!(count(&format!("?created_at=lte:{seconds}")).await, up_to);
    assert_eq!(count(&format!("?created_at=gt:{seconds}")).await, 18 - up_to);
    assert_eq!(count("?updated_at=lt:2001-01-01T00:00:00").await, 0);
}

#[tokio::test]
async fn links_keep_what_was_asked_in_its_order() {
    let many = Many::new().await;
    let page = many.list("?status=success&unknown=a%20b&limit=2&sort_dir=asc&limit=3").await;
    assert_eq!(page["first"], json!("/v2/tasks?status=success&unknown=a+b&limit=3&sort_dir=asc"));
    let last = ids(&page).pop().expect("three");
    assert_eq!(page["next"], json!(format!("/v2/tasks?status=success&unknown=a+b&limit=3&sort_dir=asc&marker={last}")));
    assert_eq!(page["schema"], json!("/v2/schemas/tasks"));
    let next = many.list(page["next"].as_str().expect("a link").trim_start_matches("/v2/tasks")).await;
    assert_eq!(next["first"], page["first"], "without the marker");
    let plain = many.list("").await;
    assert_eq!((&plain["first"], plain.get("next")), (&json!("/v2/tasks"), None));
    // With the prefix of the request.
    let prefixed = many.world.get("/image/v2.9/tasks?limit=1", &many.token).await.expect(200);
    // Clients put their endpoint, which has the prefix, before these two.
    assert_eq!(prefixed["first"], json!("/v2/tasks?limit=1"));
    assert!(prefixed["next"].as_str().is_some_and(|n| n.starts_with("/v2/tasks?limit=1&marker=")));
    assert!(prefixed["tasks"][0]["self"].as_str().is_some_and(|s| s.starts_with("/image/v2/tasks/")));
    // A page that is just full has a next one, which may be empty.
    let full = many.list("?status=pending&limit=2").await;
    assert_eq!(ids(&many.list(full["next"].as_str().expect("a link").trim_start_matches("/v2/tasks")).await).len(), 0);
    let none = many.list("?limit=0").await;
    assert_eq!((ids(&none).len(), none.get("next")), (0, None));
}

#[tokio::test]
async fn rows_show_no_null_and_no_input() {
    let many = Many::new().await;
    let page = many.list("?limit=100").await;
    for row in page["tasks"].as_array().expect("tasks") {
        let row = row.as_object().expect("a task");
        assert!(row.values().all(|v| !v.is_null()), "{row:?}");
        assert!(["input", "result", "message"].iter().all(|name| !row.contains_key(*name)), "{row:?}");
        let over = ["success", "failure"].contains(&row["status"].as_str().expect("a status"));
        assert_eq!(row.contains_key("expires_at"), over, "{row:?}");
        assert_eq!(row["owner"].as_str().map(str::len), Some(32));
    }
}

#[tokio::test]
async fn markers_are_uuids_of_tasks_that_the_caller_sees() {
    let many = Many::new().await;
    let refused =
        async |marker: &str| many.world.get(&format!("/v2/tasks?marker={marker}"), &many.token).await.refused(400);
    assert_eq!(refused("x").await, "Invalid marker format");
    assert_eq!(refused("").await, "Invalid marker format");
    let foreign = many.world.waiting(many.world.globex, "import").await.spec.uuid;
    assert!(refused(&foreign.to_string()).await.contains("was not found"));
    assert!(refused(&domain::Uuid::from_u128(5).to_string()).await.contains("was not found"));
    let marker = many.tasks[5].spec.uuid.to_string().to_uppercase();
    let page = many.list(&format!("?sort_dir=asc&limit=1&marker={marker}")).await;
    assert_eq!(ids(&page), [many.tasks[6].spec.uuid.to_string()]);
    // It need not be among what is asked for.
    let page = many.list(&format!("?sort_dir=asc&limit=1&status=pending&marker={marker}")).await;
    assert_eq!(ids(&page), [many.tasks[16].spec.uuid.to_string()]);
}
