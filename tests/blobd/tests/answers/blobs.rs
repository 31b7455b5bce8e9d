//! Blobs as a whole.

use crate::scenario::{delete, get, head, put, same};

/// Of `hello`.
const MD5: &str = "XUFAKrxLKna5cZ2REBfFkg==";
/// Of nothing.
const NO_MD5: &str = "1B2M2Y8AsgTpgAmY7PhCfg==";

#[test]
fn what_was_written_is_read_and_described_with_its_md5_kind_and_metadata() {
    same(&[
        put("a", "hello", 201)
            .header("content-md5", MD5)
            .header("x-ms-blob-content-md5", MD5)
            .header("content-type", "application/octet-stream")
            .header("x-ms-meta-petctl_note", "one two; three")
            .header("x-ms-meta-hdi_isfolder", "true"),
        get("a", 200),
        head("a", 200),
        // Neither MD5 nor kind: both work them out.
        put("b", "hello", 201),
        get("b", 200),
        head("b", 200),
        put("c", "hello", 201)
            .header("content-type", "text/plain")
            .header("x-ms-blob-content-type", "text/html"),
        head("c", 200),
    ]);
}

#[test]
fn a_second_write_replaces_bytes_version_and_metadata() {
    same(&[
        put("a", "hello", 201)
            .header("x-ms-meta-one", "1")
            .keep("first"),
        put("a", "other", 201)
            .header("x-ms-meta-two", "2")
            .keep("second"),
        get("a", 200),
        get("a", 200).header("if-match", "{second}"),
        get("a", 412).header("if-match", "{first}"),
    ]);
}

#[test]
fn an_empty_blob_is_a_blob() {
    same(&[
        put("empty", "", 201)
            .header("content-md5", NO_MD5)
            .header("x-ms-meta-hdi_isfolder", "true"),
        get("empty", 200),
        head("empty", 200),
        delete("empty", 202),
    ]);
}

#[test]
fn what_was_deleted_or_never_written_is_not_there() {
    same(&[
        get("a", 404),
        head("a", 404),
        delete("a", 404),
        put("a", "hello", 201),
        delete("a", 202),
        delete("a", 404),
        get("a", 404),
        head("a", 404),
        put("a", "again", 201).header("if-none-match", "*"),
        get("a", 200),
    ]);
}

#[test]
fn a_large_blob_comes_back_byte_for_byte() {
    let mut noise = vec![0; 5 * 1024 * 1024 + 17];
    fastrand::Rng::with_seed(7).fill(&mut noise);
    same(&[
        put("large", &noise, 201),
        get("large", 200),
        get("large", 206).header("range", "bytes=1048570-4194309"),
    ]);
}

#[test]
fn a_body_that_is_not_what_its_md5_says_is_refused_and_not_kept() {
    same(&[
        // Azurite has no code of its own for it and says InvalidOperation.
        put("a", "hello", 400)
            .header("content-md5", NO_MD5)
            .but_ours(400, "Md5Mismatch"),
        get("a", 404),
    ]);
}

#[test]
fn metadata_with_a_name_that_no_program_could_use_is_refused() {
    same(&[
        put("a", "hello", 400).header("x-ms-meta-1st", "x"),
        put("a", "hello", 400).header("x-ms-meta-with-dash", "x"),
        head("a", 404),
    ]);
}
