//! What a history is made of. Members, transactions, lots and holds are named
//! by number; numbers beyond what there is name nothing.

use proptest::prelude::*;

pub(crate) const MEMBERS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Unset,
    After(i64),
    /// Activation: on an event. Expiry: with inactivity, after so many hours, as the tier
    /// decides.
    Otherwise(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    LotOnly,
    Balance,
    Debt,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Accrue {
        points: i64,
        brand: usize,
        activates: When,
        expires: When,
    },
    Redeem {
        points: i64,
        brand: usize,
        /// Counts as activity for so many hours.
        active: Option<i64>,
    },
    Hold {
        points: i64,
        brand: usize,
        timeout: i64,
    },
    Capture {
        hold: usize,
        points: Option<i64>,
        is_final: bool,
    },
    /// A purchase, paid with the points of a hold.
    Purchase {
        hold: usize,
        brand: usize,
        points: i64,
    },
    Release {
        hold: usize,
    },
    ExtendHold {
        hold: usize,
        timeout: i64,
    },
    Reverse {
        transaction: usize,
        points: Option<i64>,
        policy: Policy,
        grace: Option<i64>,
    },
    /// A return of a part of the money, or of all that is left; what is left earns so many
    /// points.
    Return {
        transaction: usize,
        amount: Option<i64>,
        earns: i64,
        policy: Policy,
        grace: Option<i64>,
    },
    Adjust {
        points: i64,
        brand: usize,
        gives: bool,
    },
    Transfer {
        to: usize,
        points: i64,
        /// For how many hours points that go with inactivity live from then at the least.
        term: Option<i64>,
    },
    Extend {
        lot: usize,
        hours: i64,
    },
    Reinstate {
        lot: usize,
        points: Option<i64>,
        hours: i64,
    },
    Activate {
        transaction: usize,
    },
    /// The member's tier, since some hours ago, keeps points that go with inactivity,
    /// or lets them live for so many hours after a fall.
    ChangeTier {
        keeps: bool,
        hours_ago: i64,
        after_fall: i64,
    },
    Wait {
        hours: i64,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) member: usize,
    pub(crate) what: What,
}

fn when(after: std::ops::Range<i64>, otherwise: i64) -> impl Strategy<Value = When> {
    prop_oneof![
        4 => Just(When::Unset),
        4 => after.prop_map(When::After),
        2 => Just(When::Otherwise(otherwise)),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let points = || 1_i64..300;
    let brand = || 0_usize..2;
    let some_points = || prop::option::of(1_i64..200);
    let number = || 0_usize..30;
    let policy = || {
        prop_oneof![
            Just(Policy::LotOnly),
            Just(Policy::Balance),
            Just(Policy::Debt)
        ]
    };
    let what = prop_oneof![
        6 => (points(), brand(), when(1..40, 0), when(24..400, 150)).prop_map(
            |(points, brand, activates, expires)| What::Accrue { points, brand, activates, expires }),
        4 => (points(), brand(), prop::option::weighted(0.3, 100_i64..300)).prop_map(
            |(points, brand, active)| What::Redeem { points, brand, active }),
        3 => (points(), brand(), 1_i64..100).prop_map(
            |(points, brand, timeout)| What::Hold { points, brand, timeout }),
        2 => (0_usize..8, some_points(), any::<bool>()).prop_map(
            |(hold, points, is_final)| What::Capture { hold, points, is_final }),
        2 => (0_usize..8, brand(), points()).prop_map(
            |(hold, brand, points)| What::Purchase { hold, brand, points }),
        1 => (0_usize..8).prop_map(|hold| What::Release { hold }),
        1 => (0_usize..8, 1_i64..200).prop_map(|(hold, timeout)| What::ExtendHold { hold, timeout }),
        5 => (number(), some_points(), policy(), prop::option::of(24_i64..200)).prop_map(
            |(transaction, points, policy, grace)| What::Reverse { transaction, points, policy, grace }),
        3 => (number(), prop::option::of(1_i64..70), 0_i64..200, policy(), prop::option::of(24_i64..200)).prop_map(
            |(transaction, amount, earns, policy, grace)| What::Return { transaction, amount, earns, policy, grace }),
        1 => (points(), brand(), any::<bool>()).prop_map(
            |(points, brand, gives)| What::Adjust { points, brand, gives }),
        2 => (0..MEMBERS, points(), prop::option::weighted(0.8, Just(150))).prop_map(
            |(to, points, term)| What::Transfer { to, points, term }),
        1 => (number(), 1_i64..400).prop_map(|(lot, hours)| What::Extend { lot, hours }),
        1 => (number(), some_points(), 1_i64..400).prop_map(
            |(lot, points, hours)| What::Reinstate { lot, points, hours }),
        1 => number().prop_map(|transaction| What::Activate { transaction }),
        2 => (any::<bool>(), 0_i64..3, 0_i64..100).prop_map(|(keeps, hours_ago, after_fall)| {
            What::ChangeTier { keeps, hours_ago, after_fall }
        }),
        4 => (1_i64..60).prop_map(|hours| What::Wait { hours }),
    ];
    (0..MEMBERS, what).prop_map(|(member, what)| Step { member, what })
}
