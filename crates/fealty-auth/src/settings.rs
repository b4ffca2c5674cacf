//! What a service is told about tokens.

use std::path::PathBuf;

use serde::Deserialize;

use crate::{Role, Roles};

/// `[auth]`: whose tokens are taken, and what their claims mean.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Who issues tokens: their `iss`.
    pub issuer: String,
    /// For whom they are: one of their `aud`.
    pub audience: String,
    /// File with the issuer's public keys, a JWKS; read again when it changes.
    pub jwks_file: Option<PathBuf>,
    /// Or where they are: `https://…`, or `http://` on loopback.
    pub jwks_url: Option<String>,
    /// Certificates to trust for that address, PEM; otherwise those of the web.
    pub jwks_ca_file: Option<PathBuf>,
    /// Seconds between two looks at the address.
    pub jwks_refresh_s: u64,
    /// File with the ids (`jti`) of tokens that are taken no longer, one a line;
    /// read again when it changes.
    pub revoked_file: Option<PathBuf>,
    /// Client certificates that stand for a token: `name=role`, divided by commas.
    /// The name is a DNS name or URI in the certificate. They reach all programmes.
    pub certificates: String,
    /// Name of the claim with the roles; dots lead into objects.
    pub claims_roles: String,
    /// Name of the claim with the programmes; `*` for all.
    pub claims_programs: String,
    /// Name of the claim with the brands; `*` for all.
    pub claims_brands: String,
    /// Name of the claim with the member.
    pub claims_member: String,
    /// What roles are called by the issuer: `theirs=ours`, divided by commas. Ours
    /// are known by their own names too.
    pub roles: String,
    /// Programmes of tokens that name none: `*`, or ids divided by commas. If empty,
    /// such tokens are not taken.
    pub default_programs: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: "fealty".to_owned(),
            jwks_file: None,
            jwks_url: None,
            jwks_ca_file: None,
            jwks_refresh_s: 300,
            revoked_file: None,
            certificates: String::new(),
            claims_roles: "roles".to_owned(),
            claims_programs: "programs".to_owned(),
            claims_brands: "brands".to_owned(),
            claims_member: "member".to_owned(),
            roles: String::new(),
            default_programs: String::new(),
        }
    }
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("auth.{knob} {rule}")]
pub struct SettingsError {
    /// The knob.
    pub knob: &'static str,
    /// What it must be.
    pub rule: String,
}

impl SettingsError {
    pub(crate) fn new(knob: &'static str, rule: impl Into<String>) -> Self {
        Self {
            knob,
            rule: rule.into(),
        }
    }
}

impl Settings {
    /// Whether anything is said about who may call.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.takes_tokens() || !self.certificates.is_empty()
    }

    pub(crate) fn takes_tokens(&self) -> bool {
        self.jwks_file.is_some() || self.jwks_url.is_some()
    }

    /// Says what is wrong with them.
    pub fn check(&self) -> Result<(), SettingsError> {
        pairs("roles", &self.roles)?;
        for (name, role) in pairs("certificates", &self.certificates)? {
            // What keeps these to a member or to brands, no certificate says.
            if matches!(role, Role::Member | Role::Checkout | Role::Partner) {
                let rule = format!("must not give `{name}` the role {role}: that needs a token");
                return Err(SettingsError::new("certificates", rule));
            }
        }
        if self.jwks_file.is_some() && self.jwks_url.is_some() {
            let rule = "must not be set where auth.jwks_file is";
            return Err(SettingsError::new("jwks_url", rule));
        }
        if self.takes_tokens() && self.issuer.is_empty() {
            return Err(SettingsError::new("issuer", "must be set"));
        }
        if self.takes_tokens() && self.audience.is_empty() {
            return Err(SettingsError::new("audience", "must not be empty"));
        }
        if self.jwks_refresh_s == 0 {
            return Err(SettingsError::new("jwks_refresh_s", "must be at least 1"));
        }
        Ok(())
    }

    /// The role that the issuer calls so.
    pub(crate) fn role(&self, name: &str) -> Option<Role> {
        let mapped = pairs("roles", &self.roles).ok()?;
        let mapped = mapped.into_iter().find(|(theirs, _)| *theirs == name);
        mapped.map(|(_, ours)| ours).or_else(|| name.parse().ok())
    }

    /// The name in a certificate by which its holder is known, and its roles.
    #[must_use]
    pub fn certificate<'a>(&self, names: &'a [String]) -> Option<(&'a str, Roles)> {
        let known = pairs("certificates", &self.certificates).ok()?;
        names.iter().find_map(|name| {
            let roles = known.iter().filter(|(known, _)| known == name);
            let roles: Roles = roles.map(|(_, role)| *role).collect();
            (!roles.is_empty()).then_some((name.as_str(), roles))
        })
    }
}

/// `name=role`, divided by commas.
fn pairs<'a>(knob: &'static str, text: &'a str) -> Result<Vec<(&'a str, Role)>, SettingsError> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let pairs = parts.map(|part| {
        // A name may have `=` in it; a role has none.
        let (name, role) = part.rsplit_once('=').ok_or_else(|| {
            SettingsError::new(knob, format!("must be `name=role`, not `{part}`"))
        })?;
        let role = role.trim().parse();
        let role =
            role.map_err(|error: String| SettingsError::new(knob, format!("says that {error}")))?;
        Ok((name.trim(), role))
    });
    pairs.collect()
}
