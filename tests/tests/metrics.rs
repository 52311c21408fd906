//! What Prometheus is told, after real work: by Prometheus' own tool, to whoever may see it.

use std::path::Path;
use std::process::{Command, Stdio};

use acceptance::machine::{Machine, Wish, result};
use acceptance::place::said;
use acceptance::{Place, Said, Up, until};
use api::client::ListQuery;
use api::{NewTenant, NewToken};
use domain::policy::Schedule;
use domain::task::ResultCode;
use domain::{Role, SignedDuration};

/// Asks for the metrics; gives the status, the media type and the text.
fn scrape(up: &Up<'_>, token: &str, more: &[&str]) -> (String, String, String) {
    let url = format!("{}/metrics", up.ready().http);
    let authorization = format!("authorization: Bearer {token}");
    let mut args = vec!["--write-out", "\n%{http_code} %{content_type}", "--header", &authorization, &url];
    args.extend(more);
    let said = up.place().curl(&args).good();
    let (text, last) = said.out.rsplit_once('\n').expect("a last line");
    let (status, media) = last.split_once(' ').expect("status and type");
    (status.to_owned(), media.to_owned(), text.to_owned())
}

/// The value of a series; none if it is not there.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

fn promtool(args: &[&str], input: &Path) -> Said {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/prometheus");
    let input = std::fs::File::open(input).expect("the input");
    said(Command::new("promtool").args(args).current_dir(packaging).stdin(Stdio::from(input)))
}

#[tokio::test]
async fn what_was_done_is_told_to_prometheus() {
    let place = Place::new();
    let folder = place.folder("some");
    std::fs::write(folder.join("file"), "text").expect("a file");
    let up = place.start();
    let schedule = Some(Schedule::Interval { every: SignedDuration::from_hours(24) });
    let wish = Wish { name: "machine".into(), schedule, ..Wish::default() };
    let machine = Machine::wished(&up, &folder, wish).await;
    machine.back_up(&up).await;
    // A second run finds nothing to read and fails.
    std::fs::remove_dir_all(&folder).expect("gone");
    let failed = up.completed(machine.run(&up).await.id).await;
    assert_eq!(result(&failed), ResultCode::Error);

    let token = up.ready().admin_token.clone();
    // They are counted a moment after they are told.
    let both_ends = async || {
        let told = scrape(&up, &token, &[]);
        let ended =
            |r: &str| value(&told.2, &format!(r#"backstay_tasks_completed_total{{type="backup",result="{r}"}}"#));
        (ended("ok") == Some(1.0) && ended("error") == Some(1.0)).then_some(told)
    };
    let (status, media, text) = until("both ends are counted", both_ends).await;
    assert_eq!((status.as_str(), media.as_str()), ("200", "text/plain; version=0.0.4; charset=utf-8"));
    let file = place.path("metrics.txt");
    std::fs::write(&file, &text).expect("written");
    let checked = promtool(&["check", "metrics"], &file).good();
    assert_eq!((checked.out.as_str(), checked.err.as_str()), ("", ""), "{text}");

    let is = |series: &str, wanted: f64| assert_eq!(value(&text, series), Some(wanted), "{series} in {text}");
    is(r#"backstay_tasks_completed_total{type="backup",result="ok"}"#, 1.0);
    is(r#"backstay_tasks_completed_total{type="backup",result="error"}"#, 1.0);
    is(r#"backstay_tasks_completed_total{type="backup",result="timedout"}"#, 0.0);
    is(r#"backstay_tasks{type="backup",state="completed"}"#, 2.0);
    is(r#"backstay_backup_bytes_total{stage="read"}"#, 4.0);
    is(r#"backstay_agents{tenant="1",tenant_name="root",connected="true"}"#, 1.0);
    is(r#"backstay_agents{tenant="1",tenant_name="root",connected="false"}"#, 0.0);
    is(r#"backstay_notifications_total{kind="webhook",outcome="failed"}"#, 0.0);
    is(r#"backstay_queue_oldest_seconds{queue="agents"}"#, 0.0);
    is(r#"backstay_resources_protected{tenant="1",tenant_name="root"}"#, 1.0);
    is(r#"backstay_resources_without_good_backup{tenant="1",tenant_name="root",hours="26"}"#, 0.0);
    is(
        r#"backstay_http_requests_total{dialect="agents",method="POST",route="/backstay.agent.v1.AgentLink/{*method}",status="2xx"}"#,
        1.0,
    );
    for series in [
        r#"backstay_oldest_good_backup_timestamp_seconds{tenant="1",tenant_name="root"}"#,
        "backstay_ledger_write_seconds_count",
        "backstay_ledger_write_commits_sum",
        "backstay_index_bytes",
        "backstay_data_free_bytes",
        "backstay_scheduler_last_turn_timestamp_seconds",
        r#"backstay_certificate_expiry_timestamp_seconds{certificate="server"}"#,
        r#"backstay_http_requests_total{dialect="native",method="POST",route="/api/v1/policies/{id}/run",status="2xx"}"#,
    ] {
        assert!(value(&text, series).is_some_and(|v| v > 0.0), "{series} in {text}");
    }
    let resource = up.client().resources(&ListQuery::new()).await.expect("resources").items.remove(0);
    let named = format!("\"{}\"", resource.name);
    assert!(!text.contains(&resource.id.to_string()) && !text.contains(&named), "machines are no labels");

    // Prometheus asks for OpenMetrics, and gets it whole.
    let accept = ["--header", "accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5"];
    let (_, media, text) = scrape(&up, &token, &accept);
    assert_eq!(media, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.contains("# TYPE backstay_tasks_completed counter\n") && text.ends_with("# EOF\n"), "{text}");
    let _ = up.interrupt().good();
}

#[tokio::test]
async fn only_who_sees_the_whole_tree_sees_the_metrics() {
    let place = Place::new();
    let up = place.start();
    let client = up.client();
    let new = NewTenant { name: "acme".into(), parent: None, description: String::new() };
    let acme = client.create_tenant(&new).await.expect("a tenant");
    let token = async |tenant, role| {
        let new = NewToken { name: "prometheus".into(), role, tenant, expires_at: None };
        client.create_token(&new).await.expect("a token").secret
    };
    let status = |token: &str| scrape(&up, token, &[]).0;
    assert_eq!(status(&token(None, Role::Viewer).await), "200");
    assert_eq!(status(&token(None, Role::Consumer).await), "403", "it may not see anything");
    assert_eq!(status(&token(Some(acme.id), Role::Admin).await), "403", "it sees one tenant");
    assert_eq!(status("swordfish"), "401");
}

#[test]
fn the_sample_alerts_fire_on_what_they_are_for() {
    let nothing = Path::new("/dev/null");
    let _ = promtool(&["check", "rules", "backstay-alerts.yml"], nothing).good();
    let _ = promtool(&["test", "rules", "backstay-alerts.test.yml"], nothing).good();
}
