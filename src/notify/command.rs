//! A program that is run for each notification, with the webhook's body on its standard input.

use std::{process::Stdio, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStderr},
};

use super::{
    CommandSettings,
    channel::{Channel, Surroundings, failed, refused},
    webhook,
};
use crate::model::{Delivery, DeliveryOutcome};

/// Status of a program that asks to be run again later (`EX_TEMPFAIL` of sysexits.h).
const TEMPFAIL: i32 = 75;
/// So much of what a program says about a failure is kept, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 1 << 10;
/// What a program said last may still be in the pipe when it has ended; others may keep that pipe open.
const COMPLAINT_WAIT: Duration = Duration::from_millis(200);
/// Where programs are looked for when longwatch itself has no PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Runs a program.
pub(super) struct Command {
    name: String,
    settings: CommandSettings,
    external_url: Arc<str>,
}

impl Command {
    /// A command that the body calls its receiver `name`.
    pub(super) fn new(name: String, settings: CommandSettings, around: &Surroundings) -> Self {
        Self {
            name,
            settings,
            external_url: Arc::clone(&around.external_url),
        }
    }

    fn start(&self, delivery: &Delivery) -> std::io::Result<Child> {
        let (program, arguments) = self
            .settings
            .command
            .split_first()
            .ok_or(std::io::ErrorKind::InvalidInput)?;
        let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        tokio::process::Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .env("IDEMPOTENCY_KEY", &delivery.idempotency_key)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A group of its own, so that what the program starts ends with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

impl Channel for Command {
    async fn deliver(&self, delivery: &Delivery) -> DeliveryOutcome {
        let mut child = match self.start(delivery) {
            Ok(child) => child,
            // The program may be on its way here, as in an upgrade.
            Err(error) => return failed(format_args!("the command cannot be run: {error}")),
        };
        let group = Group::of(&child);
        let complaint = child.stderr.take().map(Complaint::listen);
        if let Some(mut input) = child.stdin.take() {
            let body = webhook::body(delivery, &self.name, &self.external_url);
            // On its own, since the program need not read it. What it does not read, it did not want.
            tokio::spawn(async move { drop(input.write_all(&body).await) });
        }
        let ended = child.wait().await;
        // Its number may be another's from here on.
        group.forget();
        let complaint = match complaint {
            Some(complaint) => complaint.text().await,
            None => String::new(),
        };
        let status = match ended {
            Ok(status) => status,
            Err(error) => return failed(format_args!("the command cannot be waited for: {error}")),
        };
        match status.code() {
            Some(0) => DeliveryOutcome::Delivered,
            Some(TEMPFAIL) => failed(format_args!(
                "the command asks for another attempt{complaint}"
            )),
            Some(code) => refused(format_args!(
                "the command ended with status {code}{complaint}"
            )),
            None => failed(format_args!("the command was ended: {status}{complaint}")),
        }
    }
}

/// The process group of a program; killed when it is dropped before it is forgotten.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }

    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It fails when all of it has ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// What a program says on its standard error.
struct Complaint {
    heard: Arc<Mutex<Vec<u8>>>,
    listener: tokio::task::JoinHandle<()>,
}

impl Complaint {
    fn listen(stream: ChildStderr) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&heard);
        let listener = tokio::spawn(async move {
            let mut stream = stream.take(COMPLAINT_BYTES_MAX);
            let mut part = [0; 256];
            while let Ok(length @ 1..) = stream.read(&mut part).await {
                keep.lock().extend_from_slice(&part[..length]);
            }
            // The rest is thrown away, so that the program never waits for a reader.
            let _ = tokio::io::copy(stream.get_mut(), &mut tokio::io::sink()).await;
        });
        Self { heard, listener }
    }

    /// Its first line, after a colon; empty when there is none.
    async fn text(mut self) -> String {
        let _ = tokio::time::timeout(COMPLAINT_WAIT, &mut self.listener).await;
        let heard = self.heard.lock();
        let text = String::from_utf8_lossy(&heard);
        match text.trim().lines().next() {
            Some(line) => format!(": {line}"),
            None => String::new(),
        }
    }
}

impl Drop for Complaint {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

#[cfg(test)]
mod tests;
