//! Users' and groups' names and numbers, each looked up once.

use crate::users;
use std::cell::RefCell;
use std::collections::HashMap;

/// By whether it is a user's, and what was looked up.
type Cache<K, V> = RefCell<HashMap<(bool, K), V>>;

/// Name and number of users (`true`) and groups.
#[derive(Default)]
pub struct Ids {
    numbers: Cache<Vec<u8>, Option<u32>>,
    names: Cache<u32, Vec<u8>>,
}

impl Ids {
    /// The number of a user or a group; `None` where this machine does not know the name.
    pub fn id_of(&self, user: bool, name: &[u8]) -> Option<u32> {
        if name.is_empty() {
            return None;
        }
        *self
            .numbers
            .borrow_mut()
            .entry((user, name.to_vec()))
            .or_insert_with(|| number(user, name))
    }

    /// The name of a number; empty where it has none.
    pub fn name(&self, user: bool, id: u32) -> Vec<u8> {
        self.names
            .borrow_mut()
            .entry((user, id))
            .or_insert_with(|| name_of(user, id))
            .clone()
    }
}

fn number(user: bool, name: &[u8]) -> Option<u32> {
    let name = str::from_utf8(name).ok()?;
    if user {
        users::user_id(name)
    } else {
        users::group_id(name)
    }
}

fn name_of(user: bool, id: u32) -> Vec<u8> {
    let name = if user {
        users::user_name(id)
    } else {
        users::group_name(id)
    };
    name.unwrap_or_default().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_everywhere() {
        let ids = Ids::default();
        assert_eq!(ids.id_of(true, b"root"), Some(0));
        assert_eq!(ids.name(true, 0), b"root");
        assert_eq!(
            ids.name(false, 0),
            if cfg!(target_os = "macos") {
                &b"wheel"[..]
            } else {
                b"root"
            }
        );
        assert_eq!(ids.id_of(true, b"nobody-has-this-name"), None);
        assert_eq!(ids.name(true, 3_999_999_999), b"");
    }
}
