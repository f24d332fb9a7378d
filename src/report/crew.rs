//! Threads that share out the agents of a fleet.

use std::{
    panic::resume_unwind,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// Items a thread is worth starting for.
const ITEMS_PER_THREAD_MIN: usize = 8;
/// Threads of one question; several may be answered at once.
const THREADS_MAX: usize = 8;

/// Runs `work` over all items, on as many threads as there are processors to keep busy. Results come in
/// the order of the items; beside them what each thread gathered, in no order.
///
/// # Errors
/// The first in the order of the items; what comes after it is not begun.
pub(super) fn share_out<I: Sync, T: Send, G: Default + Send, E: Send>(
    items: &[I],
    work: impl Fn(&I, &mut G) -> Result<T, E> + Sync,
) -> Result<(Vec<T>, Vec<G>), E> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let worthwhile = items.len() / ITEMS_PER_THREAD_MIN;
    share_among(processors.min(worthwhile).min(THREADS_MAX), items, &work)
}

/// The same on the calling thread and so many less one beside it.
fn share_among<I: Sync, T: Send, G: Default + Send, E: Send>(
    threads: usize,
    items: &[I],
    work: &(impl Fn(&I, &mut G) -> Result<T, E> + Sync),
) -> Result<(Vec<T>, Vec<G>), E> {
    let next = AtomicUsize::new(0);
    let share = || -> Share<T, G, E> {
        let mut share = Share {
            done: Vec::new(),
            gathered: G::default(),
            failed: None,
        };
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else {
                return share;
            };
            match work(item, &mut share.gathered) {
                Ok(result) => share.done.push((at, result)),
                Err(error) => {
                    // Whatever comes before it was handed out before it, and will be finished.
                    next.fetch_max(items.len(), Ordering::Relaxed);
                    share.failed = Some((at, error));
                    return share;
                }
            }
        }
    };
    let shares = thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads)
            // Without another thread there is still this one.
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, share).ok())
            .collect();
        let mut shares = vec![share()];
        for helper in helpers {
            shares.push(helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        shares
    });
    let mut done = Vec::with_capacity(items.len());
    let mut gathered = Vec::with_capacity(shares.len());
    let mut failed: Option<(usize, E)> = None;
    for share in shares {
        done.extend(share.done);
        gathered.push(share.gathered);
        failed = failed
            .into_iter()
            .chain(share.failed)
            .min_by_key(|(at, _)| *at);
    }
    if let Some((_, error)) = failed {
        return Err(error);
    }
    done.sort_unstable_by_key(|(at, _)| *at);
    Ok((
        done.into_iter().map(|(_, result)| result).collect(),
        gathered,
    ))
}

/// What one thread did.
struct Share<T, G, E> {
    done: Vec<(usize, T)>,
    gathered: G,
    failed: Option<(usize, E)>,
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::Barrier,
    };

    use super::*;

    #[test]
    fn results_keep_their_order_and_nothing_is_done_twice() {
        let items: Vec<u64> = (0..1000).collect();
        for threads in [0, 1, 2, 5] {
            let (results, sums) = share_among(threads, &items, &|item, sum: &mut u64| {
                *sum += item;
                Ok::<_, ()>(item * 2)
            })
            .unwrap();
            assert_eq!(results, items.iter().map(|i| i * 2).collect::<Vec<_>>());
            assert_eq!(sums.len(), threads.max(1));
            assert_eq!(sums.iter().sum::<u64>(), 499_500);
        }
        let (none, _) = share_out(&[] as &[u8], |_, (): &mut ()| Ok::<_, ()>(1)).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn the_first_error_is_told_whoever_meets_it() {
        // Both fail at the same time; one of the threads has the later item.
        let both = Barrier::new(2);
        for _ in 0..50 {
            let failed = share_among(2, &[0, 1, 2, 3], &|item, (): &mut ()| {
                if *item < 2 {
                    both.wait();
                }
                Err::<(), _>(*item)
            });
            assert_eq!(failed.unwrap_err(), 0);
        }
    }

    #[test]
    fn a_panic_goes_on_in_the_caller() {
        let broken = catch_unwind(AssertUnwindSafe(|| {
            let both = Barrier::new(2);
            share_among(2, &[1, 2], &|item, (): &mut ()| {
                both.wait();
                assert!(*item == 1, "two");
                Ok::<_, ()>(())
            })
        }));
        assert_eq!(broken.unwrap_err().downcast_ref::<&str>(), Some(&"two"));
    }
}
