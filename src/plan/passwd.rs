//! Looks up users and groups in the text of a container's passwd(5) and group(5). Pure.

use crate::model::Account;
use crate::plan::ResolvedPort;
use crate::plan::assign::WantedPort;

/// A user or group name that the container does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the container has no {kind} {name:?}")]
pub struct UnknownAccount {
    /// `user` or `group`.
    pub kind: &'static str,
    pub name: String,
}

/// Turns the names of owner and group into the container's own numbers.
///
/// # Errors
/// The container has no user or group of that name.
pub fn resolve(
    want: &WantedPort,
    passwd: &str,
    group: &str,
) -> Result<ResolvedPort, UnknownAccount> {
    Ok(ResolvedPort {
        port: want.port.clone(),
        node: want.node.clone(),
        devnum: want.devnum,
        mode: want.mode,
        uid: user(&want.owner, passwd)?,
        gid: self::group(&want.group, group)?,
        links: want.links.clone(),
    })
}

/// The number of a user.
///
/// # Errors
/// The container has no user of that name.
pub fn user(account: &Account, passwd: &str) -> Result<u32, UnknownAccount> {
    number(account, "user", passwd)
}

/// The number of a group.
///
/// # Errors
/// The container has no group of that name.
pub fn group(account: &Account, group: &str) -> Result<u32, UnknownAccount> {
    number(account, "group", group)
}

/// Both files have the name in the first field and the number in the third. chown(2) would take
/// (uid_t)-1 for "do not change".
fn number(account: &Account, kind: &'static str, text: &str) -> Result<u32, UnknownAccount> {
    let name = match account {
        Account::Number(number) => return Ok(*number),
        Account::Name(name) => name,
    };
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let number = (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?;
        number.filter(|number| *number != u32::MAX)
    });
    found.ok_or_else(|| UnknownAccount {
        kind,
        name: name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_in_the_containers_own_files() {
        let group = "root:x:0:\nbroken\ndialout:x:77:app\nodd:x:many:\nnone:x:4294967295:\n";
        let name = |name: &str| Account::Name(name.into());
        assert_eq!(number(&name("dialout"), "group", group), Ok(77));
        assert_eq!(number(&Account::Number(20), "group", ""), Ok(20));
        for missing in ["tty", "broken", "odd", "none", "dial"] {
            let error = number(&name(missing), "group", group).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the container has no group {missing:?}")
            );
        }
    }
}
