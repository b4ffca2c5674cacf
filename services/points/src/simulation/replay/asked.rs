//! What a request asks where there is less than there was.

use fealty_ledger::{Command, MemberBook, Refusal};
use fealty_types::Points;

/// What became of a request for which too little is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reduced {
    /// It asks for so much less.
    By(Points),
    /// There is nothing of so much.
    Nothing(Points),
    /// It is refused for another reason.
    Not,
}

/// Has a request ask for what is there.
pub(super) fn reduced(command: &mut Command, refusal: &Refusal) -> Reduced {
    let (there, asked) = match refusal {
        Refusal::InsufficientPoints {
            available,
            required,
        } => (*available, *required),
        // What the hold lacks was missed when it was made.
        Refusal::HoldExhausted { remaining, .. } => (*remaining, *remaining),
        Refusal::ReversalExceeded { left, .. } => {
            let asked = match command {
                Command::Reverse(reverse) => reverse.points,
                _ => None,
            };
            (*left, asked.unwrap_or(*left))
        }
        _ => return Reduced::Not,
    };
    let short = asked.checked_sub(there).unwrap_or(Points::ZERO);
    if there.is_zero() {
        return Reduced::Nothing(short);
    }
    match command {
        Command::Redeem(redeem) => redeem.points = there,
        Command::Hold(hold) => hold.points = there,
        Command::Gift(gift) => gift.points = there,
        Command::Adjust(adjust) => adjust.points = there,
        Command::Capture(capture) => capture.points = Some(there),
        Command::Reverse(reverse) => reverse.points = Some(there),
        _ => return Reduced::Not,
    }
    Reduced::By(short)
}

/// Has a purchase go on without the holds that did not come about; answers with how many those
/// are.
pub(super) fn without_lost_holds(command: &mut Command, book: &MemberBook) -> u64 {
    let Command::Purchase(purchase) = command else {
        return 0;
    };
    let mut lost = 0;
    for tender in &mut purchase.tenders {
        if tender
            .hold
            .is_some_and(|hold| book.wallet_of_hold(hold).is_none())
        {
            tender.hold = None;
            lost += 1;
        }
    }
    lost
}
