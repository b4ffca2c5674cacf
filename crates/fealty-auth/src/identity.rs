//! Who a caller is, as a token's claims or a certificate say.

use fealty_types::{BrandId, MemberId, ProgramId, Subject};
use serde_json::{Map, Value};

use crate::{Role, Roles, Settings};

/// The most programmes or brands that a token may name.
const NAMED_MAX: usize = 64;

/// The programmes that a caller reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Programs {
    /// All of them.
    All,
    /// These.
    Named(Vec<ProgramId>),
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The token's `sub`, or the name in the certificate.
    pub subject: Subject,
    /// What the caller is.
    pub roles: Roles,
    /// The programmes it reaches.
    pub programs: Programs,
    /// The brands it speaks for; `None` for all of its programmes.
    pub brands: Option<Vec<BrandId>>,
    /// The one member it reaches; `None` for all of its programmes.
    pub member: Option<MemberId>,
    /// The token's `jti`, by which it can be revoked.
    pub token_id: Option<String>,
    /// The key that signed the token; `None` where there is no token.
    pub key_id: Option<String>,
    /// From when on it is nobody: seconds since 1970.
    pub expires_at_s: i64,
    /// Whether it stands for everybody, where nobody is asked.
    pub is_anybody: bool,
}

/// A claim that says nothing usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the claim `{claim}` {rule}")]
pub struct InvalidClaim {
    /// Its name.
    pub claim: String,
    /// What it must be.
    pub rule: &'static str,
}

impl Identity {
    /// Who is served without authentication: everybody, with all roles.
    #[must_use]
    pub fn anybody() -> Self {
        Self {
            subject: "anybody".parse().expect("a subject"),
            roles: Roles::ALL,
            programs: Programs::All,
            brands: None,
            member: None,
            token_id: None,
            key_id: None,
            expires_at_s: i64::MAX,
            is_anybody: true,
        }
    }

    /// A service that showed a certificate.
    #[must_use]
    pub fn of_certificate(name: Subject, roles: Roles, expires_at_s: i64) -> Self {
        Self {
            subject: name,
            roles,
            expires_at_s,
            is_anybody: false,
            ..Self::anybody()
        }
    }

    /// Reads a token's claims, by the names that are configured.
    pub fn of_claims(
        claims: &Map<String, Value>,
        key_id: &str,
        by: &Settings,
    ) -> Result<Self, InvalidClaim> {
        let invalid = |claim: &str, rule| InvalidClaim {
            claim: claim.to_owned(),
            rule,
        };
        let subject = claims.get("sub").and_then(Value::as_str);
        let subject: Option<Subject> = subject.and_then(|subject| subject.parse().ok());
        let rule = "must be 1 to 128 printable ASCII characters";
        let subject = subject.ok_or_else(|| invalid("sub", rule))?;
        let named = texts(claims, &by.claims_roles)?.unwrap_or_default();
        // Other people's tokens name roles that are none of ours.
        let roles: Roles = named.iter().filter_map(|name| by.role(name)).collect();
        if roles.is_empty() {
            return Err(invalid(&by.claims_roles, "must name a role"));
        }
        let rule = "must name programmes, or be `*`";
        let programs = match texts(claims, &by.claims_programs)? {
            Some(named) => named,
            None => by
                .default_programs
                .split_terminator(',')
                .map(str::trim)
                .collect(),
        };
        let programs = if programs == ["*"] {
            Programs::All
        } else {
            let named = programs.iter().map(|name| name.parse());
            let named: Result<Vec<ProgramId>, _> = named.collect();
            let named = named.ok().filter(|named| !named.is_empty());
            Programs::Named(named.ok_or_else(|| invalid(&by.claims_programs, rule))?)
        };
        let brands = texts(claims, &by.claims_brands)?;
        let brands_are_said = brands.is_some();
        let brands = brands.filter(|named| *named != ["*"]).map(|named| {
            let named = named.iter().map(|name| name.parse());
            let named: Result<Vec<BrandId>, _> = named.collect();
            let named = named.ok().filter(|named| !named.is_empty());
            named.ok_or_else(|| invalid(&by.claims_brands, "must name brands, or be `*`"))
        });
        let brands = brands.transpose()?;
        let member = texts(claims, &by.claims_member)?.map(|named| match named[..] {
            [name] => name.parse().ok(),
            _ => None,
        });
        let member: Option<MemberId> = member
            .map(|member| member.ok_or_else(|| invalid(&by.claims_member, "must name a member")))
            .transpose()?;
        // What makes these roles harmless must be there.
        if roles.has(Role::Member) && member.is_none() {
            return Err(invalid(
                &by.claims_member,
                "must be set for the role `member`",
            ));
        }
        let mut speaks = [Role::Checkout, Role::Partner].into_iter();
        if speaks.any(|role| roles.has(role)) && !brands_are_said {
            let rule = "must be set for the roles `checkout` and `partner`";
            return Err(invalid(&by.claims_brands, rule));
        }
        let token_id = claims.get("jti").and_then(Value::as_str);
        Ok(Self {
            subject,
            roles,
            programs,
            brands,
            member,
            token_id: token_id.map(ToOwned::to_owned),
            key_id: Some(key_id.to_owned()),
            expires_at_s: claims.get("exp").and_then(seconds).unwrap_or(0),
            is_anybody: false,
        })
    }
}

/// A time of a token in seconds; it may have a fraction, which is cut.
fn seconds(time: &Value) -> Option<i64> {
    time.as_i64().or_else(|| {
        time.as_number()?
            .to_string()
            .split('.')
            .next()?
            .parse()
            .ok()
    })
}

/// The texts of a claim: a text, which spaces or commas may divide, or a list of
/// them. A dotted name leads into objects.
fn texts<'a>(
    claims: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<Vec<&'a str>>, InvalidClaim> {
    let mut value = claims.get(name);
    if value.is_none() {
        let mut parts = name.split('.');
        value = parts.next().and_then(|first| claims.get(first));
        for part in parts {
            value = value.and_then(|value| value.get(part));
        }
    }
    let invalid = |rule| InvalidClaim {
        claim: name.to_owned(),
        rule,
    };
    let texts: Vec<&str> = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => {
            let parts = text.split([' ', ',']).filter(|part| !part.is_empty());
            parts.collect()
        }
        Some(Value::Array(values)) => {
            let texts = values.iter().map(Value::as_str);
            let texts = texts.collect::<Option<_>>();
            texts.ok_or_else(|| invalid("must be texts"))?
        }
        Some(_) => return Err(invalid("must be a text or a list of texts")),
    };
    if texts.len() > NAMED_MAX {
        return Err(invalid("must have at most 64 entries"));
    }
    Ok(Some(texts))
}
