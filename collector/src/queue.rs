//! A queue between whoever reads the network and whoever stores: bounded in messages, and in octets,
//! since one datagram may be a thousand times as long as another.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Messages.
    pub(crate) messages: usize,
    /// Octets of all messages together, as they came.
    pub(crate) octets: usize,
}

/// The way in. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    messages: mpsc::Sender<Waiting<T>>,
    room: Arc<Semaphore>,
    octets: usize,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        let (messages, room) = (self.messages.clone(), Arc::clone(&self.room));
        Self { messages, room, octets: self.octets }
    }
}

/// A message with the room that it takes up until this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    message: T,
    room: OwnedSemaphorePermit,
}

impl<T> Waiting<T> {
    /// The message, and its room, to be kept until the message is done with.
    pub(crate) fn parts(self) -> (T, OwnedSemaphorePermit) {
        (self.message, self.room)
    }
}

/// A queue, and its other end.
pub(crate) fn queue<T>(bounds: Bounds) -> (Queue<T>, mpsc::Receiver<Waiting<T>>) {
    let (messages, waiting) = mpsc::channel(bounds.messages);
    let room = Arc::new(Semaphore::new(bounds.octets));
    (Queue { messages, room, octets: bounds.octets }, waiting)
}

impl<T> Queue<T> {
    /// Room for a message of so many octets; one that is longer than all room takes all of it.
    fn units(&self, octets: usize) -> u32 {
        u32::try_from(octets.min(self.octets)).unwrap_or(u32::MAX)
    }

    /// Puts a message of so many octets in, if it finds room; says whether it did.
    pub(crate) fn try_send(&self, message: T, octets: usize) -> bool {
        let room = Arc::clone(&self.room).try_acquire_many_owned(self.units(octets));
        room.is_ok_and(|room| self.messages.try_send(Waiting { message, room }).is_ok())
    }

    /// Puts a message of so many octets in when there is room; says whether anybody still takes it.
    pub(crate) async fn send(&self, message: T, octets: usize) -> bool {
        let room = Arc::clone(&self.room).acquire_many_owned(self.units(octets)).await;
        let Ok(room) = room else { return false };
        self.messages.send(Waiting { message, room }).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Bounds = Bounds { messages: 4, octets: 1_000 };

    #[tokio::test]
    async fn long_messages_find_no_room_long_before_there_are_too_many_of_them() {
        let (queue, mut waiting) = queue(SMALL);
        assert!(queue.try_send("long", 900));
        assert!(!queue.try_send("longer than what is left", 101));
        assert!(queue.try_send("short", 100));
        let (message, room) = waiting.recv().await.unwrap().parts();
        assert_eq!(message, "long");
        assert!(!queue.try_send("while the first is not stored", 100));
        drop(room);
        assert!(queue.try_send("after it", 100));
    }

    #[tokio::test]
    async fn short_messages_are_bounded_by_their_number() {
        let (queue, mut waiting) = queue(SMALL);
        assert_eq!((0..10).filter(|nth| queue.try_send(*nth, 1)).count(), SMALL.messages);
        drop(waiting.recv().await);
        assert!(queue.try_send(10, 0));
    }

    #[tokio::test]
    async fn who_can_wait_waits_for_room_even_with_more_than_all_of_it() {
        let (queue, mut waiting) = queue(SMALL);
        assert!(queue.send(1, 1).await);
        let other = queue.clone();
        let sends = tokio::spawn(async move { other.send(2, SMALL.octets * 5).await });
        drop(waiting.recv().await);
        assert!(sends.await.unwrap());
        drop(waiting);
        assert!(!queue.send(3, 1).await);
    }
}
