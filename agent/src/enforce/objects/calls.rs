//! Calls: what is asked of a store, one function a request.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hyper::{HeaderMap, Method, Response, body::Incoming};
use md5::{Digest as _, Md5};
use percent_encoding::percent_decode_str;

use super::{
    client::{Ask, Client},
    trouble::StoreTrouble,
    xml::{self, Element},
};

/// A version of an object, or a delete marker, as a listing gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// The version's id; `null` for one from before versioning.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// The store's mark of its content.
    pub etag: String,
    /// When it was written, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Storage class.
    pub class: String,
    /// Whether it is a delete marker, which has no content and can carry no hold.
    pub marker: bool,
    /// Whether it is the newest of its key now.
    pub latest: bool,
}

/// A page of a listing.
#[derive(Debug, Default)]
pub struct Page {
    /// Sorted by key, newest first.
    pub listed: Vec<Listed>,
    /// The store's clock when it answered, nanoseconds since 1970; whole seconds.
    pub time_ns: Option<i64>,
    /// Where the next page begins, if there is one.
    pub next: Option<(String, String)>,
}

/// A legal hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// On.
    On,
    /// Off.
    Off,
}

/// What a bucket does with versions that nobody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Whether new versions get a retention of their own.
    pub default_retention: bool,
}

fn document(doing: &'static str, body: &[u8]) -> Result<Element, StoreTrouble> {
    let why = "it is not XML";
    xml::parse(body).ok_or(StoreTrouble::Nonsense { doing, why })
}

/// What stores ask for beside a body.
fn md5(body: &[u8]) -> (&'static str, String) {
    ("content-md5", STANDARD.encode(Md5::digest(body)))
}

fn time_of(headers: &HeaderMap) -> Option<i64> {
    let date = headers.get("date")?.to_str().ok()?;
    let zoned = jiff::fmt::rfc2822::parse(date).ok()?;
    i64::try_from(zoned.timestamp().as_nanosecond()).ok()
}

impl Client {
    /// Whether the bucket keeps versions, in the store's word.
    pub async fn versioning(&self) -> Result<String, StoreTrouble> {
        let doing = "reading the bucket's versioning (s3:GetBucketVersioning)";
        let query = [("versioning", "")];
        let (_, body) = self
            .ask(&Ask::new(doing, Method::GET, None, &query))
            .await?;
        let status = document(doing, &body)?.text_of("Status").to_owned();
        Ok(if status.is_empty() {
            "never enabled".to_owned()
        } else {
            status
        })
    }

    /// Whether the bucket has Object Lock, and what it does by default.
    pub async fn object_lock(&self) -> Result<Lock, StoreTrouble> {
        let doing = "reading the bucket's Object Lock (s3:GetBucketObjectLockConfiguration)";
        let query = [("object-lock", "")];
        let answer = self.ask(&Ask::new(doing, Method::GET, None, &query)).await;
        let body = match answer {
            Ok((_, body)) => body,
            Err(StoreTrouble::Answer { status: 404, .. }) => {
                return Err(StoreTrouble::NoObjectLock);
            }
            Err(trouble) => return Err(trouble),
        };
        let lock = document(doing, &body)?;
        if lock.text_of("ObjectLockEnabled") != "Enabled" {
            return Err(StoreTrouble::NoObjectLock);
        }
        let default = lock
            .child("Rule")
            .and_then(|rule| rule.child("DefaultRetention"));
        Ok(Lock {
            default_retention: default.is_some_and(|kept| !kept.text_of("Mode").is_empty()),
        })
    }

    /// One page of all versions whose keys begin so.
    pub async fn versions(
        &self,
        prefix: &str,
        from: Option<&(String, String)>,
        most: u16,
    ) -> Result<Page, StoreTrouble> {
        let doing = "listing versions (s3:ListBucketVersions)";
        let most = most.to_string();
        let mut query = vec![
            ("versions", ""),
            ("prefix", prefix),
            ("max-keys", &most),
            // Keys may have characters that XML cannot say.
            ("encoding-type", "url"),
        ];
        if let Some((key, id)) = from {
            query.push(("key-marker", key));
            if !id.is_empty() {
                query.push(("version-id-marker", id));
            }
        }
        let (headers, body) = self
            .ask(&Ask::new(doing, Method::GET, None, &query))
            .await?;
        let list = document(doing, &body)?;
        let mut page = page(doing, &list)?;
        page.time_ns = time_of(&headers);
        if page.listed.iter().any(|one| !one.key.starts_with(prefix)) {
            let why = "a key is of another place than was asked for";
            return Err(StoreTrouble::Nonsense { doing, why });
        }
        if page.next.is_some() && page.next.as_ref() == from {
            let why = "the listing does not go on";
            return Err(StoreTrouble::Nonsense { doing, why });
        }
        Ok(page)
    }

    /// Whether a version is under legal hold.
    pub async fn legal_hold(&self, key: &str, id: &str) -> Result<Hold, StoreTrouble> {
        let doing = "reading a legal hold (s3:GetObjectLegalHold)";
        let query = [("legal-hold", ""), ("versionId", id)];
        let answer = self
            .ask(&Ask::new(doing, Method::GET, Some(key), &query))
            .await;
        let body = match answer {
            Ok((_, body)) => body,
            // There was never one on it.
            Err(StoreTrouble::Answer {
                status: 404, code, ..
            }) if code == "NoSuchObjectLockConfiguration" => {
                return Ok(Hold::Off);
            }
            Err(trouble) => return Err(trouble),
        };
        Ok(match document(doing, &body)?.text_of("Status") {
            "ON" => Hold::On,
            _ => Hold::Off,
        })
    }

    /// Puts a legal hold on a version, or takes it off.
    pub async fn set_legal_hold(
        &self,
        key: &str,
        id: &str,
        hold: Hold,
    ) -> Result<(), StoreTrouble> {
        let doing = "setting a legal hold (s3:PutObjectLegalHold)";
        let status = match hold {
            Hold::On => "ON",
            Hold::Off => "OFF",
        };
        let body = format!(
            "<LegalHold xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>{status}\
             </Status></LegalHold>"
        );
        let query = [("legal-hold", ""), ("versionId", id)];
        let mut ask = Ask::new(doing, Method::PUT, Some(key), &query);
        ask.headers = vec![md5(body.as_bytes())];
        ask.body = body.into();
        self.ask(&ask).await.map(|_| ())
    }

    /// Begins to read a version's content, from a byte on.
    pub async fn content(
        &self,
        key: &str,
        id: &str,
        from: u64,
    ) -> Result<Response<Incoming>, StoreTrouble> {
        let doing = "reading a version (s3:GetObjectVersion)";
        let query = [("versionId", id)];
        let mut ask = Ask::new(doing, Method::GET, Some(key), &query);
        if from > 0 {
            ask.headers = vec![("range", format!("bytes={from}-"))];
        }
        let answer = self.send(&ask).await?;
        if from > 0 && answer.status().as_u16() != 206 {
            let why = "it gives the whole where a part was asked for";
            return Err(StoreTrouble::Nonsense { doing, why });
        }
        Ok(answer)
    }

    /// Writes an object of our own, kept for so long whatever the bucket would do; gives its
    /// version.
    pub async fn put(
        &self,
        key: &str,
        body: Bytes,
        retention: Option<Duration>,
    ) -> Result<String, StoreTrouble> {
        let doing = "writing the object on which enforcement is proved (s3:PutObject)";
        let mut ask = Ask::new(doing, Method::PUT, Some(key), &[]);
        ask.headers = vec![md5(&body), ("content-type", "text/plain".to_owned())];
        if let Some(retention) = retention {
            let until = jiff::Timestamp::now() + retention;
            let until = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let mode = ("x-amz-object-lock-mode", "GOVERNANCE".to_owned());
            ask.headers.push(mode);
            ask.headers
                .push(("x-amz-object-lock-retain-until-date", until));
        }
        ask.body = body;
        let (headers, _) = self.ask(&ask).await?;
        let id = headers
            .get("x-amz-version-id")
            .and_then(|id| id.to_str().ok());
        let why = "it gives no version";
        id.map(str::to_owned)
            .ok_or(StoreTrouble::Nonsense { doing, why })
    }

    /// Deletes a version, or, without one, puts a delete marker.
    pub async fn delete(
        &self,
        key: &str,
        id: Option<&str>,
        bypass_governance: bool,
    ) -> Result<(), StoreTrouble> {
        let doing = "deleting a version (s3:DeleteObjectVersion)";
        let query: Vec<_> = id.iter().map(|id| ("versionId", *id)).collect();
        let mut ask = Ask::new(doing, Method::DELETE, Some(key), &query);
        if bypass_governance {
            let bypass = ("x-amz-bypass-governance-retention", "true".to_owned());
            ask.headers = vec![bypass];
        }
        self.ask(&ask).await.map(|_| ())
    }

    /// Deletes a version by the call for many; says whether the store says that it did.
    pub async fn delete_by_list(&self, key: &str, id: &str) -> Result<bool, StoreTrouble> {
        let doing = "deleting versions by a list (s3:DeleteObjectVersion)";
        let key = key
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        let body = format!(
            "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Object><Key>{key}</Key>\
             <VersionId>{id}</VersionId></Object></Delete>"
        );
        let query = [("delete", "")];
        let mut ask = Ask::new(doing, Method::POST, None, &query);
        ask.headers = vec![md5(body.as_bytes())];
        ask.body = body.into();
        let (_, body) = self.ask(&ask).await?;
        let result = document(doing, &body)?;
        Ok(result.child("Error").is_none())
    }
}

fn page(doing: &'static str, list: &Element) -> Result<Page, StoreTrouble> {
    let encoded = list.text_of("EncodingType") == "url";
    let nonsense = |why| StoreTrouble::Nonsense { doing, why };
    let decode = |text: &str| {
        if !encoded {
            return Ok(text.to_owned());
        }
        // As in forms: a plus sign is a space, its own code a plus sign.
        let spaced = text.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8();
        decoded
            .map(|key| key.into_owned())
            .map_err(|_| nonsense("a key is not UTF-8"))
    };
    let mut listed = Vec::new();
    for element in &list.inside {
        let marker = match element.name.as_str() {
            "Version" => false,
            "DeleteMarker" => true,
            _ => continue,
        };
        let modified: jiff::Timestamp = element
            .text_of("LastModified")
            .parse()
            .map_err(|_| nonsense("a version has no time"))?;
        let size = element.text_of("Size").parse();
        let one = Listed {
            key: decode(element.text_of("Key"))?,
            id: element.text_of("VersionId").to_owned(),
            size: if marker {
                0
            } else {
                size.map_err(|_| nonsense("a version has no size"))?
            },
            etag: element.text_of("ETag").to_owned(),
            modified_ns: i64::try_from(modified.as_nanosecond()).unwrap_or(i64::MAX),
            class: element.text_of("StorageClass").to_owned(),
            marker,
            latest: element.text_of("IsLatest") == "true",
        };
        if one.key.is_empty() || one.id.is_empty() {
            return Err(nonsense("a version has no key or no id"));
        }
        listed.push(one);
    }
    // Some stores give markers behind all versions of a page. Equals stay as they came.
    listed.sort_by(|a, b| {
        let newest = |one: &Listed| (!one.latest, std::cmp::Reverse(one.modified_ns));
        a.key.cmp(&b.key).then_with(|| newest(a).cmp(&newest(b)))
    });
    let next = match list.text_of("IsTruncated") {
        "true" => {
            let key = decode(list.text_of("NextKeyMarker"))?;
            Some((key, list.text_of("NextVersionIdMarker").to_owned()))
        }
        _ => None,
    };
    Ok(Page {
        listed,
        time_ns: None,
        next,
    })
}
