//! `approve` and `reject`: nobody signs what was not read, and nobody signs a record.
//!
//! The act that is shown and signed is the one in the request's entry, whose place in the log
//! was proved against the pinned key and whose signature was checked.

use clap::Args;
use custody::{
    house::{act::Act, approval::Request, person::Person},
    id::PersonId,
    sign::Namespace,
    statement::{Approve as Approval, Author, Body, Reject as Rejection},
};

use super::{
    effect::{Wish, effect},
    fleet, policies,
};
use crate::{
    args::{Global, words::Lasting},
    exit::{Outcome, Trouble},
    session::{Session, now},
    show::{
        Screen, act, ask, claim::ClaimView, people::PersonView, request::RequestView,
        snapshot::SnapshotView, text,
    },
};

/// What `approve` takes.
#[derive(Debug, Args)]
pub struct Approve {
    /// The request's id, or a beginning of it.
    request: String,
    /// How long the approval counts, at most 30d.
    #[arg(long, default_value = "7d", value_name = "TIME")]
    valid: Lasting,
}

/// What `reject` takes.
#[derive(Debug, Args)]
pub struct Reject {
    /// The request's id, or a beginning of it.
    request: String,
}

/// Approves a request.
pub async fn approve(global: &Global, args: Approve) -> Outcome {
    if args.valid.0 > custody::house::approval::LONGEST {
        return Err(Trouble::refused(
            "approval.too-long",
            "The approval would count for more than 30 days. Sign one that expires sooner.",
        ));
    }
    let mut session = Session::open(global).await?;
    let request = read(&mut session, &args.request).await?;
    show(&mut session, &request).await?;
    let expires = now() + args.valid.0;
    let until = text::time(&expires);
    ask::confirm(
        global,
        &format!("Approve this with your key? It counts until {until}."),
    )?;
    let body = Body::Approve(Approval {
        request: request.id,
        entry: request.leaf,
        act: request.act.clone(),
        expires,
    });
    said(&mut session, &request, body).await
}

/// Rejects a request, or takes back one's own.
pub async fn reject(global: &Global, args: Reject) -> Outcome {
    let mut session = Session::open(global).await?;
    let request = read(&mut session, &args.request).await?;
    show(&mut session, &request).await?;
    let question = match request.by == session.person {
        true => "Take this back with your key? That ends the request.",
        false => "Reject this with your key? That ends the request.",
    };
    ask::confirm(global, question)?;
    let body = Body::Reject(Rejection {
        request: request.id,
        entry: request.leaf,
    });
    said(&mut session, &request, body).await
}

async fn said(session: &mut Session, request: &Request, body: Body) -> Outcome {
    let said = session.say(body, vec![]).await?;
    let policies = policies(session).await?;
    let record = session.find("requests", &request.id.to_string()).await?;
    let view = RequestView::read(&record, &policies)?;
    Screen::new(&session.global).changed(&view, &[said]);
    Ok(())
}

/// Reads a request off the log and makes sure that the record says the same.
async fn read(session: &mut Session, typed: &str) -> Outcome<Request> {
    let request: Request = session.find("requests", typed).await?.parse()?;
    let (entry, _) = session.proved(request.entry).await?;
    let breach = |why: &str| {
        Trouble::breach(
            "request.differs",
            format!(
                "{} is not what the log says: {why}. Nothing was signed. Stop, and tell your \
                 auditor.",
                request.id
            ),
        )
    };
    if entry.leaf_hash() != request.leaf {
        return Err(breach("its entry has another leaf hash"));
    }
    let statement = entry
        .statement()
        .map_err(|error| breach(&error.to_string()))?;
    if statement.author != Author::Person(request.by) {
        return Err(breach("somebody else asked for it"));
    }
    match &statement.body {
        Body::RequestMake(make) if make.request == request.id && make.act == request.act => {}
        _ => return Err(breach("its entry asks for something else")),
    }
    let asker: Person = session
        .find("persons", &request.by.to_string())
        .await?
        .parse()?;
    entry
        .verify(Namespace::Command, &asker.key)
        .map_err(|error| breach(&error.to_string()))?;
    Ok(request)
}

/// Shows what is asked for, on standard error: the result is what was signed.
async fn show(session: &mut Session, request: &Request) -> Outcome {
    if session.global.json && session.global.yes {
        return Ok(());
    }
    let screen = Screen::new(&session.global);
    let by = name(session, &request.by).await?;
    let fleet = fleet(session).await?;
    let acts = match &request.act {
        Act::Release { claim, files, .. } => {
            let claim = ClaimView::read(&session.find("claims", &claim.to_string()).await?)?;
            let mut parts = Vec::new();
            for rows in files {
                let record = session
                    .find("snapshots", &rows.snapshot.to_string())
                    .await?;
                parts.push((SnapshotView::read(&record, &fleet)?, rows.rows.count()));
            }
            act::release(&screen, &claim, &parts)
        }
        Act::Lift { .. } | Act::Narrow { .. } => {
            let record = session.find("requests", &request.id.to_string()).await?;
            let records = session.list("targets").await?;
            let wishes = Wish::of(&request.act, &record);
            act::lift(&screen, &effect(&records, &fleet, &wishes)?, &[])
        }
    };
    ask::tell(&format!(
        "{acts}\n  asked for by {by}, received {}\n  request {}, entry {}, leaf {}",
        text::time(&request.received),
        request.id,
        request.entry,
        request.leaf
    ));
    Ok(())
}

async fn name(session: &mut Session, person: &PersonId) -> Outcome<String> {
    let view = PersonView::read(&session.find("persons", &person.to_string()).await?)?;
    Ok(match view.name {
        Some(name) => format!("{} ({person})", text::plain(&name)),
        None => person.to_string(),
    })
}
