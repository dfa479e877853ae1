//! A part of a blob: `Range` and `If-Range` of RFC 9110, one range of bytes at a time.

use actix_web::HttpRequest;
use actix_web::http::header;
use bytes::Bytes;
use futures_util::future::ready;
use futures_util::{Stream, StreamExt};

use crate::wire::error::Problem;

/// The first and the last byte of a part, both in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    first: u64,
    last: u64,
}

/// What `Range` says of content.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// Nothing that we take: several ranges, another unit, or nonsense. Then all of it is the answer.
    Nothing,
    Part(Part),
    /// A part that the content does not have.
    Beyond,
}

/// The part that a request wants of content with this tag and size; `None` is all of it.
///
/// # Errors
/// 416 for a part that lies behind the end.
pub fn wanted(request: &HttpRequest, tag: &str, bytes: u64) -> Result<Option<Part>, Problem> {
    let text = |name| request.headers().get(name).map(|value: &header::HeaderValue| value.to_str().unwrap_or_default());
    // Whoever has a part of something else gets all of this. Of times we keep none.
    if text(header::IF_RANGE).is_some_and(|held| held.trim() != tag) {
        return Ok(None);
    }
    match text(header::RANGE).map_or(Said::Nothing, |range| read(range, bytes)) {
        Said::Nothing => Ok(None),
        Said::Part(part) => Ok(Some(part)),
        Said::Beyond => {
            let detail = format!("the blob has {bytes} bytes; ask for bytes of it, or leave Range out");
            let content_range = Some(format!("bytes */{bytes}"));
            Err(Problem { content_range, ..Problem::new(416, "range not satisfiable", detail) })
        }
    }
}

fn read(range: &str, bytes: u64) -> Said {
    let Some((unit, range)) = range.split_once('=') else { return Said::Nothing };
    let Some((from, to)) = range.trim().split_once('-') else { return Said::Nothing };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Said::Nothing;
    }
    let end = bytes.checked_sub(1);
    let (first, last) = match (from.is_empty(), number(from), number(to)) {
        (true, _, Some(count)) => (bytes.saturating_sub(count), end.filter(|_| count > 0)),
        (_, Some(first), None) if to.is_empty() => (first, end),
        (_, Some(first), Some(last)) if first <= last => (first, end.map(|end| last.min(end))),
        _ => return Said::Nothing,
    };
    match last {
        Some(last) if first <= last => Said::Part(Part { first, last }),
        _ => Said::Beyond,
    }
}

/// Digits and nothing else.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|digit| digit.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl Part {
    pub fn bytes(self) -> u64 {
        self.last - self.first + 1
    }

    /// `Content-Range` of this part of content of this size.
    pub fn shown(self, bytes: u64) -> String {
        format!("bytes {}-{}/{bytes}", self.first, self.last)
    }

    /// The part out of the chunks of the whole. What is behind it is not read.
    pub fn of<E>(self, chunks: impl Stream<Item = Result<Bytes, E>>) -> impl Stream<Item = Result<Bytes, E>> {
        let cut = move |at: &mut u64, chunk: Result<Bytes, E>| {
            let Ok(chunk) = chunk else { return ready(Some(Some(chunk))) };
            if *at > self.last {
                return ready(None);
            }
            let (start, end) = (*at, *at + chunk.len() as u64);
            *at = end;
            let place = |byte: u64| usize::try_from(byte.clamp(start, end) - start).unwrap_or(chunk.len());
            let piece = chunk.slice(place(self.first)..place(self.last + 1));
            ready(Some((!piece.is_empty()).then_some(Ok(piece))))
        };
        chunks.scan(0, cut).filter_map(ready)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};
    use proptest::prelude::*;

    use super::*;

    fn part(first: u64, last: u64) -> Said {
        Said::Part(Part { first, last })
    }

    #[test]
    fn one_range_of_bytes_is_taken_and_cut_to_what_there_is() {
        for (range, said) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=2-4", part(2, 4)),
            ("bytes=2-", part(2, 9)),
            ("Bytes=2-99", part(2, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-99", part(0, 9)),
            ("bytes=9-18446744073709551615", part(9, 9)),
            ("bytes=10-", Said::Beyond),
            ("bytes=10-20", Said::Beyond),
            ("bytes=-0", Said::Beyond),
        ] {
            assert_eq!(read(range, 10), said, "{range}");
        }
        assert_eq!(read("bytes=0-", 0), Said::Beyond);
        assert_eq!(read("bytes=-1", 0), Said::Beyond);
    }

    #[test]
    fn what_is_no_single_range_of_bytes_means_all_of_it() {
        for range in
            ["", "bytes", "bytes=", "bytes=-", "bytes=4-2", "bytes=0-1,3-4", "lines=0-1", "bytes=a-b", "bytes=+1-2"]
        {
            assert_eq!(read(range, 10), Said::Nothing, "{range}");
        }
    }

    proptest! {
        #[test]
        fn the_part_is_the_same_however_the_whole_is_chunked(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 1..8),
            ends in (0_usize..40, 0_usize..40),
        ) {
            let all = chunks.concat();
            prop_assume!(!all.is_empty());
            let (one, other) = (ends.0 % all.len(), ends.1 % all.len());
            let (first, last) = (one.min(other), one.max(other));
            let part = Part { first: first as u64, last: last as u64 };
            let whole = stream::iter(chunks.into_iter().map(|chunk| Ok::<_, ()>(Bytes::from(chunk))));
            let pieces: Vec<Bytes> = part.of(whole).map(Result::unwrap).collect().now_or_never().unwrap();
            prop_assert_eq!(pieces.concat(), &all[first..=last]);
            prop_assert_eq!(part.bytes(), (last - first + 1) as u64);
        }
    }
}
