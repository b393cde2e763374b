//! `/etc/passwd` and `/etc/group`, read as files: no name service is asked by anything that decides.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::PathBuf;

/// The account under which the judge runs.
pub const ACCOUNT: &str = "closedpaw";

/// A user and primary group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The user id.
    pub uid: u32,
    /// The group id; also who may connect to the socket.
    pub gid: u32,
}

/// The judge's account; an error that says how to make it where there is none.
pub fn judge() -> io::Result<Account> {
    let users = fs::read_to_string("/etc/passwd")?;
    let groups = fs::read_to_string("/etc/group")?;
    let missing = || {
        io::Error::other(format!(
            "there is no user and group '{ACCOUNT}'; make them: useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {ACCOUNT}"
        ))
    };
    let uid = number(&users, ACCOUNT).ok_or_else(missing)?;
    let gid = number(&groups, ACCOUNT).ok_or_else(missing)?;
    Ok(Account { uid, gid })
}

/// Every home folder on the machine, of people and of services.
pub fn homes() -> io::Result<Vec<PathBuf>> {
    let users = fs::read_to_string("/etc/passwd")?;
    let home = |line: &str| line.split(':').nth(5).filter(|home| home.starts_with('/')).map(PathBuf::from);
    Ok(users.lines().filter_map(home).collect())
}

/// The third field of the line that starts with `name`, in either file (passwd(5), group(5)).
fn number(file: &str, name: &str) -> Option<u32> {
    let line = file.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let file = "root:x:0:0:root:/root:/bin/bash\nclosedpaw2:x:7:7::/:/x\nclosedpaw:x:990:989::/:/x\n";
        assert_eq!(number(file, "closedpaw"), Some(990));
        assert_eq!(number(file, "closed"), None);
    }
}
