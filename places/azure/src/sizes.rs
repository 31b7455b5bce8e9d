//! Sizes of machines with GPUs that petctl knows: what they have, and what quota they take.
//!
//! Source: Azure's list of resource SKUs, as Microsoft's Aspire has it (`AksNodeVmSizes`), and for the memory of GPUs
//! its pages of sizes, "GPU accelerated". A size that is not here is used as it is named: its nodes say what they have.

/// A size of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its name, such as `Standard_NC4as_T4_v3`.
    pub name: &'static str,
    /// Virtual cores: what quotas count.
    pub cores: u32,
    /// Memory in GiB.
    pub memory_gib: u32,
    /// GPUs.
    pub gpus: u32,
    /// What they are.
    pub gpu: Gpu,
    /// Memory of each GPU in GiB; of a part of one, that of the part.
    pub gpu_memory_gib: u32,
    /// The quota of its family, for machines at full price.
    pub quota: &'static str,
}

/// What a GPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gpu {
    /// NVIDIA T4.
    T4,
    /// NVIDIA V100.
    V100,
    /// NVIDIA A10.
    A10,
    /// NVIDIA A100.
    A100,
    /// NVIDIA H100.
    H100,
    /// AMD MI300X.
    Mi300x,
}

impl Gpu {
    /// As people write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::T4 => "T4",
            Self::V100 => "V100",
            Self::A10 => "A10",
            Self::A100 => "A100",
            Self::H100 => "H100",
            Self::Mi300x => "MI300X",
        }
    }

    /// The resource by which pods ask for it.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::T4 | Self::V100 | Self::A10 | Self::A100 | Self::H100 => "nvidia.com/gpu",
            Self::Mi300x => "amd.com/gpu",
        }
    }

    /// Whether it can be divided into instances (MIG).
    #[must_use]
    pub fn has_mig(self) -> bool {
        matches!(self, Self::A100 | Self::H100)
    }
}

/// The one quota that all spot machines of a region take, whatever their size.
pub const SPOT_QUOTA: &str = "lowPriorityCores";

const T4: &str = "Standard NCASv3_T4 Family";
const V100: &str = "standardNCSv3Family";
const A10: &str = "StandardNVADSA10v5Family";
const A100: &str = "StandardNCADSA100v4Family";
const H100: &str = "StandardNCadsH100v5Family";

/// All of them, by GPU and size.
pub static SIZES: &[Size] = &[
    size("Standard_NC4as_T4_v3", (4, 28), (1, Gpu::T4, 16), T4),
    size("Standard_NC8as_T4_v3", (8, 56), (1, Gpu::T4, 16), T4),
    size("Standard_NC16as_T4_v3", (16, 110), (1, Gpu::T4, 16), T4),
    size("Standard_NC64as_T4_v3", (64, 440), (4, Gpu::T4, 16), T4),
    size("Standard_NC6s_v3", (6, 112), (1, Gpu::V100, 16), V100),
    size("Standard_NC12s_v3", (12, 224), (2, Gpu::V100, 16), V100),
    size("Standard_NC24s_v3", (24, 448), (4, Gpu::V100, 16), V100),
    size("Standard_NC24rs_v3", (24, 448), (4, Gpu::V100, 16), V100),
    size(
        "Standard_ND40rs_v2",
        (40, 672),
        (8, Gpu::V100, 32),
        "standardNDSv2Family",
    ),
    size("Standard_NV6ads_A10_v5", (6, 55), (1, Gpu::A10, 4), A10),
    size("Standard_NV12ads_A10_v5", (12, 110), (1, Gpu::A10, 8), A10),
    size("Standard_NV18ads_A10_v5", (18, 220), (1, Gpu::A10, 12), A10),
    size(
        "Standard_NV36adms_A10_v5",
        (36, 880),
        (1, Gpu::A10, 24),
        A10,
    ),
    size("Standard_NV36ads_A10_v5", (36, 440), (1, Gpu::A10, 24), A10),
    size("Standard_NV72ads_A10_v5", (72, 880), (2, Gpu::A10, 24), A10),
    size(
        "Standard_NC24ads_A100_v4",
        (24, 220),
        (1, Gpu::A100, 80),
        A100,
    ),
    size(
        "Standard_NC48ads_A100_v4",
        (48, 440),
        (2, Gpu::A100, 80),
        A100,
    ),
    size(
        "Standard_NC96ads_A100_v4",
        (96, 880),
        (4, Gpu::A100, 80),
        A100,
    ),
    size(
        "Standard_ND96asr_v4",
        (96, 900),
        (8, Gpu::A100, 40),
        "Standard NDASv4_A100 Family",
    ),
    size(
        "Standard_ND96amsr_A100_v4",
        (96, 1800),
        (8, Gpu::A100, 80),
        "standard NDAMSv4_A100Family",
    ),
    size(
        "Standard_NC40ads_H100_v5",
        (40, 320),
        (1, Gpu::H100, 94),
        H100,
    ),
    size(
        "Standard_NC80adis_H100_v5",
        (80, 640),
        (2, Gpu::H100, 94),
        H100,
    ),
    size(
        "Standard_ND96isr_H100_v5",
        (96, 1900),
        (8, Gpu::H100, 80),
        "standardNDSH100v5Family",
    ),
    size(
        "Standard_ND96isr_MI300X_v5",
        (96, 1850),
        (8, Gpu::Mi300x, 192),
        "standardNDISv5MI300XFamily",
    ),
];

const fn size(
    name: &'static str,
    (cores, memory_gib): (u32, u32),
    (gpus, gpu, gpu_memory_gib): (u32, Gpu, u32),
    quota: &'static str,
) -> Size {
    Size {
        name,
        cores,
        memory_gib,
        gpus,
        gpu,
        gpu_memory_gib,
        quota,
    }
}

impl Size {
    /// The one of that name, in any letter case; without `Standard_` too.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        let short = |name: &str| {
            let lower = name.to_ascii_lowercase();
            lower.strip_prefix("standard_").unwrap_or(&lower).to_owned()
        };
        let wanted = short(name);
        SIZES.iter().find(|size| short(size.name) == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::{Gpu, SIZES, Size};
    use std::collections::BTreeSet;

    #[test]
    fn sizes_are_found_as_people_write_them() {
        let a100 = Size::find("Standard_NC24ads_A100_v4").unwrap();
        assert_eq!(
            (a100.gpus, a100.gpu, a100.gpu.has_mig()),
            (1, Gpu::A100, true)
        );
        assert_eq!(Size::find("nc24ads_a100_V4"), Some(a100));
        assert_eq!(Size::find("Standard_D4ds_v5"), None);
        assert_eq!(
            Size::find("Standard_ND96isr_MI300X_v5")
                .unwrap()
                .gpu
                .resource(),
            "amd.com/gpu"
        );
    }

    #[test]
    fn every_size_is_there_once_and_says_what_it_has() {
        let names: BTreeSet<String> = SIZES.iter().map(|size| size.name.to_lowercase()).collect();
        assert_eq!(names.len(), SIZES.len());
        for size in SIZES {
            assert!(size.name.starts_with("Standard_N"), "{size:?}");
            assert!(
                size.cores > 0 && size.memory_gib > size.cores && size.gpus > 0,
                "{size:?}"
            );
            // The name says how many cores it has.
            let digits: String = size.name[10..]
                .chars()
                .skip_while(|c| !c.is_ascii_digit())
                .collect();
            let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
            assert_eq!(digits.parse(), Ok(size.cores), "{size:?}");
        }
        for gpu in [
            Gpu::T4,
            Gpu::V100,
            Gpu::A10,
            Gpu::A100,
            Gpu::H100,
            Gpu::Mi300x,
        ] {
            assert!(SIZES.iter().any(|size| size.gpu == gpu), "{}", gpu.as_str());
        }
    }
}
