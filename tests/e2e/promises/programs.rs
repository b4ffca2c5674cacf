//! Programmes: applied once over the version that was meant, and what apps see of them.

use fealty_auth::{Grant, Role};
use fealty_cli::{
    apply::{How, apply},
    demo::PROGRAM,
    token::grant,
};
use fealty_proto::{
    program::v1::{ApplyProgramRequest, GetProgramOutlineRequest, ListVersionsRequest},
    tiers::v1::BatchGetStatusRequest,
};

use crate::harness::{CLUB, POINTS, ask, club, reason};

#[tokio::test(flavor = "multi_thread")]
async fn programmes_are_applied_once_over_the_version_that_was_meant() {
    let fleet = club().await;
    let ines = fleet
        .clients_as(&grant("ines", &[Role::Operator]))
        .expect("a token");
    let double = PROGRAM.replacen("points: 10,", "points: 20,", 1);
    for (name, mut client) in ines.programs() {
        let request = ApplyProgramRequest {
            request_id: "double".to_owned(),
            source: double.clone(),
            expected_version: Some(1),
            note: "double points".to_owned(),
            ..ApplyProgramRequest::default()
        };
        let dry = ApplyProgramRequest {
            dry_run: true,
            ..request.clone()
        };
        let compared = client.apply_program(dry).await.expect(name).into_inner();
        assert_eq!(compared.version.expect("one").version, 2);
        assert!(!compared.changes.is_empty());
        let applied = client
            .apply_program(request.clone())
            .await
            .expect(name)
            .into_inner();
        assert!(!applied.replayed);
        let again = client
            .apply_program(request.clone())
            .await
            .expect(name)
            .into_inner();
        assert!(again.replayed, "{name}");
        assert_eq!(again.version, applied.version);
        let other = ApplyProgramRequest {
            source: PROGRAM.to_owned(),
            ..request
        };
        let refused = client.apply_program(other).await.expect_err("another file");
        assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
        let list = ListVersionsRequest {
            program: CLUB.to_owned(),
            page_size: 1,
            ..Default::default()
        };
        let page = client
            .list_versions(list.clone())
            .await
            .expect("listed")
            .into_inner();
        let newest = &page.versions[0];
        let told = (newest.version, &*newest.actor, &*newest.note);
        assert_eq!(told, (2, "ines", "double points"));
        let next = ListVersionsRequest {
            page_token: page.next_page_token,
            ..list
        };
        let page = client
            .list_versions(next)
            .await
            .expect("listed")
            .into_inner();
        assert_eq!(page.versions[0].version, 1);
        assert!(page.next_page_token.is_empty());
    }
    let again = apply(&ines, &double, How::DryRun)
        .await
        .expect("the same everywhere");
    assert!(again.changes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_programme_applied_to_some_services_is_finished_by_applying_it_again() {
    let fleet = club().await;
    let double = PROGRAM.replacen("points: 10,", "points: 20,", 1);
    // As when the network went away after the first of the three services was told.
    let [.., (name, first)] = fleet.clients().programs();
    let request = ApplyProgramRequest {
        request_id: "half".to_owned(),
        source: double.clone(),
        ..ApplyProgramRequest::default()
    };
    ask!(first, apply_program, request).expect(name);
    let compared = apply(fleet.clients(), &double, How::DryRun).await;
    assert!(!compared.expect("compared").changes.is_empty());
    // What `fealty apply` asks for after it has shown that.
    let how = How::After {
        version: 1,
        note: "",
    };
    let applied = apply(fleet.clients(), &double, how).await.expect("applied");
    assert_eq!(applied.version.expect("one").version, 2);
    // Another file over the version that was meant is still refused.
    let back = apply(fleet.clients(), PROGRAM, how)
        .await
        .expect_err("moved");
    assert!(
        format!("{back:#}").contains("the newest version is 2"),
        "{back:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_reads_an_outline_and_many_statuses_at_once() {
    let fleet = club().await;
    // An app reads no YAML.
    let anna = Grant {
        programs: vec![CLUB.to_owned()],
        member: Some("anna".to_owned()),
        ..grant("anna", &[Role::Member])
    };
    let anna = fleet.clients_as(&anna).expect("a token");
    let (_, client) = anna.programs()[1].clone();
    let request = GetProgramOutlineRequest {
        program: CLUB.to_owned(),
    };
    let outline = ask!(client, get_program_outline, request)
        .expect("told")
        .outline;
    let outline = outline.expect("one");
    assert_eq!(
        (&*outline.money_currency_code, outline.money_decimals),
        ("USD", 2)
    );
    assert!(
        outline
            .currencies
            .iter()
            .any(|currency| currency.id == POINTS)
    );
    assert!(outline.tiers.windows(2).all(|pair| {
        pair[0].rank < pair[1].rank && pair[0].threshold_minor_units < pair[1].threshold_minor_units
    }));
    let members: Vec<String> = ["anna", "ben"].map(str::to_owned).into();
    let request = BatchGetStatusRequest {
        program: CLUB.to_owned(),
        members,
    };
    let statuses = ask!(fleet.clients().tier(), batch_get_status, request)
        .expect("told")
        .statuses;
    assert_eq!(
        statuses.iter().map(|s| &*s.member).collect::<Vec<_>>(),
        ["anna", "ben"]
    );
    let next = statuses[0]
        .next_tier
        .as_ref()
        .expect("there is a higher one");
    let needed = &next.requirements[0];
    assert_eq!(
        (&*needed.metric, needed.now, &*needed.currency_code),
        ("money_spent", 0, "USD")
    );
    assert!(needed.needed > 0);
}
