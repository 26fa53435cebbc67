//! SIGINT, SIGTERM, SIGHUP and SIGQUIT end a run cleanly: loops over data call [`check`], and
//! values clean up when they are dropped on the way out. A second signal ends the process at once,
//! if it comes a second or more later: a terminal that is closed sends two at the same time, and so
//! does timeout(1). The next run sweeps what such a process leaves.

use crate::error::{Error, Result};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// When the first signal came, in milliseconds of the monotonic clock; 0 before.
static FIRST: AtomicI64 = AtomicI64::new(0);

/// The actions that are registered for the signals.
static ACTIONS: Mutex<Vec<SigId>> = Mutex::new(Vec::new());

/// Catches the signals from now on; called once, by the program's entry.
pub fn install() -> Result<()> {
    let mut actions = ACTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    for signal in handled_signals() {
        // SAFETY: the action makes only system calls that may be made in a signal handler, and
        // touches nothing but atomics.
        actions.push(unsafe { signal_hook::low_level::register(signal, on_signal) }?);
    }
    Ok(())
}

/// Runs in the signal handler.
fn on_signal() {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to `now`, which lives; it may be made in a signal handler.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    #[allow(clippy::unnecessary_cast)]
    let milliseconds = now.tv_sec as i64 * 1000 + now.tv_nsec as i64 / 1_000_000;
    match FIRST.compare_exchange(0, milliseconds.max(1), Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => REQUESTED.store(true, Ordering::SeqCst),
        Err(first) if milliseconds - first >= 1000 => signal_hook::low_level::exit(130),
        Err(_) => {}
    }
}

/// The signals that end a run. Ignored ones do not: with `nohup`, and for the background jobs of a
/// plain shell, the caller does not want them to.
pub fn handled_signals() -> Vec<i32> {
    [SIGINT, SIGTERM, SIGHUP, SIGQUIT]
        .into_iter()
        .filter(|signal| !is_ignored(*signal))
        .collect()
}

/// Runs `work`, during which signals do not end this run: they are for another program, and `work`
/// passes them on to it.
pub fn suspend_during<T>(work: impl FnOnce() -> T) -> Result<T> {
    check()?;
    for id in ACTIONS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .drain(..)
    {
        signal_hook::low_level::unregister(id);
    }
    let done = work();
    install()?;
    Ok(done)
}

fn is_ignored(signal: i32) -> bool {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with no new action the call only writes the present one to `now`, which is read only
    // where it succeeded.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) == 0
            && now.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Whether a signal has come.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// An error once a signal has come.
pub fn check() -> Result<()> {
    if requested() {
        Err(Error::interrupted())
    } else {
        Ok(())
    }
}
