//! An agent with nothing behind it: the test is the cloud.

#![expect(clippy::unwrap_used, reason = "a test whose agent cannot go on fails")]

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use paci::announcement::{AnnounceRequest, AnnounceResponse};
use paci::answer::Answer;
use paci::ask::{AskRequest, AskResponse};
use paci::call::Call;
use paci::channel::{JoinRefusal, read_join_line, reply_line};
use paci::env::{Endpoint, Environment};
use paci::error::{ErrorBody, ErrorCode};
use paci::hello::{HelloRequest, HelloResponse};
use paci::hold::{HoldRequest, HoldResponse};
use paci::http::{PACI_HEADER, Route};
use paci::instance::{DescribeResponse, Instance, Limits, Standing};
use paci::report::{Report, ReportResponse};
use paci::state::{Ack, State, StateChange};
use paci::upcall::Upcall;
use paci::wire::Message;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

/// Whatever a test waits for is there sooner.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn upcall(operation: u32, attempt: u32, call: Call) -> Upcall {
    Upcall { operation, attempt, budget_ms: 30_000, call: Some(call), ..Upcall::default() }
}

/// What a program said of itself for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    State(StateChange),
    Report(Report),
    Announce(AnnounceRequest),
    Ask(AskRequest),
}

/// What the agent's connections share.
struct Shared {
    standing: Standing,
    incarnation: u32,
    greeted: AtomicBool,
    upcalls: Mutex<std::collections::VecDeque<Bytes>>,
    asked: Notify,
    answers: mpsc::UnboundedSender<Answer>,
    hellos: mpsc::UnboundedSender<HelloRequest>,
    said: mpsc::UnboundedSender<Said>,
}

pub(crate) struct Agent {
    directory: TempDir,
    incarnation: u32,
    shared: Arc<Shared>,
    /// Everything that serves: dropped with the agent.
    tasks: JoinSet<()>,
    answers: mpsc::UnboundedReceiver<Answer>,
    hellos: mpsc::UnboundedReceiver<HelloRequest>,
    said: mpsc::UnboundedReceiver<Said>,
    channels: mpsc::UnboundedReceiver<UnixStream>,
    refuses_joins: Arc<AtomicBool>,
    splice: Option<tokio::task::AbortHandle>,
}

impl Agent {
    pub(crate) fn start(standing: Standing, incarnation: u32) -> Self {
        let directory = tempfile::Builder::new().prefix("paci").tempdir().unwrap();
        let refuses_joins = Arc::new(AtomicBool::new(false));
        let channel = UnixListener::bind(directory.path().join("channel")).unwrap();
        let (joined, channels) = mpsc::unbounded_channel();
        tokio::spawn(joins(channel, joined, refuses_joins.clone()));
        let (shared, tasks, answers, hellos, said) = serve(&directory, standing, incarnation);
        let splice = None;
        Self { directory, incarnation, shared, tasks, answers, hellos, said, channels, refuses_joins, splice }
    }

    pub(crate) fn environment(&self) -> Environment {
        let endpoint = Some(Endpoint::in_directory(self.directory.path()));
        Environment { endpoint, ..Environment::default() }
    }

    /// Ends, connections and all, and starts anew without any memory. Returns what is said at the next Hello.
    pub(crate) async fn restart(&mut self, standing: Standing) -> HelloRequest {
        self.tasks.shutdown().await;
        std::fs::remove_file(self.directory.path().join("paci.sock")).unwrap();
        let (shared, tasks, answers, hellos, said) = serve(&self.directory, standing, self.incarnation);
        (self.shared, self.tasks, self.answers) = (shared, tasks, answers);
        (self.hellos, self.said) = (hellos, said);
        let first = tokio::time::timeout(PATIENCE, self.hellos.recv()).await.unwrap().unwrap();
        // The answer to the first has been taken in when the second is said, or an upcall is waited for.
        if standing == Standing::Undecided {
            tokio::time::timeout(PATIENCE, self.hellos.recv()).await.unwrap().unwrap();
        }
        first
    }

    pub(crate) fn ask(&self, upcall: Upcall) {
        self.ask_raw(upcall.write());
    }

    pub(crate) fn ask_raw(&self, upcall: impl Into<Bytes>) {
        self.shared.upcalls.lock().unwrap().push_back(upcall.into());
        self.shared.asked.notify_one();
    }

    /// The next answer of this operation for which this holds.
    pub(crate) async fn answer_when(&mut self, operation: u32, holds: impl Fn(&Answer) -> bool) -> Answer {
        let answers = &mut self.answers;
        let found = async {
            loop {
                let answer = answers.recv().await.unwrap();
                if answer.operation == operation && holds(&answer) {
                    return answer;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("the answer comes")
    }

    /// The next answer of this operation that is final, and done.
    pub(crate) async fn done(&mut self, operation: u32) -> Answer {
        let answer = self.answer_when(operation, Answer::is_final).await;
        assert_eq!(answer.verdict, paci::answer::Verdict::Done, "{answer:?}");
        answer
    }

    pub(crate) fn greeting(&mut self) -> HelloRequest {
        self.hellos.try_recv().unwrap()
    }

    pub(crate) async fn state(&mut self) -> State {
        let state = |said: Said| if let Said::State(change) = said { Some(change.state) } else { None };
        self.said_when(state).await
    }

    /// The next of what the program said of itself for which there is something here.
    pub(crate) async fn said_when<T>(&mut self, look: impl Fn(Said) -> Option<T>) -> T {
        let said = &mut self.said;
        let found = async {
            loop {
                if let Some(found) = look(said.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("it is said")
    }

    pub(crate) fn refuse_joins(&self) {
        self.refuses_joins.store(true, Ordering::Release);
    }

    /// Joins the two ends of a channel.
    pub(crate) async fn join(source: &mut Self, target: &mut Self) {
        let near = tokio::time::timeout(PATIENCE, source.channels.recv()).await.unwrap().unwrap();
        let far = tokio::time::timeout(PATIENCE, target.channels.recv()).await.unwrap().unwrap();
        let splice = tokio::spawn(async move {
            let (mut near, mut far) = (near, far);
            // How it ends is for the two sides to judge.
            let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
        source.splice = Some(splice.abort_handle());
    }

    /// How many channels were joined since this was asked last.
    pub(crate) fn joined(&mut self) -> usize {
        std::iter::from_fn(|| self.channels.try_recv().ok()).count()
    }

    /// Cuts the channel that [`Agent::join`] made.
    pub(crate) fn break_channel(&mut self) {
        self.splice.take().unwrap().abort();
    }
}

type Ends = (
    Arc<Shared>,
    JoinSet<()>,
    mpsc::UnboundedReceiver<Answer>,
    mpsc::UnboundedReceiver<HelloRequest>,
    mpsc::UnboundedReceiver<Said>,
);

fn serve(directory: &TempDir, standing: Standing, incarnation: u32) -> Ends {
    let listener = UnixListener::bind(directory.path().join("paci.sock")).unwrap();
    let (answers, from_answers) = mpsc::unbounded_channel();
    let (hellos, from_hellos) = mpsc::unbounded_channel();
    let (said, from_said) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        standing,
        incarnation,
        greeted: AtomicBool::new(false),
        upcalls: Mutex::default(),
        asked: Notify::new(),
        answers,
        hellos,
        said,
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(listener, shared.clone()));
    (shared, tasks, from_answers, from_hellos, from_said)
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    // Dropped with this task: then its connections end.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = shared.clone();
        let service = tower::service_fn(move |request| handle(request, shared.clone()));
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        connections.spawn(async move { drop(connection.await) });
    }
}

async fn joins(listener: UnixListener, joined: mpsc::UnboundedSender<UnixStream>, refuses: Arc<AtomicBool>) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).await.unwrap();
        let reply = match read_join_line(&line) {
            Ok(_) if refuses.load(Ordering::Acquire) => Err(JoinRefusal::TokenUnknown),
            read => read.map(|_| ()),
        };
        stream.write_all(reply_line(reply).as_bytes()).await.unwrap();
        if reply.is_ok() && joined.send(stream.into_inner()).is_err() {
            return;
        }
    }
}

async fn handle(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let has_header = parts.headers.get(PACI_HEADER).is_some_and(|value| value == "1");
    let route = Route::parse(parts.method.as_str(), parts.uri.path_and_query().unwrap().as_str());
    let answer = match route {
        _ if !has_header => Err(ErrorBody::new(ErrorCode::HeaderMissing, "")),
        Ok(route) => call(&shared, route, &body).await,
        Err(error) => Err(error),
    };
    Ok(match answer {
        Ok(Some(body)) => Response::new(body.into()),
        Ok(None) => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Err(error) => {
            let mut response = Response::new(Full::from(error.write()));
            *response.status_mut() = StatusCode::from_u16(error.status()).unwrap();
            response
        }
    })
}

async fn call(shared: &Shared, route: Route, body: &[u8]) -> Result<Option<Vec<u8>>, ErrorBody> {
    let hello_required = || ErrorBody::new(ErrorCode::HelloRequired, "no Hello since the start");
    let greeted = shared.greeted.load(Ordering::Acquire);
    let instance = || Instance {
        app: "ledger".into(),
        id: "ledger-0".into(),
        start_id: format!("start-{}", shared.incarnation),
        incarnation: shared.incarnation,
        node: "n1".into(),
        substrate: "sim".into(),
    };
    match route {
        Route::Hello => {
            let hello = HelloRequest::read(body)?;
            shared.greeted.store(true, Ordering::Release);
            let capabilities = hello.capabilities.clone();
            shared.hellos.send(hello).unwrap();
            let response = HelloResponse {
                version: "v1".into(),
                capabilities,
                instance: instance(),
                standing: shared.standing,
                limits: Limits::of_the_contract(),
            };
            Ok(Some(response.write()))
        }
        Route::Next(_) if !greeted => Err(hello_required()),
        Route::Next(next) => {
            let waited = tokio::time::timeout(Duration::from_millis(u64::from(next.wait_ms)), async {
                loop {
                    let asked = shared.asked.notified();
                    if let Some(upcall) = shared.upcalls.lock().unwrap().pop_front() {
                        return upcall;
                    }
                    asked.await;
                }
            });
            Ok(waited.await.ok().map(Into::into))
        }
        Route::Answer { .. } if !greeted => Err(hello_required()),
        Route::Answer { operation } => {
            let answer = Answer::read(body)?;
            assert_eq!(answer.operation, operation);
            shared.answers.send(answer).unwrap();
            Ok(Some(Ack {}.write()))
        }
        Route::SetState => {
            let change = StateChange::read(body)?;
            if matches!(change.state, State::Pausing | State::Cold) && !greeted {
                return Err(hello_required());
            }
            shared.said.send(Said::State(change)).unwrap();
            Ok(Some(Ack {}.write()))
        }
        Route::Report | Route::Announce { .. } | Route::Ask if !greeted => Err(hello_required()),
        Route::Report => {
            let report = Report::read(body)?;
            let granted_valid_for_ms = report.valid_for_ms;
            shared.said.send(Said::Report(report)).unwrap();
            Ok(Some(ReportResponse { granted_valid_for_ms, ..ReportResponse::default() }.write()))
        }
        Route::Announce { id } => {
            let request = AnnounceRequest::at(&id, AnnounceRequest::read(body)?)?;
            let stands = !request.revokes();
            shared.said.send(Said::Announce(request)).unwrap();
            Ok(Some(AnnounceResponse { stands, ..AnnounceResponse::default() }.write()))
        }
        Route::Ask => {
            let request = AskRequest::read(body)?;
            let granted_valid_for_ms = request.valid_for_ms;
            shared.said.send(Said::Ask(request)).unwrap();
            Ok(Some(AskResponse { granted_valid_for_ms, ..AskResponse::default() }.write()))
        }
        Route::Hold { key } => {
            let hold = HoldRequest::at(&key, HoldRequest::read(body)?)?;
            Ok(Some(HoldResponse { granted_ttl_ms: hold.ttl_ms, ..HoldResponse::default() }.write()))
        }
        Route::Describe => {
            let describe = DescribeResponse { instance: instance(), standing: shared.standing };
            Ok(Some(describe.write()))
        }
    }
}
