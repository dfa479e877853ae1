//! Bodies that are not held in memory: content that goes up from a file, and answers that come down piece by piece.

use std::io::{self, Read as _};
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::{Answer, Ask, Client, body_of, refused};

/// Bytes that are read of a file at once.
const PIECE: usize = 256 << 10;
/// Large content takes as long as it takes; a node that is gone shows itself by the connection.
const FLOWING: Duration = Duration::from_secs(7 * 86_400);

/// The status and headers of an answer whose body flows.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    headers: reqwest::header::HeaderMap,
}

/// Content that goes up, and who hears how far it is.
pub(crate) struct Upload {
    pub(crate) file: std::fs::File,
    pub(crate) bytes: Option<u64>,
    pub(crate) progress: Box<dyn FnMut(u64) + Send + Sync>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Client {
    /// Asks, takes only a yes, and gives its body piece by piece. `sink` says what is wrong with where it goes.
    pub(crate) fn flow(
        &self,
        ask: &Ask,
        upload: Option<Upload>,
        sink: &mut dyn FnMut(&Head, &[u8]) -> io::Result<()>,
    ) -> anyhow::Result<Head> {
        let (request, address) = self.request(ask);
        let mut request = request.timeout(FLOWING);
        request = match upload {
            Some(upload) => sending(request, upload),
            None => request.body(ask.body.clone()),
        };
        let failed = |error: reqwest::Error| self.failed(address, ask, &error);
        self.runtime.block_on(async {
            let mut response = request.send().await.map_err(failed)?;
            let status = response.status().as_u16();
            if !(200..300).contains(&status) {
                let bytes = response.bytes().await.map_err(failed)?;
                let body = body_of(status, &bytes).unwrap_or_default();
                return Err(refused(ask, Answer { status, body }).into());
            }
            let head = Head { headers: response.headers().clone() };
            while let Some(piece) = response.chunk().await.map_err(failed)? {
                sink(&head, &piece)?;
            }
            Ok(head)
        })
    }

    /// As [`Self::flow`], for answers that are small.
    pub(crate) fn whole(&self, ask: &Ask) -> anyhow::Result<(Head, Vec<u8>)> {
        let mut whole = Vec::new();
        let head = self.flow(ask, None, &mut |_, piece| {
            whole.extend_from_slice(piece);
            Ok(())
        })?;
        Ok((head, whole))
    }
}

fn sending(request: reqwest::RequestBuilder, upload: Upload) -> reqwest::RequestBuilder {
    request.body(reqwest::Body::wrap(Pieces { upload, sent: 0 }))
}

/// A file as a body. It blocks while it reads; there is nothing else that its thread could do.
struct Pieces {
    upload: Upload,
    sent: u64,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> Poll<Option<io::Result<http_body::Frame<Bytes>>>> {
        let mut piece = vec![0; PIECE];
        Poll::Ready(match self.upload.file.read(&mut piece) {
            Ok(0) => None,
            Ok(read) => {
                piece.truncate(read);
                self.sent += read as u64;
                let sent = self.sent;
                (self.upload.progress)(sent);
                Some(Ok(http_body::Frame::data(piece.into())))
            }
            Err(error) => Some(Err(error)),
        })
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.upload.bytes.map_or_else(http_body::SizeHint::default, http_body::SizeHint::with_exact)
    }
}
