//! Parcels as an agent packs them, and as an enemy would.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::io::Write as _;

use age::secrecy::ExposeSecret as _;
use custody::{
    ledger::tree::{self, MemoryTree},
    manifest::{
        disclosure::ShownRow,
        leaf,
        row::{Kind, Row},
    },
};
use serde_json::json;

use crate::support::{Manifest, release, snapshot};

pub struct Owner {
    pub secret: String,
    pub public: String,
    key: age::x25519::Recipient,
}

impl Owner {
    pub fn new() -> Self {
        let identity = age::x25519::Identity::generate();
        let key = identity.to_public();
        Self {
            secret: format!("# created: now\n{}\n", identity.to_string().expose_secret()),
            public: key.to_string(),
            key,
        }
    }

    pub fn encrypt(&self, bytes: &[u8]) -> Vec<u8> {
        let recipients = std::iter::once(&self.key as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).unwrap();
        let mut out = Vec::new();
        let mut writer = encryptor.wrap_output(&mut out).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap();
        out
    }
}

/// One line of rows.jsonl for a row of a manifest.
pub fn line(manifest: &Manifest, index: u64) -> String {
    let mut tree = MemoryTree::default();
    for row in &manifest.rows {
        tree.push(leaf::leaf_hash(row, &manifest.key.salt_row(row.index)));
    }
    let row = manifest.rows[index as usize].clone();
    let rows = manifest.rows.len() as u64;
    let member = format!("files/0/{}", String::from_utf8_lossy(&row.path));
    let shown = ShownRow {
        salt_row: custody::digest::Digest::from_bytes(manifest.key.salt_row(index).0),
        proof: tree::inclusion_proof(&tree, index, rows).unwrap(),
        row,
    };
    json!({"snapshot": snapshot(), "root": manifest.root, "rows": rows, "member": member, "shown": shown})
        .to_string()
}

pub struct Tar(pub tar::Builder<Vec<u8>>);

impl Tar {
    /// Begins with what says what the parcel is and its rows.
    pub fn new(manifest: &Manifest, rows: &[u64]) -> Self {
        let mut tar = Self(tar::Builder::new(Vec::new()));
        let about =
            json!({"format": "holdfast-parcel/1", "release": release(), "rows": rows.len()});
        tar.raw(
            b"holdfast/parcel.json",
            tar::EntryType::Regular,
            about.to_string().as_bytes(),
            b"",
        );
        let lines: String = rows.iter().map(|row| line(manifest, *row) + "\n").collect();
        tar.raw(
            b"holdfast/rows.jsonl",
            tar::EntryType::Regular,
            lines.as_bytes(),
            b"",
        );
        tar
    }

    /// Adds a member with any name at all.
    pub fn raw(&mut self, name: &[u8], kind: tar::EntryType, bytes: &[u8], link: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o7777);
        header.set_size(bytes.len() as u64);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link);
        header.set_cksum();
        self.0.append(&header, bytes).unwrap();
    }

    /// Adds the member of a row as it should be.
    pub fn row(&mut self, row: &Row, content: &[u8]) {
        let name = [b"files/0/", row.path.as_slice()].concat();
        match row.kind {
            Kind::Folder => self.raw(&name, tar::EntryType::Directory, b"", b""),
            Kind::Symlink => {
                let target = row.target.clone().unwrap();
                self.raw(&name, tar::EntryType::Symlink, b"", &target);
            }
            _ => self.raw(&name, tar::EntryType::Regular, content, b""),
        }
    }

    pub fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// Packs every row but the folder itself, as it should be.
pub fn pack(manifest: &Manifest, owner: &Owner) -> Vec<u8> {
    let rows: Vec<u64> = (1..manifest.rows.len() as u64).collect();
    let mut tar = Tar::new(manifest, &rows);
    for row in &manifest.rows[1..] {
        tar.row(row, &manifest.contents[row.index as usize]);
    }
    owner.encrypt(&tar.finish())
}
