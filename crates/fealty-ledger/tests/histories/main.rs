//! Random histories of three members in two shards: whatever is asked, in
//! whatever order, with jumps in time, the books hold.
//!
//! Each history is played three times side by side: by the engine on books
//! that are entirely known; by the engine on books that are read anew for each
//! command from what was stored, a few lots at a time, as the service does; and
//! by a model that shares no code with it (`model.rs`) and does everything the
//! long way round. All three must agree on every answer, lot, hold, bucket,
//! debt and account after every command.
//!
//! `FEALTY_HISTORIES` says how many are played: 2,000 if it is not set.

mod engine;
mod model;
mod steps;
mod stored;

use proptest::{prelude::*, test_runner::TestRunner};

use engine::Engine;
use model::Model;
use steps::{Step, What, When};

const HISTORIES: u32 = 2_000;
const STEPS: usize = 200;

fn play(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut engine = Engine::new();
    let mut model = Model::new();
    for step in steps {
        let answer = engine.play(step)?;
        let expected = model.play(step);
        prop_assert_eq!(&answer, &expected, "the answer to {:?}", step);
        let picture = engine.picture();
        for [_, available, _, debt] in &picture.buckets {
            let owes = *available > 0 && *debt > 0;
            prop_assert!(
                !owes,
                "there are points to spend, and some owed: {:?}",
                step
            );
        }
        prop_assert_eq!(picture, model.picture(), "after {:?}", step);
    }
    engine.check_end()
}

/// A gift of points that go with inactivity comes into a wallet that has seen no
/// activity: it is the first activity that gives them a date.
#[test]
fn the_first_activity_dates_points_that_were_there() {
    let steps = [
        (0, accrue(5, When::Otherwise(150))),
        (
            0,
            What::Transfer {
                to: 2,
                points: 1,
                term: None,
            },
        ),
        (2, accrue(10, When::After(338))),
        (
            2,
            What::Redeem {
                points: 1,
                brand: 0,
                active: Some(100),
            },
        ),
        (0, What::Wait { hours: 198 }),
        (2, accrue(1, When::Unset)),
    ];
    let steps = steps.map(|(member, what)| Step { member, what });
    play(&steps).unwrap_or_else(|failure| panic!("{failure}"));
}

fn accrue(points: i64, expires: When) -> What {
    What::Accrue {
        points,
        brand: 0,
        activates: When::Unset,
        expires,
    }
}

#[test]
fn whatever_is_asked_the_books_hold() {
    let cases = std::env::var("FEALTY_HISTORIES").ok();
    let cases = cases.map_or(HISTORIES, |cases| cases.parse().expect("a number"));
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        ..ProptestConfig::default()
    });
    let history = prop::collection::vec(steps::step(), STEPS);
    runner
        .run(&history, |steps| play(&steps))
        .unwrap_or_else(|failure| panic!("{failure}"));
}
