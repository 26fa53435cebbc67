//! The bodies of requests and answers: they notice silence, and keep to the limits.

use super::failure::{RequestFailure, TryAgain};
use crate::store::remote::limit::RateLimit;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use object_store::client::{HttpError, HttpErrorKind, HttpRequestBody};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// A request is sent in pieces of this size, so that its progress is seen.
const PIECE: usize = 64 << 10;

/// About what the system takes from us before the other side has it.
const SEND_BUFFER: u64 = 4 << 20;

/// When something was last heard of a request.
#[derive(Debug)]
pub struct RequestProgress {
    /// May be in the future, where it is known that nothing happens until then.
    last: Mutex<Instant>,
}

impl RequestProgress {
    /// A request that begins now.
    pub fn begin() -> RequestProgress {
        RequestProgress {
            last: Mutex::new(Instant::now()),
        }
    }

    /// The last sign of life.
    pub fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, at: Instant) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (*last).max(at);
    }
}

/// The error of a body or answer for which nothing happened for too long.
pub fn silence(limit: Duration) -> RequestFailure {
    let text = format!("the connection was silent for {} s", limit.as_secs());
    RequestFailure::transport(text, TryAgain::Patiently)
}

/// A failure of ours in the clothes that the library knows. It is never tried again in there.
pub fn http_error(failure: RequestFailure) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, failure)
}

/// A body that is being sent.
pub struct SentBody {
    body: HttpRequestBody,
    /// What was taken from `body` and is not sent.
    rest: Bytes,
    progress: Arc<RequestProgress>,
    limit: Option<Arc<RateLimit>>,
    /// Until when the limit holds `rest` back.
    pause: Option<Pin<Box<Sleep>>>,
    length: u64,
    sent: u64,
    began: Instant,
}

impl SentBody {
    /// Watches the sending of `body`.
    pub fn new(
        body: HttpRequestBody,
        progress: Arc<RequestProgress>,
        limit: Option<Arc<RateLimit>>,
    ) -> SentBody {
        SentBody {
            length: body.content_length() as u64,
            body,
            rest: Bytes::new(),
            progress,
            limit,
            pause: None,
            sent: 0,
            began: Instant::now(),
        }
    }

    /// The next bytes, as far as the limit lets them go.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, HttpError>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.rest = frame.into_data().unwrap_or_default();
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        let length = self.rest.len().min(PIECE);
        if let Some(limit) = &self.limit {
            let pause = match &mut self.pause {
                Some(pause) => pause,
                none => {
                    let until = Instant::from_std(limit.reserve(length));
                    self.progress.note(until);
                    none.insert(Box::pin(sleep_until(until)))
                }
            };
            if pause.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.pause = None;
        }
        let piece = self.rest.split_to(length);
        self.sent += piece.len() as u64;
        let now = Instant::now();
        self.progress.note(now);
        if self.sent == self.length {
            // What the system still holds goes no faster than what it took before.
            let share = SEND_BUFFER.min(self.sent) as f64 / self.sent.max(1) as f64;
            self.progress.note(now + (now - self.began).mul_f64(share));
        }
        Poll::Ready(Some(Ok(piece)))
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        self.poll_piece(context)
            .map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.length
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length - self.sent)
    }
}

/// A body that is being received.
pub struct ReceivedBody {
    body: reqwest::Body,
    limit: Option<Arc<RateLimit>>,
    /// What the limit holds back, and until when.
    held: Option<(Bytes, Pin<Box<Sleep>>)>,
    /// Ends the wait for more; set only while somebody waits.
    deadline: Option<Pin<Box<Sleep>>>,
    patience: Duration,
    /// How many more bytes are taken.
    room: u64,
}

impl ReceivedBody {
    /// Watches the receiving of `body`, of which no more than `room` bytes are taken.
    pub fn new(
        body: reqwest::Body,
        patience: Duration,
        limit: Option<Arc<RateLimit>>,
        room: u64,
    ) -> ReceivedBody {
        ReceivedBody {
            body,
            limit,
            held: None,
            deadline: None,
            patience,
            room,
        }
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, HttpError>>> {
        if let Some((piece, pause)) = &mut self.held {
            if pause.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            let piece = std::mem::take(piece);
            self.held = None;
            return Poll::Ready(Some(Ok(piece)));
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => {
                let until = Instant::now() + self.patience;
                let deadline = (self.deadline).get_or_insert_with(|| Box::pin(sleep_until(until)));
                match deadline.as_mut().poll(context) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(http_error(silence(self.patience))))),
                    Poll::Pending => Poll::Pending,
                }
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => {
                let failure = super::transport::broken(error, "the answer broke off");
                Poll::Ready(Some(Err(http_error(failure))))
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.deadline = None;
                let piece = frame.into_data().unwrap_or_default();
                let Some(room) = self.room.checked_sub(piece.len() as u64) else {
                    return Poll::Ready(Some(Err(http_error(RequestFailure::transport(
                        "the answer is far longer than any that makes sense",
                        TryAgain::Never,
                    )))));
                };
                self.room = room;
                let Some(limit) = &self.limit else {
                    return Poll::Ready(Some(Ok(piece)));
                };
                let until = Instant::from_std(limit.reserve(piece.len()));
                self.held = Some((piece, Box::pin(sleep_until(until))));
                self.poll_piece(context)
            }
        }
    }
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        self.poll_piece(context)
            .map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
