//! The architecture's rules, enforced on the source text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::papers::read;

/// Every room, and which others it may import. Its `mod.rs` says the same in words, and so does
/// ARCHITECTURE.md.
const ROOMS: [(&str, &[&str]); 13] = [
    ("model", &[]),
    ("config", &["model"]),
    ("hold", &["model"]),
    ("plan", &["model", "config", "hold"]),
    ("sys", &[]),
    ("monitor", &["model", "sys"]),
    ("engine", &["model", "hold", "sys"]),
    ("container", &["model", "plan", "sys"]),
    ("store", &["model", "config", "hold", "plan", "sys"]),
    (
        "runtime",
        &[
            "model",
            "config",
            "hold",
            "plan",
            "store",
            "container",
            "sys",
        ],
    ),
    ("keeper", &["model", "hold", "sys"]),
    (
        "daemon",
        &[
            "model",
            "config",
            "hold",
            "plan",
            "sys",
            "monitor",
            "engine",
            "container",
            "store",
        ],
    ),
    (
        "cli",
        &[
            "model",
            "config",
            "hold",
            "plan",
            "sys",
            "monitor",
            "engine",
            "container",
            "store",
            "runtime",
            "keeper",
            "daemon",
        ],
    ),
];

/// The rooms without I/O, clock or runtime.
const PURE_ROOMS: [&str; 4] = ["model", "config", "plan", "hold"];

/// Files of the same kind in other rooms.
const PURE_FILES: [&str; 20] = [
    "cli/add/plan",
    "cli/add/port_file",
    "cli/check/credentials",
    "cli/check/codes",
    "cli/check/finding",
    "cli/snippet",
    "container/device_program",
    "container/script",
    "container/uevent",
    "daemon/timeline",
    "engine/containers_conf",
    "engine/daemon_json",
    "monitor/message",
    "runtime/description",
    "runtime/oci_args",
    "runtime/oci_config",
    "runtime/options",
    "runtime/placement",
    "runtime/seccomp_profile",
    "sys/log_limit",
];

/// The files that may contain `unsafe`.
const UNSAFE: [&str; 7] = [
    "container/bpf",
    "keeper/seccomp_notify",
    "monitor/mod",
    "sys/async_fd",
    "sys/descriptors",
    "sys/localtime",
    "sys/seccomp",
];

/// Source files by their path below src without the ending, e.g. `cli/check/mod`.
type Sources = BTreeMap<String, String>;

fn sources() -> Sources {
    fn walk(directory: &Path, prefix: &str, found: &mut Sources) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            if path.is_dir() {
                walk(&path, &format!("{prefix}{name}/"), found);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                found.insert(format!("{prefix}{name}"), text);
            }
        }
    }
    let mut found = Sources::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    walk(&src, "", &mut found);
    assert!(found.len() > 50, "{:?}", found.keys());
    found
}

/// Every source file without its comments.
pub(crate) fn code() -> impl Iterator<Item = (String, String)> {
    let sources = sources().into_iter();
    sources.map(|(file, text)| (file, without_comments(&text)))
}

/// Nothing in our strings looks like a comment but the two slashes of a URL.
fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let starts = line.match_indices("//").map(|(at, _)| at);
        let mut starts = starts.filter(|at| !line[..*at].ends_with(':'));
        starts.next().map_or(line, |at| &line[..at])
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The room of a file, or its own name where it is in none.
fn room(file: &str) -> &str {
    file.split('/').next().unwrap_or(file)
}

/// The files that a file takes names from, without what its tests take.
fn imports(sources: &Sources, file: &str) -> BTreeSet<String> {
    let text = without_comments(&sources[file]);
    let code = text.split("\nmod tests {").next().unwrap_or_default();
    imports_of(sources, file, code, &module_of(file))
}

/// The files that the tests in a file take names from.
fn imports_of_tests(sources: &Sources, file: &str) -> BTreeSet<String> {
    let text = without_comments(&sources[file]);
    let tests = text.split("\nmod tests {").nth(1).unwrap_or_default();
    let module = [module_of(file), vec!["tests".to_owned()]].concat();
    imports_of(sources, file, tests, &module)
}

fn imports_of(sources: &Sources, file: &str, text: &str, module: &[String]) -> BTreeSet<String> {
    let paths = paths(text).into_iter();
    let files = paths.filter_map(|path| resolve(sources, module, &path));
    files.filter(|imported| imported != file).collect()
}

/// The paths into this crate, be they imported or used where they stand.
fn paths(text: &str) -> BTreeSet<Vec<String>> {
    let mut paths = BTreeSet::new();
    for start in ["crate::", "super::", "self::", "ttyplugd::"] {
        for (at, _) in text.match_indices(start) {
            let before = text[..at].chars().next_back();
            let within_a_path = |c: char| c == ':' || c == '_' || c.is_alphanumeric();
            if !before.is_some_and(within_a_path) {
                expand(&text[at..], &mut Vec::new(), &mut paths);
            }
        }
    }
    paths
}

/// Takes a path, or a tree of them such as `a::{b, c::d}`, from the beginning of a text. Returns the
/// rest of the text.
fn expand<'a>(
    text: &'a str,
    prefix: &mut Vec<String>,
    paths: &mut BTreeSet<Vec<String>>,
) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = expand(rest, prefix, paths).trim_start();
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = text.find(|c: char| c != '_' && !c.is_alphanumeric());
    let (part, rest) = text.split_at(end.unwrap_or(text.len()));
    prefix.push(part.to_owned());
    let rest = match rest.strip_prefix("::") {
        Some(next) => expand(next, prefix, paths),
        None => {
            paths.insert(prefix.clone());
            rest
        }
    };
    prefix.pop();
    rest
}

/// The module that a file is, e.g. `["cli", "check"]`.
fn module_of(file: &str) -> Vec<String> {
    let path = file.strip_suffix("/mod").unwrap_or(file);
    match path {
        "lib" | "main" => Vec::new(),
        path => path.split('/').map(String::from).collect(),
    }
}

/// The file in which a path ends: its longest beginning that is a module.
fn resolve(sources: &Sources, module: &[String], path: &[String]) -> Option<String> {
    let mut place = module.to_vec();
    for part in path {
        match part.as_str() {
            "crate" | "ttyplugd" => place.clear(),
            "self" => {}
            "super" => drop(place.pop()),
            part => {
                place.push(part.to_owned());
                if file_of(sources, &place).is_none() {
                    place.pop();
                    break;
                }
            }
        }
    }
    file_of(sources, &place)
}

fn file_of(sources: &Sources, module: &[String]) -> Option<String> {
    let path = module.join("/");
    let files = [path.clone(), format!("{path}/mod")];
    files.into_iter().find(|file| sources.contains_key(file))
}

/// Imports from one room into another that it must not know.
fn wrong_imports(sources: &Sources) -> Vec<String> {
    let rooms = BTreeMap::from(ROOMS);
    let mut wrong = Vec::new();
    for file in sources.keys() {
        // The crate's entries: `lib`, `main` and `bin`.
        let Some(allowed) = rooms.get(room(file)) else {
            continue;
        };
        let of_tests = imports_of_tests(sources, file);
        for imported in imports(sources, file).union(&of_tests) {
            let other = room(imported);
            if other != room(file) && !allowed.contains(&other) {
                wrong.push(format!("src/{file}.rs imports src/{imported}.rs"));
            }
        }
    }
    wrong
}

/// Files that import each other in a circle, with the way round it.
fn circle(sources: &Sources) -> Option<Vec<String>> {
    let graph: BTreeMap<&str, BTreeSet<String>> = sources
        .keys()
        .map(|file| (file.as_str(), imports(sources, file)))
        .collect();
    let mut done = BTreeSet::new();
    graph
        .keys()
        .find_map(|file| circle_from(&graph, file, &mut Vec::new(), &mut done))
}

fn circle_from(
    graph: &BTreeMap<&str, BTreeSet<String>>,
    file: &str,
    way: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(start) = way.iter().position(|passed| passed == file) {
        return Some(way[start..].to_vec());
    }
    if done.contains(file) {
        return None;
    }
    way.push(file.to_owned());
    let found = graph[file]
        .iter()
        .find_map(|next| circle_from(graph, next, way, done));
    way.pop();
    done.insert(file.to_owned());
    found
}

/// Words of I/O, clocks and runtimes in a text.
fn impurities(text: &str) -> Vec<&'static str> {
    let words = [
        "tokio",
        "bollard",
        "udev::",
        "nix::",
        "libc::",
        "std::fs",
        "std::net",
        "std::process",
        "std::time",
        "std::env",
        "std::os",
        "std::thread",
        "tracing",
    ];
    words
        .into_iter()
        .filter(|word| text.contains(word))
        .collect()
}

#[test]
fn every_file_is_in_a_room() {
    let rooms: BTreeSet<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    let entries = ["lib", "main", "bin"];
    for file in sources().keys() {
        let room = room(file);
        assert!(
            rooms.contains(room) || entries.contains(&room),
            "src/{file}.rs"
        );
    }
}

#[test]
fn rooms_import_only_the_rooms_that_they_may() {
    assert_eq!(wrong_imports(&sources()), [""; 0]);
}

#[test]
fn no_files_import_each_other() {
    assert_eq!(circle(&sources()), None);
}

#[test]
fn a_wrong_import_is_found_in_either_direction_and_wherever_it_stands() {
    let sources = |files: &[(&str, &str)]| -> Sources {
        let all = files
            .iter()
            .map(|(file, text)| ((*file).into(), (*text).into()));
        all.collect()
    };
    let model = ("model/mod", "pub mod port;\npub struct Mode;");
    let port = ("model/port", "use super::Mode;");
    let plan = ("plan/mod", "use crate::model::{Mode, port::Port};");
    let daemon = ("daemon/mod", "");
    assert_eq!(
        wrong_imports(&sources(&[model, port, plan, daemon])),
        [""; 0]
    );
    for wrong in [
        "use crate::{daemon::Daemon, model::Mode};",
        "fn f() { crate::daemon::run() }",
        "fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::daemon;\n}",
        "use super::super::daemon::{self, Daemon};",
    ] {
        let found = wrong_imports(&sources(&[model, ("model/port", wrong), plan, daemon]));
        assert_eq!(
            found,
            ["src/model/port.rs imports src/daemon/mod.rs"],
            "{wrong}"
        );
    }
    let upwards = (
        "model/mod",
        "pub mod port;\nuse port::Port;\nuse self::port::Look;",
    );
    let both = circle(&sources(&[upwards, port]));
    assert_eq!(both.unwrap(), ["model/mod", "model/port"]);
    // The tests of a file take from the file itself.
    let own = (
        "model/port",
        "pub struct Port;\nmod tests {\n    use super::*;\n}",
    );
    assert_eq!(circle(&sources(&[upwards, own])), None);
}

#[test]
fn every_room_says_what_it_may_import() {
    for (room, allowed) in ROOMS {
        let file = sources();
        let text = file
            .get(&format!("{room}/mod"))
            .unwrap_or_else(|| &file[room]);
        let head = text.lines().take_while(|line| line.starts_with("//!"));
        let head = head.collect::<Vec<_>>().join("\n");
        let said = head.split_once("Imports: ").map(|(_, said)| said);
        let said = said.unwrap_or_else(|| panic!("src/{room} does not say what it imports"));
        let said: BTreeSet<&str> = said.split('`').skip(1).step_by(2).collect();
        assert_eq!(said, BTreeSet::from_iter(allowed.iter().copied()), "{room}");
    }
}

#[test]
fn the_map_of_rooms_says_what_each_may_import() {
    let page = read("ARCHITECTURE.md");
    for (room, allowed) in ROOMS {
        let start = format!("| `{room}` | ");
        let row = page.lines().find_map(|line| line.strip_prefix(&start));
        let row = row.unwrap_or_else(|| panic!("{room} is not in ARCHITECTURE.md"));
        let last = row.trim_end_matches(" |").rsplit(" | ").next();
        let expected = match allowed.len() {
            0 => "–".to_owned(),
            all if all == ROOMS.len() - 1 => "all".to_owned(),
            _ => allowed.join(", "),
        };
        assert_eq!(last, Some(&*expected), "{room}");
    }
}

#[test]
fn pure_rooms_do_no_io_and_have_no_clock() {
    for (file, text) in code().filter(|(file, _)| PURE_ROOMS.contains(&room(file))) {
        let text = match file.as_str() {
            // The loader of the configuration is the one exception.
            "config/load" => continue,
            // The files of the golden tests.
            "model/fixtures" => continue,
            _ => text,
        };
        assert_eq!(impurities(&text), [""; 0], "src/{file}.rs");
    }
}

/// Their tests may use anything: those of `container/script` run the script.
#[test]
fn pure_files_in_other_rooms_do_no_io_and_have_no_clock() {
    let code: BTreeMap<_, _> = code().collect();
    for file in PURE_FILES {
        let text = code[file].split("\nmod tests {").next().unwrap();
        assert_eq!(impurities(text), [""; 0], "src/{file}.rs");
    }
}

#[test]
fn udev_stays_in_monitor_and_bollard_in_the_engines_api() {
    for (file, text) in code() {
        let uses = |krate: &str| text.contains(&format!("{krate}::"));
        assert!(
            !uses("udev") || room(&file) == "monitor",
            "src/{file}.rs uses udev"
        );
        assert!(
            !uses("bollard") || file.starts_with("engine/api/"),
            "src/{file}.rs uses bollard"
        );
    }
}

#[test]
fn unsafe_code_is_in_named_files_and_each_block_says_why_it_is_safe() {
    for (file, text) in sources() {
        let blocks = text.matches("unsafe {").count();
        assert_eq!(blocks > 0, UNSAFE.contains(&file.as_str()), "src/{file}.rs");
        assert!(
            text.matches("// SAFETY:").count() >= blocks,
            "src/{file}.rs"
        );
    }
}

#[test]
fn no_file_is_called_after_nothing_in_particular() {
    for file in sources().keys() {
        for word in ["util", "helper", "manager", "common", "misc"] {
            assert!(!file.contains(word), "src/{file}.rs");
        }
    }
}
