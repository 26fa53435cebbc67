//! SIGINT, SIGTERM, SIGHUP and SIGQUIT end a run cleanly: whoever loops over data asks here, and
//! what it holds is dropped on the way out. A second signal ends the process at once, if it comes a
//! second or more later: a terminal that is closed sends two at the same time, and so does
//! timeout(1). What it leaves is swept by the next run.

use crate::error::{Error, Result};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// When the first signal came, in milliseconds of the monotonic clock; 0 before.
static FIRST: AtomicI64 = AtomicI64::new(0);

/// What is done when a signal comes.
static CAUGHT: Mutex<Vec<SigId>> = Mutex::new(Vec::new());

/// Catches the signals from now on; by `main`.
pub fn install() -> Result<()> {
    let mut caught = CAUGHT.lock().unwrap_or_else(PoisonError::into_inner);
    for signal in heeded() {
        // SAFETY: the action makes only system calls that may be made in a signal handler, and
        // touches nothing but atomics.
        caught.push(unsafe { signal_hook::low_level::register(signal, came) }?);
    }
    Ok(())
}

/// What is done in the handler.
fn came() {
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

/// The signals that count. `nohup`, and background jobs of a plain shell: who started us does not
/// want them to.
pub fn heeded() -> Vec<i32> {
    [SIGINT, SIGTERM, SIGHUP, SIGQUIT]
        .into_iter()
        .filter(|signal| !is_ignored(*signal))
        .collect()
}

/// The signals mean nothing to this program for as long as `work` runs: they are for another
/// program, which `work` passes them on to.
pub fn let_pass<T>(work: impl FnOnce() -> T) -> Result<T> {
    check()?;
    for id in CAUGHT
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
