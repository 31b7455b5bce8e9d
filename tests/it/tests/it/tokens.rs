//! Clients and workers that are not allowed in, and addresses where no coordinator is.

use petctl_test_it::{Coordinator, Job, Stage, World, wait_until};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

#[test]
fn without_the_token_nobody_gets_in_and_is_told_where_it_is() {
    let world = World::new();
    let coordinator = Coordinator::start(&world, None);
    let address = coordinator.address();
    let wrong = world.path("wrong-token");
    fs::write(&wrong, "a-token-of-somewhere-else-0123456789\n").unwrap();
    let file = Job::new("tokens").stage(Stage::gated(1)).write(&world);
    let connect = ["--coordinator", &address];

    world
        .petctl()
        .arg("list")
        .args(connect)
        .run()
        .fails_with(77, "UNAUTHENTICATED")
        .says("--token-file");
    let ran = world
        .petctl()
        .arg("list")
        .args(connect)
        .arg("--token-file")
        .arg(&wrong)
        .run();
    ran.fails_with(77, "TOKEN_WRONG").says("token");
    let ran = world
        .run(&file)
        .args(connect)
        .arg("--token-file")
        .arg(&wrong)
        .run();
    ran.fails_with(77, "TOKEN_WRONG");
    let ran = world
        .petctl()
        .arg("list")
        .args(connect)
        .args(["--token-file", "no-such-file"])
        .run();
    ran.fails_with(77, "TOKEN_UNREADABLE").says("no-such-file");
    let ran = world
        .petctl()
        .arg("list")
        .args(connect)
        .args(["--token", "hunter2hunter2hunter2"])
        .run();
    let ran = ran.fails_with(2, "TOKEN_ON_COMMAND_LINE");
    assert!(
        !ran.to_string()
            .replace("petctl list", "")
            .split("-- stdout")
            .nth(1)
            .unwrap()
            .contains("hunter2"),
        "{ran}"
    );
    assert!(
        coordinator
            .ask()
            .petctl("list")
            .run()
            .exits(0)
            .stdout
            .trim()
            .is_empty(),
        "no job came of it"
    );
    coordinator.terminate();
    world.finish();
}

#[test]
fn a_worker_with_a_wrong_or_missing_token_is_not_allowed_and_says_so() {
    let world = World::new();
    let coordinator = Coordinator::start(&world, None);
    let address = coordinator.address();
    let wrong = world.path("wrong-token");
    fs::write(&wrong, "a-token-of-somewhere-else-0123456789\n").unwrap();
    let worker = || world.petctl().args(["worker", "--coordinator", &address]);
    worker()
        .arg("--token-file")
        .arg(&wrong)
        .run()
        .fails_with(77, "TOKEN_WRONG")
        .says(&address)
        .says("\n  fix: ");
    worker()
        .run()
        .fails_with(77, "TOKEN_MISSING")
        .says("--token-file")
        .says("\n  fix: ");
    coordinator.terminate();
    world.finish();
}

#[test]
fn a_second_worker_of_a_name_is_badly_configured_and_told_what_to_do() {
    let world = World::new();
    let coordinator = Coordinator::start(&world, None);
    let file = Job::new("names").stage(Stage::gated(1)).write(&world);
    let first = coordinator.worker("twin", 1);
    let run = coordinator.run(&file).spawn();
    wait_until("a shard that runs", || world.starts().len() == 1);
    let second = coordinator.worker("twin", 1).process.wait();
    let second = second
        .fails_with(78, "WORKER_NAME_TAKEN")
        .says("\n  fix: give this one another");
    assert_eq!(
        second.stderr.matches("WORKER_NAME_TAKEN").count(),
        1,
        "{second}"
    );
    world.open_gate("all");
    run.wait().exits(0);
    first.terminate();
    coordinator.terminate();
    world.finish();
}

#[test]
fn a_token_that_others_can_read_is_not_used() {
    let world = World::new();
    let coordinator = Coordinator::start(&world, None);
    let state = coordinator.state();
    assert_eq!(
        fs::metadata(state.join("token"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    coordinator.terminate();
    fs::set_permissions(state.join("token"), fs::Permissions::from_mode(0o644)).unwrap();
    let again = world
        .petctl()
        .args(["rendezvous", "--listen", "127.0.0.1:0", "--state"])
        .arg(&state)
        .run();
    again
        .fails_with(78, "TOKEN_FILE_OPEN")
        .says("0644")
        .says("delete");
    world.finish();
}

#[test]
fn an_address_where_nobody_or_somebody_else_answers_is_named() {
    let world = World::new();
    let token = world.path("token");
    fs::write(&token, "a-token-of-nobody-0123456789\n").unwrap();
    let list = |address: &str| {
        world
            .petctl()
            .args(["list", "--coordinator", address, "--token-file"])
            .arg(&token)
            .run()
    };
    list("http://127.0.0.1:1")
        .fails_with(69, "COORDINATOR_UNREACHABLE")
        .says("127.0.0.1:1");
    list("no address at all").fails_with(2, "BAD_ADDRESS");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        // A web server of the old kind.
        for connection in listener.incoming().take(1).flatten() {
            let mut connection = connection;
            let mut request = [0; 512];
            let _read = connection.read(&mut request);
            let _written =
                connection.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let ran = list(&address).exits(69);
    assert!(ran.stderr.contains(&address), "{ran}");
    server.join().unwrap();
    world.finish();
}
