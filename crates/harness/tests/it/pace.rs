//! What the clock of bounds takes off, and what it doesn't, on a machine that is busy.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use harness::pace::{Pace, Threads};

/// A delay that a bound of 100 ms has to refuse.
const DELAY: Duration = Duration::from_millis(300);
const BOUND: Duration = Duration::from_millis(100);

/// Ends the threads of a busy machine, however the test ends.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sleeps, which is no waiting for a CPU.
fn rest(time: Duration) {
    let (_held, never) = channel::<()>();
    assert!(never.recv_timeout(time).is_err());
}

fn work(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {}
}

/// Runs this with more busy threads than there are CPUs, and with threads that are woken again and again.
fn on_a_busy_machine(measured: impl FnOnce()) {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 * cores {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    work(Duration::from_millis(1));
                }
            });
        }
        for _ in 0..6 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    work(Duration::from_millis(1));
                    rest(Duration::from_millis(4));
                }
            });
        }
        let _ends = Ends(&is_over);
        measured();
    });
}

/// A thread that does this for each sender that it is given, and then answers there.
fn served_by(name: &str, serve: fn()) -> Sender<Sender<()>> {
    let (requests, asked) = channel::<Sender<()>>();
    let serving = move || {
        while let Ok(answer) = asked.recv() {
            serve();
            answer.send(()).unwrap();
        }
    };
    Builder::new().name(name.to_owned()).spawn(serving).unwrap();
    requests
}

fn asked(requests: &Sender<Sender<()>>) {
    let (answer, answered) = channel();
    requests.send(answer).unwrap();
    answered.recv().unwrap();
}

#[test]
fn a_delay_on_the_path_counts_however_busy_the_machine_is() {
    on_a_busy_machine(|| {
        let pace = Pace::start(&[]);
        rest(DELAY);
        let took = pace.elapsed();
        // Once in sixty, Linux 6.18 counts the whole sleep as waiting: it may move a sleeping thread to another CPU, and begins to count there.
        assert!(took >= DELAY / 2 && took > BOUND, "a sleep is no waiting for a CPU: {took:?}");

        let late = served_by("late", || rest(DELAY));
        let pace = Pace::start(&[Threads::of(std::process::id(), "late")]);
        asked(&late);
        let took = pace.elapsed();
        assert!(took >= DELAY / 2 && took > BOUND, "{took:?}");
    });
}

#[test]
fn half_of_a_span_counts_however_long_the_path_waits_for_a_cpu() {
    on_a_busy_machine(|| {
        let (whole, busy) = (Instant::now(), served_by("busy", || work(DELAY)));
        let pace = Pace::start(&[Threads::of(std::process::id(), "busy")]);
        asked(&busy);
        let (took, whole) = (pace.elapsed(), whole.elapsed());
        assert!(took >= DELAY / 2 && took < whole * 9 / 10, "{took:?} of {whole:?}");
    });
}
