//! `person`: a name, roles, an SSH public key. One key is one person.

use std::path::PathBuf;

use clap::Subcommand;
use custody::{
    house::person::{Person, Role},
    id::PersonId,
    sign::PublicKey,
    statement::{Body, PersonAdd, PersonRetire},
};

use crate::{
    args::Global,
    exit::{Outcome, Trouble},
    records::Record,
    session::{Session, commit, random},
    show::{Screen, ask, people::PersonView, text},
};

/// What can be done with people.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add a person; takes the role admin.
    Add {
        /// The person's name. It stays out of the log and can be erased.
        name: String,
        /// What the person may do; repeat it, or separate with commas.
        #[arg(
            long = "role",
            required = true,
            value_delimiter = ',',
            value_name = "ROLE"
        )]
        roles: Vec<Role>,
        /// The person's SSH public key.
        #[arg(long, value_name = "FILE.pub")]
        key: PathBuf,
    },
    /// List everyone.
    List,
    /// Show one person.
    Show {
        /// The id, a beginning of it, or the name.
        person: String,
    },
    /// Retire a person: nothing more may be said, what was signed stays valid.
    Retire {
        /// The id, a beginning of it, or the name.
        person: String,
    },
}

/// Runs one of them.
pub async fn run(global: &Global, verb: Verb) -> Outcome {
    let screen = Screen::new(global);
    match verb {
        Verb::Add { name, roles, key } => add(global, name, roles, &key).await,
        Verb::List => {
            let records = Session::open(global).await?.list("persons").await?;
            let views: Vec<_> = records
                .iter()
                .map(PersonView::read)
                .collect::<Outcome<_>>()?;
            screen.list(&views);
            Ok(())
        }
        Verb::Show { person } => {
            let mut session = Session::open(global).await?;
            screen.one(&PersonView::read(&find(&mut session, &person).await?)?);
            Ok(())
        }
        Verb::Retire { person } => {
            let mut session = Session::open(global).await?;
            let record = find(&mut session, &person).await?;
            let id: PersonId = record.id()?;
            let view = PersonView::read(&record)?;
            let name = text::plain(view.name.as_deref().unwrap_or(&view.id));
            ask::confirm(
                global,
                &format!("Retire {name}? Retired people do not come back."),
            )?;
            let said = session
                .say(Body::PersonRetire(PersonRetire { person: id }), vec![])
                .await?;
            let record = session.find("persons", &record.id).await?;
            screen.changed(&PersonView::read(&record)?, &[said]);
            Ok(())
        }
    }
}

async fn add(
    global: &Global,
    name: String,
    mut roles: Vec<Role>,
    key: &std::path::Path,
) -> Outcome {
    let line = std::fs::read_to_string(key).map_err(|error| Trouble::file("read", key, &error))?;
    if line.contains("PRIVATE KEY-----") {
        return Err(Trouble::usage(format!(
            "{} is a private key, which stays with its owner. Give the .pub file.",
            key.display()
        )));
    }
    let key = PublicKey::from_openssh(&line)
        .map_err(|error| Trouble::usage(format!("{}: {error}.", key.display())))?;
    if name.trim().is_empty() {
        return Err(Trouble::usage("A person needs a name."));
    }
    roles.sort_unstable();
    roles.dedup();
    let mut session = Session::open(global).await?;
    let person = PersonId::from_random(random()?);
    let mut openings = Vec::new();
    let name = commit(&mut openings, "name", name.trim())?;
    let body = Body::PersonAdd(PersonAdd {
        person,
        key,
        roles,
        name,
    });
    let said = session.say(body, openings).await?;
    let record = session.find("persons", &person.to_string()).await?;
    Screen::new(global).changed(&PersonView::read(&record)?, &[said]);
    Ok(())
}

async fn find(session: &mut Session, typed: &str) -> Outcome<Record> {
    let records = session.list("persons").await?;
    let mut named = records.into_iter().filter(|record| {
        let person = record.parse::<Person>();
        person.is_ok_and(|person| record.text(&person.name).as_deref() == Some(typed))
    });
    match (named.next(), named.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(Trouble::refused(
            "ambiguous",
            "More than one person has that name. Use the id; `holdfast person list` shows it.",
        )),
        _ => session.find("persons", typed).await,
    }
}
