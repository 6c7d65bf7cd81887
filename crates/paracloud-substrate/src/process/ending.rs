//! Ends what a process has left, look after look, and nobody else.

use super::{Identity, signal};
use rustix::process::Signal;

/// After so many looks the last one is killed together with the others, though new ones come all the while.
const LOOKS_UNTIL_ALL: u32 = 20;

/// Kills those who are left, in an order in which it stays known whose they are.
#[derive(Debug, Default)]
pub struct Ending {
    told: Vec<Identity>,
    looks: u32,
}

impl Ending {
    /// Kills these, whom a look at a [`Trail`](super::Trail) has just found. The last one proves whose the others are:
    /// it is killed once nobody else has come since the look before, or has come for too long.
    pub fn kill(&mut self, left: &[Identity]) {
        let Some((last, others)) = left.split_last() else { return };
        self.looks = self.looks.saturating_add(1);
        let is_last = self.looks > LOOKS_UNTIL_ALL || others.iter().all(|other| self.told.contains(other));
        signal_each(others, Signal::KILL);
        if is_last {
            signal_each(std::slice::from_ref(last), Signal::KILL);
        }
        self.told = others.to_vec();
    }
}

/// Signals these, each by a handle that can mean nobody else.
pub fn signal_each(identities: &[Identity], which: Signal) {
    for identity in identities {
        if let Ok(Some(handle)) = identity.open() {
            // Who cannot be signalled is seen at the next look.
            let _ = signal(&handle, which);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command};

    struct Sleeper(Child, Identity);

    impl Sleeper {
        fn start() -> Self {
            let child = Command::new("sleep").arg("600").spawn().unwrap();
            let identity = Identity::of(child.id().cast_signed()).unwrap();
            Self(child, identity)
        }

        fn is_killed(&mut self) -> bool {
            self.0.wait().unwrap().signal() == Some(9)
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn who_proves_whose_the_others_are_is_killed_after_them_but_not_never() {
        let (mut first, mut second, mut proof) = (Sleeper::start(), Sleeper::start(), Sleeper::start());
        let mut ending = Ending::default();
        ending.kill(&[first.1.clone(), proof.1.clone()]);
        assert!(first.is_killed() && proof.1.is_alive().unwrap());
        // Another one has come meanwhile.
        ending.kill(&[second.1.clone(), proof.1.clone()]);
        assert!(second.is_killed() && proof.1.is_alive().unwrap());
        ending.kill(std::slice::from_ref(&proof.1));
        assert!(proof.is_killed());

        let mut proof = Sleeper::start();
        let mut ending = Ending::default();
        for look in 0..=LOOKS_UNTIL_ALL {
            assert!(proof.1.is_alive().unwrap(), "{look}");
            let new = Identity { start_ticks: look.into(), ..first.1.clone() };
            ending.kill(&[new, proof.1.clone()]);
        }
        assert!(proof.is_killed());
    }

    #[test]
    fn whoever_has_the_pid_of_one_that_was_found_hears_nothing() {
        let mut stranger = Sleeper::start();
        let earlier = Identity { start_ticks: stranger.1.start_ticks - 1, ..stranger.1.clone() };
        let reboot = Identity { boot_id: "an earlier one".to_owned(), ..stranger.1.clone() };
        for dead in [earlier, reboot] {
            let mut ending = Ending::default();
            ending.kill(std::slice::from_ref(&dead));
            signal_each(&[dead], Signal::KILL);
        }
        // Who was sent SIGKILL before ends by it.
        signal(&stranger.1.open().unwrap().unwrap(), Signal::TERM).unwrap();
        assert_eq!(stranger.0.wait().unwrap().signal(), Some(15));
    }
}
