//! Names that addresses and XML get wrong where somebody was careless.

use crate::scenario::{Step, delete, get, head, list, put, same};
use crate::wire::escaped;

const NAMES: [&str; 16] = [
    "plain.txt",
    "with space/and more.txt",
    " space before and after ",
    "percent%41%2F%.txt",
    "question?mark#hash&amp;.txt",
    "plus+equals=;comma,.txt",
    "quotes'\"<tag>.txt",
    "<a & 'b'>/c.txt",
    "日本語/ファイル.xml",
    "é/e\u{301}.txt",
    "emoji-🚗.bin",
    "brackets[1]{2}|^`~!@$()*.txt",
    ".petctl/logs/a.log",
    "slash//twice",
    "folder/",
    "deep/er/and/deep/er/still.txt",
];

#[test]
fn a_blob_is_found_under_any_name_and_listed_under_it() {
    let each = |step: fn(&str) -> Step| NAMES.iter().map(|name| step(name)).collect::<Vec<_>>();
    let mut steps = each(|name| put(name, name, 201));
    steps.extend(each(|name| get(name, 200)));
    steps.extend(each(|name| head(name, 200)));
    steps.push(list("", 200));
    steps.push(list("&delimiter=%2F", 200));
    steps.extend(each(|name| {
        list(&format!("&prefix={}", escaped(name)), 200)
    }));
    steps.extend(each(|name| {
        list(&format!("&maxresults=2&marker={}", escaped(name)), 200)
    }));
    steps.extend(each(|name| delete(name, 202)));
    steps.push(list("", 200));
    same(&steps);
}

#[test]
fn a_backslash_in_a_name_is_taken_for_a_slash() {
    same(&[
        put("a\\b", "x", 201),
        get("a/b", 200),
        get("a\\b", 200),
        list("", 200),
    ]);
}
