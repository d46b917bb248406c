//! A crowd: who holds how many places of something that there is not enough of for everyone.
//!
//! It keeps one caller from taking what all need: streams a person, connections an address.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// Places, by who holds them.
#[derive(Debug)]
pub struct Crowd<K: Eq + Hash + Clone>(Arc<Mutex<HashMap<K, usize>>>);

impl<K: Eq + Hash + Clone> Default for Crowd<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash + Clone> Crowd<K> {
    /// Takes a place for `who`; `None` when he holds `most` already.
    pub fn enter(&self, who: K, most: usize) -> Option<Place<K>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(who.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        let crowd = Arc::clone(&self.0);
        Some(Place { crowd, who })
    }
}

/// A place that is held; it is free again when this goes.
#[derive(Debug)]
pub struct Place<K: Eq + Hash> {
    crowd: Arc<Mutex<HashMap<K, usize>>>,
    who: K,
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut held = self.crowd.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nobody_takes_more_than_his_places_and_what_is_left_is_free_again() {
        let crowd = Crowd::default();
        let one = crowd.enter("a", 2).unwrap();
        let two = crowd.enter("a", 2).unwrap();
        assert!(crowd.enter("a", 2).is_none());
        assert!(crowd.enter("b", 2).is_some());
        drop(one);
        assert!(crowd.enter("a", 2).is_some());
        drop(two);
        assert!(crowd.0.lock().unwrap().is_empty(), "nothing is remembered");
    }
}
