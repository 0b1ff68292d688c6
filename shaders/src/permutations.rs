//! The text file `permutations`: which constants every kernel has, and which builds of it are checked and shipped.

use crate::preprocess::Defines;

/// One kernel's block: `name NAME=DEFAULT ...`, an indented `dispatch` line, then a line for each permutation.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelEntry {
    /// File under `wgsl/`, without the ending.
    pub name: String,
    /// Every constant of the kernel with its default.
    pub defaults: Defines,
    /// How many workgroups a dispatch has, in words of the kernel's parameters.
    pub dispatch: String,
    /// Name and changed constants of each permutation.
    pub permutations: Vec<(String, Defines)>,
}

impl KernelEntry {
    /// The defaults with `changes` applied; a name that the kernel doesn't have is an error.
    pub fn defines(&self, changes: &Defines) -> Result<Defines, String> {
        let mut defines = self.defaults.clone();
        for (name, value) in changes {
            match defines.get_mut(name) {
                Some(slot) => *slot = value.clone(),
                None => {
                    let known: Vec<_> = self.defaults.keys().map(String::as_str).collect();
                    return Err(format!("{}: no constant `{name}`; it has {}", self.name, known.join(", ")));
                }
            }
        }
        Ok(defines)
    }
}

/// Parses the file; errors name the line.
pub fn parse(text: &str) -> Result<Vec<KernelEntry>, String> {
    let mut kernels: Vec<KernelEntry> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = |message: String| format!("permutations:{}: {message}", index + 1);
        let code = line.split('#').next().unwrap_or("");
        let mut words = code.split_whitespace();
        let Some(name) = words.next() else { continue };
        if !code.starts_with(' ') {
            let defaults = defines(words).map_err(place)?;
            kernels.push(KernelEntry {
                name: name.into(),
                defaults,
                dispatch: String::new(),
                permutations: Vec::new(),
            });
            continue;
        }
        let kernel =
            kernels.last_mut().ok_or_else(|| place("an indented line needs a kernel above".into()))?;
        match name {
            "+" => kernel.defaults.extend(defines(words).map_err(place)?),
            "dispatch" => kernel.dispatch = words.collect::<Vec<_>>().join(" "),
            _ => {
                let changes = defines(words).map_err(place)?;
                kernel.defines(&changes).map_err(place)?;
                kernel.permutations.push((name.into(), changes));
            }
        }
    }
    Ok(kernels)
}

fn defines<'a>(words: impl Iterator<Item = &'a str>) -> Result<Defines, String> {
    words
        .map(|word| {
            let (name, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is not NAME=value"))?;
            Ok((name.to_string(), value.to_string()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_blocks() {
        let text =
            "# note\na/b  X=1 Y=f32\n    + Z=0\n    dispatch rows * 2\n    plain\n    wide X=4\n\nc/d\n";
        let kernels = parse(text).unwrap();
        assert_eq!(kernels.len(), 2);
        assert_eq!(kernels[0].dispatch, "rows * 2");
        let (name, changes) = &kernels[0].permutations[1];
        assert_eq!(name, "wide");
        let defines = kernels[0].defines(changes).unwrap();
        assert_eq!((defines["X"].as_str(), defines["Y"].as_str(), defines["Z"].as_str()), ("4", "f32", "0"));
    }

    #[test]
    fn refuses_unknown_constants() {
        let error = parse("a/b X=1\n    wide Q=4").unwrap_err();
        assert_eq!(error, "permutations:2: a/b: no constant `Q`; it has X");
    }
}
