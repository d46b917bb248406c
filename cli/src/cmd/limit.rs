//! `agent limit|pause|resume`: what a server's agent may take of its host while it reads. Holding is
//! never limited.

use clap::Args;
use custody::{
    house::{agent::Agent, limits::Limits},
    id::AgentId,
    statement::{AgentLimit, Body},
};

use super::{agent::one, agent_of, fleet};
use crate::{
    args::{
        Global,
        limits::{Bytes, Cpu, Hours, Reads},
    },
    exit::{Outcome, Trouble},
    session::Session,
    show::Screen,
};

/// What `agent limit` takes. What is not named stays as it is.
#[derive(Debug, Args)]
pub struct Limit {
    /// The name, the id or a beginning of it.
    agent: String,
    #[command(flatten)]
    wish: Wish,
}

/// At least one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = true, id = "wish")]
struct Wish {
    /// CPU time, percent of one core, such as 20%; or none.
    #[arg(long, value_name = "PERCENT")]
    cpu: Option<Cpu>,
    /// Bytes read in a second, such as 100MB/s; or none.
    #[arg(long, value_name = "RATE")]
    read: Option<Bytes>,
    /// Reads in a second, such as 500; or none.
    #[arg(long, value_name = "NUMBER")]
    reads: Option<Reads>,
    /// Between which times of the day it reads, UTC, such as 22:00-06:00; or none.
    #[arg(long, value_name = "FROM-UNTIL")]
    hours: Option<Hours>,
    /// Lift every limit. A pause stays.
    #[arg(long, conflicts_with_all = ["cpu", "read", "reads", "hours"])]
    none: bool,
}

/// Limits after a wish.
fn wished(mut limits: Limits, wish: &Wish) -> Limits {
    if wish.none {
        return Limits {
            paused: limits.paused,
            ..Limits::default()
        };
    }
    if let Some(Cpu(cap)) = wish.cpu {
        limits.cpu_percent = cap.limit();
    }
    if let Some(Bytes(cap)) = wish.read {
        limits.read_bytes = cap.limit();
    }
    if let Some(Reads(cap)) = wish.reads {
        limits.reads = cap.limit();
    }
    if let Some(Hours(cap)) = wish.hours {
        let hours = cap.limit();
        limits.from_minute = hours.map(|(from, _)| from);
        limits.until_minute = hours.map(|(_, until)| until);
    }
    limits
}

/// Sets limits.
pub(super) async fn limit(global: &Global, args: Limit) -> Outcome {
    change(global, &args.agent, |limits| wished(limits, &args.wish)).await
}

/// Stops reading, or lets it go on.
pub(super) async fn pause(global: &Global, agent: &str, paused: bool) -> Outcome {
    change(global, agent, |limits| Limits { paused, ..limits }).await
}

async fn change(global: &Global, typed: &str, change: impl Fn(Limits) -> Limits) -> Outcome {
    let screen = Screen::new(global);
    let mut session = Session::open(global).await?;
    let id = agent_of(&fleet(&mut session).await?, typed)?;
    let before = current(&mut session, &id).await?;
    let limits = change(before);
    let mut said = Vec::new();
    // Said once is enough.
    if limits != before {
        let body = Body::AgentLimit(AgentLimit { agent: id, limits });
        said.push(session.say(body, vec![]).await?);
    }
    let view = one(&fleet(&mut session).await?, &id)?;
    if said.is_empty() {
        screen.note("It is so already; nothing was changed.");
    } else if !view.connected {
        screen.note("The server is not connected: it counts as soon as it is.");
    }
    screen.changed(&view, &said);
    Ok(())
}

async fn current(session: &mut Session, id: &AgentId) -> Outcome<Limits> {
    let agents = session.list("agents").await?;
    for record in &agents {
        let agent: Agent = record.parse()?;
        if agent.id == *id {
            return Ok(agent.limits.map_or_else(Limits::default, |l| l.limits));
        }
    }
    Err(Trouble::failed(
        "vanished",
        format!("{id} is not in the list any more. Try again."),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        limit: Limit,
    }

    fn wish(arguments: &[&str]) -> Option<Wish> {
        let all = ["limit", "store-1"].iter().chain(arguments);
        Some(Line::try_parse_from(all).ok()?.limit.wish)
    }

    #[test]
    fn what_is_not_named_stays_and_none_lifts_all_but_a_pause() {
        let before = Limits {
            cpu_percent: Some(20),
            reads: Some(500),
            paused: true,
            ..Limits::default()
        };
        let after = wished(
            before,
            &wish(&["--cpu", "none", "--hours", "22:00-06:00"]).unwrap(),
        );
        let expected = Limits {
            cpu_percent: None,
            from_minute: Some(1320),
            until_minute: Some(360),
            ..before
        };
        assert_eq!(after, expected);
        let lifted = wished(after, &wish(&["--none"]).unwrap());
        assert_eq!(
            lifted,
            Limits {
                paused: true,
                ..Limits::default()
            }
        );
    }

    #[test]
    fn a_wish_for_nothing_and_for_all_and_nothing_are_refused() {
        assert!(wish(&[]).is_none());
        assert!(wish(&["--none", "--cpu", "20%"]).is_none());
        assert!(wish(&["--cpu", "20"]).is_none());
    }
}
