//! What a referral may not be.

use fealty_cli::apply::{How, apply};
use fealty_proto::points::v1::{ClaimReferralRequest, GetReferralCodeRequest, GetReferralRequest};

use super::*;
use crate::earning::with_rules;

const RULES: &str = r#"
referrals: { brand: record-shop, returns_within: 30 days }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
"#;

const NOT_OFFERED: (Code, &str) = (Code::FailedPrecondition, "REFERRALS_NOT_OFFERED");
const NOT_FOUND: (Code, &str) = (Code::NotFound, "REFERRAL_NOT_FOUND");

/// What is changed of a claim, and the fields that are named for it.
type Changed<'a> = (&'a dyn Fn(&mut ClaimReferralRequest), &'a [&'a str]);

#[tokio::test(flavor = "multi_thread")]
async fn referrals_refuse() {
    let (fleet, _) = with_anna().await;
    let clients = fleet.clients();
    let code = async |program: &str, member: &str| {
        let (program, member) = (program.to_owned(), member.to_owned());
        let request = GetReferralCodeRequest { program, member };
        clients.referrals().get_referral_code(request).await
    };
    // The programme has none.
    refused(code(CLUB, "anna").await, NOT_OFFERED, &[]);
    let program = with_rules(RULES);
    apply(clients, &program, How::Now).await.expect("applied");
    refused(code("", "").await, INVALID, &["program", "member"]);
    refused(code(CLUB, "a b").await, INVALID, &["member"]);
    refused(code("no-club", "anna").await, NO_PROGRAM, &[]);
    let of_anna = code(CLUB, "anna").await.expect("a code").into_inner().code;

    let before = books(&fleet).await;
    let claim = async |change: &dyn Fn(&mut ClaimReferralRequest)| {
        let mut request = ClaimReferralRequest {
            request_id: "claim".to_owned(),
            program: CLUB.to_owned(),
            member: "ben".to_owned(),
            code: of_anna.clone(),
            ..ClaimReferralRequest::default()
        };
        change(&mut request);
        clients.referrals().claim_referral(request).await
    };
    let elsewhere = "no-club".parse().expect("an id");
    let anna = "anna".parse().expect("an id");
    let ids = ids(&fleet).await;
    let elsewhere = ids.referral_code(&elsewhere, &anna);
    let cases: &[Changed<'_>] = &[
        (&|claim| claim.request_id.clear(), &["request_id"]),
        (&|claim| claim.member.clear(), &["member"]),
        (&|claim| claim.code.clear(), &["code"]),
        (&|claim| claim.code = "ref_anna".to_owned(), &["code"]),
        (&|claim| claim.code = elsewhere.clone(), &["code"]),
        (&|claim| claim.member = "anna".to_owned(), &["code"]),
        (
            &|claim| claim.metadata = [("Till".to_owned(), "7".to_owned())].into(),
            &["metadata[Till]"],
        ),
    ];
    for (change, fields) in cases {
        refused(claim(change).await, INVALID, fields);
    }
    let elsewhere = |claim: &mut ClaimReferralRequest| {
        claim.program = "no-club".to_owned();
        claim.code.clone_from(&elsewhere);
    };
    refused(claim(&elsewhere).await, NO_PROGRAM, &[]);

    let referral = async |program: &str, member: &str| {
        let (program, member) = (program.to_owned(), member.to_owned());
        let request = GetReferralRequest { program, member };
        clients.referrals().get_referral(request).await
    };
    refused(referral("", "").await, INVALID, &["program", "member"]);
    refused(referral("no-club", "ben").await, NO_PROGRAM, &[]);
    refused(referral(CLUB, "ben").await, NOT_FOUND, &[]);
    assert_eq!(books(&fleet).await, before, "nothing has changed");
}
