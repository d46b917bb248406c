//! The field's scenarios of claims, votes and releases: two claimants, an order that arrives in
//! the middle of a release, collusion, erasure.
#![allow(clippy::unwrap_used, missing_docs)]

mod house;

use custody::{
    commit::Commitment,
    digest::Digest,
    house::{
        act::{Act, Rows},
        order::Copies,
        ranges::Ranges,
        scope::Selector,
    },
    id::{PersonId, ReleaseId, SnapshotId},
    sign::{SecretKey, Signer as _},
    statement::{
        Approve, Body, ClaimWithdraw, ListImport, PersonAdd, PersonRetire, ReleaseDelivered,
        SubjectErase,
    },
    time::Span,
};
use house::{
    Desk, rule,
    world::{self, ANNA, BEN, CARLA, CLAIMS, DAN, LEGAL, ONE},
};

const FREE: Copies = Copies::Permitted;

fn act_of(desk: &mut Desk) -> (ReleaseId, Act, SnapshotId) {
    let (_, _, targets) = world::held(desk, "court-order", FREE, ONE, &["/srv/alice"]);
    let snapshot = world::snapshot(desk, ONE, targets[0]);
    let claim = world::claim(desk);
    world::matched(desk, claim, snapshot, &[(0, 40)]).unwrap();
    let act = world::release_act(desk, claim, snapshot, (0, 10));
    let Act::Release { release, .. } = &act else {
        unreachable!()
    };
    (*release, act.clone(), snapshot)
}

/// A release that is approved by two, packed and in the spool.
fn spooled(desk: &mut Desk) -> (ReleaseId, SnapshotId) {
    let (release, act, snapshot) = act_of(desk);
    let request = world::request(desk, CLAIMS, act).unwrap();
    world::vote(desk, ANNA, request).unwrap();
    world::vote(desk, BEN, request).unwrap();
    world::execute(desk, request).unwrap();
    world::spool(desk, ONE, release);
    (release, snapshot)
}

/// Scenario 16.
#[test]
fn two_claimants_freeze_the_overlap_and_the_rest_goes_on() {
    let mut desk = world::open();
    let (_, _, targets) = world::held(&mut desk, "court-order", FREE, ONE, &["/srv/shared"]);
    let snapshot = world::snapshot(&mut desk, ONE, targets[0]);
    let (anna, ben) = (world::claim(&mut desk), world::claim(&mut desk));
    world::matched(&mut desk, anna, snapshot, &[(0, 50)]).unwrap();
    let act = world::release_act(&mut desk, anna, snapshot, (0, 20));
    // A claim that has not been looked at may contest everything.
    assert_eq!(
        rule(&world::request(&mut desk, CLAIMS, act.clone())),
        "release.other-claim-open"
    );
    world::matched(&mut desk, ben, snapshot, &[(40, 90)]).unwrap();
    let contested = world::release_act(&mut desk, anna, snapshot, (30, 41));
    assert_eq!(
        rule(&world::request(&mut desk, CLAIMS, contested.clone())),
        "release.contested"
    );
    world::request(&mut desk, CLAIMS, act).unwrap();
    // Decided: one claim is withdrawn, and the overlap thaws.
    let over = Body::ClaimWithdraw(ClaimWithdraw { claim: ben });
    desk.person(CLAIMS, over).unwrap();
    world::request(&mut desk, CLAIMS, contested).unwrap();
}

/// Scenario 19.
#[test]
fn an_order_that_lands_between_approval_and_delivery_stops_the_delivery() {
    let mut desk = world::open();
    let (release, _) = spooled(&mut desk);
    world::deliver(&mut desk, release).unwrap();
    world::held(&mut desk, "court-order", Copies::Forbidden, ONE, &["/srv"]);
    assert_eq!(
        rule(&world::deliver(&mut desk, release)),
        "release.copies-forbidden"
    );
    assert_eq!(desk.house.releases[&release].deliveries, 1);
}

#[test]
fn a_new_exclusion_list_stops_the_delivery_until_the_claim_is_screened_again() {
    let mut desk = world::open();
    let (release, snapshot) = spooled(&mut desk);
    let hashes = vec![Digest::of(b"contraband")];
    let (list, basis) = ("known".to_owned(), "2258A".to_owned());
    desk.person(
        LEGAL,
        Body::ListImport(ListImport {
            list,
            basis,
            hashes,
        }),
    )
    .unwrap();
    assert_eq!(
        rule(&world::deliver(&mut desk, release)),
        "release.not-screened"
    );
    let claim = desk.house.releases[&release].claim;
    world::matched(&mut desk, claim, snapshot, &[(0, 9), (10, 40)]).unwrap();
    assert_eq!(
        rule(&world::deliver(&mut desk, release)),
        "release.not-claimed",
        "row 9 is a hit"
    );
    world::matched(&mut desk, claim, snapshot, &[(0, 40)]).unwrap();
    world::deliver(&mut desk, release).unwrap();
}

/// Scenario 19: while the delivery is stopped the approvals run out.
#[test]
fn approvals_that_have_run_out_or_whose_voters_left_stop_the_delivery() {
    let mut desk = world::open();
    let (release, _) = spooled(&mut desk);
    let mut later = desk.fork();
    later.wait(Span::days(8));
    assert_eq!(
        rule(&world::deliver(&mut later, release)),
        "approval.too-few"
    );
    desk.person(
        world::ADMIN,
        Body::PersonRetire(PersonRetire { person: BEN }),
    )
    .unwrap();
    assert_eq!(
        rule(&world::deliver(&mut desk, release)),
        "approval.too-few"
    );
}

#[test]
fn a_parcel_goes_to_a_claims_officer_and_to_nobody_else() {
    let mut desk = world::open();
    let (release, _) = spooled(&mut desk);
    let stranger = PersonId::from_random([99; 16]);
    for (to, expected) in [
        (stranger, "unknown"),
        (world::OPERATOR, "role"),
        (DAN, "ok"),
    ] {
        let body = Body::ReleaseDelivered(ReleaseDelivered { release, to });
        assert_eq!(rule(&desk.coordinator(body)), expected);
    }
    desk.person(
        world::ADMIN,
        Body::PersonRetire(PersonRetire { person: DAN }),
    )
    .unwrap();
    let body = Body::ReleaseDelivered(ReleaseDelivered { release, to: DAN });
    assert_eq!(rule(&desk.coordinator(body)), "role");
}

/// Scenario 20.
#[test]
fn collusion_does_not_count() {
    let mut desk = world::open();
    let (_, act, _) = act_of(&mut desk);
    // Dan is claims officer and approver: he may ask, and may not vote on it.
    let request = world::request(&mut desk, DAN, act).unwrap();
    assert_eq!(
        rule(&world::vote(&mut desk, DAN, request)),
        "approval.own-request"
    );
    // The same person under a second name would need a second key; one key is one person.
    let key = SecretKey::from_seed(&desk.people[&DAN]).public_key();
    let name = desk.commit("name", b"dan again");
    let person = PersonId::from_random([77; 16]);
    let roles = world::roles(DAN);
    let again = Body::PersonAdd(PersonAdd {
        person,
        key,
        roles,
        name,
    });
    assert_eq!(rule(&desk.person(world::ADMIN, again)), "key.in-use");
    world::vote(&mut desk, ANNA, request).unwrap();
    assert_eq!(
        rule(&world::vote(&mut desk, ANNA, request)),
        "approval.twice"
    );
    world::vote(&mut desk, BEN, request).unwrap();
    // An approver who is removed before it is carried out does not count any more.
    desk.person(
        world::ADMIN,
        Body::PersonRetire(PersonRetire { person: BEN }),
    )
    .unwrap();
    assert_eq!(
        rule(&world::execute(&mut desk, request)),
        "approval.too-few"
    );
    world::vote(&mut desk, CARLA, request).unwrap();
    world::execute(&mut desk, request).unwrap();
    assert_eq!(
        rule(&world::execute(&mut desk, request)),
        "approval.executed"
    );
}

/// Scenario 20: an administrator cannot bring people in to tip a vote that is under way.
#[test]
fn who_is_added_after_it_was_asked_for_does_not_count() {
    let mut desk = world::open();
    let (_, act, _) = act_of(&mut desk);
    let request = world::request(&mut desk, CLAIMS, act.clone()).unwrap();
    world::vote(&mut desk, ANNA, request).unwrap();
    let newcomer = PersonId::from_random([77; 16]);
    desk.people.insert(newcomer, [77; 32]);
    let add = PersonAdd {
        person: newcomer,
        key: SecretKey::from_seed(&[77; 32]).public_key(),
        roles: world::roles(BEN),
        name: desk.commit("name", b"friend"),
    };
    desk.person(world::ADMIN, Body::PersonAdd(add)).unwrap();
    assert_eq!(
        rule(&world::vote(&mut desk, newcomer, request)),
        "approval.newcomer"
    );
    assert_eq!(
        rule(&world::execute(&mut desk, request)),
        "approval.too-few"
    );
    // On what is asked for from now on he counts as everybody does.
    let request = world::request(&mut desk, CLAIMS, act).unwrap();
    world::vote(&mut desk, ANNA, request).unwrap();
    world::vote(&mut desk, newcomer, request).unwrap();
    world::execute(&mut desk, request).unwrap();
}

#[test]
fn a_vote_fits_one_request_only_and_counts_until_it_expires() {
    let mut desk = world::open();
    let (_, _, targets) = world::held(&mut desk, "court-order", FREE, ONE, &["/srv"]);
    let act = Act::Lift {
        targets: targets.clone(),
    };
    let one = world::request(&mut desk, LEGAL, act.clone()).unwrap();
    let two = world::request(&mut desk, LEGAL, act.clone()).unwrap();
    let entry = desk.house.requests[&one].leaf;
    let expires = desk.now + Span::days(1);
    let moved = Body::Approve(Approve {
        request: two,
        entry,
        act,
        expires,
    });
    assert_eq!(rule(&desk.person(ANNA, moved)), "approval.other-request");
    world::vote_until(&mut desk, ANNA, one, expires).unwrap();
    world::vote(&mut desk, BEN, one).unwrap();
    assert_eq!(rule(&world::execute(&mut desk, one)), "approval.notice");
    desk.wait(Span::days(1));
    assert_eq!(rule(&world::execute(&mut desk, one)), "approval.too-few");
    world::vote(&mut desk, ANNA, one).unwrap();
    world::execute(&mut desk, one).unwrap();
}

#[test]
fn two_requests_for_the_same_release_make_one_release() {
    let mut desk = world::open();
    let (release, act, _) = act_of(&mut desk);
    let requests = [act.clone(), act].map(|act| world::request(&mut desk, CLAIMS, act).unwrap());
    for request in requests {
        world::vote(&mut desk, ANNA, request).unwrap();
        world::vote(&mut desk, BEN, request).unwrap();
    }
    world::execute(&mut desk, requests[0]).unwrap();
    world::spool(&mut desk, ONE, release);
    world::deliver(&mut desk, release).unwrap();
    assert_eq!(rule(&world::execute(&mut desk, requests[1])), "id.in-use");
    let known = &desk.house.releases[&release];
    assert_eq!((known.request, known.deliveries), (requests[0], 1));
}

#[test]
fn a_release_takes_rows_of_one_server_and_only_whole_ranges() {
    let mut desk = world::open();
    let (_, act, snapshot) = act_of(&mut desk);
    let Act::Release { claim, release, .. } = act else {
        unreachable!()
    };
    let backwards: Ranges = serde_json::from_str("[[9,3]]").unwrap();
    for (files, expected) in [
        (vec![], "release.one-server"),
        (
            vec![Rows {
                snapshot,
                rows: Ranges::default(),
            }],
            "release.not-claimed",
        ),
        (
            vec![Rows {
                snapshot,
                rows: backwards,
            }],
            "release.not-claimed",
        ),
        (
            vec![Rows {
                snapshot,
                rows: Ranges::from_unsorted(vec![(39, 41)]),
            }],
            "release.not-claimed",
        ),
    ] {
        let act = Act::Release {
            release,
            claim,
            files,
        };
        assert_eq!(rule(&world::request(&mut desk, CLAIMS, act)), expected);
    }
}

#[test]
fn a_claim_names_what_can_be_matched_and_never_a_whole_server() {
    let mut desk = world::open();
    let mut body = world::claim_body(&mut desk);
    body.items[0].selector = Selector::Server;
    assert_eq!(
        rule(&desk.person(CLAIMS, Body::ClaimFile(body.clone()))),
        "claim.items"
    );
    body.items[0].selector = Selector::Path;
    body.items[0].value = desk.commit("path", b"/srv/../etc");
    assert_eq!(
        rule(&desk.person(CLAIMS, Body::ClaimFile(body.clone()))),
        "scope.path"
    );
    body.items[0].value = desk.commit("path", b"/srv/alice");
    desk.person(CLAIMS, Body::ClaimFile(body)).unwrap();
}

/// I10, and P10: what cannot be opened any more is held, and lets nothing out.
#[test]
fn erased_openings_leave_the_fold_equal_and_every_doubt_on_the_safe_side() {
    let mut desk = world::open();
    let (release, _) = spooled(&mut desk);
    world::held(&mut desk, "court-order", Copies::Forbidden, ONE, &["/data"]);
    world::deliver(&mut desk, release).unwrap();
    let subject = desk.house.claims.values().next().unwrap().filed.subject;
    let erase = || Body::SubjectErase(SubjectErase { subject });
    assert_eq!(rule(&desk.person(LEGAL, erase())), "subject.claim-open");
    let claim = desk.house.releases[&release].claim;
    let mut erased = desk.fork();
    erased.openings.clear();
    assert!(erased.replayed() == desk.house);
    // Where /data lies cannot be told any more: it may be anywhere on the server.
    assert_eq!(
        rule(&world::deliver(&mut erased, release)),
        "release.copies-forbidden"
    );
    let nothing = std::collections::BTreeMap::<Commitment, Vec<u8>>::new();
    assert_eq!(erased.house.reasons(&nothing, &ONE, b"/elsewhere").len(), 2);
    desk.person(CLAIMS, Body::ClaimWithdraw(ClaimWithdraw { claim }))
        .unwrap();
    desk.person(LEGAL, erase()).unwrap();
    assert!(desk.replayed() == desk.house);
}
