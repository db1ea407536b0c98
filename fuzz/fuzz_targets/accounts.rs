//! A container's passwd and group, in which owner and group of a port are looked up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttyplugd::model::Account;
use ttyplugd::plan::passwd::{group, user};
use ttyplugd_fuzz::bounded;

fuzz_target!(|text: &str| {
    let (name, file) = text.split_once('\n').unwrap_or_default();
    let Ok(account) = name.parse::<Account>() else {
        return;
    };
    let found = [bounded(|| user(&account, file)), group(&account, file)];
    for number in found.into_iter().flatten() {
        // chown(2) takes it for "do not change".
        assert_ne!(number, u32::MAX);
        if let Account::Name(name) = &account {
            let line = file.lines().find(|line| line.starts_with(name.as_str()));
            assert!(line.is_some(), "{name:?} is not in {file:?}");
        }
    }
});
