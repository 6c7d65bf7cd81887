//! What the gateways logged of waits within a time.

use super::place::APP;
use paracloud_core::ids::GatewayId;
use paracloud_gateway::ParkedLine;
use paracloud_substrate::layout::Layout;
use serde::Serialize;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

/// The gateways of a demo.
const GATEWAYS: [GatewayId; 2] = [GatewayId(1), GatewayId(2)];

/// Where the logs were when a window began.
#[derive(Debug)]
pub(super) struct Mark([(PathBuf, u64); 2]);

/// The waits of requests at gateways.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Parked {
    /// Requests that waited.
    pub(super) requests: usize,
    /// How long they waited, in microseconds; 0 if none did.
    pub(super) us_p50: u64,
    /// As `us_p50`.
    pub(super) us_p99: u64,
    /// As `us_p50`.
    pub(super) us_max: u64,
    /// The longest time from the first request withheld to the first byte sent on, at one gateway, in microseconds.
    pub(super) pause_us_max: u64,
}

impl Mark {
    /// Here the logs are now.
    pub(super) fn set(layout: &Layout) -> Self {
        Self(GATEWAYS.map(|gateway| {
            let path = layout.parked_log(gateway);
            // Without a log nothing has waited yet.
            let bytes = path.metadata().map_or(0, |metadata| metadata.len());
            (path, bytes)
        }))
    }

    /// What was logged since.
    ///
    /// # Errors
    /// A log cannot be read.
    pub(super) fn since(&self) -> std::io::Result<Parked> {
        let mut lines = Vec::new();
        for (path, from) in &self.0 {
            let mut file = match File::open(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                file => file?,
            };
            file.seek(SeekFrom::Start(*from))?;
            for line in BufReader::new(file).lines() {
                // A line of which only a part is written yet is of the next window.
                lines.extend(serde_json::from_str::<ParkedLine>(&line?).ok());
            }
        }
        Ok(Parked::of(&lines))
    }
}

impl Parked {
    fn of(lines: &[ParkedLine]) -> Self {
        let (mut waits, mut pause_us_max) = (Vec::new(), 0);
        for line in lines {
            match line {
                ParkedLine::Request { instance, waited_us, .. } if instance == APP => waits.push(*waited_us),
                ParkedLine::Pause { instance, parked_us, .. } if instance == APP => {
                    pause_us_max = pause_us_max.max(parked_us.unwrap_or(0));
                }
                ParkedLine::Request { .. } | ParkedLine::Pause { .. } => {}
            }
        }
        waits.sort_unstable();
        // The least wait that so many of a hundred do not exceed.
        let quantile = |percent: usize| {
            let rank = (waits.len() * percent).div_ceil(100);
            rank.checked_sub(1).and_then(|at| waits.get(at)).copied().unwrap_or(0)
        };
        Self {
            requests: waits.len(),
            us_p50: quantile(50),
            us_p99: quantile(99),
            us_max: quantile(100),
            pause_us_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;

    fn request(waited_us: u64) -> String {
        format!(
            "{{\"kind\":\"request\",\"instance\":\"sessions\",\"began_unix_us\":1,\"waited_us\":{waited_us},\"end\":\"replied\"}}\n"
        )
    }

    #[test]
    fn only_what_was_logged_after_the_mark_counts() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path()).unwrap();
        assert_eq!(Mark::set(&layout).since().unwrap(), Parked::default());
        let log = layout.parked_log(GatewayId(1));
        layout.make(log.parent().unwrap()).unwrap();
        std::fs::write(&log, request(900)).unwrap();
        let mark = Mark::set(&layout);
        let mut file = OpenOptions::new().append(true).open(&log).unwrap();
        let pause = "{\"kind\":\"pause\",\"instance\":\"sessions\",\"began_unix_us\":1,\"parked_us\":70,\"requests\":3,\"failed\":0}\n";
        let half = "{\"kind\":\"request\",\"inst";
        write!(file, "{}{}{}{pause}{half}", request(30), request(10), request(20)).unwrap();
        let parked = mark.since().unwrap();
        assert_eq!(parked, Parked { requests: 3, us_p50: 20, us_p99: 30, us_max: 30, pause_us_max: 70 });
    }
}
