//! brltty's udev rules: the USB devices that it takes for braille displays.
//!
//! Some displays have the vendor and product of a common USB serial chip, so brltty also takes other
//! devices with that chip.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::kernel::UsbId;

/// The directories of rules, in increasing priority: a file overrides a file of the same name in a
/// directory before it (udev(7), "RULES FILES"). /lib is a directory of its own where /usr is not
/// merged.
const DIRECTORIES: [&str; 5] = [
    "lib/udev/rules.d",
    "usr/lib/udev/rules.d",
    "usr/local/lib/udev/rules.d",
    "run/udev/rules.d",
    "etc/udev/rules.d",
];

/// A rule that starts brltty for one kind of USB device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// The name of its file.
    pub(super) name: String,
    /// The path of its file.
    pub(super) file: String,
    pub(super) id: UsbId,
    /// The rule has more conditions than vendor and product.
    pub(super) conditional: bool,
}

/// The rules in effect, below a root directory.
pub(super) fn rules(root: &Path) -> Vec<Rule> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for directory in DIRECTORIES {
        let entries = fs::read_dir(root.join(directory)).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        for name in names.filter(|name| name.ends_with(".rules")) {
            files.insert(name.clone(), format!("{directory}/{name}"));
        }
    }
    let mut rules = Vec::new();
    for (name, file) in files {
        let text = read_rules(&root.join(&file));
        rules.extend(parse(&text).into_iter().map(|(id, conditional)| Rule {
            name: name.clone(),
            file: format!("/{file}"),
            id,
            conditional,
        }));
    }
    rules
}

/// A symlink to /dev/null masks a file (udev(7), "RULES FILES"). Only regular files are opened.
fn read_rules(file: &Path) -> String {
    let is_file = fs::metadata(file).is_ok_and(|found| found.is_file());
    let bytes = if is_file {
        fs::read(file)
    } else {
        Ok(Vec::new())
    };
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// The devices of brltty's rules in a file, and whether a rule has more conditions.
fn parse(text: &str) -> Vec<(UsbId, bool)> {
    // A backslash at the end of a line continues the line (udev(7), "RULES FILES").
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim_start);
    let rules = lines.filter(|line| !line.starts_with('#'));
    rules
        .filter(|line| line.to_ascii_lowercase().contains("brltty"))
        .flat_map(parse_rule)
        .collect()
}

fn parse_rule(line: &str) -> Vec<(UsbId, bool)> {
    let matches = matches(line);
    let value = |keys: &[&str]| {
        let mut found = matches.iter().filter(|(key, _)| keys.contains(key));
        found.next().map(|(_, value)| *value)
    };
    const IDS_ONLY: [&str; 8] = [
        "ACTION",
        "ATTR{idProduct}",
        "ATTR{idVendor}",
        "ATTRS{idProduct}",
        "ATTRS{idVendor}",
        "ENV{DEVTYPE}",
        "ENV{PRODUCT}",
        "SUBSYSTEM",
    ];
    let conditional = matches.iter().any(|(key, _)| !IDS_ONLY.contains(key));
    // PRODUCT is vendor/product/revision without leading zeros (drivers/usb/core/driver.c,
    // usb_uevent). A match may have alternatives, separated by |.
    let products = value(&["ENV{PRODUCT}"]).unwrap_or_default().split('|');
    let of_product = products.filter_map(|product| {
        let mut parts = product.split('/');
        UsbId::parse(parts.next()?, parts.next()?)
    });
    let vendor = value(&["ATTR{idVendor}", "ATTRS{idVendor}"]);
    let product = value(&["ATTR{idProduct}", "ATTRS{idProduct}"]);
    let of_attributes = vendor.zip(product).and_then(|(v, p)| UsbId::parse(v, p));
    let ids = of_product.chain(of_attributes);
    ids.map(|id| (id, conditional)).collect()
}

/// The conditions of a rule: `KEY=="VALUE"` and `KEY!="VALUE"`, without its assignments.
fn matches(line: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('"') {
        let Some((value, next)) = after.split_once('"') else {
            break;
        };
        let key = before.trim_start_matches([',', ' ', '\t']).trim_end();
        let key = key.strip_suffix("==").or(key.strip_suffix("!="));
        found.extend(key.map(|key| (key.trim_end(), value)));
        rest = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(vendor: u16, product: u16) -> UsbId {
        UsbId { vendor, product }
    }

    #[test]
    fn ids_are_read_in_all_their_forms() {
        let run = "ENV{BRLTTY_BRAILLE_DRIVER}=\"bm\", GOTO=\"brltty_usb_run\"";
        for (rule, expected) in [
            (
                format!("ENV{{PRODUCT}}==\"1a86/7523/*\", {run}"),
                vec![(id(0x1a86, 0x7523), false)],
            ),
            (
                format!("ENV{{PRODUCT}}==\"403/6001/*|10c4/ea60/*\",\\\n  {run}"),
                vec![(id(0x0403, 0x6001), false), (id(0x10c4, 0xea60), false)],
            ),
            (
                format!("ATTR{{idVendor}}==\"10c4\", ATTR{{idProduct}}==\"ea60\", {run}"),
                vec![(id(0x10c4, 0xea60), false)],
            ),
            (
                format!("ENV{{PRODUCT}}==\"1a86/7523/*\", ATTRS{{product}}==\"Zoomax\", {run}"),
                vec![(id(0x1a86, 0x7523), true)],
            ),
            (format!("# ENV{{PRODUCT}}==\"1a86/7523/*\", {run}"), vec![]),
            (
                "ENV{PRODUCT}==\"1a86/7523/*\", MODE=\"0666\"".into(),
                vec![],
            ),
            ("LABEL=\"brltty_end\"".into(), vec![]),
            (
                "ENV{PRODUCT}==\"1a86/7523/*\", RUN+=\"brltty".into(),
                vec![(id(0x1a86, 0x7523), false)],
            ),
            ("ENV{PRODUCT}==\"brltty".into(), vec![]),
        ] {
            assert_eq!(parse(&rule), expected, "{rule}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_rules_make_the_parser_panic(text in "(brltty|\"|=|\\PC)*") {
            let _ = parse(&text);
        }
    }
}
