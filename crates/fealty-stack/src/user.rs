//! Who the servers run as.

use std::{fs, os::unix::fs::MetadataExt as _};

/// A user and its group, by number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// The user to drop to: nobody in particular unless this process is root's.
    pub(crate) fn to_drop_to() -> Option<Self> {
        // The owner of this process's entry is its effective user.
        let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        if !is_root {
            return None;
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let named = |name: &str| {
            passwd.lines().find_map(|line| {
                let mut fields = line.split(':');
                if fields.next() != Some(name) {
                    return None;
                }
                let mut numbers = fields.skip(1).map(str::parse);
                Some(Self {
                    uid: numbers.next()?.ok()?,
                    gid: numbers.next()?.ok()?,
                })
            })
        };
        Some(
            named("postgres")
                .or_else(|| named("nobody"))
                .unwrap_or(Self {
                    uid: 65534,
                    gid: 65534,
                }),
        )
    }
}
