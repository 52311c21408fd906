//! Real files, backed up by the real program and got back by it and by `restic`, and compared to the last bit.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use acceptance::machine::{Machine, Wish, only_backup, result};
use acceptance::restic::Restic;
use acceptance::tree::{But, assert_same, fill, within};
use acceptance::{Place, Up, add_much, add_sparse, noise, until};
use api::Settings;
use domain::task::ResultCode;

/// Restores by the command line and gives the folder.
fn restore(place: &Place, backup: &api::Backup, to: &str, paths: &[&Path]) -> std::path::PathBuf {
    let to = place.path(to);
    let mut args = vec!["restore".to_owned(), backup.id.to_string(), "--to".to_owned(), to.display().to_string()];
    for path in paths {
        args.extend(["--path".to_owned(), path.display().to_string()]);
    }
    let said = place.cli(&args).good();
    assert!(said.out.contains("done"), "{said}");
    to
}

/// Every file of a backup below a path, relative to it.
async fn files(up: &Up<'_>, backup: &api::Backup, root: &Path) -> Vec<String> {
    let root = root.to_str().expect("UTF-8");
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let list = up.client().backup_files(backup.id, &folder, None, None).await.expect("a list");
        assert_eq!(list.next, None);
        for file in list.items {
            match file.kind.as_str() {
                "dir" => folders.push(file.path),
                _ => found.push(file.path[root.len() + 1..].to_owned()),
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn everything_comes_back_as_it_was_through_us_and_through_restic() {
    let place = Place::new();
    let source = place.folder("source");
    fill(&source);
    let up = place.start();
    let machine = Machine::protect(&up, &source).await;

    let first = machine.back_up(&up).await;
    assert_eq!((first.kind.name(), first.files), ("full", 16), "{first:#?}");
    assert!(
        first.size > 74 << 20 && first.added > 5 << 20 && first.added < 8 << 20,
        "equal files are stored once: {first:#?}"
    );
    let ours = restore(&place, &first, "ours", &[]);
    assert_same(&source, &within(&ours, &source), But::Nothing);

    let restic = Restic::of(&place);
    restic.check();
    let theirs = place.path("theirs");
    restic.run(&["restore", &first.snapshot, "--target", theirs.to_str().expect("UTF-8")]);
    assert_same(&source, &within(&theirs, &source), But::WhatResticLeaves);

    // Nothing changed, so nothing but a few words about the folders is added.
    let second = machine.back_up(&up).await;
    assert_eq!((second.kind.name(), second.files, second.size), ("incremental", first.files, first.size));
    assert!(second.added < 64 << 10, "{second:#?}");
    assert_eq!(second.archive, first.archive);
    assert_ne!(second.snapshot, first.snapshot);

    // The earlier one is not touched by what comes after it.
    fs::write(source.join("dir/deep/deeper/leaf"), "another leaf").expect("a change");
    fs::write(source.join("new"), noise(9, 1 << 20)).expect("a new file");
    let third = machine.back_up(&up).await;
    assert!(third.added >= 1 << 20 && third.added < 2 << 20, "{third:#?}");
    let leaf = source.join("dir/deep/deeper/leaf");
    for (backup, text) in [(&second, "leaf"), (&third, "another leaf")] {
        let target = restore(&place, backup, text, &[&leaf]);
        assert_eq!(fs::read_to_string(within(&target, &leaf)).expect("the leaf"), text);
        let below = within(&target, &source);
        let names: Vec<_> = fs::read_dir(below).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
        assert_eq!(names, ["dir"], "only the file that was asked for comes back");
    }
    assert_eq!(restic.snapshots_by_task().len(), 3);
    restic.check();
}

#[tokio::test]
async fn globs_say_what_is_taken_and_what_is_left() {
    let place = Place::new();
    let source = place.folder("source");
    for name in ["a.txt", "b.log", "cache/x.txt", "docs/c.txt", "docs/d.md"] {
        fs::create_dir_all(source.join(name).parent().expect("a parent")).expect("a folder");
        fs::write(source.join(name), name).expect("a file");
    }
    let up = place.start();
    let globs = |globs: &[&str]| globs.iter().map(|g| (*g).to_owned()).collect::<Vec<_>>();
    let cases = [
        (
            "all but logs and caches",
            Settings { includes: globs(&[]), excludes: globs(&["*.log", "cache/"]), ..Settings::default() },
            "a.txt docs/c.txt docs/d.md",
        ),
        (
            "texts alone",
            Settings { includes: globs(&["*.txt"]), excludes: globs(&[]), ..Settings::default() },
            "a.txt cache/x.txt docs/c.txt",
        ),
        (
            "both",
            Settings { includes: globs(&["*.txt"]), excludes: globs(&["cache/"]), ..Settings::default() },
            "a.txt docs/c.txt",
        ),
    ];
    for (name, settings, expected) in cases {
        let wish = Wish { name: name.to_owned(), settings, ..Wish::default() };
        let backup = Machine::wished(&up, &source, wish).await.back_up(&up).await;
        assert_eq!(files(&up, &backup, &source).await.join(" "), expected, "{name}");
    }
}

/// The paths that a task lists as not backed up, with the reasons.
fn unreadable(task: &api::Task) -> Vec<(String, String)> {
    let ended = task.result.as_ref().expect("a result");
    assert_eq!((ended.code, ended.warnings.len()), (ResultCode::Warning, 1), "{ended:#?}");
    let listed = ended.payload["unreadable"].as_array().expect("a list");
    assert_eq!(ended.payload["unreadable_total"], listed.len());
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    listed.iter().map(|u| (text(&u["path"]), text(&u["message"]))).collect()
}

#[tokio::test]
async fn what_cannot_be_read_is_a_warning_that_names_it() {
    let place = Place::new();
    let source = place.folder("source");
    for name in ["good", "closed"] {
        fs::write(source.join(name), name).expect("a file");
    }
    fs::set_permissions(source.join("closed"), fs::Permissions::from_mode(0o000)).expect("a mode");
    // Root may read everything, so the server is somebody else.
    let up = place.up().as_nobody().start();
    let machine = Machine::protect(&up, &source).await;
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let sources = api::Sources { paths: vec![text(&source), text(&place.path("gone"))], excludes: Vec::new() };
    let change = api::ResourceChange { sources: Some(sources), ..Default::default() };
    up.client().change_resource(machine.resource, &change).await.expect("a change");

    let task = up.completed(machine.run(&up).await.id).await;
    let mut listed = unreadable(&task);
    listed.sort();
    let paths: Vec<_> = listed.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, [text(&place.path("gone")), text(&source.join("closed"))]);
    assert!(listed[0].1.contains("No such file") && listed[1].1.contains("Permission denied"), "{listed:?}");
    let backup = only_backup(&up.client(), task.id).await.expect("the rest is backed up");
    assert_eq!(files(&up, &backup, &source).await, ["good"]);
    assert_eq!(up.client().resource(machine.resource).await.expect("the resource").status.name(), "idle");
}

#[tokio::test]
async fn a_file_that_vanishes_while_it_is_backed_up_is_a_warning() {
    let place = Place::new();
    let source = place.folder("source");
    // Files are read ahead, some for each processor. So many, and so long, lie before the last one.
    let ahead = 3 * std::thread::available_parallelism().expect("a number of processors").get();
    let last = source.join("~last");
    let up = place.start();
    let machine = Machine::protect(&up, &source).await;
    let mut much = 0;
    let task = loop {
        much += add_much(&source);
        for n in 0..ahead {
            let _ = add_sparse(&source, &format!("sparse-{n}"), 512 << 20);
        }
        fs::create_dir(&last).expect("a folder");
        fs::write(last.join("file"), "soon gone").expect("a file");
        let before = place.packs();
        let task = machine.run(&up).await.id;
        // It was counted, and is not read yet.
        until("data is written", async || (place.packs() > before).then_some(())).await;
        fs::remove_dir_all(&last).expect("gone");
        let task = up.completed(task).await;
        if result(&task) != ResultCode::Ok {
            break task;
        }
        // It was read before this test had a processor again.
        assert!(much < 100, "what is gone is never missed");
    };
    let listed = unreadable(&task);
    assert!(listed.iter().any(|(path, _)| Path::new(path).starts_with(&last)), "{listed:?}");
    let shown = place.cli(&["task", "show", &task.id.to_string()]).good();
    assert!(shown.out.contains("warning") && shown.out.contains("~last"), "{shown}");
    // A warning is no failure for scripts: there is a backup.
    let _ = place.cli(&["task", "wait", &task.id.to_string()]).good();
    let backup = only_backup(&up.client(), task.id).await.expect("the rest is backed up");
    assert_eq!(files(&up, &backup, &source).await.len(), ahead + usize::try_from(much).expect("a few"));
}

#[tokio::test]
async fn a_source_that_is_not_there_is_an_error_and_no_backup() {
    let place = Place::new();
    let source = place.folder("source");
    let up = place.start();
    let machine = Machine::protect(&up, &source).await;
    fs::remove_dir(&source).expect("gone");
    let task = up.completed(machine.run(&up).await.id).await;
    assert_eq!(result(&task), ResultCode::Error);
    let error = task.result.as_ref().and_then(|r| r.error.clone()).expect("a reason");
    assert_eq!((error.domain.as_str(), error.code.as_str()), ("engine", "sourceMissing"));
    assert_eq!(task.assign_count, 1, "it would not go better a second time");
    assert_eq!(only_backup(&up.client(), task.id).await, None);
    let _ = place.cli(&["task", "wait", &task.id.to_string()]).failed(3);
    let resource = up.client().resource(machine.resource).await.expect("the resource");
    assert_eq!(resource.status.name(), "failed");
}

#[tokio::test]
async fn the_steps_of_a_task_are_its_activities() {
    let place = Place::new();
    let source = place.folder("source");
    fs::write(source.join("file"), noise(1, 1 << 20)).expect("a file");
    let up = place.start();
    let machine = Machine::protect(&up, &source).await;
    let backup = machine.back_up(&up).await;
    let query = api::client::ListQuery::new().order("id");
    let steps = up.client().task_activities(backup.task, &query).await.expect("activities").items;
    let seen: Vec<_> =
        steps.iter().map(|a| (a.kind.as_str(), a.root, a.parent_id, a.result.as_ref().map(|r| r.code))).collect();
    let root = steps[0].id;
    let step = |name| (name, false, Some(root), Some(ResultCode::Ok));
    assert_eq!(seen, [("backup", true, None, Some(ResultCode::Ok)), step("scan"), step("backup"), step("index")]);
    let task = up.client().task(backup.task).await.expect("the task");
    let progress = task.progress.expect("a last word on how far it came");
    assert_eq!((progress.current, progress.total, progress.files_processed), (100, 100, 1), "{progress:#?}");
    assert!(task.seeding, "the first one is");
    let again = up.client().task(machine.back_up(&up).await.task).await.expect("the task");
    assert!(!again.seeding);
}
