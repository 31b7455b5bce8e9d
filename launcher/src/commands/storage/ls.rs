//! `petctl storage ls`

use super::access::AccessArgs;
use super::location::Location;
use clap::Args;
use petctl_job::Context;
use petctl_report::model::{self, Entries};
use petctl_storage::{Entry, Need, StorageError, StorageProblem};
use petctl_ui::arguments::Format;
use petctl_ui::error::Result;
use petctl_ui::exit::Exit;
use petctl_ui::terminal::{bytes, clock, count, printable};
use std::time::{SystemTime, UNIX_EPOCH};

/// Lists what is at a location, with sizes and times.
#[derive(Debug, Args)]
#[command(after_help = "\
Everything below the location is listed, at any depth; markers of empty folders end with a /.

Examples:
  petctl storage ls az://raw
  petctl storage ls az://raw/us101 -o json
  petctl storage ls az://raw --account NAME --sas-token env:SAS")]
pub(crate) struct LsArgs {
    /// az://CONTAINER, az://CONTAINER/PREFIX or a local path.
    location: String,

    /// How to print them.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,

    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(context: &Context, args: LsArgs) -> Result<Exit> {
    let location = Location::read(&args.location)?;
    let store = location.open(&args.access.access(None)?)?;
    store.require(&[Need::List])?;
    let mut entries: Vec<model::Entry> = Vec::new();
    let (mut files, mut total) = (0_u64, 0_u64);
    let mut show = |entry: &Entry| {
        files += u64::from(!entry.is_folder);
        total += entry.properties.size;
        match args.output {
            Format::Json => entries.push(described(entry)),
            Format::Text => context.out.line(&line(entry)),
        }
    };
    let mut found = location.prefix.is_empty();
    if !location.is_folder
        && let Some(properties) = store.head(&location.prefix).await?
    {
        found = true;
        let name = location.prefix.clone();
        show(&Entry {
            note: None,
            name,
            properties,
            is_folder: false,
        });
    }
    let mut mark = None;
    loop {
        let page = store
            .list(&location.folder_prefix(), mark.as_deref())
            .await?;
        found |= !page.entries.is_empty();
        page.entries.iter().for_each(&mut show);
        found |= !page.left_out.is_empty();
        for left_out in &page.left_out {
            context
                .out
                .warn(&format!("{}: {}", printable(&left_out.name), left_out.why));
        }
        mark = page.mark.filter(|_| !context.out.is_closed());
        if mark.is_none() {
            break;
        }
    }
    if !found {
        return Err(nothing(&location).into());
    }
    match args.output {
        Format::Json => model::print(
            &context.out,
            Entries {
                location: location.shown(),
                files,
                bytes: total,
                entries,
            },
        ),
        Format::Text => context.out.say(&format!(
            "{}, {}",
            count(files, "file", "files"),
            bytes(total)
        )),
    }
    Ok(Exit::Success)
}

/// There is no such name, and no name below it.
pub(super) fn nothing(location: &Location) -> StorageError {
    StorageError::new(
        StorageProblem::NotFound,
        format!("there is nothing at {}", location.shown()),
    )
    .fix(format!(
        "`petctl storage ls {}` shows what is there",
        petctl_ui::shell::quote(&location.above())
    ))
}

fn line(entry: &Entry) -> String {
    let slash = if entry.is_folder && !entry.name.ends_with('/') {
        "/"
    } else {
        ""
    };
    format!(
        "{:>10}  {}  {}{slash}",
        bytes(entry.properties.size),
        clock(ms(entry.properties.modified)),
        printable(&entry.name)
    )
}

fn described(entry: &Entry) -> model::Entry {
    let md5 = entry.properties.md5;
    model::Entry {
        name: entry.name.clone(),
        bytes: entry.properties.size,
        modified_at_ms: ms(entry.properties.modified),
        etag: entry.properties.etag.0.clone(),
        md5: md5.map(|md5| petctl_text::hex(&md5)),
        is_folder: entry.is_folder,
    }
}

fn ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
