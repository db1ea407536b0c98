//! The README and docs/: they are short, their links lead somewhere, and what they show works.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use ttyplugd::config;
use ttyplugd::config::labels::{PortRequests, port_requests};
use ttyplugd::config::settings::LabelPolicy;
use ttyplugd::model::match_key::MatchKey;

use crate::papers::{blocks, known_keys, known_labels, read};

/// Where the package has them.
const INSTALLED: &str = "usr/share/doc/ttyplugd";

/// The programs that the pages have their readers call, beside ttyplugd and make.
const PROGRAMS: [&str; 14] = [
    "apt",
    "cp",
    "curl",
    "docker",
    "echo",
    "grep",
    "journalctl",
    "kubectl",
    "mkdir",
    "modprobe",
    "systemctl",
    "systemd-tmpfiles",
    "tee",
    "udevadm",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Markdown files of a directory, by their paths from the root.
fn markdown(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(directory)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pages = names.filter(|name| name.ends_with(".md"));
    let path = |name| Path::new(directory).join(name).display().to_string();
    pages.map(path).collect()
}

/// Every page that a user or a contributor reads.
fn all_pages() -> Vec<String> {
    ["", "docs", "examples", "examples/kubernetes"]
        .into_iter()
        .flat_map(markdown)
        .collect()
}

/// The README and docs/.
pub(crate) fn pages() -> Vec<String> {
    let mut pages = markdown("docs");
    assert!(pages.len() >= 9, "{pages:?}");
    pages.push("README.md".into());
    pages
}

/// The lines outside of code blocks.
fn prose(text: &str) -> Vec<&str> {
    let outside = text.split("```").step_by(2);
    outside.flat_map(str::lines).collect()
}

/// The targets of the links and pictures of a page, without those on the network.
fn links(page: &str) -> Vec<String> {
    let text = prose(&read(page)).join("\n");
    let targets = text
        .split("](")
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap());
    let local = targets.filter(|target| !target.starts_with("https://"));
    local.map(String::from).collect()
}

/// The file that a link of a page leads to, from the root, and the section in it.
fn target(page: &str, link: &str) -> (PathBuf, Option<String>) {
    let (file, section) = match link.split_once('#') {
        Some((file, section)) => (file, Some(section.to_owned())),
        None => (link, None),
    };
    let file = match file {
        "" => PathBuf::from(page),
        file => Path::new(page).with_file_name("").join(file),
    };
    (normal(&file), section)
}

/// Without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => assert!(normal.pop(), "{} leads out", path.display()),
            other => normal.push(other),
        }
    }
    normal
}

/// The names by which links find the headings of a page, as GitHub makes them.
fn sections(page: &str) -> BTreeSet<String> {
    let text = read(page);
    let headings = prose(&text)
        .into_iter()
        .filter(|line| line.starts_with('#'));
    let section = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(section).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_section_of_it() {
    let mut seen = 0;
    for page in all_pages() {
        for link in links(&page) {
            let (file, section) = target(&page, &link);
            assert!(
                root().join(&file).exists(),
                "{page}: {link}: there is no such file"
            );
            if let Some(section) = section {
                let sections = sections(file.to_str().unwrap());
                assert!(sections.contains(&section), "{page}: {link}: {sections:#?}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 60, "only {seen} links");
}

/// What the package has: files of the sources, and where they are installed.
fn assets() -> BTreeMap<PathBuf, PathBuf> {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"]
        .as_array()
        .unwrap();
    assets
        .iter()
        .flat_map(|asset| files(&asset[0], &asset[1]))
        .collect()
}

/// The files of one asset (cargo-deb, "assets"): those below the first `*` keep their directories.
fn files(pattern: &toml::Value, place: &toml::Value) -> Vec<(PathBuf, PathBuf)> {
    let (pattern, place) = (
        pattern.as_str().unwrap(),
        Path::new(place.as_str().unwrap()),
    );
    let Some((before, _)) = pattern.split_once('*') else {
        return vec![(pattern.into(), place.into())];
    };
    let found = glob::glob(root().join(pattern).to_str().unwrap()).unwrap();
    let files = found.map(Result::unwrap).filter(|path| path.is_file());
    let pair = |path: PathBuf| {
        let file = path.strip_prefix(root()).unwrap().to_owned();
        let place = place.join(file.strip_prefix(before).unwrap());
        (file, place)
    };
    files.map(pair).collect()
}

#[test]
fn in_the_package_every_link_leads_to_the_same_file() {
    let assets = assets();
    for page in all_pages() {
        let at = &assets
            .get(Path::new(&page))
            .unwrap_or_else(|| panic!("{page} is not installed"));
        assert_eq!(**at, Path::new(INSTALLED).join(&page));
        for link in links(&page) {
            let (file, _) = target(&page, &link);
            let mut inside = assets
                .iter()
                .filter(|(source, _)| source.starts_with(&file));
            let (source, place) = inside.next().unwrap_or_else(|| panic!("{page}: {link}"));
            assert_eq!(*place, Path::new(INSTALLED).join(source), "{page}: {link}");
        }
    }
}

#[test]
fn make_install_installs_the_pages_too() {
    let makefile = read("Makefile");
    for line in [
        r#"install -D -m 644 -t "$(DESTDIR)$(DATADIR)/doc/ttyplugd" *.md"#,
        r#"install -D -m 644 -t "$(DESTDIR)$(DATADIR)/doc/ttyplugd/docs" docs/*.md docs/*.svg"#,
    ] {
        assert!(makefile.contains(line), "{line}");
    }
}

#[test]
fn the_readme_is_short_and_begins_with_the_two_commands() {
    let readme = read("README.md");
    let lines: Vec<_> = readme.lines().collect();
    assert!(lines.len() <= 150, "{} lines", lines.len());
    for command in ["make demo ", "make test "] {
        let first_screen = &lines[..20];
        assert!(
            first_screen.iter().any(|line| line.starts_with(command)),
            "{command}"
        );
    }
    let paragraph = lines[2..].iter().take_while(|line| !line.is_empty());
    assert_eq!(paragraph.count(), 2, "it says in two sentences what it is");
    assert!(
        lines[5].starts_with("!["),
        "a picture comes next: {}",
        lines[5]
    );
}

#[test]
fn every_page_begins_with_its_answer_and_is_found_from_the_readme() {
    let from_readme: BTreeSet<_> = links("README.md").into_iter().collect();
    for page in markdown("docs") {
        assert!(
            from_readme.contains(&page),
            "README.md does not link {page}"
        );
        let text = read(&page);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("# ") && lines[1].is_empty(), "{page}");
        let is_prose = lines[2].chars().next().is_some_and(|c| c.is_alphabetic());
        assert!(is_prose, "{page} begins with {:?}", lines[2]);
    }
}

#[test]
fn nothing_is_said_on_two_pages() {
    let mut said = BTreeMap::<String, String>::new();
    for page in pages() {
        let text = read(&page);
        let sentences = prose(&text).into_iter().flat_map(|line| line.split(". "));
        let long: BTreeSet<_> = sentences.map(str::trim).filter(|s| s.len() >= 50).collect();
        for sentence in long {
            if let Some(other) = said.insert(sentence.to_owned(), page.clone()) {
                panic!("{page} and {other}: {sentence}");
            }
        }
    }
}

/// The codes of what `check` finds.
fn codes() -> BTreeSet<String> {
    let source = read("src/cli/check/codes.rs");
    let table = source.split("\ncodes! {").nth(1).unwrap();
    let names = table.lines().filter_map(|line| line.strip_prefix("    "));
    let entries = names.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    let code = |line: &str| line.split('"').nth(1).unwrap().to_owned();
    let codes: BTreeSet<_> = entries.map(code).collect();
    assert!(codes.len() >= 40, "{codes:?}");
    codes
}

#[test]
fn every_code_of_check_has_a_section_and_every_section_a_code() {
    let page = read("docs/troubleshooting.md");
    let list = page.split("\n## What check finds\n").nth(1).unwrap();
    let sections = list.lines().filter_map(|line| line.strip_prefix("### "));
    let sections: Vec<_> = sections.map(String::from).collect();
    assert_eq!(sections.iter().cloned().collect::<BTreeSet<_>>(), codes());
    assert_eq!(
        sections.len(),
        codes().len(),
        "a section twice: {sections:#?}"
    );
}

#[test]
fn the_page_that_check_names_is_where_the_package_has_it() {
    let source = read("src/cli/check/finding.rs");
    let named = source.split("PAGE: &str = \"/").nth(1).unwrap();
    let named = named.split('"').next().unwrap();
    assert_eq!(
        assets()[Path::new("docs/troubleshooting.md")],
        Path::new(named)
    );
}

/// The words in backticks that the tables of a page begin their rows with.
fn first_cells(page: &str) -> BTreeSet<String> {
    let text = read(page);
    let rows = prose(&text)
        .into_iter()
        .filter_map(|line| line.strip_prefix("| "));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(String::from)
        .collect()
}

#[test]
fn the_page_of_the_configuration_has_every_key_and_label_and_no_other() {
    let cells = first_cells("docs/configuration.md");
    let (labels, keys): (BTreeSet<_>, BTreeSet<_>) = cells
        .into_iter()
        .partition(|cell| cell.starts_with("ttyplugd."));
    let known = [known_keys(""), known_keys("[[port]]")]
        .concat()
        .into_iter();
    let of_match = MatchKey::NAMES.iter().map(|key| key.to_string());
    let known: BTreeSet<_> = known.filter(|key| key != "port").chain(of_match).collect();
    assert_eq!(keys, known);
    let page = read("docs/configuration.md");
    for label in known_labels().iter().filter(|label| *label != "port") {
        let of_port = page.contains(&format!("`.{label}`"));
        let named = |known: &String| {
            known.starts_with(&format!("ttyplugd.{label}="))
                || known.starts_with(&format!("ttyplugd.port.NAME.{label}="))
        };
        assert!(
            of_port || labels.iter().any(named),
            "{label} is not in {labels:#?}"
        );
    }
    for label in labels {
        let (key, value) = label.split_once('=').unwrap();
        let one = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        if let Err(error) = port_requests(&one, LabelPolicy::Container, &[]) {
            let error = error.to_string();
            assert!(!error.contains("unknown key"), "{label}: {error}");
        }
    }
}

/// The keys of which a table of the page gives nothing but a value as the default.
fn defaults(page: &str) -> Vec<(String, String)> {
    let text = read(page);
    let rows = prose(&text)
        .into_iter()
        .filter_map(|line| line.strip_prefix("| `"));
    let pair = |row: &str| {
        let (key, rest) = row.split_once("` | ")?;
        let default = rest.strip_suffix("` |")?.rsplit_once("| `")?.1;
        Some((key.to_owned(), default.to_owned()))
    };
    rows.filter_map(pair).collect()
}

/// The shipped configuration has those of the program, as another test sees to.
#[test]
fn the_page_and_the_manual_page_have_the_defaults_of_the_shipped_configuration() {
    let shipped = read("packaging/config.toml");
    let manual = read("man/ttyplugd.toml.5")
        .replace("\\(dq", "\"")
        .replace("\n.Li ", " ");
    let defaults = defaults("docs/configuration.md");
    assert!(defaults.len() >= 8, "{defaults:?}");
    for (key, default) in defaults {
        let line = format!("#{key} = {default}");
        assert!(shipped.lines().any(|known| known == line), "{line}");
        let item = manual.split(&format!("\n.It Cm {key}\n")).nth(1).unwrap();
        let item = item.split("\n.It Cm ").next().unwrap();
        let said = format!("The default is {default}");
        assert!(item.contains(&said), "man/ttyplugd.toml.5, {key}: {said}");
    }
}

#[test]
fn every_configuration_that_a_page_shows_is_one() {
    let mut seen = 0;
    for page in pages() {
        for block in blocks(&read(&page), "toml") {
            let file = (PathBuf::from(&page), block.to_owned());
            let settings = config::parse(&[file]).unwrap_or_else(|e| panic!("{e:#?}\n{block}"));
            assert!(!settings.ports.is_empty(), "{page}: {block}");
            seen += 1;
        }
    }
    assert!(seen > 0);
}

/// The lines that a page has its reader type.
fn typed(page: &str) -> Vec<String> {
    let text = read(page);
    let scripts = blocks(&text, "sh").join("\n").replace("\\\n", " ");
    let sessions = blocks(&text, "console").join("\n");
    let sessions = sessions.lines().filter_map(|line| line.strip_prefix("$ "));
    scripts.lines().chain(sessions).map(String::from).collect()
}

/// The commands of a line, each as its words, without sudo and what is set for it.
fn commands(line: &str) -> Vec<Vec<String>> {
    let line = line.split("    #").next().unwrap();
    let parts = line.split("&&").flat_map(|part| part.split(" | "));
    let words = |part: &str| -> Vec<String> {
        let words = part.split_whitespace().map(String::from);
        words
            .skip_while(|word| word == "sudo" || word.contains('='))
            .collect()
    };
    parts.map(words).filter(|words| !words.is_empty()).collect()
}

/// Whether ttyplugd or the Makefile has this command, or the program is one of the system's.
fn is_command(words: &[String]) -> Result<(), String> {
    match words[0].as_str() {
        "ttyplugd" => is_understood(&words[1..]),
        "make" if read("Makefile").contains(&format!("\n{}:", words[1])) => Ok(()),
        other if PROGRAMS.contains(&other) => Ok(()),
        _ => Err("there is no such command".into()),
    }
}

/// Whether ttyplugd has this command and its options.
fn is_understood(words: &[String]) -> Result<(), String> {
    let mut command = ttyplugd::cli::Cli::command();
    for word in words {
        if let Some(option) = word.strip_prefix("--") {
            let name = option.split('=').next().unwrap();
            let mut known = command.get_arguments().map(clap::Arg::get_long);
            if !["help", "version"].contains(&name) && !known.any(|known| known == Some(name)) {
                return Err(format!("no --{name} of {}", command.get_name()));
            }
        } else if command.has_subcommands() {
            let found = command.find_subcommand(word).cloned();
            command = found.ok_or(format!("no {word} of {}", command.get_name()))?;
        }
    }
    Ok(())
}

#[test]
fn every_command_that_a_page_has_its_reader_type_is_one() {
    let mut seen = 0;
    let examples = ["examples", "examples/kubernetes"].into_iter();
    for page in pages().into_iter().chain(examples.flat_map(markdown)) {
        for words in typed(&page).iter().flat_map(|line| commands(line)) {
            is_command(&words).unwrap_or_else(|error| panic!("{page}: {words:?}: {error}"));
            seen += 1;
        }
    }
    assert!(seen >= 25, "only {seen}");
}

#[test]
fn every_command_that_a_page_names_in_passing_is_one() {
    let mut seen = 0;
    for page in pages() {
        let text = prose(&read(&page)).join("\n").replace(['[', ']'], "");
        let named = text.split('`').skip(1).step_by(2);
        for words in named.flat_map(commands).filter(|words| words.len() > 1) {
            if ["ttyplugd", "make"].contains(&words[0].as_str()) {
                is_command(&words).unwrap_or_else(|error| panic!("{page}: {words:?}: {error}"));
                seen += 1;
            }
        }
    }
    assert!(seen >= 20, "only {seen}");
}

/// The labels that a command gives to a container.
fn labels_of(words: &[String]) -> BTreeMap<String, String> {
    let pairs = words.windows(2).filter(|pair| pair[0] == "--label");
    let labels = pairs.filter_map(|pair| pair[1].split_once('='));
    labels
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn every_docker_run_that_a_page_shows_has_labels_that_are_understood() {
    let mut seen = 0;
    for page in pages() {
        let text = prose(&read(&page)).join("\n");
        let named = text.split('`').skip(1).step_by(2).map(String::from);
        for words in typed(&page)
            .into_iter()
            .chain(named)
            .flat_map(|line| commands(&line))
        {
            let labels = labels_of(&words);
            if labels.is_empty() {
                continue;
            }
            let requests = port_requests(&labels, LabelPolicy::Container, &[]);
            assert_ne!(requests, Ok(PortRequests::default()), "{page}: {words:?}");
            requests.unwrap_or_else(|error| panic!("{page}: {words:?}: {error}"));
            seen += 1;
        }
    }
    assert!(seen >= 3, "only {seen}");
}

#[test]
fn the_shell_understands_every_script() {
    for page in all_pages() {
        for block in blocks(&read(&page), "sh") {
            let checked = Command::new("bash")
                .args(["-n", "-c", block])
                .output()
                .unwrap();
            assert!(checked.status.success(), "{page}: {block}\n{checked:?}");
        }
    }
}

#[test]
fn every_journal_field_is_in_the_manual_page() {
    let manual = read("man/ttyplugd.8");
    let page = read("docs/fleet.md");
    let is_field = |word: &&str| {
        word.contains('_') && word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    };
    let words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let fields: BTreeSet<_> = words
        .filter(is_field)
        .filter(|word| *word != "NO_COLOR")
        .collect();
    assert!(fields.len() >= 8, "{fields:?}");
    for field in fields.iter().filter(|field| **field != "DOCKER_HOST") {
        assert!(manual.contains(field), "{field} is not in man/ttyplugd.8");
    }
}
