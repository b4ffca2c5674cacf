//! What is asked about earning, for the wire.

use fealty_proto::points::v1 as wire;
use fealty_rules::{Budget, Standing, Verdict};
use fealty_server::to_wire_time;
use fealty_types::{TierId, Timestamp};

use crate::{
    ledger::grpc::explain::rule_step,
    plan::{OfRule, Preview},
    shard::Total,
};

pub(super) fn preview(version: i64, preview: &Preview) -> wire::PreviewPurchaseResponse {
    let gave = |of_rule: &OfRule| match of_rule.verdict {
        Verdict::Gave { points, .. } => Some(wire::EarnedPoints {
            rule: of_rule.rule.to_string(),
            currency: of_rule.currency.to_string(),
            points,
            bonus: of_rule.is_bonus,
        }),
        _ => None,
    };
    let tier = preview.tier.as_ref();
    wire::PreviewPurchaseResponse {
        program_version: version,
        tier: tier.map(TierId::to_string).unwrap_or_default(),
        purchase_time: Some(to_wire_time(preview.purchased_at)),
        earned_points: preview.rules.iter().filter_map(gave).collect(),
        rules: preview.rules.iter().map(rule_step).collect(),
    }
}

pub(super) fn counters(as_of: Timestamp, counters: Vec<Standing>) -> wire::GetCountersResponse {
    let told = counters.into_iter().map(|standing| wire::MemberCounter {
        counter: standing.counter.to_string(),
        value: standing.value,
        money: standing.is_money,
        period_end_time: standing.ends.map(to_wire_time),
        goals: standing
            .goals
            .into_iter()
            .map(|goal| wire::CounterGoal {
                rule: goal.rule.to_string(),
                value: goal.at,
            })
            .collect(),
    });
    wire::GetCountersResponse {
        counters: told.collect(),
        as_of_time: Some(to_wire_time(as_of)),
    }
}

pub(super) fn budgets(budgets: Vec<(Budget, Total)>) -> wire::ListBudgetsResponse {
    let budgets = budgets.into_iter().map(|(budget, total)| wire::Budget {
        budget: budget.id.to_string(),
        currency: budget.currency.to_string(),
        points: budget.points,
        used: total.used(),
        left: total.left(budget.points),
        leased: total.lying,
        end_time: budget.until.map(to_wire_time),
        warned: total.warned == budget.points,
    });
    wire::ListBudgetsResponse {
        budgets: budgets.collect(),
    }
}
