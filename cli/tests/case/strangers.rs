//! Tools that are not ours: `ssh-keygen`, `age`, `tar`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Command, Stdio},
};

use custody::{
    ledger::{entry::Entry, tile},
    sign::{Namespace, PublicKey, SshSig},
    statement::{Author, Body},
};
use serde_json::Value;

use crate::{common::done, played::Played};

/// Every entry of the published log, off its files.
fn entries(log: &Path) -> Vec<Entry> {
    let folder = log.join("tile/entries/000.p");
    let bundles = fs::read_dir(folder).unwrap();
    let widest = bundles
        .map(|file| file.unwrap().path())
        .max_by_key(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.parse::<u64>().unwrap()
        })
        .unwrap();
    let bytes = fs::read(widest).unwrap();
    let all = tile::entries(&bytes).unwrap();
    all.into_iter()
        .map(|entry| Entry::parse(entry).unwrap())
        .collect()
}

/// `ssh-keygen -Y verify` accepts what people, agents and the coordinator said, each under the
/// key that the log itself gives to its author, and nothing that was changed.
pub fn ssh_keygen_accepts_every_author(played: &Played) {
    let folder = tempfile::tempdir().unwrap();
    let mut keys: BTreeMap<Author, PublicKey> = BTreeMap::new();
    let mut namespaces = BTreeSet::new();
    for entry in entries(&played.named("/log")) {
        let statement = entry.statement().unwrap();
        match &statement.body {
            Body::LogOpened(b) => {
                keys.insert(Author::Coordinator, b.coordinator.clone());
                keys.insert(Author::Person(b.person), b.key.clone());
            }
            Body::PersonAdd(b) => drop(keys.insert(Author::Person(b.person), b.key.clone())),
            Body::AgentEnrolled(b) => drop(keys.insert(Author::Agent(b.agent), b.key.clone())),
            _ => {}
        }
        let namespace = statement.namespace();
        // One of each kind of author is enough for a program as slow to start.
        if !namespaces.insert(namespace.as_str()) {
            continue;
        }
        let key = keys[&statement.author].to_openssh();
        let line: Value = serde_json::from_slice(entry.bytes()).unwrap();
        let signature = SshSig::from_base64(line["signature"].as_str().unwrap()).unwrap();
        let text = line["statement"].as_str().unwrap();
        assert!(ssh_keygen(folder.path(), &key, namespace, &signature, text));
        let other = text.replacen(":1", ":2", 1);
        assert!(!ssh_keygen(
            folder.path(),
            &key,
            namespace,
            &signature,
            &other
        ));
    }
    assert_eq!(namespaces.len(), 4, "{namespaces:?}");
}

fn ssh_keygen(
    folder: &Path,
    key: &str,
    namespace: Namespace,
    signature: &SshSig,
    text: &str,
) -> bool {
    let write = |name: &str, content: &str| {
        let path = folder.join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let allowed = write("allowed", &format!("author {key}\n"));
    let signature = write("signature", &signature.armor());
    let message = write("message", text);
    let verify = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-I", "author", "-n", namespace.as_str()])
        .arg("-f")
        .arg(allowed)
        .arg("-s")
        .arg(signature)
        .stdin(fs::File::open(message).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    verify.unwrap().success()
}

/// `age --decrypt` and `tar` give what `holdfast release open` gave, name for name.
pub fn the_stock_tools_open_the_parcel(played: &Played) {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("parcel.tar");
    let mut age = Command::new("age");
    age.arg("--decrypt").arg("-i");
    age.arg(played.named("/releases/0/identity")).arg("-o");
    done(age.arg(&archive).arg(played.named("/releases/0/parcel")));
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(&archive).arg("-C").arg(folder.path());
    done(&mut tar);
    let opened = played.named("/releases/0/opened");
    // Contents, names, links and folders; what else differs is said by its name.
    let mut diff = Command::new("diff");
    diff.args(["-r", "--no-dereference"]);
    done(diff.arg(folder.path().join("files/0")).arg(opened));
    let about = fs::read(folder.path().join("holdfast/parcel.json")).unwrap();
    let about: Value = serde_json::from_slice(&about).unwrap();
    assert_eq!(about["format"], "holdfast-parcel/1");
    assert_eq!(about["release"], played.text("/releases/0/id"));
    let rows = fs::read_to_string(folder.path().join("holdfast/rows.jsonl")).unwrap();
    assert_eq!(rows.lines().count() as u64, about["rows"]);
}
