//! Users and groups of this machine. The system's own functions are asked, which know those of a
//! directory service too, not only /etc/passwd.

use nix::unistd::{Gid, Group, Uid, User};
use std::path::PathBuf;

/// The name of the user with this number, if it has one.
pub fn user_name(uid: u32) -> Option<String> {
    Some(User::from_uid(Uid::from_raw(uid)).ok()??.name)
}

/// The name of the group with this number, if it has one.
pub fn group_name(gid: u32) -> Option<String> {
    Some(Group::from_gid(Gid::from_raw(gid)).ok()??.name)
}

/// The number of the user with this name, if this machine knows it.
pub fn user_id(name: &str) -> Option<u32> {
    Some(User::from_name(name).ok()??.uid.as_raw())
}

/// The number of the group with this name, if this machine knows it.
pub fn group_id(name: &str) -> Option<u32> {
    Some(Group::from_name(name).ok()??.gid.as_raw())
}

/// The name of this process's user, if it has one.
pub fn me() -> Option<String> {
    user_name(Uid::effective().as_raw())
}

/// The home directory of the user of this process, by the system's database; `None` where it has
/// none.
pub fn home() -> Option<PathBuf> {
    Some(User::from_uid(Uid::effective()).ok()??.dir)
}

/// A user's name for people, or the number where it has none.
pub fn user(uid: u32) -> String {
    user_name(uid).unwrap_or_else(|| uid.to_string())
}

/// A group's name for people, or the number where it has none.
pub fn group(gid: u32) -> String {
    group_name(gid).unwrap_or_else(|| gid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_everywhere_and_what_is_unknown_is_a_number() {
        assert_eq!(
            (user_id("root"), user(0), user_name(0).as_deref()),
            (Some(0), "root".to_owned(), Some("root"))
        );
        let zero = group(0);
        assert_eq!(
            (zero.as_str(), group_id(&zero)),
            (
                if cfg!(target_os = "macos") {
                    "wheel"
                } else {
                    "root"
                },
                Some(0)
            )
        );
        assert_eq!(
            (
                user_id("nobody-has-this-name"),
                group_id("nobody-has-this-name")
            ),
            (None, None)
        );
        let free = (3_000_000_000..)
            .find(|id| user_name(*id).is_none() && group_name(*id).is_none())
            .unwrap();
        assert_eq!(
            (user(free), group(free)),
            (free.to_string(), free.to_string())
        );
    }
}
