//! The engine can panic on damaged pages. Where that is expected and caught, nothing is printed.

use std::{cell::Cell, panic, sync::Once};

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Makes the thread as loud as it was.
struct Restore(bool);
impl Drop for Restore {
    fn drop(&mut self) {
        IS_QUIET.set(self.0);
    }
}

/// Runs `work`; panics of this thread meanwhile print nothing. The caller catches them.
pub(super) fn quietly<T>(work: impl FnOnce() -> T) -> T {
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_QUIET.get() {
                loud(info);
            }
        }));
    });
    let _restore = Restore(IS_QUIET.replace(true));
    work()
}
