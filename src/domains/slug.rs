//! Slugs: the last part of an object's id, made of its title or given, for ever.

/// Most letters of a slug.
pub const SLUG_MAX: usize = 80;

/// Why a slug that somebody gave cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlugError {
    #[error("`{0}` is no slug: use 1 to 80 of a-z, 0-9 and -")]
    Malformed(String),
    #[error("`{0}` is the name of a page of this node: choose another slug")]
    Reserved(String),
}

/// What becomes of a title: transliterated, in lower case, `-` between words. `None` when nothing is left of it, or when
/// it is reserved: then the object gets another.
pub fn from_title(title: &str, reserved: &[&str]) -> Option<String> {
    let mut slug = String::new();
    for letter in deunicode::deunicode(title).chars() {
        if letter.is_ascii_alphanumeric() {
            slug.push(letter.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') && letter != '\'' {
            slug.push('-');
        }
    }
    slug.truncate(SLUG_MAX);
    let slug = slug.trim_end_matches('-');
    (!slug.is_empty() && !reserved.contains(&slug)).then(|| slug.to_owned())
}

/// A slug as somebody gave it, if it has the form of one.
pub fn explicit(slug: &str) -> Result<&str, SlugError> {
    let fits = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
    if (1..=SLUG_MAX).contains(&slug.len()) && slug.bytes().all(fits) {
        Ok(slug)
    } else {
        Err(SlugError::Malformed(slug.to_owned()))
    }
}

/// The same for one that must not be the name of a page.
pub fn explicit_unreserved<'a>(slug: &'a str, reserved: &[&str]) -> Result<&'a str, SlugError> {
    let slug = explicit(slug)?;
    if reserved.contains(&slug) { Err(SlugError::Reserved(slug.to_owned())) } else { Ok(slug) }
}

/// The slug to try when `slug` is taken for the `attempt`-th time, from 2: `slug-2`, cut so that it fits.
pub fn numbered(slug: &str, attempt: u32) -> String {
    let suffix = format!("-{attempt}");
    let room = SLUG_MAX - suffix.len();
    let cut = slug.char_indices().map(|(at, letter)| at + letter.len_utf8()).take_while(|end| *end <= room).last();
    format!("{}{suffix}", slug[..cut.unwrap_or(0)].trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn titles_become_slugs() {
        assert_eq!(from_title("Gig night", &[]).as_deref(), Some("gig-night"));
        assert_eq!(from_title("  Ünïcödé & ½ — Straße! ", &[]).as_deref(), Some("unicode-1-2-strasse"));
        assert_eq!(from_title("Don't", &[]).as_deref(), Some("dont"));
        assert_eq!(from_title("北京", &[]).as_deref(), Some("bei-jing"));
    }

    #[test]
    fn nothing_to_write_or_a_reserved_name_gives_none() {
        assert_eq!(from_title("!?", &[]), None);
        assert_eq!(from_title("Inbox", &["inbox"]), None);
    }

    #[test]
    fn given_slugs_are_taken_as_they_are_or_refused() {
        assert_eq!(explicit("gig-night"), Ok("gig-night"));
        for wrong in ["", "Gig", "gig night", "ü", &"a".repeat(81)] {
            assert_eq!(explicit(wrong), Err(SlugError::Malformed(wrong.to_owned())));
        }
        assert_eq!(explicit_unreserved("inbox", &["inbox"]), Err(SlugError::Reserved("inbox".into())));
    }

    #[test]
    fn a_taken_slug_gets_a_number() {
        assert_eq!(numbered("gig", 2), "gig-2");
        assert_eq!(numbered(&"a".repeat(80), 12), format!("{}-12", "a".repeat(77)));
    }

    proptest! {
        #[test]
        fn whatever_the_title_the_slug_is_one(title in ".{0,200}", attempt in 2_u32..5_000) {
            if let Some(slug) = from_title(&title, &[]) {
                prop_assert!(explicit(&slug).is_ok());
                prop_assert!(explicit(&numbered(&slug, attempt)).is_ok());
            }
        }
    }
}
