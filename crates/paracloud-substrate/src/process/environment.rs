//! What a process was started with, as the kernel shows it.
//!
//! Who is just replacing its program (`execve`) shows an empty environment for a moment, and one that is read then says nothing
//! of it. So it is read again until all of it was, and the look fails if that goes on.

use super::{is_dead, shown};
use procfs::ProcResult;
use procfs::process::Process;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// How often it is read within one look.
const READS_MAX: u32 = 50;
/// The time between these.
const READ_AGAIN: Duration = Duration::from_millis(1);
/// Of `Stat::flags`: a process is the kernel's own, and has none (`PF_KTHREAD` of Linux's `sched.h`).
const IS_KERNELS: u32 = 0x0020_0000;

/// The variables of a process, each ended by a zero. In which encoding is not said, and a program may have written
/// something else in their place.
#[derive(Debug, Clone)]
pub struct Environment(Vec<u8>);

impl Environment {
    /// That of a process. `None`: it is gone or dead, or this user is not shown it, now or later.
    ///
    /// # Errors
    /// It could not be read; or it has none yet, again and again, because the process replaces its program on and on.
    pub fn of(process: &Process) -> io::Result<Option<Self>> {
        let mut last = None;
        for _ in 0..READS_MAX {
            let Some(variables) = shown(read(process))? else { return Ok(None) };
            // Looked at after it was read: so all of it was, if that is as long.
            let Some(stat) = shown(process.stat())?.filter(|stat| !is_dead(stat)) else { return Ok(None) };
            let (start, end) = (stat.env_start.unwrap_or(0), stat.env_end.unwrap_or(0));
            let length = u64::try_from(variables.len()).unwrap_or(u64::MAX);
            let is_whole = length != 0 && Some(length) == end.checked_sub(start);
            // It has none yet while it ends nowhere (0), and is empty until its variables are counted.
            let seen = (end != 0).then_some((start, end, length));
            if is_whole || (seen.is_some() && seen == last) || stat.flags & IS_KERNELS != 0 {
                return Ok(Some(Self(variables)));
            }
            last = seen;
            std::thread::sleep(READ_AGAIN);
        }
        let text =
            format!("process {} replaces its program on and on: its environment is not seen", process.pid);
        Err(io::Error::new(io::ErrorKind::WouldBlock, text))
    }

    /// The value of a variable, if it is there.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        let mut variables = self.0.split(|byte| *byte == 0);
        variables
            .find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
            .map(OsStr::from_bytes)
    }
}

fn read(process: &Process) -> ProcResult<Vec<u8>> {
    let mut variables = Vec::new();
    process.open_relative("environ")?.read_to_end(&mut variables)?;
    Ok(variables)
}
