//! The known word that somebody probably meant.

/// The most similar of `known`, if it is similar at all.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let scored = known.into_iter().map(|candidate| (strsim::damerau_levenshtein(&lower, candidate), candidate));
    let (distance, candidate) = scored.min()?;
    let allowed = (candidate.chars().count().max(lower.chars().count()) / 3).max(1);
    (distance <= allowed).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_none() {
        let known = ["fields", "path", "title"];
        assert_eq!(nearest("feilds", known), Some("fields"));
        assert_eq!(nearest("Title", known), Some("title"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", []), None);
    }
}
