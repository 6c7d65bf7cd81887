use super::*;
use crate::scaling::fewer::Loss;
use std::{format, vec};

pub(super) fn candidate(
    instance: &str,
    node: u32,
    in_flight: Option<u32>,
    obstacle: Option<Obstacle>,
) -> Candidate {
    Candidate {
        instance: instance.into(),
        node: Some(NodeId(node)),
        in_flight,
        sessions: None,
        is_down: false,
        obstacle,
    }
}

pub(super) fn costs(cost_ms: u32) -> Option<Loss> {
    Some(Loss { cost_ms: Some(cost_ms), sessions: Some(0), state_kib: Some(0), ..Loss::default() })
}

fn fewer(may_lose: bool) -> Fewer {
    let candidates = vec![
        candidate("web.5", 1, Some(2), None),
        candidate("web.4", 1, None, None),
        candidate("web.3", 2, Some(0), Some(Obstacle::Held(1_500))),
        candidate("web.2", 2, Some(1), None),
        candidate("web.1", 2, Some(9), None),
    ];
    let holds = Loss { state_kib: Some(64), sessions: Some(2), ..costs(1).unwrap_or_default() };
    asked(Fewer::of("web", 5, 4, candidates, may_lose), &[Some(holds), None, None, costs(40), None])
}

/// Those that are asked say that, by their places among the candidates, until nobody is asked any more.
pub(super) fn asked(mut fewer: Fewer, says: &[Option<Loss>]) -> Fewer {
    while let Next::Ask(asked) = fewer.next() {
        let said = asked.iter().map(|place| says[*place]).collect();
        fewer = fewer.with(asked, said);
    }
    fewer.decided()
}

/// The first three of five say nothing.
fn silent(to: u32, all: bool) -> Fewer {
    let candidates = (1..6).rev().map(|it| candidate(&format!("web.{it}"), 1 + it % 2, None, None));
    let later = if all { None } else { costs(40) };
    let fewer = Fewer::of("web", 5, to, candidates.collect(), true);
    asked(fewer, &[None, None, None, later, later])
}

fn drain() -> Drain {
    let placed = [("db", "db", 1), ("web.1", "web", 1), ("web.2", "web", 2), ("web.3", "web", 3)];
    let placed =
        placed.map(|(name, app, node)| Placed { name: name.into(), app: app.into(), node: NodeId(node) });
    let most = BTreeMap::from([("web".into(), 4)]);
    Drain::of(NodeId(1), placed.into(), [1, 2, 3].map(NodeId).into(), most)
}

#[test]
fn a_drain_says_why_each_is_moved_and_of_who_came_how_the_others_are_replaced() {
    let explained =
        |drain: Drain, of: Of<'_>| explain(&Record { at_ms: 0, decision: Decision::Drain(drain) }, of);
    let alone = explained(drain(), Of::One("db"));
    assert!(alone.contains("  move      db to n2: it is alone: its manifest has no scale\n"), "{alone}");
    let holds = drain().with_state([String::from("db")].into());
    let replayed = Record { at_ms: 0, decision: Decision::Drain(holds.clone()) }.replay();
    assert_eq!(replayed.decision, Decision::Drain(holds.clone()));
    let holds = explained(holds, Of::One("db"));
    assert!(holds.contains("  move      db to n2: it holds state, by its manifest\n"), "{holds}");
    let came = explained(drain(), Of::One("web.4"));
    assert!(came.contains("  replace   web.1 to n3: 3 of at most 4 of web are there\n"), "{came}");
    assert!(!came.contains("  move  "), "{came}");
    // Whoever had its name before was another one.
    assert_eq!(explained(drain(), Of::New), came);
}

fn update(offered: Option<Mode>) -> Update {
    let standing = Standing { is_stateless: true, count: 2, most: Some(3) };
    Update::of("web.2", Revision(4), standing, offered)
}

fn leaving() -> Vec<String> {
    ["web.4", "web.5"].map(String::from).into()
}

fn all() -> Vec<Decision> {
    vec![
        Decision::Fewer(fewer(false)),
        Decision::Fewer(fewer(true)),
        Decision::Fewer(silent(4, false)),
        Decision::Fewer(silent(4, true)),
        Decision::More(More::of("web", 2, 5, leaving())),
        Decision::Drain(drain()),
        Decision::Drain(Drain::of(NodeId(1), drain().placed, vec![NodeId(1)], BTreeMap::new())),
        Decision::Update(update(Some(Mode::Restart))),
        Decision::Update(update(Some(Mode::Handoff))),
        Decision::Update(update(None)),
    ]
}

#[test]
fn who_leaves_still_is_called_back_before_another_one_is_started() {
    let more = |to| More::of("web", 2, to, leaving());
    assert_eq!((more(3).back, more(3).starts), (vec!["web.4".into()], 0));
    assert_eq!((more(5).back, more(5).starts), (leaving(), 1));
    assert_eq!((more(2).back, more(2).starts), (vec![], 0));
}

#[test]
fn each_is_made_again_byte_for_byte_from_what_is_written_of_it() {
    for decision in all() {
        let record = Record { at_ms: 7, decision };
        let written = serde_json::to_string(&record).unwrap();
        let read: Record = serde_json::from_str(&written).unwrap();
        assert_eq!(serde_json::to_string(&read.replay()).unwrap(), written);
    }
}

#[test]
fn what_was_changed_afterwards_is_not_made_again() {
    let mut leaves = fewer(true);
    leaves.chosen.swap(0, 1);
    let mut unasked = silent(4, true);
    unasked.rounds.truncate(1);
    let mut moved = drain();
    moved.ways.iter_mut().flatten().for_each(|(_, way)| *way = Way::Move(NodeId(2)));
    let replaced = Update { way: Some(updating::Way::Replace), ..update(Some(Mode::Handoff)) };
    let back = More { back: leaving(), ..More::of("web", 2, 3, leaving()) };
    let (leaves, unasked) = (Decision::Fewer(leaves), Decision::Fewer(unasked));
    for decision in
        [leaves, unasked, Decision::Drain(moved), Decision::Update(replaced), Decision::More(back)]
    {
        let record = Record { at_ms: 0, decision };
        assert_ne!(record.replay(), record);
    }
}

#[test]
fn a_decision_is_about_those_whom_it_names() {
    let about = |decision: &Decision| {
        let record = Record { at_ms: 0, decision: decision.clone() };
        ["db", "web.1", "web.2", "web.3", "web.4"].map(|name| record.is_about(name))
    };
    assert_eq!(about(&Decision::Drain(drain())), [true, true, false, false, false]);
    assert_eq!(about(&Decision::Fewer(fewer(true))), [false, true, true, true, true]);
    assert_eq!(about(&Decision::More(More::of("web", 2, 3, leaving()))), [false, false, false, false, true]);
    assert_eq!(about(&Decision::Update(update(None))), [false, false, true, false, false]);
}

#[test]
fn each_is_explained_within_80_columns() {
    let texts: Vec<_> = all()
        .into_iter()
        .map(|decision| explain(&Record { at_ms: 0, decision }, Of::All))
        .chain([explain(&Record { at_ms: 0, decision: Decision::Drain(drain()) }, Of::One("web.1"))])
        .collect();
    let text = texts.join("\n");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn who_does_not_serve_is_taken_first_and_is_not_said_to_have_said_so() {
    let down = Candidate { is_down: true, ..candidate("web.1", 1, None, None) };
    let all = vec![candidate("web.3", 1, Some(0), None), candidate("web.2", 2, Some(0), None), down];
    let fewer = Fewer::of("web", 3, 2, all, true);
    let Next::Ask(asked) = fewer.next() else { panic!("all can be asked") };
    let came_up = asked.iter().map(|place| (*place == 2).then(Loss::default)).collect();
    let came_up = fewer.clone().with(asked.clone(), came_up).decided();
    assert_eq!(came_up.chosen[0].0, 2, "it serves by now, and is the only one that says anything");
    let told = explain(&Record { at_ms: 0, decision: Decision::Fewer(came_up) }, Of::All);
    assert!(told.contains("web.1 on n1: does not say what it costs"), "{told}");
    let said = vec![None; asked.len()];
    let fewer = fewer.with(asked, said).decided();
    assert_eq!(fewer.chosen[0], (2, crate::scaling::fewer::Chosen::Goes), "it is no silent one");
    assert!(fewer.rounds.iter().flat_map(|it| &it.said).all(Option::is_none), "it said nothing");
    let record = Record { at_ms: 0, decision: Decision::Fewer(fewer) };
    let told = explain(&record, Of::All);
    assert!(told.contains("web.1 on n1: does not serve: nothing is lost with it"), "{told}");
    assert_eq!(record.replay(), record);
}
