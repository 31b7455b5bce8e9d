//! `petctl configure`: a place and a job to begin with.

use clap::Args;
use petctl_azure::{Gpu, Size};
use petctl_job::Context;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What `petctl.toml` is called.
const PLACE_FILE: &str = "petctl.toml";
/// The subscription of nobody, until somebody writes their own.
const NOBODYS: &str = "00000000-0000-0000-0000-000000000000";
/// A small machine with a T4: the cheapest with a GPU that trains.
const WORKER_SIZE: &str = "Standard_NC4as_T4_v3";
/// What AKS itself proposes for its own pods.
const SYSTEM_SIZE: &str = "Standard_D4ds_v5";
/// Most characters of a storage account's name.
const MAX_ACCOUNT: usize = 24;

const PLACE: &str = include_str!("configure/place.toml");
const JOB: &str = include_str!("configure/job.toml");

/// Writes a petctl.toml with a place in Azure, and a job file, to begin with.
///
/// Both are commented, valid, and yours from then on: change them as you like. Says what it chose and why. Nothing is made
/// anywhere; that is `petctl setup`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl configure --name test_job --min_size 1 --max_size 5
  petctl configure --name resim --max_size 20 --worker_vm Standard_NC24ads_A100_v4 --spot --gpu-sharing 4
  petctl configure --name resim --subscription_id \"$(az account show --query id -o tsv)\" --location westeurope")]
pub struct ConfigureArgs {
    /// The name of the job, and of what is made for it.
    #[arg(long, value_name = "NAME")]
    name: String,

    /// Fewest workers.
    #[arg(long, alias = "min_size", value_name = "N", default_value_t = 1)]
    min_size: u32,

    /// Most workers.
    #[arg(long, alias = "max_size", value_name = "N", default_value_t = 1)]
    max_size: u32,

    /// Workers to begin with [default: as many as there may be].
    #[arg(long, value_name = "N")]
    size: Option<u32>,

    /// The size of the nodes of the cluster's own pods.
    #[arg(long, alias = "master_vm", value_name = "SIZE", default_value = SYSTEM_SIZE)]
    master_vm: String,

    /// The size of the workers' nodes.
    #[arg(long, alias = "worker_vm", value_name = "SIZE", default_value = WORKER_SIZE)]
    worker_vm: String,

    /// Workers on spot nodes: cheap, and taken away at any time.
    #[arg(long)]
    spot: bool,

    /// So many workers share each GPU.
    #[arg(long, alias = "gpu_sharing", value_name = "N", default_value_t = 1)]
    gpu_sharing: u32,

    /// The image of the workers [default: one of the registry that setup makes].
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,

    /// The subscription that pays [default: AZURE_SUBSCRIPTION_ID].
    #[arg(long, alias = "subscription_id", value_name = "ID")]
    subscription_id: Option<String>,

    /// The resource group [default: the name].
    #[arg(long, value_name = "NAME")]
    rg: Option<String>,

    /// The region.
    #[arg(long, value_name = "REGION", default_value = "eastus")]
    location: String,

    /// How the host name of the API server begins [default: the name].
    #[arg(long, alias = "dns_prefix", value_name = "NAME")]
    dns_prefix: Option<String>,

    /// The folder for both files.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,

    /// Write over files that are there.
    #[arg(long)]
    force: bool,

    /// Print both files, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Both files, and what was chosen.
#[derive(Debug)]
struct Proposal {
    place: String,
    job_name: String,
    job: String,
    account: String,
    choices: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// Where what is asked for contradicts itself, or a file is there.
pub fn run(context: &Context, args: &ConfigureArgs) -> Result<Exit> {
    let subscription = args
        .subscription_id
        .clone()
        .or_else(|| std::env::var("AZURE_SUBSCRIPTION_ID").ok())
        .filter(|id| !id.is_empty());
    let proposal = propose(args, subscription.as_deref())?;
    let job_file = format!("{}.toml", proposal.job_name);
    let files = [
        (args.folder.join(PLACE_FILE), &proposal.place),
        (args.folder.join(&job_file), &proposal.job),
    ];
    if args.dry_run {
        for (path, text) in &files {
            context.out.line(&format!("# {}", path.display()));
            context.out.line(text.trim_end());
        }
        return Ok(Exit::Success);
    }
    if !args.force
        && let Some((path, _)) = files.iter().find(|(path, _)| path.exists())
    {
        let what = format!("{} is there already; nothing was written", path.display());
        return Err(Error::new(Code::Usage, what)
            .fix("write over it with --force, or name another folder: --folder FOLDER"));
    }
    for (path, text) in &files {
        put(path, text)?;
        context.out.line(&format!("wrote {}", path.display()));
    }
    for choice in &proposal.choices {
        context.out.say(choice);
    }
    let account = &proposal.account;
    for (at, step) in [
        "petctl setup --what-if".to_owned(),
        "petctl setup".to_owned(),
        format!("petctl storage-secret --account-name {account} --account-key env:KEY"),
        format!("AZURE_STORAGE_SAS_TOKEN='…' petctl run {job_file}"),
    ]
    .iter()
    .enumerate()
    {
        let mark = if at == 0 { "next:" } else { "     " };
        context.out.say(&format!("{mark} {step}"));
    }
    Ok(Exit::Success)
}

fn put(path: &Path, text: &str) -> Result<()> {
    let written = path
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::File::create(path))
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        Error::new(Code::Usage, format!("can't write {}", path.display()))
            .because(&error)
            .fix("name another folder: --folder FOLDER")
    })
}

fn propose(args: &ConfigureArgs, subscription: Option<&str>) -> Result<Proposal> {
    let usage = |what: String, fix: &str| Err(Error::new(Code::Usage, what).fix(fix));
    let wanted = args.size.unwrap_or(args.max_size);
    if args.min_size == 0 || args.min_size > args.max_size {
        let what = format!(
            "{} to {} workers: there is no such number",
            args.min_size, args.max_size
        );
        return usage(
            what,
            "give --min_size from 1 on, and a --max_size that is not smaller",
        );
    }
    if !(args.min_size..=args.max_size).contains(&wanted) {
        let what = format!(
            "--size {wanted} is not between {} and {}",
            args.min_size, args.max_size
        );
        return usage(what, "give a --size between --min_size and --max_size");
    }
    if args.gpu_sharing == 0 || args.gpu_sharing > 64 {
        let what = format!(
            "--gpu-sharing {}: so many can't share a GPU",
            args.gpu_sharing
        );
        return usage(what, "give a number from 1 to 64");
    }
    let mut choices = Vec::new();
    let job_name = job_name(&args.name);
    if !petctl_text::words::is_name(&job_name) {
        let what = format!("`{}` can't be the name of a job", args.name);
        return usage(what, "use a-z, 0-9 and `-`, a letter first");
    }
    if job_name != args.name {
        choices.push(format!(
            "the job is `{job_name}`: names have a-z, 0-9 and `-`"
        ));
    }
    let size = Size::find(&args.worker_vm);
    let worker_vm = size.map_or(args.worker_vm.as_str(), |size| size.name);
    let gpus = size.map_or(1, |size| size.gpus);
    match size {
        Some(size) => choices.push(format!(
            "workers run on {worker_vm}: {} {} with {} GiB each, {} cores, {} GiB of memory; quota `{}`",
            size.gpus,
            size.gpu.as_str(),
            size.gpu_memory_gib,
            size.cores,
            size.memory_gib,
            if args.spot { petctl_azure::SPOT_QUOTA } else { size.quota },
        )),
        None => choices.push(format!(
            "petctl does not know the size {worker_vm}: one GPU for each worker is supposed; see `gpus` in the job"
        )),
    }
    let nodes = args.max_size.div_ceil(args.gpu_sharing);
    choices.push(format!(
        "up to {nodes} nodes for up to {} workers: {}",
        args.max_size,
        if args.gpu_sharing > 1 {
            format!("{} workers share each GPU", args.gpu_sharing)
        } else {
            "a node for each".to_owned()
        }
    ));
    let pool = size.map_or("gpu", |size| pool_of(size.gpu));
    let group = args.rg.clone().unwrap_or_else(|| job_name.clone());
    let unique = unique(&[subscription.unwrap_or(NOBODYS), &group, &job_name]);
    let account = account_of(&job_name, &unique);
    choices.push(format!(
        "storage account and registry are `{account}`: such names are there once in the whole of Azure"
    ));
    if subscription.is_none() {
        choices.push(
            "no subscription is named: write yours into petctl.toml (az account show --query id), or give \
             --subscription_id to setup"
                .to_owned(),
        );
    }
    let image = args
        .image
        .clone()
        .unwrap_or_else(|| format!("{account}.azurecr.io/{job_name}:1"));
    let sharing = match args.gpu_sharing {
        1 => "gpu = { plugin = \"device-plugin\" }".to_owned(),
        many => format!("gpu = {{ plugin = \"device-plugin\", sharing = {many} }}"),
    };
    let gpu_resource = size.map_or("nvidia.com/gpu", |size| size.gpu.resource());
    let sharing = if gpu_resource == "nvidia.com/gpu" {
        sharing
    } else {
        format!("gpu_resource = \"{gpu_resource}\"")
    };
    // With time slicing each worker asks for one of the parts.
    let gpus = if args.gpu_sharing > 1 { 1 } else { gpus };
    let values = [
        ("@NAME@", job_name.clone()),
        ("@MIN@", args.min_size.to_string()),
        ("@MAX@", args.max_size.to_string()),
        ("@WANTED@", wanted.to_string()),
        ("@GPUS@", gpus.to_string()),
        ("@IMAGE@", image),
        ("@ACCOUNT@", account.clone()),
        ("@VERSION@", env!("CARGO_PKG_VERSION").to_owned()),
        ("@SPOT@", args.spot.to_string()),
        ("@GPU@", sharing),
        ("@SUBSCRIPTION@", subscription.unwrap_or(NOBODYS).to_owned()),
        ("@GROUP@", group),
        ("@LOCATION@", args.location.clone()),
        (
            "@DNS@",
            args.dns_prefix.clone().unwrap_or_else(|| job_name.clone()),
        ),
        ("@SYSTEM@", args.master_vm.clone()),
        ("@POOL@", pool.to_owned()),
        ("@SIZE@", worker_vm.to_owned()),
        ("@NODES@", nodes.to_string()),
    ];
    Ok(Proposal {
        place: filled(PLACE, &values)?,
        job: filled(JOB, &values)?,
        job_name,
        account,
        choices,
    })
}

/// A template with its values; what would end a string of TOML is refused.
fn filled(template: &str, values: &[(&str, String)]) -> Result<String> {
    let mut text = template.to_owned();
    for (name, value) in values {
        let is_table = matches!(*name, "@GPU@");
        if !is_table
            && value
                .chars()
                .any(|c| c == '"' || c == '\\' || c.is_control())
        {
            let what = format!("{value:?} can't be written into a file");
            return Err(Error::new(Code::Usage, what).fix("leave quotation marks and the like out"));
        }
        text = text.replace(name, value);
    }
    Ok(text)
}

/// The name of a job as the old petctl let it be written: `test_job`.
#[must_use]
pub fn job_name(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', ' ', '.'], "-")
}

fn pool_of(gpu: Gpu) -> &'static str {
    match gpu {
        Gpu::T4 => "t4",
        Gpu::V100 => "v100",
        Gpu::A10 => "a10",
        Gpu::A100 => "a100",
        Gpu::H100 => "h100",
        Gpu::Mi300x => "mi300x",
    }
}

/// Eight characters that others will hardly have.
fn unique(of: &[&str]) -> String {
    let hash = Sha256::digest(of.join("\n").to_ascii_lowercase().as_bytes());
    petctl_text::hex(&hash[..4])
}

fn account_of(name: &str, unique: &str) -> String {
    let own: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let own: String = own.chars().take(MAX_ACCOUNT - unique.len()).collect();
    format!("{own}{unique}")
}

#[cfg(test)]
mod tests;
