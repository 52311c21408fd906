//! Who is let in as an agent: over TLS, with token and certificate, from the first certificate to the revocation.

use std::path::PathBuf;
use std::sync::Arc;

use agent::{AgentConfig, CertificateRequest, OwnCertificate};
use domain::audit::AuditEntry;
use domain::query::Filter;
use domain::task::ResultCode;
use domain::token::Joins;
use domain::{Caller, Scope, SignedDuration, Timestamp, Uuid};
use ledger::Ledger;
use server::secrets::Sealer;
use server::service::{Joined, Joining};
use server::tls::{CertFiles, Certificates};
use server::{Service, agents, listen};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::saved;
use super::world::{Agent, World, limit};

/// The world's server over TLS, with an authority.
struct Tls {
    world: World,
    files: CertFiles,
    certificates: Arc<Certificates>,
    port: u16,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Tls {
    /// With a server's certificate that was made so long ago.
    async fn new(age: SignedDuration) -> Tls {
        let mut world = World::new().await;
        let files = CertFiles::in_folder(world.folder.path());
        let certificates = files.serve(&["127.0.0.1".to_owned()], Timestamp::now() - age).expect("certificates");
        let service = Service::new(world.ledger.clone(), Sealer::new(&[7; 32]).expect("32 bytes"));
        world.service = Arc::new(service.certifying(files.authority().expect("an authority")));
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = tcp.local_addr().expect("an address").port();
        let listener = listen::TlsListener::new(tcp, certificates.server_config().expect("a configuration"));
        let stop = CancellationToken::new();
        let router = agents::router(world.service.clone(), stop.clone());
        let serving = tokio::spawn(listen::serve_tls(listener.expect("a listener"), router, stop.clone()));
        Tls { world, files, certificates, port, stop, serving }
    }

    fn file(&self) -> PathBuf {
        self.world.path("certificate.json")
    }

    fn config(&self, token: &str) -> AgentConfig {
        AgentConfig {
            url: format!("https://127.0.0.1:{}", self.port),
            ca_pem: Some(std::fs::read_to_string(&self.files.ca).expect("the authority's certificate")),
            token: token.to_owned(),
            certificate: Some(self.file()),
            ..self.world.config()
        }
    }

    fn start(&self, config: AgentConfig) -> Agent {
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(agent::run(config, shutdown.clone()));
        Agent { shutdown, running }
    }

    /// What an agent is told that is not let in.
    async fn refusal(&self, config: AgentConfig) -> String {
        format!("{:#}", self.start(config).ended().await.expect_err("it is not let in"))
    }

    /// A machine that joined, with a certificate that is signed as if it were so long ago, in the file.
    async fn joined(&self, name: &str, age: SignedDuration) -> Joined {
        let service = &self.world.service;
        let made = service.registration_token(&Caller::server(), Uuid::nil(), Joins::default()).await;
        let request = CertificateRequest::new().expect("a key");
        let joining = Joining {
            name: name.to_owned(),
            system: "linux".to_owned(),
            instance_id: Some(name.to_owned()),
            csr: Some(request.csr().to_owned()),
            ..Joining::default()
        };
        let joined = service.join(&made.expect("a token").1, joining).await.expect("it joins");
        let token = service.agent_token(&joined.agent_token, None).await.expect_err("not without its certificate");
        assert!(token.message.contains("without its certificate"), "{token}");
        let agent = self.token_of(&joined.agent_token).await.certified.expect("it is bound");
        let authority = self.files.authority().expect("an authority");
        let signed = authority.sign(request.csr(), agent, Timestamp::now() - age).expect("signed");
        let own = request.answered(signed.pem, signed.dates.issued_at, signed.dates.expires_at);
        own.write(&self.file()).expect("written");
        joined
    }

    async fn token_of(&self, secret: &str) -> domain::token::Token {
        let ledger: &dyn Ledger = &*self.world.ledger;
        let hash = server::service::hash_secret(secret);
        ledger.find(&Scope::everything(), &hash).await.expect("the ledger answers").expect("a token").value
    }

    fn own(&self) -> Option<OwnCertificate> {
        OwnCertificate::read(&self.file()).expect("readable")
    }

    /// Waits until the file holds another certificate than this one.
    async fn other_than(&self, before: Option<&OwnCertificate>) -> OwnCertificate {
        limit("a new certificate", async {
            loop {
                match self.own() {
                    Some(own) if Some(&own) != before => return own,
                    _ => tokio::task::yield_now().await,
                }
            }
        })
        .await
    }

    async fn backs_up(&self, n: usize) {
        self.world.play(n, &[], &[], saved("abc"));
        let task = self.world.create(self.world.backup()).await;
        assert_eq!(self.world.completed(task).await.result().expect("it is over").code, ResultCode::Ok);
    }

    async fn end(self) {
        self.stop.cancel();
        limit("the server stops", self.serving).await.expect("no panic");
    }
}

#[tokio::test]
async fn a_stolen_token_is_of_no_use_without_the_certificate_of_the_same_agent() {
    let tls = Tls::new(SignedDuration::ZERO).await;
    let other = tls.joined("other", SignedDuration::ZERO).await;
    let of_other = tls.own();
    let joined = tls.joined("db-1", SignedDuration::ZERO).await;
    let own = tls.own().expect("a certificate");
    let config = tls.config(&joined.agent_token);
    let agent = tls.start(config.clone());
    let id = tls.world.online_agent().await;
    tls.backs_up(1).await;
    let dates = tls.world.agent(id).await.certificate.expect("it was shown");
    assert_eq!((dates.issued_at, dates.expires_at), (own.issued_at, own.expires_at));
    agent.stop().await;
    assert_eq!(Some(id), tls.token_of(&joined.agent_token).await.certified, "the certificate names the agent");

    let bare = tls.refusal(AgentConfig { certificate: None, ..config.clone() }).await;
    assert!(bare.contains("without its certificate") && bare.contains("agent enroll"), "{bare}");
    of_other.expect("a certificate").write(&tls.file()).expect("written");
    let wrong = tls.refusal(config).await;
    assert!(wrong.contains("another agent"), "{wrong}");
    let agent = tls.start(tls.config(&other.agent_token));
    tls.backs_up(2).await;
    agent.stop().await;
    tls.end().await;
}

#[tokio::test]
async fn an_agent_of_before_gets_a_certificate_and_needs_it_once_it_has_shown_it() {
    let tls = Tls::new(SignedDuration::ZERO).await;
    let secret = tls.world.secret.clone();
    let agent = tls.start(tls.config(&secret));
    tls.other_than(None).await;
    agent.stop().await;
    // The answer could have been lost.
    assert_eq!(tls.token_of(&secret).await.certified, None);
    let agent = tls.start(AgentConfig { certificate: None, ..tls.config(&secret) });
    tls.backs_up(1).await;
    agent.stop().await;

    let agent = tls.start(tls.config(&secret));
    tls.backs_up(2).await;
    agent.stop().await;
    assert!(tls.token_of(&secret).await.certified.is_some());
    let bare = tls.refusal(AgentConfig { certificate: None, ..tls.config(&secret) }).await;
    assert!(bare.contains("without its certificate"), "{bare}");
    tls.end().await;
}

#[tokio::test]
async fn an_old_certificate_is_renewed_and_an_expired_one_is_refused_with_what_to_do() {
    let tls = Tls::new(SignedDuration::ZERO).await;
    let day = |n: i64| SignedDuration::from_hours(24 * n);
    let joined = tls.joined("db-1", day(70)).await;
    let old = tls.own();
    let agent = tls.start(tls.config(&joined.agent_token));
    let new = tls.other_than(old.as_ref()).await;
    assert!(!new.is_due(Timestamp::now()));
    // The session goes on with what it began with.
    tls.backs_up(1).await;
    let id = tls.world.online_agent().await;
    assert_eq!(tls.world.agent(id).await.certificate.map(|c| c.expires_at), Some(new.expires_at));
    agent.stop().await;
    let agent = tls.start(tls.config(&joined.agent_token));
    tls.backs_up(2).await;
    agent.stop().await;

    let joined = tls.joined("db-2", day(100)).await;
    let expired = tls.refusal(tls.config(&joined.agent_token)).await;
    assert!(expired.contains("certificate expired at") && expired.contains("agent enroll"), "{expired}");
    tls.end().await;
}

#[tokio::test]
async fn a_revoked_agent_is_told_so_at_once_and_whenever_it_comes_again() {
    let tls = Tls::new(SignedDuration::ZERO).await;
    let joined = tls.joined("db-1", SignedDuration::ZERO).await;
    // Its only slot is taken: it is told all the same.
    tls.world.make_fifo("gate");
    tls.world.play(1, &super::working(), &[], saved("never"));
    let agent = tls.start(tls.config(&joined.agent_token));
    let id = tls.world.online_agent().await;
    let task = tls.world.create(tls.world.backup()).await;
    tls.world.task_when(task, "there is progress", |t| t.status.progress.is_some()).await;

    let service = &tls.world.service;
    let revoked = service.revoke_agent(&Caller::server(), id).await.expect("revoked");
    assert!(revoked.agent.revoked_at.is_some() && !revoked.online);
    let told = format!("{:#}", agent.ended().await.expect_err("it is told"));
    assert!(told.contains("the agent was revoked") && told.contains("agent enroll"), "{told}");
    let again = tls.refusal(tls.config(&joined.agent_token)).await;
    assert!(again.contains("not let in any more"), "{again}");

    let twice = service.revoke_agent(&Caller::server(), id).await.expect("it is as wished");
    assert_eq!(twice.agent.revoked_at, revoked.agent.revoked_at);
    let ledger: &dyn Ledger = &*tls.world.ledger;
    let entries = ledger.all::<AuditEntry>(&Scope::everything(), Filter::all()).await.expect("entries");
    assert_eq!(entries.iter().filter(|e| e.value.action == "agent.revoke").count(), 1);

    // The machine may come back as what it was.
    limit("the session is over", async {
        while service.hub().online(id) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let joined = tls.joined("db-1", SignedDuration::ZERO).await;
    let agent = tls.start(tls.config(&joined.agent_token));
    assert_eq!(tls.world.online_agent().await, id);
    assert_eq!(tls.world.agent(id).await.revoked_at, None);
    agent.stop().await;
    tls.end().await;
}

#[tokio::test]
async fn the_servers_certificate_is_renewed_while_it_runs() {
    // It has expired, so that no agent gets in.
    let tls = Tls::new(SignedDuration::from_hours(24 * 400)).await;
    let agent = tls.start(tls.config(&tls.world.secret));
    let now = Timestamp::now();
    assert!(tls.certificates.renew(now).expect("renewed") && !tls.certificates.renew(now).expect("it is young"));
    tls.backs_up(1).await;
    agent.stop().await;
    tls.end().await;
}
