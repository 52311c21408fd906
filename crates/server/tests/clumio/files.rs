//! What is in recovery points, and files that are taken out of them (section 13).

use axum::body::Body;
use axum::http::Method;
use domain::Uuid;
use domain::task::{LeaseToken, TaskId};
use serde_json::{Value, json};
use server::service::{Command, FileEntry, FileList};
use tower::ServiceExt;

use crate::estate::{Estate, Job, encoded, items};
use crate::world::request;

const FILES: &str = "/restores/files";

async fn estate() -> (Estate, Uuid) {
    let estate = Estate::new().await;
    let backup = estate.backup(estate.machine, None, "2026-01-31T08:00:00Z").await;
    (estate, backup)
}

#[tokio::test]
async fn the_top_paths_are_file_systems() {
    let (estate, backup) = estate().await;
    let path = format!("/backups/{backup}/filesystems");
    let list = estate.get(&path).await;
    assert_eq!((&list["total_count"], &list["current_count"]), (&json!(2), &json!(2)));
    let [first, second] = &items(&list)[..] else { panic!("two: {list}") };
    let link = |href: String| json!({"href": href, "templated": false, "type": "get"});
    assert_eq!(
        first,
        &json!({
            "id": "1", "mount_path": "/srv", "filesystem_native_id": null, "type": null, "available": 400, "used": 600,
            "size": 1000, "num_files_indexed": null, "is_encrypted": false, "is_indexed": true,
            "indexing_failed_reason": null,
            "_links": {
                "_self": link(format!("{path}/1")),
                "read-backup-filesystem-directory": link(format!("{path}/1/directories/root/browse")),
            },
        })
    );
    assert_eq!((&second["mount_path"], &second["size"]), (&json!("/home"), &Value::Null));
    assert_eq!(estate.get(&format!("{path}/2")).await, *second);
    for id in ["0", "3", "01", "x"] {
        assert_eq!(estate.refused(&format!("{path}/{id}")).await, (404, vec![4041]), "{id}");
    }
    let page = estate.get(&format!("{path}?limit=1&start=2")).await;
    assert_eq!(items(&page), std::slice::from_ref(second));
}

#[tokio::test]
async fn directories_are_read_by_the_agent() {
    let (mut estate, backup) = estate().await;
    let mut commands = std::mem::replace(&mut estate.agent.commands, tokio::sync::mpsc::unbounded_channel().1);
    let answering = tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            let Command::ListFiles { request, answer } = command else { continue };
            let entry = |name: &str, kind: &str, size| FileEntry {
                name: name.into(),
                path: format!("{}/{name}", request.path),
                kind: kind.into(),
                size,
                modified_at: Some("2026-01-30T07:00:00.5Z".parse().expect("a time")),
                mode: None,
                uid: None,
                gid: None,
                link_target: None,
            };
            let all = match request.path.as_str() {
                "/srv" => vec![entry("a b", "dir", 0), entry("b", "file", 7), entry("c", "symlink", 0)],
                "/srv/a b" => vec![entry("deep", "file", 1)],
                _ => {
                    let none = Err(domain::Error::not_found("path", &request.path));
                    let _ = answer.send(none);
                    continue;
                }
            };
            let after = request.after.clone().unwrap_or_default();
            let left: Vec<_> = all.into_iter().filter(|e| e.name > after).collect();
            let more = left.len() > request.limit as usize;
            let entries = left.into_iter().take(request.limit as usize).collect();
            let _ = answer.send(Ok(FileList { entries, more }));
        }
    });
    let browse = |directory: &str| format!("/backups/{backup}/filesystems/1/directories/{directory}/browse");
    let list = estate.get(&browse("root")).await;
    let [directory, file, link] = &items(&list)[..] else { panic!("three: {list}") };
    let id = directory["directory_id"].as_str().expect("an id");
    assert_eq!(directory["_links"]["_self"]["href"], json!(browse(id)));
    assert_eq!(
        file,
        &json!({
            "name": "b", "is_directory": false, "directory_id": null, "modified_timestamp": "2026-01-30T07:00:00Z",
            "size": 7, "_links": {},
        })
    );
    assert_eq!(link["is_directory"], json!(false));
    assert_eq!(list.get("total_count"), None, "a list by tokens");
    assert_eq!(items(&estate.get(&browse(id)).await)[0]["name"], "deep");
    let mut names = Vec::new();
    for page in 1..=3 {
        let list = estate.get(&format!("{}?limit=1&start={page}", browse("root"))).await;
        names.extend(items(&list).iter().map(|i| i["name"].clone()));
        assert_eq!(list["_links"].get("_next").is_some(), page < 3, "{list}");
    }
    assert_eq!(names, ["a b", "b", "c"]);
    assert_eq!(items(&estate.get(&format!("{}?limit=2&start=3", browse("root"))).await), Vec::<Value>::new());
    for wrong in ["bm90aGluZw", "!", "Li4vLi4"] {
        assert_eq!(estate.refused(&browse(wrong)).await, (404, vec![4041]), "{wrong}");
    }
    answering.abort();
}

/// What the agent hands over for a task.
async fn hand_over(estate: &Estate, job: &Job, bytes: &[u8]) -> domain::Result<u64> {
    let (task, lease): (TaskId, LeaseToken) = (job.assigned.task.id, job.assigned.lease.clone());
    let mut incoming =
        estate.world.service.begin_upload((&estate.secret, None), task, lease, bytes.len() as u64).await?;
    incoming.write(bytes).await?;
    incoming.finish().await
}

fn of_volume(estate: &Estate) -> Value {
    json!({ "asset_type": {"$eq": "aws_ebs_volume"}, "asset_id": {"$eq": estate.machine} })
}

#[tokio::test]
async fn a_file_is_handed_over_and_fetched_without_a_token() {
    let (estate, backup) = estate().await;
    let body = json!({
        "source": {"backup_id": backup, "files": [{"filesystem_id": "1", "path": "/dir/letter ü.txt"}]}, "target": null,
    });
    let asked = estate.post(FILES, body).await;
    assert_eq!(asked.status, 202);
    let asked = asked.ok();
    let id = asked["id"].as_str().expect("an id").to_owned();
    assert_eq!((&asked["passcode"], asked["_links"]["read-task"]["type"].as_str()), (&Value::Null, Some("get")));
    assert_eq!(items(&estate.list(FILES, &of_volume(&estate)).await), Vec::<Value>::new(), "not there yet");
    let job = estate.next_job().await;
    assert_eq!(job.assigned.argument["paths"], json!(["/srv/dir/letter ü.txt"]));
    let wrong = LeaseToken("another".into());
    let refused = estate.world.service.begin_upload((&estate.secret, None), job.assigned.task.id, wrong, 3).await;
    assert_eq!(refused.map(drop).map_err(|e| e.code), Err(domain::Code::LeaseLost));
    assert_eq!(hand_over(&estate, &job, b"Dear all").await, Ok(8));
    estate.done(&job, json!({ "name": "letter ü.txt", "size": 8, "files": 1 })).await;

    let list = estate.list(FILES, &of_volume(&estate)).await;
    assert_eq!((&list["total_count"], &list["total_pages_count"]), (&json!(1), &json!(1)));
    let [file] = &items(&list)[..] else { panic!("one: {list}") };
    assert_eq!((&file["id"], &file["name"], &file["size"]), (&json!(id), &json!("letter ü.txt"), &json!(8)));
    assert_eq!((&file["backup_id"], &file["task_id"]), (&json!(backup), &asked["task_id"]));
    assert_eq!(file["backup_timestamp"], "2026-01-31T08:00:00Z");
    let method = &file["access_methods"][0];
    assert_eq!((&method["email"], &method["direct_download"]["retrieved_by"]), (&Value::Null, &json!("admin of acme")));
    let link = method["direct_download"]["download_link"].as_str().expect("a link");
    let path = link.strip_prefix("https://localhost:8443").expect("an absolute link to the server");

    let fetch = |path: String| {
        let router = estate.world.router.clone();
        async move { router.oneshot(request(Method::GET, &path, "").body(Body::empty()).expect("a request")).await }
    };
    let answer = fetch(path.to_owned()).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), &answer.headers()["content-length"]), (200, &"8".parse().expect("a value")));
    let bytes = axum::body::to_bytes(answer.into_body(), 100).await.expect("a body");
    assert_eq!(&bytes[..], b"Dear all");
    let (plain, key) = path.split_once('?').expect("a query");
    for wrong in
        [plain.to_owned(), format!("{plain}?key=x"), format!("{plain}?{}A", key), format!("{FILES}/x/_content")]
    {
        assert_eq!(fetch(wrong.clone()).await.expect("an answer").status(), 404, "{wrong}");
    }
    estate.world.service.clean_downloads().await.expect("looked at");
    assert_eq!(fetch(path.to_owned()).await.expect("an answer").status(), 200, "it has not expired");
    // Whatever else is said must hold too.
    for (more, found) in [("$neq", 0), ("$not_in", 0), ("$begins_with", 1), ("$contains", 1)] {
        let mut filter = of_volume(&estate);
        filter["asset_id"][more] = json!(estate.machine);
        assert_eq!(items(&estate.list(FILES, &filter).await).len(), found, "{filter}");
    }
    for filter in [json!({}), json!({"asset_id": estate.machine}), json!({"asset_type": "aws_ebs_volume"})] {
        let path = format!("{FILES}?filter={}", encoded(&filter.to_string()));
        assert_eq!(estate.refused(&path).await, (400, vec![4001]), "{filter}");
    }
}

#[tokio::test]
async fn nothing_is_left_of_what_failed_or_expired() {
    let (estate, backup) = estate().await;
    let service = &estate.world.service;
    let body = json!({"source": {"backup_id": backup, "files": [
        {"filesystem_id": "1", "path": "/a"}, {"filesystem_id": "2", "path": "/b"},
    ]}, "target": {"direct_download": {}}});
    let ask = || async {
        estate.post(FILES, body.clone()).await.ok();
        estate.next_job().await
    };
    let done = json!({ "name": "files.tar.gz", "size": 3, "files": 2 });

    // An agent that says so is not believed.
    let liar = ask().await;
    estate.done(&liar, done.clone()).await;
    let task = estate.get(&format!("/tasks/{}", liar.assigned.task.id)).await;
    assert_eq!(task["status"], "failed");
    let failed = ask().await;
    hand_over(&estate, &failed, b"abc").await.expect("it arrives");
    estate.failed(&failed, "the agent thinks better of it").await;
    let large = ask().await;
    let refused = service
        .begin_upload((&estate.secret, None), large.assigned.task.id, large.assigned.lease.clone(), 1 << 21)
        .await;
    assert_eq!(refused.map(drop).map_err(|e| e.code), Err(domain::Code::StorageFull));
    estate.failed(&large, "it does not fit").await;
    let good = ask().await;
    hand_over(&estate, &good, b"abc").await.expect("it arrives");
    estate.done(&good, done).await;

    service.clean_downloads().await.expect("looked at");
    let everything = domain::Scope::everything();
    let all = estate.world.ledger.all::<domain::restored_file::RestoredFile>(&everything, domain::query::Filter::all());
    let left = all.await.expect("a list");
    assert_eq!(left.len(), 1, "only the good one");
    // Its day is over.
    let mut old = left[0].value.clone();
    old.expires_at = Some("2026-01-01T00:00:00Z".parse().expect("a time"));
    let write = ledger::Write::Put(Box::new(old.into()), ledger::Expect::Rev(left[0].rev));
    estate.world.commit(vec![write]).await;
    assert_eq!(items(&estate.list(FILES, &of_volume(&estate)).await), Vec::<Value>::new());
    service.clean_downloads().await.expect("looked at");
    let all = estate.world.ledger.all::<domain::restored_file::RestoredFile>(&everything, domain::query::Filter::all());
    assert_eq!(all.await.expect("a list").len(), 0);
}

#[tokio::test]
async fn wishes_for_files_are_checked() {
    let (estate, backup) = estate().await;
    let wish = |files: Value, target: Value| json!({"source": {"backup_id": backup, "files": files}, "target": target});
    let file = json!([{"filesystem_id": "1", "path": "/a"}]);
    for (body, refused) in [
        (wish(file.clone(), json!({"email": {"to": "jo@example.com"}})), (400, vec![4005])),
        (wish(json!([]), Value::Null), (400, vec![4003])),
        (wish(Value::Null, Value::Null), (400, vec![4003])),
        (wish(json!([{"filesystem_id": "3", "path": "/a"}]), Value::Null), (400, vec![4003])),
        (wish(json!([{"filesystem_id": "1", "path": "a"}]), Value::Null), (400, vec![4003])),
        (wish(json!([{"filesystem_id": "1", "path": "/../etc"}]), Value::Null), (400, vec![4003])),
        (wish(json!([{"path": "/a"}, {"filesystem_id": "1"}]), Value::Null), (400, vec![4003, 4003])),
        (wish(json!(vec![file[0].clone(); 1001]), Value::Null), (400, vec![4003])),
        (json!({"source": {"backup_id": Uuid::now_v7(), "files": file}}), (400, vec![4003])),
    ] {
        assert_eq!(estate.post(FILES, body.clone()).await.refused(), refused);
    }
}
