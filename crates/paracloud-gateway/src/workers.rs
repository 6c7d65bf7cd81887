//! The threads that carry requests, each with an event loop of its own.
//!
//! A client's connection stays on the one that it was given to, and a request takes the connections to its application
//! that belong to the same: of what happens to a request, nothing waits for another thread. What all of them share (the
//! machine of an instance, the choice among several) stands behind locks that are held for a moment. Whoever starts the
//! gateway carries no requests: it accepts connections, and talks with the controller.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// One of the threads, by its number from 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Worker(pub(crate) usize);

/// All of them. They end when this is dropped, and what they carry with them.
#[derive(Debug)]
pub(crate) struct Workers {
    loops: Loops,
    threads: Vec<Thread>,
}

#[derive(Debug)]
struct Thread {
    ends: oneshot::Sender<()>,
    joins: JoinHandle<()>,
}

/// The event loops of all of them.
#[derive(Debug, Clone)]
pub(crate) struct Loops(Arc<[Loop]>);

#[derive(Debug)]
struct Loop {
    handle: Handle,
    /// Connections of clients that it carries.
    connections: AtomicUsize,
}

impl Loops {
    /// The event loop of this thread alone, as if it were a worker.
    #[cfg(test)]
    pub(crate) fn of_this_thread() -> Self {
        Self::of(vec![Handle::current()])
    }

    /// Each with its number.
    pub(crate) fn each(&self) -> impl ExactSizeIterator<Item = (Worker, &Handle)> {
        self.0.iter().enumerate().map(|(number, one)| (Worker(number), &one.handle))
    }

    fn of(handles: Vec<Handle>) -> Self {
        Self(handles.into_iter().map(|handle| Loop { handle, connections: AtomicUsize::new(0) }).collect())
    }

    /// A place at the one that has the fewest connections, and its event loop.
    pub(crate) fn seat(&self) -> Option<(Seat, &Handle)> {
        let connections = |(_, one): &(usize, &Loop)| one.connections.load(Ordering::Relaxed);
        let (number, one) = self.0.iter().enumerate().min_by_key(connections)?;
        one.connections.fetch_add(1, Ordering::Relaxed);
        Some((Seat { worker: Worker(number), loops: self.clone() }, &one.handle))
    }
}

/// The place of a client's connection at its worker.
#[derive(Debug)]
pub(crate) struct Seat {
    worker: Worker,
    loops: Loops,
}

impl Seat {
    /// Whose it is.
    pub(crate) fn worker(&self) -> Worker {
        self.worker
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Worker(number) = self.worker;
        self.loops.0.get(number).map(|one| one.connections.fetch_sub(1, Ordering::Relaxed));
    }
}

impl Workers {
    /// Starts so many.
    ///
    /// # Errors
    /// The system grants no more threads, or no more files.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let mut handles = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            let (ends, ended) = oneshot::channel::<()>();
            let joins = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || _ = runtime.block_on(ended))?;
            threads.push(Thread { ends, joins });
        }
        Ok(Self { loops: Loops::of(handles), threads })
    }

    /// Their event loops.
    pub(crate) fn loops(&self) -> &Loops {
        &self.loops
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // First all of them are told, so that they end at the same time.
        let (ends, joins): (Vec<_>, Vec<_>) = self.threads.drain(..).map(|it| (it.ends, it.joins)).unzip();
        drop(ends);
        for thread in joins {
            if thread.join().is_err() {
                tracing::error!("a worker has ended by a panic");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_to_the_worker_that_has_the_fewest() {
        let workers = Workers::start(3).unwrap();
        let seat = || workers.loops().seat().unwrap().0;
        let seats: Vec<_> = (0..6).map(|_| seat()).collect();
        let numbers: Vec<_> = seats.iter().map(|seat| seat.worker().0).collect();
        assert_eq!(numbers, [0, 1, 2, 0, 1, 2]);
        drop(seats.into_iter().filter(|seat| seat.worker() == Worker(1)).collect::<Vec<_>>());
        assert_eq!(seat().worker(), Worker(0), "nobody has any");
    }

    #[test]
    fn who_ends_takes_along_what_is_carried() {
        struct Tells(std::sync::mpsc::Sender<()>);
        impl Drop for Tells {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let workers = Workers::start(2).unwrap();
        for (_, handle) in workers.loops().each() {
            let tells = Tells(sender.clone());
            handle.spawn(async move {
                let _tells = tells;
                std::future::pending::<()>().await;
            });
        }
        drop(workers);
        assert_eq!(receiver.try_iter().count(), 2);
    }
}
