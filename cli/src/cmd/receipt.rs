//! `order receipt`: what goes back to who served an order. It can be checked without us.

use std::path::Path;

use custody::ledger::proof::LogProof;
use serde::Serialize;

use crate::{
    exit::{Outcome, Trouble},
    session::Session,
    show::{Screen, order::OrderView, text},
};

/// What `order receipt` answers.
#[derive(Serialize)]
struct Written {
    id: String,
    entry: u64,
    folder: String,
    files: [&'static str; 5],
}

const FILES: [&str; 5] = [
    "order.entry",
    "order.tlog-proof",
    "checkpoint",
    "log.vkey",
    "order.txt",
];

/// Writes the receipt into a folder.
pub async fn write(session: &mut Session, order: &str, out: &Path) -> Outcome {
    let record = session.find("orders", order).await?;
    let view = OrderView::read(&record)?;
    let (entry, proof) = session.proved(view.entry).await?;
    let parsed = LogProof::parse(&proof)
        .map_err(|error| Trouble::breach("entry.not-proved", error.to_string()))?;
    let vkey = format!("{}\n", session.verifier());
    let letter = letter(
        &view,
        session.verifier().name(),
        &entry.leaf_hash().to_string(),
    );
    std::fs::create_dir_all(out).map_err(|error| Trouble::file("make", out, &error))?;
    let contents: [&[u8]; 5] = [
        entry.bytes(),
        proof.as_bytes(),
        parsed.checkpoint.as_bytes(),
        vkey.as_bytes(),
        letter.as_bytes(),
    ];
    for (name, content) in FILES.iter().zip(contents) {
        crate::profile::write_private(&out.join(name), content)?;
    }
    let screen = Screen::new(&session.global);
    if screen.is_json() {
        screen.value(&Written {
            id: view.id,
            entry: view.entry,
            folder: out.display().to_string(),
            files: FILES,
        });
    } else {
        screen.raw(&letter);
        screen.note(&format!("Written to {}.", out.display()));
    }
    Ok(())
}

fn letter(order: &OrderView, origin: &str, leaf: &str) -> String {
    let shown = |value: &Option<String>| {
        value
            .as_deref()
            .map_or_else(|| "(not shown)".to_owned(), text::plain)
    };
    let ends = |ends: &Option<custody::house::clock::Ends>| match ends {
        None => "until the authority says so".to_owned(),
        Some(ends) => format!("{} at the latest", text::time(&ends.latest)),
    };
    let mut out = format!(
        "RECEIPT FOR AN ORDER\n\n\
         Authority:       {}\n\
         Your reference:  {}\n\
         Kind:            {}\n\
         Issued:          {}\n\
         Received:        {}\n\
         Status:          {}\n\
         Kept:            {}\n",
        shown(&order.authority),
        shown(&order.reference),
        order.regime,
        order.issued,
        order.received,
        order.status,
        ends(&order.keep_until),
    );
    if let Some(act) = &order.act_until {
        out.push_str(&format!("Answered by:     {}\n", text::time(&act.earliest)));
    }
    if let Some(document) = &order.document {
        out.push_str(&format!("Document SHA-256: {document}\n"));
    }
    out.push_str(&format!(
        "Our number:      {}\n\n\
         The order stands as entry {} of the log {origin}, with leaf hash\n{leaf}.\n\n\
         order.entry is that entry to the byte; it names no one: texts stand in it as commitments.\n\
         order.tlog-proof proves its place (C2SP tlog-proof), checkpoint is the signed checkpoint\n\
         that covers it, log.vkey the key it is signed with. Keep the checkpoint: with it you can\n\
         tell later whether the log was changed (`holdfast verify --checkpoint`).\n",
        order.id, order.entry,
    ));
    out
}
