//! What every engine has to do.

use std::sync::Arc;

use futures_util::future::join_all;
use quickbeam::store::{Change, Engine, Epoch, Key, Outcome, Position, Refusal, Span};

use crate::subject::{Subject, Words, batch, block_on, committed, everything, key, refused, shown, value};

#[test]
fn a_committed_row_is_read_back_with_the_position_that_wrote_it() {
    for mut subject in Subject::all() {
        let position = committed(&*subject.engine(), batch().put("a", "1"));
        let row = block_on(subject.engine().get(&key("a"))).unwrap().unwrap();
        assert_eq!((row.version, &row.value[..]), (position, &b"1"[..]));
        assert_eq!(value(&*subject.engine(), "b"), None);
    }
}

#[test]
fn positions_grow_with_every_batch_even_an_empty_one() {
    for mut subject in Subject::all() {
        let positions = [(); 5].map(|()| committed(&*subject.engine(), batch()));
        assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
    }
}

#[test]
fn a_batch_puts_and_deletes_together() {
    for mut subject in Subject::all() {
        committed(&*subject.engine(), batch().put("a", "1").put("b", "1"));
        committed(&*subject.engine(), batch().put("b", "2").put("c", "2").delete("a").delete("never"));
        assert_eq!(everything(&*subject.engine()), ["b=2", "c=2"]);
    }
}

#[test]
fn an_empty_value_is_not_an_absent_one() {
    for mut subject in Subject::all() {
        committed(&*subject.engine(), batch().put("a", ""));
        assert_eq!(value(&*subject.engine(), "a"), Some(String::new()));
    }
}

#[test]
fn conditions_are_checked_and_the_refused_one_is_named() {
    for mut subject in Subject::all() {
        let first = committed(&*subject.engine(), batch().absent("a").put("a", "1"));
        let again = block_on(subject.engine().commit(batch().absent("x").absent("a").put("a", "2")));
        assert_eq!(refused(again), Refusal::Condition(1));
        let second = committed(&*subject.engine(), batch().at("a", first).put("a", "3"));
        let stale = block_on(subject.engine().commit(batch().at("a", first).put("a", "4").put("b", "4")));
        assert_eq!(refused(stale), Refusal::Condition(0));
        committed(&*subject.engine(), batch().at("a", second).delete("a"));
        let gone = block_on(subject.engine().commit(batch().at("a", second)));
        assert_eq!(refused(gone), Refusal::Condition(0));
        committed(&*subject.engine(), batch().absent("a"));
        assert_eq!(everything(&*subject.engine()), Vec::<String>::new());
    }
}

#[test]
fn conditions_see_batches_queued_before_them_and_neighbours_do_not_mind_a_refusal() {
    for mut subject in Subject::all() {
        let engine = subject.engine();
        let queued = [
            batch().absent("a").put("a", "first"),
            batch().absent("a").put("a", "second"),
            batch().put("b", "neighbour"),
            batch().absent("b").put("c", "never"),
            batch().delete("a"),
            batch().absent("a").put("a", "third"),
        ];
        let outcomes = block_on(join_all(queued.map(|batch| engine.commit(batch))));
        let landed = outcomes.iter().map(|outcome| matches!(outcome, Outcome::Committed(_))).collect::<Vec<_>>();
        assert_eq!(landed, [true, false, true, false, true, true], "{outcomes:?}");
        assert_eq!(everything(&*engine), ["a=third", "b=neighbour"]);
    }
}

#[test]
fn a_commit_happens_though_nobody_waits_for_it() {
    for mut subject in Subject::all() {
        let engine = subject.engine();
        drop(engine.commit(batch().put("a", "1")));
        committed(&*engine, batch());
        assert_eq!(value(&*engine, "a").as_deref(), Some("1"));
    }
}

#[test]
fn a_late_batch_of_an_old_epoch_is_refused_for_ever() {
    for mut subject in Subject::all() {
        committed(&*subject.engine(), batch().epoch(3).put("a", "3"));
        committed(&*subject.engine(), batch().epoch(5));
        let late = block_on(subject.engine().commit(batch().epoch(4).put("a", "4")));
        assert_eq!(refused(late), Refusal::Fenced { current: Epoch(5) });
        committed(&*subject.engine(), batch().epoch(5).put("b", "5"));
        committed(&*subject.engine(), batch().shard(1).epoch(1).put("c", "1"));
        assert_eq!(everything(&*subject.engine()), ["a=3", "b=5", "c=1"]);
    }
}

#[test]
fn a_refused_batch_does_not_raise_the_fence() {
    for mut subject in Subject::all() {
        committed(&*subject.engine(), batch().epoch(1).put("a", "1"));
        let refusal = block_on(subject.engine().commit(batch().epoch(9).absent("a")));
        assert_eq!(refused(refusal), Refusal::Condition(0));
        committed(&*subject.engine(), batch().epoch(1));
    }
}

#[test]
fn a_fence_is_raised_for_what_is_queued_behind_it_at_once() {
    for mut subject in Subject::all() {
        let engine = subject.engine();
        let queued = [batch().epoch(1), batch().epoch(2), batch().epoch(1).put("a", "late")];
        let mut outcomes = block_on(join_all(queued.map(|batch| engine.commit(batch))));
        assert_eq!(refused(outcomes.pop().unwrap()), Refusal::Fenced { current: Epoch(2) });
    }
}

fn names(engine: &dyn Engine, span: Span) -> Vec<String> {
    block_on(engine.range(span)).unwrap().iter().map(shown).collect()
}

#[test]
fn ranges_have_an_inclusive_start_an_exclusive_end_a_limit_and_a_direction() {
    for mut subject in Subject::all() {
        for name in ["b", "d", "a", "c", "e"] {
            committed(&*subject.engine(), batch().put(name, "1"));
        }
        let engine = subject.engine();
        let span = Span { from: key("b"), to: key("e"), ..Span::prefix(&Key::default(), 10) };
        assert_eq!(names(&*engine, span.clone()), ["b=1", "c=1", "d=1"]);
        assert_eq!(names(&*engine, span.clone().backward()), ["d=1", "c=1", "b=1"]);
        assert_eq!(names(&*engine, Span { limit: 2, ..span.clone() }), ["b=1", "c=1"]);
        assert_eq!(names(&*engine, Span { limit: 2, ..span.clone().backward() }), ["d=1", "c=1"]);
        assert_eq!(names(&*engine, span.clone().after(&key("b"))), ["c=1", "d=1"]);
        assert_eq!(names(&*engine, span.clone().backward().before(&key("d"))), ["c=1", "b=1"]);
        assert!(names(&*engine, Span { limit: 0, ..span.clone() }).is_empty());
        assert!(names(&*engine, Span { from: key("e"), to: key("b"), ..span }).is_empty());
        assert_eq!(names(&*engine, Span::prefix(&Key::default(), 10)).len(), 5);
    }
}

#[test]
fn changes_come_in_commit_order_and_only_for_the_prefix() {
    for subject in [Subject::memory(), Subject::cramped()] {
        let mut subject = subject;
        let engine = subject.engine();
        let mut hints = engine.changes(&Key::build().text("row").done());
        let other = Key::build().text("other").done();
        for number in 0..20 {
            let mut batch = batch().put(&format!("{number}"), "1").delete("gone");
            batch.puts.push((other.clone(), "1".into()));
            committed(&*engine, batch);
        }
        let heard = block_on(async {
            let mut heard = Vec::new();
            while heard.len() < 20 {
                match hints.recv().await.unwrap() {
                    Change::Put(keys) => heard.extend(keys),
                    Change::Missed => panic!("nothing was missed"),
                }
            }
            heard
        });
        assert_eq!(heard, (0..20).map(|number| key(&number.to_string())).collect::<Vec<_>>());
    }
}

#[test]
fn a_hinted_row_can_be_read() {
    for mut subject in Subject::all() {
        let engine = subject.engine();
        let mut hints = engine.changes(&Key::default());
        drop(engine.commit(batch().put("a", "1")));
        assert_eq!(block_on(hints.recv()), Some(Change::Put(vec![key("a")])));
        assert_eq!(value(&*engine, "a").as_deref(), Some("1"));
    }
}

/// Whoever watches and then looks misses nothing, whenever between two commits that is.
#[test]
fn who_watches_and_then_sees_nothing_is_told() {
    for mut subject in Subject::all() {
        let engine = subject.engine();
        for number in 0..400 {
            let name = number.to_string();
            let committing = engine.commit(batch().put(&name, "1"));
            let committing = std::thread::spawn(move || block_on(committing));
            (0..number % 40).for_each(|_| std::hint::spin_loop());
            let mut hints = engine.changes(&key(&name));
            if value(&*engine, &name).is_none() {
                assert_eq!(block_on(hints.recv()), Some(Change::Put(vec![key(&name)])), "{name}");
            }
            assert!(matches!(committing.join().unwrap(), Outcome::Committed(_)));
        }
    }
}

#[test]
fn writers_at_once_never_both_win() {
    for mut subject in Subject::all() {
        let engine = subject.engine();
        committed(&*engine, batch().put("count", "0"));
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(counting(engine.clone()))).collect();
        let wins: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(value(&*engine, "count"), Some(wins.to_string()));
        assert!(wins >= 25);
    }
}

/// Tries 25 times to count one up, and says how often that went through.
fn counting(engine: Arc<dyn Engine>) -> impl FnOnce() -> u64 + Send {
    move || {
        let attempt = |_: &usize| {
            let row = block_on(engine.get(&key("count"))).unwrap().unwrap();
            let count: u64 = std::str::from_utf8(&row.value).unwrap().parse().unwrap();
            let next = batch().at("count", row.version).put("count", &(count + 1).to_string());
            matches!(block_on(engine.commit(next)), Outcome::Committed(Position(_)))
        };
        (0..25).filter(attempt).count() as u64
    }
}
