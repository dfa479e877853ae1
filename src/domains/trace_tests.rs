//! What is taken for a trace, and what is not: the rules of W3C Trace Context, with its own examples.

use super::*;

/// The example of the standard.
const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn state_of(states: &[&str]) -> Option<String> {
    Context::incoming([GIVEN], states.iter().copied()).unwrap().state().map(str::to_owned)
}

#[test]
fn the_example_of_the_standard_is_read_and_written_again() {
    let context = Context::parse(GIVEN).unwrap();
    assert_eq!(context.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(context.span.to_string(), "b7ad6b7169203331");
    assert!(context.is_sampled());
    assert_eq!(context.parent(), GIVEN);
    assert!(!Context::parse(&GIVEN.replace("-01", "-00")).unwrap().is_sampled());
}

#[test]
fn of_the_flags_those_that_are_known_are_handed_on() {
    for (given, kept) in [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("ff", "03"), ("09", "01")] {
        let context = Context::parse(&GIVEN.replace("-01", &format!("-{given}"))).unwrap();
        assert!(context.parent().ends_with(&format!("-{kept}")), "{given}: {}", context.parent());
    }
}

#[test]
fn what_is_malformed_is_no_trace() {
    let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let malformed = [
        String::new(),
        "00".to_owned(),
        format!("00-{trace}-{span}"),
        format!("00-{trace}-{span}-"),
        format!("00-{trace}-{span}-1"),
        format!("00-{trace}-{span}-01-"),
        format!("00-{trace}-{span}-01-what"),
        format!("00-{trace}-{span}-0g"),
        format!("00-{trace}-{span}-01 "),
        format!(" 00-{trace}-{span}-01"),
        format!("0-{trace}-{span}-01"),
        format!("ff-{trace}-{span}-01"),
        format!("0G-{trace}-{span}-01"),
        format!("00_{trace}-{span}-01"),
        format!("00-{}-{span}-01", trace.to_uppercase()),
        format!("00-{trace}-{}-01", span.to_uppercase()),
        format!("00-{}-{span}-01", "0".repeat(32)),
        format!("00-{trace}-{}-01", "0".repeat(16)),
        format!("00-{}-{span}-01", &trace[1..]),
        format!("00-{trace}0-{span}-01"),
        format!("00-{trace}-{}-01", &span[1..]),
        format!("00-{}-{span}-01", trace.replacen('0', "é", 1)),
        format!("cc-{trace}-{span}-01.what"),
    ];
    for given in malformed {
        assert_eq!(Context::parse(&given), None, "{given:?}");
    }
}

#[test]
fn of_a_later_version_what_is_known_counts() {
    for given in [GIVEN.replacen("00", "01", 1), format!("{}-what-more", GIVEN.replacen("00", "fe", 1))] {
        assert_eq!(Context::parse(&given), Context::parse(GIVEN), "{given}");
    }
}

#[test]
fn two_parents_are_none() {
    assert_eq!(Context::incoming([GIVEN, GIVEN], []), None);
    assert_eq!(Context::incoming([], ["a=1"]), None);
}

#[test]
fn vendors_are_handed_on_in_their_order_and_in_one_line() {
    assert_eq!(state_of(&["congo=t61rcWkgMzE"]).as_deref(), Some("congo=t61rcWkgMzE"));
    assert_eq!(state_of(&["a=1 ,\tb=2,, c@d=3", "", "e/f*=x:y z"]).as_deref(), Some("a=1,b=2,c@d=3,e/f*=x:y z"));
    assert_eq!(state_of(&["0a=1"]).as_deref(), Some("0a=1"), "level 2 lets keys begin with digits");
    assert_eq!(state_of(&[]), None);
}

#[test]
fn vendors_that_break_a_rule_are_left_out_and_the_trace_stays() {
    let long = "x".repeat(257);
    let many = (0..33).map(|number| format!("k{number}=1")).collect::<Vec<_>>().join(",");
    for given in ["a", "a=", "=1", "A=1", "a b=1", "a=1,a=2", "a=b=c", "a=é", "@a=1", &format!("a={long}"), &many] {
        assert_eq!(state_of(&[given]), None, "{given:?}");
    }
    assert_eq!(state_of(&[&format!("{long}=1")]), None);
}

#[test]
fn no_stranger_makes_this_node_keep_more_than_512_letters() {
    let member = |number: usize| format!("vendor{number:02}={}", "v".repeat(91));
    let given: Vec<String> = (0..20).map(member).collect();
    let state = state_of(&[&given.join(",")]).unwrap();
    assert_eq!(state, given[..5].join(","), "whole members, the newest");
    assert!(state.len() <= 512);
}

#[test]
fn spans_below_one_have_their_own_ids_the_same_each_time() {
    let context = Context::incoming([GIVEN], ["a=1"]).unwrap();
    let (one, two) = (context.of_try("f/1/a/-/do", 1), context.of_try("f/1/a/-/do", 2));
    assert_eq!(one, context.of_try("f/1/a/-/do", 1));
    assert_ne!(one.span, two.span);
    assert_ne!(one.span, context.span);
    assert_eq!((one.trace, one.is_sampled(), one.state()), (context.trace, true, Some("a=1")));
    let begun = Context::begin([7; 16]);
    assert_eq!(begun.trace.to_string(), "07".repeat(16));
    assert!(!begun.is_sampled() && Context::parse(&begun.parent()).is_some());
    assert!(Context::parse(&Context::begin([0; 16]).parent()).is_some());
}

#[test]
fn a_flow_that_began_in_no_trace_has_one_that_is_named_after_it() {
    let id = "8ed4d05e5a5dfd1c9da0d1dc4d9a25f7";
    assert_eq!(Context::of_flow(None, id).trace.to_string(), id);
    assert!(Context::parse(&Context::of_flow(None, "some other name").parent()).is_some());
    let began_in = Context::parse(GIVEN).unwrap();
    let flow = Context::of_flow(Some(&began_in), id);
    assert!(flow.trace == began_in.trace && flow.span != began_in.span);
}

#[test]
fn it_is_stored_in_few_bytes_and_shown_as_a_line() {
    for states in [&[][..], &["a=1,b=2"][..]] {
        let context = Context::incoming([GIVEN], states.iter().copied()).unwrap();
        let stored = rmp_serde::to_vec_named(&context).unwrap();
        assert_eq!(stored.len(), 27 + context.state().map_or(0, str::len));
        assert_eq!(rmp_serde::from_slice::<Context>(&stored).unwrap(), context);
        let shown = serde_json::to_string(&context).unwrap();
        assert_eq!(serde_json::from_str::<Context>(&shown).unwrap(), context);
    }
    assert!(rmp_serde::from_slice::<Context>(&rmp_serde::to_vec("nothing").unwrap()).is_err());
    assert!(rmp_serde::from_slice::<Context>(&[0xc4, 2, 0, 0]).is_err());
}
