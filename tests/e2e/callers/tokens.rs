//! Tokens that are none, and what is said of each.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fealty_auth::{Grant, Issuer, Role};
use fealty_cli::token::{Keys, grant, now_s};
use serde_json::json;

/// Every kind of token that must not be taken, with what is said of it.
#[expect(clippy::too_many_lines, reason = "one row a token")]
pub(super) fn bad(keys: &Keys, good: &Grant) -> Vec<(&'static str, Option<String>)> {
    let issuer = keys.issuer();
    let token = keys.sign(good).expect("signed");
    let [header, claims, signature]: [&str; 3] = token
        .split('.')
        .collect::<Vec<_>>()
        .try_into()
        .expect("three parts");
    let encoded = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let kid = issuer.key_id();
    let with_header = |value| format!("{}.{claims}.{signature}", encoded(value));
    let with_claims = |change: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| {
        let mut claims = issuer.claims(good, now_s());
        change(&mut claims);
        Some(issuer.sign_claims(&claims).expect("signed"))
    };
    let other = Issuer::generate(issuer.name()).expect("a key");
    let forged = other.sign(good, now_s()).expect("signed");
    let forged = forged.rsplit_once('.').expect("three parts").1;
    vec![
        ("missing", None),
        ("malformed", Some("not-a-token".to_owned())),
        ("malformed", Some(format!("{header}.{claims}"))),
        (
            "malformed",
            Some(format!("{token}{}", "A".repeat(8 * 1024))),
        ),
        // Signed by somebody else, under our key's name.
        ("signature", Some(format!("{header}.{claims}.{forged}"))),
        // Not signed at all.
        (
            "algorithm",
            Some(format!(
                "{}.{claims}.",
                encoded(json!({ "alg": "none", "kid": kid }))
            )),
        ),
        (
            "algorithm",
            Some(with_header(json!({ "alg": "none", "kid": kid }))),
        ),
        // With the public key as a shared secret.
        (
            "algorithm",
            Some(with_header(json!({ "alg": "HS256", "kid": kid }))),
        ),
        // By another way than the key's own.
        (
            "algorithm",
            Some(with_header(json!({ "alg": "ES256", "kid": kid }))),
        ),
        ("malformed", Some(with_header(json!({ "alg": "EdDSA" })))),
        (
            "malformed",
            Some(with_header(
                json!({ "alg": "EdDSA", "kid": kid, "crit": ["exp"] }),
            )),
        ),
        (
            "unknown_key",
            Some(other.sign(good, now_s()).expect("signed")),
        ),
        (
            "expired",
            with_claims(&|claims| {
                claims.insert("exp".to_owned(), json!(now_s() - 61));
            }),
        ),
        (
            "not_yet_valid",
            with_claims(&|claims| {
                claims.insert("nbf".to_owned(), json!(now_s() + 120));
            }),
        ),
        (
            "issuer",
            with_claims(&|claims| {
                claims.insert("iss".to_owned(), json!("somebody-else"));
            }),
        ),
        (
            "audience",
            with_claims(&|claims| {
                claims.insert("aud".to_owned(), json!("another-service"));
            }),
        ),
        (
            "claims",
            with_claims(&|claims| {
                claims.remove("exp");
            }),
        ),
        (
            "claims",
            with_claims(&|claims| {
                claims.remove("aud");
            }),
        ),
        (
            "claims",
            with_claims(&|claims| {
                claims.insert("roles".to_owned(), json!(["king"]));
            }),
        ),
        (
            "claims",
            with_claims(&|claims| {
                claims.remove("programs");
            }),
        ),
        // What makes the role harmless is missing.
        (
            "claims",
            with_claims(&|claims| {
                claims.insert("roles".to_owned(), json!(["member"]));
                claims.remove("member");
            }),
        ),
        (
            "claims",
            with_claims(&|claims| {
                claims.insert("roles".to_owned(), json!(["checkout", "partner"]));
                claims.remove("brands");
            }),
        ),
    ]
}

/// A caller that has one role, and what that role is kept to.
pub(super) fn caller(role: Role, program: &str, member: &str, brand: &str) -> Grant {
    let brands = match role {
        Role::Checkout | Role::Partner => vec![brand.to_owned()],
        _ => Vec::new(),
    };
    Grant {
        programs: vec![program.to_owned()],
        brands,
        member: (role == Role::Member).then(|| member.to_owned()),
        ..grant(role.name(), &[role])
    }
}
