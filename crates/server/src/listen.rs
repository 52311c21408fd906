//! The listeners, plain HTTP and TLS, and how their connections are served: limits, shutdown, and what each request is
//! told of its connection. HTTP/1.1, HTTP/2 and gRPC share each port; over TLS the client chooses by ALPN.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::DATE;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Request, Uri};
use axum::response::Response;
use axum::serve::{Listener, ListenerExt};
use domain::Timestamp;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use jiff::fmt::rfc2822::DateTimePrinter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::authority::ClientCertificate;

/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many finished handshakes may wait to be served.
const BACKLOG: usize = 64;
/// How much a request's first line and headers may take together, in bytes; more is answered with 431. Filters make long
/// addresses, so hyper's 16 KiB for HTTP/2 would be too few. With more than this, hyper would answer some with 414, as
/// no address may have 64 KiB.
const MAX_HEAD: u32 = 64 * 1024;
/// How long a client may take to say which HTTP it speaks, and in HTTP/1 from there, or from the last answer, to the end
/// of the next request's headers.
const HEAD: Duration = Duration::from_secs(30);
/// How often an HTTP/2 client is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);
/// How long it may take to say so.
const PONG: Duration = Duration::from_secs(20);
/// How many requests may run at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 250;
/// How long a connection that the server closes waits for the client to close it too.
const LINGER: Duration = Duration::from_secs(2);
/// What an HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// By which listener a request came; each request has it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via {
    /// Whether over TLS.
    pub tls: bool,
}

/// Serves plain HTTP until `stop`, then lets requests in flight end and returns. Who drops the future drops the
/// connections. Each request has the extensions [`ConnectInfo`] with the client's address, and [`Via`]; several slashes
/// at the start of its path count as one.
pub async fn serve_plain(tcp: TcpListener, app: Router, stop: CancellationToken) {
    let tcp = tcp.tap_io(|stream| without_delay(stream));
    serve(tcp, Via { tls: false }, |_| None, app, stop).await;
}

/// As [`serve_plain`], over TLS. Requests on connections whose client showed a certificate have the extension
/// [`ClientCertificate`].
pub async fn serve_tls(tls: TlsListener, app: Router, stop: CancellationToken) {
    serve(tls, Via { tls: true }, shown, app, stop).await;
}

async fn serve<L>(
    mut listener: L,
    via: Via,
    certificate: fn(&L::Io) -> Option<ClientCertificate>,
    app: Router,
    stop: CancellationToken,
) where
    L: Listener<Addr = SocketAddr>,
{
    let http = builder();
    // Makes the routes ready once instead of at each request.
    let app: Router = app.with_state(());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            (io, peer) = listener.accept() => {
                let from = Origin { peer, via, certificate: certificate(&io) };
                connections.spawn(connection(http.clone(), io, from, app.clone(), stop.clone()));
            }
            // Forgets those that ended.
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn builder() -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    // The buffer is what limits a request's head.
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD as usize);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .max_concurrent_streams(MAX_STREAMS)
        // For WebSockets.
        .enable_connect_protocol();
    http
}

/// What is known of a connection.
struct Origin {
    peer: SocketAddr,
    via: Via,
    certificate: Option<ClientCertificate>,
}

fn shown(tls: &TlsStream<TcpStream>) -> Option<ClientCertificate> {
    tls.get_ref().1.peer_certificates()?.first().and_then(ClientCertificate::read)
}

async fn connection<I>(http: Builder<TokioExecutor>, io: I, from: Origin, app: Router, stop: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Origin { peer, via, certificate } = from;
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        normalise(request.uri_mut());
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(via);
        if let Some(certificate) = certificate {
            request.extensions_mut().insert(certificate);
        }
        let answer = app.clone().oneshot(request);
        async move { answer.await.map(dated) }
    });
    let io = TokioIo::new(Wire::new(io, HEAD));
    let mut serving = pin!(http.serve_connection_with_upgrades(io, service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended early");
    }
}

/// The answer with the time of this machine's clock. Left alone, hyper would repeat the latest it has seen for as long as a
/// clock that was set back is behind that.
fn dated(mut answer: Response) -> Response {
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now());
    // Beyond the year 9999 there is no such form.
    if let Some(date) = date.ok().and_then(|date| HeaderValue::try_from(date).ok()) {
        answer.headers_mut().insert(DATE, date);
    }
    answer
}

/// Several slashes at the start of the path become one. Clients that put a base address ending in a slash before a path
/// beginning with one send such.
fn normalise(uri: &mut Uri) {
    let whole = uri.path_and_query().map_or("", PathAndQuery::as_str);
    if !whole.starts_with("//") {
        return;
    }
    let once = format!("/{}", whole.trim_start_matches('/'));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(once.try_into().expect("the end of a path is a path"));
    *uri = Uri::from_parts(parts).expect("an address with another path is an address");
}

/// Small answers are not held back to be sent with what comes next.
fn without_delay(stream: &TcpStream) {
    // Fails only when the connection is gone, which is found soon enough.
    let _ = stream.set_nodelay(true);
}

/// Accepts connections and gives those whose TLS handshake is done. Handshakes run beside each other, so a slow client
/// keeps nobody waiting.
pub struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    /// TLS over a bound listener.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn new(tcp: TcpListener, config: Arc<rustls::ServerConfig>) -> io::Result<TlsListener> {
        let address = tcp.local_addr()?;
        let (done, ready) = mpsc::channel(BACKLOG);
        tokio::spawn(accept(tcp, TlsAcceptor::from(config), done));
        Ok(TlsListener { ready, address })
    }
}

async fn accept(mut tcp: TcpListener, acceptor: TlsAcceptor, done: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>) {
    loop {
        let (stream, peer) = tokio::select! {
            // axum's own `accept` for TCP, which waits out passing errors such as too many open files.
            accepted = Listener::accept(&mut tcp) => accepted,
            () = done.closed() => return,
        };
        without_delay(&stream);
        let (acceptor, done) = (acceptor.clone(), done.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(tls)) => {
                    // Closed only when the server stops.
                    let _ = done.send((tls, peer)).await;
                }
                Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The accepting task ends only after this listener is dropped.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

/// A connection with manners at both of its ends, which hyper leaves to others.
///
/// At its start, a client must say in time which HTTP it speaks: hyper's own limit begins only when it is known to be
/// HTTP/1. At its end, what the client still sends is read and thrown away: closing a socket with unread data resets the
/// connection, and the client would lose the answer (431, 413) that was the reason to close it.
struct Wire<I> {
    io: I,
    opening: Option<Opening>,
    closing: Option<Pin<Box<Sleep>>>,
}

/// The time in which it is not known whether a client speaks HTTP/1 or HTTP/2.
struct Opening {
    deadline: Pin<Box<Sleep>>,
    /// How many bytes of the preface were read.
    heard: usize,
}

impl<I> Wire<I> {
    fn new(io: I, limit: Duration) -> Wire<I> {
        Wire { io, opening: Some(Opening { deadline: Box::pin(sleep(limit)), heard: 0 }), closing: None }
    }

    fn hear(&mut self, bytes: &[u8]) {
        if let Some(opening) = &mut self.opening {
            let left = &PREFACE[opening.heard..];
            opening.heard += bytes.len();
            if bytes.len() >= left.len() || !left.starts_with(bytes) {
                self.opening = None;
            }
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Wire<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                self.hear(&buffer.filled()[before..]);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                let Some(opening) = &mut self.opening else { return Poll::Pending };
                ready!(opening.deadline.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no request came")))
            }
            failed => failed,
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Wire { io, closing, .. } = &mut *self;
        let until = match closing {
            Some(until) => until,
            None => {
                ready!(Pin::new(&mut *io).poll_shutdown(cx))?;
                closing.insert(Box::pin(sleep(LINGER)))
            }
        };
        // First, so that a client which never stops sending gets no further.
        if Instant::now() >= until.deadline() {
            return Poll::Ready(Ok(()));
        }
        let mut scrap = [0; 4096];
        loop {
            let mut scrap = ReadBuf::new(&mut scrap);
            match Pin::new(&mut *io).poll_read(cx, &mut scrap) {
                Poll::Ready(Ok(())) if !scrap.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        until.as_mut().poll(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[test]
    fn only_the_leading_slashes_are_one() {
        let cases = [
            ("/api/x?q", "/api/x?q"),
            ("//api/x?q", "/api/x?q"),
            ("///api//x/?q=//", "/api//x/?q=//"),
            ("//", "/"),
            ("//?q", "/?q"),
            ("/", "/"),
            ("*", "*"),
            ("http://host//api", "http://host/api"),
            ("http://host", "http://host/"),
        ];
        for (given, wanted) in cases {
            let mut uri: Uri = given.parse().expect("an address");
            normalise(&mut uri);
            assert_eq!(uri.to_string(), wanted, "{given}");
        }
    }

    #[tokio::test]
    async fn who_does_not_say_which_http_it_speaks_is_not_waited_for() {
        for beginning in ["", "P", "PRI * HTTP/2.0\r\n"] {
            let (mut client, server) = duplex(100);
            client.write_all(beginning.as_bytes()).await.expect("there is room");
            let mut heard = Vec::new();
            let ended = Wire::new(server, Duration::from_millis(1)).read_to_end(&mut heard).await;
            assert_eq!(ended.expect_err("it was silent").kind(), io::ErrorKind::TimedOut);
            assert_eq!(heard, beginning.as_bytes());
        }
    }

    #[tokio::test]
    async fn who_has_said_it_has_time() {
        for beginning in
            [&b"G"[..], b"PO", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore"]
        {
            for piece in [1, 2, 100] {
                let mut wire = Wire::new(tokio::io::empty(), Duration::ZERO);
                for bytes in beginning.chunks(piece) {
                    wire.hear(bytes);
                }
                assert!(wire.opening.is_none(), "{beginning:?} by {piece}");
            }
        }
    }

    #[tokio::test]
    async fn what_a_client_still_sends_is_read_before_the_end() {
        // Room for one byte: the client gets on only as far as it is listened to.
        let (mut client, server) = duplex(1);
        let closing = tokio::spawn(async move { Wire::new(server, HEAD).shutdown().await });
        assert_eq!(client.read(&mut [0]).await.expect("an end"), 0);
        client.write_all(&[0; 10_000]).await.expect("somebody listens");
        drop(client);
        closing.await.expect("no panic").expect("it closes well");
    }
}
