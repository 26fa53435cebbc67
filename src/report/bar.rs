//! The progress bar: a thread that looks at a counter until it is told to stop.

use crate::pipeline::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// See [`super::Report::bar`].
pub struct Bar {
    stop: Arc<AtomicBool>,
    drawing: Option<Arc<AtomicBool>>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    /// Nothing is drawn unless it is `wanted`, and nobody else is `drawing`.
    pub fn new(
        wanted: bool,
        drawing: &Arc<AtomicBool>,
        title: &str,
        total: u64,
        progress: &Progress,
    ) -> Bar {
        let stop = Arc::new(AtomicBool::new(false));
        if !wanted || drawing.swap(true, Ordering::Relaxed) {
            return Bar {
                stop,
                drawing: None,
                thread: None,
            };
        }
        let template = if total > 0 {
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}"
        } else {
            "{msg} {spinner} {bytes} {bytes_per_sec}"
        };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
            .with_style(style)
            .with_message(title.to_owned());
        let (flag, progress) = (Arc::clone(&stop), Arc::clone(progress));
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                let done = progress.load(Ordering::Relaxed);
                bar.set_length(total.max(done));
                bar.set_position(done);
                std::thread::park_timeout(Duration::from_millis(100));
            }
            bar.finish_and_clear();
        });
        Bar {
            stop,
            drawing: Some(Arc::clone(drawing)),
            thread: Some(thread),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
        if let Some(drawing) = &self.drawing {
            drawing.store(false, Ordering::Relaxed);
        }
    }
}
