//! Makes the vectors: one whole case, and the manifest it speaks of, from fixed keys.
#![allow(unreachable_pub)]

use std::{collections::BTreeMap, fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use custody::{
    commit::Opening,
    digest::Digest,
    house::{
        act::{Act, Rows},
        order::Copies,
        ranges::Ranges,
    },
    id::{ReleaseId, SnapshotId},
    ledger::{
        checkpoint::Checkpoint,
        note::{self, NoteKey},
        policy::Policy,
        proof::LogProof,
        tile,
        tree::{self, MemoryTree},
    },
    manifest::{
        disclosure::{ShownField, ShownRow},
        file::Writer,
        leaf::{self, Field, SnapshotKey},
        row::{Kind, Row, Status},
    },
    statement::{Body, SnapshotReceived, SnapshotSealed, SnapshotTake, SnapshotWish},
};
use serde_json::json;

use super::house::{
    Desk, ORIGIN, bytes16, seed,
    world::{self, ANNA, BEN, CLAIMS, CUSTODIAN, ONE},
};

pub type Files = BTreeMap<String, Vec<u8>>;

pub fn writing() -> bool {
    std::env::var_os("HOLDFAST_WRITE_VECTORS").is_some()
}

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

pub fn rows() -> Vec<Row> {
    let folder = Row {
        kind: Kind::Folder,
        mode: 0o755,
        nlink: 2,
        inode: 11,
        status: Status::Read,
        reason: None,
        mtime_ns: 1_700_000_000_000_000_001,
        ctime_ns: 1_700_000_000_000_000_002,
        ..Row::unknown(0, b".".to_vec(), "")
    };
    let file = Row {
        kind: Kind::File,
        size: 5,
        sha256: Some(Digest::of(b"hello")),
        uid: 1000,
        gid: 1000,
        mode: 0o644,
        nlink: 1,
        inode: 12,
        xattrs: Some(b"\0\0\0\x06user.k\0\0\0\x01v".to_vec()),
        ..folder.clone()
    };
    let file = Row {
        index: 1,
        path: b"alice/caf\xe9".to_vec(),
        ..file
    };
    let link = Row {
        index: 2,
        path: b"alice/link".to_vec(),
        kind: Kind::Symlink,
        sha256: None,
        size: 5,
        xattrs: None,
        target: Some(b"caf\xe9".to_vec()),
        mtime_ns: -1,
        ..file.clone()
    };
    let lost = Row::unknown(3, b"bob/secret".to_vec(), "EACCES");
    vec![folder, file, link, lost]
}

pub fn json(value: &impl serde::Serialize) -> Vec<u8> {
    let mut text = serde_json::to_string_pretty(value).unwrap();
    text.push('\n');
    text.into_bytes()
}

/// The manifest's own vectors: key, rows, leaves, root, one row and one field shown.
pub fn manifest(files: &mut Files) -> (SnapshotKey, Digest) {
    let key = SnapshotKey::from_random(*b"snapshot key of 32 bytes, public");
    let (mut tree, mut leaves) = (MemoryTree::default(), Vec::new());
    let mut writer = Writer::new(Vec::new(), &[]).unwrap();
    for row in rows() {
        let salt = key.salt_row(row.index);
        let hash = leaf::leaf_hash(&row, &salt);
        let field = |f| {
            let value = leaf::value(f, &row);
            json!({
                "salt": hex::encode(salt.field(f).0),
                "value": hex::encode(&value),
                "commitment": leaf::commit(f, &salt.field(f), &value),
            })
        };
        leaves.push(json!({
            "row": row,
            "salt_row": hex::encode(salt.0),
            "path": field(Field::Path),
            "content": field(Field::Content),
            "metadata": field(Field::Metadata),
            "leaf_hash": hash,
        }));
        tree.push(hash);
        writer.push(row, hash).unwrap();
    }
    let (parquet, count, root) = writer.finish().unwrap();
    assert_eq!(tree.root(count).unwrap(), root);
    // How columns are compressed may change with the library; what they say may not. So the
    // case speaks of the file that is stored, which the next test reads.
    let stored = fs::read(folder().join("snapshot/manifest.parquet")).ok();
    let parquet = stored.filter(|_| !writing()).unwrap_or(parquet);
    files.insert("snapshot/manifest.parquet".into(), parquet);
    let all = json!({"key": hex::encode(key.secret_bytes()), "rows": leaves, "root": root});
    files.insert("manifest.json".into(), json(&all));
    let shown = ShownRow {
        row: rows()[1].clone(),
        salt_row: Digest::from_bytes(key.salt_row(1).0),
        proof: tree::inclusion_proof(&tree, 1, count).unwrap(),
    };
    assert_eq!(shown.verify(count, &root), Ok(()));
    let field = ShownField::of(&rows()[1], &key, Field::Content);
    files.insert(
        "shown-field.json".into(),
        json(&json!({
            "field": 2,
            "salt": hex::encode(field.salt.0),
            "value": hex::encode(&field.value),
            "others": field.others,
            "leaf_hash": field.leaf(),
        })),
    );
    let line = json!({
        "snapshot": SnapshotId::from_random(bytes16(7)),
        "root": root,
        "rows": count,
        "member": "files/0/alice/caf\u{fffd}",
        "shown": shown,
    });
    let mut line = serde_json::to_vec(&line).unwrap();
    line.push(b'\n');
    files.insert("parcel/rows.jsonl".into(), line);
    let head = json!({
        "format": "holdfast-parcel/1",
        "release": ReleaseId::from_random(bytes16(8)),
        "rows": 1,
    });
    files.insert(
        "parcel/parcel.json".into(),
        serde_json::to_vec(&head).unwrap(),
    );
    (key, root)
}

/// A whole case: held, captured, claimed, approved by two, packed, delivered.
pub fn case(root: Digest, files: &mut Files) -> Desk {
    let mut desk = world::open();
    let (_, _, targets) = world::held(
        &mut desk,
        "us-2703f",
        Copies::Permitted,
        ONE,
        &["/srv/data"],
    );
    world::prove(&mut desk, ONE, targets[0]);
    let snapshot = SnapshotId::from_random(bytes16(7));
    let target = targets[0];
    let snapshots = vec![SnapshotWish { snapshot, target }];
    desk.person(CUSTODIAN, Body::SnapshotTake(SnapshotTake { snapshots }))
        .unwrap();
    let parquet = &files["snapshot/manifest.parquet"];
    let sealed = SnapshotSealed {
        snapshot,
        root,
        rows: 4,
        bytes: 5,
        unreadable: 1,
        manifest: Digest::of(parquet),
        manifest_bytes: parquet.len() as u64,
        key: desk.commit("salt-key", b"snapshot key of 32 bytes, public"),
        mechanism: custody::house::mechanism::Mechanism::ImmutableFlag,
        tool: "holdfast-agent".to_owned(),
        began: desk.now,
        ended: desk.now,
    };
    let card = json!({
        "format": "holdfast-snapshot/1",
        "snapshot": snapshot,
        "agent": ONE,
        "target": target,
        "root": root,
        "rows": 4,
        "bytes": 5,
        "unreadable": 1,
        "manifest": sealed.manifest,
    });
    files.insert("snapshot/snapshot.json".into(), json(&card));
    desk.agent(ONE, Body::SnapshotSealed(sealed)).unwrap();
    desk.coordinator(Body::SnapshotReceived(SnapshotReceived { snapshot, root }))
        .unwrap();
    let claim = world::claim(&mut desk);
    world::matched(&mut desk, claim, snapshot, &[(1, 2)]).unwrap();
    let release = ReleaseId::from_random(bytes16(8));
    let rows = Ranges::from_unsorted(vec![(1, 2)]);
    let act = Act::Release {
        release,
        claim,
        files: vec![Rows { snapshot, rows }],
    };
    let request = world::request(&mut desk, CLAIMS, act).unwrap();
    world::vote(&mut desk, ANNA, request).unwrap();
    world::vote(&mut desk, BEN, request).unwrap();
    world::execute(&mut desk, request).unwrap();
    world::spool(&mut desk, ONE, release);
    world::deliver(&mut desk, release).unwrap();
    desk
}

pub fn make() -> Files {
    let mut files = Files::new();
    let opening = Opening::new("path", "/srv/data/alice", [7; 32]);
    let openings: Vec<_> = [opening, Opening::new("account", "z\u{fc}rich", seed(4))]
        .iter()
        .map(|o| {
            json!({
                "field": o.field,
                "r": hex::encode(o.r),
                "value": STANDARD.encode(&o.value),
                "commitment": o.commitment(),
            })
        })
        .collect();
    files.insert("commitments.json".into(), json(&openings));
    let (key, root) = manifest(&mut files);
    let desk = case(root, &mut files);

    let log = NoteKey::from_seed(ORIGIN, note::ED25519, &seed(3)).unwrap();
    let witness = NoteKey::from_seed("court.example", note::COSIGNATURE, &seed(5)).unwrap();
    let (mut tree, mut hashes, mut bundle) = (MemoryTree::default(), Vec::new(), Vec::new());
    for recorded in &desk.log {
        let leaf = recorded.entry.leaf_hash();
        tree.push(leaf);
        hashes.extend_from_slice(leaf.as_bytes());
        tile::put_entry(&mut bundle, recorded.entry.bytes()).unwrap();
    }
    let size = tree.size();
    let [place] = tile::all(size)[..] else {
        panic!("the case fits one tile")
    };
    files.insert(format!("log/{}", place.path()), hashes);
    files.insert(format!("log/{}", place.bundle_path()), bundle);
    let origin = ORIGIN.to_owned();
    let checkpoint = Checkpoint {
        origin,
        size,
        root: tree.root(size).unwrap(),
    };
    let mut signed = checkpoint.sign(&log);
    signed.add(witness.cosign(signed.text(), 1_772_500_000));
    let signed_text = signed.to_string();
    files.insert("log/checkpoint".into(), signed_text.clone().into_bytes());
    let vkey = log.verifier().to_string();
    let policy = format!(
        "log {vkey}\nwitness court {}\nquorum court\n",
        witness.verifier()
    );
    assert_eq!(Policy::parse(&policy).unwrap().check(&signed), Ok(()));
    files.insert("policy".into(), policy.into_bytes());
    for path in ["log.vkey", "snapshot/log.vkey"] {
        files.insert(path.into(), format!("{vkey}\n").into_bytes());
    }
    let old = size / 2;
    let consistency = json!({
        "old": old,
        "old_root": tree.root(old).unwrap(),
        "new": size,
        "new_root": checkpoint.root,
        "proof": tree::consistency_proof(&tree, old, size).unwrap(),
    });
    files.insert("consistency.json".into(), json(&consistency));

    let proof = |index: usize| LogProof {
        index: index as u64,
        hashes: tree::inclusion_proof(&tree, index as u64, size).unwrap(),
        checkpoint: signed_text.clone(),
    };
    let mut entries = Vec::new();
    for (index, recorded) in desk.log.iter().enumerate() {
        let statement = recorded.entry.statement().unwrap();
        let text = String::from_utf8(recorded.entry.bytes().to_vec()).unwrap();
        let proof = proof(index);
        assert!(proof.verify(text.as_bytes(), log.verifier()).is_ok());
        let shown = match &statement.body {
            Body::SnapshotSealed(_) => {
                files.insert("snapshot/sealed.entry".into(), text.clone().into_bytes());
                let proof = proof.to_string().into_bytes();
                files.insert("snapshot/sealed.tlog-proof".into(), proof);
                true
            }
            Body::PersonAdd(b) => [CLAIMS, ANNA, BEN].contains(&b.person),
            Body::AgentEnrolled(b) => b.agent == ONE,
            body => {
                let kind = body.kind();
                kind.starts_with("request.")
                    || kind.starts_with("release.")
                    || kind.starts_with("claim.")
                    || matches!(kind, "log.opened" | "snapshot.received")
            }
        };
        if shown {
            let proof = proof.to_string();
            entries.push(json!({"index": index, "entry": text, "proof": proof}));
        }
    }
    files.insert(
        "snapshot/salt-key".into(),
        format!("{}\n", hex::encode(key.secret_bytes())).into_bytes(),
    );
    let claim = desk.house.claims.values().next().unwrap();
    let opening = desk.opening(&claim.filed.recipient);
    let receipt = json!({
        "format": "holdfast-receipt/1",
        "release": ReleaseId::from_random(bytes16(8)),
        "origin": ORIGIN,
        "vkey": vkey,
        "checkpoint": signed_text,
        "entries": entries,
        "openings": [{
            "commitment": opening.commitment(),
            "field": opening.field,
            "r": hex::encode(opening.r),
            "value": STANDARD.encode(&opening.value),
        }],
    });
    files.insert("receipt.json".into(), json(&receipt));
    files
}
