//! What comes from one side of a WebSocket, unit by unit, and the room that it takes meanwhile.

use crate::bounds::{MESSAGE_BYTES_FREE, MESSAGE_BYTES_MAX};
use crate::frames::{Breach, Frames, From, Unit};
use crate::room::{Room, Taken};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

/// What comes from one side.
pub(crate) struct Side {
    pub(crate) socket: OwnedReadHalf,
    pub(crate) read: BytesMut,
    frames: Frames,
    /// For what was read and not passed on, the unit given out last included.
    taken: Taken,
}

/// Why nothing comes from a side any more.
pub(crate) enum End {
    /// It closed, and that was relayed.
    Closed,
    /// It is gone, or the other side is.
    Gone,
    /// It broke the rules.
    Breach(Breach),
    /// The process is no longer the owner: it was told to close.
    Left,
    /// A message of the client waited for too long.
    Late,
    /// There is no room for a message.
    Full,
}

impl Side {
    /// Nothing came but what was read with the handshake.
    pub(crate) fn new(socket: OwnedReadHalf, read: &Bytes, from: From, room: &Arc<Room>) -> Self {
        let frames = Frames::new(from, MESSAGE_BYTES_MAX);
        Self { socket, read: BytesMut::from(&read[..]), frames, taken: room.none() }
    }

    /// The next unit; the one before is not needed any more. It may be dropped and called again without loss.
    pub(crate) async fn next(&mut self) -> Result<Unit, End> {
        self.take_room()?;
        loop {
            if let Some(unit) = self.frames.next(&mut self.read).map_err(End::Breach)? {
                return Ok(unit);
            }
            match self.socket.read_buf(&mut self.read).await {
                Ok(0) | Err(_) => return Err(End::Gone),
                Ok(_) => self.take_room()?,
            }
        }
    }

    /// What was read and is in no unit yet, in bytes.
    fn unread(&self) -> usize {
        self.read.len() + self.frames.begun_bytes()
    }

    /// Takes room for what was read, and gives back what is not needed.
    fn take_room(&mut self) -> Result<(), End> {
        let bytes = self.unread();
        if bytes > MESSAGE_BYTES_FREE {
            return if self.taken.resize(bytes) { Ok(()) } else { Err(End::Full) };
        }
        if self.taken.bytes() > 0 {
            // The memory of a long message goes with it.
            self.read = BytesMut::from(&self.read[..]);
            self.taken.resize(0);
        }
        Ok(())
    }

    /// Takes room for a message that waits, too, however short it is.
    pub(crate) fn take_room_for(&mut self, message: &Bytes) -> Result<(), End> {
        let bytes = self.unread() + message.len();
        if self.taken.resize(bytes) { Ok(()) } else { Err(End::Full) }
    }
}
