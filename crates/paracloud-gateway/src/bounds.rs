//! Every bound of the gateway that the manifest does not set.

use std::time::Duration;

/// Client connections at once, WebSockets included. Further ones wait in the listener's queue.
pub const CONNECTIONS_MAX: u32 = 16_384;
/// Threads that carry requests, however many processors there are.
pub const WORKERS_MAX: usize = 64;
/// Clients that connect at once and are not accepted yet, for each app; the system may grant fewer. One that finds no
/// room tries again after a second, by itself.
pub const LISTEN_QUEUE_MAX: u32 = 4_096;
/// Longest head of a request or reply, in bytes; a longer request is answered 431.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most header fields of a request or reply: what hyper has room for without being told. Told of another number, it
/// allocates and clears that room four times a request.
pub const HEADERS_MAX: usize = 100;
/// How long a client may be silent before it sent the head of its next request.
pub const HEAD_WAIT: Duration = Duration::from_secs(60);
/// How long a client may be silent inside a body: one that is read whole, and one that is passed on as it comes while the
/// application would take more of it.
pub const BODY_WAIT: Duration = Duration::from_secs(60);
/// How long a body that is read whole may take to come, however little its client is silent: it takes room meanwhile.
pub const BODY_WAIT_TOTAL: Duration = Duration::from_secs(600);
/// Bodies kept to be sent again, all together, in bytes: each counts from its first byte until nothing of it is needed
/// any more, because the application has begun its reply or its client was answered. A request that finds no room is
/// streamed, and so cannot be sent again.
pub const REPLAY_BYTES_TOTAL_MAX: usize = 256 << 20;
/// A reply of known length up to this many bytes is read whole before it is passed on, so that a slow client keeps no
/// instance from moving.
pub const REPLY_BYTES_HELD: u64 = 256 << 10;
/// An upload, or a reply that is passed on as it comes, is a stream once it has lasted this long: it may be cut when a
/// table parks. A shorter one may end first.
pub const STREAM_AGE: Duration = Duration::from_millis(200);
/// How long an application may take to accept a connection.
pub const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How long an application may take to begin its reply, from when it has all of the request; and over each part of an
/// upload, which has no bound of its own for all of it: it goes on for as long as something of it passes, or until it is
/// cut by a move.
pub const REPLY_WAIT: Duration = Duration::from_secs(600);
/// How long the rest of a refusal may take to come; then its connection is given up, and the refusal holds.
pub const REFUSAL_WAIT: Duration = Duration::from_millis(200);
/// How long a connection to an application is kept without use. Shorter than what servers grant, so that they do not
/// close one that is about to be used.
pub const IDLE_WAIT: Duration = Duration::from_secs(2);
/// Connections to an application that are kept without use.
pub const IDLE_MAX: usize = 256;
/// Connections opened to a new route before a request needs them.
pub const AHEAD_MAX: usize = 16;
/// Longest WebSocket message, in bytes; a longer one closes the connection with 1009.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// WebSocket messages on their way, both ways and all together, in bytes: a message counts from its first bytes until it is
/// written to the other side, with what was read behind it, as long as its end of the WebSocket has more than
/// [`MESSAGE_BYTES_FREE`]; one that waits counts whatever its length. A WebSocket that finds no room is closed with 1013.
pub const MESSAGES_BYTES_TOTAL_MAX: usize = 256 << 20;
/// What each end of a WebSocket may have read and not passed on without taking room, in bytes.
pub const MESSAGE_BYTES_FREE: usize = 16 << 10;
/// After a move: an application that has said nothing for this long has nothing more to say on a WebSocket.
pub const QUIET_WAIT: Duration = Duration::from_millis(100);
/// After a close: how long the other end may take with its part.
pub const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// Messages that wait for the link to the controller; one more is dropped, as on a lost link.
pub const LINK_QUEUE_MAX: usize = 1_024;
/// Lines that wait for the log of parked times; one more is dropped, and counted in the gateway's own log.
pub const LOG_QUEUE_MAX: usize = 65_536;
/// The log of parked times, in bytes: when it would be longer it is put aside as `….1`, in place of the one before.
pub const PARKED_LOG_BYTES_MAX: u64 = 64 << 20;
/// How long requests in progress may go on when the gateway is told to end.
pub const STOP_WAIT: Duration = Duration::from_secs(1);
/// Pause before connections are accepted again after the system refused one.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// Requests in progress at once on one HTTP/2 connection of a client, as it is told; one more is refused by its stream.
pub const STREAMS_MAX: u32 = 128;
/// Requests in progress that came over HTTP/2, of all clients, from their head until the last of their reply was handed to
/// their connection. One more is answered 503 with `outcome: not_applied`.
pub const STREAMS_TOTAL_MAX: u32 = 16_384;
/// What a client may send of one request over HTTP/2 before it is taken, in bytes.
pub const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// What a client may send of all requests of one HTTP/2 connection before it is taken, in bytes: so many of one
/// connection may stand still that it has not enough for others, but no other connection notices.
pub const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;
/// Part of a reply that is handed to an HTTP/2 connection at once, in bytes: the rest is kept where it is counted.
pub const PART_BYTES: usize = 16 << 10;
/// Streams that a client has reset before they were looked at; one more ends its connection.
pub const RESETS_UNSEEN_MAX: usize = 20;
/// Streams of one connection that were reset because a client broke the rules of HTTP/2; one more ends it.
pub const RESETS_OWN_MAX: usize = 256;
/// How often a client's HTTP/2 connection is asked whether it is still there.
pub const PING_INTERVAL: Duration = Duration::from_secs(60);
/// How long it may take to answer that.
pub const PING_WAIT: Duration = Duration::from_secs(20);
/// HTTP/2 connections to one process.
pub const UPSTREAM_CONNECTIONS_MAX: usize = 16;
/// Requests at once on one of them, unless its application says less; then another one is opened, and when there are so
/// many already, the application lets them wait.
pub const UPSTREAM_STREAMS_MAX: usize = 128;
/// What an application may send of one reply over HTTP/2 before it is taken, in bytes.
pub const UPSTREAM_WINDOW_BYTES: u32 = 64 << 10;
/// What it may send of all replies of one connection before they are taken, in bytes: as much as that of each, so that no
/// client that reads slowly holds another one's reply back.
pub const UPSTREAM_WINDOW_BYTES_TOTAL: u32 = UPSTREAM_WINDOW_BYTES * 128;
/// How often a request in a row is sent anew at once because the connection that it was on took it no more; then it waits.
pub const AGAIN_MAX: u32 = 3;
/// How often it is looked for what another task is about to hand over: the end of a short body, what a connection has read.
pub const LOOKS_MAX: u32 = 8;
/// What each part of a body counts beside its bytes when it is kept to be sent again, in bytes.
pub const PART_COST_BYTES: usize = 256;
/// How often a request that waits is given to another instance; then it stays where it is.
pub const ELSEWHERE_MAX: u32 = 3;
/// How often an instance is chosen for one request, because those before had left or wanted it to go elsewhere; then it is
/// answered 503 with `outcome: not_applied`.
pub const CHOICES_MAX: u32 = 8;
/// Sessions of one instance that a gateway remembers having seen. One that finds no room is not known by itself: if the
/// instance leaves, it counts as going on for as long as it may be idle.
pub const SESSIONS_MAX: usize = 16_384;
/// How long a report of load counts that came with a reply: it is said anew with the next one.
pub const LOAD_LEASE: Duration = Duration::from_secs(2);
