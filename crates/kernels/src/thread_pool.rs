//! The thread pool of the CPU kernels. Between jobs the workers spin, because a step consists of hundreds of
//! jobs of a few microseconds each; they go to sleep when no job comes.
#![allow(
    unsafe_code,
    reason = "what is lent to threads for the length of a call has no lifetime that they could name"
)]

use std::any::Any;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

/// How often a worker polls before it sleeps: some fifty microseconds.
const POLLS: usize = 1 << 11;
/// The layout of `ThreadPool::state`: the bits below `OPEN` count the workers that are in the job, `OPEN` says that
/// workers may join it, and the bits above are its generation.
const OPEN: u64 = 1 << 31;
const NEXT: u64 = 1 << 32;

/// A parallel loop: task indices, handed out by a counter.
struct Job<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    count: usize,
    next: AtomicUsize,
    panicked: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Job<'_> {
    fn work(&self) {
        let all = || {
            loop {
                let task = self.next.fetch_add(1, Ordering::Relaxed);
                if task >= self.count {
                    return;
                }
                (self.task)(task);
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(all)) {
            self.next.fetch_max(self.count, Ordering::Relaxed);
            *self.panicked.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
    }
}

/// The workers, apart from the calling thread.
struct ThreadPool {
    others: usize,
    state: AtomicU64,
    job: AtomicPtr<()>,
    /// Held by the thread that runs a job; one at a time.
    turn: Mutex<()>,
    asleep: Mutex<usize>,
    sleepers: AtomicUsize,
    wake: Condvar,
}

static CREW: OnceLock<ThreadPool> = OnceLock::new();

fn crew() -> &'static ThreadPool {
    let crew = CREW.get_or_init(|| ThreadPool {
        others: rayon::current_num_threads().saturating_sub(1),
        state: AtomicU64::new(0),
        job: AtomicPtr::new(std::ptr::null_mut()),
        turn: Mutex::new(()),
        asleep: Mutex::new(0),
        sleepers: AtomicUsize::new(0),
        wake: Condvar::new(),
    });
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        for index in 0..crew.others {
            let name = format!("engine-{index}");
            // A worker that can't be started is missing from the pool, and nothing else.
            let _ = std::thread::Builder::new().name(name).spawn(|| crew.serve());
        }
    });
    crew
}

/// The number of threads that share work, the calling thread included.
pub(crate) fn threads() -> usize {
    crew().others + 1
}

/// Runs all tasks on the threads that are free, and returns when all are done. A panic in a task is resumed
/// here.
pub(crate) fn tasks(count: usize, task: impl Fn(usize) + Sync) {
    if count <= 1 || threads() == 1 {
        return (0..count).for_each(task);
    }
    let crew = crew();
    // Another thread has the pool: the calling thread runs all tasks itself.
    let Ok(turn) = crew.turn.try_lock() else { return (0..count).for_each(task) };
    let job = Job { task: &task, count, next: AtomicUsize::new(0), panicked: Mutex::new(None) };
    crew.job.store((&raw const job).cast_mut().cast(), Ordering::Relaxed);
    crew.state.fetch_add(NEXT | OPEN, Ordering::SeqCst);
    if crew.sleepers.load(Ordering::SeqCst) > 0 {
        drop(crew.asleep.lock().unwrap_or_else(PoisonError::into_inner));
        crew.wake.notify_all();
    }
    job.work();
    crew.state.fetch_and(!OPEN, Ordering::SeqCst);
    // No worker can join any more; wait for those that did to finish their last task.
    let mut polls = 0usize;
    while crew.state.load(Ordering::Acquire) & (OPEN - 1) > 0 {
        polls += 1;
        if polls.is_multiple_of(POLLS) {
            std::thread::yield_now();
        }
        std::hint::spin_loop();
    }
    let panicked = job.panicked.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(turn);
    if let Some(panic) = panicked {
        resume_unwind(panic);
    }
}

impl ThreadPool {
    fn serve(&self) {
        let mut seen = 0;
        loop {
            let state = self.await_work(seen);
            seen = state / NEXT;
            if self.state.compare_exchange(state, state + 1, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                // Another worker joined in between, or the job was closed: look at the same job again.
                seen = seen.wrapping_sub(1);
                continue;
            }
            let job: *const Job<'_> = self.job.load(Ordering::Relaxed).cast_const().cast();
            // SAFETY: the job was open when this worker joined it, and `tasks` does not return before all
            // workers that joined have left.
            unsafe { (*job).work() };
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for a job that this worker has not joined yet. Returns the state.
    fn await_work(&self, seen: u64) -> u64 {
        let open = |state: u64| state & OPEN > 0 && state / NEXT != seen;
        loop {
            for _ in 0..POLLS {
                let state = self.state.load(Ordering::SeqCst);
                if open(state) {
                    return state;
                }
                std::hint::spin_loop();
            }
            let mut asleep = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
            *asleep += 1;
            self.sleepers.store(*asleep, Ordering::SeqCst);
            if !open(self.state.load(Ordering::SeqCst)) {
                asleep = self.wake.wait(asleep).unwrap_or_else(PoisonError::into_inner);
            }
            *asleep -= 1;
            self.sleepers.store(*asleep, Ordering::SeqCst);
        }
    }
}

/// Collects the values that tasks return, in order.
pub fn made<T: Send>(count: usize, make: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let mut all: Vec<Option<T>> = (0..count).map(|_| None).collect();
    pieces(&mut all, 1, |index, piece| {
        if let [one] = piece {
            *one = Some(make(index));
        }
    });
    all.into_iter().flatten().collect()
}

/// Part of a row-major matrix that one task may write: some columns of some rows.
pub(crate) struct Band<'a> {
    first: *mut f32,
    stride: usize,
    width: usize,
    rows: usize,
    rows_of: PhantomData<&'a mut [f32]>,
}

impl Band<'_> {
    pub(crate) const fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn row(&mut self, row: usize) -> &mut [f32] {
        if row >= self.rows {
            return &mut [];
        }
        // SAFETY: within the lent slice, and no other band has these columns of the row.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(row * self.stride), self.width) }
    }
}

/// A pointer that the tasks of one call share.
struct Shared<T>(*mut T);
// SAFETY: each task accesses another part of what it points to.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    const fn at(&self, index: usize) -> *mut T {
        self.0.wrapping_add(index)
    }
}

/// Runs tasks that each write `width` of the `columns`, or the remaining ones, in all rows.
pub(crate) fn bands(
    out: &mut [f32],
    stride: usize,
    columns: Range<usize>,
    width: usize,
    task: impl Fn(usize, &mut Band<'_>) + Sync,
) {
    let rows = out.len().checked_div(stride).unwrap_or_default();
    if rows == 0 || width == 0 || columns.end > stride {
        return;
    }
    let all = Shared(out.as_mut_ptr());
    tasks(columns.len().div_ceil(width), |index| {
        let start = columns.start + index * width;
        let width = width.min(columns.end - start);
        task(index, &mut Band { first: all.at(start), stride, width, rows, rows_of: PhantomData });
    });
}

/// Runs a task for each cell of a grid: runs of rows of the given `heights`, by columns of this `width`. A
/// task gets the index of its run with the run's first row, and the index of its columns.
pub(crate) fn grid(
    out: &mut [f32],
    stride: usize,
    heights: &[usize],
    width: usize,
    task: impl Fn((usize, usize), usize, &mut Band<'_>) + Sync,
) {
    let columns = stride.checked_div(width).unwrap_or_default();
    let mut rows = 0;
    let starts: Vec<(usize, usize)> = heights
        .iter()
        .map(|height| {
            rows += height;
            (rows - height, *height)
        })
        .collect();
    if rows * stride > out.len() {
        return;
    }
    let all = Shared(out.as_mut_ptr());
    tasks(heights.len() * columns, |index| {
        let (height, column) = (index / columns, index % columns);
        let Some((start, rows)) = starts.get(height).copied() else { return };
        let first = all.at(start * stride + column * width);
        task((height, start), column, &mut Band { first, stride, width, rows, rows_of: PhantomData });
    });
}

/// Runs tasks that each write one chunk of this size; the last one may be shorter.
pub(crate) fn pieces<T: Send>(out: &mut [T], size: usize, task: impl Fn(usize, &mut [T]) + Sync) {
    let (all, length) = (Shared(out.as_mut_ptr()), out.len());
    tasks(length.div_ceil(size.max(1)), |index| {
        let start = index * size.max(1);
        // SAFETY: within the lent slice, and no other task has this chunk.
        let piece = unsafe { std::slice::from_raw_parts_mut(all.at(start), size.max(1).min(length - start)) };
        task(index, piece);
    });
}

/// How many of `rows` rows a task takes.
pub(crate) fn share(rows: usize) -> usize {
    rows.div_ceil(threads() * 4).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once_whoever_asks() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..2_000usize {
                        let mut numbers = vec![0usize; round % 37];
                        pieces(&mut numbers, 3, |index, piece| {
                            piece.iter_mut().for_each(|number| *number += index + 1);
                        });
                        assert!(numbers.iter().enumerate().all(|(at, number)| *number == at / 3 + 1));
                    }
                });
            }
        });
    }

    #[test]
    fn bands_are_columns_and_no_others() {
        let mut numbers = vec![0.0; 5 * 70];
        bands(&mut numbers, 70, 10..67, 16, |index, band| {
            for row in 0..5 {
                band.row(row).iter_mut().for_each(|number| *number += (row * 100 + index + 1) as f32);
            }
            assert!(band.row(5).is_empty());
        });
        for (row, numbers) in numbers.chunks(70).enumerate() {
            for (column, number) in numbers.iter().enumerate() {
                let wanted = if (10..67).contains(&column) { row * 100 + (column - 10) / 16 + 1 } else { 0 };
                assert_eq!(*number, wanted as f32, "{row} {column}");
            }
        }
    }

    #[test]
    fn a_grid_is_rows_of_columns() {
        let mut numbers = vec![0.0; 7 * 12];
        grid(&mut numbers, 12, &[3, 1, 3], 4, |(height, first), column, band| {
            for row in 0..3 {
                let number = (first * 100 + height * 10 + column + 1) as f32;
                band.row(row).iter_mut().for_each(|each| *each += number);
            }
        });
        for (row, numbers) in numbers.chunks(12).enumerate() {
            let (height, first) = [(0, 0), (0, 0), (0, 0), (1, 3), (2, 4), (2, 4), (2, 4)][row];
            for (column, number) in numbers.iter().enumerate() {
                assert_eq!(*number, (first * 100 + height * 10 + column / 4 + 1) as f32);
            }
        }
    }

    #[test]
    fn a_task_that_panics_is_told_to_who_asked() {
        let panics = || tasks(64, |index| assert!(index != 40, "forty"));
        assert!(catch_unwind(panics).is_err());
        let done = AtomicUsize::new(0);
        tasks(64, |_| {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.into_inner(), 64);
    }
}
