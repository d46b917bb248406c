//! Matching, asking, voting and taking back: the short steps of a case.

use custody::{
    digest::Digest,
    house::{act::Act, claim::Matched, ranges::Ranges},
    id::{ClaimId, RequestId, SnapshotId, SubjectId},
    statement::{Approve, Body, ClaimWithdraw, RequestMake, SubjectErase},
    time::Span,
};
use server::clock;

use super::{House, Person, plain, random, story::Cast};

pub async fn matched(house: &House, claim: ClaimId, snapshot: SnapshotId, rows: &[(u64, u64)]) {
    let lists = house.desk().house().lists_revision;
    let body = Body::ClaimMatched(Matched {
        claim,
        snapshot,
        rows: Ranges::from_unsorted(rows.to_vec()),
        bytes: 100,
        excluded: 0,
        lists,
    });
    house.desk().say(body).await.unwrap();
}

/// Asks for an act; answers with the request and its leaf hash.
pub async fn ask(house: &House, person: &Person, act: Act) -> (RequestId, Digest) {
    let request = RequestId::from_random(random());
    let body = Body::RequestMake(RequestMake { request, act });
    let recorded = house.submit(plain(person.says(body))).await.unwrap();
    (request, recorded.leaf)
}

pub async fn approve(
    house: &House,
    people: &[&Person],
    request: RequestId,
    entry: Digest,
    act: &Act,
) {
    for person in people {
        let body = Body::Approve(Approve {
            request,
            entry,
            act: act.clone(),
            expires: clock::now() + Span::hours(1),
        });
        house.submit(plain(person.says(body))).await.unwrap();
    }
}

pub async fn withdraw(house: &House, cast: &Cast, claim: ClaimId) {
    let body = Body::ClaimWithdraw(ClaimWithdraw { claim });
    house.submit(plain(cast.claims.says(body))).await.unwrap();
}

pub async fn erase(house: &House, cast: &Cast, subject: SubjectId) {
    let body = Body::SubjectErase(SubjectErase { subject });
    house.submit(plain(cast.legal.says(body))).await.unwrap();
}
