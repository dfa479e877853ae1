//! Golden runs: whole instances as text, what happened and the facts that followed. `GOLDEN=write` keeps a new one.

use quickbeam::domains::flow::spot::{Role, Spot};
use quickbeam::domains::flow::step::{Cure, Event};
use serde_json::{Value, json};

use super::flow_steps::{Run, done, failed, given, resume, retry_due, tell};

fn undone(step: &str) -> Event {
    Event::Done { spot: Spot::new(step, None, 1, Role::Undo), result: Value::Null }
}

/// Compares with `tests/golden/runs/NAME.txt`.
#[track_caller]
fn holds(name: &str, flow: &str, story: &[(&str, Event)]) {
    let mut run: Run = given(flow);
    let mut text = format!("{flow}\n");
    for (what, event) in story {
        text.push_str(&format!("\n{what}\n"));
        match run.try_when(event.clone()) {
            Ok(run) => run.facts.iter().for_each(|fact| text.push_str(&format!("  {}\n", tell(fact)))),
            Err(refused) => text.push_str(&format!("  refused: {refused}\n")),
        }
        text.push_str(&format!("  = {}\n", run.progress.phase().word()));
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/runs/{name}.txt"));
    if std::env::var_os("GOLDEN").is_some_and(|word| word == "write") && !path.exists() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("no {name}.txt: run with GOLDEN=write"));
    assert_eq!(text, kept, "{name}");
}

#[test]
fn a_saga_that_gets_stuck_and_is_moved() {
    let flow = "steps.seat = { E, undo = \"un\", retry = { attempts = 2, delay = \"1s\" } }\n\
                steps.pay = { E, undo = \"un\", after = \"seat\", retry = { attempts = 1 } }";
    let undo_failed = Event::Failed {
        spot: Spot::new("seat", None, 1, Role::Undo),
        attempt: 1,
        reason: "closed".into(),
        cure: Cure::Nothing,
        trouble: None,
    };
    let by = || Some("ada".to_owned());
    holds(
        "saga",
        flow,
        &[
            ("it begins", Event::Start),
            ("the first try of seat is lost", failed("seat", None, 1, Cure::Time)),
            ("its next try is due", retry_due("seat", None, 1)),
            ("seat is done", done("seat")),
            ("pay gets no answer", failed("pay", None, 1, Cure::Time)),
            ("ada resumes it", resume("go", Value::Null)),
            ("ada cancels it", Event::Cancel { by: by(), reason: "enough".into() }),
            ("pay answers late", done("pay")),
            ("pay is taken back", undone("pay")),
            ("seat cannot be taken back", undo_failed),
            ("ada cancels it again", Event::Cancel { by: by(), reason: "enough".into() }),
            ("ada retries", Event::Retry { step: None, by: by() }),
            ("seat is taken back", undone("seat")),
            ("ada restarts it from pay", Event::Restart { step: "pay".into(), input: None, by: by() }),
        ],
    );
}

#[test]
fn waits_joins_and_a_question() {
    let flow = "steps.left = { wait = \"'1971-01-02'\", zone = \"Europe/Berlin\" }\n\
                steps.right = { suspend = \"go\", timeout = \"1h\" }\n\
                steps.both = { all = [\"left\", \"right\"], failures = \"collect\" }\n\
                steps.ask = { ask = \"allocate\", object = \"'o'\", target = \"'t'\", to = \"'p'\", after = \"both\", timeout = \"2d\", otherwise = \"end\" }\n\
                result = \"results.both\"";
    holds(
        "waits",
        flow,
        &[
            ("it begins", Event::Start),
            ("nobody sends go", Event::TimedOut { step: "right".into() }),
            ("the day comes", Event::WaitOver { step: "left".into() }),
            ("nobody answers", Event::TimedOut { step: "ask".into() }),
            ("an answer comes late", Event::Done { spot: Spot::of("ask", None), result: json!(1) }),
            ("it is taken back", undone("ask")),
        ],
    );
}

#[test]
fn a_child_and_a_service_are_waited_for_in_a_join_and_taken_back() {
    let flow = "steps.child = { call = \"other\", with = { n = \"1\" }, timeout = \"1h\", otherwise = \"fail\" }\n\
                steps.order = { http = \"POST\", url = \"'https://a.example/'\", undo = { http = \"DELETE\", url = \"'https://a.example/'\" }, retry = { attempts = 2, delay = \"1s\" } }\n\
                steps.both = { all = [\"child\", \"order\"], failures = \"collect\" }\n\
                steps.ask = { ask = \"allocate\", object = \"'o'\", target = \"'t'\", to = \"'p'\", after = \"both\" }\n\
                concurrency = { max = 1 }";
    let admitted = |ticket| Event::Admitted { limit: quickbeam::domains::flow::limits::Limit::Concurrency, ticket };
    holds(
        "joined",
        flow,
        &[
            ("it begins", Event::Start),
            ("another life is let in", admitted(7)),
            ("it is let in", admitted(0)),
            ("the service is away", failed("order", None, 1, Cure::Time)),
            ("its next try is due", retry_due("order", None, 1)),
            ("the service answers", done("order")),
            ("the child takes too long", Event::TimedOut { step: "child".into() }),
            ("the child answers late", done("child")),
            ("the child is taken back", undone("child")),
            ("the peer says no", failed("ask", None, 1, Cure::Nothing)),
            ("the order is taken back", undone("order")),
            ("the service answers again", done("order")),
        ],
    );
}
