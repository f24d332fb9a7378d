use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    net::Client,
    notify::{
        MailLogin, NET, Secret,
        fake::{RuntimeClock, START, delivery, firing, resolved},
    },
};

/// Answers to commands that differ from 250 (354 to DATA); by how the command begins.
type Replies = &'static [(&'static str, &'static str)];

#[derive(Default)]
struct Seen {
    commands: Vec<String>,
    mails: Vec<String>,
}

/// A mail server that takes down what it is told.
struct MailServer {
    port: u16,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
enum Encryption {
    None,
    StartTls(TlsAcceptor),
    Implicit(TlsAcceptor),
}

impl MailServer {
    async fn start(replies: Replies, encryption: Encryption) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, encryption) = (Arc::clone(&shared), encryption.clone());
                tokio::spawn(async move { drop(meet(stream, replies, encryption, &seen).await) });
            }
        });
        Self { port, seen, task }
    }

    async fn plain(replies: Replies) -> Self {
        Self::start(replies, Encryption::None).await
    }

    fn commands(&self) -> String {
        self.seen.lock().commands.join("\n")
    }

    fn mails(&self) -> Vec<String> {
        self.seen.lock().mails.clone()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn meet(
    stream: TcpStream,
    replies: Replies,
    encryption: Encryption,
    seen: &Mutex<Seen>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    match encryption {
        Encryption::None => {
            greet(&mut stream).await?;
            talk(&mut stream, replies, seen).await.map(drop)
        }
        Encryption::StartTls(acceptor) => {
            greet(&mut stream).await?;
            if !talk(&mut stream, replies, seen).await? {
                return Ok(());
            }
            let mut stream = BufReader::new(acceptor.accept(stream.into_inner()).await?);
            talk(&mut stream, replies, seen).await.map(drop)
        }
        Encryption::Implicit(acceptor) => {
            let mut stream = BufReader::new(acceptor.accept(stream.into_inner()).await?);
            greet(&mut stream).await?;
            talk(&mut stream, replies, seen).await.map(drop)
        }
    }
}

async fn greet(stream: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    stream.write_all(b"220 mail.test ESMTP\r\n").await?;
    stream.flush().await
}

/// Answers commands; true when TLS is to begin.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    replies: Replies,
    seen: &Mutex<Seen>,
) -> std::io::Result<bool> {
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(false);
        }
        let command = line.trim_end().to_owned();
        seen.lock().commands.push(command.clone());
        let special = replies.iter().find(|(start, _)| command.starts_with(start));
        let reply = match (special, command.split(' ').next()) {
            (Some((_, reply)), _) => reply,
            (None, Some("DATA")) => "354 go on",
            (None, Some("AUTH")) => "235 welcome",
            (None, Some("STARTTLS")) => "220 go on",
            (None, Some("EHLO")) => "250-mail.test\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS",
            (None, Some("QUIT")) => "221 bye",
            _ => "250 ok",
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        stream.flush().await?;
        match command.as_str() {
            "QUIT" => return Ok(false),
            "STARTTLS" if reply.starts_with("220") => return Ok(true),
            "DATA" if reply.starts_with("354") => {
                let mut mail = String::new();
                while !mail.ends_with("\r\n.\r\n") {
                    if stream.read_line(&mut mail).await? == 0 {
                        return Ok(false);
                    }
                }
                let end = replies.iter().find(|(start, _)| *start == ".");
                let end = end.map_or("250 taken", |(_, reply)| reply);
                stream.write_all(format!("{end}\r\n").as_bytes()).await?;
                stream.flush().await?;
                seen.lock().mails.push(mail);
            }
            _ => {}
        }
    }
}

fn settings(port: u16) -> EmailSettings {
    EmailSettings {
        smtp_host: "127.0.0.1".to_owned(),
        smtp_port: port,
        tls: MailSecurity::None,
        ca_file: None,
        from: "Watch <watch@example.org>".parse().unwrap(),
        to: vec![
            "ops@example.org".parse().unwrap(),
            "Boss <boss@example.org>".parse().unwrap(),
        ],
        login: None,
    }
}

fn email(settings: EmailSettings) -> Email {
    Email::new(
        settings,
        Surroundings {
            http: Client::new(&NET).unwrap(),
            external_url: "https://watch.example".into(),
            clock: RuntimeClock::start(),
        },
    )
}

fn login(password: Secret) -> MailLogin {
    MailLogin {
        username: "watch".to_owned(),
        password,
    }
}

fn formatted(delivery: &Delivery) -> String {
    let mail = message(&settings(25), delivery, "https://watch.example", START).unwrap();
    String::from_utf8(mail.formatted()).unwrap()
}

/// The header lines, folded ones joined.
fn headers(mail: &str) -> Vec<String> {
    let head = mail.split("\r\n\r\n").next().unwrap();
    head.replace("\r\n ", " ")
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Text whose long lines were broken by the transfer encoding (RFC 2045, quoted-printable).
fn unfolded(text: &str) -> String {
    text.replace("=\r\n", "")
}

#[test]
fn a_mail_says_everything_twice() {
    let mut told = delivery(1, "g");
    told.notification.alerts = vec![firing(1), resolved(2)];
    told.notification.truncated = 1;
    let mail = formatted(&told);
    let head = headers(&mail);
    for line in [
        "From: Watch <watch@example.org>",
        "Subject: [FIRING:1] HighCpu",
        "To: ops@example.org, Boss <boss@example.org>",
        "Date: Thu, 01 Jan 2026 00:00:00 +0000",
        "Auto-Submitted: auto-generated",
    ] {
        assert!(head.contains(&line.to_owned()), "{line}: {head:#?}");
    }
    let mail = unfolded(&mail);
    for text in [
        "critical: HighCpu\r\ncpu of agent-1 is 97\r\n  fired: 2026-01-01T00:00:00.000Z\r\n  value: 97\r\n  agent_id: agent-1",
        "  resolved: 2026-01-01T00:01:30.000Z",
        "  https://watch.example/api/v1/alerts/2",
        "One more alert is left out.",
        "<h3>critical: HighCpu</h3>",
        "<p>cpu of agent-1 is 97</p>",
        "<td><b>runbook</b></td><td>https://runbooks.example/cpu</td>",
    ] {
        assert!(mail.contains(text), "{text}: {mail}");
    }
}

#[test]
fn every_attempt_is_the_same_mail() {
    let id = |d: &Delivery| {
        let head = headers(&formatted(d));
        let line = head.into_iter().find(|l| l.starts_with("Message-ID: "));
        line.unwrap()
    };
    let first = delivery(1, "g");
    let again = Delivery {
        attempts: 5,
        ..delivery(1, "g")
    };
    assert_eq!(id(&first), id(&again));
    assert_ne!(id(&first), id(&delivery(2, "g")));
    let mut odd = delivery(1, "g");
    odd.idempotency_key = "a\r\nBcc: x@y".to_owned();
    assert!(
        id(&odd).ends_with(".longwatch@example.org>"),
        "{}",
        id(&odd)
    );
}

#[test]
fn nothing_that_alerts_say_becomes_a_header_or_markup() {
    let evil = "x\r\nBcc: victim@example.org\r\n\r\n<script>alert(1)</script>\" <b>&";
    let mut told = delivery(1, "g");
    told.notification.group_key = evil.to_owned();
    told.notification.group_labels = vec![("alertname".to_owned(), evil.to_owned())];
    let alert = &mut told.notification.alerts[0];
    evil.clone_into(&mut alert.description);
    alert.labels.push((evil.to_owned(), evil.to_owned()));
    alert.value = Some(evil.to_owned());
    let mail = formatted(&told);
    let names: Vec<_> = headers(&mail)
        .iter()
        .map(|line| line.split(':').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "From",
            "Subject",
            "Date",
            "Message-ID",
            "References",
            "Auto-Submitted",
            "To",
            "MIME-Version",
            "Content-Type"
        ]
    );
    let html = mail.split("text/html").nth(1).unwrap();
    let html = unfolded(html);
    for bad in ["<script", "<b>&", "\nBcc"] {
        assert!(!html.contains(bad), "{bad}: {html}");
    }
    assert!(html.contains("script"), "{html}");
}

#[tokio::test]
async fn a_mail_arrives() {
    let server = MailServer::plain(&[]).await;
    let mut settings = settings(server.port);
    settings.login = Some(login(Secret::Text("hunter2".to_owned())));
    let outcome = email(settings).deliver(&delivery(1, "g")).await;
    assert_eq!(outcome, DeliveryOutcome::Delivered);
    let commands = server.commands();
    for line in [
        // "\0watch\0hunter2"
        "AUTH PLAIN AHdhdGNoAGh1bnRlcjI=",
        "MAIL FROM:<watch@example.org>",
        "RCPT TO:<ops@example.org>",
        "RCPT TO:<boss@example.org>",
    ] {
        assert!(commands.contains(line), "{line}: {commands}");
    }
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test]
async fn one_wrong_address_keeps_nobody_else_from_knowing() {
    let server = MailServer::plain(&[("RCPT TO:<ops@", "550 no such user")]).await;
    let outcome = email(settings(server.port))
        .deliver(&delivery(1, "g"))
        .await;
    assert_eq!(outcome, DeliveryOutcome::Delivered);
    assert_eq!(server.mails().len(), 1);

    let server = MailServer::plain(&[("RCPT", "550 no such user")]).await;
    let outcome = email(settings(server.port))
        .deliver(&delivery(1, "g"))
        .await;
    let DeliveryOutcome::Refused { error } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(
        error.contains("550") && error.contains("no such user"),
        "{error}"
    );
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn a_server_that_is_busy_or_gone_is_asked_again() {
    for replies in [
        &[("MAIL", "451 later")] as Replies,
        &[(".", "452 disk full")],
        &[("EHLO", "421 closing")],
    ] {
        let server = MailServer::plain(replies).await;
        let outcome = email(settings(server.port))
            .deliver(&delivery(1, "g"))
            .await;
        assert!(
            matches!(outcome, DeliveryOutcome::Failed { .. }),
            "{replies:?}: {outcome:?}"
        );
    }
    let port = MailServer::plain(&[]).await.port;
    tokio::task::yield_now().await;
    let outcome = email(settings(port)).deliver(&delivery(1, "g")).await;
    assert!(
        matches!(outcome, DeliveryOutcome::Failed { .. }),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn the_password_is_read_at_each_attempt_and_never_told() {
    let server = MailServer::plain(&[("AUTH", "535 hunter2 is not the password")]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    let mut settings = settings(server.port);
    settings.login = Some(login(Secret::File(path.clone())));
    assert!(!format!("{settings:?}").contains("hunter"), "{settings:?}");
    let email = email(settings);
    let DeliveryOutcome::Failed { error, .. } = email.deliver(&delivery(1, "g")).await else {
        panic!()
    };
    assert!(error.contains("password cannot be read"), "{error}");
    std::fs::write(&path, "hunter2\n").unwrap();
    let DeliveryOutcome::Refused { error } = email.deliver(&delivery(1, "g")).await else {
        panic!()
    };
    assert!(error.contains("*** is not the password"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    let tries = server.commands().matches("AUTH").count();
    assert_eq!(tries, 1, "a wrong password is not tried for each recipient");
}

/// An authority of its own with a certificate for 127.0.0.1.
fn certificate(folder: &std::path::Path) -> (TlsAcceptor, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let path = folder.join("ca.pem");
    std::fs::write(&path, made.cert.pem()).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), path)
}

#[tokio::test]
async fn mail_is_encrypted_from_the_beginning_or_after_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let (acceptor, ca_file) = certificate(folder.path());
    for (tls, encryption) in [
        (
            MailSecurity::Implicit,
            Encryption::Implicit(acceptor.clone()),
        ),
        (MailSecurity::StartTls, Encryption::StartTls(acceptor)),
    ] {
        let server = MailServer::start(&[], encryption).await;
        let trusting = EmailSettings {
            tls,
            ca_file: Some(ca_file.clone()),
            login: Some(login(Secret::Text("hunter2".to_owned()))),
            ..settings(server.port)
        };
        let doubting = EmailSettings {
            ca_file: None,
            ..trusting.clone()
        };
        let outcome = email(doubting).deliver(&delivery(1, "g")).await;
        assert!(
            matches!(outcome, DeliveryOutcome::Failed { .. }),
            "{outcome:?}"
        );
        assert!(!server.commands().contains("AUTH"), "{}", server.commands());
        let outcome = email(trusting).deliver(&delivery(1, "g")).await;
        assert_eq!(outcome, DeliveryOutcome::Delivered, "{tls:?}");
        assert_eq!(server.mails().len(), 1);
    }
}

#[tokio::test]
async fn without_encryption_nothing_is_sent() {
    let server = MailServer::plain(&[("EHLO", "250 mail.test"), ("STARTTLS", "502 no")]).await;
    let mut settings = settings(server.port);
    settings.tls = MailSecurity::StartTls;
    settings.login = Some(login(Secret::Text("hunter2".to_owned())));
    let outcome = email(settings).deliver(&delivery(1, "g")).await;
    assert!(
        !matches!(outcome, DeliveryOutcome::Delivered),
        "{outcome:?}"
    );
    let commands = server.commands();
    assert!(
        !commands.contains("AUTH") && !commands.contains("MAIL"),
        "{commands}"
    );
}
