//! brltty's udev rules: which USB devices it takes for braille displays.
//!
//! Some displays have the vendor and product of a USB serial chip that thousands of other things
//! have too, so that brltty takes those as well.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::kernel::UsbId;

/// Where rules are, from the weakest to the strongest place: a file replaces one of the same name
/// in a weaker place (udev(7), "RULES FILES"). Before /usr was merged the first one was /lib.
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
    /// The file that it is in, by its name and with its directory.
    pub(super) name: String,
    pub(super) file: String,
    pub(super) id: UsbId,
    /// More than vendor and product must fit.
    pub(super) conditional: bool,
}

/// All that are in force below a root directory.
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
        let text = text_of_rules(&root.join(&file));
        rules.extend(parse(&text).into_iter().map(|(id, conditional)| Rule {
            name: name.clone(),
            file: format!("/{file}"),
            id,
            conditional,
        }));
    }
    rules
}

/// A link to /dev/null, and an empty file, turn a file off (udev(7), "RULES FILES"). Whatever else
/// is no regular file is not opened.
fn text_of_rules(file: &Path) -> String {
    let is_file = fs::metadata(file).is_ok_and(|found| found.is_file());
    let bytes = if is_file {
        fs::read(file)
    } else {
        Ok(Vec::new())
    };
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// The devices that brltty's rules in a file are for, and whether more than their ids must fit.
fn parse(text: &str) -> Vec<(UsbId, bool)> {
    // A line that ends with a backslash goes on in the next one (udev(7), "RULES FILES").
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim_start);
    let rules = lines.filter(|line| !line.starts_with('#'));
    rules
        .filter(|line| line.to_ascii_lowercase().contains("brltty"))
        .flat_map(of_rule)
        .collect()
}

fn of_rule(line: &str) -> Vec<(UsbId, bool)> {
    let matches = matches(line);
    let value = |keys: &[&str]| {
        let mut found = matches.iter().filter(|(key, _)| keys.contains(key));
        found.next().map(|(_, value)| *value)
    };
    const PLAIN: [&str; 8] = [
        "ACTION",
        "ATTR{idProduct}",
        "ATTR{idVendor}",
        "ATTRS{idProduct}",
        "ATTRS{idVendor}",
        "ENV{DEVTYPE}",
        "ENV{PRODUCT}",
        "SUBSYSTEM",
    ];
    let conditional = matches.iter().any(|(key, _)| !PLAIN.contains(key));
    // The kernel's own words for it: vendor, product and revision without zeros in front
    // (drivers/usb/core/driver.c, usb_uevent). One match can have several, with | between them.
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

/// The `KEY=="VALUE"` of a rule; what it assigns is left out.
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
    fn the_devices_that_a_rule_is_for_are_read_in_all_their_forms() {
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
