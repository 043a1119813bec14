//! A connection's handle and its byte stream, which can be torn down in the middle of a response.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::journal::ConnectionEntry;
use super::queues::Ends;
use super::state::lock;

/// State shared by a connection's requests, its task and the journal.
pub(crate) struct Control {
    pub(crate) id: u64,
    tls: bool,
    ends: Option<Ends>,
    version: Mutex<Option<String>>,
    requests: AtomicU64,
    open: AtomicBool,
    aborted: AtomicBool,
    abort: Notify,
}

/// The socket; when the connection was aborted, dropping it sends RST instead of FIN.
pub(crate) struct Wire {
    socket: TcpStream,
    control: Arc<Control>,
}

impl Control {
    pub(crate) fn new(id: u64, tls: bool, ends: Option<Ends>) -> Self {
        Self {
            id,
            tls,
            ends,
            version: Mutex::default(),
            requests: AtomicU64::new(0),
            open: AtomicBool::new(true),
            aborted: AtomicBool::new(false),
            abort: Notify::new(),
        }
    }

    pub(crate) fn request(&self, version: &str) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        lock(&self.version).get_or_insert_with(|| version.to_owned());
    }

    pub(crate) fn abort(&self) {
        self.aborted.store(true, Ordering::SeqCst);
        self.abort.notify_one();
    }

    pub(crate) async fn until_aborted(&self) {
        self.abort.notified().await;
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::SeqCst)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    /// Whether the client has read all that was sent.
    pub(crate) fn is_read(&self) -> bool {
        self.ends.is_none_or(Ends::are_empty)
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls
    }

    pub(crate) fn entry(&self) -> ConnectionEntry {
        ConnectionEntry {
            id: self.id,
            tls: self.tls,
            version: lock(&self.version).clone(),
            requests: self.requests.load(Ordering::Relaxed),
            open: self.is_open(),
        }
    }
}

impl Wire {
    pub(crate) fn new(socket: TcpStream, control: Arc<Control>) -> Self {
        Self { socket, control }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.control.is_aborted() {
            // A failure here only means FIN instead of RST on a socket that is already gone.
            let _ = self.socket.set_zero_linger();
        }
        self.control.open.store(false, Ordering::SeqCst);
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
