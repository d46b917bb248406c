//! The names in a folder, in order, in portions: a folder may have more names than memory.

use std::{
    collections::{BinaryHeap, binary_heap::PeekMut},
    mem::MaybeUninit,
    os::fd::BorrowedFd,
};

use custody::manifest::row::Kind;
use rustix::{
    fs::{RawDir, SeekFrom, seek},
    io::Errno,
};

use super::walk::kind_of;

/// A portion of a folder's names, sorted by bytes, with what the folder says they are.
#[derive(Default)]
pub(super) struct Names {
    portion: std::vec::IntoIter<(Vec<u8>, Kind)>,
    /// The last name of the portion, where there are more behind it.
    pub(super) more_after: Option<Vec<u8>>,
}

impl Names {
    /// Lists the first `most` names behind `after`. The folder is listed whole each time, since it
    /// gives its names in no order.
    pub(super) fn list(
        folder: BorrowedFd<'_>,
        after: Option<&[u8]>,
        most: usize,
    ) -> Result<Self, Errno> {
        seek(folder, SeekFrom::Start(0))?;
        let mut names = BinaryHeap::<(Vec<u8>, Kind)>::new();
        let mut more = false;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 32 * 1024];
        let mut entries = RawDir::new(folder, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || after.is_some_and(|after| name <= after) {
                continue;
            }
            if names.len() == most {
                more = true;
                match names.peek_mut() {
                    Some(last) if last.0.as_slice() > name => _ = PeekMut::pop(last),
                    _ => continue,
                }
            }
            names.push((name.to_vec(), kind_of(entry.file_type())));
        }
        let last = names.peek().filter(|_| more);
        Ok(Self {
            more_after: last.map(|(name, _)| name.clone()),
            portion: names.into_sorted_vec().into_iter(),
        })
    }

    /// How many are left in the portion.
    pub(super) fn len(&self) -> usize {
        self.portion.len()
    }
}

impl Iterator for Names {
    type Item = (Vec<u8>, Kind);

    fn next(&mut self) -> Option<Self::Item> {
        self.portion.next()
    }
}
