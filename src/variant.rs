//! Which shader build runs on an adapter, and why.

use std::fmt;
use std::str::FromStr;

/// A family of shader builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VariantKind {
    /// 16 KiB of workgroup memory, 256 invocations, no optional feature: runs everywhere.
    Portable,
    /// GPUs whose subgroups have at least 8 lanes: exchanges within a subgroup instead of through workgroup memory.
    Subgroup,
    /// Software adapters with subgroups of exactly 8 lanes: registers, broadcasts, no barrier.
    Cpu,
    /// Software adapters otherwise, browsers' included: registers only, no barrier.
    CpuPlain,
}

impl VariantKind {
    /// All kinds.
    pub const ALL: [VariantKind; 4] = [Self::Portable, Self::Subgroup, Self::Cpu, Self::CpuPlain];

    /// `portable`, `subgroup`, `cpu` or `cpu-plain`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Subgroup => "subgroup",
            Self::Cpu => "cpu",
            Self::CpuPlain => "cpu-plain",
        }
    }

    /// Whether this build is for software adapters.
    pub const fn is_cpu(self) -> bool {
        matches!(self, Self::Cpu | Self::CpuPlain)
    }

    /// Whether this build calls subgroup operations.
    pub const fn uses_subgroups(self) -> bool {
        matches!(self, Self::Cpu | Self::Subgroup)
    }
}

impl fmt::Display for VariantKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for VariantKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|k| k.name()).collect();
            format!("variant `{text}`; expected one of {}", names.join(", "))
        })
    }
}

/// The build chosen for an adapter, with the reason in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The build.
    pub kind: VariantKind,
    /// Why this one.
    pub reason: String,
}

/// What the choice depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    pub is_cpu: bool,
    pub has_subgroups: bool,
    pub subgroup_sizes: (u32, u32),
}

impl Variant {
    /// Chooses from an adapter's traits, or checks that the wanted build can run there.
    pub(crate) fn choose(traits: Traits, wanted: Option<VariantKind>) -> Result<Variant, String> {
        let Traits { is_cpu, has_subgroups, subgroup_sizes: (least, most) } = traits;
        let sizes = format!("subgroups of {least} to {most} lanes");
        let eight_lanes = has_subgroups && least == 8 && most == 8;
        let wide_enough = has_subgroups && least >= 8;
        // `cpu` names the better of the two software builds that runs here.
        let wanted = wanted.map(|kind| match kind {
            VariantKind::Cpu if !eight_lanes => VariantKind::CpuPlain,
            kind => kind,
        });
        if let Some(kind) = wanted {
            if kind == VariantKind::Subgroup && !wide_enough {
                let found = if has_subgroups { sizes } else { "no subgroup operations".into() };
                return Err(format!(
                    "`subgroup` needs subgroups of at least 8 lanes, the device has {found}"
                ));
            }
            return Ok(Variant { kind, reason: "asked for by name".into() });
        }
        let (kind, reason) = if is_cpu && eight_lanes {
            (
                VariantKind::Cpu,
                "a software adapter with subgroups of 8 lanes: registers and broadcasts".into(),
            )
        } else if is_cpu {
            let found = if has_subgroups { sizes } else { "no subgroups".into() };
            (VariantKind::CpuPlain, format!("a software adapter, {found}: registers, no barriers"))
        } else if wide_enough {
            (VariantKind::Subgroup, format!("a GPU with {sizes}"))
        } else if has_subgroups {
            (VariantKind::Portable, format!("a GPU with {sizes}: fewer than 8 lanes are possible"))
        } else {
            (VariantKind::Portable, "a GPU without subgroup operations on this device".into())
        };
        Ok(Variant { kind, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(
        is_cpu: bool,
        has: bool,
        sizes: (u32, u32),
        wanted: Option<VariantKind>,
    ) -> Result<VariantKind, String> {
        let traits = Traits { is_cpu, has_subgroups: has, subgroup_sizes: sizes };
        Variant::choose(traits, wanted).map(|variant| variant.kind)
    }

    #[test]
    fn follows_the_adapter() {
        assert_eq!(choose(true, true, (8, 8), None), Ok(VariantKind::Cpu));
        assert_eq!(choose(true, true, (4, 4), None), Ok(VariantKind::CpuPlain));
        assert_eq!(choose(true, false, (0, 0), None), Ok(VariantKind::CpuPlain));
        assert_eq!(choose(false, true, (32, 32), None), Ok(VariantKind::Subgroup));
        assert_eq!(choose(false, true, (4, 32), None), Ok(VariantKind::Portable));
        assert_eq!(choose(false, false, (0, 0), None), Ok(VariantKind::Portable));
    }

    #[test]
    fn a_name_beats_the_adapter_where_it_can_run() {
        assert_eq!(choose(true, true, (8, 8), Some(VariantKind::Portable)), Ok(VariantKind::Portable));
        assert_eq!(choose(false, true, (32, 32), Some(VariantKind::Cpu)), Ok(VariantKind::CpuPlain));
        assert!(choose(true, false, (0, 0), Some(VariantKind::Subgroup)).is_err());
        assert!("fast".parse::<VariantKind>().unwrap_err().contains("portable, subgroup, cpu, cpu-plain"));
    }
}
