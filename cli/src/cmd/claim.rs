//! `claim`: what owners say is theirs, and what the manifests say to that.

use std::{ffi::OsString, path::Path};

use clap::{Args, Subcommand};
use custody::{
    house::{claim::Claim, snapshot},
    id::{ClaimId, SubjectId},
    statement::{Body, ClaimFile, ClaimWithdraw, SubjectErase},
};
use proto::v1;

use super::{agent_of, fleet, wait};
use crate::{
    args::{Global, selector::Named, words::Lasting},
    exit::{Outcome, Trouble},
    session::{Session, commit, random},
    show::{
        Screen, View as _, ask,
        claim::{ClaimView, MatchedFileView},
        text,
    },
};

/// What can be done with claims.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// File an owner's claim.
    File(File),
    /// List claims.
    List,
    /// Show one claim.
    Show {
        /// The id, or a beginning of it.
        claim: String,
    },
    /// List the files that a claim matches; contested ones are flagged.
    Match {
        /// The id, or a beginning of it.
        claim: String,
    },
    /// Say how much of a claim the exclusion lists keep back, and under which revision.
    Screen {
        /// The id, or a beginning of it.
        claim: String,
    },
    /// Withdraw a claim: it contests nothing any more.
    Withdraw {
        /// The id, or a beginning of it.
        claim: String,
    },
    /// Erase the claimant's personal data for ever; takes the role legal.
    Erase {
        /// The claim's id, or a beginning of it.
        claim: String,
    },
}

/// What `claim file` takes.
#[derive(Debug, Args)]
pub struct File {
    /// The owner's public age key (`age1...`), or a file that holds it.
    #[arg(long, value_name = "AGE")]
    recipient: String,
    /// What is claimed: account:NAME, account:AGENT:NAME, path:AGENT:/path, path:/path or
    /// hash:HEX; repeat it.
    #[arg(long = "item", required = true, value_name = "SEL")]
    items: Vec<OsString>,
    /// The claimant has sworn to it.
    #[arg(long)]
    sworn: bool,
    /// Wait until the claim is matched against every snapshot.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "60s", require_equals = true)]
    wait: Option<Lasting>,
}

/// Runs one of them.
pub async fn run(global: &Global, verb: Verb) -> Outcome {
    let screen = Screen::new(global);
    match verb {
        Verb::File(args) => file(global, args).await,
        Verb::List => {
            let records = Session::open(global).await?.list("claims").await?;
            let views: Vec<_> = records
                .iter()
                .map(ClaimView::read)
                .collect::<Outcome<_>>()?;
            screen.list(&views);
            Ok(())
        }
        Verb::Show { claim } => {
            let record = Session::open(global).await?.find("claims", &claim).await?;
            screen.one(&ClaimView::read(&record)?);
            Ok(())
        }
        Verb::Match { claim } => matched(global, &claim).await,
        Verb::Screen { claim } => {
            let record = Session::open(global).await?.find("claims", &claim).await?;
            screened(&screen, &ClaimView::read(&record)?);
            Ok(())
        }
        Verb::Withdraw { claim } => {
            let mut session = Session::open(global).await?;
            let id: ClaimId = session.find("claims", &claim).await?.id()?;
            ask::confirm(global, &format!("Withdraw {id}? It is not taken up again."))?;
            let body = Body::ClaimWithdraw(ClaimWithdraw { claim: id });
            let said = session.say(body, vec![]).await?;
            let record = session.find("claims", &id.to_string()).await?;
            screen.changed(&ClaimView::read(&record)?, &[said]);
            Ok(())
        }
        Verb::Erase { claim } => erase(global, &claim).await,
    }
}

async fn file(global: &Global, args: File) -> Outcome {
    let recipient = recipient(&args.recipient)?;
    let items = Named::read_all(&args.items)?;
    if items.len() > custody::house::claim::MOST_ITEMS {
        return Err(Trouble::refused(
            "claim.items",
            "A claim names between 1 and 200 items. File several claims.",
        ));
    }
    if !args.sworn {
        return Err(Trouble::refused(
            "claim.not-sworn",
            "The claimant has not sworn to the claim. Have the statement sworn and file with --sworn.",
        ));
    }
    let mut session = Session::open(global).await?;
    let fleet = fleet(&mut session).await?;
    let agents = |typed: &str| agent_of(&fleet, typed);
    let mut openings = Vec::new();
    let claim = ClaimId::from_random(random()?);
    let subject = SubjectId::from_random(random()?);
    let filed = ClaimFile {
        claim,
        subject,
        recipient: commit(&mut openings, "recipient", recipient)?,
        items: items
            .iter()
            .map(|named| named.claim_item(&agents, &mut openings))
            .collect::<Outcome<_>>()?,
        sworn: args.sworn,
    };
    let said = session
        .say_of(Body::ClaimFile(filed), openings, Some(subject))
        .await?;
    let id = claim.to_string();
    let patience = args.wait.map(Lasting::duration);
    let look = async || {
        let view = ClaimView::read(&session.find("claims", &id).await?)?;
        let mut done = true;
        for record in session.list("snapshots").await? {
            let shot: snapshot::Snapshot = record.parse()?;
            let is_matched = view
                .matches
                .iter()
                .any(|matched| matched.snapshot == record.id)
                || view
                    .not_matched
                    .iter()
                    .any(|missing| missing["snapshot"] == record.id.as_str());
            done &= shot.state != snapshot::State::Received || is_matched;
        }
        Ok((view, done))
    };
    let what = "waiting for the claim to be matched";
    let (view, done) = wait(global, what, patience.unwrap_or_default(), look).await?;
    Screen::new(global).changed(&view, &[said]);
    if patience.is_some() && !done {
        return Err(Trouble::failed(
            "claim.not-matched",
            "The claim is filed and not matched against every snapshot yet. Look with `holdfast \
             claim show`.",
        ));
    }
    Ok(())
}

/// The owner's public key, from the command line or from a file. A secret one is refused.
fn recipient(given: &str) -> Outcome<String> {
    let wrong = || {
        Trouble::usage(
            "--recipient takes the owner's public age key: `age1...`, or a file that holds it. \
             The owner makes one with `age-keygen` and keeps the secret half.",
        )
    };
    let text = if given.starts_with("age1") {
        given.to_owned()
    } else if given.contains("AGE-SECRET-KEY-") {
        return Err(wrong());
    } else {
        let path = Path::new(given);
        std::fs::read_to_string(path).map_err(|error| Trouble::file("read", path, &error))?
    };
    if text.contains("AGE-SECRET-KEY-") {
        return Err(Trouble::refused(
            "claim.secret-key",
            format!(
                "{given} holds the owner's secret key, which must never leave the owner. Ask for the public one."
            ),
        ));
    }
    let mut keys = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(wrong());
    };
    let parsed: age::x25519::Recipient = key.parse().map_err(|_| wrong())?;
    Ok(parsed.to_string())
}

async fn matched(global: &Global, typed: &str) -> Outcome {
    let screen = Screen::new(global);
    let mut session = Session::open(global).await?;
    let claim = session.find("claims", typed).await?.id;
    let asked = v1::ListMatchesRequest {
        claim: claim.clone(),
    };
    let mut stream = session
        .services
        .records
        .list_matches(asked)
        .await?
        .into_inner();
    let mut files = Vec::new();
    while let Some(file) = stream.message().await? {
        files.push(MatchedFileView::from(file));
    }
    let contested = files.iter().filter(|file| file.contested).count() as u64;
    let bytes: u64 = files.iter().map(|file| file.size).sum();
    if screen.is_json() {
        screen.value(&serde_json::json!({
            "id": claim, "contested": contested, "bytes": bytes, "files": files,
        }));
        return Ok(());
    }
    screen.list(&files);
    let rows = text::count(files.len() as u64, "row");
    screen.note(&format!("{rows}, {}.", text::size(bytes)));
    if contested > 0 {
        screen.note(&format!(
            "{} contested: frozen until one of the claims is decided.",
            text::count(contested, "row")
        ));
    }
    Ok(())
}

fn screened(screen: &Screen, view: &ClaimView) {
    if screen.is_json() {
        return screen.value(&serde_json::json!({
            "id": view.id, "matched": view.matched, "excluded": view.excluded,
            "snapshots": view.matches,
        }));
    }
    let rows: Vec<_> = view
        .matches
        .iter()
        .map(|m| {
            let id = screen.id(&m.snapshot);
            vec![
                id,
                m.rows.to_string(),
                m.excluded.to_string(),
                m.lists.to_string(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return screen.note("Not matched against any snapshot yet.");
    }
    screen.table(
        &[
            "snapshot",
            "may leave",
            "kept back",
            "revision of the lists",
        ],
        &rows,
    );
}

async fn erase(global: &Global, typed: &str) -> Outcome {
    let screen = Screen::new(global);
    let mut session = Session::open(global).await?;
    let record = session.find("claims", typed).await?;
    let claim: Claim = record.parse()?;
    if !screen.is_json() && !global.yes {
        screen.pairs(&ClaimView::read(&record)?.lines(&screen));
    }
    ask::confirm(
        global,
        "Erase the claimant's data? The key that opens it is destroyed, and nobody can bring it \
         back. Every proof goes on verifying.",
    )?;
    let body = Body::SubjectErase(SubjectErase {
        subject: claim.filed.subject,
    });
    let said = session.say(body, vec![]).await?;
    let record = session.find("claims", &record.id).await?;
    screen.changed(&ClaimView::read(&record)?, &[said]);
    Ok(())
}
