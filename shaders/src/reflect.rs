//! What a resolved kernel binds, read from its text: each binding stands on one line of its own.
//!
//! `build.rs` checks for every permutation that naga sees the same bindings and workgroup size.

/// How a kernel sees one binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindingKind {
    /// `var<uniform>`
    Uniform,
    /// `var<storage, read>`
    StorageRead,
    /// `var<storage, read_write>`
    StorageReadWrite,
    /// `texture_2d<f32>`
    Texture,
    /// `texture_storage_2d<FORMAT, write>`, with its format
    StorageTexture(String),
}

/// One binding of group 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Number in `@binding(n)`.
    pub index: u32,
    /// Name of the variable.
    pub name: String,
    /// Address space and access.
    pub kind: BindingKind,
    /// WGSL type.
    pub ty: String,
}

/// Bindings and workgroup size of a resolved kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Bindings of group 0, by rising number.
    pub bindings: Vec<Binding>,
    /// `@workgroup_size`
    pub workgroup_size: [u32; 3],
    /// Whether it calls subgroup operations.
    pub subgroup: bool,
}

/// One value of a uniform's struct: four bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name of the member.
    pub name: String,
    /// `u32`, `i32` or `f32`.
    pub ty: String,
}

/// The members of the struct that a uniform has, in order and without gaps: each has one line and four bytes.
pub fn uniform_fields(wgsl: &str, ty: &str) -> Result<Vec<Field>, String> {
    let code = wgsl.lines().map(|line| line.split("//").next().unwrap_or("").trim());
    let mut members = code.skip_while(|line| *line != format!("struct {ty} {{")).skip(1);
    let mut fields = Vec::new();
    loop {
        match members.next() {
            None => return Err(format!("no struct `{ty}` with a member on each line")),
            Some("}") => return Ok(fields),
            Some("") => {}
            Some(member) => match member.strip_suffix(',').and_then(|member| member.split_once(':')) {
                Some((name, ty)) if ["u32", "i32", "f32"].contains(&ty.trim()) => {
                    fields.push(Field { name: name.trim().into(), ty: ty.trim().into() });
                }
                _ => return Err(format!("`{ty}`: not one u32, i32 or f32 on one line: `{member}`")),
            },
        }
    }
}

/// Reads the interface of plain WGSL.
pub fn reflect(wgsl: &str) -> Result<Interface, String> {
    let mut bindings = Vec::new();
    let mut workgroup_size = None;
    let mut subgroup = false;
    for line in wgsl.lines() {
        let code = line.split("//").next().unwrap_or("").trim();
        subgroup |= code.contains("subgroup");
        if let Some(rest) = code.strip_prefix("@group(0) @binding(") {
            bindings.push(binding(rest).ok_or_else(|| format!("not one binding on one line: `{code}`"))?);
        }
        if let Some(rest) = code.split("@workgroup_size(").nth(1) {
            let arguments = rest.split(')').next().unwrap_or("");
            let mut size = [1; 3];
            for (slot, argument) in size.iter_mut().zip(arguments.split(',')) {
                *slot = argument
                    .trim()
                    .trim_end_matches('u')
                    .parse()
                    .map_err(|_| format!("workgroup size `{arguments}` is not literal"))?;
            }
            workgroup_size = Some(size);
        }
    }
    bindings.sort_unstable_by_key(|b: &Binding| b.index);
    Ok(Interface { bindings, workgroup_size: workgroup_size.ok_or("there is no entry point")?, subgroup })
}

/// `2) var<storage, read> query: array<vec4f>;`
fn binding(text: &str) -> Option<Binding> {
    let (index, rest) = text.split_once(") var")?;
    let (space, rest) = match rest.strip_prefix('<') {
        Some(rest) => rest.split_once('>')?,
        None => ("", rest),
    };
    let (name, ty) = rest.strip_suffix(';')?.split_once(':')?;
    let ty = ty.trim().to_string();
    let kind = match space {
        "uniform" => BindingKind::Uniform,
        "storage, read" => BindingKind::StorageRead,
        "storage, read_write" => BindingKind::StorageReadWrite,
        "" => match ty.strip_prefix("texture_storage_2d<") {
            Some(format) => BindingKind::StorageTexture(format.split(',').next()?.trim().into()),
            None if ty == "texture_2d<f32>" => BindingKind::Texture,
            None => return None,
        },
        _ => return None,
    };
    Some(Binding { index: index.parse().ok()?, name: name.trim().into(), kind, ty })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bindings_in_order() {
        let wgsl = "@group(0) @binding(3) var<storage, read_write> out: array<f32>; // note\n\
                    @group(0) @binding(0) var<uniform> grid: Grid;\n\
                    @group(0) @binding(2) var target: texture_storage_2d<rgba8unorm, write>;\n\
                    @compute @workgroup_size(8, 4)\nfn main() {}";
        let interface = reflect(wgsl).unwrap();
        assert_eq!(interface.workgroup_size, [8, 4, 1]);
        let kinds: Vec<_> = interface.bindings.iter().map(|b| b.kind.clone()).collect();
        let format = BindingKind::StorageTexture("rgba8unorm".into());
        assert_eq!(kinds, [BindingKind::Uniform, format, BindingKind::StorageReadWrite]);
        assert!(!interface.subgroup);
    }

    #[test]
    fn reads_the_fields_of_a_uniform() {
        let wgsl = "struct A {\n    other: u32,\n}\n\nstruct Ab {\n    count: u32, // of all\n\n    // How much.\n    gain: f32,\n}";
        let fields = uniform_fields(wgsl, "Ab").unwrap();
        let fields: Vec<_> = fields.iter().map(|field| (field.name.as_str(), field.ty.as_str())).collect();
        assert_eq!(fields, [("count", "u32"), ("gain", "f32")]);
        assert!(uniform_fields(wgsl, "B").unwrap_err().contains("no struct `B`"));
        assert!(uniform_fields("struct A {\n a: vec2f,\n}", "A").unwrap_err().contains("a: vec2f,"));
        assert!(uniform_fields("struct A {\n a: u32,", "A").is_err());
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        assert!(reflect("@group(0) @binding(0)\nvar<uniform> a: A;\n@workgroup_size(1) fn").is_err());
        assert!(reflect("fn helper() {}").is_err());
    }
}
