//! What is wrong with earning sections, each with its place.

mod activities;

use std::fmt::Write as _;

use fealty_program::Program;

const HEAD: &str = r#"program: club
language: 1
calendar: { time_zone: Europe/London }
money: { currency: GBP }
currencies: { points: {}, stars: {} }
brands: { shop: { issues: [points] } }
attributes: { purchase: { own_cup: bool }, line: { cabin: string, nights: int } }
tiers:
  qualify_by: money_spent
  window: 365 days
  upgrade: at_once
  validity: 12 months
  then: judge_again
  levels: [ { tier: green, from: "0.00" }, { tier: gold, from: "100.00" } ]
counters:
  coffees: { of: line, when: 'line.category == "coffee"', over: { every: week } }
  spent: { of: purchase, add: purchase.amount, over: ever }
  earned: { of: points, rules: [base], over: { every: month } }
  visit-days: { of: purchase, once_per: day, over: { every: week } }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
"#;

/// What is wrong with rules beside the base, as `path (line, column): message`; the line is
/// counted from the first of these rules.
fn wrong(rules: &str) -> Vec<String> {
    let source = format!("{HEAD}{rules}\n");
    let before = HEAD.lines().count() as u64;
    let Err(errors) = Program::parse(&source) else {
        return Vec::new();
    };
    let placed = errors.iter().map(|error| {
        let (line, column) = error.location.expect("it has a place");
        let line = line.saturating_sub(before);
        format!("{} ({line}, {column}): {}", error.path, error.message)
    });
    placed.collect()
}

/// One thing is wrong with rules: at a path, where that text stands.
#[track_caller]
fn refused(rules: &str, path: &str, text: &str, message: &str) {
    let column = rules.find(text).expect("the text is there") + 1;
    let expected = format!("{path} (1, {column}): {message}");
    assert_eq!(wrong(rules), [expected], "{rules}");
}

/// A rule with a condition that is wrong so many characters into it.
#[track_caller]
fn condition(text: &str, at: usize, message: &str) {
    let rules = format!(
        "  - {{ rule: x, on: purchase, when: '{text}', earn: {{ currency: points, fixed: 1 }} }}"
    );
    refused(&rules, "earning.x.when", &text[at..], message);
}

#[test]
fn the_head_is_right() {
    assert_eq!(wrong(""), [""; 0]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a list of what is wrong")]
fn names_types_and_functions_are_checked_with_their_places() {
    condition(
        r#"purchase.chanel == "web""#,
        0,
        "there is no name `purchase.chanel`, did you mean `purchase.channel`?",
    );
    condition(
        "true && purchase.channel == 5",
        28,
        "a text and a whole number do not go together",
    );
    condition(
        "purchase.amount > 4.75",
        18,
        r#"floating point is not exact: write money("4.75")"#,
    );
    condition(
        r#"purchase.amount > money("4.755")"#,
        24,
        "`4.755` must be an amount with at most 2 digits after the point",
    );
    condition(
        r#"member.tier == "glod""#,
        15,
        "there is no tier `glod`, did you mean `gold`?",
    );
    condition(
        r#"member.tier.at_least("silver")"#,
        21,
        "there is no tier `silver`",
    );
    condition(
        r#"member.tier > "green""#,
        14,
        r#"tiers are compared by member.tier.at_least("gold")"#,
    );
    condition(
        "purchase.attributes.own_cap",
        0,
        "there is no attribute `own_cap`, did you mean `own_cup`?",
    );
    condition(
        "counters.visit-days.passes(3)",
        0,
        r#"there is no counter `visit`, and one with a dash stands in brackets: ["visit-days"]"#,
    );
    condition(
        "line.quantity > 1",
        0,
        "`line` is only known in `lines`, and in counters of lines",
    );
    condition(
        "lines.count > 1",
        0,
        "`lines` are those that the rule picks, and it picks none",
    );
    condition(
        "purchase.lines.exists(l, l.quantity > 1)",
        21,
        "loops are not part of the language: `lines` picks the lines that a rule is about",
    );
    condition(
        "counters.cofees > 1",
        0,
        "there is no counter `cofees`, did you mean `coffees`?",
    );
    condition(
        "counters.spent > 100",
        0,
        "a whole number and money do not go together",
    );
    condition(
        "counters.spent.passes(100)",
        22,
        r#"must be an amount such as money("500.00")"#,
    );
    condition(
        "counters.earned.after > 1",
        0,
        "what a counter of points comes to is not known yet",
    );
    condition(
        "counters.coffees.passes(5) || purchase.quantity > 1",
        0,
        "an edge of a counter stands alone in `when`, or beside other conditions with `&&`",
    );
    condition(
        "purchase.quantity / 0 > 1",
        20,
        "may only be divided by a number that stands here, above 0",
    );
    condition(
        "purchase.quantity",
        0,
        "must be true or false, not a whole number",
    );
    condition(
        r#"event.weekday in ["monday", "sontag"]"#,
        28,
        "there is no day of the week `sontag`",
    );
    condition(
        r#"matches(purchase.channel, "w.*")"#,
        0,
        "there is no function for these arguments: `matches`",
    );
}

#[test]
fn an_expression_has_an_end() {
    let long = format!(
        "purchase.quantity > 1{}",
        " && purchase.quantity > 1".repeat(400)
    );
    let errors = wrong(&format!(
        "  - {{ rule: x, on: purchase, when: '{long}', earn: {{ currency: points, fixed: 1 }} }}"
    ));
    assert!(
        errors[0].contains("must be at most 4096 bytes long"),
        "{errors:?}"
    );
    let many = format!("purchase.quantity in [{}1]", "1,".repeat(1_500));
    let errors = wrong(&format!(
        "  - {{ rule: x, on: purchase, when: '{many}', earn: {{ currency: points, fixed: 1 }} }}"
    ));
    assert!(
        errors[0].contains("must have at most 1000 parts"),
        "{errors:?}"
    );
    let deep = format!("{}true{}", "!(".repeat(90), ")".repeat(90));
    let errors = wrong(&format!(
        "  - {{ rule: x, on: purchase, when: '{deep}', earn: {{ currency: points, fixed: 1 }} }}"
    ));
    assert!(errors[0].contains("is no expression"), "{errors:?}");
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    refused(
        "  - { rule: x, on: purchase, group: cards, earn: { currency: points, rate: { points: 1, per: 1 } } }",
        "earning.x.group",
        "cards,",
        "`cards` has no order: say `groups: { cards: best }`, or `first`, beside `earning`",
    );
    refused(
        "  - { rule: x, on: purchase, earn: { multiply: bass, by: 2 } }",
        "earning.x.earn.multiply",
        "bass",
        "`bass` must be a rule with a rate, further up, did you mean `base`?",
    );
    refused(
        "  - { rule: x, on: purchase, earn: { currency: stars, rate: { points: 1, per: \"0.001\" } } }",
        "earning.x.earn.rate.per",
        "\"0.001",
        "`0.001` must be an amount of GBP with at most 2 digits after the point",
    );
    refused(
        "  - { rule: x, on: purchase, earn: { currency: points, fixed: 1 }, caps: [ { per: member, every: month, points: 0 } ] }",
        "earning.x.caps.0",
        "{ per: ",
        "must leave room for something: 1 at the least",
    );
    refused(
        "  - { rule: x, on: purchase, earn: { currency: points, fixed: 1 }, caps: [ { per: purchase, every: month, points: 1 } ] }",
        "earning.x.caps.0",
        "{ per: ",
        "`every`, `last` and `since` are for caps `per: member`",
    );
    refused(
        "  - { rule: x, on: purchase, from: 2026-03-02, until: 2026-03-02, earn: { currency: points, fixed: 1 } }",
        "earning.x.until",
        "2026-03-02, earn",
        "must be after `from`",
    );
    refused(
        "  - { rule: x, on: purchase, when: counters.coffees.reaches_each(5), earn: { currency: points, rate: { points: 1, per: 1 } } }",
        "earning.x.when",
        "counters.coffees",
        "`reaches_each` is for rules that give `fixed` points",
    );
    refused(
        "  - { rule: x, on: purchase, funded_by: shap, earn: { currency: points, fixed: 1 } }",
        "earning.x.funded_by",
        "shap",
        "`shap` is not one of the brands, did you mean `shop`?",
    );
    refused(
        "  - { rule: x, on: purchase, funded_by: shop, earn: { currency: stars, fixed: 1 } }",
        "earning.x.funded_by",
        "shop,",
        "`shop` does not issue what the rule gives",
    );
}

#[test]
fn bands_are_of_money_and_caps_are_over_different_windows() {
    let bands = |by: &str| {
        format!(
            "  - {{ rule: x, on: purchase, earn: {{ currency: points, bands: {{ by: {by}, per: 1, points: {{ \"0\": 5 }} }} }} }}"
        )
    };
    assert_eq!(wrong(&bands("spent")), [""; 0]);
    refused(
        &bands("coffees"),
        "earning.x.earn.bands.by",
        "coffees",
        "`coffees` must add money, such as line.earning_amount",
    );
    let cap = "{ per: member, last: 12 months, points: 5 }";
    let same = "{ per: member, last: 1 year, points: 9 }";
    refused(
        &format!(
            "  - {{ rule: x, on: purchase, earn: {{ currency: points, fixed: 1 }}, caps: [ {cap}, {same} ] }}"
        ),
        "earning.x.caps.1",
        same,
        "is over the same as another one of the rule",
    );
    refused(
        "  - { rule: x, on: purchase, from: 9999-12-31, earn: { currency: points, fixed: 1 } }",
        "earning.x.from",
        "9999",
        "`9999-12-31` is beyond the calendar's end",
    );
}

/// What is compiled is no larger than what is written, however deep it is nested.
#[test]
fn an_expression_does_not_grow() {
    let deep = format!("{}true{}", "true == (".repeat(45), ")".repeat(45));
    let rule = format!(
        "  - {{ rule: x, on: purchase, when: '{deep}', earn: {{ currency: points, fixed: 1 }} }}"
    );
    assert_eq!(wrong(&rule), [""; 0]);
}

/// With and without quotes, as files had them that were applied before.
#[test]
fn a_figure_is_read_as_it_is_written() {
    let with = |by: &str| {
        let rule = format!("  - {{ rule: x, on: purchase, earn: {{ multiply: base, by: {by} }} }}");
        let parsed = Program::parse(&format!("{HEAD}{rule}\n"));
        parsed
            .map(|parsed| parsed.digest)
            .map_err(|errors| errors.to_string())
    };
    let quoted = with("\"1.10\"").expect("right");
    assert_eq!(with("1.10"), Ok(quoted.clone()));
    assert_ne!(with("1.1"), Ok(quoted), "another text, of the same meaning");
    for wrong in ["1e1", "-2", "0x2", "1_000", "many", "0.5", "1.1234567"] {
        let why = with(wrong).expect_err("it is no factor");
        assert!(why.contains("must be a factor"), "{wrong}: {why}");
    }
}

/// The digest of a file that was applied before stays what it was, with figures in quotes
/// and without.
#[test]
fn the_digest_of_an_earlier_file_stays() {
    let club = include_str!("../../../../examples/programs/record-club.yaml");
    let digest = |text: &str| Program::parse(text).expect("right").digest;
    let known = "aecab4511d7b4cc656ce6a0bbc61f7eb9cd72e356529e6765822ec8c790bfe27";
    assert_eq!(digest(club), known);
    let plain = club.replace("per: \"1.00\"", "per: 1.00");
    assert_eq!(
        digest(&plain.replace("gold: \"1.50\"", "gold: 1.50")),
        known
    );
    assert_eq!(
        digest(&plain.replace("gold: \"1.50\"", "gold: 2")),
        "0a6e28e7d22ccbfd3bbf60e40584a3cefdf7c324dfd27c9c7d7c8a0e4f903cd9"
    );
}

#[test]
fn counters_and_calendars_are_checked() {
    let source = HEAD
        .replace("when: 'line.category ==", "when: 'line.categry ==")
        .replace("rules: [base]", "rules: [bass]")
        .replace("calendar: { time_zone: Europe/London }", "calendar: { time_zone: Europe/Londn, week_starts: friday, year_starts: 02-30, late_until: 3 years }");
    let errors = Program::parse(&source).expect_err("refused");
    let found: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        found,
        [
            "calendar.time_zone",
            "calendar.year_starts",
            "calendar.late_until",
            "counters.coffees.when",
            "counters.earned.rules",
        ],
        "{errors}"
    );
}

#[test]
fn counters_from_the_log_are_few_and_of_what_the_log_has() {
    let with = |counter: &str| HEAD.replace("counters:\n", &format!("counters:\n{counter}"));
    let of_points = with("  given: { of: points, rules: [base], over: ever, backfill: true }\n");
    let errors = Program::parse(&of_points).expect_err("refused");
    let found = errors
        .iter()
        .find(|error| error.path == "counters.given.backfill");
    let what = found.map(ToString::to_string).unwrap_or_default();
    assert!(
        what.contains("is for counters of purchases, lines and activities"),
        "{errors}"
    );
    let many = |count: usize| {
        let counters = (0..count)
            .map(|number| format!("  c{number}: {{ of: purchase, over: ever, backfill: true }}\n"));
        with(&counters.collect::<String>())
    };
    assert!(Program::parse(&many(10)).is_ok());
    let errors = Program::parse(&many(11)).expect_err("refused");
    let what = errors.to_string();
    assert!(
        what.contains("must have `backfill` in at most 10 of them"),
        "{errors}"
    );
}

#[test]
fn figures_that_cannot_be_reckoned_exactly_are_refused() {
    let mut rules = String::new();
    for at in 0..8 {
        writeln!(
            rules,
            "  - {{ rule: m{at}, on: purchase, earn: {{ multiply: base, by: \"1.234567\", compound: true }} }}"
        )
        .expect("to memory");
    }
    let errors = wrong(&rules);
    assert!(
        errors.iter().any(|error| error.contains("too many digits")),
        "{errors:?}"
    );
}

#[test]
fn budgets_name_what_is_there() {
    let budgets = "budgets: { spring: { currency: points, points: 10 }, stars: { currency: stars, points: 5 } }\n";
    let rule = |budget: &str| {
        format!(
            "  - {{ rule: x, on: purchase, earn: {{ currency: points, fixed: 1 }}, budget: {budget} }}\n{budgets}"
        )
    };
    assert_eq!(wrong(&rule("spring")), Vec::<String>::new());
    let unknown = rule("sprint");
    refused(
        &unknown,
        "earning.x.budget",
        "sprint",
        "there is no budget `sprint`, did you mean `spring`?",
    );
    let other = rule("stars");
    refused(
        &other,
        "earning.x.budget",
        "stars }",
        "`stars` is of stars, which the rule does not give",
    );
    let found = wrong(
        "budgets: { a: { currency: point, points: 0, funded_by: shops, warn_at: 0%, until: soon } }",
    );
    let paths: Vec<&str> = found
        .iter()
        .map(|found| found.split(' ').next().expect("a path"))
        .collect();
    let expected = ["currency", "points", "funded_by", "until", "warn_at"];
    let expected = expected.map(|field| format!("budgets.a.{field}"));
    assert_eq!(paths, expected, "{found:?}");
}

/// What is told of rules that are right, and do what their writer may not expect.
#[test]
fn what_may_not_be_expected_is_told_with_its_place() {
    let notes = |rules: &str| -> Vec<String> {
        let source = format!("{HEAD}{rules}\n");
        let parsed = Program::parse(&source).unwrap_or_else(|errors| panic!("{errors}"));
        let before = HEAD.lines().count() as u64;
        let notes = parsed.program.notes().into_iter().map(|note| {
            let (line, column) = parsed.place(&note.path).expect("it has a place");
            let what = note.message.split(':').next().expect("words").to_owned();
            format!("{} ({}, {column}): {what}", note.path, line - before)
        });
        notes.collect()
    };
    let rule = |name: &str, rest: &str| format!("  - {{ rule: {name}, on: purchase, {rest} }}\n");
    let fixed = "earn: { currency: points, fixed: 5 }";
    for limit in ["points: 5", "times: 1"] {
        let rules = rule(
            "a",
            &format!("{fixed}, caps: [ {{ per: purchase, {limit} }} ]"),
        );
        let column = rules.find("[ {").expect("it has caps") + 1;
        let told = format!("earning.a.caps (1, {column}): is never reached");
        assert_eq!(notes(&rules), [told]);
    }
    let reached = rule(
        "a",
        &format!("{fixed}, caps: [ {{ per: purchase, points: 4 }} ]"),
    );
    assert_eq!(notes(&reached), Vec::<String>::new());
    for when in [
        "purchase.amount < money(\"9.00\")",
        "purchase.quantity <= 3 && purchase.channel == \"web\"",
        "money(\"9.00\") > purchase.amount",
    ] {
        let rules = rule("a", &format!("when: '{when}', {fixed}"));
        let column = rules.find('\'').expect("it has a condition") + 1;
        let told = format!("earning.a.when (1, {column}): gives more for less");
        assert_eq!(notes(&rules), [told]);
    }
    let told = notes(&rule(
        "a",
        &format!("when: 'purchase.amount >= money(\"9.00\")', {fixed}"),
    ));
    assert_eq!(told, Vec::<String>::new());
    // Of a group the first gives: what comes after one that always holds never does.
    let rate = "earn: { currency: points, rate: { points: 1, per: \"1.00\" } }";
    let web = "when: 'purchase.channel == \"web\"'";
    let groups = "groups: { cards: first }\n";
    let two = |first: &str, second: &str| {
        let first = rule("a", &format!("group: cards, {first}{rate}"));
        let second = rule("b", &format!("group: cards, {second}{rate}"));
        notes(&format!("{first}{second}{groups}"))
    };
    let column = rule("b", "group: cards").find("cards").expect("a group") + 1;
    let shadowed = &*format!("earning.b.group (2, {column}): never gives anything");
    assert_eq!(two("", &format!("{web}, ")), [shadowed]);
    assert_eq!(two(&format!("{web}, "), &format!("{web}, ")), [shadowed]);
    assert_eq!(two(&format!("{web}, "), ""), Vec::<String>::new());
    let capped = "caps: [ { per: member, times: 1 } ], ";
    assert_eq!(two(capped, ""), Vec::<String>::new());
}
