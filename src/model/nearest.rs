//! Did you mean …?

/// The known word that is most like `unknown`, if any is like it at all.
pub fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|word| (strsim::jaro_winkler(unknown, word), word))
        .filter(|(likeness, _)| *likeness > 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// What an error says of an unknown key: the one that was probably meant, or all there are.
pub fn did_you_mean(unknown: &str, known: &[&str]) -> String {
    match nearest(unknown, known.iter().copied()) {
        Some(known) => format!("did you mean {known:?}?"),
        None => format!("the known keys are {}", known.join(", ")),
    }
}
