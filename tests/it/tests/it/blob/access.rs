//! Credentials that are wrong, short or over, and addresses that Azure refuses.

use super::{close_gates, copies, fill, open_gates, verify};
use petctl_test_it::{Azurite, Cloud, Job, Sas, World, wait_until};
use std::fs;

/// A container that petctl reaches with nothing but the SAS in a file.
fn with_sas<'a>(world: &World, sas: &Sas) -> (Cloud<'a>, String) {
    let cloud = Cloud::shared(world);
    world.remove_env("AZURE_STORAGE_KEY");
    renew(world, sas);
    let storage = format!("{}sas_token = \"file:sas\"\n", cloud.storage(true));
    (cloud, storage)
}

/// Writes another SAS into the file, as a renewal would: whole, at once.
fn renew(world: &World, sas: &Sas) {
    let (new, file) = (world.path("job/sas.new"), world.path("job/sas"));
    fs::write(&new, Azurite::shared().sas(sas)).unwrap();
    fs::rename(new, file).unwrap();
}

#[test]
fn a_sas_without_write_permission_is_refused_before_anything_runs_and_the_permission_is_named() {
    let world = World::new();
    let (cloud, storage) = with_sas(&world, &Sas::of("rl"));
    fill(&cloud, 2, 1_000);
    let file = Job::new("readonly")
        .storage(storage)
        .stage(copies())
        .write(&world);
    let ran = world.run(&file).run();
    assert_ne!(ran.exit, Some(0), "{ran}");
    let ran = ran.says("STORAGE_DENIED");
    assert!(
        ran.stderr.contains("needs w"),
        "the missing permission: {ran}"
    );
    assert!(world.starts().is_empty());
    let upload = world
        .petctl()
        .args(["upload", "readonly.toml", &cloud.address("up/")])
        .args(["--endpoint", &cloud.endpoint(), "--sas-token", "file:sas"])
        .run();
    assert_ne!(upload.exit, Some(0), "{upload}");
    upload.says("STORAGE_DENIED").says("needs w");
    world.finish();
}

#[test]
fn a_sas_that_ends_under_the_job_is_renewed_from_its_file() {
    let world = World::new();
    let (cloud, storage) = with_sas(&world, &Sas::default().lasting(12));
    let keys = fill(&cloud, 2, 1_000);
    close_gates(&world);
    let file = Job::new("renewed")
        .workers(1, 1, 2)
        .storage(storage)
        .stage(copies())
        .write(&world);
    let run = world.run(&file).spawn();
    wait_until("two shards that run", || world.starts().len() == 2);
    let sas = fs::read_to_string(world.path("job/sas")).unwrap();
    renew(&world, &Sas::default());
    wait_until("the end of the first SAS", || {
        refused(cloud.azurite(), &sas)
    });
    open_gates(&world);
    run.wait().exits(0);
    verify(&world.ask(), "renewed", &cloud.blobs(), "work", &keys);
    world.finish();
}

#[test]
fn a_sas_that_is_over_is_said_so() {
    let world = World::new();
    let (cloud, storage) = with_sas(&world, &Sas::default().lasting(-60));
    fill(&cloud, 1, 1_000);
    let file = Job::new("over")
        .storage(storage)
        .stage(copies())
        .write(&world);
    let ran = world.run(&file).run();
    assert_ne!(ran.exit, Some(0), "{ran}");
    let ran = ran.says("STORAGE_EXPIRED");
    assert!(
        ran.stderr.contains("fix") || ran.stderr.contains("new"),
        "what to do: {ran}"
    );
    world.finish();
}

#[test]
fn names_and_keys_that_can_not_be_right_are_refused_with_what_to_do() {
    let world = World::new();
    let cloud = Cloud::shared(&world);
    let key = cloud.azurite().key().to_owned();
    let refused = |arguments: &[&str]| {
        let ran = world
            .petctl()
            .args(arguments)
            .args(["--endpoint", &cloud.endpoint()])
            .run();
        assert!(!ran.stderr.contains(&key), "{ran}");
        ran
    };
    let upload = ["upload", ".", "az://Not_A_Container/x"];
    refused(&upload).says("STORAGE_BAD_NAME").says("a-z, 0-9");
    let upload = ["upload", ".", "az://good/x", "--account-key", &key];
    refused(&upload)
        .fails_with(2, "SECRET_ON_COMMAND_LINE")
        .says("env:NAME, file:PATH or -");
    let job = Job::new("bad")
        .storage("output = \"az://a--b/x\"\n".to_owned())
        .stage(copies().shards("{ range = [0, 1] }").args(&[]))
        .write(&world);
    let ran = world.run(&job).run();
    assert_eq!(ran.exit, Some(65), "{ran}");
    ran.says("a--b");
    let job = Job::new("keyed")
        .storage(format!("output = \"az://good/x\"\naccount_key = {key:?}\n"))
        .stage(copies().shards("{ range = [0, 1] }").args(&[]))
        .write(&world);
    let ran = world.run(&job).run();
    assert_eq!(ran.exit, Some(65), "{ran}");
    assert!(!ran.stderr.contains(&key), "{ran}");
    ran.says("env:").says("file:");
    world.finish();
}

/// Whether the service refuses this SAS.
fn refused(azurite: &Azurite, sas: &str) -> bool {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", azurite.port())).unwrap();
    let head = format!(
        "GET /{}/?comp=list&{sas} HTTP/1.0\r\nHost: x\r\nx-ms-version: 2021-12-02\r\n\r\n",
        azurite.account()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.contains(" 403 ")
}

#[test]
fn blobs_are_reached_where_the_system_trusts_nobody() {
    // Small images have no certificates at all.
    let world = World::new();
    world.set_env("SSL_CERT_FILE", "/dev/null");
    world.set_env("SSL_CERT_DIR", "/nowhere");
    let cloud = Cloud::shared(&world);
    let keys = fill(&cloud, 2, 1_000);
    let file = Job::new("nobody")
        .storage(cloud.storage(true))
        .stage(copies())
        .write(&world);
    world.run(&file).run().exits(0);
    verify(&world.ask(), "nobody", &cloud.blobs(), "work", &keys);
    world.finish();
}
