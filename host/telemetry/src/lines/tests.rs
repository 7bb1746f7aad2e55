use std::sync::{Condvar, Mutex};

use super::*;

/// A sink that takes nothing until it is opened.
#[derive(Clone, Default)]
struct Gate {
    /// Whether it is open, and what it took.
    taken: Arc<Mutex<(bool, Vec<u8>)>>,
    opened: Arc<Condvar>,
}

impl Gate {
    fn open(&self) {
        self.taken.lock().unwrap().0 = true;
        self.opened.notify_all();
    }

    fn written(&self) -> String {
        String::from_utf8(self.taken.lock().unwrap().1.clone()).unwrap()
    }
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let shut = self.taken.lock().unwrap();
        let mut open = self.opened.wait_while(shut, |(open, _)| !*open).unwrap();
        // A part of it only, as a pipe may.
        let taken = bytes.len().div_ceil(2);
        open.1.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A sink that is closed.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_sink_that_takes_nothing_holds_nobody_up_and_what_waited_goes_out_in_order() {
    let gate = Gate::default();
    let lines = Lines::to(gate.clone()).unwrap();
    for number in 0..LINES + 100 {
        lines.push(format!("{number}\n").as_bytes());
    }
    assert!(!lines.flush(Duration::from_millis(1)), "nothing is out");
    // One may be in the thread's hands beside those that wait.
    let dropped = lines.dropped();
    assert!((99..=100).contains(&dropped), "{dropped} dropped");
    assert!(lines.is_stuck());
    gate.open();
    assert!(lines.flush(LONG));
    assert!(!lines.is_stuck(), "told");
    let numbers: Vec<usize> = gate.written().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers.len(), LINES + 100 - usize::try_from(dropped).unwrap());
    assert_eq!(numbers[..LINES], (0..LINES).collect::<Vec<_>>());
    // The thread may have taken its one when some were dropped already: the next after those found its room.
    assert!(numbers.is_sorted(), "{:?}", &numbers[LINES..]);
}

#[test]
fn few_large_lines_are_bounded_too_and_their_room_is_free_again() {
    let gate = Gate::default();
    let lines = Lines::to(gate.clone()).unwrap();
    let large = vec![b'x'; BYTES / 4];
    (0..10).for_each(|_| lines.push(&large));
    assert_eq!(lines.dropped(), 6);
    gate.open();
    assert!(lines.flush(LONG));
    (0..4).for_each(|_| lines.push(&large));
    assert!(lines.flush(LONG));
    assert_eq!(lines.dropped(), 6);
}

#[test]
fn a_closed_sink_ends_nothing_and_each_line_is_counted() {
    let lines = Lines::to(Closed).unwrap();
    (0..10).for_each(|_| lines.push(b"lost\n"));
    assert!(lines.flush(LONG));
    assert_eq!(lines.dropped(), 10);
}
