//! What commands print.

use std::fs;
use std::path::Path;
use std::time::Duration;

use petctl_output::layout::Layout;
use petctl_output::logs::LogReader;
use petctl_proto::v1::attach_request::Message as Request;
use petctl_proto::v1::attach_response::Message as Response;
use petctl_proto::v1::{LogRequest, Outcome};

use crate::fake::{Bench, lease, until};

const LOG_BYTES: u64 = 1024 * 1024;

fn whole_log(path: &Path) -> Vec<u8> {
    let reader = LogReader::new(path);
    let (mut text, mut offset) = (Vec::new(), 0);
    loop {
        let piece = reader.read(offset, 60_000).unwrap();
        if piece.data.is_empty() {
            return text;
        }
        text.extend(piece.data);
        offset = piece.next_offset;
    }
}

/// The text of the lines, without what CRI puts before it.
fn texts(log: &[u8]) -> Vec<&[u8]> {
    let text = |line: &'_ [u8]| line.splitn(4, |&byte| byte == b' ').nth(3).map(<[u8]>::len);
    log.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| &line[line.len() - text(line).unwrap()..])
        .collect()
}

fn log_of(bench: &Bench) -> std::path::PathBuf {
    Layout::new(bench.output())
        .find_log("work", "k0", 1)
        .unwrap()
}

fn bytes_on_disk(folder: &Path) -> u64 {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}

#[tokio::test]
async fn lines_of_both_outputs_are_kept_in_order_with_their_time() {
    let mut bench =
        Bench::start("echo one; sleep 0.05; echo two >&2; sleep 0.05; printf three").await;
    assert_eq!(bench.run_one().await.outcome(), Outcome::Committed);
    let path = log_of(&bench);
    assert_eq!(
        path,
        bench
            .output()
            .join(".petctl/logs/work/k0/1-0000000000000007-0000000000000001.log")
    );
    let log = String::from_utf8(whole_log(&path)).unwrap();
    let lines: Vec<_> = log
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    assert_eq!(
        lines.iter().map(|(_, rest)| *rest).collect::<Vec<_>>(),
        ["stdout F one", "stderr F two", "stdout F three"]
    );
    assert!(
        lines.is_sorted_by_key(|(stamp, _)| *stamp)
            && lines[0].0.len() == 30
            && lines[0].0.ends_with('Z')
    );
    bench.end().await;
}

#[tokio::test]
async fn invalid_utf8_is_kept_as_it_is_and_shown_as_text() {
    let mut bench = Bench::start("printf 'a\\377\\376b\\n'; exit 3").await;
    let result = bench.run_one().await;
    assert_eq!(
        (result.outcome(), result.log_tail.as_str()),
        (Outcome::Failed, "a\u{fffd}\u{fffd}b\n")
    );
    assert_eq!(texts(&whole_log(&log_of(&bench))), [b"a\xff\xfeb"]);
    bench.end().await;
}

#[tokio::test]
async fn a_gigabyte_of_output_takes_a_bounded_amount_of_disk_and_keeps_both_ends() {
    let floods = [
        "echo first; yes | head -c 1000000000; echo last",
        "echo first; head -c 1000000000 /dev/zero | tr '\\0' x; echo; echo last",
        "echo first; yes | head -c 500000000 >&2 & yes | head -c 500000000; wait; echo last; echo last >&2",
    ];
    for script in floods {
        let mut bench = Bench::start(script).await;
        let result = bench.run_one().await;
        assert_eq!(result.outcome(), Outcome::Committed, "{result:?}");
        // It takes 1 to 2 s; formatting and writing all of it would take minutes.
        assert!(
            result.duration_ms < 60_000,
            "it was slowed to a crawl: {} ms",
            result.duration_ms
        );
        let path = log_of(&bench);
        assert!(bytes_on_disk(path.parent().unwrap()) <= LOG_BYTES + 64 * 1024);
        let log = whole_log(&path);
        let lines = texts(&log);
        assert!(
            lines.iter().take(3).any(|line| *line == b"first"),
            "the head is kept"
        );
        // Two outputs are two pipes: what is left in one when the other has ended is more than a tail holds. Whichever is
        // read last ends with it.
        assert!(lines.contains(&b"last".as_slice()), "the tail is kept");
        let gaps: Vec<_> = lines
            .iter()
            .filter(|line| line.starts_with(b"[petctl: "))
            .map(|line| String::from_utf8_lossy(line))
            .collect();
        let left_out: u64 = gaps
            .iter()
            .map(|gap| gap.split(' ').nth(1).unwrap().parse::<u64>().unwrap())
            .sum();
        assert!(left_out > 900_000_000, "{gaps:?}");
        bench.end().await;
    }
}

#[tokio::test]
async fn a_log_is_read_while_it_is_written() {
    let mut bench = Bench::start("echo one; until [ -e go ]; do sleep 0.01; done; echo two").await;
    bench.session.lease([lease(1, 0)]).await;
    until("the first line is in the log", || {
        Layout::new(bench.output())
            .find_log("work", "k0", 1)
            .is_some()
    })
    .await;
    let reader = LogReader::new(log_of(&bench));
    until("it can be read", || {
        !reader.read(0, 1000).unwrap().data.is_empty()
    })
    .await;
    let piece = reader.read(0, 1000).unwrap();
    assert_eq!(texts(&piece.data), [b"one"]);
    assert!(
        reader
            .read(piece.next_offset, 1000)
            .unwrap()
            .data
            .is_empty()
    );
    fs::write(bench.root().join("go"), "").unwrap();
    bench.session.results(1).await;
    assert_eq!(
        texts(&reader.read(piece.next_offset, 1000).unwrap().data),
        [b"two"]
    );
    bench.end().await;
}

#[tokio::test]
async fn a_reader_follows_a_flood_to_its_end() {
    let mut bench = Bench::start(
        "i=0; while [ $i -lt 60000 ]; do echo line $i of many that fill the log; i=$((i+1)); done",
    )
    .await;
    bench.session.lease([lease(1, 0)]).await;
    until("there is a log", || {
        Layout::new(bench.output())
            .find_log("work", "k0", 1)
            .is_some()
    })
    .await;
    let path = log_of(&bench);
    let following = tokio::task::spawn_blocking(move || {
        let reader = LogReader::new(path);
        let (mut offset, mut last) = (0, Vec::new());
        while !last.ends_with(b"line 59999 of many that fill the log\n") {
            let piece = reader.read(offset, 100_000).unwrap();
            assert!(piece.next_offset >= offset);
            if piece.data.is_empty() {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            assert!(
                piece.data.starts_with(b"20"),
                "each piece starts with a line"
            );
            assert!(piece.data.ends_with(b"\n"), "and ends with one");
            (offset, last) = (piece.next_offset, piece.data);
        }
    });
    assert_eq!(
        bench.session.results(1).await[&1].outcome(),
        Outcome::Committed
    );
    crate::fake::within(following).await.unwrap();
    bench.end().await;
}

#[tokio::test]
async fn a_coordinator_without_the_disk_asks_the_worker() {
    let mut bench = Bench::start("echo hello").await;
    bench.run_one().await;
    let request = |request_id, offset, lease_id| {
        let key = "k0".to_owned();
        Response::LogRequest(LogRequest {
            request_id,
            stage: 0,
            key,
            lease_id,
            offset,
            max_bytes: 1000,
        })
    };
    bench.session.send(request(5, 0, 1)).await;
    let Some(Request::LogChunk(chunk)) = bench.session.next().await else {
        panic!("no chunk")
    };
    assert_eq!(
        (chunk.request_id, texts(&chunk.data), chunk.end),
        (5, vec![b"hello".as_slice()], false)
    );
    for (id, offset, lease_id) in [(6, chunk.next_offset, 1), (7, 0, 99)] {
        bench.session.send(request(id, offset, lease_id)).await;
        let Some(Request::LogChunk(chunk)) = bench.session.next().await else {
            panic!("no chunk")
        };
        assert_eq!(
            (chunk.request_id, chunk.data.len(), chunk.end),
            (id, 0, true)
        );
    }
    bench.end().await;
}
