//! Requests that nobody signed, and those that this service does not know.

use crate::scenario::{delete, get, head, list, put, same, step};
use crate::service::{blobd, fresh, sas};
use crate::told::Told;
use crate::wire::send;
use petctl_test_blobd::ACCOUNT;

#[test]
fn a_request_without_a_signature_is_refused_whatever_it_asks() {
    same(&[
        put("a", "text", 201),
        put("b", "text", 403).unsigned(),
        get("a", 403).unsigned(),
        get("none", 403).unsigned(),
        head("a", 403).unsigned(),
        delete("a", 403).unsigned(),
        list("", 403).unsigned(),
        step("PUT", "", "restype=container", 403).unsigned(),
        step("PUT", "a", "comp=block&blockid=YQ%3D%3D", 403)
            .body("text")
            .unsigned(),
        get("a", 200),
        list("", 200),
    ]);
}

#[test]
fn what_it_does_not_know_is_refused_by_its_name() {
    let container = fresh("unknown");
    let ask = |method: &str, path: &str, query: &str, header: (&str, &str)| {
        let target = format!("/{ACCOUNT}/{container}{path}?{query}&{}", sas());
        let headers = [(header.0.to_owned(), header.1.to_owned())];
        let reply = send(blobd().port(), method, &target, &headers, b"");
        let told = Told::of(method, &reply);
        (told.status, told.code().to_owned())
    };
    let none = ("x-none", "");
    for (method, path, query, header, named) in [
        (
            "PUT",
            "/a",
            "comp=lease",
            none,
            "PUT blob restype= comp=lease",
        ),
        (
            "PUT",
            "/a",
            "comp=metadata",
            none,
            "PUT blob restype= comp=metadata",
        ),
        (
            "PUT",
            "/a",
            "comp=tier",
            none,
            "PUT blob restype= comp=tier",
        ),
        (
            "POST",
            "",
            "restype=container&comp=batch",
            none,
            "POST container restype=container comp=batch",
        ),
        (
            "GET",
            "",
            "restype=container&comp=acl",
            none,
            "GET container restype=container comp=acl",
        ),
        ("GET", "/a", "snapshot=2026", none, "parameter snapshot"),
        (
            "GET",
            "",
            "restype=container&comp=list&include=snapshots",
            none,
            "include=snapshots",
        ),
        (
            "PUT",
            "/a",
            "",
            ("x-ms-copy-source", "http://x/y"),
            "header x-ms-copy-source",
        ),
        (
            "PUT",
            "/a",
            "",
            ("x-ms-blob-type", "PageBlob"),
            "header x-ms-blob-type: PageBlob",
        ),
        (
            "GET",
            "/a",
            "",
            ("x-ms-lease-id", "1"),
            "header x-ms-lease-id",
        ),
        (
            "DELETE",
            "/a",
            "",
            ("if-unmodified-since", "x"),
            "header if-unmodified-since",
        ),
    ] {
        let expected = (501, format!("NotImplemented: {named}"));
        assert_eq!(
            ask(method, path, query, header),
            expected,
            "{method} {path}?{query}"
        );
    }
}

#[test]
fn an_account_that_is_not_there_is_refused() {
    let target = format!("/other/raw/a?{}", sas());
    let reply = send(blobd().port(), "GET", &target, &[], b"");
    assert_eq!(
        (reply.status, reply.header("x-ms-error-code")),
        (404, "ResourceNotFound")
    );
}
