//! A version that comes into force on all services at one moment.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fealty_client::{Channel, Deadline, call, reason};
use fealty_proto::program::v1::{
    ApplyProgramRequest, ListVersionsRequest, ListVersionsResponse, ProgramVersion,
    WithdrawProgramRequest, program_service_client::ProgramServiceClient,
};
use fealty_server::to_wire_time;
use fealty_types::Timestamp;
use indicatif::{ProgressBar, ProgressStyle};
use tonic::Status;

use super::{ask, is_away, moment_of, request_id};
use crate::endpoints::Clients;

/// How far ahead the moment is set: a minute, and what it takes to tell all three.
const AHEAD: Duration = Duration::from_secs(75);
/// How long a service is waited for before the moment moves.
const SERVICE_DEADLINE: Duration = Duration::from_secs(10);
/// How long it is tried.
const TRIED_FOR: Duration = Duration::from_mins(10);
/// How long the others are waited for once points has the version in force.
const OTHERS_WAITED_FOR: Duration = Duration::from_mins(1);
/// How often it is looked whether the version has begun.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A version to be scheduled.
pub(super) struct Scheduling<'a> {
    pub(super) source: &'a str,
    /// The version before it.
    pub(super) after: i64,
    pub(super) note: &'a str,
    /// The moment, if it is not to be the next that all services know of in time.
    pub(super) at: Option<Timestamp>,
    /// What the services' clocks said, and when that was.
    pub(super) now: (Timestamp, Instant),
}

/// Why a version could not be scheduled with a service.
enum Failed {
    /// Another moment may help.
    ForNow(String),
    /// It is refused.
    Refused(anyhow::Error),
}

impl Scheduling<'_> {
    /// Has the version scheduled with rewards and tiers, and then with points, which decides. If
    /// one of them does not answer, nothing begins, the moment moves, and `told` hears of it.
    pub(super) async fn schedule(
        &self,
        clients: &Clients,
        mut told: impl FnMut(&str),
    ) -> anyhow::Result<ProgramVersion> {
        let begun = Instant::now();
        loop {
            let (then, asked) = self.now;
            let soon = then.checked_add(asked.elapsed() + AHEAD);
            let moment = self.at.or(soon).context("there is no such moment")?;
            let scheduled = self.schedule_for(clients, (moment, begun), &mut told);
            let why = match scheduled.await {
                Ok(scheduled) => return Ok(scheduled),
                Err(Failed::Refused(error)) => return Err(error),
                Err(Failed::ForNow(why)) => why,
            };
            if begun.elapsed() > TRIED_FOR || self.at.is_some() {
                bail!("{why}; nothing begins");
            }
            told(&format!(
                "{why}: nothing begins at {moment}, the moment moves"
            ));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn schedule_for(
        &self,
        clients: &Clients,
        (moment, begun): (Timestamp, Instant),
        told: &mut impl FnMut(&str),
    ) -> Result<ProgramVersion, Failed> {
        let mut scheduled = None;
        for (name, client) in clients.programs().into_iter().rev() {
            let request = ApplyProgramRequest {
                request_id: request_id(),
                source: self.source.to_owned(),
                dry_run: false,
                expected_version: Some(self.after),
                note: self.note.to_owned(),
                begin_time: Some(to_wire_time(moment)),
            };
            let mut applied = ask(&client, &request, SERVICE_DEADLINE).await;
            // Points may have it, whoever heard of that or not: the same request is answered as
            // before.
            while let Err(status) = &applied
                && is_away(status)
                && name == "points"
            {
                let message = status.message();
                let why = format!("points: {message}: whether it begins at {moment} is not known");
                if begun.elapsed() > TRIED_FOR {
                    let history = "`fealty program history` tells once points answers";
                    return Err(Failed::Refused(anyhow::anyhow!("{why}; {history}")));
                }
                told(&format!("{why} yet"));
                applied = ask(&client, &request, SERVICE_DEADLINE).await;
            }
            let version = applied
                .map_err(|status| self.failed(name, &status))?
                .version;
            let version = version.unwrap_or_default();
            if version.version != self.after + 1 || moment_of(&version).ok() != Some(moment) {
                // Somebody else was quicker; or the service knows no moments.
                return Err(Failed::Refused(anyhow::anyhow!(
                    "{name} has version {} in force, and schedules none",
                    version.version
                )));
            }
            scheduled = Some(version);
        }
        scheduled.ok_or_else(|| Failed::Refused(anyhow::anyhow!("no version was told")))
    }

    /// What it means that a service did not schedule the version.
    fn failed(&self, name: &str, status: &Status) -> Failed {
        let is_passed = reason(status).as_deref() == Some("PROGRAM_MOMENT_PASSED");
        let message = format!("{name}: {}", status.message());
        if is_away(status) || (is_passed && self.at.is_none()) {
            Failed::ForNow(message)
        } else {
            Failed::Refused(anyhow::anyhow!(message))
        }
    }
}

/// The newest version of a programme that points has, and the one to come.
pub(super) async fn versions(
    clients: &Clients,
    program: &str,
) -> Result<ListVersionsResponse, Status> {
    let [(_, points), ..] = clients.programs();
    listed(&points, program).await
}

async fn listed(
    client: &ProgramServiceClient<Channel>,
    program: &str,
) -> Result<ListVersionsResponse, Status> {
    let request = ListVersionsRequest {
        program: program.to_owned(),
        page_size: 1,
        ..ListVersionsRequest::default()
    };
    call(Deadline::within(SERVICE_DEADLINE), || {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.list_versions(request).await }
    })
    .await
}

/// Takes a version back that is scheduled, with points first; answers whether it was there. One
/// that has begun is not taken back.
pub async fn withdraw(clients: &Clients, program: &str, version: i64) -> anyhow::Result<bool> {
    let mut withdrawn = false;
    for (name, client) in clients.programs() {
        let request = WithdrawProgramRequest {
            program: program.to_owned(),
            version,
        };
        let answer = call(Deadline::within(SERVICE_DEADLINE), || {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.withdraw_program(request).await }
        });
        let answer = answer.await;
        let answer = answer.map_err(|status| anyhow::anyhow!("{name}: {}", status.message()))?;
        withdrawn |= answer.withdrawn;
        if name == "points" && !answer.withdrawn {
            let newest = listed(&client, program).await;
            let newest =
                newest.map_err(|status| anyhow::anyhow!("{name}: {}", status.message()))?;
            let newest = newest.versions.first();
            if newest.is_some_and(|newest| newest.version >= version) {
                bail!("version {version} of {program} has begun");
            }
        }
    }
    Ok(withdrawn)
}

/// Waits until all services have a version, or one that follows it.
pub(super) async fn wait(clients: &Clients, version: &ProgramVersion) -> anyhow::Result<()> {
    let moment = moment_of(version)?;
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template(
        "{spinner} waiting for {msg}; it begins, whether somebody waits or not",
    )?);
    bar.set_message(moment.to_string());
    bar.enable_steady_tick(LOOK_EVERY);
    let mut points_has_it = None;
    for (name, client) in clients.programs() {
        loop {
            match listed(&client, &version.program).await {
                Ok(listed) => {
                    let newest = listed.versions.first();
                    if newest.is_some_and(|newest| newest.version >= version.version) {
                        points_has_it.get_or_insert_with(Instant::now);
                        break;
                    }
                    let scheduled = listed.scheduled.map(|scheduled| scheduled.version);
                    if name == "points" && scheduled != Some(version.version) {
                        bar.finish_and_clear();
                        bail!("version {} was withdrawn", version.version);
                    }
                }
                Err(status) => bar.println(format!("{name}: {}", status.message())),
            }
            if points_has_it.is_some_and(|since: Instant| since.elapsed() > OTHERS_WAITED_FOR) {
                bar.finish_and_clear();
                bail!("it has begun in points, and not yet in {name}, which goes on trying");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    bar.finish_and_clear();
    Ok(())
}
