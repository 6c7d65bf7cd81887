//! A cloud that stands still where a promise is made, until it is let go.

use crate::rig::{Rig, Up, wait_until};
use paracloud_core::migration::promises::{Point, Promise};
use paracloud_substrate::failpoint;
use std::path::PathBuf;

/// Where points are armed.
pub(crate) struct Points(PathBuf);

impl Points {
    /// Starts `up` so that points can be armed in it, and waits until it serves.
    pub(crate) fn up(rig: &Rig) -> (Up, Self) {
        let directory = rig.path().join("points");
        std::fs::create_dir(&directory).expect("a directory of our own");
        let mut up = rig.up(&[(failpoint::DIRECTORY, directory.to_str().expect("UTF-8"))]);
        up.serving();
        (up, Self(directory))
    }

    /// Begins a move of `sessions`, and waits until its controller stands still at this point.
    pub(crate) fn move_until(&self, rig: &Rig, promise: Promise, point: Point) {
        self.arm(promise, point);
        let begun = rig.run(&["move", "sessions", "--no-wait"]);
        assert_eq!(begun.code, 0, "{}", begun.err);
        self.fired(promise, point);
    }

    /// Whoever makes this promise next is to stand still there.
    pub(crate) fn arm(&self, promise: Promise, point: Point) {
        std::fs::write(self.0.join(format!("{promise}.{point}")), "").expect("a file of our own");
    }

    /// Waits until it does.
    pub(crate) fn fired(&self, promise: Promise, point: Point) {
        let fired = self.0.join(format!("{promise}.{point}.fired"));
        wait_until("the controller stands still", || fired.exists());
    }

    /// Lets it go on.
    pub(crate) fn go(&self, promise: Promise, point: Point) {
        std::fs::write(self.0.join(format!("{promise}.{point}.go")), "").expect("a file of our own");
    }
}
