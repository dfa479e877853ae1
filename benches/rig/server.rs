//! The least of an HTTP server: what peers answer with must cost next to nothing beside what is measured.

use std::future::Future;
use std::net::TcpListener;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A request that came.
pub(crate) struct Asked {
    pub(crate) is_get: bool,
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) body: Vec<u8>,
}

/// Takes connections on this thread for as long as the process lives.
pub(crate) fn serve<F>(listener: TcpListener, converse: impl Fn(TcpStream) -> F)
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let conversation = converse(stream);
            tokio::spawn(async move { drop(conversation.await) });
        }
    });
}

/// The next request of a connection; `buffer` keeps what came beyond it. `None` when the other side has closed.
pub(crate) async fn next(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Asked>> {
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).into_owned();
    let field = |name: &str| {
        let fits = |line: &&str| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        text.lines().find(fits).map(|line| line[name.len()..].trim())
    };
    let end = head + field("content-length:").map_or(0, |length| length.parse::<usize>().unwrap());
    while buffer.len() < end {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let body = buffer[head..end].to_vec();
    buffer.drain(..end);
    Ok(Some(Asked {
        is_get: text.starts_with("GET "),
        path: text.split(' ').nth(1).unwrap_or_default().to_owned(),
        host: field("host:").unwrap_or_default().to_owned(),
        body,
    }))
}
