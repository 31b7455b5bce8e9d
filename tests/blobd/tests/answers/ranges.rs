//! Parts of blobs.

use crate::scenario::{Step, get, put, same, step};

fn part(range: &str, expected: u16) -> Step {
    get("a", expected).header("range", range)
}

#[test]
fn a_part_is_read_wherever_it_begins_and_ends() {
    same(&[
        put("a", "0123456789", 201),
        part("bytes=0-0", 206),
        part("bytes=0-3", 206),
        part("bytes=4-6", 206),
        part("bytes=9-9", 206),
        part("bytes=9-", 206),
        part("bytes=4-", 206),
        part("bytes=0-9", 206),
        part("bytes=0-281474976710655", 206),
        part("bytes=4-100", 206),
        get("a", 206).header("x-ms-range", "bytes=2-3"),
        part("bytes=0-1", 206).header("x-ms-range", "bytes=2-3"),
    ]);
}

#[test]
fn a_part_behind_the_end_is_refused_with_the_size() {
    same(&[
        put("a", "0123456789", 201),
        part("bytes=11-", 416),
        part("bytes=11-20", 416),
        // Azurite answers with success and nothing; Azure's own refuses.
        part("bytes=10-", 206).but_ours(416, "InvalidRange"),
        part("bytes=10-20", 206).but_ours(416, "InvalidRange"),
    ]);
}

#[test]
fn an_empty_blob_has_no_part() {
    same(&[
        put("a", "", 201),
        part("bytes=0-9", 416),
        part("bytes=1-9", 416),
        // Azurite names bytes 0 to -1 here; Azure's own refuses.
        part("bytes=0-", 206).but_ours(416, "InvalidRange"),
    ]);
}

#[test]
fn a_range_that_is_none_is_not_looked_at() {
    same(&[
        put("a", "0123456789", 201),
        part("bytes=5-2", 200),
        part("bytes", 200),
    ]);
}

#[test]
fn a_part_goes_over_the_borders_of_blocks() {
    let block = |id: &str, body: &str| {
        step("PUT", "a", &format!("comp=block&blockid={id}"), 201).body(body)
    };
    same(&[
        block("YQ%3D%3D", "0123"),
        block("Yg%3D%3D", "45"),
        block("Yw%3D%3D", "6789"),
        step("PUT", "a", "comp=blocklist", 201)
            .header("x-ms-blob-content-md5", "eB5eJF1ZtWaXm4bijSPyxw==")
            .body("<BlockList><Latest>YQ==</Latest><Latest>Yg==</Latest><Latest>Yw==</Latest></BlockList>"),
        get("a", 200),
        part("bytes=3-6", 206),
        part("bytes=4-5", 206),
        part("bytes=6-", 206),
        part("bytes=0-3", 206),
    ]);
}
