//! A person's session with the coordinator: log in, say things, read things, trust none of them
//! unseen.
//!
//! Every statement is sealed here, with the person's own key, and names the newest checkpoint
//! that was seen. The log may never shrink: a smaller or different one is a breach, and nothing
//! is sent. The origin and the log's key come from the profile, never from the server.

mod enter;
mod seen;

use std::time::Duration;

use custody::{
    commit::Opening,
    digest::Digest,
    id::{CommandId, PersonId, SubjectId},
    ledger::{checkpoint::Checkpoint, entry::Entry, note::VerifierKey, proof::LogProof},
    sign::Signer,
    statement::{Author, Body, Seen, Statement, VERSION},
    time::Time,
};
use proto::v1;
use tonic::{Code, Status};

pub use enter::log_in;

use enter::{enter, not_signed};
use seen::{Fetch, forked};

use crate::{
    args::Global,
    connect::{Services, connect, patient},
    exit::{Outcome, Trouble},
    profile::{Place, Profile},
    records::Record,
    sign,
};

/// What time it is on this machine.
pub fn now() -> Time {
    Time::from_millis(jiff::Timestamp::now().as_millisecond())
}

/// Fresh random bytes.
pub fn random<const N: usize>() -> Outcome<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Trouble::failed(
            "random",
            format!("The system gives no random bytes: {error}."),
        )
    })?;
    Ok(bytes)
}

/// Commits to a value: what opens it goes along with the statement.
pub fn commit(
    openings: &mut Vec<Opening>,
    field: &str,
    value: impl Into<Vec<u8>>,
) -> Outcome<custody::commit::Commitment> {
    let opening = Opening::new(field, value, random()?);
    let commitment = opening.commitment();
    openings.push(opening);
    Ok(commitment)
}

/// A statement that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Where it stands in the log.
    pub index: u64,
    /// Its leaf hash, computed here.
    pub leaf: Digest,
}

/// A session.
pub struct Session {
    /// What the command line said of everything.
    pub global: Global,
    /// The profile.
    pub profile: Profile,
    /// The coordinator's services.
    pub services: Services,
    /// Who is logged in.
    pub person: PersonId,
    place: Place,
    verifier: VerifierKey,
    authority: String,
    seen: Checkpoint,
    signer: Option<Box<dyn Signer>>,
}

/// Reads the authority's certificate.
pub fn read_authority(path: &std::path::Path) -> Outcome<String> {
    std::fs::read_to_string(path).map_err(|error| Trouble::file("read", path, &error))
}

impl Session {
    /// Opens a session with the profile that the command line names; logs in anew where the
    /// kept session has ended.
    pub async fn open(global: &Global) -> Outcome<Self> {
        let place = Place::of(&global.profile)?;
        let mut profile = place.read()?;
        if let Some(server) = &global.server {
            profile.server.clone_from(server);
        }
        let authority = read_authority(&profile.authority)?;
        let verifier = profile.verifier()?;
        let channel = connect(&profile.server, &authority).await?;
        let mut signer = None;
        let kept = place.token(now().millis());
        let mut fresh = kept.is_none();
        let mut token = match kept {
            Some(token) => token,
            None => enter(&channel, &place, &profile, &verifier, &mut signer).await?,
        };
        loop {
            let services = Services::new(channel.clone(), Some(&token.token))?;
            let person = token
                .person
                .parse()
                .map_err(|_| strange("the person's id"))?;
            let before = place.seen(&verifier)?;
            match seen::fetch(&services, &place, &verifier, before.as_ref()).await {
                Ok((seen, _)) => {
                    return Ok(Self {
                        global: global.clone(),
                        profile,
                        services,
                        person,
                        place,
                        verifier,
                        authority,
                        seen,
                        signer,
                    });
                }
                // The session ended early, on the coordinator's side.
                Err(Fetch::Status(status)) if status.code() == Code::Unauthenticated && !fresh => {
                    fresh = true;
                    token = enter(&channel, &place, &profile, &verifier, &mut signer).await?;
                }
                Err(Fetch::Status(status)) => return Err((*status).into()),
                Err(Fetch::Trouble(trouble)) => return Err(trouble),
            }
        }
    }

    /// The log's pinned key.
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The authority's certificate, PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The newest checkpoint that was verified.
    pub const fn seen(&self) -> &Checkpoint {
        &self.seen
    }

    /// Where the profile's files lie.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Fetches the newest checkpoint as it was published, verifies and keeps it.
    pub async fn refresh(&mut self) -> Outcome<String> {
        let before = self.place.seen(&self.verifier)?;
        let (seen, note) =
            seen::fetch(&self.services, &self.place, &self.verifier, before.as_ref())
                .await
                .map_err(|error| match error {
                    Fetch::Status(status) => (*status).into(),
                    Fetch::Trouble(trouble) => trouble,
                })?;
        self.seen = seen;
        Ok(note)
    }

    /// Says something: seals it, sends it and waits until it is durable.
    pub async fn say(&mut self, body: Body, openings: Vec<Opening>) -> Outcome<Said> {
        self.say_of(body, openings, None).await
    }

    /// Says something about a subject, whose openings can be erased on their own.
    pub async fn say_of(
        &mut self,
        body: Body,
        openings: Vec<Opening>,
        subject: Option<SubjectId>,
    ) -> Outcome<Said> {
        let statement = Statement {
            v: VERSION,
            log: self.verifier.name().to_owned(),
            id: CommandId::from_random(random()?),
            author: Author::Person(self.person),
            time: now(),
            seen: Some(Seen {
                size: self.seen.size,
                root: self.seen.root,
            }),
            link: None,
            body,
        };
        let entry = self.seal(&statement)?;
        let leaf = entry.leaf_hash();
        let request = v1::SubmitRequest {
            entry: entry.bytes().to_vec().into(),
            openings: openings.into_iter().map(wire_opening).collect(),
            subject: subject.map(|id| id.to_string()).unwrap_or_default(),
        };
        let answer = self.submit(&request).await?;
        if answer.leaf_hash.as_ref() != leaf.as_bytes() {
            return Err(Trouble::breach(
                "entry.altered",
                "The coordinator recorded something else than what was signed. Stop, and compare \
                 `holdfast ledger entry` with what you did.",
            ));
        }
        Ok(Said {
            index: answer.index,
            leaf,
        })
    }

    fn seal(&mut self, statement: &Statement) -> Outcome<Entry> {
        let too_long = |error: &dyn std::fmt::Display| {
            Trouble::refused(
                "statement.too-long",
                format!("The statement cannot be written: {error}. Split it into smaller ones."),
            )
        };
        let text = statement.to_text().map_err(|error| too_long(&error))?;
        if self.signer.is_none() {
            self.signer = Some(sign::open(&self.profile.key)?);
        }
        let signer = self.signer.as_ref().ok_or_else(|| strange("the key"))?;
        let signature = signer
            .sign(statement.namespace(), text.as_bytes())
            .map_err(|error| not_signed(&error))?;
        Entry::seal(&text, &signature).map_err(|error| too_long(&error))
    }

    /// Sends the same bytes again while the coordinator is away: done twice is done once.
    async fn submit(&mut self, request: &v1::SubmitRequest) -> Outcome<v1::SubmitResponse> {
        let mut pause = Duration::from_millis(200);
        loop {
            match self.services.desk.submit(patient(request.clone())).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if is_away(&status) && pause < Duration::from_secs(10) => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(status) => return Err(status.into()),
            }
        }
    }

    /// One entry and its proof, both verified against the pinned key. Waits for a checkpoint
    /// that covers it.
    pub async fn proved(&mut self, index: u64) -> Outcome<(Entry, String)> {
        let entry = self.entry(index).await?;
        let mut patience = 40;
        let proof = loop {
            let asked = patient(v1::ProveRequest { index });
            match self.services.ledger.prove(asked).await {
                Ok(proof) => break proof.into_inner().tlog_proof,
                Err(status) if patience > 0 && is_early(&status) => {
                    patience -= 1;
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                Err(status) => return Err(status.into()),
            }
        };
        let wrong = |why: &dyn std::fmt::Display| {
            Trouble::breach(
                "entry.not-proved",
                format!(
                    "Entry {index} is not proved to be in the log: {why}. Stop, and have the log \
                     checked with `holdfast ledger mirror`."
                ),
            )
        };
        let text = String::from_utf8(proof.to_vec()).map_err(|error| wrong(&error))?;
        let proof = LogProof::parse(&text).map_err(|error| wrong(&error))?;
        let checkpoint = proof
            .verify(entry.bytes(), &self.verifier)
            .map_err(|error| wrong(&error))?;
        if proof.index != index {
            return Err(wrong(&"it is a proof of another entry"));
        }
        if checkpoint.size == self.seen.size && checkpoint.root != self.seen.root {
            return Err(forked(checkpoint.size));
        }
        Ok((entry, text))
    }

    /// One entry, verbatim and not yet proved.
    pub async fn entry(&mut self, index: u64) -> Outcome<Entry> {
        let answer = self
            .services
            .ledger
            .get_entry(patient(v1::GetEntryRequest { index }));
        let answer = answer.await?.into_inner();
        Entry::parse(&answer.entry).map_err(|error| {
            Trouble::breach("entry.unreadable", format!("Entry {index}: {error}."))
        })
    }

    /// All records of a kind.
    pub async fn list(&mut self, kind: &str) -> Outcome<Vec<Record>> {
        let asked = v1::ListRequest {
            kind: kind.to_owned(),
        };
        let mut stream = self.services.records.list(asked).await?.into_inner();
        let mut records = Vec::new();
        while let Some(record) = stream.message().await? {
            records.push(Record::read(record)?);
        }
        Ok(records)
    }

    /// One record, by its id or a beginning of it that fits only one.
    pub async fn find(&mut self, kind: &str, id: &str) -> Outcome<Record> {
        let asked = patient(v1::ShowRequest {
            kind: kind.to_owned(),
            id: id.to_owned(),
        });
        Record::read(self.services.records.show(asked).await?.into_inner())
    }
}

fn strange(what: &str) -> Trouble {
    Trouble::failed(
        "strange-answer",
        format!("The coordinator's answer cannot be read: {what}. Use the tool of its version."),
    )
}

fn wire_opening(opening: Opening) -> v1::Opening {
    v1::Opening {
        field: opening.field,
        r: opening.r.to_vec().into(),
        value: opening.value.into(),
    }
}

/// The coordinator is away for a moment, or the connection broke.
pub fn is_away(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        Code::Unknown | Code::Internal | Code::Cancelled => {
            status.metadata().get("holdfast-rule").is_none()
                && std::error::Error::source(status).is_some()
        }
        _ => false,
    }
}

/// Asked for before a checkpoint covers it.
fn is_early(status: &Status) -> bool {
    is_away(status)
        || matches!(
            status.code(),
            Code::FailedPrecondition | Code::OutOfRange | Code::NotFound
        )
}
