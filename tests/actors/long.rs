//! Turns that take long to decide: beside the arbiter, so that others go on meanwhile, and otherwise like any turn.

use quickbeam::actors::ask::AskError;

use super::engine::SteeredEngine;
use super::node::{Node, on_system};
use super::probe::{Command, Held, has_begun, hold, panic_on};

fn ponder(text: &str) -> Command {
    Command::Ponder(text.to_owned())
}

async fn begins(text: &str) {
    while !has_begun(text) {
        tokio::task::yield_now().await;
    }
}

#[test]
fn others_go_on_while_a_turn_takes_long_and_its_own_next_turns_wait() {
    on_system(async {
        let node = Node::on(SteeredEngine::shared()).await;
        hold("long", Held::Asked);
        let asked = async { node.ask("a", ponder("long")).await };
        let meanwhile = async {
            begins("long").await;
            assert_eq!(node.ask("b", Command::Add(1)).await.unwrap().total, 1, "on the same arbiter");
            let after = node.ask("a", Command::Hear("after".into()));
            let last = async {
                assert_eq!(node.ask("b", Command::Add(1)).await.unwrap().total, 2);
                assert_eq!(node.stored("a").await.map(|it| it.heard), None, "nothing of it is taken yet");
                hold("long", Held::Over);
            };
            futures_util::future::join(after, last).await.0.unwrap();
        };
        futures_util::future::join(asked, meanwhile).await.0.unwrap();
        assert_eq!(node.stored("a").await.unwrap().heard, ["long", "after"]);
    });
}

#[test]
fn messages_that_take_long_are_taken_once_and_in_their_order() {
    on_system(async {
        let node = Node::on(SteeredEngine::shared()).await;
        let texts: Vec<String> = ["one", "ponder:two", "three", "ponder:four"].map(str::to_owned).into();
        node.ask("a", Command::Tell { to: "b".into(), texts: texts.clone() }).await.unwrap();
        node.until("b", |b| b.heard == texts).await;
    });
}

#[test]
fn a_panic_of_a_turn_that_takes_long_is_caught_like_any_other() {
    on_system(async {
        let node = Node::on(SteeredEngine::shared()).await;
        panic_on("ponder panics", 1);
        let refused = node.ask("a", ponder("ponder panics")).await.unwrap_err();
        assert!(matches!(refused, AskError::Panicked), "{refused}");
        node.ask("a", ponder("ponder panics")).await.unwrap();
        assert_eq!(node.stored("a").await.unwrap().heard, ["ponder panics"]);
    });
}
