//! `ssh-keygen -Y verify`, a tool that we did not write, verifies statements out of a log.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use custody::ledger::entry::Entry;
use support::{Log, Manifest};

fn verifies(folder: &Path, who: &str, namespace: &str, text: &str, signature: &str) -> bool {
    let (statement, armor) = (folder.join("statement"), folder.join("statement.sig"));
    fs::write(&statement, text).unwrap();
    fs::write(&armor, signature).unwrap();
    let status = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-I", who, "-n", namespace, "-f"])
        .arg(folder.join("allowed_signers"))
        .arg("-s")
        .arg(&armor)
        .stdin(File::open(&statement).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.unwrap().success()
}

#[test]
fn ssh_keygen_accepts_every_statement_of_a_log_and_no_changed_one() {
    let manifest = Manifest::of(&[("a.txt", b"hello")]);
    let log = Log::story(&manifest, "age1owner", b"parcel");
    let folder = tempfile::tempdir().unwrap();
    let keys: Vec<_> = (1..=8)
        .chain([support::COORDINATOR, support::AGENT])
        .collect();
    let allowed: String = keys
        .iter()
        .map(|n| {
            let key = custody::sign::Signer::public_key(&support::secret(*n));
            format!("key-{n} namespaces=\"*@holdfast\" {key}\n")
        })
        .collect();
    fs::write(folder.path().join("allowed_signers"), allowed).unwrap();
    let mut namespaces = std::collections::BTreeSet::new();
    for bytes in &log.entries {
        let entry = Entry::parse(bytes).unwrap();
        let namespace = entry.statement().unwrap().namespace().as_str();
        let signer = entry.signature().public_key();
        let owner = keys
            .iter()
            .find(|n| custody::sign::Signer::public_key(&support::secret(**n)) == *signer);
        let who = format!("key-{}", owner.unwrap());
        let armor = entry.signature().armor();
        let check = |who: &str, namespace: &str, text: &str| {
            verifies(folder.path(), who, namespace, text, &armor)
        };
        assert!(check(&who, namespace, entry.text()), "{}", entry.text());
        if namespaces.insert(namespace) {
            let changed = entry.text().replacen("2026", "2027", 1);
            assert!(!check(&who, namespace, &changed));
            assert!(!check(&who, "login@holdfast", entry.text()));
            assert!(!check("key-2", namespace, entry.text()));
        }
    }
    assert_eq!(namespaces.len(), 4);
}
