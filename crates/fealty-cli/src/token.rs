//! `fealty token`: keys and tokens for development, where there is no issuer.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use fealty_auth::{Grant, Issuer, Role};
use fealty_types::{Clock as _, Subject, SystemClock};

/// The `iss` of these tokens.
pub const ISSUER: &str = "fealty-development";
/// The `aud` of these tokens, as services expect it unless they are told another.
pub const AUDIENCE: &str = "fealty";
const KEY_FILE: &str = "key.pkcs8";
const JWKS_FILE: &str = "jwks.json";
const DAY_S: i64 = 24 * 60 * 60;

/// Keys and tokens for development, where there is no issuer.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key to sign tokens with, and what services verify them by.
    ///
    /// A service takes the tokens with `FEALTY_AUTH_ISSUER=fealty-development` and
    /// `FEALTY_AUTH_JWKS_FILE=FOLDER/jwks.json`.
    Keys {
        /// The folder to make them in.
        folder: PathBuf,
    },
    /// Print a token.
    Sign(Sign),
}

/// What the token says.
#[derive(Args, Debug)]
pub struct Sign {
    /// The folder with the key, as `fealty token keys` made it.
    #[arg(long)]
    keys: PathBuf,
    /// Whose it is.
    #[arg(long, default_value = "developer")]
    subject: Subject,
    /// A role: operator, finance, support, checkout, member, partner, auditor or
    /// service. Several by commas.
    #[arg(long = "role", required = true, value_delimiter = ',')]
    roles: Vec<Role>,
    /// A programme that it reaches; all, if nothing is said. Several by commas.
    #[arg(long = "program", value_delimiter = ',')]
    programs: Vec<String>,
    /// A brand that it speaks for, or `*` for all; for the roles checkout and partner.
    /// Other roles speak for all, if nothing is said. Several by commas.
    #[arg(long = "brand", value_delimiter = ',')]
    brands: Vec<String>,
    /// The one member that it reaches; for the role member.
    #[arg(long, required_if_eq("roles", "member"))]
    member: Option<String>,
    /// The service that it is for.
    #[arg(long, default_value = AUDIENCE)]
    audience: String,
    /// Hours that it holds.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=24 * 366))]
    hours: u32,
    /// Its id, by which it can be revoked.
    #[arg(long)]
    id: Option<String>,
}

/// A key for development and its folder.
#[derive(Debug)]
pub struct Keys {
    issuer: Issuer,
    folder: PathBuf,
}

impl Keys {
    /// Makes a key in a folder that has none.
    pub fn make(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let issuer = Issuer::generate(ISSUER)?;
        let key = folder.join(KEY_FILE);
        issuer
            .save(&key)
            .with_context(|| format!("writing {}", key.display()))?;
        let jwks = folder.join(JWKS_FILE);
        std::fs::write(&jwks, issuer.jwks())
            .with_context(|| format!("writing {}", jwks.display()))?;
        Ok(Self {
            issuer,
            folder: folder.to_owned(),
        })
    }

    /// The key in a folder.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let key = folder.join(KEY_FILE);
        let issuer =
            Issuer::open(ISSUER, &key).with_context(|| format!("reading {}", key.display()))?;
        Ok(Self {
            issuer,
            folder: folder.to_owned(),
        })
    }

    /// The issuer, for tokens of any kind.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The file with the public key.
    #[must_use]
    pub fn jwks_file(&self) -> PathBuf {
        self.folder.join(JWKS_FILE)
    }

    /// What a service is told by its environment, so that it takes the tokens.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, String); 2] {
        [
            ("FEALTY_AUTH_ISSUER", ISSUER.to_owned()),
            (
                "FEALTY_AUTH_JWKS_FILE",
                self.jwks_file().display().to_string(),
            ),
        ]
    }

    /// A token for a grant, from now on.
    pub fn sign(&self, grant: &Grant) -> anyhow::Result<String> {
        Ok(self.issuer.sign(grant, now_s())?)
    }

    /// Writes a service's token, which holds for a month, into the folder.
    pub fn service_token_file(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(format!("{name}.token"));
        let grant = Grant {
            valid_s: 30 * DAY_S,
            ..grant(name, &[Role::Service])
        };
        std::fs::write(&path, self.sign(&grant)?)?;
        Ok(path)
    }
}

/// A grant for a day that reaches everything its roles reach.
#[must_use]
pub fn grant(subject: &str, roles: &[Role]) -> Grant {
    Grant {
        subject: subject.to_owned(),
        roles: roles.to_vec(),
        audiences: vec![AUDIENCE.to_owned()],
        valid_s: DAY_S,
        ..Grant::default()
    }
}

/// Seconds since 1970.
#[must_use]
pub fn now_s() -> i64 {
    SystemClock.now().micros().div_euclid(1_000_000)
}

/// Runs the subcommand.
pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Keys { folder } => {
            let keys = Keys::make(&folder)?;
            println!("{}", keys.jwks_file().display());
        }
        Command::Sign(sign) => {
            let keys = Keys::open(&sign.keys)?;
            let speaks = |role: &Role| matches!(role, Role::Checkout | Role::Partner);
            ensure!(
                !sign.brands.is_empty() || !sign.roles.iter().any(speaks),
                "--brand must say for which brands it speaks, `*` for all"
            );
            let hours = Duration::from_secs(u64::from(sign.hours) * 60 * 60);
            let token = keys.sign(&Grant {
                subject: sign.subject.to_string(),
                roles: sign.roles,
                programs: sign.programs,
                brands: sign.brands,
                member: sign.member,
                audiences: vec![sign.audience],
                valid_s: i64::try_from(hours.as_secs())?,
                token_id: sign.id,
            })?;
            println!("{token}");
        }
    }
    Ok(())
}
