//! Smaller headers and parameters: traces, ranges, conditions, places in lists.

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::test::TestRequest;
use quickbeam::domains::trace::Context;
use quickbeam::store::Key;
use quickbeam::web::list;
use quickbeam::web::store::{conditions, range};

use super::run::{Target, named, text};

const TRACES: [&str; 15] = [
    "00-",
    "01-",
    "ff-",
    "-00",
    "-01",
    "-03",
    "-",
    "0af7651916cd43dd8448eb211c80319c",
    "00000000000000000000000000000000",
    "b7ad6b7169203331",
    "\n",
    "vendor=value",
    ",",
    "=",
    "tenant@vendor= a",
];

/// The first line is the parent, each further one a `tracestate`.
#[test]
fn trace() {
    Target { name: "trace", also: &[], made: &[], tokens: &TRACES }.run(|input| {
        let given = text(input);
        let (parent, states) = given.split_once('\n').unwrap_or((&given, ""));
        let Some(context) = Context::incoming([parent], states.split('\n')) else { return "none".to_owned() };
        assert_eq!(Context::incoming([context.parent().as_str()], context.state()).as_ref(), Some(&context));
        assert!(context.parent().len() == 55 && context.state().is_none_or(|state| state.len() <= 512));
        assert!(HeaderValue::from_str(&context.parent()).is_ok());
        assert!(context.state().is_none_or(|state| HeaderValue::from_str(state).is_ok()));
        let stored = rmp_serde::to_vec_named(&context).unwrap();
        assert_eq!(rmp_serde::from_slice::<Context>(&stored).unwrap(), context);
        assert_eq!(serde_json::from_value::<Context>(serde_json::to_value(&context).unwrap()).unwrap(), context);
        assert_eq!(context.child("x").trace, context.trace);
        format!("{} {}", context.is_sampled(), context.state().is_some())
    });
}

/// A request with these values of a header, none when HTTP does not let them in.
fn request(header: &'static str, values: &str) -> Option<HttpRequest> {
    let name = HeaderName::from_static(header);
    let values = values.split('\n').map(HeaderValue::from_str).collect::<Result<Vec<_>, _>>().ok()?;
    let request =
        values.into_iter().fold(TestRequest::get(), |request, value| request.append_header((name.clone(), value)));
    Some(request.to_http_request())
}

#[test]
fn byte_range() {
    let tokens =
        ["bytes=", "Bytes =", "items=", "-", "0-", "-0", "0-0", "999-", "1000-", "500-499", ",", " ", "+1", "\n", "="];
    Target { name: "byte_range", also: &[], made: &[], tokens: &tokens }.run(|input| {
        let Some(request) = request("range", &text(input)) else { return "no header".to_owned() };
        let mut met = String::new();
        for bytes in [0, 1, 1_000, u64::MAX] {
            match range::wanted(&request, "\"tag\"", bytes) {
                Ok(None) => met.push('-'),
                Ok(Some(part)) => {
                    let shown = part.shown(bytes);
                    let (first, rest) = shown.strip_prefix("bytes ").unwrap().split_once('-').unwrap();
                    let (last, all) = rest.split_once('/').unwrap();
                    let [first, last, all] = [first, last, all].map(|number| number.parse::<u64>().unwrap());
                    assert!(first <= last && last < all && all == bytes && part.bytes() == last - first + 1);
                    met.push('+');
                }
                Err(problem) => {
                    assert_eq!(problem.status, 416);
                    met.push('!');
                }
            }
        }
        met
    });
}

#[test]
fn conditions() {
    let tokens = ["*", "\"", "\"7\"", "W/\"7\"", "7", ",", " ", "\n", "é", "\"\"", "abc"];
    Target { name: "conditions", also: &[], made: &[], tokens: &tokens }.run(|input| {
        let mut met = String::new();
        for header in ["if-match", "if-none-match"] {
            let Some(request) = request(header, &text(input)) else { return "no header".to_owned() };
            match conditions::wanted(&request) {
                Ok(conditions::Wanted::Tag(tag)) => {
                    assert!(
                        header == "if-match" && !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_alphanumeric())
                    );
                    let quoted = self::request(header, &format!("\"{tag}\"")).unwrap();
                    assert_eq!(conditions::wanted(&quoted).ok(), Some(conditions::Wanted::Tag(tag.clone())));
                    met += if conditions::number(&tag).is_ok() { "number" } else { "tag" };
                }
                Ok(wanted) => met += &named(&wanted),
                Err(problem) => assert_eq!(problem.status, 400),
            }
        }
        met
    });
}

#[test]
fn place_in_a_list() {
    let prefix = Key::build().tag(7).text("list").done();
    let row = Key::build().raw(prefix.as_bytes()).text("a").number(1).done();
    let made = [list::row_place(&prefix, &row).into_bytes(), list::place("a text").into_bytes()];
    Target { name: "place_in_a_list", also: &[], made: &made, tokens: &["=", "A", "_", "-", "+", "/", "AAAA", "____"] }
        .run(|input| {
            let after = text(input);
            if let Ok(text) = list::placed(&after) {
                assert_eq!(list::place(&text), after, "two places are one");
            }
            match list::row_placed(&prefix, &after) {
                Ok(key) => {
                    assert!(key.starts_with(&prefix), "it leads out of its list");
                    assert_eq!(list::row_place(&prefix, &key), after);
                    format!("{}", list::placed(&after).is_ok())
                }
                Err(problem) => problem.status.to_string(),
            }
        });
}
