//! Which commitments a record makes, and who may see what they stand for.

use std::collections::HashMap;

use custody::{
    commit::Commitment,
    house::{House, person::Role},
};
use tonic::codegen::Bytes;

use super::may::{self, Read};
use crate::{app::Coordinator, identity::login::Caller};

/// The commitments that one record's JSON names, each with what it takes to see it opened.
pub(crate) fn of(house: &House, kind: &str, id: &str) -> Vec<(Commitment, Read)> {
    macro_rules! record {
        ($kind:ident) => {
            id.parse().ok().and_then(|id| house.$kind.get(&id))
        };
    }
    let mut all = Vec::new();
    match kind {
        "persons" => all.extend(record!(persons).map(|p| (p.name, Read::Names))),
        "agents" => all.extend(record!(agents).map(|a| (a.name, Read::Names))),
        "orders" => {
            if let Some(order) = record!(orders) {
                let served = &order.served;
                let mut named = vec![served.authority, served.reference];
                named.extend(served.document);
                named.extend(served.scope.iter().filter_map(|item| item.value));
                all.extend(named.into_iter().map(|named| (named, Read::Orders)));
            }
        }
        "targets" => {
            if let Some(target) = record!(targets) {
                let named = [target.wish.path].into_iter();
                let named = named
                    .chain(target.left.clone())
                    .chain(target.leaving.clone());
                all.extend(named.map(|named| (named, Read::Orders)));
            }
        }
        "requests" => {
            if let Some(request) = record!(requests) {
                let named = request.act.commitments().into_iter();
                all.extend(named.map(|named| (named, Read::Orders)));
            }
        }
        "snapshots" => {
            let sealed = record!(snapshots).and_then(|s| s.sealed.as_ref());
            all.extend(sealed.map(|sealed| (sealed.key, Read::SaltKey)));
        }
        "clearances" => {
            if let Some(clearance) = record!(clearances) {
                let asked = &clearance.asked;
                let named = asked.disk.iter().chain(&asked.places);
                all.extend(named.map(|named| (*named, Read::Orders)));
            }
        }
        "findings" => {
            if let Some(noted) = record!(findings) {
                let found = &noted.finding;
                let named = found.places.iter().chain(&found.by);
                all.extend(named.map(|named| (*named, Read::Orders)));
            }
        }
        "claims" => {
            if let Some(claim) = record!(claims) {
                let items = claim.filed.items.iter().map(|item| item.value);
                let named = [claim.filed.recipient].into_iter().chain(items);
                all.extend(named.map(|named| (named, Read::Claims)));
            }
        }
        _ => {}
    }
    all
}

/// Opens those that the caller may see and that were not erased.
pub(crate) async fn open(
    coordinator: &Coordinator,
    caller: &Caller,
    commitments: Vec<(Commitment, Read)>,
) -> HashMap<String, Bytes> {
    let mut opened = HashMap::new();
    for (commitment, read) in commitments {
        let allowed: &[Role] = may::may(read);
        if !caller.has_any(allowed) {
            continue;
        }
        if let Some(opening) = coordinator.desk.opening(&commitment).await {
            opened.insert(commitment.to_string(), opening.value.into());
        }
    }
    opened
}
