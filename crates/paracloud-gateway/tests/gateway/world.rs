//! A gateway, and a controller that says what the test wants said.

use paracloud_core::ids::{GatewayId, Incarnation, NodeId, StartId};
use paracloud_core::migration::gateway::{Route, Table};
use paracloud_core::migration::message::{FromGateway, ToGateway};
use paracloud_core::register::RecordOrder;
use paracloud_gateway::{GatewayError, ParkedLine, Terms, run_until};
use paracloud_substrate::config::{App, Cloud, Node, Parking, Protocol, Scale, Session, State, Sticky};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::link::{Reader, Writer, halves};
use paracloud_substrate::message::{Caller, FromGatewayLine, ToGatewayLine};
use paracloud_substrate::seen::Account;
use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The longest that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const INSTANCE: &str = "shop";

/// Waits for something that must come.
pub(crate) async fn soon<F: Future>(what: &str, something: F) -> F::Output {
    tokio::time::timeout(PATIENCE, something).await.unwrap_or_else(|_| panic!("{what}: it never came"))
}

/// The order of the *n*-th record of an instance.
pub(crate) fn order(n: u32) -> RecordOrder {
    let text = format!(r#"{{"operation":{n},"incarnation":1,"step":0,"served":true}}"#);
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn route(start: u64, address: SocketAddr) -> Route {
    Route { incarnation: Incarnation(u32::try_from(start).unwrap()), start: StartId(start), address }
}

/// The controller's end of a gateway's link.
pub(crate) struct Controller {
    reader: Reader,
    pub(crate) writer: Writer,
    /// What was heard of pauses while something else was waited for.
    pub(crate) pauses: Vec<(Account, bool)>,
}

impl Controller {
    pub(crate) async fn table(&mut self, n: u32, parks: bool, route: Option<Route>) {
        self.say(ToGateway::Table(Table { order: order(n), parks, drains: false, route })).await;
    }

    /// Says the table of one of several instances, and waits until it is obeyed. Returns what it heard meanwhile.
    pub(crate) async fn obeyed_by(
        &mut self,
        instance: &str,
        n: u32,
        parks: bool,
        route: Option<Route>,
    ) -> Vec<FromGatewayLine> {
        self.obeys(instance, Table { order: order(n), parks, drains: false, route }).await
    }

    /// Says that one of several instances leaves, or has left if it has no route, and waits until that is obeyed.
    pub(crate) async fn drains(
        &mut self,
        instance: &str,
        n: u32,
        route: Option<Route>,
    ) -> Vec<FromGatewayLine> {
        self.obeys(instance, Table { order: order(n), parks: false, drains: true, route }).await
    }

    async fn obeys(&mut self, instance: &str, table: Table) -> Vec<FromGatewayLine> {
        let message = FromGateway::Obeyed { order: table.order, parks: !table.is_open() };
        let line = ToGatewayLine::Machine { instance: instance.to_owned(), message: ToGateway::Table(table) };
        self.writer.write(&line).await.unwrap();
        self.until(instance, message).await
    }

    /// Waits until the gateway says that nothing is left at an instance that leaves by this table.
    pub(crate) async fn drained(&mut self, instance: &str, n: u32) {
        self.until(instance, FromGateway::Drained { order: order(n) }).await;
    }

    /// What it says from now on until it says this, that included.
    pub(crate) async fn until(&mut self, instance: &str, last: FromGateway) -> Vec<FromGatewayLine> {
        let last = FromGatewayLine::Machine { instance: instance.to_owned(), message: last };
        let mut lines = Vec::new();
        while lines.last() != Some(&last) {
            lines.push(soon(&format!("{last:?}"), self.reader.read()).await.unwrap().unwrap());
        }
        lines
    }

    /// Waits until the gateway says this line.
    pub(crate) async fn hears_line(&mut self, wanted: FromGatewayLine) {
        soon(&format!("{wanted:?}"), async {
            while self.reader.read::<FromGatewayLine>().await.unwrap().unwrap() != wanted {}
        })
        .await;
    }

    /// What the gateway measured, when it says it next.
    pub(crate) async fn measured(&mut self) -> FromGatewayLine {
        soon("what was measured", async {
            loop {
                let line = self.reader.read().await.unwrap().unwrap();
                if matches!(line, FromGatewayLine::Measured { .. }) {
                    return line;
                }
            }
        })
        .await
    }

    pub(crate) async fn say(&mut self, message: ToGateway) {
        self.writer.write(&ToGatewayLine::Machine { instance: INSTANCE.into(), message }).await.unwrap();
    }

    /// Says a table and waits until it is obeyed.
    pub(crate) async fn obeyed(&mut self, n: u32, parks: bool, route: Option<Route>) {
        self.table(n, parks, route).await;
        self.hears(FromGateway::Obeyed { order: order(n), parks }).await;
    }

    /// Waits until the gateway says this.
    pub(crate) async fn hears(&mut self, wanted: FromGateway) {
        let wanted = &wanted;
        soon(&format!("{wanted:?}"), async { while self.next().await != *wanted {} }).await;
    }

    /// The next message of the machine.
    pub(crate) async fn next(&mut self) -> FromGateway {
        loop {
            match self.reader.read().await.unwrap().expect("the gateway is there") {
                FromGatewayLine::Machine { instance, message } => {
                    assert_eq!(instance, INSTANCE);
                    return message;
                }
                FromGatewayLine::Parked { account, again, .. } => self.pauses.push((account, again)),
                FromGatewayLine::Beat | FromGatewayLine::Measured { .. } => {}
            }
        }
    }

    /// Waits until the gateway says that it goes on.
    pub(crate) async fn beat(&mut self) {
        soon("a beat", async {
            while self.reader.read::<FromGatewayLine>().await.unwrap() != Some(FromGatewayLine::Beat) {}
        })
        .await;
    }

    /// Waits until a request that came after `obeyed` waits: the gateway then asks, again and again.
    pub(crate) async fn parked(&mut self) {
        self.hears(FromGateway::Ask).await;
    }

    /// The next account of a pause that is told for the first time.
    pub(crate) async fn pause(&mut self) -> Account {
        self.account(false).await
    }

    /// The next account of a pause that is told again, or for the first time.
    pub(crate) async fn account(&mut self, again: bool) -> Account {
        soon("an account of a pause", async {
            loop {
                while !self.pauses.is_empty() {
                    let (account, told_again) = self.pauses.remove(0);
                    if told_again == again {
                        return account;
                    }
                }
                if let FromGatewayLine::Parked { account, again, .. } =
                    self.reader.read().await.unwrap().unwrap()
                {
                    self.pauses.push((account, again));
                }
            }
        })
        .await
    }

    /// The account of a pause when there is no more to come.
    pub(crate) async fn whole_pause(&mut self) -> Account {
        loop {
            let account = self.pause().await;
            if !account.more {
                return account;
            }
        }
    }

    /// Waits until the gateway drops the link.
    pub(crate) async fn dropped(mut self) {
        soon("the end of the link", async {
            while let Ok(Some(_)) = self.reader.read::<FromGatewayLine>().await {}
        })
        .await;
    }
}

/// A cloud of one app with a gateway.
pub(crate) struct World {
    pub(crate) layout: Layout,
    pub(crate) address: SocketAddr,
    socket: UnixListener,
    _directory: TempDir,
    tell: Option<oneshot::Sender<()>>,
    gateway: JoinHandle<Result<(), GatewayError>>,
}

/// An address that is free now, and stays so: of a host of its own, from which nobody dials.
pub(crate) fn free_address() -> SocketAddr {
    static HOSTS: AtomicU8 = AtomicU8::new(1);
    let host = Ipv4Addr::new(127, 0, 2, HOSTS.fetch_add(1, Ordering::Relaxed));
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap()
}

/// A directory as `up` makes one for a cloud.
pub(crate) fn private_directory() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

pub(crate) fn cloud(listen: SocketAddr, parking: Parking) -> Cloud {
    let app = App {
        listen: vec![listen],
        parking,
        stop_grace_ms: 1_000,
        drain_ms: 1_000,
        ..App::new(INSTANCE, vec!["serve".into()])
    };
    let node = Node { id: NodeId(1), name: "n1".into(), host: "127.0.1.1".parse().unwrap() };
    Cloud { nodes: vec![node], gateways: vec![GatewayId(1)], apps: vec![app] }
}

impl World {
    /// A gateway that has linked to the controller and knows nothing.
    pub(crate) async fn new(parking: Parking) -> (Self, Controller) {
        Self::on(parking, Terms::default()).await
    }

    /// As [`World::new`], with bounds that no manifest sets.
    pub(crate) async fn on(parking: Parking, terms: Terms) -> (Self, Controller) {
        Self::speaking(Protocol::Http1, parking, terms).await
    }

    /// Of an application that speaks HTTP/2.
    pub(crate) async fn two() -> (Self, Controller) {
        Self::speaking(Protocol::H2, Parking::default(), Terms::default()).await
    }

    /// Of an application that speaks this.
    pub(crate) async fn speaking(protocol: Protocol, parking: Parking, terms: Terms) -> (Self, Controller) {
        let directory = private_directory();
        let layout = Layout::new(directory.path()).unwrap();
        let address = free_address();
        let mut cloud = cloud(address, parking);
        cloud.apps[0].protocol = protocol;
        cloud.save(&layout.cloud()).unwrap();
        let (world, mut controller) = Self::begin(directory, layout, address, terms).await;
        controller.hears(FromGateway::Ask).await;
        (world, controller)
    }

    async fn begin(
        directory: TempDir,
        layout: Layout,
        address: SocketAddr,
        terms: Terms,
    ) -> (Self, Controller) {
        let socket = UnixListener::bind(layout.controller_socket()).unwrap();
        let (tell, told) = oneshot::channel();
        let terms = Terms { deaf: Some(directory.path().join("deaf")), ..terms };
        let gateway = run_until(layout.clone(), GatewayId(1), terms, async { _ = told.await });
        let world = Self {
            layout,
            address,
            socket,
            _directory: directory,
            tell: Some(tell),
            gateway: tokio::spawn(gateway),
        };
        let controller = world.accepted().await;
        (world, controller)
    }

    /// Of an app with several instances, of which it knows none.
    pub(crate) async fn scaled(state: State, sticky: Option<Sticky>) -> (Self, Controller) {
        Self::scaled_as(|app| {
            app.state = state;
            app.session = sticky.map(|sticky| Session { sticky, idle_ms: 60_000 });
        })
        .await
    }

    /// The same, of an app with this changed.
    pub(crate) async fn scaled_as(change: impl FnOnce(&mut App)) -> (Self, Controller) {
        let directory = private_directory();
        let layout = Layout::new(directory.path()).unwrap();
        let address = free_address();
        let mut cloud = cloud(address, Parking::default());
        cloud.apps[0].scale = Some(Scale { max: 8, period_ms: 50, ..Scale::default() });
        change(&mut cloud.apps[0]);
        cloud.save(&layout.cloud()).unwrap();
        let (world, controller) = Self::begin(directory, layout, address, Terms::default()).await;
        (world, controller)
    }

    /// With usual bounds.
    pub(crate) async fn usual() -> (Self, Controller) {
        Self::new(Parking::default()).await
    }

    /// The gateway's next link.
    pub(crate) async fn linked(&self) -> Controller {
        let mut controller = self.accepted().await;
        controller.hears(FromGateway::Ask).await;
        controller
    }

    async fn accepted(&self) -> Controller {
        let (stream, _) = soon("a link", self.socket.accept()).await.unwrap();
        let (mut reader, writer) = halves(stream);
        let caller: Caller = soon("a caller", reader.read()).await.unwrap().unwrap();
        assert_eq!(caller, Caller::Gateway { gateway: GatewayId(1) });
        Controller { reader, writer, pauses: Vec::new() }
    }

    /// Lines of the log of parked times, once there are `count`.
    pub(crate) async fn log(&self, count: usize) -> Vec<ParkedLine> {
        soon("the log of parked times", async {
            loop {
                let text = std::fs::read_to_string(self.layout.parked_log(GatewayId(1))).unwrap_or_default();
                let lines: Vec<_> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
                if lines.len() >= count {
                    return lines;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// Ends the gateway.
    pub(crate) async fn end(mut self) {
        self.tell.take().unwrap().send(()).unwrap();
        soon("the end of the gateway", &mut self.gateway).await.unwrap().unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.gateway.abort();
    }
}
