//! The service of these tests holds what the tests build on.

use petctl_test_it::{Azurite, Cloud, Fault, Matching, Sas, World};
use std::io::{Read, Write};
use std::net::TcpStream;

#[test]
fn what_the_service_acknowledged_outlives_its_kill() {
    let azurite = Azurite::start();
    let blobs = azurite.blobs("kept");
    blobs.create();
    for number in 0..40 {
        blobs.put(&format!("{number}"), format!("of {number}").as_bytes());
    }
    blobs.delete("7");
    azurite.kill();
    azurite.start_again();
    assert_eq!(blobs.list("").len(), 39);
    assert_eq!(blobs.get("39").as_deref(), Some(&b"of 39"[..]));
    assert_eq!(blobs.get("7"), None);
}

#[test]
fn a_sas_by_hand_opens_only_what_it_says() {
    let azurite = Azurite::shared();
    let status = |sas: &Sas| {
        let sas = azurite.sas(sas);
        ask(
            azurite.port(),
            &format!("GET /{}/?comp=list&{sas}", azurite.account()),
        )
    };
    assert_eq!(status(&Sas::default()), 200);
    assert_eq!(status(&Sas::of("w")), 403);
    assert_eq!(status(&Sas::default().lasting(-60)), 403);
}

#[test]
fn the_proxy_does_what_it_is_told() {
    let world = World::new();
    let cloud = Cloud::shared(&world).through_proxy(1);
    cloud.fill(&["a", "b"], 100_000);
    let proxy = cloud.proxy();
    proxy.strike(Matching::of("GET", "/a"), Fault::refuse(503), 1);
    proxy.strike(Matching::of("GET", "/b"), Fault::CutAnswer, 1);
    let port = proxy.address().port();
    let azurite = cloud.azurite();
    let get = |name: &str| {
        let sas = azurite.sas(&Sas::of("r"));
        let container = cloud.blobs().container().to_owned();
        fetch(
            port,
            &format!("GET /{}/{container}/in/{name}?{sas}", azurite.account()),
        )
    };
    assert_eq!(status_of(&get("a")), 503);
    assert_eq!(status_of(&get("a")), 200);
    let (cut, whole) = (get("b").len(), get("b").len());
    assert!(cut < whole - 40_000 && whole > 100_000, "{cut} of {whole}");
    assert_eq!(proxy.count("GET", "/in/"), 4);
    world.finish();
}

fn ask(port: u16, request: &str) -> u16 {
    status_of(&fetch(port, request))
}

fn status_of(answer: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(&answer[..answer.len().min(64)]).into_owned();
    text.split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap()
}

fn fetch(port: u16, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nx-ms-version: 2021-12-02\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    // Cut off: what came until then counts.
    let _ended = stream.read_to_end(&mut bytes);
    bytes
}
