//! Users' and groups' names and numbers, each looked up once.
//!
//! By the system's own functions, which know more than /etc/passwd: a directory service, for one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;

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
    pub fn of(&self, user: bool, name: &[u8]) -> Option<u32> {
        if name.is_empty() {
            return None;
        }
        *self.numbers.borrow_mut().entry((user, name.to_vec())).or_insert_with(|| number(user, name))
    }

    /// The name of a number; empty where it has none.
    pub fn name(&self, user: bool, id: u32) -> Vec<u8> {
        self.names.borrow_mut().entry((user, id)).or_insert_with(|| name_of(user, id)).clone()
    }
}

/// Room for the strings of an entry; a group's members count.
const ROOM: usize = 64 << 10;

fn number(user: bool, name: &[u8]) -> Option<u32> {
    let name = CString::new(name).ok()?;
    let mut room = vec![0; ROOM];
    // SAFETY: every pointer is to memory that outlives the call, with its length beside it; the entry is read only where one was found.
    unsafe {
        if user {
            let mut entry = std::mem::zeroed::<libc::passwd>();
            let mut found = std::ptr::null_mut();
            libc::getpwnam_r(name.as_ptr(), &raw mut entry, room.as_mut_ptr(), room.len(), &raw mut found);
            (!found.is_null()).then_some(entry.pw_uid)
        } else {
            let mut entry = std::mem::zeroed::<libc::group>();
            let mut found = std::ptr::null_mut();
            libc::getgrnam_r(name.as_ptr(), &raw mut entry, room.as_mut_ptr(), room.len(), &raw mut found);
            (!found.is_null()).then_some(entry.gr_gid)
        }
    }
}

fn name_of(user: bool, id: u32) -> Vec<u8> {
    let mut room = vec![0; ROOM];
    // SAFETY: as above; a found entry's name points into `room` and ends with a NUL.
    unsafe {
        let name = if user {
            let mut entry = std::mem::zeroed::<libc::passwd>();
            let mut found = std::ptr::null_mut();
            libc::getpwuid_r(id, &raw mut entry, room.as_mut_ptr(), room.len(), &raw mut found);
            if found.is_null() { std::ptr::null_mut() } else { entry.pw_name }
        } else {
            let mut entry = std::mem::zeroed::<libc::group>();
            let mut found = std::ptr::null_mut();
            libc::getgrgid_r(id, &raw mut entry, room.as_mut_ptr(), room.len(), &raw mut found);
            if found.is_null() { std::ptr::null_mut() } else { entry.gr_name }
        };
        if name.is_null() { Vec::new() } else { std::ffi::CStr::from_ptr(name).to_bytes().to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_everywhere() {
        let ids = Ids::default();
        assert_eq!(ids.of(true, b"root"), Some(0));
        assert_eq!(ids.name(true, 0), b"root");
        assert_eq!(ids.name(false, 0), if cfg!(target_os = "macos") { &b"wheel"[..] } else { b"root" });
        assert_eq!(ids.of(true, b"nobody-has-this-name"), None);
        assert_eq!(ids.name(true, 3_999_999_999), b"");
    }
}
