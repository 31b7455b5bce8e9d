//! Containers.

use crate::scenario::{get, head, list, put, same_in, step};
use crate::service::fresh;

#[test]
fn a_container_is_made_once_described_deleted_once_and_takes_its_blobs_with_it() {
    let of = |method, expected| step(method, "", "restype=container", expected);
    same_in(
        &fresh("made"),
        &[
            of("GET", 404),
            of("HEAD", 404),
            of("DELETE", 404),
            of("PUT", 201).header("x-ms-meta-owner", "who"),
            of("PUT", 409),
            of("GET", 200),
            of("HEAD", 200),
            put("a", "text", 201),
            of("DELETE", 202),
            of("DELETE", 404),
            of("GET", 404),
            of("PUT", 201),
            head("a", 404),
            list("", 200),
        ],
    );
}

#[test]
fn nothing_is_in_a_container_that_is_not_there() {
    same_in(
        &fresh("none"),
        &[
            list("", 404),
            list("&prefix=a&delimiter=%2F", 404),
            put("a", "text", 404),
            get("a", 404),
            head("a", 404),
            step("DELETE", "a", "", 404),
            step("PUT", "a", "comp=block&blockid=YQ%3D%3D", 404).body("text"),
            step("PUT", "a", "comp=blocklist", 404).body("<BlockList></BlockList>"),
            step("GET", "a", "comp=blocklist&blocklisttype=all", 404),
        ],
    );
}

#[test]
fn a_name_that_no_container_can_have_is_refused() {
    let too_long = "a".repeat(64);
    for name in [
        "ab",
        "Upper",
        "two--dashes",
        "dash-",
        "under_score",
        &too_long,
    ] {
        same_in(name, &[step("PUT", "", "restype=container", 400)]);
    }
}
