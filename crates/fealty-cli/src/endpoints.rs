//! Where the services are.

use std::path::PathBuf;

use clap::Args;
use fealty_client::{Channel, Credentials, connect};
use fealty_proto::{
    operations::v1::{
        audit_log_service_client::AuditLogServiceClient, feed_service_client::FeedServiceClient,
        test_clock_service_client::TestClockServiceClient,
    },
    points::v1::{
        adjustment_service_client::AdjustmentServiceClient,
        audit_service_client::AuditServiceClient, earning_service_client::EarningServiceClient,
        ledger_service_client::LedgerServiceClient,
        personal_data_service_client::PersonalDataServiceClient,
        referral_service_client::ReferralServiceClient,
        settlement_service_client::SettlementServiceClient,
    },
    program::v1::program_service_client::ProgramServiceClient,
    rewards::v1::{
        catalog_service_client::CatalogServiceClient,
        redemption_service_client::RedemptionServiceClient,
    },
    tiers::v1::{
        activity_service_client::ActivityServiceClient, tier_service_client::TierServiceClient,
    },
};
use secrecy::SecretString;

/// What the command shows the services, and whom it believes.
#[derive(Args, Clone, Debug, Default)]
pub struct Shown {
    /// The token to show.
    #[arg(long, env = "FEALTY_TOKEN", hide_env_values = true)]
    pub token: Option<SecretString>,
    /// The file with the token to show; read again when it changes.
    #[arg(long, env = "FEALTY_TOKEN_FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Certificates to believe of services at https://, PEM; otherwise those of the
    /// web.
    #[arg(long, env = "FEALTY_CA_FILE")]
    pub ca_file: Option<PathBuf>,
}

impl Shown {
    /// What a client shows.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        Credentials {
            token: self.token.clone(),
            token_file: self.token_file.clone(),
            ca_file: self.ca_file.clone(),
            ..Credentials::default()
        }
    }
}

/// URLs of the three services.
#[derive(Args, Clone, Debug)]
pub struct Endpoints {
    /// URL of the points service.
    #[arg(
        long,
        env = "FEALTY_POINTS_URL",
        default_value = "http://127.0.0.1:7001"
    )]
    pub points: String,
    /// URL of the tiers service.
    #[arg(
        long,
        env = "FEALTY_TIERS_URL",
        default_value = "http://127.0.0.1:7002"
    )]
    pub tiers: String,
    /// URL of the rewards service.
    #[arg(
        long,
        env = "FEALTY_REWARDS_URL",
        default_value = "http://127.0.0.1:7003"
    )]
    pub rewards: String,
    /// What they are shown.
    #[command(flatten)]
    pub shown: Shown,
}

/// Connections to the three services by one caller.
#[derive(Clone, Debug)]
struct Channels {
    points: Channel,
    tiers: Channel,
    rewards: Channel,
}

impl Channels {
    fn connect(endpoints: &Endpoints, shown: &Credentials) -> anyhow::Result<Self> {
        Ok(Self {
            points: connect(&endpoints.points, shown)?,
            tiers: connect(&endpoints.tiers, shown)?,
            rewards: connect(&endpoints.rewards, shown)?,
        })
    }

    fn all(&self) -> [(&'static str, Channel); 3] {
        [
            (fealty_points::NAME, self.points.clone()),
            (fealty_tiers::NAME, self.tiers.clone()),
            (fealty_rewards::NAME, self.rewards.clone()),
        ]
    }
}

/// The longest answer with a programme's file that is taken, in bytes.
const PROGRAM_LEN_MAX: usize = 2 * fealty_program::SOURCE_LEN_MAX;

/// Connections to the three services.
#[derive(Clone, Debug)]
pub struct Clients {
    /// What shops and apps call.
    shop: Channels,
    /// What the office calls: programmes, accounts, clocks, the audit log.
    office: Channels,
}

impl Clients {
    /// Connects; the connections are made when they are first used.
    pub fn connect(endpoints: &Endpoints) -> anyhow::Result<Self> {
        Self::connect_with(endpoints, &endpoints.shown.credentials())
    }

    /// Connects with other credentials.
    pub fn connect_with(endpoints: &Endpoints, shown: &Credentials) -> anyhow::Result<Self> {
        Self::connect_apart(endpoints, shown, shown)
    }

    /// Connects with credentials for what shops and apps call, and others for what
    /// the office calls.
    pub fn connect_apart(
        endpoints: &Endpoints,
        shop: &Credentials,
        office: &Credentials,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            shop: Channels::connect(endpoints, shop)?,
            office: Channels::connect(endpoints, office)?,
        })
    }

    /// The three, by name.
    #[must_use]
    pub fn channels(&self) -> [(&'static str, Channel); 3] {
        self.shop.all()
    }

    /// Purchases.
    #[must_use]
    pub fn earning(&self) -> EarningServiceClient<Channel> {
        EarningServiceClient::new(self.shop.points.clone())
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> LedgerServiceClient<Channel> {
        LedgerServiceClient::new(self.shop.points.clone())
    }

    /// Adjustments that two persons decide.
    #[must_use]
    pub fn adjustments(&self) -> AdjustmentServiceClient<Channel> {
        AdjustmentServiceClient::new(self.office.points.clone())
    }

    /// The auditor's questions.
    #[must_use]
    pub fn audit(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.office.points.clone())
    }

    /// What brands owe each other.
    #[must_use]
    pub fn settlement(&self) -> SettlementServiceClient<Channel> {
        SettlementServiceClient::new(self.office.points.clone())
    }

    /// Members who bring others.
    #[must_use]
    pub fn referrals(&self) -> ReferralServiceClient<Channel> {
        ReferralServiceClient::new(self.office.points.clone())
    }

    /// What is personal of members.
    #[must_use]
    pub fn personal_data(&self) -> PersonalDataServiceClient<Channel> {
        PersonalDataServiceClient::new(self.office.points.clone())
    }

    /// Sensitive activities.
    #[must_use]
    pub fn sensitive_activities(&self) -> ActivityServiceClient<Channel> {
        ActivityServiceClient::new(self.shop.tiers.clone())
    }

    /// Members' statuses.
    #[must_use]
    pub fn tier(&self) -> TierServiceClient<Channel> {
        TierServiceClient::new(self.shop.tiers.clone())
    }

    /// The catalogue.
    #[must_use]
    pub fn catalog(&self) -> CatalogServiceClient<Channel> {
        CatalogServiceClient::new(self.shop.rewards.clone())
    }

    /// Redemptions.
    #[must_use]
    pub fn redemption(&self) -> RedemptionServiceClient<Channel> {
        RedemptionServiceClient::new(self.shop.rewards.clone())
    }

    /// Programmes, of each service.
    #[must_use]
    pub fn programs(&self) -> [(&'static str, ProgramServiceClient<Channel>); 3] {
        self.office.all().map(|(name, channel)| {
            let client = ProgramServiceClient::new(channel);
            (name, client.max_decoding_message_size(PROGRAM_LEN_MAX))
        })
    }

    /// Audit logs, of each service.
    #[must_use]
    pub fn audit_logs(&self) -> [(&'static str, AuditLogServiceClient<Channel>); 3] {
        self.office
            .all()
            .map(|(name, channel)| (name, AuditLogServiceClient::new(channel)))
    }

    /// Test clocks, of each service.
    #[must_use]
    pub fn clocks(&self) -> [TestClockServiceClient<Channel>; 3] {
        self.office
            .all()
            .map(|(_, channel)| TestClockServiceClient::new(channel))
    }

    /// The feeds of points and of tiers.
    #[must_use]
    pub fn feeds(&self) -> [FeedServiceClient<Channel>; 2] {
        [self.shop.points.clone(), self.shop.tiers.clone()].map(FeedServiceClient::new)
    }
}
