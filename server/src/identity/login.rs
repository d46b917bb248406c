//! Log-in: a person signs a challenge with an SSH key and gets a token for eight hours.
//!
//! Nothing here is written to disk: a restart logs everybody out. Of a token only its SHA-256
//! is kept. A failure never says whether a key is known. A challenge is known again by its own
//! authentication code, so that asking for many costs nothing here and pushes nobody's out.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use custody::{
    digest::Digest,
    house::{House, person::Role},
    id::PersonId,
    sign::{Namespace, SshSig},
    time::{Span, Time},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::{clock, crowd::Crowd, rpc::status::No};

/// How long a challenge is good for.
const CHALLENGE: Span = Span::seconds(60);
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

/// Challenges that were used and tokens that are good.
pub struct Sessions {
    /// Of this process alone: a challenge of an earlier one is not known again.
    key: [u8; 32],
    /// Challenges that a person of the house logged in with, until they are over.
    used: Mutex<HashMap<Vec<u8>, Time>>,
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
    /// Nobody is logged in.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            key: clock::random()?,
            used: Mutex::default(),
            tokens: Mutex::default(),
            seats: Crowd::default(),
        })
    }

    /// Gives out a challenge: its end, eight random bytes and their authentication code.
    pub fn challenge(&self, now: Time) -> anyhow::Result<[u8; 32]> {
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&(now + CHALLENGE).millis().to_be_bytes());
        nonce[8..16].copy_from_slice(&clock::random::<8>()?);
        let code = self.code(&nonce[..16]);
        nonce[16..].copy_from_slice(&code);
        Ok(nonce)
    }

    fn code(&self, said: &[u8]) -> [u8; 16] {
        let mut code = [0; 16];
        // HMAC takes a key of any length: it cannot fail.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) {
            mac.update(b"holdfast/challenge/v1\0");
            mac.update(said);
            code.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        }
        code
    }

    /// Whether a challenge was given out here less than a minute ago and not used; when it ends.
    fn stands(&self, nonce: &[u8], now: Time) -> Option<Time> {
        let (said, code) = nonce.split_at_checked(16)?;
        let end = Time::from_millis(i64::from_be_bytes(*said.first_chunk()?));
        let ours = bool::from(self.code(said).as_slice().ct_eq(code));
        (ours && now < end && !locked(&self.used).contains_key(nonce)).then_some(end)
    }

    /// Uses a challenge up; `false` when somebody was faster.
    fn spend(&self, nonce: &[u8], end: Time, now: Time) -> bool {
        let mut used = locked(&self.used);
        used.retain(|_, end| now < *end);
        used.insert(nonce.to_vec(), end).is_none()
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
        let over = || {
            let why = "The challenge is unknown, used or older than a minute. Ask for a new one";
            nobody(why.into())
        };
        let end = self.stands(nonce, now).ok_or_else(over)?;
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
        // Only whom the house knows can have anything remembered here.
        if !self.spend(nonce, end, now) {
            return Err(over());
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use custody::sign::{SecretKey, Signer as _};

    use super::*;

    #[test]
    fn a_flood_of_challenges_pushes_out_nobodys() {
        let sessions = Sessions::new().unwrap();
        let now = clock::now();
        let ours = sessions.challenge(now).unwrap();
        for _ in 0..50_000 {
            sessions.challenge(now).unwrap();
        }
        assert!(sessions.stands(&ours, now).is_some());
        assert!(locked(&sessions.used).is_empty());
    }

    #[test]
    fn a_challenge_is_good_for_a_minute_once_and_only_where_it_was_given() {
        let sessions = Sessions::new().unwrap();
        let now = clock::now();
        let nonce = sessions.challenge(now).unwrap();
        assert!(sessions.stands(&nonce, now + Span::seconds(59)).is_some());
        assert!(sessions.stands(&nonce, now + Span::seconds(60)).is_none());
        assert!(Sessions::new().unwrap().stands(&nonce, now).is_none());
        for at in 0..32 {
            let mut other = nonce;
            other[at] ^= 1;
            assert!(sessions.stands(&other, now).is_none(), "{at}");
        }
        assert!(sessions.stands(&nonce[..31], now).is_none());
        let end = sessions.stands(&nonce, now).unwrap();
        assert!(sessions.spend(&nonce, end, now));
        assert!(!sessions.spend(&nonce, end, now));
        assert!(sessions.stands(&nonce, now).is_none());
    }

    #[test]
    fn a_stranger_leaves_nothing_behind_however_often_he_tries() {
        let sessions = Sessions::new().unwrap();
        let (now, house) = (clock::now(), House::default());
        let key = SecretKey::from_seed(&[1; 32]);
        for _ in 0..20 {
            let nonce = sessions.challenge(now).unwrap();
            let text = message("log", &nonce);
            let signature = key.sign(Namespace::Login, text.as_bytes()).unwrap();
            let tried = sessions.login(&house, "log", &nonce, &signature.encode(), now);
            assert!(matches!(tried, Err(Failed::Nobody(_))));
        }
        assert!(locked(&sessions.used).is_empty());
    }
}
