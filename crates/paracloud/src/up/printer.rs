//! What `up` prints: for people sentences, for programs a line of JSON each.
//!
//! A thread of its own prints it. A terminal that stands still, or a reader that does not read, would otherwise make
//! `up` stand still, and with it the care for its shells.

use super::watch;
use crate::command::{Context, hint};
use crate::held::{self, Held};
use crate::output::{Format, formed, say, tell};
use crate::processes;
use paracloud_substrate::config::Cloud;
use paracloud_substrate::person::Status;
use serde_json::json;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Lines that wait to be printed; more are dropped.
const LINES_MAX: usize = 256;
/// How long the last lines may take to be printed, in milliseconds.
const LAST_MS_MAX: u64 = 1_000;

/// A line, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    /// To standard output.
    Result(String),
    /// To standard error.
    Aside(String),
}

fn print(line: &Line) {
    match line {
        // A reader that went away is nobody's loss: the cloud goes on.
        Line::Result(text) => drop(say(text)),
        Line::Aside(text) => tell(text),
    }
}

/// The thread that prints.
#[derive(Debug)]
struct Voice {
    lines: SyncSender<Line>,
    silence: Receiver<()>,
}

impl Voice {
    fn new(print: impl Fn(&Line) + Send + 'static) -> io::Result<Self> {
        let (lines, queue) = sync_channel(LINES_MAX);
        let (silent, silence) = sync_channel(1);
        std::thread::Builder::new().name("printer".to_owned()).spawn(move || {
            queue.iter().for_each(|line| print(&line));
            let _ = silent.send(());
        })?;
        Ok(Self { lines, silence })
    }

    /// Says a line, or drops it if too many wait.
    fn say(&self, line: Line) {
        let _ = self.lines.try_send(line);
    }

    /// Whether all was printed, within this time.
    fn end(self, within: Duration) -> bool {
        let Self { lines, silence } = self;
        drop(lines);
        silence.recv_timeout(within) != Err(RecvTimeoutError::Timeout)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Printer<'a> {
    pub(super) context: &'a Context,
    pub(super) cloud: &'a Cloud,
    voice: Voice,
}

impl<'a> Printer<'a> {
    /// Prints from now on.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn new(context: &'a Context, cloud: &'a Cloud) -> io::Result<Self> {
        Ok(Self { context, cloud, voice: Voice::new(print)? })
    }

    /// Something to know.
    pub(super) fn word(&self, text: &str) {
        self.voice.say(match self.context.format {
            Format::Json => Line::Result(formed("up", json!({ "event": "said", "text": text }))),
            Format::Text => Line::Aside(text.to_owned()),
        });
    }

    /// Everything serves.
    pub(super) fn serving(&self, status: &Status) {
        let layout = &self.context.layout;
        let text = match self.context.format {
            Format::Json => {
                let app = |app: &paracloud_substrate::config::App| json!({ "name": app.name, "listen": app.listen });
                let apps: Vec<_> = self.cloud.apps.iter().map(app).collect();
                let (directory, pid) = (layout.root(), std::process::id());
                let object =
                    json!({ "event": "serving", "ok": true, "dir": directory, "pid": pid, "apps": apps });
                formed("up", object)
            }
            Format::Text => watch::welcome(self.cloud, status, &hint(layout)),
        };
        self.voice.say(Line::Result(text));
    }

    /// Not everything serves yet, but these apps do.
    pub(super) fn partly(&self, status: &Status, serve: &[String]) {
        let obstacles = watch::obstacles(&self.context.layout, self.cloud, status);
        let text = match self.context.format {
            Format::Json => {
                let apps = self.cloud.apps.iter().filter(|app| serve.contains(&app.name));
                let apps: Vec<_> =
                    apps.map(|app| json!({ "name": app.name, "listen": app.listen })).collect();
                formed("up", json!({ "event": "partly", "apps": apps, "waiting": obstacles }))
            }
            Format::Text => watch::partly(self.cloud, status, serve, &obstacles),
        };
        self.voice.say(Line::Result(text));
    }

    /// Not everything serves yet.
    pub(super) fn waiting(&self, status: &Status) {
        for line in watch::obstacles(&self.context.layout, self.cloud, status) {
            self.word(&line);
        }
        self.word(&format!("see paracloud events{0}, paracloud logs APP{0}", hint(&self.context.layout)));
    }

    /// The end begins. `last`: how everything was.
    pub(super) fn ending(&self, last: Option<&Status>) {
        self.word("ending; Ctrl-C again kills everything at once");
        let seen = processes::all_seen(&self.context.layout);
        for Held { instance, unknown } in held::all(last, Some(self.cloud), &seen) {
            self.word(&match unknown {
                None => format!("{instance}: the state in its memory is dropped"),
                Some(why) => format!("{instance}: what it holds is dropped, and not known ({why})"),
            });
        }
    }

    /// Everything has ended.
    pub(super) fn ended(&self) {
        self.voice.say(match self.context.format {
            Format::Json => Line::Result(formed("up", json!({ "event": "ended", "ok": true }))),
            Format::Text => Line::Aside("ended; nothing is left running".to_owned()),
        });
    }

    /// Waits until the last line is printed, within bounds.
    pub(super) fn finish(self) {
        self.voice.end(Duration::from_millis(LAST_MS_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn line(number: usize) -> Line {
        Line::Result(number.to_string())
    }

    #[test]
    fn lines_are_printed_in_order_and_the_last_before_the_end() {
        let (printed, prints) = channel();
        let voice = Voice::new(move |line| drop(printed.send(line.clone()))).unwrap();
        (0..10).for_each(|number| voice.say(line(number)));
        assert!(voice.end(Duration::from_secs(60)));
        assert_eq!(prints.iter().collect::<Vec<_>>(), (0..10).map(line).collect::<Vec<_>>());
    }

    #[test]
    fn a_terminal_that_stands_still_costs_lines_and_nothing_else() {
        let (goes_on, stands_still) = channel::<()>();
        let (printed, prints) = channel();
        let voice = Voice::new(move |line| {
            let _ = stands_still.recv();
            drop(printed.send(line.clone()));
        })
        .unwrap();
        (0..10 * LINES_MAX).for_each(|number| voice.say(line(number)));
        assert!(!voice.end(Duration::from_millis(1)), "and the end waits for it no longer than it may");
        drop(goes_on);
        let kept: Vec<_> = prints.iter().collect();
        assert!((LINES_MAX..=LINES_MAX + 1).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept[..LINES_MAX], (0..LINES_MAX).map(line).collect::<Vec<_>>());
    }
}
