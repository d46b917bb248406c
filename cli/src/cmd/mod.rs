//! The verbs, a group a file. Each reads its arguments, checks what can be checked here, and
//! speaks through the session; printing is left to `show`.

pub mod agent;
pub mod claim;
pub mod clearance;
pub mod doctor;
mod effect;
pub mod hold;
pub mod ledger;
pub mod lift;
pub mod limit;
pub mod lists;
pub mod login;
pub mod mirror;
pub mod order;
pub mod person;
pub mod place;
pub mod receipt;
pub mod release;
pub mod request;
pub mod snapshot;
pub mod vote;

use std::time::{Duration, Instant};

use custody::{house::approval::Policies, id::AgentId, statement::Body};

use crate::{
    args::{Cli, Command, Global},
    exit::{Outcome, Trouble},
    session::Session,
    show::{
        hold::{Fleet, TargetView},
        progress,
    },
};

/// Runs a command that talks to a coordinator.
pub async fn run(cli: Cli) -> Outcome {
    let global = cli.global;
    match cli.command {
        Command::Login(args) => login::login(&global, args).await,
        Command::Whoami => login::whoami(&global).await,
        Command::Doctor => doctor::run(&global).await,
        Command::Person(verb) => person::run(&global, verb).await,
        Command::Agent(verb) => agent::run(&global, verb).await,
        Command::Order(verb) => order::run(&global, verb).await,
        Command::Hold(verb) => hold::run(&global, verb).await,
        Command::Snapshot(verb) => snapshot::run(&global, verb).await,
        Command::Claim(verb) => claim::run(&global, verb).await,
        Command::Request(verb) => request::run(&global, verb).await,
        Command::Approve(args) => vote::approve(&global, args).await,
        Command::Reject(args) => vote::reject(&global, args).await,
        Command::Release(verb) => release::run(&global, verb).await,
        Command::Clearance(verb) => clearance::run(&global, verb).await,
        Command::Lists(verb) => lists::run(&global, verb).await,
        Command::Ledger(verb) => ledger::run(&global, verb).await,
        // What needs no coordinator was answered in lib.rs.
        Command::Demo(_)
        | Command::Verify(_)
        | Command::Completions { .. }
        | Command::Man { .. } => Ok(()),
    }
}

/// The fleet as the coordinator knows it now.
pub(crate) async fn fleet(session: &mut Session) -> Outcome<Fleet> {
    Fleet::read(&session.list("agents").await?)
}

/// Every target, in the order of ids.
pub(crate) async fn targets(session: &mut Session, fleet: &Fleet) -> Outcome<Vec<TargetView>> {
    let records = session.list("targets").await?;
    records
        .iter()
        .map(|record| TargetView::read(record, fleet))
        .collect()
}

/// Finds an agent by its name, its id or a beginning of it.
pub(crate) fn agent_of(fleet: &Fleet, typed: &str) -> Outcome<AgentId> {
    let named: Vec<_> = fleet
        .agents()
        .filter(|agent| agent.name.as_deref() == Some(typed) && agent.state != "retired")
        .collect();
    let begun = || -> Vec<_> {
        let ids = fleet.agents().filter(|agent| agent.id.starts_with(typed));
        ids.collect()
    };
    let found = if named.is_empty() { begun() } else { named };
    let typed = crate::show::text::plain(typed);
    match found.as_slice() {
        [one] => one.id.parse().map_err(|_| unknown_agent(&typed)),
        [] => Err(unknown_agent(&typed)),
        _ => Err(Trouble::refused(
            "ambiguous",
            format!("More than one server answers to `{typed}`. Use a longer beginning of its id."),
        )),
    }
}

fn unknown_agent(typed: &str) -> Trouble {
    Trouble::refused(
        "unknown",
        format!("There is no server `{typed}` here. `holdfast agent list` says which there are."),
    )
}

/// Who must agree to what, as entry 0 says; verified against the pinned key.
pub(crate) async fn policies(session: &mut Session) -> Outcome<Policies> {
    let (entry, _) = session.proved(0).await?;
    match entry.statement().map(|statement| statement.body) {
        Ok(Body::LogOpened(opened)) => Ok(opened.policies),
        _ => Err(Trouble::breach(
            "log.no-opening",
            "Entry 0 of the log does not open it. Stop, and ask who runs the coordinator.",
        )),
    }
}

/// Asks again and again until the answer is final or patience ends; gives the last answer and
/// whether it was final.
pub(crate) async fn wait<T>(
    global: &Global,
    what: &str,
    patience: Duration,
    look: impl AsyncFnMut() -> Outcome<(T, bool)>,
) -> Outcome<(T, bool)> {
    wait_telling(global, what, patience, look, |_| None).await
}

/// Waits like [`wait`], and says on a terminal how far it is.
pub(crate) async fn wait_telling<T>(
    global: &Global,
    what: &str,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Outcome<(T, bool)>,
    tell: impl Fn(&T) -> Option<String>,
) -> Outcome<(T, bool)> {
    let bar = progress::waiting(global, what);
    let until = Instant::now() + patience;
    let mut pause = Duration::from_millis(200);
    let answer = loop {
        let (answer, done) = look().await?;
        if let Some(told) = tell(&answer) {
            bar.set_message(format!("{what}: {told}"));
        }
        if done || Instant::now() >= until {
            break (answer, done);
        }
        tokio::time::sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(2));
    };
    bar.finish_and_clear();
    Ok(answer)
}
