//! From a WGSL file with directives to plain WGSL.
//!
//! | directive | does |
//! |---|---|
//! | `#import shared/load tensor=query` | inserts `wgsl/shared/load.wgsl`, once per argument list; arguments are constants inside it |
//! | `#if HEAD_DIM % 4 == 0` … `#else` … `#endif` | keeps one side |
//! | `#for r in 0..ROWS`, `#for name in x y z` … `#endfor` | repeats the body with `{r}` replaced: loops unrolled in text |
//! | `{NAME}`, `{r*4+1}` | a constant or an integer expression; no spaces inside, so blocks are left alone |
//!
//! Unrolling is done here because neither naga nor Tint unrolls, and arrays indexed by a loop variable spill on
//! several drivers. The output is plain WGSL that any WebGPU host accepts.

use crate::expression::evaluate;
use std::collections::{BTreeMap, BTreeSet};

/// Values of constants and flags by name; flags are 0 or 1.
pub type Defines = BTreeMap<String, String>;

/// Resolves the file `name`. `file` gives a file's text by its name without `.wgsl`.
///
/// Errors name the file, the line and what is wrong there.
pub fn resolve<'a>(
    name: &str,
    file: &dyn Fn(&str) -> Option<&'a str>,
    defines: &Defines,
) -> Result<String, String> {
    let mut resolver = Resolver { file, imported: BTreeSet::new(), output: String::new() };
    resolver.import(name, defines)?;
    Ok(resolver.output)
}

struct Resolver<'f, 'a> {
    file: &'f dyn Fn(&str) -> Option<&'a str>,
    imported: BTreeSet<String>,
    output: String,
}

impl Resolver<'_, '_> {
    fn import(&mut self, name: &str, scope: &Defines) -> Result<(), String> {
        let text = (self.file)(name).ok_or_else(|| format!("there is no `{name}.wgsl`"))?;
        let lines: Vec<(usize, &str)> = text.lines().enumerate().map(|(i, line)| (i + 1, line)).collect();
        self.block(name, &lines, scope)
    }

    /// Emits a run of lines; directives that open a block recurse into it.
    fn block(&mut self, file: &str, lines: &[(usize, &str)], scope: &Defines) -> Result<(), String> {
        let mut at = 0;
        while at < lines.len() {
            let (number, line) = lines[at];
            let place = |message: String| format!("{file}.wgsl:{number}: {message}");
            let directive = line.trim();
            if let Some(rest) = directive.strip_prefix("#import ") {
                self.import_once(rest, scope).map_err(place)?;
                at += 1;
            } else if let Some(condition) = directive.strip_prefix("#if ") {
                let (middle, end) = find_end(lines, at, "#if ", "#endif").map_err(place)?;
                let keep = evaluate(condition, &|name| integer(scope, name)).map_err(place)? != 0;
                let body = match (keep, middle) {
                    (true, _) => &lines[at + 1..middle.unwrap_or(end)],
                    (false, Some(middle)) => &lines[middle + 1..end],
                    (false, None) => &[],
                };
                self.block(file, body, scope)?;
                at = end + 1;
            } else if let Some(header) = directive.strip_prefix("#for ") {
                let (_, end) = find_end(lines, at, "#for ", "#endfor").map_err(place)?;
                let (variable, values) = loop_values(header, scope).map_err(place)?;
                for value in values {
                    let mut inner = scope.clone();
                    inner.insert(variable.clone(), value);
                    self.block(file, &lines[at + 1..end], &inner)?;
                }
                at = end + 1;
            } else if directive.starts_with('#') {
                return Err(place(format!("`{directive}` is not a directive, or has no block to close")));
            } else {
                self.output.push_str(&substitute(line, scope).map_err(place)?);
                self.output.push('\n');
                at += 1;
            }
        }
        Ok(())
    }

    fn import_once(&mut self, rest: &str, scope: &Defines) -> Result<(), String> {
        let line = substitute(rest.trim(), scope)?;
        if !self.imported.insert(line.clone()) {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let name = words.next().ok_or("an import has no name")?;
        let mut inner = scope.clone();
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is not name=value"))?;
            inner.insert(key.into(), value.into());
        }
        self.import(name, &inner)
    }
}

/// The `#else` of this block, if any, and the line that closes it.
fn find_end(
    lines: &[(usize, &str)],
    start: usize,
    open: &str,
    close: &str,
) -> Result<(Option<usize>, usize), String> {
    let mut depth = 0;
    let mut middle = None;
    for (at, (_, line)) in lines.iter().enumerate().skip(start + 1) {
        let line = line.trim();
        if line.starts_with(open) {
            depth += 1;
        } else if line == close {
            if depth == 0 {
                return Ok((middle, at));
            }
            depth -= 1;
        } else if line == "#else" && depth == 0 && open == "#if " {
            middle = Some(at);
        }
    }
    Err(format!("`{}` is not closed by `{close}`", lines[start].1.trim()))
}

fn loop_values(header: &str, scope: &Defines) -> Result<(String, Vec<String>), String> {
    let (variable, values) = header.split_once(" in ").ok_or("a loop reads `#for name in values`")?;
    let lookup = |name: &str| integer(scope, name);
    let values = match values.split_once("..") {
        Some((from, to)) => {
            let range = evaluate(from, &lookup)?..evaluate(to, &lookup)?;
            range.map(|i| i.to_string()).collect()
        }
        None => substitute(values, scope)?.split_whitespace().map(String::from).collect(),
    };
    Ok((variable.trim().into(), values))
}

fn integer(scope: &Defines, name: &str) -> Option<i64> {
    scope.get(name)?.parse().ok()
}

/// Replaces every `{expression}`; a brace followed by a space or the end of the line is WGSL's own.
fn substitute(line: &str, scope: &Defines) -> Result<String, String> {
    let code = &line[..line.find("//").unwrap_or(line.len())];
    let mut output = String::with_capacity(line.len());
    let mut rest = code;
    while let Some(open) = rest.find('{') {
        let Some(length) = rest[open..].find('}') else { break };
        let inner = &rest[open + 1..open + length];
        output.push_str(&rest[..open]);
        if inner.is_empty() || inner.contains([' ', ';', '{']) {
            output.push('{');
            rest = &rest[open + 1..];
            continue;
        }
        match scope.get(inner) {
            Some(text) => output.push_str(text),
            None => output.push_str(&evaluate(inner, &|name| integer(scope, name))?.to_string()),
        }
        rest = &rest[open + length + 1..];
    }
    output.push_str(rest);
    output.push_str(&line[code.len()..]);
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, defines: &[(&str, &str)]) -> Result<String, String> {
        let defines = defines.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let part = "fn load_{tensor}() -> f32 { return {tensor}[0]; }";
        resolve(
            "main",
            &|name| [("main", text), ("part", part)].into_iter().find(|f| f.0 == name).map(|f| f.1),
            &defines,
        )
    }

    #[test]
    fn unrolls_and_substitutes() {
        let text = "#for r in 0..ROWS\nlet x{r} = a[{r*4+1}u]; if (x) { y(); }\n#endfor";
        let plain = "let x0 = a[1u]; if (x) { y(); }\nlet x1 = a[5u]; if (x) { y(); }\n";
        assert_eq!(run(text, &[("ROWS", "2")]).unwrap(), plain);
        assert_eq!(run("#for n in {NAMES}\n{n};\n#endfor", &[("NAMES", "a b")]).unwrap(), "a;\nb;\n");
    }

    #[test]
    fn keeps_one_side_of_nested_conditions() {
        let text = "#if A\n#if B == 2\nx\n#else\ny\n#endif\n#else\nz\n#endif";
        assert_eq!(run(text, &[("A", "1"), ("B", "2")]).unwrap(), "x\n");
        assert_eq!(run(text, &[("A", "1"), ("B", "3")]).unwrap(), "y\n");
        assert_eq!(run(text, &[("A", "0"), ("B", "3")]).unwrap(), "z\n");
    }

    #[test]
    fn imports_once_per_argument_list() {
        let text = "#import part tensor=key\n#import part tensor=key\n#import part tensor=value";
        let plain = "fn load_key() -> f32 { return key[0]; }\nfn load_value() -> f32 { return value[0]; }\n";
        assert_eq!(run(text, &[]).unwrap(), plain);
    }

    #[test]
    fn errors_name_file_line_and_reason() {
        for (text, reason) in [
            ("\n#if WIDTH\n#endif", "main.wgsl:2: `WIDTH` is not defined"),
            ("#if 1", "`#if 1` is not closed by `#endif`"),
            ("#import nothing", "there is no `nothing.wgsl`"),
            ("a = {WIDTH};", "main.wgsl:1: `WIDTH` is not defined"),
            ("#define X", "is not a directive"),
            ("#endfor", "is not a directive"),
        ] {
            let error = run(text, &[]).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
