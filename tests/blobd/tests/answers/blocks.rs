//! Blobs out of blocks.

use crate::scenario::{Step, delete, get, list, put, same, step};

fn block(id: &str, body: &str, expected: u16) -> Step {
    step("PUT", "a", &format!("comp=block&blockid={id}"), expected).body(body)
}

/// With an MD5, as petctl commits.
fn commit(list: &str, expected: u16) -> Step {
    let list = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{list}</BlockList>");
    step("PUT", "a", "comp=blocklist", expected)
        .header("x-ms-blob-content-md5", "kAFQmDzST7DWlj99KOF/cg==")
        .body(list)
}

fn blocks(kind: &str, expected: u16) -> Step {
    step(
        "GET",
        "a",
        &format!("comp=blocklist&blocklisttype={kind}"),
        expected,
    )
}

/// Of a name with nothing but blocks that wait. Azurite gives it a version; Azure's own does not, before something is
/// committed.
fn waiting(kind: &str) -> Step {
    blocks(kind, 200).lacks(&["etag", "last-modified"])
}

#[test]
fn blocks_make_a_whole_in_the_order_of_the_list() {
    same(&[
        block("MDI%3D", "two", 201),
        block("MDE%3D", "one", 201),
        waiting("uncommitted"),
        waiting("committed"),
        waiting("all"),
        get("a", 404),
        commit("<Latest>MDE=</Latest><Latest>MDI=</Latest>", 201)
            .header("x-ms-meta-petctl_note", "n")
            .header("x-ms-blob-content-type", "text/plain"),
        get("a", 200),
        blocks("uncommitted", 200),
        blocks("committed", 200),
        blocks("all", 200),
    ]);
}

#[test]
fn blocks_may_be_sent_again_committed_again_and_used_twice() {
    same(&[
        block("MDE%3D", "first", 201),
        block("MDE%3D", "again", 201),
        waiting("uncommitted"),
        commit("<Latest>MDE=</Latest>", 201),
        commit("<Latest>MDE=</Latest>", 201),
        get("a", 200),
        block("MDE%3D", "newer", 201),
        block("MDI%3D", "-", 201),
        commit(
            "<Committed>MDE=</Committed><Uncommitted>MDI=</Uncommitted><Latest>MDE=</Latest><Uncommitted>MDI=</Uncommitted>",
            201,
        ),
        get("a", 200),
        commit("", 201),
        get("a", 200),
    ]);
}

#[test]
fn a_list_with_a_block_that_is_not_there_is_refused_and_changes_nothing() {
    same(&[
        block("MDE%3D", "one", 201),
        commit("<Latest>MDI=</Latest>", 400),
        commit("<Committed>MDE=</Committed>", 400),
        commit("<Latest>MDE=</Latest>", 201),
        commit("<Uncommitted>MDE=</Uncommitted>", 400),
        commit("<Other>MDE=</Other>", 400),
        get("a", 200),
        // Azurite gives up before it has a code for it.
        commit("<Latest>MDE=", 400).but_ours(400, "InvalidXmlDocument"),
        commit("<Latest>MDE=</Other>", 400).but_ours(400, "InvalidXmlDocument"),
        get("a", 200),
    ]);
}

#[test]
fn an_id_that_no_block_can_have_is_refused() {
    let long = "YWFh".repeat(22);
    same(&[
        block("no*base64", "x", 400),
        block(&long, "x", 400),
        block("MDE%3D", "x", 201),
        block("MDEyMw%3D%3D", "of another length", 400),
        waiting("uncommitted"),
    ]);
}

#[test]
fn a_name_without_blocks_has_no_list() {
    same(&[
        blocks("uncommitted", 404),
        put("a", "whole", 201),
        blocks("all", 200),
        commit("<Latest>MDE=</Latest>", 400),
        get("a", 200),
    ]);
}

#[test]
fn a_whole_takes_the_place_of_blocks_that_wait() {
    same(&[
        block("MDE%3D", "one", 201),
        put("a", "whole", 201),
        get("a", 200),
        // Azurite keeps them; Azure's own forgets them ("any uncommitted blocks are removed", Put Blob).
        blocks("uncommitted", 200).but_ours(200, ""),
        commit("<Latest>MDE=</Latest>", 201).but_ours(400, "InvalidBlockList"),
    ]);
}

#[test]
fn blocks_that_wait_are_no_blob() {
    same(&[
        block("MDE%3D", "one", 201),
        // Azurite takes the name for one that is there; Azure's own does not, as nothing was committed.
        put("a", "whole", 409)
            .header("if-none-match", "*")
            .but_ours(201, ""),
    ]);
    same(&[
        block("MDE%3D", "one", 201),
        get("a", 404),
        list("", 200),
        // For the same reason.
        delete("a", 202).but_ours(404, "BlobNotFound"),
    ]);
}

#[test]
fn a_block_that_is_not_what_its_md5_says_is_refused_and_not_kept() {
    same(&[
        // Azurite has no code of its own for it and says InvalidOperation.
        block("MDE%3D", "one", 400)
            .header("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")
            .but_ours(400, "Md5Mismatch"),
        blocks("uncommitted", 404),
    ]);
}
