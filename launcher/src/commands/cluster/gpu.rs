//! `petctl setup --gpu`

use super::print_yaml;
use clap::{Args, ValueEnum};
use petctl_job::Context;
use petctl_kube::gpu::operator;
use petctl_settings::{GpuPlugin, KubePlace};
use petctl_ui::error::{Code, Error, Result};
use std::io::Write;
use std::process::{Command, Stdio};

/// Flags for the GPUs of nodes.
#[derive(Debug, Args)]
#[command(next_help_heading = "GPUs of nodes")]
pub(crate) struct GpuArgs {
    /// Who offers them, as gpu.plugin of the place [default: what the place says, else that is left as it is].
    #[arg(long, value_enum, value_name = "WHO")]
    gpu: Option<Who>,

    /// So many workers share each by time slicing, as gpu.sharing of the place.
    #[arg(long, value_name = "COUNT")]
    gpu_sharing: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Who {
    /// NVIDIA's device plugin, where no other is there.
    DevicePlugin,
    /// NVIDIA's operator: its values and commands are printed, and run with --yes.
    Operator,
    /// None by petctl: one that it has installed goes.
    None,
}

impl GpuArgs {
    /// The place with what the flags say of it.
    pub(crate) fn on_top_of(&self, place: &KubePlace) -> Result<KubePlace> {
        let mut place = place.clone();
        if let Some(plugin) = self.gpu {
            place.gpu.plugin = Some(match plugin {
                Who::DevicePlugin => GpuPlugin::DevicePlugin,
                Who::Operator => GpuPlugin::Operator,
                Who::None => GpuPlugin::None,
            });
            if place.gpu.plugin == Some(GpuPlugin::None) {
                place.gpu.sharing = 1;
            }
        }
        if let Some(sharing) = self.gpu_sharing {
            place.gpu.sharing = sharing;
        }
        place.check().map_err(|what| {
            Error::new(Code::Usage, what)
                .fix("`petctl setup --help` shows what goes with --gpu, --gpu-sharing and --namespace-scope")
        })?;
        Ok(place)
    }
}

/// Shows what NVIDIA's operator is to be told, and installs it where that is confirmed and helm is here.
pub(crate) async fn operator(context: &Context, place: &KubePlace, run: bool) -> Result<()> {
    let values = serde_saphyr::to_string(&operator::values(place))
        .map_err(|error| Error::new(Code::Bug, "can't write values as YAML").because(&error))?;
    let out = &context.out;
    out.line("# gpu-operator.yaml: values of NVIDIA's operator");
    out.line(values.trim_end());
    out.line("# gpu-rule.yaml");
    print_yaml(context, &[operator::rule()])?;
    out.line("# commands");
    let shell = |words: Vec<String>| {
        let words = words.iter().map(|word| petctl_ui::shell::quote(word));
        words.collect::<Vec<_>>().join(" ")
    };
    out.line(&shell(operator::command(place, "gpu-operator.yaml")));
    out.line("kubectl apply -f gpu-rule.yaml");
    if !run {
        return Ok(());
    }
    let words = operator::command(place, "-");
    let mut words = words.iter();
    let mut command = Command::new(words.next().map_or("helm", String::as_str));
    command.args(words).stdin(Stdio::piped());
    let mut helm = match command.spawn() {
        Ok(helm) => helm,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            out.warn("helm is not on this machine's PATH: run these commands where it is");
            return Ok(());
        }
        Err(error) => {
            return Err(Error::new(Code::BadGpuSetup, "helm can't be started").because(&error));
        }
    };
    let given = helm
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(values.as_bytes()));
    let ended = helm.wait();
    let ended = given.transpose().and(ended).map_err(|error| {
        Error::new(Code::BadGpuSetup, "helm did not take the values").because(&error)
    })?;
    if !ended.success() {
        let what = format!("helm did not install NVIDIA's operator ({ended})");
        return Err(
            Error::new(Code::BadGpuSetup, what).fix("mend what it says above, and give this again")
        );
    }
    operator::apply_rule(place).await?;
    out.line("NVIDIA's operator is installed; its drivers take some minutes: kubectl -n gpu-operator get pods");
    Ok(())
}
