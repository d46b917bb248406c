//! A person on the wire: seals statements with the own key and hands in their exact bytes, so
//! that a test decides what is sent, when, and how often.

use cli::{
    connect::{Services, connect, patient},
    exit::Outcome,
    session::{log_in, now, random},
    sign,
};
use custody::{
    commit::{Commitment, Opening},
    house::{
        order::{Copies, NewOrder},
        regime::Holding,
        scope::{Rule, ScopeItem, Selector},
    },
    id::{AgentId, CommandId, ItemId, OrderId, PersonId, SubjectId},
    ledger::{entry::Entry, note::VerifierKey},
    sign::Signer,
    statement::{Author, Body, Statement, VERSION},
};
use proto::v1;
use tonic::Status;

use super::Desk;

/// A person with the key that `desk.add` made.
pub struct Hand {
    pub id: PersonId,
    key: Box<dyn Signer>,
    verifier: VerifierKey,
    url: String,
    authority: String,
}

/// A statement, sealed once: whoever sends it again sends the very same bytes.
#[derive(Clone)]
pub struct Letter {
    pub id: CommandId,
    pub entry: Entry,
    request: v1::SubmitRequest,
}

/// What opens the commitments of a statement that is being written.
#[derive(Default)]
pub struct Openings(Vec<Opening>);

impl Openings {
    /// Commits to a value.
    pub fn commit(&mut self, field: &str, value: impl Into<Vec<u8>>) -> Commitment {
        let opening = Opening::new(field, value, random().unwrap());
        let commitment = opening.commitment();
        self.0.push(opening);
        commitment
    }
}

impl Hand {
    /// The hand of a person who has logged in.
    pub fn of(desk: &Desk, name: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let vkey = std::fs::read_to_string(desk.at("server/log.vkey")).unwrap();
        let who = desk.run(name, &["whoami"]);
        Self {
            id: who["person"].as_str().unwrap().parse().unwrap(),
            key: sign::open(&desk.at(name)).unwrap(),
            verifier: VerifierKey::parse(vkey.trim()).unwrap(),
            url: desk.url(),
            authority: std::fs::read_to_string(desk.at("server/pki/ca.pem")).unwrap(),
        }
    }

    /// The log's key.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Connects and logs in.
    pub async fn connect(&self) -> Outcome<Services> {
        let channel = connect(&self.url, &self.authority).await?;
        let login = log_in(&channel, &self.verifier, &*self.key).await?;
        Services::new(channel, Some(&login.token))
    }

    /// Connects with a token that nobody gave out.
    pub async fn connect_as_nobody(&self) -> Services {
        let channel = connect(&self.url, &self.authority).await.unwrap();
        Services::new(channel, Some(&"0".repeat(64))).unwrap()
    }

    /// Seals a statement.
    pub fn seal(&self, body: Body, openings: Openings) -> Letter {
        let subject = match &body {
            Body::ClaimFile(claim) => Some(claim.subject),
            _ => None,
        };
        self.seal_of(body, openings, subject)
    }

    fn seal_of(&self, body: Body, openings: Openings, subject: Option<SubjectId>) -> Letter {
        let id = CommandId::from_random(random().unwrap());
        let statement = Statement {
            v: VERSION,
            log: self.verifier.name().to_owned(),
            id,
            author: Author::Person(self.id),
            time: now(),
            seen: None,
            link: None,
            body,
        };
        let text = statement.to_text().unwrap();
        let signature = self.key.sign(statement.namespace(), text.as_bytes());
        let entry = Entry::seal(&text, &signature.unwrap()).unwrap();
        let opening = |opening: Opening| v1::Opening {
            field: opening.field,
            r: opening.r.to_vec().into(),
            value: opening.value.into(),
        };
        let request = v1::SubmitRequest {
            entry: entry.bytes().to_vec().into(),
            openings: openings.0.into_iter().map(opening).collect(),
            subject: subject.map(|id| id.to_string()).unwrap_or_default(),
        };
        Letter { id, entry, request }
    }
}

/// Hands a letter in.
pub async fn submit(services: &Services, letter: &Letter) -> Result<v1::SubmitResponse, Status> {
    let mut desk = services.desk.clone();
    let answer = desk.submit(patient(letter.request.clone())).await?;
    Ok(answer.into_inner())
}

/// The rule that a status names.
pub fn rule(status: &Status) -> String {
    let rule = status.metadata().get("holdfast-rule");
    rule.map_or_else(String::new, |rule| rule.to_str().unwrap().to_owned())
}

/// An order for one place on one server, or for an account anywhere.
pub fn order(openings: &mut Openings, kind: &str, holding: Holding, at: At<'_>) -> NewOrder {
    let (selector, agent, value) = match at {
        At::Path(agent, path) => (Selector::Path, Some(agent), openings.commit("path", path)),
        At::Account(name) => (Selector::Account, None, openings.commit("account", name)),
    };
    let item = ScopeItem {
        item: ItemId::from_random(random().unwrap()),
        rule: Rule::Include,
        selector,
        agent,
        value: Some(value),
    };
    NewOrder {
        order: OrderId::from_random(random().unwrap()),
        regime: kind.to_owned(),
        holding,
        copies: Copies::Permitted,
        issued: now(),
        received: now(),
        zone_minutes: 0,
        ends: None,
        emergency: false,
        authority: openings.commit("authority", "an authority"),
        reference: openings.commit("reference", "a reference"),
        document: None,
        scope: vec![item],
    }
}

/// What an order names.
pub enum At<'a> {
    /// A path on a server.
    Path(AgentId, &'a [u8]),
    /// An account, wherever it is.
    Account(&'a str),
}
