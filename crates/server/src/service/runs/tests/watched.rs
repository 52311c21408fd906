//! What metrics say of resources and agents, whatever goes on just now.

use domain::task::{Executor, LeaseToken};

use super::*;
use crate::telemetry::Exposition;

impl World {
    /// The value of the first series of this name that has this label.
    async fn metric(&self, name: &str, label: &str) -> Option<i64> {
        let text = self.service.metrics(&Caller::server(), Exposition::Text).await.expect("metrics");
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")) && line.contains(label))?;
        line.rsplit_once(' ').and_then(|(_, value)| value.parse().ok())
    }

    async fn protected(&self) -> Option<i64> {
        self.metric("backstay_resources_protected", "tenant=\"1\"").await
    }
}

#[tokio::test]
async fn a_resource_is_protected_also_while_its_run_goes_on() {
    let world = World::new(1, sets(json!({"when": {"after_last": {"count": 2, "unit": "hours"}}}), json!({}))).await;
    assert_eq!(world.protected().await, Some(1));
    world.run().await;
    assert_eq!(world.app(0).await.next_run_at, None, "what follows it is not known yet");
    assert_eq!(world.protected().await, Some(1));
    let everything = Scope::everything();
    let disabled = world.service.note::<Resource>(&everything, machine(0), |resource| {
        resource.enabled = false;
        Ok(())
    });
    disabled.await.expect("the machine");
    assert_eq!(world.protected().await, None, "nobody expects backups of it");

    let by_hand = World::new(1, json!({"schedule": {"kind": "manual"}})).await;
    assert_eq!(by_hand.protected().await, None);
}

#[tokio::test]
async fn an_agent_that_was_revoked_is_not_missed() {
    let world = World::new(2, json!({"schedule": {"kind": "manual"}})).await;
    let (away, session) = (world.agents[1].id(), 2);
    world.service.hub.leave(away, session);
    assert_eq!(world.metric("backstay_agents", "connected=\"true\"").await, Some(1));
    assert_eq!(world.metric("backstay_agents", "connected=\"false\"").await, Some(1));
    world.service.revoke_agent(&Caller::server(), away).await.expect("revoked");
    assert_eq!(world.metric("backstay_agents", "connected=\"true\"").await, Some(1));
    assert_eq!(world.metric("backstay_agents", "connected=\"false\"").await, Some(0));
}

#[tokio::test]
async fn a_run_that_waited_too_long_is_counted_though_a_claim_ended_it() {
    let world = World::new(1, sets(every_three_hours(), json!({}))).await;
    world.run().await;
    let late = world.start.now + SignedDuration::from_hours(24);
    let late = Moment { now: late, up_since: world.start.up_since };
    let claim = ledger::Claim {
        queues: vec![GATED_QUEUE.to_owned()],
        types: Vec::new(),
        executor: Executor { id: world.agents[0].id().to_string().into(), ..Executor::default() },
        leases: vec![LeaseToken("lease".to_owned())],
    };
    let done = world.ledger.commit(&Scope::everything(), late, vec![Write::Claim(claim)]).await.expect("a claim");
    world.service.deliver(&done);
    assert_eq!(world.metric("backstay_tasks_completed_total", "result=\"timedout\"").await, Some(1));
}
