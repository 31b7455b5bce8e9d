//! Listings.

use crate::scenario::{Step, list, put, same, step};

fn tree() -> Vec<Step> {
    let names = [
        "a", "a/1", "a/2", "a/b/3", "a0", "b", "b/", "b/c/d/4", "c d/5", "z",
    ];
    names.map(|name| put(name, name, 201)).into()
}

#[test]
fn all_names_below_a_prefix_are_listed_in_order() {
    let mut steps = tree();
    for query in [
        "",
        "&prefix=a",
        "&prefix=a%2F",
        "&prefix=b%2Fc%2Fd%2F4",
        "&prefix=c+d",
        "&prefix=none",
        "&maxresults=5000",
    ] {
        steps.push(list(query, 200));
    }
    same(&steps);
}

#[test]
fn pages_of_any_size_follow_each_other_by_their_marks() {
    let mut steps = tree();
    for size in 1..=11 {
        let pages = 10_usize.div_ceil(size);
        steps.push(list(&format!("&maxresults={size}"), 200));
        for _page in 1..pages {
            steps.push(list(&format!("&maxresults={size}&marker={{next}}"), 200));
        }
        steps.push(list(&format!("&prefix=a&maxresults={size}"), 200));
        steps.push(list(
            &format!("&prefix=a&maxresults={size}&marker=a%2F1"),
            200,
        ));
    }
    same(&steps);
}

#[test]
fn folders_are_told_apart_from_blobs_by_a_delimiter() {
    let mut steps = tree();
    for query in [
        "&delimiter=%2F",
        "&delimiter=%2F&prefix=a%2F",
        "&delimiter=%2F&prefix=b",
        "&delimiter=%2F&prefix=b%2F",
        "&delimiter=%2F&prefix=b%2Fc%2F",
        "&delimiter=%2F&prefix=none",
        "&delimiter=%2F&include=metadata",
    ] {
        steps.push(list(query, 200));
    }
    same(&steps);
}

#[test]
fn metadata_is_listed_where_it_is_asked_for() {
    same(&[
        put("folder", "", 201).header("x-ms-meta-hdi_isfolder", "true"),
        put("noted", "x", 201)
            .header("x-ms-meta-petctl_note", "<a & b> \"c\"")
            .header("x-ms-meta-other", "1"),
        put("plain", "x", 201),
        list("", 200),
        list("&include=metadata", 200),
        list("&include=metadata&maxresults=1", 200),
    ]);
}

#[test]
fn only_what_was_committed_is_listed() {
    same(&[
        step("PUT", "staged", "comp=block&blockid=YQ%3D%3D", 201).body("x"),
        list("", 200),
        step("PUT", "staged", "comp=blocklist", 201)
            .header("x-ms-blob-content-md5", "nd1Eg7Vc1kPmLJ3m0mGAsQ==")
            .body("<BlockList><Latest>YQ==</Latest></BlockList>"),
        list("", 200),
    ]);
}

#[test]
fn an_empty_container_has_an_empty_listing() {
    same(&[
        list("", 200),
        list("&prefix=a&delimiter=%2F&maxresults=3", 200),
    ]);
}

#[test]
fn a_page_of_a_size_that_is_none_is_refused() {
    same(&[
        // Azurite gives up before it has a code for it.
        list("&maxresults=many", 400).but_ours(400, "InvalidQueryParameterValue"),
        list("&maxresults=0", 400).but_ours(400, "OutOfRangeQueryParameterValue"),
    ]);
}
