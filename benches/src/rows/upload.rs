//! Uploads and downloads, against azcopy on the same service.

use super::dispatch::to_f64;
use crate::blobs::{ABSENT, Azcopy, Service, write_noise};
use crate::figure::Rounds;
use crate::options::Options;
use crate::table::Row;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

const MIB: usize = 1024 * 1024;

/// Seconds of each round: petctl's and azcopy's.
#[derive(Default)]
struct Pair {
    petctl: Vec<f64>,
    azcopy: Vec<f64>,
}

impl Pair {
    /// How much faster petctl is: the median of the ratios of rounds that were measured in turn.
    fn times_faster(&self) -> Option<f64> {
        (!self.azcopy.is_empty()).then(|| Rounds::ratios(&self.azcopy, &self.petctl).median())
    }

    fn row(&self, what: &str, aim: &str, least: f64, show: impl Fn(f64) -> String) -> Row {
        let petctl = Rounds::new(self.petctl.clone());
        let (measured, beside) = match self.times_faster() {
            Some(times) => (
                format!("{}, {times:.2} times as fast", show(petctl.median())),
                format!(
                    "azcopy: {}",
                    show(Rounds::new(self.azcopy.clone()).median())
                ),
            ),
            None => (show(petctl.median()), ABSENT.to_owned()),
        };
        Row {
            what: what.to_owned(),
            aim: aim.to_owned(),
            measured,
            met: self.times_faster().map(|times| times >= least),
            beside: format!("{beside}; {}", petctl.spread(&show)),
        }
    }
}

/// One large file there and back, many small ones, and the same again unchanged.
pub(crate) fn upload(options: &Options) -> Result<Vec<Row>> {
    let azcopy = Azcopy::find();
    let mib = options.quick_or(64, 256);
    let files = options.quick_or(1_000, 10_000);
    let mut rows = large(options, azcopy.as_ref(), mib)?;
    rows.extend(small(options, azcopy.as_ref(), files)?);
    Ok(rows)
}

fn large(options: &Options, azcopy: Option<&Azcopy>, mib: usize) -> Result<Vec<Row>> {
    let service = Service::start(options)?;
    let folder = service.folder().to_owned();
    write_noise(&folder.join("large"), mib * MIB, 1)?;
    let (mut up, mut down) = (Pair::default(), Pair::default());
    for round in 0..options.quick_or(2, 5) {
        let (ours, theirs) = (format!("ours-{round}"), format!("theirs-{round}"));
        let place = format!("az://bench/{ours}");
        up.petctl.push(seconds(
            service.petctl(options, &["upload", "large", &place])?,
        ));
        let copy = format!("./{ours}");
        down.petctl.push(seconds(
            service.petctl(options, &["download", &place, &copy])?,
        ));
        check_same(&folder.join("large"), &folder.join(&ours).join("large"))?;
        if let Some(azcopy) = azcopy {
            let url = service.url(service.endpoint(), &theirs);
            let put = ["copy", "large", &url, "--from-to", "LocalBlob", "--put-md5"];
            up.azcopy.push(seconds(azcopy.run(&folder, &put)?));
            let get = ["copy", &url, &theirs, "--from-to", "BlobLocal"];
            down.azcopy.push(seconds(azcopy.run(&folder, &get)?));
            check_same(&folder.join("large"), &folder.join(&theirs))?;
        }
        fs::remove_dir_all(folder.join(&ours)).context("remove what was fetched")?;
        let _absent = fs::remove_file(folder.join(&theirs));
    }
    let rate = |seconds: f64| format!("{:.0} MiB/s", to_f64(mib as u64) / seconds);
    Ok(vec![
        up.row(
            &format!("upload of {mib} MiB"),
            "no slower than azcopy",
            1.0,
            rate,
        ),
        down.row(
            &format!("download of {mib} MiB"),
            "no slower than azcopy",
            1.0,
            rate,
        ),
    ])
}

fn small(options: &Options, azcopy: Option<&Azcopy>, files: usize) -> Result<Vec<Row>> {
    let (mut first, mut again) = (Pair::default(), Pair::default());
    for _ in 0..options.quick_or(1, 3) {
        // Azurite gets slower with what it holds: each round has one of its own.
        let service = Service::start(options)?;
        let folder = service.folder().to_owned();
        let many = folder.join("many");
        for number in 0..files {
            let folder = many.join(format!("{:02}", number % 20));
            fs::create_dir_all(&folder).context("make a folder")?;
            write_noise(&folder.join(format!("{number:05}")), 4_096, number as u64)?;
        }
        if let Some(azcopy) = azcopy {
            let url = service.url(service.endpoint(), "theirs");
            let copy = [
                "copy",
                "many/*",
                &url,
                "--from-to",
                "LocalBlob",
                "--recursive",
            ];
            first.azcopy.push(seconds(azcopy.run(&folder, &copy)?));
            let sync = [
                "sync",
                "many",
                &url,
                "--from-to",
                "LocalBlob",
                "--recursive",
            ];
            again.azcopy.push(seconds(azcopy.run(&folder, &sync)?));
        }
        let upload = ["upload", "many", "az://bench/ours"];
        first
            .petctl
            .push(seconds(service.petctl(options, &upload)?));
        again
            .petctl
            .push(seconds(service.petctl(options, &upload)?));
    }
    let show = |seconds: f64| format!("{seconds:.2} s");
    let what = format!(
        "{} files of 4 KiB",
        crate::figure::whole(to_f64(files as u64))
    );
    Ok(vec![
        first.row(
            &format!("upload of {what}"),
            "2 times azcopy copy",
            2.0,
            show,
        ),
        again.row(
            &format!("the same {what} again"),
            "2 times azcopy sync",
            2.0,
            show,
        ),
    ])
}

fn seconds(took: std::time::Duration) -> f64 {
    took.as_secs_f64()
}

fn check_same(one: &Path, other: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    if read(one)? != read(other)? {
        bail!("WRONG: {} is not {}", other.display(), one.display());
    }
    Ok(())
}
