//! A connection after an HTTP upgrade: its bytes are the new protocol's.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::gauge::Counted;
use crate::http1::Wire;

/// The upgraded connection. Dropping it closes the connection.
pub struct Socket {
    wire: Wire,
    /// Bytes that arrived right behind the response head.
    early: BytesMut,
    _counted: Counted,
}

impl Socket {
    pub(crate) const fn new(wire: Wire, early: BytesMut, counted: Counted) -> Self {
        Self { wire, early, _counted: counted }
    }

    /// What is below it, and below TLS if there is some.
    pub fn tcp(&self) -> &TcpStream {
        self.wire.tcp()
    }

    /// Has bytes read again that were read too far.
    pub fn give_back(&mut self, bytes: &[u8]) {
        let later = self.early.split();
        self.early.extend_from_slice(bytes);
        self.early.unsplit(later);
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.early.is_empty() {
            return Pin::new(&mut this.wire).poll_read(cx, buffer);
        }
        let count = this.early.len().min(buffer.remaining());
        buffer.put_slice(this.early.get(..count).unwrap_or_default());
        this.early.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

domain::brief_debug!(Socket as "egress::Socket");
