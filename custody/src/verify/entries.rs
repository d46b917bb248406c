//! Entries: each one read, its signature verified, and folded under the law of the house.
//!
//! [`prepare`] looks at one entry alone, so that it can run on every core; [`EntryAudit::fold`]
//! asks what depends on the entries before it. Which rules are asked and which cannot be is
//! listed in [`super`].

use std::collections::{BTreeMap, HashSet};

use super::report::{Findings, Level};
use crate::{
    commit::Commitment,
    digest::Digest,
    house::{
        House, Openings,
        apply::apply,
        approval::Policy,
        decide::{self, Context},
        refusal::Refusal,
        scope::Rule,
    },
    id::{CommandId, RequestId},
    json,
    ledger::entry::{Entry, EntryError},
    statement::{Author, Body, Statement, VERSION},
    time::{Span, Time},
};

/// Rules whose no means nothing here: they compare with the moment of receipt, or with what stood
/// in the way of a wipe, which only who knows the places can tell.
const NOT_ASKED: &[&str] = &[
    "agent.invite-expired",
    "approval.expired",
    "approval.too-long",
    "approval.twice",
    "clearance.held",
    "clearance.not-so",
    "order.received-in-future",
];

/// Stands in for what opens the commitments, which no log holds: every value is guessed so that
/// the rules about places pass and all others are asked.
struct Guess {
    /// Every value is its own place, so that no two overlap; else every value is `/`.
    apart: bool,
    /// Values that are each a place of their own below `/`, whatever the others are.
    below: Vec<Commitment>,
    /// Values that stay closed.
    closed: Vec<Commitment>,
}

impl Guess {
    fn of(house: &House, body: &Body) -> Self {
        let below = match body {
            Body::RequestMake(ask) => ask.act.commitments(),
            _ => Vec::new(),
        };
        let apart = below.is_empty()
            && matches!(
                body,
                Body::RequestMake(_) | Body::RequestExecuted(_) | Body::ReleaseDelivered(_)
            );
        let order = match body {
            Body::HoldPlace(place) => house.orders.get(&place.order),
            _ => None,
        };
        // What an order leaves out would else leave out everything.
        let left_out = order.map(|order| {
            let scope = order.served.scope.iter();
            scope
                .filter(|item| item.rule == Rule::Exclude)
                .filter_map(|item| item.value)
                .collect()
        });
        Self {
            apart,
            below,
            closed: left_out.unwrap_or_default(),
        }
    }
}

impl Openings for Guess {
    fn open(&self, commitment: &Commitment) -> Option<Vec<u8>> {
        let open = !self.closed.contains(commitment);
        open.then(|| match self.apart || self.below.contains(commitment) {
            true => format!("/{commitment}").into_bytes(),
            false => b"/".to_vec(),
        })
    }
}

/// An entry, looked at alone.
pub struct Prepared {
    index: u64,
    read: Result<Box<Read>, Flaw>,
}

struct Read {
    entry: Entry,
    statement: Statement,
    /// Whether the key that the signature names made it, for the purpose that is due.
    signed: Result<(), EntryError>,
}

enum Flaw {
    Malformed(String),
    NotUnderstood(String),
}

/// Looks at one entry alone: its form, and its signature under the key that it names.
pub fn prepare(index: u64, bytes: &[u8]) -> Prepared {
    Prepared {
        index,
        read: read(bytes),
    }
}

fn read(bytes: &[u8]) -> Result<Box<Read>, Flaw> {
    let entry = Entry::parse(bytes).map_err(|e| Flaw::Malformed(e.to_string()))?;
    let statement = match entry.statement() {
        Ok(statement) if statement.v == VERSION => statement,
        Ok(statement) => {
            let what = format!("version {} of statement", statement.v);
            return Err(Flaw::NotUnderstood(what));
        }
        Err(error) => {
            return Err(unknown(entry.text()).unwrap_or(Flaw::Malformed(error.to_string())));
        }
    };
    let signed = entry.verify(statement.namespace(), entry.signature().public_key());
    Ok(Box::new(Read {
        entry,
        statement,
        signed,
    }))
}

/// Whether a text is a well-formed statement of a kind or version that is not known here.
fn unknown(text: &str) -> Option<Flaw> {
    let value: serde_json::Value = json::parse(text).ok()?;
    let (version, kind) = (value.get("v")?.as_u64()?, value.get("kind")?.as_str()?);
    if version != u64::from(VERSION) {
        return Some(Flaw::NotUnderstood(format!(
            "version {version} of statement"
        )));
    }
    let known = Body::KINDS.contains(&kind);
    (!known).then(|| Flaw::NotUnderstood(format!("statements of kind `{kind}`")))
}

/// The fold over all entries of a log, in order.
#[derive(Default)]
pub struct EntryAudit {
    house: House,
    origin: Option<String>,
    entries: u64,
    /// Ids of what people and the coordinator said; agents' chains admit no repetition anyway.
    said: HashSet<CommandId>,
    /// What authors say they saw, and the first entry that says so.
    seen: BTreeMap<(u64, Digest), u64>,
    /// When each request was made, as its author says.
    asked: BTreeMap<RequestId, Time>,
    /// The first entry that is not there or not as it was: rules behind it cannot be judged.
    hole: Option<u64>,
}

impl EntryAudit {
    /// Begins with an empty house; statements must be meant for this origin, where it is known.
    pub fn new(origin: Option<String>) -> Self {
        Self {
            origin,
            ..Self::default()
        }
    }

    /// The house as the entries so far make it.
    pub const fn house(&self) -> &House {
        &self.house
    }

    /// How many entries were folded.
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// What authors say they saw (size, root) and the first entry that says so.
    pub const fn seen(&self) -> &BTreeMap<(u64, Digest), u64> {
        &self.seen
    }

    /// Notes that an entry is not there, or that its bytes are not those of the log.
    pub fn hole(&mut self, index: u64) {
        self.hole.get_or_insert(index);
    }

    /// Folds the next entry.
    pub fn fold(&mut self, prepared: Prepared, findings: &mut Findings) {
        let index = prepared.index;
        self.entries += 1;
        let read = match prepared.read {
            Ok(read) => *read,
            Err(Flaw::Malformed(why)) => {
                let what = format!("It is no entry: {why}");
                findings.entry(Level::Broken, "entry.malformed", index, what);
                return self.hole(index);
            }
            Err(Flaw::NotUnderstood(what)) => {
                let what = format!("This build does not understand {what}; use a newer one");
                findings.entry(Level::NotUnderstood, "entry.not-understood", index, what);
                return self.hole(index);
            }
        };
        let Read {
            entry,
            statement,
            signed,
        } = read;
        if let Err(error) = signed {
            let what = format!("Its signature fails: {error}");
            findings.entry(Level::Broken, "entry.signature", index, what);
        }
        self.check_place(index, &statement, findings);
        match self.house.key_of(&statement) {
            Ok(key) if key == *entry.signature().public_key() => {}
            Ok(key) => {
                let theirs = entry.signature().public_key().fingerprint();
                let what = format!(
                    "It is signed with {theirs}; at that index its author's key was {}",
                    key.fingerprint()
                );
                self.judge(index, Level::Broken, "entry.other-key", what, findings);
            }
            Err(refusal) => {
                let what = format!("Its author has no key at that index: {}", refusal.why);
                self.judge(index, Level::Broken, "entry.no-key", what, findings);
            }
        }
        self.take_up(index, &entry, statement, findings);
    }

    /// A finding that rests on the entries before: behind a hole it is only a note.
    fn judge(
        &self,
        index: u64,
        level: Level,
        code: &'static str,
        what: String,
        findings: &mut Findings,
    ) {
        match self.hole {
            None => findings.entry(level, code, index, what),
            Some(hole) => {
                let what = format!("Behind the damage at entry {hole} this cannot be judged");
                findings.entry(Level::Note, "entry.behind-damage", index, what);
            }
        }
    }

    /// What any statement must be, whatever it says: meant for this log, said once, and made
    /// after what its author had seen.
    fn check_place(&mut self, index: u64, statement: &Statement, findings: &mut Findings) {
        if self.origin.as_ref().is_some_and(|o| *o != statement.log) {
            let what = "It was signed for another log";
            findings.entry(Level::Broken, "entry.other-log", index, what);
        }
        if !matches!(statement.author, Author::Agent(_)) && !self.said.insert(statement.id) {
            let what = format!("{} stands in the log already: it is repeated", statement.id);
            findings.entry(Level::Broken, "entry.repeated", index, what);
        }
        if let Some(seen) = statement.seen {
            if seen.size > index {
                let what = "Its author says he saw a log that already held it";
                findings.entry(Level::Broken, "entry.seen-ahead", index, what);
            } else {
                self.seen.entry((seen.size, seen.root)).or_insert(index);
            }
        }
    }

    /// Asks the law and folds.
    fn take_up(
        &mut self,
        index: u64,
        entry: &Entry,
        statement: Statement,
        findings: &mut Findings,
    ) {
        // Only the coordinator knows when it received a request; its notice is told apart.
        let received = match &statement.body {
            Body::RequestMake(ask) => {
                self.asked.insert(ask.request, statement.time);
                Time::from_millis(0)
            }
            _ => statement.time,
        };
        let guess = Guess::of(&self.house, &statement.body);
        let context = Context {
            received,
            leaf: entry.leaf_hash(),
            entry: entry.digest(),
            openings: &guess,
        };
        let agent = matches!(statement.author, Author::Agent(_));
        let stands = match decide::decide(&self.house, statement.clone(), &context) {
            Ok(accepted) => {
                if let Some(refusal) = accepted.void() {
                    let what = format!("Recorded without effect: {}", refusal.why);
                    self.judge(index, Level::Note, "entry.void", what, findings);
                }
                true
            }
            Err(refusal) if NOT_ASKED.contains(&refusal.rule) => true,
            Err(refusal) if matches!(statement.body, Body::Sealed(_)) => {
                let what = format!(
                    "A sealed statement, which this build cannot judge ({})",
                    refusal.rule
                );
                findings.entry(Level::NotUnderstood, "entry.sealed", index, what);
                false
            }
            Err(refusal) => {
                self.refused(index, &refusal, findings);
                // An agent's chain goes on from what it said, whatever that was.
                agent
            }
        };
        self.tell(index, &statement, findings);
        if stands {
            let accepted = self.house.recorded(entry, statement, received);
            apply(&mut self.house, accepted, index);
        }
    }

    fn refused(&self, index: u64, refusal: &Refusal, findings: &mut Findings) {
        let what = format!(
            "It should never have been accepted ({}): {}",
            refusal.rule, refusal.why
        );
        self.judge(index, Level::Broken, "entry.rule", what, findings);
    }

    /// What a reader should know though it breaks no rule, and the one bound that `decide`
    /// leaves to the coordinator: a checkpoint cannot cover what did not yet stand.
    fn tell(&self, index: u64, statement: &Statement, findings: &mut Findings) {
        match &statement.body {
            Body::RequestExecuted(said) => {
                if said.checkpoint > index {
                    let what = "It names a checkpoint that did not exist yet";
                    findings.entry(Level::Broken, "entry.checkpoint-ahead", index, what);
                }
                if let Some((policy, asked)) = self.notice(&said.request)
                    && statement.time < asked + Span::hours(i64::from(policy.notice_hours))
                {
                    let what = "By the times that are claimed the notice period was not over; \
                                the coordinator's own clock decided";
                    findings.entry(Level::Note, "entry.notice", index, what);
                }
            }
            Body::Finding(said) => {
                let what = format!("A finding was recorded: {}", word(&said.what));
                findings.entry(Level::Note, "finding", index, what);
            }
            _ => {}
        }
    }

    fn notice(&self, request: &RequestId) -> Option<(&Policy, Time)> {
        let asked = self.asked.get(request)?;
        let act = &self.house.requests.get(request)?.act;
        let policy = self.house.opened.as_ref()?.policies.of(act).ok()?;
        Some((policy, *asked))
    }
}

fn word(what: &crate::house::finding::FindingKind) -> String {
    let value = serde_json::to_value(what).unwrap_or_default();
    value.as_str().unwrap_or("unknown").to_owned()
}
