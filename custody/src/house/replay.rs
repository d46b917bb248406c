//! Replays: takes up a statement that stands in the ledger already.
//!
//! The rules were asked when it was accepted. Asking them again would need what opened its
//! commitments then, and that may have been erased since; so no rule is asked here, and the
//! state of a replay is the state that was acknowledged.

use super::{
    House,
    act::Act,
    decide::{Accepted, by_agent},
};
use crate::{
    digest::Digest,
    ledger::entry::Entry,
    statement::{Author, Body, Statement},
    time::Time,
};

impl House {
    /// Takes up an entry of the ledger as it was accepted when it was received.
    pub fn recorded(&self, entry: &Entry, statement: Statement, received: Time) -> Accepted {
        self.taken_up(statement, received, entry.leaf_hash(), entry.digest())
    }

    fn taken_up(
        &self,
        statement: Statement,
        received: Time,
        leaf: Digest,
        entry: Digest,
    ) -> Accepted {
        let agent = match &statement.body {
            Body::RequestExecuted(said) => {
                let act = self.requests.get(&said.request).map(|request| &request.act);
                match act {
                    Some(Act::Release { files, .. }) => files
                        .first()
                        .and_then(|rows| self.snapshots.get(&rows.snapshot))
                        .map(|snapshot| snapshot.agent),
                    _ => None,
                }
            }
            _ => None,
        };
        let void = match &statement.author {
            Author::Agent(id) => by_agent(self, id, &statement).err(),
            _ => None,
        };
        Accepted {
            statement,
            received,
            leaf,
            entry,
            agent,
            void,
        }
    }
}
