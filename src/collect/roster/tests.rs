use tokio::sync::mpsc;

use super::*;
use crate::{
    collect::{target::context, writes::Write},
    model::{AgentNo, Contact, Registration, RegistrationSource, Timestamp},
    net::{Reply, ScriptedServer},
};

fn agent(id: &str, endpoint: Option<String>) -> Agent {
    Agent {
        no: AgentNo(1),
        id: AgentId::new(id).unwrap(),
        registered_at: Timestamp::from_millis(0),
        deregistered_at: None,
        registration: Registration {
            metrics_endpoint: endpoint,
            interval_ms: Some(100),
            ..Registration::bare(RegistrationSource::Api)
        },
    }
}

/// The next append of an agent that fits.
async fn next_of(
    written: &mut mpsc::Receiver<Write>,
    id: &str,
    fits: impl Fn(&Option<Contact>) -> bool,
) {
    loop {
        let write = written.recv().await.unwrap();
        let _ = write.durable.send(true);
        if write.append.agent.as_str() == id && fits(&write.append.contact) {
            return;
        }
    }
}

#[tokio::test]
async fn tasks_follow_the_registrations() {
    let server = ScriptedServer::start(|_, _| Reply::ok("text/plain", "m 1\n")).await;
    let (ctx, mut written) = context(1_000);
    let mut roster = Roster::new(ctx, 30_000);
    let (a, b) = (
        agent("a", Some(server.url("/a"))),
        agent("b", Some(server.url("/b"))),
    );
    roster.reconcile(&[a.clone(), b.clone(), agent("silent", None)]);
    assert_eq!(roster.tasks.len(), 2);
    next_of(&mut written, "a", Option::is_some).await;
    next_of(&mut written, "b", Option::is_some).await;

    // The same again changes nothing.
    roster.reconcile(&[a.clone(), b.clone()]);
    assert_eq!(roster.tasks.len(), 2);

    // A deregistered agent's task ends; while it does, no second one begins.
    roster.reconcile(std::slice::from_ref(&b));
    roster.reconcile(&[a.clone(), b.clone()]);
    assert_eq!(roster.tasks.len(), 2);
    next_of(&mut written, "a", Option::is_none).await;
    roster.ended().await;
    assert_eq!(roster.watched.len(), 1);

    // Registered anew it is scraped again, at its new endpoint.
    roster.reconcile(&[agent("a", Some(server.url("/moved"))), b]);
    assert_eq!(roster.watched.len(), 2);
    next_of(&mut written, "a", Option::is_some).await;
    assert!(server.requests.lock().iter().any(|r| r.contains("/moved")));
}

#[tokio::test]
async fn dropping_it_ends_all() {
    let server = ScriptedServer::start(|_, _| Reply::ok("text/plain", "m 1\n")).await;
    let (ctx, mut written) = context(1_000);
    let mut roster = Roster::new(ctx, 30_000);
    roster.reconcile(&[agent("a", Some(server.url("/a")))]);
    next_of(&mut written, "a", Option::is_some).await;
    drop(roster);
    while let Some(write) = written.recv().await {
        assert!(write.append.contact.is_some(), "no marker: {write:?}");
    }
}
