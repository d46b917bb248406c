//! One batch: statements decided one after the other, then written all at once.
//!
//! A batch is a plan until its transaction is committed: it changes the writer's own copy of the
//! state and nothing that anybody else can see.

use std::collections::{BTreeSet, HashMap};

use custody::{
    digest::Digest,
    house::{
        House, Key,
        apply::{Changes, apply},
        decide::{Accepted, Context, decide},
        refusal::{Kind, Refusal},
    },
    id::CommandId,
    statement::{Author, Body, Refused, Statement},
    time::Time,
};

use super::{
    DeskError, Failure, Recorded,
    door::Checked,
    fork::{self, Place},
    shelf::{Held, Overlay, Shelf, View},
};
use crate::{
    clock,
    journal::{Batch, Known, NewEntry, SealedOpening, id_bytes, seal},
};

/// What a batch will write and change.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) batch: Batch,
    /// To be applied to the committed state.
    pub(super) accepted: Vec<(Accepted, u64)>,
    pub(super) overlay: Overlay,
    /// Records that change.
    changed: BTreeSet<Key>,
    /// Statements that are there already or come in with this batch.
    known: HashMap<CommandId, Known>,
    /// Places of agents' chains that come in with this batch.
    pub(super) places: HashMap<Place, Digest>,
    /// Forks that are recorded with this batch.
    pub(super) forks: BTreeSet<Place>,
}

impl Plan {
    pub(super) fn new(known: Vec<(CommandId, Known)>) -> Self {
        Self {
            known: known.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The answer to a statement that is in the log already; a refusal where its id was used
    /// for another one.
    pub(super) fn duplicate(&self, checked: &Checked) -> Option<Result<Recorded, Refusal>> {
        let known = self.known.get(&checked.statement.id)?;
        if known.leaf != checked.leaf {
            return Some(Err(Refusal {
                rule: "command.reused",
                kind: Kind::Conflict,
                why: "A statement with this id is in the log already and says something else"
                    .to_owned(),
                next: "Give every statement a fresh id",
            }));
        }
        Some(Ok(Recorded {
            index: known.index,
            leaf: known.leaf,
            duplicate: true,
            void: None,
        }))
    }

    /// Decides one statement against the state with all before it, and takes it up.
    pub(super) fn take(
        &mut self,
        house: &mut House,
        shelf: &Shelf,
        next: &mut u64,
        checked: Checked,
    ) -> Result<Recorded, DeskError> {
        // The author's key may have changed since the door.
        if house.key_of(&checked.statement)? != checked.key {
            return Err(DeskError::Refused(Refusal {
                rule: "entry.signature",
                kind: Kind::Forbidden,
                why: "The signature was made with a key that is no longer its author's".to_owned(),
                next: "Sign with the key that is registered now",
            }));
        }
        let received = clock::now();
        let view = View {
            shelf,
            overlay: &self.overlay,
            own: &checked.openings,
        };
        let context = Context {
            received,
            leaf: checked.leaf,
            entry: checked.digest,
            openings: &view,
        };
        let accepted = decide(house, checked.statement.clone(), &context)?;
        self.seal(shelf, &checked)?;
        let index = *next;
        *next += 1;
        let recorded = Recorded {
            index,
            leaf: checked.leaf,
            duplicate: false,
            void: accepted.void().cloned(),
        };
        let Changes(changed) = apply(house, accepted.clone(), index);
        self.changed.extend(changed);
        self.accepted.push((accepted, index));
        self.enter(checked, index, received);
        Ok(recorded)
    }

    /// Seals the openings that came along, and forgets those of an erased subject.
    fn seal(&mut self, shelf: &Shelf, checked: &Checked) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::passing(
                format!("The openings could not be sealed: {error}"),
                "Send it again",
            )
        };
        let subject = checked.subject.map_or_else(String::new, |s| s.to_string());
        for (commitment, opening) in &checked.openings {
            if self.overlay.has(shelf, commitment) {
                continue;
            }
            let key = self
                .overlay
                .key_for(shelf, &subject)
                .map_err(|e| failed(&e))?;
            let nonce = clock::random().map_err(|e| failed(&e))?;
            let sealed =
                seal::seal(&key, nonce, &subject, commitment, opening).map_err(|e| failed(&e))?;
            self.batch.openings.push(SealedOpening {
                commitment: *commitment,
                subject: subject.clone(),
                sealed,
            });
            let held = Held {
                opening: opening.clone(),
                subject: subject.clone(),
            };
            self.overlay.add(*commitment, held);
        }
        if let Body::SubjectErase(gone) = &checked.statement.body {
            self.overlay.erase(&gone.subject);
            let gone_text = gone.subject.to_string();
            self.batch
                .openings
                .retain(|opening| opening.subject != gone_text);
            self.batch.erased.push(gone.subject);
        }
        Ok(())
    }

    fn enter(&mut self, checked: Checked, index: u64, received: Time) {
        let known = Known {
            index,
            leaf: checked.leaf,
        };
        self.known.insert(checked.statement.id, known);
        let place = Place::of(&checked.statement);
        if let Some(place) = place {
            self.places.insert(place, checked.digest);
        }
        self.batch.entries.push(NewEntry {
            index,
            leaf: checked.leaf,
            command: checked.statement.id,
            place: place.map(|place| place.to_bytes()),
            received,
            bytes: checked.bytes,
        });
    }

    /// Writes down what the records are after the whole batch.
    pub(super) fn finish(&mut self, house: &House) {
        let changed = std::mem::take(&mut self.changed);
        self.batch.records = changed
            .into_iter()
            .filter_map(|key| {
                let record = house.record(&key)?;
                Some((key, record.to_string()))
            })
            .collect();
        self.batch.keys = self
            .overlay
            .keys()
            .map(|(subject, key)| (subject.clone(), *key))
            .collect();
    }
}

/// What the coordinator records of a refusal that outsiders should see.
pub(super) fn refused(refusal: &Refusal, statement: &Statement) -> Body {
    // The canonical text is the text that was signed: no other one is read.
    let text = statement.to_text().ok();
    Body::Refused(Refused {
        rule: refusal.rule.to_owned(),
        what: statement.body.kind().to_owned(),
        by: Some(statement.author),
        statement: text.map(|text| Digest::of(text.as_bytes())),
    })
}

/// The place columns of an agent's entry, for whoever compares them with its bytes.
pub(crate) fn place_column(statement: &Statement) -> Option<Vec<u8>> {
    fork::Place::of(statement).map(|place| place.to_bytes())
}

/// The command column of an entry.
pub(crate) fn command_column(statement: &Statement) -> Vec<u8> {
    id_bytes(statement.id)
}

/// Whether a statement is the coordinator's own.
pub(super) fn is_own(statement: &Statement) -> bool {
    statement.author == Author::Coordinator
}
