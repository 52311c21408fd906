//! Every operation of the dialect against everybody and everything that it must refuse. One without a row fails the test, so
//! none can be forgotten.

use axum::body::Body;
use axum::http::Method;
use domain::{Right, Role};
use serde_json::Value;
use server::dialects::clumio;

use crate::world::{World, request};

/// What the test must know of an operation.
struct Row {
    name: &'static str,
    /// What it needs beside a token.
    right: Option<Right>,
    /// The value of each variable of the path that nothing has.
    variables: &'static [&'static str],
}

const UUID: &str = "0197c0de-dead-7000-8000-00000000beef";

const fn row(name: &'static str, right: Right, variables: &'static [&'static str]) -> Row {
    Row { name, right: Some(right), variables }
}

/// The operations that need a token. `read-restored-file` needs none: its address is signed.
const ROWS: &[Row] = &[
    Row { name: "discovery", right: None, variables: &[] },
    row("list-tasks", Right::View, &[]),
    row("read-task", Right::View, &["999999"]),
    row("update-task", Right::Issue, &["999999"]),
    row("list-aws-environments", Right::View, &[]),
    row("read-aws-environment", Right::View, &[UUID]),
    row("list-aws-environment-tags", Right::View, &[UUID]),
    row("read-aws-environment-tag", Right::View, &[UUID, UUID]),
    row("list-aws-ebs-volumes", Right::View, &[]),
    row("read-aws-ebs-volume", Right::View, &[UUID]),
    row("list-backup-aws-ebs-volumes", Right::View, &[]),
    row("read-backup-aws-ebs-volume", Right::View, &[UUID]),
    row("create-backup-aws-ebs-volume", Right::Operate, &[]),
    row("restore-aws-ebs-volume", Right::Operate, &[]),
    row("list-backup-filesystems", Right::View, &[UUID]),
    row("read-filesystem", Right::View, &[UUID, "1"]),
    row("read-backup-filesystem-directory", Right::View, &[UUID, "1", "root"]),
    row("list-restored-files", Right::View, &[]),
    row("restore-files", Right::Operate, &[]),
    row("list-policy-definitions", Right::View, &[]),
    row("read-policy-definition", Right::View, &[UUID]),
    row("create-policy-definition", Right::Edit, &[]),
    row("update-policy-definition", Right::Edit, &[UUID]),
    row("delete-policy-definition", Right::Edit, &[UUID]),
    row("set-policy-assignments", Right::Operate, &[]),
    row("list-organizational-units", Right::View, &[]),
    row("read-organizational-unit", Right::View, &[UUID]),
    row("create-organizational-unit", Right::Administer, &[]),
    row("patch-organizational-unit", Right::Administer, &[UUID]),
    row("delete-organizational-unit", Right::Administer, &[UUID]),
];

/// The operations that anybody may call.
const OPEN: &[&str] = &["read-restored-file"];

struct Case {
    row: &'static Row,
    method: Method,
    path: String,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, method, path) in clumio::operations() {
        if OPEN.contains(&name) {
            continue;
        }
        let row = ROWS.iter().find(|r| r.name == name).unwrap_or_else(|| panic!("{name} has no row"));
        let mut filled = path.to_owned();
        for value in row.variables {
            let (before, rest) = filled.split_once('{').expect("a variable for each value");
            let (_, after) = rest.split_once('}').expect("its end");
            filled = format!("{before}{value}{after}");
        }
        assert!(!filled.contains('{'), "{name} has a variable without value");
        cases.push(Case { row, method: method.parse().expect("a method"), path: filled });
    }
    cases
}

#[tokio::test]
async fn nobody_gets_in_without_a_token() {
    let world = World::new().await;
    for Case { method, path, .. } in cases() {
        let none = world.call(method.clone(), &path, "", Value::Null).await;
        assert_eq!(none.refused(), (401, vec![4010]), "{method} {path}");
        let unknown = world.call(method.clone(), &path, "unknown", Value::Null).await;
        assert_eq!(unknown.refused(), (401, vec![4011]), "{method} {path}");
    }
}

#[tokio::test]
async fn a_role_without_the_right_is_refused_and_one_with_it_is_not() {
    let world = World::new().await;
    for role in Role::ALL {
        let token = world.token(world.acme, *role).await;
        for Case { row, method, path } in cases() {
            let answer = world.call(method.clone(), &path, &token, Value::Null).await;
            match row.right {
                Some(right) if !role.rights().contains(&right) => {
                    assert_eq!(answer.refused(), (403, vec![4030]), "{role}: {method} {path}");
                }
                _ => assert_ne!(answer.status, 403, "{role}: {method} {path}"),
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Admin).await;
    for Case { row, method, path } in cases() {
        if row.variables.is_empty() || matches!(method, Method::PUT | Method::POST | Method::PATCH) {
            continue;
        }
        let answer = world.call(method.clone(), &path, &token, Value::Null).await;
        assert_eq!(answer.refused(), (404, vec![4041]), "{method} {path}");
        let odd = path.replace(UUID, "no-uuid").replace("999999", "no-number");
        let answer = world.call(method.clone(), &odd, &token, Value::Null).await;
        assert_eq!(answer.refused(), (404, vec![4041]), "{method} {odd}");
    }
}

#[tokio::test]
async fn broken_bodies_are_refused_whatever_their_type() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Admin).await;
    for Case { method, path, .. } in cases() {
        if !matches!(method, Method::PUT | Method::POST | Method::PATCH) {
            continue;
        }
        for content in ["application/json", "text/plain; charset=utf-8", ""] {
            for body in ["", "{", "[]", "\"x\"", "{}"] {
                let mut asked = request(method.clone(), &path, &token);
                if !content.is_empty() {
                    asked = asked.header("content-type", content);
                }
                let answer = world.send(asked.body(Body::from(body)).expect("a request")).await;
                // An object that is not there may be told before what is missing in a body.
                let (status, codes) = answer.refused();
                assert!(matches!(status, 400 | 404), "{method} {path} {body}: {codes:?}");
                if body != "{}" && status == 400 {
                    assert_eq!(codes, [4002], "{method} {path} {body}");
                }
            }
        }
        let large = request(method.clone(), &path, &token).body(Body::from(vec![b' '; 1024 * 1024 + 1]));
        assert_eq!(world.send(large.expect("a request")).await.refused(), (413, vec![4130]), "{method} {path}");
    }
}
