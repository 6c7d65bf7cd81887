//! A gRPC service without a generator: each message comes back. And its clients.

use crate::world::{route, soon};
use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use paracloud_core::migration::gateway::Route;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// A message with its prefix.
pub(crate) fn message(text: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(text.len()).unwrap());
    bytes.put_slice(text.as_bytes());
    bytes.freeze()
}

/// The messages in some bytes.
pub(crate) fn messages(mut bytes: &[u8]) -> Vec<String> {
    let mut messages = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        messages.push(String::from_utf8(rest[..length].to_vec()).unwrap());
        bytes = &rest[length..];
    }
    messages
}

/// Takes whole messages out.
fn whole(read: &mut BytesMut) -> BytesMut {
    let mut end = 0;
    while let Some(head) = read[end..].first_chunk::<5>() {
        let next = end + 5 + u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if next > read.len() {
            break;
        }
        end = next;
    }
    read.split_to(end)
}

/// The service: `/echo/Unary` answers when all has come, `/echo/Stream` each part as it comes, `/echo/Endless` begins to
/// answer and never ends; `/echo/Head` ends with its head, and `/echo/Broken` begins to answer and breaks off. A query
/// has the status that a call ends with, and where it says how much is used, `/echo/Unary?14&used`, `/echo/Unary?0&headed`;
/// without one it ends well, and says so at its end.
pub(crate) struct Echo {
    pub(crate) route: Route,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    incarnation: u32,
    sealed: watch::Sender<bool>,
    /// How often each message was applied.
    applied: Mutex<BTreeMap<String, u32>>,
    heads: Mutex<Vec<HeaderMap>>,
}

impl Echo {
    pub(crate) async fn new(start: u64) -> Self {
        Self::on(start, TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// Where somebody listens already.
    pub(crate) fn on(start: u64, listener: TcpListener) -> Self {
        let route = route(start, listener.local_addr().unwrap());
        let state = Arc::new(State {
            incarnation: route.incarnation.0,
            sealed: watch::Sender::new(false),
            applied: Mutex::default(),
            heads: Mutex::default(),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { route, state, task }
    }

    /// Closes or opens its gate.
    pub(crate) fn seal(&self, sealed: bool) {
        self.state.sealed.send_replace(sealed);
    }

    /// How often each message was applied.
    pub(crate) fn applied(&self) -> BTreeMap<String, u32> {
        self.state.applied.lock().unwrap().clone()
    }

    /// The heads of the calls that were let in.
    pub(crate) fn heads(&self) -> Vec<HeaderMap> {
        self.state.heads.lock().unwrap().clone()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&state)));
            let builder = Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// How much of itself it says that it uses.
pub(crate) const USED_PERMILLE: u64 = 500;

/// What stands in the head of an answer, and at its end.
fn ends(query: &str) -> [HeaderMap; 2] {
    let (status, used) = query.split_once('&').unwrap_or((query, ""));
    let (mut head, mut end) = (HeaderMap::new(), HeaderMap::new());
    end.insert("grpc-status", status.parse().unwrap());
    let says = match used {
        "headed" => Some(&mut head),
        "used" => Some(&mut end),
        _ => None,
    };
    if let Some(says) = says {
        says.insert("endpoint-load-metrics", "TEXT application_utilization:0.5".parse().unwrap());
    }
    [head, end]
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Parts>, Infallible> {
    let (says, parts) = mpsc::channel(16);
    let parts = Parts(parts);
    if *state.sealed.borrow() {
        let refusal = Response::builder().status(421).header("paci-not-applied", state.incarnation);
        return Ok(refusal.body(parts).unwrap());
    }
    let (head, mut body) = request.into_parts();
    state.heads.lock().unwrap().push(head.headers);
    let mut response = Response::builder().header("content-type", "application/grpc").body(parts).unwrap();
    let [begin, end] = ends(head.uri.query().unwrap_or("0&used"));
    response.headers_mut().extend(begin);
    let apply = move |bytes: &[u8], state: &State| {
        for message in messages(bytes) {
            *state.applied.lock().unwrap().entry(message).or_default() += 1;
        }
    };
    match head.uri.path() {
        "/echo/Unary" => {
            let Ok(body) = body.collect().await else { return Ok(response) };
            let bytes = body.to_bytes();
            apply(&bytes, &state);
            says.send(Ok(Frame::data(bytes))).await.unwrap();
            says.send(Ok(Frame::trailers(end))).await.unwrap();
        }
        "/echo/Stream" => {
            tokio::spawn(async move {
                let mut read = BytesMut::new();
                while let Some(Ok(frame)) = body.frame().await {
                    let Ok(data) = frame.into_data() else { continue };
                    read.extend_from_slice(&data);
                    apply(&whole(&mut read), &state);
                    if !data.is_empty() && says.send(Ok(Frame::data(data))).await.is_err() {
                        return;
                    }
                }
                let _ = says.send(Ok(Frame::trailers(end))).await;
            });
        }
        "/echo/Endless" => {
            tokio::spawn(async move {
                let _ = says.send(Ok(Frame::data(message("begun")))).await;
                says.closed().await;
            });
        }
        "/echo/Head" => {
            let _ = body.collect().await;
            response.headers_mut().extend(end);
        }
        "/echo/Broken" => {
            tokio::spawn(async move {
                let _ = says.send(Ok(Frame::data(message("begun")))).await;
                let _ = body.collect().await;
                let _ = says.send(Err(io::ErrorKind::BrokenPipe.into())).await;
            });
        }
        path => panic!("{path}"),
    }
    Ok(response)
}

/// A body in parts.
struct Parts(mpsc::Receiver<io::Result<Frame<Bytes>>>);

impl Body for Parts {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx)
    }

    /// Of one of which nothing came and nothing is to come, its head is the end.
    fn is_end_stream(&self) -> bool {
        self.0.is_closed() && self.0.is_empty()
    }
}

/// A client's connection.
pub(crate) struct Client {
    pub(crate) sender: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

/// A call in progress.
pub(crate) struct Call {
    pub(crate) sends: h2::SendStream<Bytes>,
    response: ResponseFuture,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) head: Response<()>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        // What is not read of one stream is to hold no other one back here.
        let handshake = h2::client::Builder::new().initial_connection_window_size(16 << 20).handshake(stream);
        let (sender, driver) = soon("a handshake", handshake).await.unwrap();
        let driver = tokio::spawn(async move {
            let _ = driver.await;
        });
        Self { sender, driver }
    }

    /// Whether it may be asked for something.
    pub(crate) async fn is_usable(&mut self) -> bool {
        let sender = self.sender.clone();
        soon("a connection that is ready", sender.ready()).await.is_ok()
    }

    /// Waits until it is told to go.
    pub(crate) async fn goes(&mut self) {
        soon("a GOAWAY", async {
            while self.sender.clone().ready().await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits until it has ended.
    pub(crate) async fn ends(mut self) {
        drop(self.sender.clone());
        soon("the end of a connection", &mut self.driver).await.unwrap();
    }

    /// Begins a request, of which more is to come.
    pub(crate) fn begin(&mut self, request: Request<()>) -> Result<Call, h2::Error> {
        let (response, sends) = self.sender.send_request(request, false)?;
        Ok(Call { sends, response })
    }

    /// Sends a request whole, and returns its whole answer.
    pub(crate) async fn send(&mut self, request: Request<()>, body: &str) -> Result<Ended, h2::Error> {
        let (response, mut sends) = self.sender.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            sends.send_data(Bytes::from(body.to_owned()), true)?;
        }
        Call { sends, response }.ended().await
    }

    /// Calls with one message.
    pub(crate) async fn unary(&mut self, text: &str) -> Result<Ended, h2::Error> {
        let mut call = self.begin(call("/echo/Unary"))?;
        call.sends.send_data(message(text), true)?;
        call.ended().await
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A call's head.
pub(crate) fn call(path: &str) -> Request<()> {
    timed(path, None)
}

/// The same, with a deadline.
pub(crate) fn timed(path: &str, timeout: Option<&str>) -> Request<()> {
    let mut request = Request::post(format!("http://shop.example{path}"))
        .version(hyper::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(timeout) = timeout {
        request = request.header("grpc-timeout", timeout);
    }
    request.body(()).unwrap()
}

/// Any other request's head.
pub(crate) fn get(path: &str) -> Request<()> {
    Request::get(format!("http://shop.example{path}")).version(hyper::Version::HTTP_2).body(()).unwrap()
}

pub(crate) fn post(path: &str) -> Request<()> {
    Request::post(format!("http://shop.example{path}")).version(hyper::Version::HTTP_2).body(()).unwrap()
}

impl Call {
    /// The head of its answer, and the rest as it comes.
    pub(crate) async fn answered(self) -> Result<(Response<RecvStream>, h2::SendStream<Bytes>), h2::Error> {
        Ok((soon("an answer", self.response).await?, self.sends))
    }

    /// Its whole answer.
    pub(crate) async fn ended(self) -> Result<Ended, h2::Error> {
        let (response, _sends) = self.answered().await?;
        let (head, body) = response.into_parts();
        let (body, trailers) = rest(body).await?;
        Ok(Ended { head: Response::from_parts(head, ()), body, trailers })
    }
}

/// The next part of an answer.
pub(crate) async fn part(body: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let part = soon("a part of an answer", body.data()).await;
    if let Some(Ok(part)) = &part {
        body.flow_control().release_capacity(part.len()).unwrap();
    }
    part
}

/// What is left of an answer.
pub(crate) async fn rest(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(next) = part(&mut body).await {
        all.extend_from_slice(&next?);
    }
    Ok((all, soon("the trailers of an answer", body.trailers()).await?))
}

impl Ended {
    pub(crate) fn status(&self) -> u16 {
        self.head.status().as_u16()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// A field of its head or of its trailers.
    pub(crate) fn field(&self, name: &str) -> &str {
        let trailers = self.trailers.as_ref().and_then(|trailers| trailers.get(name));
        trailers.or_else(|| self.head.headers().get(name)).map_or("", |value| value.to_str().unwrap())
    }

    /// Whether the call went well, and what came back.
    pub(crate) fn echoed(&self) -> Vec<String> {
        assert_eq!((self.status(), self.field("grpc-status")), (200, "0"), "{self:?}");
        messages(&self.body)
    }
}
