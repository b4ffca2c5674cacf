//! How ids and codes look in the JSON Schema of programme files, for editors. The rule
//! itself is where they are parsed.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    ActivityType, AttributeName, BrandId, BudgetId, Code, CounterId, CurrencyId, EventName,
    GroupId, MetadataKey, MoneyCurrency, ProgramId, RewardId, RuleId, TierId,
};

const SLUG: &str = "^[a-z][a-z0-9-]{0,63}$";
const NAME: &str = "^[a-z][a-z0-9_-]{0,31}$";
const CODE: &str = r"^[^\x00-\x1f\x7f]{1,64}$";
const MONEY: &str = "^[A-Z]{3}$";

macro_rules! texts {
    ($types:tt; $($name:ident: $pattern:ident;)+) => {$(
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": $types, "pattern": $pattern })
            }
        }
    )+};
}

texts! {
    "string";
    ProgramId: SLUG;
    BrandId: SLUG;
    CurrencyId: SLUG;
    TierId: SLUG;
    RewardId: SLUG;
    RuleId: SLUG;
    BudgetId: SLUG;
    CounterId: SLUG;
    GroupId: SLUG;
    EventName: SLUG;
    ActivityType: SLUG;
    AttributeName: NAME;
    MetadataKey: NAME;
    MoneyCurrency: MONEY;
}

// A number is read as the text that stands there.
texts! {
    ["string", "number"];
    Code: CODE;
}
