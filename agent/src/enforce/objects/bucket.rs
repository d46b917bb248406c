//! A bucket: whether it can hold anything, and what of a target is in it.

use std::collections::VecDeque;

use super::{
    calls::{Listed, Lock},
    client::Client,
    name::Name,
    trouble::StoreTrouble,
};

/// Whether the bucket keeps versions and knows Object Lock, as everything here needs.
pub async fn ready(client: &Client) -> Result<Lock, StoreTrouble> {
    let status = client.versioning().await?;
    if status != "Enabled" {
        return Err(StoreTrouble::NoVersioning { status });
    }
    client.object_lock().await
}

/// Which keys are being listed.
enum Part {
    Exact,
    Below,
    Done,
}

/// All versions of a target, in the order of keys and newest first, page by page.
pub struct Listing<'a> {
    client: &'a Client,
    name: &'a Name,
    part: Part,
    from: Option<(String, String)>,
    ready: VecDeque<Listed>,
    last: String,
    /// The store's clock at the first page, nanoseconds since 1970; whole seconds.
    pub time_ns: Option<i64>,
}

impl<'a> Listing<'a> {
    /// Begins; nothing is asked yet.
    pub fn new(client: &'a Client, name: &'a Name) -> Self {
        Self {
            client,
            name,
            part: match name.exact {
                Some(_) => Part::Exact,
                None => Part::Below,
            },
            from: None,
            ready: VecDeque::new(),
            last: String::new(),
            time_ns: None,
        }
    }

    /// The next version.
    pub async fn next(&mut self) -> Result<Option<Listed>, StoreTrouble> {
        while self.ready.is_empty() {
            if !self.page().await? {
                return Ok(None);
            }
        }
        Ok(self.ready.pop_front())
    }

    /// All versions of the next key; none at the end.
    pub async fn group(&mut self) -> Result<Vec<Listed>, StoreTrouble> {
        let mut group: Vec<Listed> = Vec::new();
        while let Some(listed) = self.next().await? {
            if group.first().is_some_and(|first| first.key != listed.key) {
                self.ready.push_front(listed);
                break;
            }
            group.push(listed);
        }
        Ok(group)
    }

    /// Asks for a page; whether there may be another.
    async fn page(&mut self) -> Result<bool, StoreTrouble> {
        let (prefix, exact) = match (&self.part, &self.name.exact) {
            (Part::Exact, Some(exact)) => (exact.as_str(), true),
            (Part::Exact | Part::Below, _) => (self.name.below.as_str(), false),
            (Part::Done, _) => return Ok(false),
        };
        let page = self
            .client
            .versions(prefix, self.from.as_ref(), self.client.page)
            .await?;
        self.time_ns = self.time_ns.or(page.time_ns);
        let mut past = page.next.is_none();
        for listed in page.listed {
            if exact && listed.key != prefix {
                // The shortest key comes first: the rest are namesakes.
                past = true;
                break;
            }
            if listed.key < self.last {
                return Err(StoreTrouble::Nonsense {
                    doing: "listing versions (s3:ListBucketVersions)",
                    why: "the keys are not in order",
                });
            }
            self.last.clone_from(&listed.key);
            if self.name.has(&listed.key) {
                self.ready.push_back(listed);
            }
        }
        self.from = page.next;
        if past {
            self.from = None;
            self.part = if exact { Part::Below } else { Part::Done };
        }
        Ok(true)
    }
}
