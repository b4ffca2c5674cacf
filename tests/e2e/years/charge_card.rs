//! `charge-card`: restaurants up to a sum in a year, a move and its cap, refunds that leave a
//! debt.

use fealty_cli::demo::Fleet;
use fealty_proto::points::v1::{
    RecordActivityRequest, RedeemRequest, ReturnPurchaseRequest, return_purchase_request::Of,
};

use super::{Chance, DAY, Line, NEW_YEAR_S, balance, fleet_of, gave, purchase};
use crate::{
    harness::{ask, set_time, verify},
    simulating::reproduces,
};

const PROGRAM: &str = include_str!("../../../examples/programs/charge-card.yaml");
const NAME: (&str, &str) = ("charge-card", "card");
const CATEGORIES: [&str; 5] = ["travel", "restaurant", "furniture", "household", "books"];

/// A purchase as the loop knows it.
struct Bought {
    transaction: String,
    year: i64,
    restaurants: i64,
    moved: Option<(usize, i64)>,
    points: i64,
    is_back: bool,
}

/// The member's account, reckoned plainly.
#[derive(Default)]
struct Account {
    /// Cents in restaurants, by year.
    restaurants: [i64; 2],
    /// Days of moves, and what each has brought.
    moves: Vec<(i64, i64)>,
    points: i64,
    bought: Vec<Bought>,
}

impl Account {
    /// What a purchase earns, in the order of the file, and what it uses.
    fn earns(&mut self, day: i64, lines: &[Line]) -> (Vec<(String, i64)>, Bought) {
        let year = day / 365;
        let sum = |wanted: &[&str]| -> i64 {
            let wanted = lines
                .iter()
                .filter(|(category, _)| wanted.contains(category));
            wanted.map(|(_, cents)| cents).sum()
        };
        let (travel, restaurants) = (sum(&["travel"]), sum(&["restaurant"]));
        let (home, books) = (sum(&["furniture", "household"]), sum(&["books"]));
        let others = home + books;
        let before = self.restaurants[usize::try_from(year).expect("0 or 1")];
        let at_five = (2_500_000 - before).clamp(0, restaurants);
        let of_restaurants = (5 * at_five + (restaurants - at_five)) / 100;
        // Rules over one base round together.
        let on_top = (others + 4 * home) / 100 - others / 100;
        let last = self.moves.len().checked_sub(1);
        let moved = last.filter(|last| day - self.moves[*last].0 < 90);
        let moved = moved.map(|last| (last, on_top.min(5_000 - self.moves[last].1)));
        let rows = [
            ("base", others / 100),
            ("travel", 3 * travel / 100),
            ("restaurants", of_restaurants),
            ("moved-house", moved.map_or(0, |(_, points)| points)),
        ];
        let some = rows.iter().filter(|(_, points)| *points > 0);
        let rows: Vec<_> = some
            .map(|(rule, points)| ((*rule).to_owned(), *points))
            .collect();
        self.restaurants[usize::try_from(year).expect("0 or 1")] += restaurants;
        if let Some((at, points)) = moved {
            self.moves[at].1 += points;
        }
        let points = rows.iter().map(|(_, points)| points).sum();
        self.points += points;
        let bought = Bought {
            transaction: String::new(),
            year,
            restaurants,
            moved,
            points,
            is_back: false,
        };
        (rows, bought)
    }

    /// All of a purchase comes back.
    fn take_back(&mut self, at: usize) {
        let bought = &mut self.bought[at];
        bought.is_back = true;
        self.points -= bought.points;
        self.restaurants[usize::try_from(bought.year).expect("0 or 1")] -= bought.restaurants;
        if let Some((at, points)) = bought.moved {
            self.moves[at].1 -= points;
        }
    }
}

async fn move_house(fleet: &Fleet, step: usize) {
    let moved = RecordActivityRequest {
        request_id: format!("move-{step}"),
        program: NAME.0.to_owned(),
        member: "anna".to_owned(),
        brand: NAME.1.to_owned(),
        activity: "moved".to_owned(),
        activity_id: format!("move-{step}"),
        ..RecordActivityRequest::default()
    };
    ask!(fleet.clients().earning(), record_activity, moved).expect("recorded");
}

async fn give_back(fleet: &Fleet, step: usize, transaction: &str) {
    let back = ReturnPurchaseRequest {
        request_id: format!("back-{step}"),
        program: NAME.0.to_owned(),
        member: "anna".to_owned(),
        of: Some(Of::Transaction(transaction.to_owned())),
        ..ReturnPurchaseRequest::default()
    };
    ask!(fleet.clients().earning(), return_purchase, back).expect("it comes back");
}

async fn spend(fleet: &Fleet, step: usize, points: i64) {
    let redeem = RedeemRequest {
        request_id: format!("redeem-{step}"),
        program: NAME.0.to_owned(),
        member: "anna".to_owned(),
        brand: NAME.1.to_owned(),
        currency: "points".to_owned(),
        points,
        ..RedeemRequest::default()
    };
    ask!(fleet.clients().ledger(), redeem, redeem).expect("spent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_year_of_a_charge_card_is_as_a_plain_loop_says() {
    let fleet = fleet_of(PROGRAM).await;
    let (mut chance, mut account) = (Chance(1), Account::default());
    let (mut spent, mut owed, mut capped) = (0, 0, 0);
    for step in 0..260_usize {
        // Two days of a year and some: into the next one.
        let day = i64::try_from(step).expect("small") * 3 / 2;
        set_time(&fleet, NEW_YEAR_S + day * DAY).await;
        if matches!(step, 40 | 70 | 200) {
            account.moves.push((day, 0));
            move_house(&fleet, step).await;
        }
        let lines = (0..chance.between(1, 4)).map(|_| {
            let category = CATEGORIES[usize::try_from(chance.below(5)).expect("small")];
            (category, chance.between(1, 60_000))
        });
        let lines: Vec<Line> = lines.collect();
        let request = purchase(NAME, step, NEW_YEAR_S + day * DAY, &lines);
        let answer = ask!(fleet.clients().earning(), record_purchase, request).expect("recorded");
        let transaction = answer.transaction.expect("one");
        let (expected, mut bought) = account.earns(day, &lines);
        assert_eq!(gave(&transaction), expected, "day {day}: {lines:?}");
        capped += usize::from(
            bought
                .moved
                .is_some_and(|(at, _)| account.moves[at].1 == 5_000),
        );
        bought.transaction = transaction.id;
        account.bought.push(bought);
        match chance.below(10) {
            0 | 1 => {
                let at = usize::try_from(chance.below(account.bought.len() as u64));
                let at = at.expect("small");
                if account.bought[at].is_back {
                    continue;
                }
                give_back(&fleet, step, &account.bought[at].transaction).await;
                account.take_back(at);
            }
            // All that is there is spent, so what comes back later is owed.
            2 | 3 if account.points > 0 => {
                spend(&fleet, step, account.points).await;
                spent += account.points;
                account.points = 0;
            }
            _ => {}
        }
        let expected = (account.points.max(0), (-account.points).max(0));
        assert_eq!(
            balance(&fleet, NAME.0, "points").await,
            expected,
            "day {day}"
        );
        owed += i64::from(account.points < 0);
    }
    // The year had what it was to have.
    assert!(
        account.restaurants[0] > 2_500_000,
        "{:?}",
        account.restaurants
    );
    assert!(
        capped > 0 && owed > 0 && spent > 0,
        "{capped} {owed} {spent}"
    );
    verify(&fleet).await.expect("the ledger holds");
    reproduces(&fleet, PROGRAM).await;
}
