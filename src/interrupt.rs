//! SIGINT, SIGTERM and SIGHUP end a run cleanly: whoever loops over data asks here, and what it holds is dropped on the way out.
//! A second signal ends the process at once; what it leaves is swept by the next run.

use crate::error::{Error, Result};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

static REQUESTED: std::sync::LazyLock<Arc<AtomicBool>> = std::sync::LazyLock::new(Arc::default);

/// What is done when a signal comes.
static CAUGHT: Mutex<Vec<SigId>> = Mutex::new(Vec::new());

/// Catches the signals from now on; by `main`.
pub fn install() -> Result<()> {
    let mut caught = CAUGHT.lock().unwrap_or_else(PoisonError::into_inner);
    for signal in heeded() {
        caught.push(signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&REQUESTED))?);
        caught.push(signal_hook::flag::register(signal, Arc::clone(&REQUESTED))?);
    }
    Ok(())
}

/// The signals that count. `nohup`, and background jobs of a plain shell: who started us does not want them to.
pub fn heeded() -> Vec<i32> {
    [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal)).collect()
}

/// The signals mean nothing to this program for as long as `work` runs: they are for another program, which `work` passes them on to.
pub fn let_pass<T>(work: impl FnOnce() -> T) -> Result<T> {
    check()?;
    for id in CAUGHT.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        signal_hook::low_level::unregister(id);
    }
    let done = work();
    install()?;
    Ok(done)
}

fn is_ignored(signal: i32) -> bool {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with no new action the call only writes the present one to `now`, which is read only where it succeeded.
    unsafe { libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) == 0 && now.assume_init().sa_sigaction == libc::SIG_IGN }
}

/// Whether a signal has come.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// An error once a signal has come.
pub fn check() -> Result<()> {
    if requested() { Err(Error::interrupted()) } else { Ok(()) }
}
