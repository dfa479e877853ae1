//! The connection of a client, with deadlines for what the HTTP library waits for without end: the head of any request but
//! the first, and a client that does not take its answer.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::crowd::Seat;
use crate::clock::SharedClock;

/// What a client has to take of an answer, or all that there is of it, before the time for that begins anew. A single byte
/// now and then would hold the answer in memory for as long as somebody likes.
const STEP: usize = 16 * 1024;

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For the head of a request, from its first byte on.
    pub head: Duration,
    /// For the next piece of an answer.
    pub write: Duration,
}

/// How many requests of a connection are worked on: what its client sends meanwhile is no head that comes slowly, and has
/// limits of its own.
#[derive(Debug, Clone, Default)]
pub struct Work(Rc<Cell<usize>>);

/// A request that is worked on until this is dropped.
#[derive(Debug)]
pub struct Working(Work);

/// A connection that ends itself with an error when its client is too slow.
pub struct Timed<S> {
    stream: S,
    clock: SharedClock,
    deadlines: Deadlines,
    /// Given back when the connection ends.
    _seat: Option<Seat>,
    work: Work,
    head: Option<BoxFuture<'static, ()>>,
    write: Option<BoxFuture<'static, ()>>,
    /// Bytes taken since the client was first waited for.
    taken: usize,
}

impl Work {
    pub fn begin(&self) -> Working {
        self.0.set(self.0.get() + 1);
        Working(self.clone())
    }

    fn is_idle(&self) -> bool {
        self.0.get() == 0
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}

impl<S> Timed<S> {
    pub fn new(stream: S, clock: SharedClock, deadlines: Deadlines, seat: Option<Seat>) -> Self {
        Self { stream, clock, deadlines, _seat: seat, work: Work::default(), head: None, write: None, taken: 0 }
    }

    pub fn work(&self) -> Work {
        self.work.clone()
    }

    fn head_is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.work.is_idle() {
            self.head = None;
        }
        is_over(&mut self.head, cx)
    }
}

/// Asked also right after it was set, so that it wakes whoever waits for the connection.
fn is_over(timer: &mut Option<BoxFuture<'static, ()>>, cx: &mut Context<'_>) -> bool {
    timer.as_mut().is_some_and(|timer| timer.poll_unpin(cx).is_ready())
}

fn late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.head_is_late(cx) {
            return Poll::Ready(Err(late("the head of a request did not come in time")));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before && this.head.is_none() && this.work.is_idle() {
            this.head = Some(this.clock.sleep(this.deadlines.head));
            is_over(&mut this.head, cx);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(cx, bytes) {
            Poll::Ready(Ok(count)) => {
                // Something is answered, so that the head before it was whole.
                this.head = None;
                this.taken += count;
                if this.taken >= STEP {
                    this.write = None;
                }
                Poll::Ready(Ok(count))
            }
            Poll::Pending => {
                if this.write.is_none() {
                    (this.write, this.taken) = (Some(this.clock.sleep(this.deadlines.write)), 0);
                }
                match is_over(&mut this.write, cx) {
                    true => Poll::Ready(Err(late("the client does not take its answer"))),
                    false => Poll::Pending,
                }
            }
            failed @ Poll::Ready(Err(_)) => failed,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Asked for when all that there was has been taken.
        this.write = None;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;
    use crate::clock::SystemClock;

    const DEADLINES: Deadlines = Deadlines { head: Duration::from_secs(10), write: Duration::from_secs(30) };
    const LONG: Duration = Duration::from_secs(3_600);

    fn pair(room: usize) -> (Timed<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(room);
        (Timed::new(ours, SystemClock::shared(), DEADLINES, None), theirs)
    }

    /// What comes of reading while the client sends one byte a second.
    async fn read_drips(stream: &mut Timed<DuplexStream>, client: &mut DuplexStream) -> io::ErrorKind {
        for _ in 0..60 {
            client.write_all(b"x").await.unwrap();
            let mut buffer = [0; 8];
            loop {
                match timeout(Duration::from_secs(1), stream.read(&mut buffer)).await {
                    Err(_) => break,
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return error.kind(),
                }
            }
        }
        io::ErrorKind::WouldBlock
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_is_cut_whichever_request_it_is() {
        let (mut stream, mut client) = pair(1_024);
        assert_eq!(read_drips(&mut stream, &mut client).await, io::ErrorKind::TimedOut);
        let (mut stream, mut client) = pair(1_024);
        client.write_all(b"a whole request").await.unwrap();
        let mut buffer = [0; 64];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 15);
        drop(stream.work().begin());
        stream.write_all(b"its answer").await.unwrap();
        // The time between two requests is not that of the second.
        assert!(timeout(LONG, stream.read(&mut buffer)).await.is_err());
        assert_eq!(read_drips(&mut stream, &mut client).await, io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_while_a_request_is_worked_on_is_no_head() {
        let (mut stream, mut client) = pair(1_024);
        client.write_all(b"head").await.unwrap();
        assert_eq!(stream.read(&mut [0; 64]).await.unwrap(), 4);
        let working = stream.work().begin();
        assert_eq!(read_drips(&mut stream, &mut client).await, io::ErrorKind::WouldBlock);
        drop(working);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_or_next_to_nothing_is_cut() {
        let answer = vec![7; 1 << 20];
        let (mut stream, _client) = pair(64);
        let failed = timeout(LONG, stream.write_all(&answer)).await.unwrap().unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        let (mut stream, mut client) = pair(64);
        let drips = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                client.read_exact(&mut [0; 16]).await.unwrap();
            }
        };
        tokio::select! {
            written = timeout(LONG, stream.write_all(&answer)) => {
                assert_eq!(written.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
            }
            () = drips => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_only_slow_gets_all_of_its_answer() {
        let (mut stream, mut client) = pair(8 * 1_024);
        let answer = vec![7; 1 << 20];
        let reads = async {
            let (mut got, mut buffer) = (0, [0; 8 * 1_024]);
            while got < 1 << 20 {
                tokio::time::sleep(Duration::from_secs(10)).await;
                got += client.read(&mut buffer).await.unwrap();
            }
        };
        let write = async { stream.write_all(&answer).await.unwrap() };
        futures_util::future::join(reads, write).await;
    }
}
