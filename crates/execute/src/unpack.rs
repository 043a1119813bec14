//! Decompresses a body on the core that serves it: one slice per turn of the event loop,
//! however many bodies there are.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use domain::limits::{
    BODY_RATIO_FREE_BYTES, BODY_RATIO_MAX, GZIP_MEMBERS_MAX, UNPACK_IDLE_BYTES_MAX, UNPACK_IDLE_SHARE,
    UNPACK_SLICE_BYTES, UNPACK_WORK_FREE, UNPACK_WORK_PER_MIB,
};
use framing::unpack::{Bounds, DecompressError, Decompressor, Encoding, Step};
use tokio::sync::Semaphore;

thread_local! {
    /// Decides whose slice is next.
    static TURNS: RefCell<Rc<Semaphore>> = RefCell::new(Rc::new(Semaphore::new(1)));
}

/// Decompresses a whole body.
///
/// # Errors
/// It is not valid in its encoding, grows past `bytes_max`, or takes more work than its size allows.
pub async fn unpack(packed: Bytes, encoding: Encoding, bytes_max: usize) -> Result<Bytes, DecompressError> {
    unpack_by(packed, encoding, bytes_max, world::clock::thread_time).await
}

const fn bounds(bytes_max: usize) -> Bounds {
    Bounds {
        bytes_max,
        ratio_max: BODY_RATIO_MAX,
        ratio_free_bytes: BODY_RATIO_FREE_BYTES,
        slice_bytes: UNPACK_SLICE_BYTES,
        idle_bytes_max: UNPACK_IDLE_BYTES_MAX,
        idle_share: UNPACK_IDLE_SHARE,
        work_free: UNPACK_WORK_FREE,
        work_per_mib: UNPACK_WORK_PER_MIB,
        members_max: GZIP_MEMBERS_MAX,
    }
}

/// With the clock that tells this thread's CPU time.
async fn unpack_by(
    packed: Bytes,
    encoding: Encoding,
    bytes_max: usize,
    worked: impl Fn() -> Duration,
) -> Result<Bytes, DecompressError> {
    let turns = TURNS.with_borrow(Rc::clone);
    let mut unpacking = Decompressor::new(packed, encoding, bounds(bytes_max));
    loop {
        // It is never closed. Held until the event loop has polled everything else, it gives the
        // next body its slice only then.
        let turn = turns.acquire().await;
        let started = worked();
        let step = unpacking.step();
        let charged = unpacking.charge(worked().saturating_sub(started));
        tokio::task::yield_now().await;
        drop(turn);
        let step = step?;
        charged?;
        if step == Step::Done {
            return Ok(unpacking.finish());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use tokio::task::LocalSet;

    /// A gzip member of empty blocks of ten bits.
    fn bomb() -> Bytes {
        let four = (0..4).fold(0_u64, |bits, at| bits | 2 << (10 * at)).to_le_bytes();
        let head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff";
        Bytes::from([head, four[..5].repeat(200_000).as_slice(), b"\x03\0\0\0\0\0\0\0\0\0"].concat())
    }

    #[test]
    fn a_neighbour_has_its_turn_after_each_slice_however_many_are_unpacked() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let slices = Rc::new(Cell::new(0_usize));
            let bombs: Vec<_> = (0..8)
                .map(|_| {
                    let slices = Rc::clone(&slices);
                    tokio::task::spawn_local(async move {
                        // It is called before a slice and after it, and each takes ten milliseconds.
                        let worked = || {
                            slices.set(slices.get() + 1);
                            Duration::from_millis(10) * u32::try_from(slices.get() / 2).unwrap()
                        };
                        unpack_by(bomb(), Encoding::Gzip, 1024, worked).await
                    })
                })
                .collect();
            let (mut seen, mut turns) = (0, 0);
            while bombs.iter().any(|bomb| !bomb.is_finished()) {
                tokio::task::yield_now().await;
                let now = slices.get();
                assert!(now - seen <= 2, "{} looks at the clock between two turns", now - seen);
                (seen, turns) = (now, turns + 1);
            }
            assert!(turns >= 8 * 21, "{turns} turns");
            for bomb in bombs {
                assert_eq!(bomb.await.unwrap(), Err(DecompressError::TooCostly));
            }
        });
    }

    #[test]
    fn work_beyond_the_bound_ends_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let calls = Cell::new(0_u32);
        let worked = || {
            calls.set(calls.get() + 1);
            // Each slice takes ten milliseconds.
            Duration::from_millis(10) * (calls.get() / 2)
        };
        let unpacked = runtime.block_on(unpack_by(bomb(), Encoding::Gzip, 1024, worked));
        assert_eq!(unpacked, Err(DecompressError::TooCostly));
        assert_eq!(calls.get(), 2 * 21);
    }
}
