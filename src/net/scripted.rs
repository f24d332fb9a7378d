//! A server for tests that answers as it is told to, on a free port of the loopback.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What the server does with a request.
pub(crate) enum Reply {
    /// Sends these bytes and closes.
    Raw(String),
    /// Says nothing and keeps the connection.
    Hang,
    /// Sends a head and then a body without end.
    Endless,
    /// Sends a head and half of a body, and keeps the connection.
    Half,
    /// Closes without a word.
    Close,
}

impl Reply {
    /// 200 with a body.
    pub(crate) fn ok(content_type: &str, body: &str) -> Self {
        let length = body.len();
        Self::Raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ))
    }

    /// A status without a body.
    pub(crate) fn status(status: u16) -> Self {
        Self::Raw(format!(
            "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    }

    /// A redirect.
    pub(crate) fn redirect(location: &str) -> Self {
        Self::Raw(format!(
            "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    }
}

/// The server; ends when it is dropped.
pub(crate) struct ScriptedServer {
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    /// Requests so far: the head, and the body if there is one.
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl ScriptedServer {
    /// Starts it; `script` gets the request's path and the number of requests before it.
    pub(crate) async fn start(
        script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, script) = (Arc::clone(&requests), Arc::new(script));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                tokio::spawn(async move {
                    let _ = answer(stream, &seen, &*script).await;
                });
            }
        });
        Self {
            address,
            requests,
            task,
        }
    }

    /// URL of a path on it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Requests so far.
    pub(crate) fn count(&self) -> usize {
        self.requests.lock().len()
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    mut stream: TcpStream,
    seen: &Mutex<Vec<String>>,
    script: &(dyn Fn(&str, usize) -> Reply + Send + Sync),
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let length = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.map_or(0, |(_, value)| value.trim().parse().unwrap_or(0));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let before = {
        let mut seen = seen.lock();
        seen.push(head + &String::from_utf8_lossy(&body));
        seen.len() - 1
    };
    let open = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
    match script(&path, before) {
        Reply::Raw(text) => stream.write_all(text.as_bytes()).await?,
        Reply::Close => {}
        Reply::Hang => std::future::pending().await,
        Reply::Half => {
            let text = format!("{open}Content-Length: 10\r\n\r\nhalf");
            stream.write_all(text.as_bytes()).await?;
            stream.flush().await?;
            std::future::pending::<()>().await;
        }
        Reply::Endless => {
            stream.write_all(open.as_bytes()).await?;
            stream.write_all(b"Connection: close\r\n\r\n").await?;
            loop {
                stream.write_all(&[b'x'; 1024]).await?;
            }
        }
    }
    stream.flush().await
}
