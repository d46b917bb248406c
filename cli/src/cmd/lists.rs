//! `lists`: exclusion lists, hashes of files that may never leave. They only ever grow.

use std::path::PathBuf;

use clap::Subcommand;
use custody::{
    digest::Digest,
    statement::{Body, ListImport},
};

use crate::{
    args::Global,
    exit::{Outcome, Trouble},
    session::Session,
    show::{Screen, ask, release::ListView, text},
};

/// Most hashes in one statement.
const MOST: usize = 500;

/// What can be done with exclusion lists.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add hashes to a list; takes the role legal.
    Import {
        /// The list's name: letters, digits and hyphens.
        name: String,
        /// The legal basis, in a word: letters, digits and hyphens.
        #[arg(long, value_name = "WORD")]
        basis: String,
        /// SHA-256 in hex, one a line; what sha256sum writes is read too.
        file: PathBuf,
    },
    /// List the lists.
    List,
    /// Show one list with its hashes.
    Show {
        /// Its name.
        name: String,
    },
}

/// Runs one of them.
pub async fn run(global: &Global, verb: Verb) -> Outcome {
    let screen = Screen::new(global);
    match verb {
        Verb::Import { name, basis, file } => import(global, name, basis, &file).await,
        Verb::List => {
            let records = Session::open(global).await?.list("lists").await?;
            let views = records.iter().map(|record| ListView::read(record, false));
            screen.list(&views.collect::<Outcome<Vec<_>>>()?);
            Ok(())
        }
        Verb::Show { name } => {
            let record = Session::open(global).await?.find("lists", &name).await?;
            screen.one(&ListView::read(&record, true)?);
            Ok(())
        }
    }
}

async fn import(global: &Global, name: String, basis: String, file: &std::path::Path) -> Outcome {
    let content =
        std::fs::read_to_string(file).map_err(|error| Trouble::file("read", file, &error))?;
    let mut hashes = Vec::new();
    for (number, line) in content.lines().enumerate() {
        let Some(word) = line
            .split_whitespace()
            .next()
            .filter(|word| !word.starts_with('#'))
        else {
            continue;
        };
        let hash: Digest = word
            .trim_start_matches('\\')
            .to_ascii_lowercase()
            .parse()
            .map_err(|error| {
                Trouble::usage(format!("{}, line {}: {error}.", file.display(), number + 1))
            })?;
        hashes.push(hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    if hashes.is_empty() {
        return Err(Trouble::usage(format!(
            "{} holds no hashes.",
            file.display()
        )));
    }
    let mut session = Session::open(global).await?;
    let count = text::count(hashes.len() as u64, "hash");
    let question = format!(
        "Keep {count} from ever being released, in list {}? Every open claim is matched anew.",
        text::plain(&name)
    );
    ask::confirm(global, &question)?;
    let mut said = Vec::new();
    for part in hashes.chunks(MOST) {
        let body = Body::ListImport(ListImport {
            list: name.clone(),
            basis: basis.clone(),
            hashes: part.to_vec(),
        });
        said.push(session.say(body, vec![]).await?);
    }
    let record = session.find("lists", &name).await?;
    Screen::new(global).changed(&ListView::read(&record, false)?, &said);
    Ok(())
}
