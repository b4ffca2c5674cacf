//! The calls that the bench measures and `fealty load` sends.

use std::{fmt, str::FromStr};

use fealty_client::Channel;
use fealty_proto::{
    points::v1::{
        AccrueRequest, CaptureRequest, Consistency, GetBalanceRequest, HoldRequest, PurchaseLine,
        RecordPurchaseRequest, RedeemRequest, earning_service_client::EarningServiceClient,
        ledger_service_client::LedgerServiceClient,
    },
    r#type::v1::Money,
};
use tonic::{
    Status,
    codegen::{Body, Bytes, StdError},
};

/// What a caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `Accrue`.
    Accrue,
    /// `RecordPurchase`.
    Purchase,
    /// `Redeem`, of one point.
    Redeem,
    /// `Hold` and `Capture`, of one point.
    HoldCapture,
    /// `GetBalance`, which may be cached.
    Balance,
    /// `GetBalance`, from the database.
    StrongBalance,
}

impl Call {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Accrue,
        Self::Purchase,
        Self::Redeem,
        Self::HoldCapture,
        Self::Balance,
        Self::StrongBalance,
    ];

    /// Its name in a mix and in a table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Accrue => "accrue",
            Self::Purchase => "purchase",
            Self::Redeem => "redeem",
            Self::HoldCapture => "hold_capture",
            Self::Balance => "balance",
            Self::StrongBalance => "strong_balance",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Call {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|call| call.name() == text);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("`{text}` is no call; there are {names}")
        })
    }
}

/// What every call names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    /// The programme.
    pub(crate) program: String,
    /// A brand of it that issues and accepts the currency.
    pub(crate) brand: String,
    /// A currency of it.
    pub(crate) currency: String,
    /// Its money.
    pub(crate) money: String,
    /// The way purchases are sold; may be empty.
    pub(crate) channel: String,
    /// What they are of: lines that sum to 4,995 of the smallest unit; may be none.
    pub(crate) lines: Vec<PurchaseLine>,
}

impl Subject {
    /// An accrual of 100 points.
    pub(crate) fn accrual(&self, request_id: String, member: String) -> AccrueRequest {
        AccrueRequest {
            request_id,
            program: self.program.clone(),
            member,
            brand: self.brand.clone(),
            currency: self.currency.clone(),
            points: 100,
            ..AccrueRequest::default()
        }
    }

    /// A purchase of 49.95, or of as much as 4,995 of the smallest unit is.
    fn purchase(&self, request_id: String, member: String) -> RecordPurchaseRequest {
        RecordPurchaseRequest {
            order_number: request_id.clone(),
            request_id,
            program: self.program.clone(),
            member,
            brand: self.brand.clone(),
            amount: Some(Money {
                currency_code: self.money.clone(),
                minor_units: 4_995,
            }),
            channel: self.channel.clone(),
            lines: self.lines.clone(),
            ..RecordPurchaseRequest::default()
        }
    }

    fn redemption(&self, request_id: String, member: String) -> RedeemRequest {
        RedeemRequest {
            request_id,
            program: self.program.clone(),
            member,
            brand: self.brand.clone(),
            currency: self.currency.clone(),
            points: 1,
            reference: String::new(),
            ..RedeemRequest::default()
        }
    }

    fn hold(&self, request_id: String, member: String) -> HoldRequest {
        HoldRequest {
            request_id,
            program: self.program.clone(),
            member,
            brand: self.brand.clone(),
            currency: self.currency.clone(),
            points: 1,
            timeout: None,
            reference: String::new(),
            ..HoldRequest::default()
        }
    }

    fn balance(&self, member: String, consistency: Consistency) -> GetBalanceRequest {
        GetBalanceRequest {
            program: self.program.clone(),
            member,
            currency: self.currency.clone(),
            consistency: consistency.into(),
            moment: None,
            ..GetBalanceRequest::default()
        }
    }

    /// Does one call and waits for its answer. `request_id` is unique.
    pub(crate) async fn call<C>(
        &self,
        channel: C,
        call: Call,
        request_id: String,
        member: String,
    ) -> Result<(), Status>
    where
        C: tonic::client::GrpcService<tonic::body::Body, Error: Into<StdError>> + Clone,
        C::ResponseBody: Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
    {
        let mut ledger = LedgerServiceClient::new(channel.clone());
        match call {
            Call::Accrue => {
                let request = self.accrual(request_id, member);
                ledger.accrue(request).await.map(drop)
            }
            Call::Purchase => {
                let request = self.purchase(request_id, member);
                let mut earning = EarningServiceClient::new(channel);
                earning.record_purchase(request).await.map(drop)
            }
            Call::Redeem => {
                let request = self.redemption(request_id, member);
                ledger.redeem(request).await.map(drop)
            }
            Call::HoldCapture => {
                let capture = CaptureRequest {
                    request_id: format!("{request_id}-capture"),
                    program: self.program.clone(),
                    member: member.clone(),
                    keep_rest: false,
                    ..CaptureRequest::default()
                };
                let held = ledger.hold(self.hold(request_id, member)).await?;
                let hold = held.into_inner().hold;
                ledger
                    .capture(CaptureRequest { hold, ..capture })
                    .await
                    .map(drop)
            }
            Call::Balance => {
                let request = self.balance(member, Consistency::Cached);
                ledger.get_balance(request).await.map(drop)
            }
            Call::StrongBalance => {
                let request = self.balance(member, Consistency::Strong);
                ledger.get_balance(request).await.map(drop)
            }
        }
    }
}

/// The how many'th of so many members a call is for: spread over all of them,
/// the same in every run.
pub(crate) fn spread(number: u64, members: usize) -> usize {
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    usize::try_from(spread).unwrap_or(0) % members
}

/// A connection as the commands use them.
pub(crate) type Connection = Channel;
