//! An agent's own HTTP endpoint, whose answers a test decides.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

#[derive(Clone)]
struct Reply {
    status: u16,
    content_type: &'static str,
    body: String,
}

/// Answers every request alike, until told otherwise.
pub(crate) struct Target {
    url: String,
    reply: Arc<Mutex<Reply>>,
    task: JoinHandle<()>,
}

impl Target {
    pub(crate) async fn start(content_type: &'static str, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let reply = Arc::new(Mutex::new(Reply {
            status: 200,
            content_type,
            body: body.to_owned(),
        }));
        let replies = Arc::clone(&reply);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let reply = replies.lock().unwrap().clone();
                // A client that goes away early is its own affair.
                tokio::spawn(async move { drop(answer(stream, reply).await) });
            }
        });
        Self { url, reply, task }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What all answers say from now on, with status 200.
    pub(crate) fn say(&self, content_type: &'static str, body: &str) {
        *self.reply.lock().unwrap() = Reply {
            status: 200,
            content_type,
            body: body.to_owned(),
        };
    }

    /// The status of all answers from now on.
    pub(crate) fn answer_with(&self, status: u16) {
        self.reply.lock().unwrap().status = status;
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, reply: Reply) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let Reply {
        status,
        content_type,
        body,
    } = reply;
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} Said\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
