//! A place that says what it is made of in Azure, and who is signed in there.

use clap::Args;
use petctl_arm::{Account, Arm, SignIn, account, blueprint, check, cloud};
use petctl_azure::Blueprint;
use petctl_job::Context;
use petctl_settings::{AzurePlace, Backend, Entry, KubePlace, Override, Places, Sets};
use petctl_ui::error::{Code, Error, Result};
use std::path::Path;

/// What stands above the place's `azure` for one command, under the names of the petctl before this one.
#[derive(Clone, Debug, Default, Args)]
pub struct AzureArgs {
    /// The subscription, in the place of azure.subscription.
    #[arg(
        long,
        alias = "subscription_id",
        value_name = "ID",
        help_heading = "Azure"
    )]
    subscription_id: Option<String>,

    /// The resource group, in the place of azure.resource_group.
    #[arg(
        long,
        alias = "resource-group",
        value_name = "NAME",
        help_heading = "Azure"
    )]
    rg: Option<String>,

    /// The region, in the place of azure.location.
    #[arg(long, value_name = "REGION", help_heading = "Azure")]
    location: Option<String>,

    /// How the host name of the API server begins, in the place of azure.dns_prefix.
    #[arg(
        long,
        alias = "dns_prefix",
        value_name = "NAME",
        help_heading = "Azure"
    )]
    dns_prefix: Option<String>,

    /// Sign in as this service principal, with AZURE_CLIENT_SECRET.
    #[arg(long, alias = "client_id", value_name = "ID", help_heading = "Azure")]
    client_id: Option<String>,

    /// Its secret. Every user of the machine can read it there: set AZURE_CLIENT_SECRET instead.
    #[arg(long = "client_secret", value_name = "SECRET", hide = true)]
    client_secret: Option<String>,
}

impl AzureArgs {
    /// Whether one of them is given.
    #[must_use]
    pub fn is_given(&self) -> bool {
        let all = [
            &self.subscription_id,
            &self.rg,
            &self.location,
            &self.dns_prefix,
            &self.client_id,
            &self.client_secret,
        ];
        all.iter().any(|given| given.is_some())
    }
}

/// Which place, for commands on its cluster in Azure.
#[derive(Debug, Args)]
pub(crate) struct SiteArgs {
    /// The place, as `petctl places` lists them [default: the settings' own].
    #[arg(long, value_name = "PLACE")]
    on: Option<String>,

    /// Override a key of a place, such as place.gpu.azure.cluster=other; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl SiteArgs {
    /// What the files say of it, with what stands above them.
    pub(crate) fn find(&self, args: &AzureArgs) -> Result<Site> {
        let sets = Sets::split(&self.set);
        if let Some(other) = sets.job.first() {
            return Err(no_key_of_a_place(other));
        }
        Site::find(self.on.as_deref(), &sets.places, args)
    }
}

/// A place in Azure.
#[derive(Debug)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// What it is as a place on Kubernetes.
    pub kube: KubePlace,
    /// What it is made of.
    pub blueprint: Blueprint,
    azure: AzurePlace,
    account: Account,
}

impl Site {
    /// The place of that name, or the default one; it must be in Azure.
    ///
    /// # Errors
    /// Where there is none, or it says nothing of Azure.
    pub fn find(name: Option<&str>, sets: &[Override], args: &AzureArgs) -> Result<Self> {
        let env = |name: &str| std::env::var(name).ok();
        let places = Places::find(Path::new(""), sets, &env)?;
        let (entry, _) = places.choose(name)?;
        Self::of(entry, args).ok_or_else(|| not_of_azure(&entry.name))
    }

    /// Of an entry of `petctl.toml`; `None`: it says nothing of Azure.
    #[must_use]
    pub fn of(entry: &Entry, args: &AzureArgs) -> Option<Self> {
        let Backend::Kube(kube) = &entry.backend else {
            return None;
        };
        let mut azure = entry.azure.as_deref()?.clone();
        let over = |key: &mut String, given: &Option<String>| {
            if let Some(given) = given {
                key.clone_from(given);
            }
        };
        over(&mut azure.subscription, &args.subscription_id);
        over(&mut azure.resource_group, &args.rg);
        over(&mut azure.location, &args.location);
        over(&mut azure.dns_prefix, &args.dns_prefix);
        let account = Account {
            client_id: args.client_id.clone(),
            client_secret: args.client_secret.clone(),
            ..account(&azure)
        };
        Some(Self {
            name: entry.name.clone(),
            kube: kube.as_ref().clone(),
            blueprint: blueprint(&entry.name, &azure, kube),
            azure,
            account,
        })
    }

    /// Signs in, and says as whom. Before that, what could never be made is refused.
    ///
    /// # Errors
    /// Where something that it takes is missing, or nobody is let in.
    pub async fn arm(&self, context: &Context) -> Result<Arm> {
        check(&self.blueprint)?;
        if self.account.client_secret.is_some() {
            context.out.warn(
                "--client_secret: every user of this machine can read it there; set AZURE_CLIENT_SECRET instead",
            );
        }
        let cloud = cloud(&self.azure);
        let env = |name: &str| std::env::var(name).ok();
        let say = |text: &str| eprintln_line(text);
        let sign_in = SignIn::find(&cloud, &self.account, &env, say)?;
        context
            .out
            .say(&format!("signs in to Azure by {}", sign_in.shown()));
        let arm = Arm::new(&cloud, &sign_in)?;
        arm.sign_in(&self.blueprint.subscription).await?;
        Ok(arm)
    }
}

/// A code to be typed is said whatever else is quiet: without it nothing goes on.
fn eprintln_line(text: &str) {
    use std::io::Write as _;
    let _nobody_listens = writeln!(std::io::stderr(), "{text}");
}

/// A place that is none of Azure's.
#[must_use]
pub fn not_of_azure(name: &str) -> Error {
    Error::new(
        Code::BadPlace,
        format!("place `{name}` says nothing of Azure: there is no [place.{name}.azure]"),
    )
    .fix("write one with `subscription`, `resource_group` and `location`; or name another place: --on NAME")
}

/// A `--set` that is for no place, where nothing else can be set.
#[must_use]
pub fn no_key_of_a_place(set: &str) -> Error {
    let what = format!("--set {set}: here only keys of places can be set");
    Error::new(Code::Usage, what).fix("write it like place.gpu.namespace=ml")
}
