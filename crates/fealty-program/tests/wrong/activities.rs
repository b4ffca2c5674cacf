//! What is wrong with rules of activities, each with its field.

use fealty_program::Program;

const HEAD: &str = r#"program: club
language: 1
calendar: { time_zone: Europe/London }
money: { currency: GBP }
currencies: { points: {} }
brands: { shop: { issues: [points] } }
activities:
  review: { attributes: { stars: int, shop: string } }
  moved: {}
  bereavement: { sensitive: true, attributes: { source: string } }
counters:
  reviews: { of: activity.review, over: { every: week } }
  coffees: { of: line, over: { every: week } }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
"#;

/// What is wrong with a rule beside the base.
fn wrong(rule: &str) -> Vec<String> {
    let source = format!("{HEAD}  - {{ rule: x, {rule} }}\n");
    let Err(errors) = Program::parse(&source) else {
        return Vec::new();
    };
    let told = errors.iter().map(|error| {
        assert!(error.location.is_some(), "{error} has a place");
        format!("{}: {}", error.path, error.message)
    });
    told.collect()
}

#[test]
fn what_activities_cannot_do_is_refused() {
    let fixed = "earn: { currency: points, fixed: 1 }";
    let cases = [
        (
            format!("on: activity.revew, {fixed}"),
            "earning.x.on: there is no activity `revew`, did you mean `review`?",
        ),
        (
            format!("on: activity.bereavement, {fixed}"),
            "earning.x.on: `bereavement` is sensitive: no rule may read it",
        ),
        (
            "on: activity.review, earn: { currency: points, rate: { points: 1, per: 1 } }"
                .to_owned(),
            "earning.x.earn: an activity gives `fixed` points: it has no money",
        ),
        (
            format!("on: activity.moved, lines: 'line.quantity > 1', {fixed}"),
            "earning.x.lines: an activity has no lines",
        ),
        (
            format!("on: activity.moved, when: 'purchase.quantity > 1', {fixed}"),
            "earning.x.when: it is asked of activities: purchases are not known here",
        ),
        (
            format!("on: activity.review, when: 'activity.attributes.star > 1', {fixed}"),
            "earning.x.when: there is no attribute `star`, did you mean `stars`?",
        ),
        (
            format!("on: purchase, when: 'activity.attributes.stars > 1', {fixed}"),
            "earning.x.when: `activity` is only known in rules and counters of activities",
        ),
        (
            format!("on: activity.moved, when: counters.reviews.passes(1), {fixed}"),
            "earning.x.when: the rule is asked of what the counter does not count: its edges are never reached by it",
        ),
        (
            format!("on: purchase, when: counters.reviews.passes(1), {fixed}"),
            "earning.x.when: the rule is asked of what the counter does not count: its edges are never reached by it",
        ),
        (
            format!("on: activity.review, when: counters.coffees.passes(1), {fixed}"),
            "earning.x.when: the rule is asked of what the counter does not count: its edges are never reached by it",
        ),
        (
            format!("on: purchase, {fixed}, caps: [ {{ per: activity, times: 1 }} ]"),
            "earning.x.caps.0: the rule is asked of purchases: say `per: purchase`",
        ),
        (
            format!("on: activity.review, {fixed}, caps: [ {{ per: purchase, points: 1 }} ]"),
            "earning.x.caps.0: the rule is asked of activities: say `per: activity`",
        ),
        (
            format!(
                "on: purchase, {fixed}, caps: [ {{ per: member, every: day, since: activity.moved, points: 1 }} ]"
            ),
            "earning.x.caps.0: must have one of `every`, `last`, `in_a_row` and `since`",
        ),
        (
            format!(
                "on: purchase, {fixed}, caps: [ {{ per: member, since: activity.bereavement, points: 1 }} ]"
            ),
            "earning.x.caps: `bereavement` is sensitive: no rule may read it",
        ),
    ];
    for (rule, expected) in cases {
        assert_eq!(wrong(&rule), [expected], "{rule}");
    }
}

#[test]
fn examples_may_be_activities() {
    let examples = |given: &str, earns: &str| {
        let rule = "  - { rule: x, on: activity.review, when: 'activity.brand == \"shop\"', earn: { currency: points, fixed: 2, times: activity.attributes.stars } }";
        let source = format!("{HEAD}{rule}\nexamples: [ {{ given: {given}, earns: {earns} }} ]\n");
        let parsed = Program::parse(&source).map_err(|errors| errors.to_string())?;
        parsed.check_examples().map_err(|errors| errors.to_string())
    };
    let stars = "{ time: 2026-03-02, activity: review, attributes: { stars: 4 } }";
    examples(stars, "{ x: 8 }").expect("it holds");
    examples(stars, "{ x: 9 }").expect_err("it gives 8");
    let cases = [
        (
            "{ time: 2026-03-02, activity: revew }",
            "did you mean `review`?",
        ),
        (
            "{ time: 2026-03-02, activity: bereavement }",
            "is not one of the activities that rules read",
        ),
        (
            "{ time: 2026-03-02, activity: review, amount: 1 }",
            "has no amount, lines or tenders",
        ),
        (
            "{ time: 2026-03-02, activity: review, attributes: { stars: many } }",
            "is not declared so",
        ),
    ];
    for (given, expected) in cases {
        let wrong = examples(given, "{}").expect_err(given);
        assert!(wrong.contains(expected), "{wrong}");
    }
}
