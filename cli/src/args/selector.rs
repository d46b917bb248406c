//! Selectors: how people name a server, a path, an account or a hash.
//!
//! `server:AGENT`, `path:AGENT:/abs/path`, `path:/abs/path`, `account:NAME`,
//! `account:AGENT:NAME`, `hash:HEX`. An empty AGENT means any, so that a name with a colon can be
//! written as `account::a:b`. Paths may be any bytes.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use custody::{
    commit::{Commitment, Opening},
    house::scope::{Rule, ScopeItem, Selector, is_plain_path},
    id::{AgentId, ItemId},
    statement::ClaimItem,
};

use crate::{
    exit::{Outcome, Trouble},
    session::{commit, random},
    show::text,
};

/// A selector as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What kind of thing it names.
    pub selector: Selector,
    /// The server, by name or id; absent: any.
    pub agent: Option<String>,
    /// The path, account or hash; empty for a server.
    pub value: Vec<u8>,
}

impl Named {
    /// Reads a selector.
    pub fn read(typed: &OsStr) -> Outcome<Self> {
        let raw = typed.as_bytes();
        let wrong = |why: &str| {
            Trouble::usage(format!(
                "`{}` names nothing: {why}. Write server:AGENT, path:AGENT:/path, path:/path, \
                 account:NAME, account:AGENT:NAME or hash:HEX.",
                text::plain(&text::bytes(raw))
            ))
        };
        let (word, rest) = cut(raw).ok_or_else(|| wrong("it has no colon"))?;
        if rest.is_empty() {
            return Err(wrong("nothing stands behind the colon"));
        }
        let name = |raw: &[u8]| {
            let name = std::str::from_utf8(raw).map_err(|_| wrong("it is not UTF-8"))?;
            Ok::<_, Trouble>((!name.is_empty()).then(|| name.to_owned()))
        };
        let (selector, agent, value) = match word {
            b"server" => (Selector::Server, name(rest)?, Vec::new()),
            b"path" if rest.starts_with(b"/") => (Selector::Path, None, rest.to_vec()),
            b"path" => match cut(rest) {
                Some((agent, path)) => (Selector::Path, name(agent)?, path.to_vec()),
                None => (Selector::Path, None, rest.to_vec()),
            },
            b"account" => match cut(rest) {
                Some((agent, account)) => (Selector::Account, name(agent)?, account.to_vec()),
                None => (Selector::Account, None, rest.to_vec()),
            },
            b"hash" => (Selector::Hash, None, rest.to_ascii_lowercase()),
            _ => return Err(wrong("its first word is unknown")),
        };
        match selector {
            Selector::Path if !is_plain_path(&value) => Err(Trouble::refused(
                "scope.path",
                format!(
                    "The path {} must be absolute and have no empty, `.` or `..` parts. Write it \
                     as the server knows it, for example /srv/data/alice.",
                    text::plain(&text::bytes(&value))
                ),
            )),
            Selector::Account if value.is_empty() || std::str::from_utf8(&value).is_err() => {
                Err(wrong("an account is a name in UTF-8"))
            }
            Selector::Hash if value.len() != 64 || !value.iter().all(u8::is_ascii_hexdigit) => {
                Err(wrong("a hash is SHA-256 in 64 hex digits"))
            }
            _ => Ok(Self {
                selector,
                agent,
                value,
            }),
        }
    }

    /// Reads several, in their order.
    pub fn read_all<'a>(
        typed: impl IntoIterator<Item = &'a std::ffi::OsString>,
    ) -> Outcome<Vec<Self>> {
        typed.into_iter().map(|text| Self::read(text)).collect()
    }

    fn commit(&self, openings: &mut Vec<Opening>) -> Outcome<Option<Commitment>> {
        let field = match self.selector {
            Selector::Server => return Ok(None),
            Selector::Path => "path",
            Selector::Account => "account",
            Selector::Hash => "hash",
        };
        commit(openings, field, self.value.clone()).map(Some)
    }

    /// The item of an order's scope.
    pub fn scope_item(
        &self,
        rule: Rule,
        agents: &impl Fn(&str) -> Outcome<AgentId>,
        openings: &mut Vec<Opening>,
    ) -> Outcome<ScopeItem> {
        Ok(ScopeItem {
            item: ItemId::from_random(random()?),
            rule,
            selector: self.selector,
            agent: self.agent.as_deref().map(agents).transpose()?,
            value: self.commit(openings)?,
        })
    }

    /// The item of a claim; nobody claims a whole server.
    pub fn claim_item(
        &self,
        agents: &impl Fn(&str) -> Outcome<AgentId>,
        openings: &mut Vec<Opening>,
    ) -> Outcome<ClaimItem> {
        let value = self.commit(openings)?.ok_or_else(|| {
            Trouble::usage(
                "Nobody claims a whole server. Name accounts, paths or hashes with --item.",
            )
        })?;
        Ok(ClaimItem {
            item: ItemId::from_random(random()?),
            selector: self.selector,
            agent: self.agent.as_deref().map(agents).transpose()?,
            value,
        })
    }
}

fn cut(raw: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = raw.iter().position(|byte| *byte == b':')?;
    Some((&raw[..at], &raw[at + 1..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Outcome<Named> {
        Named::read(OsStr::new(text))
    }

    #[test]
    fn each_form_is_read() {
        let path = read("path:/srv/a:b").unwrap();
        assert_eq!((path.agent, path.value), (None, b"/srv/a:b".to_vec()));
        let path = read("path:store-1:/srv/a").unwrap();
        assert_eq!(path.agent.as_deref(), Some("store-1"));
        let account = read("account::a:b").unwrap();
        assert_eq!((account.agent, account.value), (None, b"a:b".to_vec()));
        let hash = read(&format!("hash:{}", "AB".repeat(32))).unwrap();
        assert_eq!(hash.value, "ab".repeat(32).into_bytes());
        assert_eq!(read("server:store-1").unwrap().selector, Selector::Server);
    }

    #[test]
    fn a_path_of_any_bytes_is_a_path() {
        let named = Named::read(OsStr::from_bytes(b"path:/srv/\xff")).unwrap();
        assert_eq!(named.value, b"/srv/\xff");
    }

    #[test]
    fn a_path_that_climbs_is_refused_and_nonsense_is_usage() {
        use crate::exit::Exit;
        for text in ["path:/srv/../etc", "path:srv", "path:a:b", "path:/a//b"] {
            assert_eq!(read(text).unwrap_err().exit, Exit::Refused, "{text}");
        }
        for text in [
            "",
            "alice",
            "account:",
            "hash:abc",
            "mailbox:alice",
            "account:x:",
        ] {
            assert_eq!(read(text).unwrap_err().exit, Exit::Usage, "{text}");
        }
    }
}
