//! A range that is too long for one read.

use super::{Engine, ReadError, Row, Span};

/// Shows the rows of a span from its beginning to its end, in pages of as many as its limit says.
///
/// # Errors
/// What the store says; the pages before were shown.
pub async fn pages(engine: &dyn Engine, span: Span, mut each: impl FnMut(&[Row])) -> Result<(), ReadError> {
    let mut next = span.clone();
    loop {
        let page = engine.range(next).await?;
        let Some(last) = page.last() else { return Ok(()) };
        next = span.clone().after(&last.key);
        each(&page);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::store::{Batch, Key, MemoryEngine};

    #[test]
    fn every_row_is_shown_once_whatever_the_size_of_a_page() {
        let engine = MemoryEngine::default();
        let key = |number: u64| Key::build().number(number).done();
        let puts = (0..10).map(|number| (key(number), vec![1].into())).collect();
        engine.commit(Batch { puts, ..Batch::default() }).now_or_never().unwrap();
        for limit in [1, 3, 5, 10, 11] {
            let (mut shown, mut longest) = (Vec::new(), 0);
            let see = |page: &[Row]| {
                longest = longest.max(page.len());
                shown.extend(page.iter().map(|row| row.key.clone()));
            };
            pages(&engine, Span::prefix(&Key::default(), limit), see).now_or_never().unwrap().unwrap();
            assert_eq!(shown, (0..10).map(key).collect::<Vec<_>>());
            assert!(longest <= limit, "{longest} rows in a page of {limit}");
        }
    }
}
