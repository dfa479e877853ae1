//! What is and what is not an activity.

use serde_json::json;

use super::*;

fn iri(text: &str) -> Iri {
    Iri::parse(text).unwrap()
}

fn follow() -> Value {
    json!({
        "@context": "https://www.w3.org/ns/activitystreams",
        "id": "https://a.example/activities/1",
        "type": "Follow",
        "actor": "https://a.example/actor",
        "object": "https://b.example/actor",
    })
}

fn with(field: &str, value: Value) -> Result<Activity, ActivityError> {
    let mut json = follow();
    json[field] = value;
    Activity::parse(&json)
}

#[test]
fn a_plain_follow_is_read() {
    let read = Activity::parse(&follow()).unwrap();
    assert_eq!(read.verb, Verb::Follow);
    assert_eq!(read.id, iri("https://a.example/activities/1"));
    assert_eq!(read.actor, iri("https://a.example/actor"));
    assert_eq!(read.object, Object { id: iri("https://b.example/actor"), embedded: None });
    assert_eq!((read.target, read.published, read.result), (None, None, None));
    assert_eq!(read.raw, follow());
}

#[test]
fn one_may_stand_in_a_list_and_an_id_in_an_object() {
    let embedded = json!({"id": "https://a.example/note", "type": "Note", "content": "x"});
    let read = with("object", json!([embedded])).unwrap();
    assert_eq!(read.object.id, iri("https://a.example/note"));
    assert_eq!(read.object.kind(), Some("Note"));
    assert_eq!(read.object.embedded, Some(embedded));
    assert_eq!(
        with("actor", json!([{"id": "https://a.example/actor"}])).unwrap().actor,
        iri("https://a.example/actor")
    );
    assert_eq!(with("target", json!({"id": "https://b.example/c"})).unwrap().target, Some(iri("https://b.example/c")));
    assert_eq!(with("target", Value::Null).unwrap().target, None);
}

#[test]
fn addresses_are_one_or_many_and_public_has_three_names() {
    let read = with("to", json!("as:Public")).unwrap();
    assert_eq!(read.to, [Address::Public]);
    let list =
        json!(["Public", PUBLIC, "https://b.example/actor", {"id": "https://c.example/actor"}, "acct:x@y.example"]);
    let read = with("cc", list).unwrap();
    let named = |text| Address::Iri(iri(text));
    let expected =
        [Address::Public, Address::Public, named("https://b.example/actor"), named("https://c.example/actor")];
    assert_eq!(read.cc, expected);
    assert!(read.is_public() && read.to.is_empty());
    assert!(!with("bto", json!("as:Public")).unwrap().is_public());
}

#[test]
fn allocate_means_ours_only_where_the_context_says_so() {
    let allocate = |context: Value, name: Value| {
        let mut json = follow();
        json["@context"] = context;
        json["type"] = name;
        Activity::parse(&json).map(|activity| activity.verb)
    };
    let mapped = json!([ACTIVITY_STREAMS, {"Allocate": ALLOCATE}]);
    assert_eq!(allocate(mapped.clone(), json!("Allocate")), Ok(Verb::Allocate));
    assert_eq!(allocate(json!({"Allocate": {"@id": ALLOCATE}}), json!("Allocate")), Ok(Verb::Allocate));
    assert_eq!(allocate(json!(ACTIVITY_STREAMS), json!(ALLOCATE)), Ok(Verb::Allocate));
    assert_eq!(allocate(json!(ACTIVITY_STREAMS), json!("Allocate")), Err(ActivityError::UnmappedAllocate));
    assert_eq!(allocate(Value::Null, json!("Allocate")), Err(ActivityError::UnmappedAllocate));
    let foreign = json!([{"Allocate": ALLOCATE}, {"Allocate": "https://other.example/ns#Allocate"}]);
    assert_eq!(allocate(foreign, json!("Allocate")), Ok(Verb::Other("https://other.example/ns#Allocate".into())));
    assert_eq!(allocate(mapped.clone(), json!(["Offer", "Allocate"])), Ok(Verb::Allocate));
    assert_eq!(
        allocate(mapped, json!(["Create", "Allocate"])),
        Err(ActivityError::AmbiguousType { first: Verb::Create, second: Verb::Allocate })
    );
}

#[test]
fn unknown_verbs_need_only_an_id_and_an_actor() {
    let mut json = follow();
    json["type"] = "Flag".into();
    json["object"] = json!(["https://b.example/1", "https://b.example/2"]);
    json["target"] = json!(7);
    let read = Activity::parse(&json).unwrap();
    assert_eq!(read.verb, Verb::Other("Flag".into()));
    assert_eq!((read.object.id, read.target), (read.id, None));
    json.as_object_mut().unwrap().remove("actor");
    assert_eq!(Activity::parse(&json), Err(ActivityError::Missing { field: "actor" }));
}

#[test]
fn each_refusal_names_its_field() {
    use ActivityError as E;
    assert!(matches!(Activity::parse(&json!([])), Err(E::NotAnObject { found: "a list" })));
    for field in ["id", "type", "actor", "object"] {
        assert_eq!(with(field, Value::Null), Err(E::Missing { field }));
        assert!(matches!(with(field, json!(7)), Err(E::WrongType { field: named, .. }) if named == field));
    }
    for field in ["id", "actor", "object", "target", "result"] {
        let result = with(field, json!("https://A.example/"));
        assert!(matches!(result, Err(E::BadId { field: named, .. }) if named == field), "{field}");
    }
    assert!(matches!(with("id", json!(["https://a.example/1"])), Err(E::WrongType { field: "id", .. })));
    assert_eq!(with("object", json!({"type": "Note"})), Err(E::Missing { field: "object.id" }));
    assert_eq!(with("object", json!([])), Err(E::Missing { field: "object" }));
    assert!(matches!(with("object", json!({"id": {}})), Err(E::WrongType { field: "object.id", .. })));
    assert!(matches!(with("actor", json!({"id": "x"})), Err(E::BadId { field: "actor.id", .. })));
    let two = json!(["https://a.example/1", "https://a.example/2"]);
    assert_eq!(with("object", two.clone()), Err(E::Several { field: "object", count: 2 }));
    assert_eq!(with("actor", two), Err(E::Several { field: "actor", count: 2 }));
    assert!(matches!(with("to", json!([7])), Err(E::WrongType { field: "to", .. })));
    assert!(matches!(with("bcc", json!(vec!["x"; 10_001])), Err(E::TooMany { field: "bcc", count: 10_001 })));
    assert_eq!(with("type", json!([])), Err(E::Missing { field: "type" }));
    assert!(matches!(with("result", json!(true)), Err(E::WrongType { field: "result", .. })));
    for bad in ["yesterday", "", "2026-13-01T00:00:00Z"] {
        assert_eq!(with("published", json!(bad)), Err(E::BadTime { given: bad.into() }));
    }
}

#[test]
fn published_is_read_with_any_offset_and_without_one() {
    let at = |text: &str| with("published", json!(text)).unwrap().published;
    assert_eq!(at("2021-04-20T02:07:53.042Z"), Some(Time(1_618_884_473_042)));
    assert_eq!(at("2021-04-20T04:07:53.042+02:00"), Some(Time(1_618_884_473_042)));
    assert_eq!(at("2021-04-20T02:07:53.042"), Some(Time(1_618_884_473_042)));
    assert_eq!(at("1903-04-20T02:07:53Z"), Some(Time(0)));
}

#[test]
fn an_activity_is_stored_as_the_json_it_came_as() {
    let read = with("result", json!({"id": "https://b.example/e", "extra": [1, {"deep": null}]})).unwrap();
    assert_eq!(read.result.as_ref().and_then(Reference::id), Some(iri("https://b.example/e")));
    let text = serde_json::to_string(&read).unwrap();
    assert_eq!(text, read.raw.to_string());
    assert_eq!(serde_json::from_str::<Activity>(&text).unwrap(), read);
    let packed = rmp_serde::to_vec_named(&read).unwrap();
    assert_eq!(rmp_serde::from_slice::<Activity>(&packed).unwrap(), read);
}

#[test]
fn words_are_one_line_of_plain_text_that_is_not_long() {
    let said = |summary: Value| {
        let mut activity = follow();
        activity["summary"] = summary;
        Activity::parse(&activity).unwrap().words()
    };
    assert_eq!(said(json!(" all\n seats\u{0}\u{7} are \t taken ")).as_deref(), Some("all seats are taken"));
    assert_eq!(said(json!("é".repeat(300))).unwrap().chars().count(), 300);
    assert_eq!(said(json!("é".repeat(301))).unwrap(), format!("{}…", "é".repeat(300)));
    for nothing in [json!(""), json!(" \n"), json!(7), json!({"en": "no"}), Value::Null] {
        assert_eq!(said(nothing.clone()), None, "{nothing}");
    }
}
