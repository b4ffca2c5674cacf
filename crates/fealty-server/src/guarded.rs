//! A stream that ends when its caller may no longer be told anything.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use fealty_auth::Caller;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::Interval;
use tonic::{Status, body::Body};

use crate::{
    Rejection,
    gate::{Gate, UnderWay},
};

/// How often it is looked whether the token still stands.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// The body of an answer that may last.
pub(crate) struct Guarded {
    body: Body,
    gate: Arc<Gate>,
    caller: Caller,
    looks: Interval,
    has_ended: bool,
    /// The call is under way as long as its answer is.
    _under_way: UnderWay,
}

impl Guarded {
    pub(crate) fn new(body: Body, gate: Arc<Gate>, caller: Caller, under_way: UnderWay) -> Self {
        Self {
            body,
            gate,
            caller,
            looks: tokio::time::interval(LOOKED_AT_EVERY),
            has_ended: false,
            _under_way: under_way,
        }
    }
}

impl http_body::Body for Guarded {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        while self.looks.poll_tick(context).is_ready() {
            let Err(fault) = self.gate.check_standing(self.caller.identity()) else {
                continue;
            };
            self.has_ended = true;
            let status = Status::from(Rejection::from(fault));
            let mut trailers = HeaderMap::new();
            let told = status.add_header(&mut trailers);
            debug_assert!(told.is_ok(), "our own texts are valid headers");
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.has_ended = frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
