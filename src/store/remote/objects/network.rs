//! The threads that move the bytes, and the bridge to them: every call waits for its answer, and
//! ends early when a signal came.

use crate::error::{Context, Error, Result};
use crate::interrupt;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

/// How often a waiting call looks for a signal.
const TICK: Duration = Duration::from_millis(100);

/// How long a call may take that only cleans up, where somebody waits for the end.
const CLEANUP: Duration = Duration::from_secs(10);

/// The threads of one medium.
pub struct Network {
    /// `None` once it is dropped.
    runtime: Option<Runtime>,
}

impl Network {
    /// Starts the threads.
    pub fn start() -> Result<Network> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("dbbackup-net")
            .enable_all()
            .build()
            .context("starting the threads for the network")?;
        Ok(Network {
            runtime: Some(runtime),
        })
    }

    /// For work that goes on while nobody waits for it.
    pub fn handle(&self) -> &Handle {
        // It is taken only by `drop`.
        self.runtime.as_ref().expect("the threads run").handle()
    }

    /// Waits for `work`, until a signal comes.
    pub fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.handle().block_on(async {
            let mut work = pin!(work);
            loop {
                interrupt::check()?;
                if let Ok(done) = tokio::time::timeout(TICK, work.as_mut()).await {
                    return done;
                }
            }
        })
    }

    /// Waits for `work` that cleans up. A signal that came before it does not keep it from being
    /// tried, but gives it little time.
    pub fn run_cleanup<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match interrupt::requested() {
            true => self.run_briefly(work),
            false => self.run(work),
        }
    }

    /// Gives `work` a little time, whatever signals come: what it does not get done is left for a
    /// later run.
    pub fn run_briefly<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.handle().block_on(async {
            match tokio::time::timeout(CLEANUP, work).await {
                Ok(done) => done,
                Err(_) => Err(Error::interrupted()),
            }
        })
    }
}

/// Nobody waits for connections that are still open.
impl Drop for Network {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
