//! Manifests from a server that lies: reading ends with an error, never with a panic, the end of
//! the process or more memory than an honest manifest takes.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::{fs, process::Command, sync::Arc};

use custody::{
    digest::Digest,
    manifest::{
        file::{self, Checked, ManifestError, Reader, Writer},
        leaf::{self, SnapshotKey},
        row::Row,
    },
};
use parquet::{
    basic::{Compression, Encoding, ZstdLevel},
    data_type::{
        ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int32Type, Int64Type,
    },
    file::{metadata::KeyValue, properties::WriterProperties, writer::SerializedFileWriter},
    schema::types::ColumnPath,
};

/// Far more than an honest manifest takes, far less than any bomb here.
const ROOM_KB: u64 = 120 << 10;

fn honest(rows: u64) -> (Vec<u8>, Digest) {
    let key = SnapshotKey::from_random([9; 32]);
    let mut writer = Writer::new(Vec::new(), &[("holdfast.snapshot", "snp-1".to_owned())]).unwrap();
    for index in 0..rows {
        let row = Row::unknown(index, format!("folder/{index}").into_bytes(), "EIO");
        let leaf = leaf::leaf_hash(&row, &key.salt_row(index));
        writer.push(row, leaf).unwrap();
    }
    let (bytes, _, root) = writer.finish().unwrap();
    (bytes, root)
}

fn read(bytes: &[u8], root: &Digest) -> Result<Checked, ManifestError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    file::check(Reader::open(file.reopen().unwrap())?, None, root)
}

/// The most memory this process ever had, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    words[1].parse().unwrap()
}

const FILE: &str = "HOLDFAST_TEST_MANIFEST";

/// The process of its own in which [`refused`] reads, so that its end and its memory show.
#[test]
fn in_a_process_of_its_own() {
    let Ok(file) = std::env::var(FILE) else {
        return;
    };
    let answer = read(&fs::read(file).unwrap(), &Digest::of(b"any"));
    println!("error {} peak {} ", answer.is_err(), peak());
}

fn refused(name: &str, bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_a_process_of_its_own", "--nocapture"])
        .env(FILE, file.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{name} ended the process: {out:?}");
    let after = |word: &str| {
        said.split(word)
            .nth(1)?
            .split(' ')
            .nth(1)
            .map(str::to_owned)
    };
    assert_eq!(after("error").as_deref(), Some("true"), "{name}: {said}");
    let peak: u64 = after("peak").unwrap().parse().unwrap();
    assert!(peak < ROOM_KB, "{name} took {peak} KiB");
}

/// A manifest of so many rows that all have this path, written as somebody else might.
fn crafted(rows: usize, path: &[u8], properties: impl FnOnce(Properties) -> Properties) -> Vec<u8> {
    let (honest, _) = honest(1);
    let reader = tempfile::NamedTempFile::new().unwrap();
    fs::write(reader.path(), &honest).unwrap();
    let schema = {
        use parquet::file::reader::FileReader as _;
        let file =
            parquet::file::reader::SerializedFileReader::new(reader.reopen().unwrap()).unwrap();
        file.metadata().file_metadata().schema().clone()
    };
    let format = KeyValue::new("holdfast.format".to_owned(), "1".to_owned());
    let properties = properties(
        WriterProperties::builder()
            .set_key_value_metadata(Some(vec![format]))
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap())),
    );
    let mut file =
        SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties.build()))
            .unwrap();
    let mut group = file.next_row_group().unwrap();
    let there = vec![1_i16; rows];
    let absent = vec![0_i16; rows];
    for at in 0..18 {
        let mut column = group.next_column().unwrap().unwrap();
        let hash = FixedLenByteArray::from(ByteArray::from(vec![7; 32]));
        let text = |value: &[u8]| vec![ByteArray::from(value.to_vec()); rows];
        match at {
            0 => {
                let places: Vec<_> = (0..rows as i64).collect();
                column
                    .typed::<Int64Type>()
                    .write_batch(&places, None, None)
                    .unwrap();
            }
            17 => {
                let hashes = vec![hash; rows];
                column
                    .typed::<FixedLenByteArrayType>()
                    .write_batch(&hashes, None, None)
                    .unwrap();
            }
            1 | 2 | 15 => {
                let value = match at {
                    1 => path,
                    2 => b"file",
                    _ => b"read",
                };
                let column = column.typed::<ByteArrayType>();
                column
                    .write_batch(&text(value), Some(&there), None)
                    .unwrap();
            }
            12 | 13 | 16 => {
                let column = column.typed::<ByteArrayType>();
                column.write_batch(&[], Some(&absent), None).unwrap();
            }
            4 => {
                let column = column.typed::<FixedLenByteArrayType>();
                column.write_batch(&[], Some(&absent), None).unwrap();
            }
            7..=9 => {
                let column = column.typed::<Int32Type>();
                column.write_batch(&[], Some(&absent), None).unwrap();
            }
            _ => {
                let column = column.typed::<Int64Type>();
                column.write_batch(&[], Some(&absent), None).unwrap();
            }
        };
        column.close().unwrap();
    }
    group.close().unwrap();
    file.into_inner().unwrap()
}

type Properties = parquet::file::properties::WriterPropertiesBuilder;

#[test]
fn every_changed_byte_and_every_cut_is_an_error_or_changes_nothing() {
    let (bytes, root) = honest(5);
    assert_eq!(read(&bytes, &root).unwrap().rows, 5);
    std::panic::set_hook(Box::new(|_| {}));
    for at in 0..bytes.len() {
        for value in [bytes[at] ^ 1, bytes[at] ^ 0x80] {
            let mut changed = bytes.clone();
            changed[at] = value;
            let _ = read(&changed, &root);
        }
        if at % 5 == 0 {
            assert!(read(&bytes[..at], &root).is_err(), "cut at {at}");
        }
    }
    let _ = std::panic::take_hook();
}

#[test]
fn what_others_write_in_their_own_way_is_read() {
    let plain = crafted(100, b"folder", |p| p);
    let found = read(&plain, &Digest::of(b"any")).unwrap_err();
    assert!(
        matches!(found, ManifestError::Root { rows: 100, .. }),
        "{found}"
    );
}

#[test]
fn a_page_that_unfolds_to_more_than_fits_is_refused_before_it_is_unfolded() {
    let path = vec![0; 128 << 20];
    let bomb = crafted(1, &path, |p| p.set_dictionary_enabled(false));
    assert!(bomb.len() < 100_000);
    drop(path);
    refused("one long name", &bomb);
}

#[test]
fn one_long_name_that_every_row_repeats_is_refused_before_it_is_copied() {
    let path = vec![0; 1 << 20];
    let bomb = crafted(500, &path, |p| {
        p.set_dictionary_enabled(true)
            .set_dictionary_page_size_limit(8 << 20)
    });
    assert!(bomb.len() < 1 << 20);
    refused("a dictionary", &bomb);
    let bomb = crafted(500, &path, |p| {
        p.set_dictionary_enabled(false)
            .set_column_encoding(ColumnPath::from("path"), Encoding::DELTA_BYTE_ARRAY)
    });
    assert!(bomb.len() < 4 << 20);
    refused("names by difference", &bomb);
}

fn footer(thrift: &[u8]) -> Vec<u8> {
    let mut bytes = b"PAR1".to_vec();
    bytes.extend_from_slice(thrift);
    bytes.extend_from_slice(&u32::try_from(thrift.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(b"PAR1");
    bytes
}

fn varint(mut value: u32) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A footer whose schema has so many nodes, each with so many below it.
fn schema(nodes: u32, below: u32) -> Vec<u8> {
    // version = 1; schema = a list of structures.
    let mut thrift = vec![0x15, 0x02, 0x19, 0xfc];
    thrift.extend(varint(nodes));
    for _ in 0..nodes {
        // repetition = required, name = "a", so many children.
        thrift.extend_from_slice(&[0x35, 0x00, 0x18, 0x01, b'a', 0x15]);
        thrift.extend(varint(below << 1));
        thrift.push(0);
    }
    thrift.push(0);
    footer(&thrift)
}

#[test]
fn a_schema_that_nests_without_end_or_promises_too_much_does_not_end_the_process() {
    refused("nested", &schema(300_000, 1));
    refused("wide", &schema(19, (1 << 31) - 1));
    // A list of row groups that claims to be as long as the footer.
    let mut thrift = vec![0x15, 0x02, 0x39, 0xfc];
    thrift.extend(varint(15 << 20));
    thrift.resize(15 << 20, 0);
    refused("row groups", &footer(&thrift));
    refused("a footer without end", &{
        let mut bytes = vec![0; 20 << 20];
        bytes.extend_from_slice(&(20_u32 << 20).to_le_bytes());
        bytes.extend_from_slice(b"PAR1");
        bytes
    });
}
