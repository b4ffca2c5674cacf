//! Every RPC of every service, found by reflection, with each role, without a
//! token and with bad ones: the answers are what the contracts declare.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fealty_auth::{Access, AccessTable, Role, Rule, Scope};
use fealty_cli::{
    apply::{How, apply},
    demo::Fleet,
};
use fealty_types::Ids;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    tokens,
    wire::{Named, Server, contracts, names, request},
};
use crate::harness::{CLUB, SHOP, club, ids};

/// A second programme, for those who must not see it.
const OTHER: &str = "other-club";

/// An RPC at a service.
struct Rpc {
    server: Server,
    access: Access,
    input: prost_reflect::MessageDescriptor,
    /// Those of the ledger.
    ids: Ids,
}

impl Rpc {
    /// Calls it, and answers with what it refuses, or nothing.
    async fn refuses(&self, token: Option<&str>, named: &Named) -> Option<Status> {
        let path = format!("/{}", self.access.method);
        let message = request(&self.input, named, self.ids);
        let answer = self.server.call(&path, token, message).await;
        match answer {
            Err(status) => Some(status),
            Ok(bytes) => self.refusal_in(bytes).map(|refusal| {
                Status::with_details(
                    Code::from_i32(refusal.code),
                    refusal.message.clone(),
                    refusal.encode_to_vec().into(),
                )
            }),
        }
    }

    /// The refusal in an answer of those that refuse so.
    fn refusal_in(&self, answer: Bytes) -> Option<tonic_types::Status> {
        use fealty_proto::points::v1 as points;
        let (_, method) = self.access.method.rsplit_once('/').expect("a method");
        match method {
            "BatchAccrue" => {
                use points::batch_accrue_response::Outcome;
                let answer = points::BatchAccrueResponse::decode(answer).expect("an answer");
                match answer.outcome {
                    Some(Outcome::Refusal(refusal)) => Some(refusal),
                    _ => None,
                }
            }
            "ImportPurchases" => {
                use points::import_purchases_response::Outcome;
                let answer = points::ImportPurchasesResponse::decode(answer).expect("an answer");
                match answer.outcome {
                    Some(Outcome::Refusal(refusal)) => Some(refusal),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Whether its requests, as they are filled here, name one.
    fn names(&self, field: &str) -> bool {
        names(&self.input, field)
    }
}

/// The RPCs that the services have by reflection; and that those are all.
async fn rpcs(fleet: &Fleet) -> Vec<Rpc> {
    let table = AccessTable::read(fealty_proto::FILE_DESCRIPTOR_SET).expect("declared");
    let pool = contracts();
    let token = fleet.token(&[Role::Auditor]);
    let endpoints = fleet.endpoints();
    let ids = ids(fleet).await;
    let mut rpcs = Vec::new();
    for url in [&endpoints.points, &endpoints.tiers, &endpoints.rewards] {
        let server = Server::at(url);
        for service in server.services(&token).await {
            if !service.starts_with("fealty.") {
                assert!(service.starts_with("grpc."), "{service}");
                continue;
            }
            for method in server.methods(&token, &service).await {
                let path = format!("/{service}/{method}");
                let Rule::Declared(access) = table.rule(&path) else {
                    panic!("{path} is not declared");
                };
                let known = pool.get_service_by_name(&service).expect("ours");
                let known = known.methods().find(|known| known.name() == method);
                let rpc = Rpc {
                    server: server.clone(),
                    access: (**access).clone(),
                    input: known.expect("ours").input(),
                    ids,
                };
                rpcs.push(rpc);
            }
        }
    }
    for declared in table.iter() {
        let is_there = rpcs.iter().any(|rpc| rpc.access.method == declared.method);
        assert!(is_there, "{} is served by nobody", declared.method);
    }
    rpcs
}

fn next() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

fn named(program: &str, member: &str, brand: &str) -> Named {
    Named {
        program: program.to_owned(),
        member: member.to_owned(),
        brand: brand.to_owned(),
        number: next(),
    }
}

/// Code, reason and one figure of a refusal.
fn told(status: &Status, figure: &str) -> (Code, String, String) {
    let info = status
        .get_details_error_info()
        .unwrap_or_else(|| panic!("{status:?}"));
    let figure = info.metadata.get(figure).cloned().unwrap_or_default();
    (status.code(), info.reason, figure)
}

async fn walked() -> (Fleet, Vec<Rpc>) {
    let fleet = club().await;
    let club = format!("program: {CLUB}");
    let other = fealty_cli::demo::PROGRAM.replacen(&club, &format!("program: {OTHER}"), 1);
    apply(fleet.clients(), &other, How::Now)
        .await
        .expect("applied");
    let rpcs = rpcs(&fleet).await;
    (fleet, rpcs)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_is_for_its_roles_and_refuses_what_is_no_token() {
    let (fleet, rpcs) = walked().await;
    let everybody = |role| tokens::caller(role, CLUB, "anna", SHOP);
    let bad = tokens::bad(fleet.keys(), &everybody(Role::Operator));
    let mut calls = 0;
    for rpc in &rpcs {
        let Access {
            method,
            roles,
            scope,
            ..
        } = &rpc.access;
        for (kind, token) in &bad {
            let refused = rpc
                .refuses(token.as_deref(), &named(CLUB, "anna", SHOP))
                .await;
            let refused = refused.unwrap_or_else(|| panic!("{method} takes a token: {kind}"));
            let expected = (
                Code::Unauthenticated,
                "UNAUTHENTICATED".to_owned(),
                (*kind).to_owned(),
            );
            assert_eq!(told(&refused, "token"), expected, "{method}: {refused:?}");
            calls += 1;
        }
        for role in Role::ALL {
            let mut caller = everybody(role);
            if *scope == Scope::Installation {
                caller.programs.clear();
            }
            let token = fleet.keys().sign(&caller).expect("signed");
            let refused = rpc.refuses(Some(&token), &named(CLUB, "anna", SHOP)).await;
            let code = refused.as_ref().map_or(Code::Ok, Status::code);
            let may = roles.has(role);
            // What may be called may still be refused, for what it asks for.
            let denied = matches!(code, Code::Unauthenticated | Code::PermissionDenied);
            assert_eq!(denied, !may, "{method} as {role}: {refused:?}");
            if !may {
                let refused = refused.expect("denied");
                let expected = (
                    Code::PermissionDenied,
                    "PERMISSION_DENIED".to_owned(),
                    roles.to_string(),
                );
                assert_eq!(told(&refused, "roles"), expected, "{method} as {role}");
            }
            calls += 1;
        }
    }
    assert!(calls > 1_000, "only {calls} calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_keeps_to_the_callers_programme_member_and_brand() {
    let (fleet, rpcs) = walked().await;
    let sign = |caller| fleet.keys().sign(&caller).expect("signed");
    let mut kept = [0; 4];
    for rpc in &rpcs {
        let Access {
            method,
            roles,
            scope,
            ..
        } = &rpc.access;
        for role in roles.iter() {
            let mine = tokens::caller(role, CLUB, "anna", SHOP);
            let token = sign(mine.clone());
            if *scope == Scope::Installation {
                let refused = rpc.refuses(Some(&token), &named(CLUB, "anna", SHOP)).await;
                let refused = refused.unwrap_or_else(|| panic!("{method} as {role}"));
                assert_eq!(
                    refused.code(),
                    Code::PermissionDenied,
                    "{method}: {refused:?}"
                );
                kept[0] += 1;
                continue;
            }
            // Another's programme is as one that is not there.
            let another = rpc.refuses(Some(&token), &named(OTHER, "anna", SHOP)).await;
            let another = another.unwrap_or_else(|| panic!("{method} as {role}: another's"));
            let expected = (Code::NotFound, "PROGRAM_NOT_FOUND".to_owned());
            let (code, reason, _) = told(&another, "");
            assert_eq!((code, reason), expected, "{method} as {role}: {another:?}");
            let mut all = mine.clone();
            all.programs.clear();
            // Another name each time: applying makes it.
            let missing_name = format!("missing-{}", next());
            let missing = named(&missing_name, "anna", SHOP);
            let missing = rpc.refuses(Some(&sign(all)), &missing).await;
            // Applying makes what is not there; of a log, nothing is heard.
            if let Some(missing) = missing {
                let text = |status: &Status| status.message().replace(&missing_name, OTHER);
                assert_eq!(text(&missing), text(&another), "{method} as {role}");
            } else {
                let is_log = *scope == Scope::ProgramOrAll;
                assert!(is_log || method.ends_with("/ApplyProgram"), "{method}");
            }
            kept[1] += 1;
            if role == Role::Member && rpc.names("member") {
                let refused = rpc.refuses(Some(&token), &named(CLUB, "ben", SHOP)).await;
                let refused = refused.unwrap_or_else(|| panic!("{method}: another member"));
                let (code, _, field) = told(&refused, "field");
                assert_eq!(code, Code::PermissionDenied, "{method}: {refused:?}");
                assert!(field.ends_with("member"), "{method}: {field}");
                kept[2] += 1;
            }
            if matches!(role, Role::Checkout | Role::Partner) && rpc.names("brand") {
                let refused = rpc
                    .refuses(Some(&token), &named(CLUB, "anna", "other-brand"))
                    .await;
                let refused = refused.unwrap_or_else(|| panic!("{method}: another brand"));
                assert_eq!(
                    refused.code(),
                    Code::PermissionDenied,
                    "{method}: {refused:?}"
                );
                kept[3] += 1;
            }
        }
    }
    let [installation, program, member, brand] = kept;
    assert!(
        installation > 20 && program > 100 && member >= 9 && brand >= 6,
        "{kept:?}"
    );
}
