//! Log-in: a person signs a challenge with an SSH key and gets a token for eight hours.
//!
//! Nothing here is written to disk: a restart logs everybody out. Of a token only its SHA-256
//! is kept. A failure never says whether a key is known.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use custody::{
    digest::Digest,
    house::{House, person::Role},
    id::PersonId,
    sign::{Namespace, SshSig},
    time::{Span, Time},
};
use subtle::ConstantTimeEq as _;

use crate::{clock, crowd::Crowd, rpc::status::No};

/// How long a challenge is good for.
const CHALLENGE: Span = Span::seconds(60);
/// Challenges kept at most; the oldest goes first, so nobody is locked out by a flood.
const CHALLENGES: usize = 16_384;
/// How long a token is good for.
const TOKEN: Span = Span::hours(8);
/// Tokens one person may hold at a time; the oldest goes first.
const TOKENS_EACH: usize = 16;

const NOT_ACCEPTED: &str = "The log-in was not accepted. Ask for a new challenge and sign it \
                            with a key that an administrator has added";
const NOT_LOGGED_IN: &str = "You are not logged in, or the log-in is over. Run `holdfast login`";

/// Who makes a call.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The person.
    pub person: PersonId,
    /// What the person may do now.
    pub roles: Vec<Role>,
    /// When the log-in ends.
    pub expires: Time,
}

impl Caller {
    /// Whether the caller holds one of these roles.
    pub fn has_any(&self, roles: &[Role]) -> bool {
        self.roles.iter().any(|role| roles.contains(role))
    }

    /// Refuses to go on with a caller whose log-in is over, or who was retired.
    pub fn is_still(&self, house: &House, now: Time) -> Result<(), No> {
        let known = house.persons.get(&self.person);
        match now < self.expires && known.is_some_and(|person| !person.retired) {
            true => Ok(()),
            false => Err(No::Unauthenticated(NOT_LOGGED_IN.into())),
        }
    }
}

struct Session {
    token: Digest,
    person: PersonId,
    expires: Time,
}

/// Challenges that were given out and tokens that are good.
#[derive(Default)]
pub struct Sessions {
    challenges: Mutex<VecDeque<([u8; 32], Time)>>,
    /// By the token's SHA-256.
    tokens: Mutex<HashMap<Digest, Session>>,
    /// Who is being answered at length.
    pub seats: Crowd<PersonId>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is signed to log in.
pub fn message(origin: &str, nonce: &[u8]) -> String {
    format!("{origin}\n{}\n", hex::encode(nonce))
}

/// What came of a log-in that was not accepted.
pub enum Failed {
    /// Nothing is known of who tried.
    Nobody(No),
    /// A person who may not log in any more: the signature was right.
    Person(PersonId, No),
}

impl Sessions {
    /// Gives out a challenge.
    pub fn challenge(&self, now: Time) -> anyhow::Result<[u8; 32]> {
        let nonce = clock::random()?;
        let mut challenges = locked(&self.challenges);
        while challenges
            .front()
            .is_some_and(|(_, end)| *end <= now || challenges.len() >= CHALLENGES)
        {
            challenges.pop_front();
        }
        challenges.push_back((nonce, now + CHALLENGE));
        Ok(nonce)
    }

    /// Uses up a challenge, whatever comes of it.
    fn spend(&self, nonce: &[u8], now: Time) -> bool {
        let mut challenges = locked(&self.challenges);
        let at = challenges
            .iter()
            .position(|(known, _)| bool::from(known.as_slice().ct_eq(nonce)));
        at.and_then(|at| challenges.remove(at))
            .is_some_and(|(_, end)| now < end)
    }

    /// Trades a signed challenge for a token.
    pub fn login(
        &self,
        house: &House,
        origin: &str,
        nonce: &[u8],
        signature: &[u8],
        now: Time,
    ) -> Result<(String, Caller), Failed> {
        let nobody = |why: String| Failed::Nobody(No::Unauthenticated(why));
        if !self.spend(nonce, now) {
            return Err(nobody(
                "The challenge is unknown, used or older than a minute. Ask for a new one".into(),
            ));
        }
        // The signature is verified before anybody is looked up: what it says about a bad one
        // depends on what was sent alone.
        let signature = SshSig::decode(signature)
            .map_err(|error| nobody(format!("The log-in was not accepted: {error}")))?;
        let key = signature.public_key();
        signature
            .verify(Namespace::Login, message(origin, nonce).as_bytes(), key)
            .map_err(|error| nobody(format!("The log-in was not accepted: {error}")))?;
        let person = house.persons.values().find(|person| person.key == *key);
        let Some(person) = person else {
            return Err(nobody(NOT_ACCEPTED.into()));
        };
        if person.retired {
            let no = No::Unauthenticated(NOT_ACCEPTED.into());
            return Err(Failed::Person(person.id, no));
        }
        let caller = Caller {
            person: person.id,
            roles: person.roles.clone(),
            expires: now + TOKEN,
        };
        let secret: [u8; 32] = clock::random().map_err(|error| {
            Failed::Nobody(No::Failed(format!("{error}. Try again in a moment")))
        })?;
        let token = hex::encode(secret);
        self.keep(Digest::of(token.as_bytes()), &caller, now);
        Ok((token, caller))
    }

    fn keep(&self, token: Digest, caller: &Caller, now: Time) {
        let mut tokens = locked(&self.tokens);
        tokens.retain(|_, session| now < session.expires);
        let mut theirs: Vec<_> = tokens
            .values()
            .filter(|session| session.person == caller.person)
            .map(|session| (session.expires, session.token))
            .collect();
        theirs.sort_unstable();
        for (_, oldest) in theirs
            .iter()
            .take((theirs.len() + 1).saturating_sub(TOKENS_EACH))
        {
            tokens.remove(oldest);
        }
        let session = Session {
            token,
            person: caller.person,
            expires: caller.expires,
        };
        tokens.insert(token, session);
    }

    /// Who holds a token. A retired person's tokens are dropped here.
    pub fn caller(&self, house: &House, token: &str, now: Time) -> Result<Caller, No> {
        let no = || No::Unauthenticated(NOT_LOGGED_IN.into());
        let hashed = Digest::of(token.as_bytes());
        let mut tokens = locked(&self.tokens);
        let session = tokens.get(&hashed).ok_or_else(no)?;
        let same = bool::from(session.token.as_bytes().ct_eq(hashed.as_bytes()));
        let (person, expires) = (session.person, session.expires);
        let known = house.persons.get(&person).filter(|p| !p.retired);
        let Some(known) = known.filter(|_| same && now < expires) else {
            tokens.remove(&hashed);
            return Err(no());
        };
        Ok(Caller {
            person,
            roles: known.roles.clone(),
            expires,
        })
    }
}
