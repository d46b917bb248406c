//! Records as the coordinator answers: JSON, and what its commitments stand for.

use std::collections::BTreeMap;

use custody::commit::Commitment;
use serde::de::DeserializeOwned;

use crate::{
    exit::{Outcome, Trouble},
    show::text,
};

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its kind, as in the list it came from.
    pub kind: String,
    /// Its whole id.
    pub id: String,
    /// Its content.
    pub json: serde_json::Value,
    opened: BTreeMap<String, Vec<u8>>,
}

impl Record {
    /// Reads one off the wire.
    pub fn read(wire: proto::v1::Record) -> Outcome<Self> {
        let json = serde_json::from_slice(&wire.json);
        let json = json.map_err(|_| unreadable(&wire.kind, &wire.id))?;
        Ok(Self {
            json,
            kind: wire.kind,
            id: wire.id,
            opened: wire
                .opened
                .into_iter()
                .map(|(commitment, value)| (commitment, value.to_vec()))
                .collect(),
        })
    }

    /// The record as the law knows it.
    pub fn parse<T: DeserializeOwned>(&self) -> Outcome<T> {
        T::deserialize(&self.json).map_err(|_| unreadable(&self.kind, &self.id))
    }

    /// The id as its type.
    pub fn id<T: std::str::FromStr>(&self) -> Outcome<T> {
        self.id
            .parse()
            .map_err(|_| unreadable(&self.kind, &self.id))
    }

    /// What a commitment stands for, as raw bytes; `None` when it was erased, or when the
    /// reader's roles do not show it.
    pub fn raw(&self, commitment: &Commitment) -> Option<&[u8]> {
        self.opened.get(&commitment.to_string()).map(Vec::as_slice)
    }

    /// The same as text.
    pub fn text(&self, commitment: &Commitment) -> Option<String> {
        self.raw(commitment).map(text::bytes)
    }
}

fn unreadable(kind: &str, id: &str) -> Trouble {
    Trouble::failed(
        "version",
        format!(
            "The record {} {} cannot be read by this tool. Use the tool of the coordinator's \
             version.",
            text::plain(kind),
            text::plain(id)
        ),
    )
}
