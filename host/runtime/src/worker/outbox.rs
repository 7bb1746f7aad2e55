//! What the plugin says, on its way to the host: appended by any thread, written in batches.
//!
//! A burst becomes one write: whoever has something that should not wait (a completion, a request, a thread about to
//! park) writes all that has gathered; what nobody writes is taken along by a ticking thread within a millisecond.
//! The buffer is bounded: when it is full the plugin's thread waits, and so meets the host's pace.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{SendFlags, send},
};

/// Bytes that may wait; a frame that alone is larger waits until it is alone.
const BOUND: usize = 1024 * 1024;
/// How long a frame that nobody flushes waits at most.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without work after which the ticking thread sleeps until it is woken.
const IDLE_TICKS: u32 = 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    socket: OwnedFd,
    state: Mutex<State>,
    /// The buffer was emptied.
    room: Condvar,
    /// The ticking thread, asleep, has work.
    work: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// A thread is writing; it takes along what is appended meanwhile.
    writing: bool,
    /// The ticking thread sleeps for good.
    asleep: bool,
}

impl Outbox {
    /// An outbox that writes to `socket`, with its ticking thread.
    pub(crate) fn start(socket: OwnedFd) -> std::io::Result<Arc<Self>> {
        let state = Mutex::default();
        let outbox = Arc::new(Self { socket, state, room: Condvar::new(), work: Condvar::new() });
        let ticking = Arc::clone(&outbox);
        thread::Builder::new()
            .name("worker-outbox".into())
            .stack_size(64 * 1024)
            .spawn(move || ticking.tick())?;
        Ok(outbox)
    }

    /// Appends a frame, to go out within a millisecond. Waits while the buffer is full.
    pub(crate) fn push(&self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.append(encode);
        if state.asleep {
            state.asleep = false;
            self.work.notify_one();
        }
    }

    /// Appends a frame and writes all that has gathered.
    pub(crate) fn push_now(&self, encode: impl FnOnce(&mut Vec<u8>)) {
        let state = self.append(encode);
        // A thread that is writing takes it along.
        if !state.writing {
            drop(self.write(state));
        }
    }

    fn append(&self, encode: impl FnOnce(&mut Vec<u8>)) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while state.waiting.len() >= BOUND {
            if !state.writing {
                state = self.write(state);
                continue;
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        encode(&mut state.waiting);
        state
    }

    /// Writes all that has gathered, unless another thread is just doing that.
    pub(crate) fn flush(&self) {
        let state = self.lock();
        if !state.writing && !state.waiting.is_empty() {
            drop(self.write(state));
        }
    }

    /// Writes until nothing waits. Ends the process if they cannot be: the host is gone, or the plugin closed the socket.
    fn write<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.writing = true;
        let mut batch = Vec::new();
        while !state.waiting.is_empty() {
            batch.clear();
            std::mem::swap(&mut batch, &mut state.waiting);
            drop(state);
            self.room.notify_all();
            if let Err(error) = self.send(&batch) {
                super::cut_off(error);
            }
            state = self.lock();
        }
        // The larger buffer is kept, up to a bound: the next burst needs no growing.
        if batch.capacity() > state.waiting.capacity() && batch.capacity() <= BOUND {
            batch.clear();
            state.waiting = batch;
        }
        state.writing = false;
        state
    }

    fn send(&self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            match send(self.socket.as_fd(), bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn tick(&self) {
        let mut idle = 0;
        loop {
            thread::sleep(TICK);
            let mut state = self.lock();
            if !state.waiting.is_empty() {
                idle = 0;
                if !state.writing {
                    state = self.write(state);
                }
            }
            idle += 1;
            if idle > IDLE_TICKS && state.waiting.is_empty() {
                state.asleep = true;
                while state.asleep {
                    state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                idle = 0;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::net::UnixStream};

    use super::*;

    #[test]
    fn a_burst_is_one_write() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::start(theirs.into()).unwrap();
        {
            // While somebody writes, others append: simulated by holding the place.
            outbox.lock().writing = true;
            for _ in 0..100 {
                outbox.push(|out| out.extend_from_slice(b"frame"));
            }
            outbox.flush();
            outbox.lock().writing = false;
        }
        outbox.flush();
        let mut read = vec![0; 4096];
        assert_eq!(ours.read(&mut read).unwrap(), 500);
    }

    #[test]
    fn what_nobody_flushes_goes_out_all_the_same() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::start(theirs.into()).unwrap();
        for round in 0..3 {
            outbox.push(|out| out.push(round));
            let mut read = [9; 1];
            ours.read_exact(&mut read).unwrap();
            assert_eq!(read, [round]);
        }
    }

    #[test]
    fn a_full_outbox_holds_the_thread_until_the_host_reads() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::start(theirs.into()).unwrap();
        let total = 4 * BOUND;
        let writer = thread::spawn(move || {
            for _ in 0..total / 1024 {
                outbox.push(|out| out.extend_from_slice(&[7; 1024]));
            }
            outbox.flush();
        });
        let (mut read, mut chunk) = (0, vec![0; 64 * 1024]);
        while read < total {
            read += ours.read(&mut chunk).unwrap();
        }
        writer.join().unwrap();
        assert_eq!(read, total);
    }
}
