//! Programmes on the wire.

use fealty_postgres::{
    foundation::{self, StoredProgram},
    scheduled,
};
use fealty_program::{Change, Effect, Meaning, ProgramVersion, SOURCE_LEN_MAX};
use fealty_proto::program::v1::{
    self as wire,
    program_service_server::{ProgramService, ProgramServiceServer},
};
use fealty_types::{CurrencyId, ProgramId};
use tonic::{Request, Response, Status, async_trait};

use super::{Programs, apply::Applying};
use crate::{Fields, ProgramNotFound, Rejection, caller, to_wire_time};

fn to_wire_version(program: &ProgramId, stored: &StoredProgram) -> wire::ProgramVersion {
    wire::ProgramVersion {
        program: program.to_string(),
        version: stored.version,
        effective_time: Some(to_wire_time(stored.effective_at)),
        digest: stored.digest.clone(),
        actor: stored.actor.clone(),
        note: stored.note.clone(),
    }
}

/// A message with the longest file.
pub(super) const MESSAGE_LEN_MAX: usize = SOURCE_LEN_MAX + 64 * 1024;
/// Texts of the changes that an answer lists, in bytes: it stays well below what clients
/// take, which is 4 MiB where nothing is said.
const CHANGES_LEN_MAX: usize = 1024 * 1024;
/// Sentences that an answer has of what the changes mean.
const MEANINGS_MAX: usize = 1_000;

impl Programs {
    /// The gRPC service, which takes files of every length that there may be.
    #[must_use]
    pub fn server(&self) -> ProgramServiceServer<Self> {
        ProgramServiceServer::new(self.clone()).max_decoding_message_size(MESSAGE_LEN_MAX)
    }
}

/// What an answer lists of the changes, and how many it leaves out.
fn told(changes: Vec<Change>) -> (Vec<wire::ProgramChange>, i32) {
    let (mut told, mut len, all) = (Vec::new(), 0, changes.len());
    for change in changes {
        let change = wire::ProgramChange {
            path: change.path,
            before: change.before.unwrap_or_default(),
            after: change.after.unwrap_or_default(),
        };
        let more = change.path.len() + change.before.len() + change.after.len();
        // One that is too long leaves room for those after it.
        if len + more <= CHANGES_LEN_MAX {
            len += more;
            told.push(change);
        }
    }
    let left_out = i32::try_from(all - told.len()).unwrap_or(i32::MAX);
    (told, left_out)
}

/// What an answer says of what the changes mean, and how many sentences it leaves out: what is
/// bad for members comes first, so that it is not among those.
fn said(mut meanings: Vec<Meaning>) -> (Vec<wire::ProgramMeaning>, i32) {
    let all = meanings.len();
    meanings.sort_by_key(|meaning| match meaning.effect {
        Effect::MembersLose => 0,
        Effect::Depends => 1,
        Effect::MembersGain => 2,
    });
    let told: Vec<_> = meanings
        .into_iter()
        .take(MEANINGS_MAX)
        .map(meaning)
        .collect();
    let left_out = i32::try_from(all - told.len()).unwrap_or(i32::MAX);
    (told, left_out)
}

fn meaning(meaning: Meaning) -> wire::ProgramMeaning {
    let effect = match meaning.effect {
        Effect::MembersGain => wire::ChangeEffect::MembersGain,
        Effect::MembersLose => wire::ChangeEffect::MembersLose,
        Effect::Depends => wire::ChangeEffect::Depends,
    };
    wire::ProgramMeaning {
        path: meaning.path,
        message: meaning.message,
        effect: effect.into(),
    }
}

/// What an app shows of a programme.
fn outline(applied: &ProgramVersion) -> wire::ProgramOutline {
    let program = &*applied.program;
    let ids = |ids: &[CurrencyId]| ids.iter().map(ToString::to_string).collect();
    let currencies = program.currencies.iter();
    let brands = program.brands.iter();
    let levels = program.tiers.iter().flat_map(|scheme| &scheme.levels);
    wire::ProgramOutline {
        program: program.id.to_string(),
        version: applied.version,
        time_zone: program
            .calendar
            .zone
            .iana_name()
            .unwrap_or_default()
            .to_owned(),
        money_currency_code: program.money.currency.to_string(),
        money_decimals: program.money.decimals.into(),
        currencies: currencies
            .map(|(id, currency)| wire::CurrencyOutline {
                id: id.to_string(),
                decimals: currency.decimals.into(),
                unit_value_micros: currency.unit_value_micros.unwrap_or_default(),
            })
            .collect(),
        brands: brands
            .map(|(id, brand)| wire::BrandOutline {
                id: id.to_string(),
                issues: ids(&brand.issues),
                accepts: ids(&brand.accepts),
            })
            .collect(),
        tiers: (0..)
            .zip(levels)
            .map(|(rank, level)| wire::TierOutline {
                id: level.tier.to_string(),
                rank,
                threshold_minor_units: level.threshold.minor_units(),
            })
            .collect(),
    }
}

#[async_trait]
impl ProgramService for Programs {
    async fn apply_program(
        &self,
        request: Request<wire::ApplyProgramRequest>,
    ) -> Result<Response<wire::ApplyProgramResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let asked = Fields::read(caller, |fields| {
            let request_id = fields.parse("request_id", &request.request_id);
            let note = fields.parse("note", &request.note);
            let expected_version = request.expected_version;
            if expected_version.is_some_and(|version| version < 0) {
                fields.add("expected_version", "must be 0 or above");
            }
            let begins_at = match request.begin_time {
                Some(time) => Some(fields.time("begin_time", time)?),
                None => None,
            };
            Some(Applying {
                begins_at,
                request_id: request_id?,
                source: request.source.clone(),
                dry_run: request.dry_run,
                expected_version,
                note: note?,
            })
        })?;
        let applied = self.apply(caller, &asked).await.map_err(Rejection::from)?;
        let (changes, left_out) = told(applied.changes);
        let (meanings, meanings_left_out) = said(applied.meanings);
        let notes = applied.notes.into_iter().map(|note| wire::ProgramNote {
            path: note.path,
            message: note.message,
        });
        Ok(Response::new(wire::ApplyProgramResponse {
            version: Some(to_wire_version(&applied.program, &applied.stored)),
            changes,
            changes_left_out: left_out,
            meanings,
            meanings_left_out,
            replayed: applied.replayed,
            notes: notes.collect(),
        }))
    }

    async fn withdraw_program(
        &self,
        request: Request<wire::WithdrawProgramRequest>,
    ) -> Result<Response<wire::WithdrawProgramResponse>, Status> {
        let caller = caller(&request)?;
        let program = Fields::read(caller, |fields| {
            let program = fields.program("program", &request.get_ref().program);
            if request.get_ref().version < 1 {
                fields.add("version", "must be 1 or above");
            }
            program
        })?;
        let named = (&*program, request.get_ref().version);
        let withdrawn = self.withdraw(caller, named).await;
        Ok(Response::new(wire::WithdrawProgramResponse {
            withdrawn: withdrawn.map_err(Rejection::from)?,
        }))
    }

    async fn get_program(
        &self,
        request: Request<wire::GetProgramRequest>,
    ) -> Result<Response<wire::GetProgramResponse>, Status> {
        let program = Fields::read(caller(&request)?, |fields| {
            let program = fields.program("program", &request.get_ref().program);
            if request.get_ref().version.is_some_and(|version| version < 1) {
                fields.add("version", "must be 1 or above");
            }
            program
        })?;
        let request = request.into_inner();
        let stored = foundation::program(self.database.pool(), &program, request.version)
            .await
            .map_err(Rejection::from)?
            .ok_or_else(|| Rejection::from(ProgramNotFound((*program).clone())))?;
        Ok(Response::new(wire::GetProgramResponse {
            version: Some(to_wire_version(&program, &stored)),
            source: stored.source,
        }))
    }

    async fn list_versions(
        &self,
        request: Request<wire::ListVersionsRequest>,
    ) -> Result<Response<wire::ListVersionsResponse>, Status> {
        let (program, limit, before) = Fields::read(caller(&request)?, |fields| {
            let request = request.get_ref();
            let program = fields.program("program", &request.program);
            let limit = fields.page_size("page_size", request.page_size);
            let before = fields.page_token(&request.page_token, |token| token.parse().ok());
            Some((program?, limit?, before?.unwrap_or(i64::MAX)))
        })?;
        let pool = self.database.pool();
        let scheduled = scheduled::of(pool, &program)
            .await
            .map_err(Rejection::from)?;
        // What another instance applied may not be known here yet.
        let newest = foundation::newest_version(pool, &program).await;
        if scheduled.is_none() && newest.map_err(Rejection::from)?.is_none() {
            return Err(Rejection::from(ProgramNotFound((*program).clone())).into());
        }
        let wanted = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let mut read = foundation::programs_before(pool, &program, before, wanted)
            .await
            .map_err(Rejection::from)?;
        let more = read.len() > limit;
        read.truncate(limit);
        let last = read.last().filter(|_| more);
        let next_page_token = last
            .map(|last| last.version.to_string())
            .unwrap_or_default();
        let versions = read.iter().map(|stored| to_wire_version(&program, stored));
        Ok(Response::new(wire::ListVersionsResponse {
            versions: versions.collect(),
            next_page_token,
            scheduled: scheduled.map(|scheduled| to_wire_version(&program, &scheduled.stored)),
        }))
    }

    async fn get_program_outline(
        &self,
        request: Request<wire::GetProgramOutlineRequest>,
    ) -> Result<Response<wire::GetProgramOutlineResponse>, Status> {
        let program = Fields::read(caller(&request)?, |fields| {
            fields.program("program", &request.get_ref().program)
        })?;
        let applied = self.newest(&program).map_err(Rejection::from)?;
        Ok(Response::new(wire::GetProgramOutlineResponse {
            outline: Some(outline(&applied)),
        }))
    }
}
