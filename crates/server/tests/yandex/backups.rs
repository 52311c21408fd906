//! Archives and recovery points through this dialect: every way to list them, recovery, deletion.

use axum::http::Method;
use domain::{Code, Role, Uuid};
use serde_json::{Value, json};
use server::service::{AgentHello, RestoreRequest};

use super::estate::{Estate, MACHINE, hello};

/// An estate with two backups of one policy, and the policy.
pub(crate) async fn backed_up() -> (Estate, String) {
    let estate = Estate::new().await;
    let policy = estate.policy("nightly").await;
    estate.apply(&policy).await;
    let agent = estate.connect(hello()).await;
    for (snapshot, at) in [("aa", "2026-09-01T02:00:00Z"), ("bb", "2026-09-02T02:00:00.5Z")] {
        estate.execute(&policy).await;
        estate.make_backup(&agent, snapshot, at).await;
        finish_others(&estate, &agent).await;
    }
    estate.disconnect(&agent).await;
    (estate, policy)
}

/// Retention follows each backup; it removes nothing here.
async fn finish_others(estate: &Estate, agent: &server::service::Connected) {
    while let Some(job) = estate.next_job(agent).await {
        estate.done(&job, json!({ "removed": 0, "missing": 0 })).await;
    }
}

fn ids(answer: &Value) -> Vec<String> {
    let list = answer["backups"].as_array().cloned().unwrap_or_default();
    list.iter().map(|b| b["id"].as_str().expect("an id").to_owned()).collect()
}

fn snapshots(answer: &Value) -> Vec<String> {
    let list = answer["backups"].as_array().cloned().unwrap_or_default();
    list.iter().map(|b| b["attributes"]["streamName"].as_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn recovery_points_are_found_by_whatever_is_known() {
    let (estate, policy) = backed_up().await;
    let (folder, resource) = (&estate.folder, estate.resource);
    let archives = estate.get(&format!("/backup/v1/archives?folderId={folder}")).await;
    let archive = &archives["archives"][0];
    let archive_id = archive["id"].as_str().expect("an id");
    assert_eq!((&archive["name"], &archive["displayName"]), (&json!("srv-01-nightly"), &json!("srv-01 - nightly")));
    assert_eq!((&archive["size"], &archive["dataSize"]), (&json!("20"), &json!("40")));
    assert_eq!((&archive["originalDataSize"], &archive["logicalSize"]), (&json!("200"), &json!("100")));
    assert_eq!((&archive["consistent"], &archive["encryptionAlgorithm"]), (&json!(true), &json!("AES256")));
    assert_eq!(archive["attributes"]["uri"], json!(format!("/repository#{archive_id}")));
    let by_machine = estate.get(&format!("/backup/v1/backups/{MACHINE}/archives")).await;
    assert_eq!(by_machine, archives);

    let newest_first = estate.get(&format!("/backup/v1/backups?computeInstanceId={MACHINE}")).await;
    assert_eq!(snapshots(&newest_first), ["bb", "aa"]);
    let newest = &newest_first["backups"][0];
    assert_eq!((&newest["archiveId"], &newest["policyId"]), (&json!(archive_id), &json!(policy)));
    assert_eq!((&newest["type"], &newest["size"]), (&json!("INCREMENTAL"), &json!("10")));
    assert_eq!(newest_first["backups"][1]["type"], "FULL", "the first of an archive");
    assert_eq!(newest["disks"][0]["volumes"][0]["freeSpace"], "400");
    for backup in newest_first["backups"].as_array().expect("backups") {
        assert_eq!(backup["lastSeenAt"], archive["lastSeenAt"], "the repository was seen with the last of them");
    }
    let id = newest["id"].as_str().expect("an id");
    for query in [
        format!("folderId={folder}"),
        format!("resourceId={resource}"),
        format!("policyId={policy}"),
        format!("archive.archiveId={archive_id}&archive.folderId={folder}"),
        format!("instancePolicy.computeInstanceId={MACHINE}&instancePolicy.policyId={policy}"),
        format!("folderId={folder}&type=BMS"),
        format!("folderId={folder}&filter=created_at%20%3E%202026-08-01"),
    ] {
        assert_eq!(estate.get(&format!("/backup/v1/backups?{query}")).await, newest_first, "{query}");
    }
    let one = estate.get(&format!("/backup/v1/backups?backup.backupId={id}&backup.folderId={folder}")).await;
    assert_eq!(ids(&one), [id]);
    let read = estate.get(&format!("/backup/v1/backups/{id}?folderId={folder}")).await;
    assert_eq!(&read, newest);
    for (query, found) in [
        ("orderBy=createdAt", vec!["aa", "bb"]),
        ("orderBy=created_at%20DESC", vec!["bb", "aa"]),
        ("filter=created_at%3E2026-09-01T12:00:00Z", vec!["bb"]),
        ("filter=createdAt%20%3C%3D%20'2026-09-01T02:00:00Z'", vec!["aa"]),
        ("filter=created_at%20!%3D%202026-09-01T02:00:00Z", vec!["bb"]),
        ("type=COMPUTE", vec![]),
        ("type=EXTERNAL_SERVER", vec![]),
    ] {
        let answer = estate.get(&format!("/backup/v1/backups?computeInstanceId={MACHINE}&{query}")).await;
        assert_eq!(snapshots(&answer), found, "{query}");
    }
    // Page by page, also with another size in between.
    let page = format!("/backup/v1/backups?computeInstanceId={MACHINE}");
    let first = estate.get(&format!("{page}&pageSize=1")).await;
    let token = first["nextPageToken"].as_str().expect("a token");
    let second = estate.get(&format!("{page}&pageSize=7&pageToken={token}")).await;
    assert_eq!((snapshots(&first), snapshots(&second)), (vec!["bb".to_owned()], vec!["aa".to_owned()]));
    assert_eq!(second["nextPageToken"], Value::Null);

    let roots = estate.get(&format!("/backup/v1/backups/{id}/files?folderId={folder}")).await;
    let root = &roots["files"][0];
    assert_eq!((&root["name"], &root["type"], &root["parentId"]), (&json!("/srv"), &json!("TYPE_DIR"), &Value::Null));
    let below =
        format!("/backup/v1/backups/{id}/files?folderId={folder}&sourceId={}", root["id"].as_str().expect("an id"));
    assert_eq!(estate.refused(Method::GET, &below, Value::Null).await, (9, "AGENT_OFFLINE".to_owned()));
}

#[tokio::test]
async fn nothing_is_written_to_a_machine_that_was_taken_out() {
    let (estate, _) = backed_up().await;
    let world = &estate.world;
    let found = estate.get(&format!("/backup/v1/backups?computeInstanceId={MACHINE}")).await;
    let backup = Uuid::parse_str(&ids(&found)[0]).expect("an id");
    let path = format!("/backup/v1/resources/{MACHINE}?resourceId={}", estate.resource);
    estate.send(Method::DELETE, &path, Value::Null).await;
    let request =
        RestoreRequest { backup, to: "/restored".into(), overwrite_device: false, paths: Vec::new(), resource: None };
    let refused = world.service.restore(&world.root, request).await.expect_err("nobody is there to write");
    assert_eq!((refused.code, refused.field.as_deref()), (Code::NotFound, Some("resource")));
}

#[tokio::test]
async fn what_is_not_the_callers_is_not_there() {
    let (estate, policy) = backed_up().await;
    let folder = &estate.folder;
    let id = ids(&estate.get(&format!("/backup/v1/backups?folderId={folder}")).await).remove(0);
    let foreign = estate.world.token(estate.world.globex, Role::Admin).await;
    let other = estate.world.tenant_below(estate.world.acme, "branch").await;
    let none = Uuid::now_v7();
    for (path, code) in [
        (format!("/backup/v1/backups?computeInstanceId={MACHINE}"), 5),
        (format!("/backup/v1/backups?policyId={policy}"), 5),
        (format!("/backup/v1/backups?resourceId={}", estate.resource), 5),
        (format!("/backup/v1/backups?folderId={folder}"), 7),
        (format!("/backup/v1/backups/{id}?folderId={folder}"), 7),
        (format!("/backup/v1/archives?folderId={folder}"), 7),
    ] {
        let (_, _, body) = estate.world.rest(Method::GET, &path, &foreign, Value::Null).await;
        assert_eq!(body["code"], code, "{path}");
    }
    for (path, code) in [
        (format!("/backup/v1/backups/{id}?folderId={other}"), 5),
        (format!("/backup/v1/backups/{none}?folderId={folder}"), 5),
        (format!("/backup/v1/backups?policyId={none}"), 5),
        (format!("/backup/v1/backups?resourceId={none}"), 5),
        ("/backup/v1/backups?computeInstanceId=nobody".to_owned(), 5),
        (format!("/backup/v1/backups?archive.archiveId={none}&archive.folderId={folder}"), 5),
        ("/backup/v1/backups".to_owned(), 3),
        (format!("/backup/v1/backups?folderId={folder}&orderBy=name"), 3),
        (format!("/backup/v1/backups?folderId={folder}&filter=name%3Dx"), 3),
        (format!("/backup/v1/backups?policyId={policy}&pageToken=x"), 3),
    ] {
        assert_eq!(estate.refused(Method::GET, &path, Value::Null).await.0, code, "{path}");
    }
    assert_eq!(estate.get(&format!("/backup/v1/backups?folderId={other}")).await, json!({}), "not of the folder above");
}

#[tokio::test]
async fn a_deleted_backup_is_gone_at_once_and_comes_back_when_that_fails() {
    let (estate, policy) = backed_up().await;
    let list = format!("/backup/v1/backups?computeInstanceId={MACHINE}");
    let found = ids(&estate.get(&list).await);
    let delete = |id: &str| format!("/backup/v1/backups/{MACHINE}/{id}");
    let started = estate.send(Method::DELETE, &delete(&found[0]), Value::Null).await;
    assert_eq!(started["metadata"]["backupId"], json!(found[0]));
    assert_eq!((&started["done"], ids(&estate.get(&list).await)), (&Value::Null, vec![found[1].clone()]));
    assert_eq!(estate.refused(Method::DELETE, &delete(&found[0]), Value::Null).await.0, 5);
    let agent = estate.connect(hello()).await;
    let job = estate.next_job(&agent).await.expect("the deletion");
    estate.failed(&job, "repositoryMissing", "There is no repository.").await;
    assert_eq!(estate.operation(&started).await["error"]["code"], 14);
    assert_eq!(ids(&estate.get(&list).await), found, "it is back");
    let started = estate.send(Method::DELETE, &delete(&found[0]), Value::Null).await;
    let job = estate.next_job(&agent).await.expect("the deletion");
    assert_eq!(job.assigned.argument["points"][0]["snapshot"], "bb");
    estate.done(&job, json!({ "removed": 1, "missing": 0 })).await;
    assert_eq!(estate.operation(&started).await["done"], true);
    assert_eq!(ids(&estate.get(&list).await), [found[1].clone()]);

    // A whole archive, named by what it is of; the next backup begins a new one.
    let archive = estate.get(&format!("/backup/v1/backups/{MACHINE}/archives")).await["archives"][0]["id"].clone();
    let path = format!("/backup/v1/archives?policyId={policy}&instanceId={MACHINE}");
    let started = estate.send(Method::DELETE, &path, Value::Null).await;
    assert_eq!(started["metadata"]["archiveId"], archive);
    assert_eq!(started["metadata"]["folderId"], json!(estate.folder));
    assert_eq!(estate.get(&list).await, json!({}));
    assert_eq!(estate.get(&format!("/backup/v1/backups/{MACHINE}/archives")).await, json!({}));
    let job = estate.next_job(&agent).await.expect("the deletion");
    estate.done(&job, json!({ "removed": 1, "missing": 0 })).await;
    estate.execute(&policy).await;
    estate.make_backup(&agent, "cc", "2026-09-03T02:00:00Z").await;
    let archives = estate.get(&format!("/backup/v1/backups/{MACHINE}/archives")).await;
    assert_ne!(archives["archives"][0]["id"], archive);
    assert_eq!(estate.get(&list).await["backups"][0]["type"], "FULL");
}

#[tokio::test]
async fn recovery_says_why_it_cannot_be() {
    let (estate, _) = backed_up().await;
    let id = ids(&estate.get(&format!("/backup/v1/backups?computeInstanceId={MACHINE}")).await).remove(0);
    let (whole, files) =
        (format!("/backup/v1/backups/{id}:startRecovery"), format!("/backup/v1/backups/{id}:startFilesRecovery"));
    let to = json!({ "computeInstanceId": MACHINE });
    let some = json!({ "computeInstanceId": MACHINE, "sourceIds": ["p.L3Nydi9h"],
                       "opts": { "overwrite": "OVERWRITE_OLDER", "custom": { "path": "/tmp/back" } } });
    for (path, body) in [(&whole, &to), (&files, &some)] {
        let refused = estate.refused(Method::POST, path, body.clone()).await;
        assert_eq!(refused, (9, "AGENT_OFFLINE".to_owned()), "{path}");
    }
    let windows = estate.connect(AgentHello { system: "windows".into(), ..hello() }).await;
    assert_eq!(estate.refused(Method::POST, &whole, to.clone()).await, (9, "OS_MISMATCH".to_owned()));
    estate.disconnect(&windows).await;
    let agent = estate.connect(hello()).await;
    let mut drive = some.clone();
    drive["opts"]["custom"]["path"] = json!("C:\\back");
    let (_, _, refused) = estate.world.rest(Method::POST, &files, &estate.token, drive).await;
    assert_eq!((&refused["code"], super::world::fields(&refused)), (&json!(3), vec!["opts.custom.path".to_owned()]));
    let started = estate.send(Method::POST, &files, some.clone()).await;
    assert_eq!(started["metadata"]["sourceIds"], json!(["p.L3Nydi9h"]));
    let job = estate.next_job(&agent).await.expect("the recovery");
    let argument = &job.assigned.argument;
    assert_eq!((&argument["paths"], &argument["to"]), (&json!(["/srv/a"]), &json!("/tmp/back")));
    assert_eq!((&argument["layout"], &argument["overwrite"]), (&json!("named"), &json!("older")));
    let delete = format!("/backup/v1/backups/{MACHINE}/{id}");
    assert_eq!(estate.refused(Method::DELETE, &delete, Value::Null).await, (9, "IN_USE".to_owned()));
    estate.done(&job, json!({ "files": 1, "bytes": 1 })).await;
    let started = estate.send(Method::POST, &whole, to.clone()).await;
    assert_eq!(started["metadata"]["dstComputeInstanceId"], MACHINE);
    let job = estate.next_job(&agent).await.expect("the recovery");
    assert_eq!((&job.assigned.argument["layout"], &job.assigned.argument["to"]), (&json!("original"), &json!("")));
    estate.done(&job, json!({ "files": 1, "bytes": 1 })).await;
    assert_eq!(estate.operation(&started).await["done"], true);
    for (body, code) in [(json!({ "computeInstanceId": "nobody" }), 5), (json!({}), 3)] {
        assert_eq!(estate.refused(Method::POST, &whole, body).await.0, code);
    }
    let operator = estate.world.token(estate.world.acme, Role::Operator).await;
    for (path, body) in [(whole, to), (files, some)] {
        let (_, _, refused) = estate.world.rest(Method::POST, &path, &operator, body).await;
        assert_eq!(refused["code"], 7, "{path}");
    }
}

#[tokio::test]
async fn what_only_waits_keeps_nothing_from_being_deleted() {
    let (estate, _) = backed_up().await;
    let id = ids(&estate.get(&format!("/backup/v1/backups?computeInstanceId={MACHINE}")).await).remove(0);
    let agent = estate.connect(hello()).await;
    let to = json!({ "computeInstanceId": MACHINE });
    let waiting = estate.send(Method::POST, &format!("/backup/v1/backups/{id}:startRecovery"), to).await;
    estate.send(Method::DELETE, &format!("/backup/v1/backups/{MACHINE}/{id}"), Value::Null).await;
    let job = estate.next_job(&agent).await.expect("the deletion");
    assert_eq!(job.assigned.task.spec.kind, "backup_deletion");
    assert_eq!(estate.operation(&waiting).await["error"]["code"], 5, "it finds nothing to write back");
}

#[tokio::test]
async fn a_backup_is_looked_into_by_whoever_reaches_it() {
    let (estate, _) = backed_up().await;
    let world = &estate.world;
    let id = ids(&estate.get(&format!("/backup/v1/backups?computeInstanceId={MACHINE}")).await).remove(0);
    let folder = &estate.folder;
    // The repository is the root's, and so is this agent.
    let all = domain::Scope::everything();
    let kind = domain::token::TokenKind::Agent;
    let issued = world.service.issue(&world.root, &all, kind, "other".into(), Role::Operator, None).await;
    let other = world.service.agent_connected(&issued.expect("a token").1, hello()).await;
    let mut other = other.expect("connected");
    let below = format!("/backup/v1/backups/{id}/files?folderId={folder}&sourceId=p.L3Nydg");
    let answer = async {
        loop {
            if let server::service::Command::ListFiles { request, answer } =
                other.commands.recv().await.expect("it goes on")
            {
                answer.send(Ok(server::service::FileList::default())).expect("somebody waits");
                return request.path;
            }
        }
    };
    let (asked, files) = tokio::join!(answer, estate.get(&below));
    assert_eq!((asked.as_str(), files), ("/srv", json!({})));
}

#[tokio::test]
async fn a_root_that_is_a_file_is_shown_as_one() {
    let estate = Estate::new().await;
    let policy = estate.policy("nightly").await;
    estate.apply(&policy).await;
    let agent = estate.connect(hello()).await;
    estate.execute(&policy).await;
    let job = estate.next_job(&agent).await.expect("the backup");
    let roots = json!([{ "path": "/srv/disk", "size": 1, "free": 1, "system": false, "file": true,
                         "modified_at": "2026-08-31T01:02:03Z" }]);
    let done = json!({ "snapshot": "aa", "created_at": "2026-09-01T02:00:00Z", "incremental": false, "size": 1,
                       "added": 1, "files": 1, "files_new": 1, "files_changed": 0, "roots": roots });
    estate.done(&job, done).await;
    let id = ids(&estate.get(&format!("/backup/v1/backups?computeInstanceId={MACHINE}")).await).remove(0);
    let files = estate.get(&format!("/backup/v1/backups/{id}/files?folderId={}", estate.folder)).await;
    let root = &files["files"][0];
    assert_eq!((&root["type"], &root["modifiedAt"]), (&json!("TYPE_FILE"), &json!("2026-08-31T01:02:03Z")));
    assert_eq!(root["actions"], json!({ "restoreToDisk": true }));
}

#[tokio::test]
async fn the_root_of_a_system_is_not_written_over_while_it_runs() {
    let estate = Estate::new().await;
    let policy = estate.policy("whole").await;
    let agent = estate.connect(hello()).await;
    estate.machine("vm-7", Some(agent.agent.id()), &["/"]).await;
    let body = json!({ "computeInstanceId": "vm-7" });
    estate.send(Method::POST, &format!("/backup/v1/policies/{policy}:apply"), body.clone()).await;
    estate.send(Method::POST, &format!("/backup/v1/policies/{policy}:execute"), body.clone()).await;
    estate.make_backup(&agent, "aa", "2026-09-01T02:00:00Z").await;
    finish_others(&estate, &agent).await;
    let id = ids(&estate.get("/backup/v1/backups?computeInstanceId=vm-7").await).remove(0);
    let path = format!("/backup/v1/backups/{id}:startRecovery");
    assert_eq!(estate.refused(Method::POST, &path, body.clone()).await, (9, "LIVE_SYSTEM_ROOT".to_owned()));
    estate.disconnect(&agent).await;
    let rescue = estate.connect(AgentHello { rescue: true, ..hello() }).await;
    estate.send(Method::POST, &path, body).await;
    assert!(estate.next_job(&rescue).await.is_some());
}
