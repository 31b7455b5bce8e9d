//! Leases and results: who holds them, and until when.

use super::*;

#[test]
fn results_are_kept_until_acknowledged_and_sent_again_on_a_new_stream() {
    let mut play = Play::member();
    play.lease(&[1, 2, 3]).committed(&[1, 2]);
    assert_eq!(play.sent_results().len(), 2);
    assert_eq!(play.sent(), None, "once per stream");
    play.acknowledged(&[1]).committed(&[3]).broken();
    let hello = play.reconnect();
    assert_eq!(
        hello
            .held
            .iter()
            .map(|held| held.lease_id)
            .collect::<Vec<_>>(),
        [2, 3]
    );
    assert_eq!(hello.member_of, 9);
    play.welcome(&[2, 3]);
    let again: Vec<_> = play
        .sent_results()
        .iter()
        .map(|result| result.lease_id)
        .collect();
    assert_eq!(again, [2, 3]);
    play.acknowledged(&[2, 3]).broken();
    assert_eq!(play.reconnect().held, []);
}

#[test]
fn leases_that_are_not_kept_are_lost_with_their_results() {
    let mut play = Play::member();
    play.lease(&[1, 2, 3]).committed(&[1]).broken();
    play.reconnect();
    play.welcome(&[2]);
    assert_eq!(play.discarded(), Some(Some(vec![1, 3])));
    let stop = play
        .effects
        .iter()
        .position(|effect| matches!(effect, Effect::Stop { .. }));
    let renew = play
        .effects
        .iter()
        .position(|effect| matches!(effect, Effect::Renew(_)));
    assert!(stop < renew, "stopped before the rest may commit");
    assert_eq!(play.sent(), None);
    play.committed(&[3]);
    assert_eq!(play.sent(), None, "a result of a lost lease is of no use");
    play.committed(&[2]);
    assert_eq!(play.sent_results()[0].lease_id, 2);
}

#[test]
fn a_lease_that_comes_twice_runs_once() {
    let mut play = Play::member();
    play.lease(&[1, 1]);
    assert!(matches!(&play.effects[..], [Effect::Enqueue(leases)] if leases.len() == 1));
    play.lease(&[1]);
    assert!(play.effects.is_empty(), "{:?}", play.effects);
}

#[test]
fn leases_stand_from_when_the_acknowledged_heartbeat_was_sent() {
    let mut play = Play::member();
    play.lease(&[1]).at(1_000).input(Input::Tick);
    assert!(matches!(
        play.sent(),
        Some(Request::Heartbeat(Heartbeat { sequence: 1, .. }))
    ));
    play.at(2_000).input(Input::Tick);
    assert!(matches!(
        play.sent(),
        Some(Request::Heartbeat(Heartbeat { sequence: 2, .. }))
    ));
    play.at(2_900)
        .inbound(Response::HeartbeatAck(HeartbeatAck { sequence: 1 }));
    assert_eq!(
        play.renewed_until(),
        Some(6_000),
        "not from when the answer came"
    );
    play.inbound(Response::HeartbeatAck(HeartbeatAck { sequence: 1 }));
    assert_eq!(play.renewed_until(), None);
    play.inbound(Response::HeartbeatAck(HeartbeatAck { sequence: 77 }));
    assert_eq!(
        play.renewed_until(),
        None,
        "one that was never sent renews nothing"
    );
}

#[test]
fn leases_of_an_older_epoch_go_back() {
    let mut play = Play::member();
    play.input(Input::Received(AttachResponse {
        epoch: 4,
        message: Some(Response::EpochChange(EpochChange {
            rank: 0,
            world_size: 1,
        })),
    }));
    play.lease(&[1]);
    let result = play.sent_results().remove(0);
    assert_eq!(
        (result.outcome(), result.code.as_str()),
        (Outcome::Returned, "STALE_EPOCH")
    );
}

#[test]
fn results_gather_into_bounded_messages() {
    let mut play = Play::member();
    let ids: Vec<u64> = (1..=2_000).collect();
    play.lease(&ids).committed(&ids);
    let mut sizes = Vec::new();
    while play.machine.has_message(play.now) {
        sizes.push(play.sent_results().len());
    }
    assert_eq!(sizes, [512, 512, 512, 464]);
}
