//! What every service serves for those who run it: the state of its feeds,
//! and its clock under test.

use std::{sync::Arc, time::Duration};

use fealty_auth::Caller;
use fealty_postgres::{
    Database,
    audit_log::{self, NewAuditEntry},
};
use fealty_proto::{
    operations::v1::{self as wire, feed_service_server, test_clock_service_server},
    r#type::v1::ErrorReason,
};
use fealty_types::{Clock as _, Cursor, Timestamp};
use serde_json::json;
use tonic::{Request, Response, Status, async_trait};

use crate::{
    Rejection, ServiceClock, Violations, audit_entry, caller, from_wire_time, to_wire_time,
};

/// What a service tells and does for those who run it.
#[async_trait]
pub trait Operations: Send + Sync + 'static {
    /// The state of its feeds.
    async fn feed_status(&self) -> Result<FeedStatus, Rejection>;

    /// Keeps the time of a test clock, so that it survives a restart.
    async fn save_test_time(&self, now: Timestamp) -> Result<(), Rejection>;

    /// Does everything that is due by the service's clock, and counts it.
    async fn do_due(&self) -> Result<i64, Rejection>;
}

/// The state of a service's feeds. The head is read last: what came of all that was consumed
/// is in the log up to it.
#[derive(Clone, Debug, Default)]
pub struct FeedStatus {
    /// The head of its own log, if it keeps one.
    pub head: Option<Cursor>,
    /// The logs it consumes.
    pub consumed: Vec<ConsumedFeed>,
}

/// A log that a service consumes.
#[derive(Clone, Debug)]
pub struct ConsumedFeed {
    /// Whose log it is.
    pub source: &'static str,
    /// The cursor that is stored; empty before anything was.
    pub cursor: String,
}

pub(crate) struct FeedApi(pub(crate) Arc<dyn Operations>);

#[async_trait]
impl feed_service_server::FeedService for FeedApi {
    async fn get_feed_status(
        &self,
        _: Request<wire::GetFeedStatusRequest>,
    ) -> Result<Response<wire::GetFeedStatusResponse>, Status> {
        let status = self.0.feed_status().await?;
        let consumed_feeds = status.consumed.into_iter().map(|feed| wire::ConsumedFeed {
            source: feed.source.to_owned(),
            entries: feed
                .cursor
                .parse::<Cursor>()
                .map_or(0, |cursor| cursor.entries()),
            cursor: feed.cursor,
        });
        Ok(Response::new(wire::GetFeedStatusResponse {
            head_cursor: status
                .head
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            head_entries: status.head.as_ref().map_or(0, Cursor::entries),
            consumed_feeds: consumed_feeds.collect(),
        }))
    }
}

pub(crate) struct ClockApi {
    pub(crate) clock: ServiceClock,
    pub(crate) operations: Arc<dyn Operations>,
    /// Where the audit log is.
    pub(crate) database: Database,
}

impl ClockApi {
    fn enabled(&self) -> Result<Timestamp, Rejection> {
        if self.clock.is_test() {
            return Ok(self.clock.now());
        }
        Err(Rejection::new(
            ErrorReason::TestClockDisabled,
            "the service runs on the machine's clock; start it with --test-clock",
        ))
    }

    async fn set(&self, caller: &Caller, moment: Timestamp) -> Result<i64, Rejection> {
        let before = self.enabled()?;
        if moment < before {
            return Err(Rejection::new(
                ErrorReason::ClockBackwards,
                "the test clock only moves forward",
            ));
        }
        let entry = NewAuditEntry {
            before: Some(json!({ "time": before.to_string() }).to_string()),
            after: Some(json!({ "time": moment.to_string() }).to_string()),
            ..audit_entry(caller)
        };
        audit_log::append(self.database.pool(), &entry).await?;
        self.operations.save_test_time(moment).await?;
        self.clock.set(moment);
        self.operations.do_due().await
    }
}

#[async_trait]
impl test_clock_service_server::TestClockService for ClockApi {
    async fn get_time(
        &self,
        _: Request<wire::GetTimeRequest>,
    ) -> Result<Response<wire::GetTimeResponse>, Status> {
        let now = self.enabled()?;
        Ok(Response::new(wire::GetTimeResponse {
            time: Some(to_wire_time(now)),
        }))
    }

    async fn set_time(
        &self,
        request: Request<wire::SetTimeRequest>,
    ) -> Result<Response<wire::SetTimeResponse>, Status> {
        self.enabled()?;
        let caller = caller(&request)?.clone();
        let mut violations = Violations::new();
        let time = if let Some(time) = request.into_inner().time {
            violations.check("time", from_wire_time(time))
        } else {
            violations.add("time", "must be set");
            None
        };
        let time = violations.finish(time)?;
        let due_items = self.set(&caller, time).await?;
        let time = Some(to_wire_time(time));
        Ok(Response::new(wire::SetTimeResponse { time, due_items }))
    }

    async fn advance_time(
        &self,
        request: Request<wire::AdvanceTimeRequest>,
    ) -> Result<Response<wire::AdvanceTimeResponse>, Status> {
        let now = self.enabled()?;
        let caller = caller(&request)?.clone();
        let mut violations = Violations::new();
        let duration = request.into_inner().duration.unwrap_or_default();
        let later = Duration::try_from(duration)
            .ok()
            .and_then(|duration| now.checked_add(duration));
        if later.is_none() {
            violations.add(
                "duration",
                "must be 0 or above and lead to a time of the calendar",
            );
        }
        let later = violations.finish(later)?;
        let due_items = self.set(&caller, later).await?;
        let time = Some(to_wire_time(later));
        Ok(Response::new(wire::AdvanceTimeResponse { time, due_items }))
    }
}
