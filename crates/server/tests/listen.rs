//! What the listeners promise of every connection: how much a request may say, how a server stops, and what a request is
//! told of where it came from.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, OriginalUri};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use axum::routing::{get, post};
use axum::{Extension, Router};
use domain::Timestamp;
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use server::listen::{TlsListener, Via, serve_plain, serve_tls};
use server::tls::CertFiles;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

/// Longer than anything takes; reached only when something is broken.
const LIMIT: Duration = Duration::from_secs(60);

async fn limit<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {LIMIT:?}"),
    }
}

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    /// The requests to `/slow`: each is answered when its sender is used, and closes it when it is cut off.
    slow: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
}

impl Server {
    async fn plain() -> Server {
        Server::start(|tcp, app, stop| tokio::spawn(serve_plain(tcp, app, stop))).await
    }

    async fn start<F>(serve: F) -> Server
    where
        F: FnOnce(TcpListener, Router, CancellationToken) -> JoinHandle<()>,
    {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = tcp.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let (asked, slow) = mpsc::unbounded_channel();
        let serving = serve(tcp, app(asked), stop.clone());
        Server { address, stop, serving, slow }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("somebody listens")
    }

    /// A request on a connection of its own.
    async fn is_well(&self) {
        let (status, _) = say(self.connect().await, &plain_get("/where")).await;
        assert_eq!(status, 200);
    }

    async fn slow_request(&mut self) -> oneshot::Sender<()> {
        limit("the request arrives", self.slow.recv()).await.expect("the server runs")
    }

    async fn stopped(self) {
        self.stop.cancel();
        limit("the server stops", self.serving).await.expect("it ends well");
    }
}

fn app(asked: mpsc::UnboundedSender<oneshot::Sender<()>>) -> Router {
    let slow = || async move {
        let (release, released) = oneshot::channel();
        asked.send(release).expect("the test listens");
        released.await.expect("the test lets it go");
        "at last"
    };
    Router::new()
        .route("/where", get(told))
        .route("/api/x", get(told))
        .route("/length", get(|uri: Uri| async move { uri.query().map_or(0, str::len).to_string() }))
        .route("/slow", get(slow))
        .route("/refuse", post(|| async { StatusCode::PAYLOAD_TOO_LARGE }))
        .route("/echo", post(|body: Body| async { body }))
}

/// What a request is told of itself.
async fn told(
    OriginalUri(uri): OriginalUri,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(via): Extension<Via>,
) -> String {
    format!("{} from {peer} tls {}", uri.path_and_query().map_or("", |p| p.as_str()), via.tls)
}

fn plain_get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
}

/// Says all of this, then reads the answer of HTTP/1 to its end.
async fn say<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> (u16, String) {
    limit("all is said", stream.write_all(request.as_bytes())).await.expect("the server listens to the end");
    let mut answer = Vec::new();
    limit("the answer", stream.read_to_end(&mut answer)).await.expect("a clean end");
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("headers end");
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|h| h.get(..3)).expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

/// HTTP/2, plain by prior knowledge.
async fn h2<S>(stream: S) -> http2::SendRequest<Body>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("the server speaks HTTP/2");
    tokio::spawn(connection);
    client
}

fn ask(path: &str) -> Request<Body> {
    Request::get(format!("http://localhost{path}")).body(Body::empty()).expect("a request")
}

async fn text(answer: Response<Incoming>) -> (u16, String) {
    let status = answer.status().as_u16();
    let body = limit("the body", to_bytes(Body::new(answer.into_body()), usize::MAX)).await.expect("a whole body");
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test]
async fn a_request_line_of_32_kib_is_accepted() {
    let server = Server::plain().await;
    let path = format!("/length?{}", "q".repeat(32 * 1024));
    let answer = say(server.connect().await, &plain_get(&path)).await;
    assert_eq!(answer, (200, "32768".to_owned()));
    let mut client = h2(server.connect().await).await;
    let answer = limit("an answer", client.send_request(ask(&path))).await.expect("it is answered");
    assert_eq!(text(answer).await, (200, "32768".to_owned()));
}

#[tokio::test]
async fn in_http1_a_request_and_its_headers_may_take_64_kib() {
    let server = Server::plain().await;
    let start = "GET /where HTTP/1.1\r\nconnection: close\r\nx: ";
    for (size, wanted) in [(64 * 1024, 200), (64 * 1024 + 1, 431), (200 * 1024, 431), (2_000_000, 431)] {
        let filler = "x".repeat(size - start.len() - "\r\n\r\n".len());
        let (status, _) = say(server.connect().await, &format!("{start}{filler}\r\n\r\n")).await;
        assert_eq!(status, wanted, "{size}");
    }
    server.is_well().await;
}

#[tokio::test]
async fn in_http2_too_large_headers_are_refused_and_the_connection_goes_on() {
    let server = Server::plain().await;
    let mut client = h2(server.connect().await).await;
    let with_headers = |count| {
        let mut request = ask("/where");
        for _ in 0..count {
            request.headers_mut().append("x", HeaderValue::from_str(&"x".repeat(10_000)).expect("a value"));
        }
        request
    };
    for (headers, wanted) in [(6, 200), (7, 431), (10, 431), (6, 200)] {
        let answer = limit("an answer", client.send_request(with_headers(headers))).await.expect("it is answered");
        assert_eq!(answer.status(), wanted, "{headers}");
    }
    // Who sends so much that h2 will not even read it to throw it away loses the connection, and nobody else does.
    let mut other = h2(server.connect().await).await;
    let refused = limit("an end", client.send_request(with_headers(20))).await.expect_err("it is not read");
    assert!(format!("{refused:?}").contains("ENHANCE_YOUR_CALM"), "{refused:?}");
    let answer = limit("an answer", other.send_request(ask("/where"))).await.expect("it is answered");
    assert_eq!(answer.status(), 200);
    server.is_well().await;
}

#[tokio::test]
async fn several_leading_slashes_count_as_one() {
    let server = Server::plain().await;
    let mut client = h2(server.connect().await).await;
    for path in ["/api/x?q=//", "//api/x?q=//", "///api/x?q=//"] {
        let (status, body) = say(server.connect().await, &plain_get(path)).await;
        assert!(status == 200 && body.starts_with("/api/x?q=// from"), "{path}: {status} {body}");
        let answer = limit("an answer", client.send_request(ask(path))).await.expect("it is answered");
        let (status, body) = text(answer).await;
        assert!(status == 200 && body.starts_with("/api/x?q=// from"), "{path}: {status} {body}");
    }
    let (status, _) = say(server.connect().await, &plain_get("//api//x")).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_plain_request_knows_where_it_came_from() {
    let server = Server::plain().await;
    let stream = server.connect().await;
    let peer = stream.local_addr().expect("an address");
    let answer = say(stream, &plain_get("/where")).await;
    assert_eq!(answer, (200, format!("/where from {peer} tls false")));
    let stream = server.connect().await;
    let peer = stream.local_addr().expect("an address");
    let answer = limit("an answer", h2(stream).await.send_request(ask("/where"))).await.expect("it is answered");
    assert_eq!(text(answer).await, (200, format!("/where from {peer} tls false")));
}

#[tokio::test]
async fn over_tls_the_client_chooses_http_and_the_request_knows() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let files = CertFiles::in_folder(folder.path());
    let certificates = files.serve(&["127.0.0.1".to_owned()], Timestamp::now()).expect("certificates");
    let config = certificates.server_config().expect("a configuration");
    let start = |tcp, app, stop| tokio::spawn(serve_tls(TlsListener::new(tcp, config).expect("a listener"), app, stop));
    let server = Server::start(start).await;
    let connect = async |protocol: &str| {
        let stream = server.connect().await;
        let peer = stream.local_addr().expect("an address");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&files.ca).expect("the authority")).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let stream = limit("a handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
        let stream = stream.expect("trust");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        (stream, peer)
    };
    let (stream, peer) = connect("http/1.1").await;
    let answer = say(stream, &plain_get("//where")).await;
    assert_eq!(answer, (200, format!("/where from {peer} tls true")));
    let (stream, peer) = connect("h2").await;
    let answer = limit("an answer", h2(stream).await.send_request(ask("//where"))).await.expect("it is answered");
    assert_eq!(text(answer).await, (200, format!("/where from {peer} tls true")));
    let (stream, _) = connect("http/1.1").await;
    let (status, _) = say(stream, &plain_get(&format!("/{}", "x".repeat(200 * 1024)))).await;
    assert_eq!(status, 431);
    server.stopped().await;
}

/// A body that is sent piece by piece.
struct Pieces(mpsc::UnboundedReceiver<Frame<Bytes>>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(Ok))
    }
}

/// The next piece of an answer.
async fn piece(body: &mut Incoming) -> Option<Frame<Bytes>> {
    let next = std::future::poll_fn(|cx| hyper::body::Body::poll_frame(Pin::new(&mut *body), cx));
    limit("a piece", next).await.map(|piece| piece.expect("it goes on"))
}

#[tokio::test]
async fn http2_streams_both_ways_at_once_and_ends_with_trailers() {
    let server = Server::plain().await;
    let (sender, pieces) = mpsc::unbounded_channel();
    let request = Request::post("http://localhost/echo").body(Body::new(Pieces(pieces))).expect("a request");
    let mut client = h2(server.connect().await).await;
    let answer = limit("an answer", client.send_request(request)).await.expect("it is answered before the body ends");
    let mut body = answer.into_body();
    for word in ["one", "two"] {
        sender.send(Frame::data(word.into())).expect("the request runs");
        let heard = piece(&mut body).await.expect("more").into_data().expect("data");
        assert_eq!(heard, word);
    }
    let trailers = HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from_static("0"))]);
    sender.send(Frame::trailers(trailers.clone())).expect("the request runs");
    assert_eq!(piece(&mut body).await.expect("more").into_trailers().expect("trailers"), trailers);
    drop(sender);
    assert!(piece(&mut body).await.is_none());
}

#[tokio::test]
async fn an_answer_is_not_lost_because_the_body_was_not_wanted() {
    let server = Server::plain().await;
    let size = 8 << 20;
    let head = format!("POST /refuse HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n");
    let (status, _) = say(server.connect().await, &(head + &"x".repeat(size))).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn a_server_that_stops_lets_requests_end() {
    let mut server = Server::plain().await;
    let stream = server.connect().await;
    let first = tokio::spawn(async move { say(stream, "GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await });
    let release_first = server.slow_request().await;
    let mut client = h2(server.connect().await).await;
    let second = tokio::spawn(async move { client.send_request(ask("/slow")).await });
    let release_second = server.slow_request().await;

    server.stop.cancel();
    release_first.send(()).expect("the request still runs");
    assert_eq!(first.await.expect("no panic"), (200, "at last".to_owned()));
    assert!(!server.serving.is_finished());
    release_second.send(()).expect("the request still runs");
    let answer = limit("an answer", second).await.expect("no panic").expect("it is answered");
    assert_eq!(text(answer).await, (200, "at last".to_owned()));
    server.stopped().await;
}

#[tokio::test]
async fn connections_without_a_request_do_not_keep_a_server() {
    let server = Server::plain().await;
    let silent = server.connect().await;
    let (mut idle, connection) = http1::handshake(TokioIo::new(server.connect().await)).await.expect("a connection");
    let idle_ends = tokio::spawn(connection);
    let answer = limit("an answer", idle.send_request(ask("/where"))).await.expect("it is answered");
    assert_eq!(text(answer).await.0, 200);
    let mut idle_h2 = h2(server.connect().await).await;
    let answer = limit("an answer", idle_h2.send_request(ask("/where"))).await.expect("it is answered");
    assert_eq!(text(answer).await.0, 200);

    // The answers show that the silent connection, which came first, was accepted.
    server.stopped().await;
    limit("the idle connection ends", idle_ends).await.expect("no panic").expect("it ends well");
    drop((silent, idle, idle_h2));
}

#[tokio::test]
async fn giving_up_on_a_server_cuts_off_its_requests() {
    let mut server = Server::plain().await;
    let stream = server.connect().await;
    let first = tokio::spawn(async move {
        let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        tokio::spawn(connection);
        client.send_request(ask("/slow")).await
    });
    let mut cut_first = server.slow_request().await;
    let mut client = h2(server.connect().await).await;
    let second = tokio::spawn(async move { client.send_request(ask("/slow")).await });
    let mut cut_second = server.slow_request().await;

    server.serving.abort();
    limit("the first is dropped", cut_first.closed()).await;
    limit("the second is dropped", cut_second.closed()).await;
    limit("the first ends", first).await.expect("no panic").expect_err("it was cut off");
    limit("the second ends", second).await.expect("no panic").expect_err("it was cut off");
}
