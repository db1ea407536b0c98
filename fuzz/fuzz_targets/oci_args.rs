//! The command line of an OCI runtime, one argument a line, and what its `--version` prints.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttyplugd::runtime::oci_args::{Verb, can_notify, parse};
use ttyplugd_fuzz::bounded;

fuzz_target!(|text: &str| {
    let arguments: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let (bundle, id) = match bounded(|| parse(&arguments)) {
        Verb::Update { resources } => {
            assert_eq!(resources.replaced(&arguments, &resources.file), arguments);
            (None, None)
        }
        Verb::Create { bundle, container } => (bundle, Some(container.id)),
        Verb::AskToEnd { container } => (None, Some(container.id)),
        Verb::Other => (None, None),
    };
    assert!(id.is_none_or(|id| arguments.contains(&id)));
    if let Some(bundle) = bundle {
        let bundle = bundle.to_str().expect("it was text");
        assert!(arguments.iter().any(|argument| argument.ends_with(bundle)));
    }
    let _ = bounded(|| can_notify(text));
});
