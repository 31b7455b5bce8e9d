//! How a worker comes to its end, or to another beginning.

use super::*;

#[test]
fn a_drained_worker_finishes_and_says_goodbye_when_all_is_acknowledged() {
    let mut play = Play::member();
    play.lease(&[1, 2]).inbound(Response::Drain(Drain {
        reason: "smaller".into(),
    }));
    let Some(Effect::Withdraw { wanted: None, with }) = play.effects.pop() else {
        panic!("{:?}", play.effects)
    };
    assert_eq!(with.outcome(), Outcome::Returned);
    play.input(Input::Withdrawn {
        lease_ids: vec![2],
        with,
    });
    let returned = play.sent_results().remove(0);
    assert_eq!(
        (returned.lease_id, returned.stage, returned.shard),
        (2, 1, 5)
    );
    play.lease(&[3]);
    assert_eq!(
        play.sent_results()[0].outcome(),
        Outcome::Returned,
        "nothing new is started"
    );
    play.acknowledged(&[2, 3]);
    assert_eq!(play.sent(), None, "one still runs");
    play.committed(&[1]);
    assert_eq!(play.sent_results().len(), 1);
    assert_eq!(play.sent(), None);
    play.acknowledged(&[1]);
    assert_eq!(
        play.sent(),
        Some(Request::Leaving(Leaving {
            reason: "smaller".into()
        }))
    );
    play.input(Input::Tick);
    assert!(
        matches!(play.effects[..], [Effect::CloseSending]),
        "{:?}",
        play.effects
    );
    play.broken();
    assert!(matches!(play.finished(), Some(Ok(Ended::Drained { reason })) if reason == "smaller"));
}

#[test]
fn a_worker_that_is_told_to_leave_says_so_first_and_stops_what_runs() {
    let mut play = Play::member();
    play.machine.set_process_grace(Duration::from_secs(2));
    play.lease(&[1]).input(Input::Leave {
        reason: "SIGTERM".into(),
    });
    let stops = |effect: &Effect| matches!(effect, Effect::Stop { wanted: None, order } if order.stop == Stop::Preempted);
    assert!(play.effects.iter().any(stops), "{:?}", play.effects);
    assert!(matches!(play.sent(), Some(Request::Leaving(_))));
    play.broken();
    assert!(play.reconnect().leaving, "a new stream hears of it too");
    play.welcome(&[1]);
    assert!(matches!(play.sent(), Some(Request::Leaving(_))));
    play.committed(&[1]);
    assert_eq!(play.sent_results().len(), 1);
    play.acknowledged(&[1]);
    assert!(
        matches!(play.effects[..], [Effect::CloseSending]),
        "{:?}",
        play.effects
    );

    let mut play = Play::member();
    play.machine.set_process_grace(Duration::from_secs(2));
    play.lease(&[1]).input(Input::Leave {
        reason: "SIGTERM".into(),
    });
    play.at(7_000).input(Input::Tick);
    assert!(
        matches!(play.finished(), Some(Ok(Ended::Left))),
        "not for ever: {:?}",
        play.effects
    );
}

#[test]
fn a_fenced_worker_comes_back_as_another_with_nothing() {
    let mut play = Play::member();
    play.lease(&[1, 2]).committed(&[1]);
    play.inbound(Response::Fenced(Fenced {
        code: "SILENT".into(),
        message: "silent for 5 s".into(),
    }));
    assert_eq!(play.discarded(), Some(None));
    assert!(
        play.effects
            .iter()
            .any(|effect| matches!(effect, Effect::Invalidate))
    );
    assert!(
        play.effects
            .iter()
            .any(|effect| matches!(effect, Effect::Rename))
    );
    play.input(Input::Renamed {
        worker_id: "id-2".into(),
    });
    let hello = play.reconnect();
    assert_eq!(
        (hello.worker_id.as_str(), hello.held.len(), hello.member_of),
        ("id-2", 0, 0)
    );
}

#[test]
fn a_released_worker_ends_only_if_it_serves_one_job() {
    let release = || {
        Response::Release(Release {
            code: "JOB_ENDED".into(),
            message: "done".into(),
        })
    };
    let mut play = Play::member();
    play.inbound(release());
    assert!(
        play.effects
            .iter()
            .any(|effect| matches!(effect, Effect::Forget))
    );
    play.lease(&[1]);
    assert_eq!(play.sent_results()[0].code, "NOT_A_MEMBER");

    let mut play = Play::new("only");
    play.input(Input::Tick);
    play.welcome(&[]).inbound(release()).broken();
    assert!(
        matches!(play.finished(), Some(Ok(Ended::Released { code, .. })) if code == "JOB_ENDED")
    );
}
