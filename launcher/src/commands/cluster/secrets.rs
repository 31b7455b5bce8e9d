//! `petctl storage-secret` and `petctl docker-secret`

use super::{PlaceArgs, print_yaml};
use crate::commands::storage::access::source;
use clap::Args;
use petctl_job::Context;
use petctl_kube::{Change, Opener, Tunnel, apply_secret, registry_secret, storage_secret};
use petctl_kube::{Difference, without_values};
use petctl_storage::{Need, SasToken, SharedKey, read_secret};
use petctl_text::Secret;
use petctl_ui::error::{Code, Error, Result};
use petctl_ui::exit::Exit;
use serde_json::Value;

/// Where a Secret goes, and how.
#[derive(Debug, Args)]
struct Target {
    #[command(flatten)]
    place: PlaceArgs,

    /// Say what would change, by the cluster's own dry run, and change nothing.
    #[arg(long)]
    dry_run: bool,

    /// Print the Secret as YAML with names in the place of its values, and ask the cluster nothing.
    #[arg(long, conflicts_with_all = ["dry_run", "force"])]
    print: bool,

    /// Take fields over that somebody else has set.
    #[arg(long)]
    force: bool,
}

/// Keeps what opens a storage account as a Secret of a place: for volumes of blob containers, and for workers.
///
/// The Secret has the names that the Blob CSI driver reads and those of the environment that workers read. Given again,
/// it changes: pods that start later get the new value.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl storage-secret --on gpu --account-name myaccount --sas-token env:SAS
  petctl storage-secret --on gpu --account-name myaccount --account-key file:key.txt --name blob
  pass storage/key | petctl storage-secret --on gpu --account-name myaccount --account-key -")]
pub(crate) struct StorageSecretArgs {
    #[command(flatten)]
    target: Target,

    /// The storage account.
    #[arg(long, alias = "account_name", value_name = "NAME")]
    account_name: String,

    /// Where the account's key is: env:NAME, file:PATH, or - for stdin. Never the key itself.
    #[arg(
        long,
        alias = "account_key",
        value_name = "SOURCE",
        allow_hyphen_values = true
    )]
    #[arg(required_unless_present = "sas_token", conflicts_with = "sas_token")]
    account_key: Option<Secret>,

    /// Where a SAS is: env:NAME, file:PATH, or - for stdin. Never the SAS itself.
    #[arg(
        long,
        alias = "sas_token",
        value_name = "SOURCE",
        allow_hyphen_values = true
    )]
    sas_token: Option<Secret>,

    /// What the Secret is called.
    #[arg(long, value_name = "NAME", default_value = "petctl-storage")]
    name: String,
}

/// Keeps a login of an image registry as a Secret of a place, by which nodes pull images.
///
/// Given again, it changes: images that are pulled later are pulled by the new login.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  petctl docker-secret --on gpu --server registry.example --username ci --password env:TOKEN
  petctl docker-secret --on gpu --server docker.io --username me --password file:token")]
pub(crate) struct DockerSecretArgs {
    #[command(flatten)]
    target: Target,

    /// The registry's host, with its port if it has one.
    #[arg(long, value_name = "HOST")]
    server: Secret,

    /// The user.
    #[arg(long, value_name = "NAME")]
    username: String,

    /// Where the password or token is: env:NAME, file:PATH, or - for stdin. Never the password itself.
    #[arg(long, value_name = "SOURCE", allow_hyphen_values = true)]
    password: Secret,

    /// An image of that registry, which is then named as the place's `image` in what is said.
    #[arg(long, alias = "image_name", value_name = "IMAGE")]
    image_name: Option<String>,

    /// What the Secret is called.
    #[arg(long, value_name = "NAME", default_value = "petctl-registry")]
    name: String,
}

pub(crate) async fn storage(context: &Context, args: StorageSecretArgs) -> Result<Exit> {
    let tunnel = args.target.place.tunnel()?;
    let account = &args.account_name;
    let opener = match (&args.account_key, &args.sas_token) {
        (Some(key), _) => {
            let key = read_secret(&source("--account-key", key.expose())?, "account key")?;
            SharedKey::new(account, key.expose())?;
            Opener::Key(key)
        }
        (None, Some(sas)) => {
            let sas = read_secret(&source("--sas-token", sas.expose())?, "SAS")?;
            check_sas(context, &SasToken::read(sas.expose())?)?;
            let query = sas.expose().rsplit('?').next().unwrap_or_default();
            Opener::Sas(Secret::new(query))
        }
        (None, None) => {
            return Err(Error::new(
                Code::Usage,
                "neither --account-key nor --sas-token is given",
            ));
        }
    };
    let secret = storage_secret(tunnel.place(), &args.name, account, &opener)?;
    let (name, place) = (&args.name, tunnel.place());
    let staged = place.env_from_secrets.contains(name);
    let mounted = place
        .blobs()
        .iter()
        .any(|blob| blob.secret.as_ref() == Some(name));
    let keys = format!(
        "volumes = [{{ path = \"/data\", blob = {{ account = \"{account}\", container = \"…\", secret = \"{name}\" }} }}], \
         for workers that fetch and send by themselves env_from_secrets = [\"{name}\"]"
    );
    keep(
        context,
        &tunnel,
        &args.target,
        &secret,
        (staged || mounted, &keys),
    )
    .await
}

pub(crate) async fn docker(context: &Context, args: DockerSecretArgs) -> Result<Exit> {
    let tunnel = args.target.place.tunnel()?;
    let password = read_secret(&source("--password", args.password.expose())?, "password")?;
    let login = (args.server.expose(), args.username.as_str());
    let secret = registry_secret(tunnel.place(), &args.name, login, &password)?;
    let mut keys = format!("pull_secrets = [\"{}\"]", args.name);
    if let Some(image) = &args.image_name {
        keys.push_str(&format!(", image = \"{image}\""));
    }
    let named = tunnel.place().pull_secrets.contains(&args.name);
    keep(context, &tunnel, &args.target, &secret, (named, &keys)).await
}

/// What a mount needs is known before a pod waits for it.
fn check_sas(context: &Context, sas: &SasToken) -> Result<()> {
    sas.check(&[])?;
    if let Err(error) = sas.check(&[Need::Read, Need::List]) {
        context.out.warn(&format!(
            "{}: a volume can't be mounted by it, which takes `rl`, and `w` and `d` to be written to",
            error.message
        ));
    }
    if let Some(end) = sas.expires() {
        context.out.say(&format!(
            "the SAS ends at {end}; give this again with a new one before that"
        ));
    }
    Ok(())
}

/// Applies a Secret and says what to do with it. `named`: the place names it already; `keys`: how it would.
async fn keep(
    context: &Context,
    tunnel: &Tunnel,
    target: &Target,
    secret: &Value,
    (named, keys): (bool, &str),
) -> Result<Exit> {
    if target.print {
        print_yaml(context, &[without_values(secret)])?;
        context
            .out
            .say("put the values in where their names stand, in < and >; they are not printed");
        return Ok(Exit::Success);
    }
    let applied = apply_secret(tunnel.place(), secret, target.dry_run, target.force).await?;
    let (
        shown,
        Difference {
            object,
            change,
            fields,
        },
    ) = applied;
    let (mark, said) = match change {
        Change::New => ("+", "made"),
        Change::Changed => ("~", "changed"),
        Change::Same | Change::Gone => ("=", "as it was"),
    };
    context.out.line(&format!("{mark} {object}"));
    for (path, before, after) in fields {
        context
            .out
            .line(&format!("    {path}: {before} -> {after}"));
    }
    if target.dry_run {
        return Ok(Exit::Success);
    }
    context
        .out
        .line(&format!("{}: {object} is {said} ({shown})", tunnel.name()));
    if change == Change::Changed {
        context
            .out
            .say("pods that run keep what they have; those that start later get the new one");
    }
    if !named {
        context
            .out
            .say(&format!("name it in [place.{}]: {keys}", tunnel.name()));
    }
    Ok(Exit::Success)
}
