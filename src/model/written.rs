//! Values as people, shells and YAML write them. Pure.

/// The value itself: without blanks around it, and without a pair of quotation marks. YAML keeps those
/// of `- label="value"`, which is a plain scalar (YAML 1.2.2, 7.3.3).
pub fn plain(text: &str) -> &str {
    let text = text.trim_matches(BLANKS);
    let between = |mark| text.strip_prefix(mark)?.strip_suffix(mark);
    let text = between('"').or(between('\'')).unwrap_or(text);
    text.trim_matches(BLANKS)
}

const BLANKS: [char; 2] = [' ', '\t'];

/// A truth value, by YAML 1.1's words for it (https://yaml.org/type/bool.html) and the usual numbers.
/// Docker Compose 1.29 turns `true` without quotation marks into `True`.
pub fn boolean(text: &str) -> Option<bool> {
    match plain(text).to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_blanks_around_a_value_are_not_part_of_it() {
        for text in ["0660", " 0660\t", "\"0660\"", "'0660'", " \" 0660 \""] {
            assert_eq!(plain(text), "0660", "{text}");
        }
        for text in ["", "0660\n", "\"", "\"0660", "0660'", "a \"b\" c"] {
            assert_eq!(plain(text), text);
        }
    }

    #[test]
    fn the_words_for_true_and_false_are_known() {
        for text in [
            "true", "True", "TRUE", "yes", "On", "1", "\"true\"", " yes ",
        ] {
            assert_eq!(boolean(text), Some(true), "{text}");
        }
        for text in ["false", "False", "NO", "off", "0", "'no'"] {
            assert_eq!(boolean(text), Some(false), "{text}");
        }
        for text in ["", "maybe", "2", "y", "null", "truee", "01"] {
            assert_eq!(boolean(text), None, "{text}");
        }
    }
}
