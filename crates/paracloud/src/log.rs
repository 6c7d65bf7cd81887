//! Where a shell logs: standard error, which `up` makes a file of the cloud's directory. A log that cannot be written
//! (a full disk, a reader that went away) is no reason for a shell to end: lines are dropped and counted until writing
//! works again, and then the log says how many are missing.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use tracing_subscriber::fmt::MakeWriter;

/// A log that loses lines rather than its shell.
#[derive(Debug)]
pub struct Log<W>(Mutex<State<W>>);

#[derive(Debug)]
struct State<W> {
    out: W,
    /// Lines that are missing since the last one that was written whole.
    dropped: u64,
    /// Why the last of them is.
    why: String,
    /// What was written last is a part of a line, or may be: by whoever wrote before.
    is_torn: bool,
    /// Nothing was written yet.
    is_fresh: bool,
}

/// One line on its way into a log.
#[derive(Debug)]
pub struct Line<'a, W>(&'a Log<W>);

impl<W: Write> Log<W> {
    /// A log that nothing is missing from.
    pub fn new(out: W) -> Self {
        Self(Mutex::new(State { out, dropped: 0, why: String::new(), is_torn: false, is_fresh: true }))
    }

    fn take(&self, line: &[u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = state.catch_up().and_then(|()| state.put(line)) {
            state.dropped = state.dropped.saturating_add(1);
            state.is_torn |= state.is_fresh;
            state.why = error.to_string();
        }
    }
}

impl<W: Write> State<W> {
    /// Says how many lines are missing here, if any are.
    fn catch_up(&mut self) -> io::Result<()> {
        if self.dropped == 0 {
            return Ok(());
        }
        let lines = paracloud_substrate::figures::counted(self.dropped, "line");
        let said = format!("{lines} of this log could not be written before this one: {}\n", self.why);
        self.put(said.as_bytes())?;
        self.dropped = 0;
        Ok(())
    }

    /// Writes a whole line, or a part of it and says so.
    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            // What there is of the last one ends before the next begins.
            self.write(b"\n")?;
            self.is_torn = false;
        }
        self.write(line)
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.is_torn = bytes[..count].last() != Some(&b'\n');
                    self.is_fresh = false;
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<'a, W: Write + 'a> MakeWriter<'a> for Log<W> {
    type Writer = Line<'a, W>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self)
    }
}

impl<W: Write> Write for Line<'_, W> {
    /// Takes the whole of a line, and never fails: whoever logs has nobody to tell.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.take(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// A disk with so many bytes of room.
    #[derive(Debug, Default)]
    struct Disk {
        written: Vec<u8>,
        room: usize,
    }

    #[derive(Debug, Clone, Default)]
    struct Shared(Arc<Mutex<Disk>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let count = bytes.len().min(disk.room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.room -= count;
            disk.written.extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_missing_is_said_in_a_line_of_its_own_also_where_another_shell_left_a_part_of_one() {
        let disk = Shared::default();
        let log = Log::new(disk.clone());
        disk.0.lock().unwrap().written.extend(b"torn");
        log.make_writer().write_all(b"one\n").unwrap();
        disk.0.lock().unwrap().room = usize::MAX;
        log.make_writer().write_all(b"two\n").unwrap();
        let written = String::from_utf8(disk.0.lock().unwrap().written.clone()).unwrap();
        assert!(
            written.starts_with("torn\n1 line of this log ") && written.ends_with("\ntwo\n"),
            "{written}"
        );
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_said_when_writing_works_again() {
        let disk = Shared::default();
        let log = Log::new(disk.clone());
        let say = |line: &str| log.make_writer().write_all(line.as_bytes()).unwrap();
        let room = |room| disk.0.lock().unwrap().room = room;
        room(8);
        say("one\n");
        say("two, torn\n");
        say("three\n");
        // Room that is too little for what is to be said loses nothing of the count.
        room(10);
        say("four\n");
        room(usize::MAX);
        say("five\n");
        say("six\n");
        let written = String::from_utf8(disk.0.lock().unwrap().written.clone()).unwrap();
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let missing = format!("3 lines of this log could not be written before this one: {full}\n");
        assert_eq!(written, format!("one\ntwo,\n2 lines o\n{missing}five\nsix\n"));
    }
}
